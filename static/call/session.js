// This page's part in a call: one peer connection to each other person, kept alive over breaks of the network and of the
// hub. Knows no page.

import { Ladder, Recorder, grade, look } from './quality.js';
import { Negotiator } from './negotiator.js';

const LOOK_EVERY = 2_000;
/** When what the hub could not take is said again. */
const AGAIN_AFTER = 1_000;
/** Sound is sent all the time, also when it is muted: when nothing came for two of these, the way is broken, whatever the
 * browser still hopes; it takes five seconds or more to say so itself. */
const LISTEN_EVERY = 500;
/** Credentials are renewed this long before they end. */
const RENEW_BEFORE = 90_000;
/** A way that is broken this long is looked for anew; sooner by the side that is not polite, so that one does it. */
const MEND_AFTER = [300, 1_500];
/** And if none was found, everything is built anew; again and again, as long as the call lasts. */
const REBUILD_AFTER = [4_000, 7_000];
/** Messages to the hub; it takes 50 a second, and 200 at once, of everything that this page sends. */
const PER_SECOND = 35;
const AT_ONCE = 120;
const LIMITS = { video: { maxBitrate: 1_200_000, scaleResolutionDownBy: 1 }, low: { maxBitrate: 150_000, scaleResolutionDownBy: 3 } };

/**
 * Events: `change` (what is shown changed), `elsewhere` (another session of this person has the call), `taken` (it took
 * over just now).
 */
export class CallSession extends EventTarget {
  /**
   * @param {object} o
   * @param {import('../protocol.js').Client} o.client
   * @param {import('../room-state.js').Room} o.room
   * @param {string} o.call
   * @param {string} o.device  this page, as long as it is loaded
   * @param {MediaStream} o.local  what is sent; its tracks may be replaced by `send`
   * @param {typeof RTCPeerConnection} [o.RTCPeerConnection]
   * @param {() => number} [o.now]
   */
  constructor({ client, room, call, device, local, RTCPeerConnection, now }) {
    super();
    Object.assign(this, { client, room, call, device, local });
    this.RTC = RTCPeerConnection ?? globalThis.RTCPeerConnection;
    this.now = now ?? (() => performance.now());
    /** @type {Map<string, any>} by person */
    this.peers = new Map();
    /** Those who left before the call was over: what is known of their way is reported with the others'. */
    this.gone = [];
    this.members = [];
    this.config = { iceServers: [] };
    Object.assign(this, { waiting: [], credit: AT_ONCE, credited: this.now() });
    this.ladder = new Ladder(local.getVideoTracks().length ? 'video' : 'audio');
    this.ownState = { microphone: true, camera: local.getVideoTracks().length > 0 };
    this.stop = new AbortController();
    const mine = (run) => ({ detail }) => detail.room === room.id && run(detail);
    const on = (type, run) => client.addEventListener(type, mine(run), { signal: this.stop.signal });
    on('call', ({ call: of, signal }) => of === call && this.take(signal));
    on('error', ({ code }) => (code === 'media_taken' || code === 'not_in_call') && this.refused(code));
    on('error', ({ id, code }) => code === 'unavailable' && !id && this.again());
    on('live', () => this.attach());
    this.looking = setInterval(() => this.inspect(), LOOK_EVERY);
    this.listening = setInterval(() => this.listen(), LISTEN_EVERY);
  }

  /** Says to the hub that this page has the media; once for each connection. */
  attach(take = false) {
    if (!take && this.attachedBy === this.client.connection) return;
    this.announce(take, [...this.peers.values()]);
  }

  announce(take, peers) {
    this.attachedBy = this.client.connection;
    // What was meant for the former connection is of no use on this one.
    this.waiting = [];
    const held = peers.map(({ user, epoch, got }) => ({ peer: user, epoch, got }));
    this.say('attach', { device: this.device, ...(take && { take }), held });
  }

  /** At the pace that the hub takes: what is beyond it would be refused, and with it a candidate or an answer lost. */
  say(kind, data) {
    this.waiting.push({ type: 'call', room: this.room.id, call: this.call, signal: { kind, data } });
    this.drain();
  }

  drain() {
    const now = this.now();
    this.credit = Math.min(AT_ONCE, this.credit + ((now - this.credited) * PER_SECOND) / 1000);
    this.credited = now;
    while (this.waiting.length && this.credit >= 1) {
      this.credit -= 1;
      this.client.send(this.waiting.shift());
    }
    clearTimeout(this.draining);
    if (this.waiting.length) this.draining = setTimeout(() => this.drain(), 1000 / PER_SECOND);
  }

  /** The hub could not take what was said: it is told anew what this page holds, and says what is missing. */
  again() {
    clearTimeout(this.retrying);
    this.retrying = setTimeout(() => this.announce(false, [...this.peers.values()]), AGAIN_AFTER);
  }

  refused(code) {
    if (code === 'media_taken') {
      this.elsewhere = true;
      this.emit('elsewhere');
    }
  }

