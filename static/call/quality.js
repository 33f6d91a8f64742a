// Connection quality, derived from the statistics of a peer connection. Pure functions.

/**
 * One sample of the statistics, in the units of the flight recorder. `before` is the previous sample.
 * @param {Map<string, any>} stats  as of `RTCPeerConnection.getStats()`
 */
export function sampleStats(stats, previous) {
  const all = [...stats.values()];
  const of = (type) => all.filter((it) => it.type === type);
  const pair = selected(stats, all);
  const local = pair && stats.get(pair.localCandidateId);
  const remote = pair && stats.get(pair.remoteCandidateId);
  const inbound = of('inbound-rtp');
  const remoteInbound = of('remote-inbound-rtp');
  const sum = (list, name) => list.reduce((total, it) => total + (it[name] ?? 0), 0);
  const now = {
    at: all[0]?.timestamp ?? 0,
    received: sum(inbound, 'packetsReceived'),
    lost: Math.max(0, sum(inbound, 'packetsLost')),
    bytes: sum(inbound, 'bytesReceived'),
    frames: sum(inbound.filter(({ kind }) => kind === 'video'), 'framesDecoded'),
    audioReceived: sum(inbound.filter(({ kind }) => kind === 'audio'), 'packetsReceived'),
    roundTrip: pair?.currentRoundTripTime === undefined ? undefined : pair.currentRoundTripTime * 1000,
    remoteLoss: Math.max(0, ...remoteInbound.map(({ fractionLost }) => fractionLost ?? 0)),
    limited: of('outbound-rtp').some(({ qualityLimitationReason }) => qualityLimitationReason === 'bandwidth') ? (previous?.limited ?? 0) + 1 : 0,
    path: !pair ? 'none' : local?.candidateType === 'relay' || remote?.candidateType === 'relay' ? 'relay' : 'direct',
    protocol: !pair ? 'none' : local?.relayProtocol ?? local?.protocol ?? 'udp',
  };
  const got = now.received - (previous?.received ?? 0);
  const lost = now.lost - (previous?.lost ?? 0);
  return { ...now, localLoss: got + lost > 0 ? Math.max(0, lost) / (got + lost) : 0, fresh: previous ? got : undefined };
}

function selected(stats, all) {
  const transport = all.find((it) => it.type === 'transport' && it.selectedCandidatePairId);
  if (transport) return stats.get(transport.selectedCandidatePairId);
  // Firefox has no `transport` entry: it marks the selected pair itself.
  return all.find((it) => it.type === 'candidate-pair' && it.selected);
}

/** Consecutive samples. */
const LIMITED_SAMPLES = 5;

/** The level (3 good, 2 fair, 1 poor, 0 nothing arrives) and its cause. */
export function grade(sample) {
  if (sample.fresh === 0) return { level: 0, cause: 'nothing arrives' };
  const loss = Math.max(sample.localLoss, sample.remoteLoss);
  const delay = sample.roundTrip ?? 0;
  if (loss > 0.1) return { level: 1, cause: 'much is lost on the way' };
  if (delay > 800) return { level: 1, cause: 'the way is very long' };
  if (loss > 0.03) return { level: 2, cause: 'some is lost on the way' };
  if (delay > 350) return { level: 2, cause: 'the way is long' };
  // Every call starts with little bandwidth until the browser has measured the path.
  if (sample.limited > LIMITED_SAMPLES) return { level: 2, cause: 'the connection is narrow' };
  return { level: 3, cause: '' };
}

/** The steps of the ladder: what this side sends, best first. */
export const STEPS = ['video', 'low', 'audio'];
/** Consecutive samples that lead down and up: down fast, up slowly, so that the step does not oscillate. */
const DOWN_AFTER_SAMPLES = 3;
const UP_AFTER_SAMPLES = 8;

/** The ladder: chooses the step from the grades. */
export class Ladder {
  constructor(step = 'video') {
    this.best = STEPS.indexOf(step);
    this.at = this.best;
    this.bad = this.good = 0;
  }

  get step() {
    return STEPS[this.at];
  }

  /** Adds a level; returns true if the step changed. */
  update(level) {
    this.bad = level <= 1 ? this.bad + 1 : 0;
    this.good = level === 3 ? this.good + 1 : 0;
    const to = this.bad >= DOWN_AFTER_SAMPLES ? Math.min(this.at + 1, STEPS.length - 1) : this.good >= UP_AFTER_SAMPLES ? Math.max(this.at - 1, this.best) : this.at;
    if (to === this.at) return false;
    this.at = to;
    this.bad = this.good = 0;
    return true;
  }
}

/** The flight recorder: the report after the call. Whole numbers, no addresses, no content. */
export class Recorder {
  constructor(now) {
    this.now = now;
    this.joined = now();
    this.trips = [];
    this.interruptions = 0;
    this.lowest = 'video';
    this.path = this.protocol = 'none';
  }

  connected() {
    this.first ??= this.now();
    this.since ??= this.now();
  }

  disconnected() {
    if (this.since === undefined) return;
    this.flowed = (this.flowed ?? 0) + this.now() - this.since;
    this.since = undefined;
    this.interruptions += 1;
  }

  record(sample, step) {
    if (sample.roundTrip !== undefined) this.trips.push(sample.roundTrip);
    if (this.trips.length > 2000) this.trips.splice(0, 1000);
    if (sample.path !== 'none') Object.assign(this, { path: sample.path, protocol: sample.protocol });
    this.last = sample;
    if (step === 'audio') this.lowest = 'audio';
  }

  report() {
    const whole = (n) => Math.max(0, Math.min(4_294_967_295, Math.round(n)));
    const trips = [...this.trips].sort((a, b) => a - b);
    const { received = 0, lost = 0 } = this.last ?? {};
    const running = this.since === undefined ? 0 : this.now() - this.since;
    const neverConnected = this.first === undefined;
    return {
      path: neverConnected ? 'none' : this.path,
      protocol: neverConnected ? 'none' : this.protocol,
      setup_ms: neverConnected ? 0 : whole(this.first - this.joined),
      round_trip_ms: whole(trips[trips.length >> 1] ?? 0),
      loss_permille: received + lost > 0 ? Math.min(1000, whole((1000 * lost) / (received + lost))) : 0,
      lasted_s: whole(((this.flowed ?? 0) + running) / 1000),
      interruptions: Math.min(65_535, this.interruptions),
      lowest: this.lowest,
    };
  }
}