  take({ kind, data }) {
    const handlers = {
      attached: () => {
        this.elsewhere = false;
        this.relayOnly = data.relay_only;
        this.serve(data);
      },
      servers: () => this.serve(data),
      peer: () => this.meet(data),
      away: () => this.mark(data.user, { away: true }),
      taken: () => {
        this.elsewhere = true;
        this.dropAll();
        this.emit('taken');
      },
      description: () => this.pass(data, { description: data.description }),
      candidate: () => this.pass(data, { candidate: fromWire(data.candidate) }),
    };
    handlers[kind]?.();
    this.emit('change');
  }

  /** Servers with fresh credentials, for connections that are there and that will be. */
  serve({ ice_servers: iceServers, expires_at: until }) {
    this.config = { iceServers, bundlePolicy: 'max-bundle', ...(this.relayOnly && { iceTransportPolicy: 'relay' }) };
    for (const { negotiator } of this.peers.values()) negotiator.pc.setConfiguration(this.config);
    clearTimeout(this.renewing);
    if (until) this.renewing = setTimeout(() => this.say('servers', {}), Math.max(5_000, Date.parse(until) - Date.now() - RENEW_BEFORE));
  }

  meet({ user, epoch, polite, resumed }) {
    const known = this.peers.get(user);
    if (resumed && known?.epoch === epoch) {
      known.away = false;
      known.negotiator.restart();
      return;
    }
    known?.negotiator.close();
    const send = (message) => this.send(user, epoch, message);
    const negotiator = new Negotiator({ RTCPeerConnection: this.RTC, config: this.config, polite, send });
    const peer = { user, epoch, got: 0, negotiator, polite, state: 'new', stream: null, told: {}, recorder: known?.recorder ?? new Recorder(this.now) };
    this.peers.set(user, peer);
    negotiator.addEventListener('track', ({ detail }) => {
      peer.stream = detail.stream ?? new MediaStream([detail.track]);
      this.emit('change');
    });
    negotiator.addEventListener('told', ({ detail }) => this.mark(user, { told: detail.state }));
    negotiator.addEventListener('trouble', ({ detail }) => console.warn('call:', detail.error.name));
    negotiator.addEventListener('state', ({ detail }) => this.moved(peer, detail.state));
    for (const track of this.local.getTracks()) negotiator.pc.addTrack(track, this.local);
    negotiator.tell(this.ownState);
    if (this.ladder.step !== 'video') this.applyStep();
  }

  send(to, epoch, { description, candidate }) {
    if (description) this.say('description', { to, epoch, description: { type: description.type, sdp: description.sdp } });
    else this.say('candidate', { to, epoch, candidate: toWire(candidate) });
  }

  pass({ from, epoch, n }, message) {
    const peer = this.peers.get(from);
    if (!peer || peer.epoch !== epoch) return;
    peer.got = n;
    peer.negotiator.take(message);
  }

  mark(user, what) {
    const peer = this.peers.get(user);
    if (peer) Object.assign(peer, what);
    this.emit('change');
  }

  /** The way to a person came, broke or is gone for good. */
  moved(peer, state) {
    if (this.peers.get(peer.user) !== peer) return;
    peer.state = state;
    clearTimeout(peer.mending);
    if (state === 'connected') {
      peer.recorder.connected();
      this.report(true);
    } else if (state === 'disconnected' || state === 'failed') {
      peer.recorder.broke();
      this.report(false);
      const after = state === 'failed' ? 0 : MEND_AFTER[Number(peer.polite)];
      const mend = () => {
        peer.negotiator.mend();
        peer.mending = setTimeout(() => this.rebuild(peer), REBUILD_AFTER[Number(peer.polite)]);
      };
      peer.mending = setTimeout(mend, after);
    }
    this.emit('change');
  }

  /** Tells the room whether this side has media with everybody. */
  report(connected) {
    const all = [...this.peers.values()].every(({ state }) => state === 'connected');
    const now = connected && all;
    // Before the first media there is nothing to interrupt.
    if (this.told === now || (this.told === undefined && !now)) return;
    this.told = now;
    this.room.command('call.media', { call: this.call, connected: now, ...(!now && { cause: 'network' }) });
  }

  /** Forgets the connection to a person: the hub then has both sides build a new one. */
  rebuild(peer) {
    if (this.peers.get(peer.user) !== peer || this.elsewhere) return;
    clearTimeout(peer.mending);
    peer.mending = setTimeout(() => this.rebuild(peer), REBUILD_AFTER[Number(peer.polite)]);
    this.announce(false, [...this.peers.values()].filter((it) => it !== peer));
  }

  /** Finds a way that broke without a word, and asks for another one. */
  async listen() {
    for (const peer of this.peers.values()) {
      if (peer.negotiator.pc.connectionState !== 'connected') continue;
      const heard = [...(await peer.negotiator.pc.getStats()).values()].find(({ type }) => type === 'transport')?.packetsReceived;
      peer.silent = heard !== undefined && heard === peer.heard ? (peer.silent ?? 0) + 1 : 0;
      peer.heard = heard;
      if (peer.silent === 2) peer.negotiator.mend();
      // Browsers are slow to leave a way that once was good, so a new connection is made, by one side and then the other.
      else if (peer.silent > 2 && (peer.silent - (peer.polite ? 6 : 4)) % 6 === 0) this.rebuild(peer);
    }
  }

  /** Looks at the statistics, and goes down or up the ladder. */
  async inspect() {
    for (const peer of this.peers.values()) {
      if (peer.negotiator.pc.connectionState !== 'connected') {
        peer.grade = peer.sample && { level: 0, cause: 'the connection broke off' };
        continue;
      }
      peer.sample = look(await peer.negotiator.pc.getStats(), peer.sample);
      peer.grade = grade(peer.sample);
      peer.recorder.take(peer.sample, this.ladder.step);
    }
    const levels = [...this.peers.values()].flatMap(({ grade: it }) => (it ? [it.level] : []));
    if (levels.length && this.ladder.take(Math.min(...levels))) await this.applyStep();
    this.emit('change');
  }

  /** Sends as much as the ladder's step allows. */
  async applyStep() {
    const { step } = this.ladder;
    this.ownState = { ...this.ownState, paused: step === 'audio' && this.ladder.best === 0 };
    for (const { negotiator } of this.peers.values()) {
      negotiator.tell(this.ownState);
      for (const sender of negotiator.pc.getSenders().filter(({ track }) => track?.kind === 'video')) {
        const parameters = sender.getParameters();
        for (const encoding of parameters.encodings ?? []) Object.assign(encoding, LIMITS[step] ?? {}, { active: step !== 'audio' });
        await sender.setParameters(parameters).catch(() => {});
      }
    }
  }

  /** Sends this track instead of the one of its kind; null sends none. Adds it where none was sent. */
  async replace(kind, track) {
    const old = this.local.getTracks().find((it) => it.kind === kind);
    if (old && old !== track) this.local.removeTrack(old);
    if (track && !this.local.getTracks().includes(track)) this.local.addTrack(track);
    for (const { negotiator } of this.peers.values()) {
      const transceiver = negotiator.pc.getTransceivers().find((it) => it.sender.track?.kind === kind || it.receiver.track.kind === kind);
      if (transceiver) {
        await transceiver.sender.replaceTrack(track);
        if (track && transceiver.direction === 'recvonly') transceiver.direction = 'sendrecv';
        transceiver.sender.setStreams?.(this.local);
      } else if (track) negotiator.pc.addTrack(track, this.local);
    }
  }

  /** Who is in the call now: lets go of those who were and are not any more. Who comes may be met before this says so. */
  keep(users) {
    const left = this.members.filter((user) => !users.includes(user));
    this.members = users;
    for (const [user, peer] of this.peers) {
      if (!left.includes(user)) continue;
      clearTimeout(peer.mending);
      peer.negotiator.close();
      this.peers.delete(user);
      this.gone.push(peer);
    }
  }

  /** Says to the others what microphone, camera and screen do. */
  tell(state) {
    this.ownState = { ...this.ownState, ...state };
    for (const { negotiator } of this.peers.values()) negotiator.tell(this.ownState);
    this.emit('change');
  }

  /** What goes into the log when it is over. */
  reports() {
    return [...this.peers.values(), ...this.gone].map(({ user, recorder }) => ({ call: this.call, peer: user, quality: recorder.report() }));
  }

  dropAll() {
    for (const peer of this.peers.values()) {
      clearTimeout(peer.mending);
      peer.negotiator.close();
    }
    this.peers.clear();
  }

  end() {
    clearInterval(this.looking);
    clearInterval(this.listening);
    clearTimeout(this.renewing);
    clearTimeout(this.retrying);
    clearTimeout(this.draining);
    this.stop.abort();
    this.dropAll();
  }

  emit(type) {
    this.dispatchEvent(new Event(type));
  }
}

const toWire = ({ candidate, sdpMid, sdpMLineIndex, usernameFragment }) => ({
  candidate: candidate ?? '',
  ...(sdpMid && { sdp_mid: sdpMid }),
  ...(Number.isInteger(sdpMLineIndex) && { sdp_m_line_index: sdpMLineIndex }),
  ...(usernameFragment && { username_fragment: usernameFragment }),
});

/** An empty candidate says that there are no more; it belongs to all media. */
const fromWire = ({ candidate, sdp_mid: sdpMid, sdp_m_line_index: sdpMLineIndex, username_fragment: usernameFragment }) =>
  candidate === '' && sdpMid === undefined && sdpMLineIndex === undefined ? { candidate: '', sdpMLineIndex: 0 } : { candidate, sdpMid, sdpMLineIndex, usernameFragment };
