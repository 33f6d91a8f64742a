// This page's part in a call: one peer connection for each other member, kept alive across failures of the network and
// the hub. Independent of any screen.

import { hubNow } from '../clock.js';
import { Ladder, Recorder, grade, sampleStats } from './quality.js';
import { Negotiator } from './negotiator.js';

const STATS_INTERVAL_MS = 2_000;
/** Delay before a signal that the hub could not accept is sent again, in milliseconds. */
const REATTACH_DELAY_MS = 1_000;
/** Audio is sent continuously, even when muted: if nothing arrives during two of these intervals, the path is broken. The
 * browser itself takes five seconds or more to report it. */
const SILENCE_CHECK_INTERVAL_MS = 500;
/** Credentials are renewed this long before they expire. */
const CREDENTIAL_RENEWAL_LEAD_MS = 90_000;
/** ICE restarts after a path has been broken this long; earlier on the impolite side, so that only one side does it. */
const ICE_RESTART_DELAYS_MS = [300, 1_500];
/** If no path is found by then, the connection is rebuilt, repeatedly while the call lasts. */
const REBUILD_DELAYS_MS = [4_000, 7_000];
/** Pace of messages to the hub, which accepts 50 a second and bursts of 200 for everything that this page sends. */
const SIGNALS_PER_SECOND = 35;
const SIGNAL_BURST = 120;
const VIDEO_ENCODINGS = { video: { maxBitrate: 1_200_000, scaleResolutionDownBy: 1 }, low: { maxBitrate: 150_000, scaleResolutionDownBy: 3 } };

/**
 * Events: `change` (the displayed state changed), `elsewhere` (another session of this user has the call), `taken` (it
 * took over just now).
 */
export class CallSession extends EventTarget {
  /**
   * @param {object} o
   * @param {import('../protocol.js').Client} o.client
   * @param {import('../room-state.js').Room} o.room
   * @param {string} o.call
   * @param {string} o.device  this page while it is loaded
   * @param {MediaStream} o.local  the stream to send; `send` may replace its tracks
   * @param {typeof RTCPeerConnection} [o.RTCPeerConnection]
   * @param {() => number} [o.now]
   */
  constructor({ client, room, call, device, local, RTCPeerConnection, now }) {
    super();
    Object.assign(this, { client, room, call, device, local });
    this.RTC = RTCPeerConnection ?? globalThis.RTCPeerConnection;
    this.now = now ?? (() => performance.now());
    /** @type {Map<string, any>} by user */
    this.peers = new Map();
    /** Peers that left during the call: their statistics are reported with the others'. */
    this.departed = [];
    this.members = [];
    this.config = { iceServers: [] };
    Object.assign(this, { waiting: [], credit: SIGNAL_BURST, credited: this.now() });
    this.ladder = new Ladder(local.getVideoTracks().length ? 'video' : 'audio');
    this.ownState = { microphone: true, camera: local.getVideoTracks().length > 0 };
    this.stop = new AbortController();
    const mine = (run) => ({ detail }) => detail.room === room.id && run(detail);
    const on = (type, run) => client.addEventListener(type, mine(run), { signal: this.stop.signal });
    on('call', ({ call: of, signal }) => of === call && this.receive(signal));
    on('error', ({ code }) => (code === 'media_taken' || code === 'not_in_call') && this.refused(code));
    on('error', ({ id, code }) => code === 'unavailable' && !id && this.scheduleReattach());
    on('live', () => this.attach());
    // Statistics of a connection that closes meanwhile cannot be read: the next round follows anyway.
    const attempt = (run) => () => run().catch((error) => console.warn('call statistics:', error.name));
    this.statsTimer = setInterval(attempt(() => this.updateQuality()), STATS_INTERVAL_MS);
    this.silenceTimer = setInterval(attempt(() => this.checkSilence()), SILENCE_CHECK_INTERVAL_MS);
  }

  /** Attaches this page's media at the hub; once for each connection. */
  attach(take = false) {
    if (!take && this.attachedBy === this.client.connection) return;
    this.announce(take, [...this.peers.values()]);
  }

  announce(take, peers) {
    this.attachedBy = this.client.connection;
    // Signals queued for the previous connection are obsolete.
    this.waiting = [];
    const held = peers.map(({ user, epoch, got }) => ({ peer: user, epoch, got }));
    this.signal('attach', { device: this.device, ...(take && { take }), held });
  }

  /** Sends at the pace that the hub accepts: it would refuse the excess, and a candidate or an answer would be lost. */
  signal(kind, data) {
    this.waiting.push({ type: 'call', room: this.room.id, call: this.call, signal: { kind, data } });
    this.drain();
  }

  drain() {
    const now = this.now();
    this.credit = Math.min(SIGNAL_BURST, this.credit + ((now - this.credited) * SIGNALS_PER_SECOND) / 1000);
    this.credited = now;
    while (this.waiting.length && this.credit >= 1) {
      this.credit -= 1;
      this.client.send(this.waiting.shift());
    }
    clearTimeout(this.drainTimer);
    if (this.waiting.length) this.drainTimer = setTimeout(() => this.drain(), 1000 / SIGNALS_PER_SECOND);
  }

  /** Attaches again after a refused signal: the hub then tells which signals are missing. */
  scheduleReattach() {
    clearTimeout(this.reattachTimer);
    this.reattachTimer = setTimeout(() => this.announce(false, [...this.peers.values()]), REATTACH_DELAY_MS);
  }

  refused(code) {
    if (code === 'media_taken') {
      this.elsewhere = true;
      this.emit('elsewhere');
    }
  }

  receive({ kind, data }) {
    const handlers = {
      attached: () => {
        this.elsewhere = false;
        this.relayOnly = data.relay_only;
        this.applyServers(data);
      },
      servers: () => this.applyServers(data),
      peer: () => this.connectPeer(data),
      away: () => this.updatePeer(data.user, { away: true }),
      taken: () => {
        this.elsewhere = true;
        this.dropAll();
        this.emit('taken');
      },
      description: () => this.deliver(data, { description: data.description }),
      candidate: () => this.deliver(data, { candidate: fromWire(data.candidate) }),
    };
    handlers[kind]?.();
    this.emit('change');
  }

  /** Gives existing and future connections servers with new credentials. */
  applyServers({ ice_servers: iceServers, expires_at: until }) {
    this.config = { iceServers, bundlePolicy: 'max-bundle', ...(this.relayOnly && { iceTransportPolicy: 'relay' }) };
    for (const { negotiator } of this.peers.values()) negotiator.pc.setConfiguration(this.config);
    clearTimeout(this.renewTimer);
    if (until) this.renewTimer = setTimeout(() => this.signal('servers', {}), Math.max(5_000, Date.parse(until) - hubNow() - CREDENTIAL_RENEWAL_LEAD_MS));
  }

  connectPeer({ user, epoch, polite, resumed }) {
    const known = this.peers.get(user);
    if (resumed && known?.epoch === epoch) {
      known.away = false;
      known.negotiator.restart();
      return;
    }
    known?.negotiator.close();
    const send = (message) => this.send(user, epoch, message);
    const negotiator = new Negotiator({ RTCPeerConnection: this.RTC, config: this.config, polite, send });
    const peer = { user, epoch, got: 0, negotiator, polite, state: 'new', stream: null, remoteState: {}, recorder: known?.recorder ?? new Recorder(this.now) };
    this.peers.set(user, peer);
    negotiator.addEventListener('track', ({ detail }) => {
      peer.stream = detail.stream ?? new MediaStream([detail.track]);
      this.emit('change');
    });
    negotiator.addEventListener('remote-state', ({ detail }) => this.updatePeer(user, { remoteState: detail.state }));
    negotiator.addEventListener('failure', ({ detail }) => console.warn('call:', detail.error.name));
    negotiator.addEventListener('state', ({ detail }) => this.peerStateChanged(peer, detail.state));
    for (const track of this.local.getTracks()) negotiator.pc.addTrack(track, this.local);
    negotiator.sendState(this.ownState);
    if (this.ladder.step !== 'video') this.applyStep();
  }

  send(to, epoch, { description, candidate }) {
    if (description) this.signal('description', { to, epoch, description: { type: description.type, sdp: description.sdp } });
    else this.signal('candidate', { to, epoch, candidate: toWire(candidate) });
  }

  deliver({ from, epoch, n }, message) {
    const peer = this.peers.get(from);
    if (!peer || peer.epoch !== epoch) return;
    peer.got = n;
    peer.negotiator.receive(message);
  }

  updatePeer(user, changes) {
    const peer = this.peers.get(user);
    if (peer) Object.assign(peer, changes);
    this.emit('change');
  }

  /** Handles a peer's connection state: connected, interrupted or failed. */
  peerStateChanged(peer, state) {
    if (this.peers.get(peer.user) !== peer) return;
    peer.state = state;
    clearTimeout(peer.repairTimer);
    if (state === 'connected') {
      peer.recorder.connected();
      this.reportMedia(true);
    } else if (state === 'disconnected' || state === 'failed') {
      peer.recorder.disconnected();
      this.reportMedia(false);
      const after = state === 'failed' ? 0 : ICE_RESTART_DELAYS_MS[Number(peer.polite)];
      const repair = () => {
        peer.negotiator.restartIce();
        peer.repairTimer = setTimeout(() => this.rebuild(peer), REBUILD_DELAYS_MS[Number(peer.polite)]);
      };
      peer.repairTimer = setTimeout(repair, after);
    }
    this.emit('change');
  }

  /** Reports whether this side has media with every other member. */
  reportMedia(connected) {
    const all = [...this.peers.values()].every(({ state }) => state === 'connected');
    const now = connected && all;
    // Before the first media, nothing can be interrupted.
    if (this.mediaReported === now || (this.mediaReported === undefined && !now)) return;
    this.mediaReported = now;
    this.room.command('call.media', { call: this.call, connected: now, ...(!now && { cause: 'network' }) });
  }

  /** Discards the connection to a peer: the hub then has both sides build a new one. */
  rebuild(peer) {
    if (this.peers.get(peer.user) !== peer || this.elsewhere) return;
    clearTimeout(peer.repairTimer);
    peer.repairTimer = setTimeout(() => this.rebuild(peer), REBUILD_DELAYS_MS[Number(peer.polite)]);
    this.announce(false, [...this.peers.values()].filter((it) => it !== peer));
  }

  /** Detects a path that broke silently and restarts it. */
  async checkSilence() {
    for (const peer of this.peers.values()) {
      if (peer.negotiator.pc.connectionState !== 'connected') continue;
      const packets = [...(await peer.negotiator.pc.getStats()).values()].find(({ type }) => type === 'transport')?.packetsReceived;
      peer.silent = packets !== undefined && packets === peer.packets ? (peer.silent ?? 0) + 1 : 0;
      peer.packets = packets;
      if (peer.silent === 2) peer.negotiator.restartIce();
      // Browsers are slow to abandon a path that once worked, so one side, and later the other, builds a new connection.
      else if (peer.silent > 2 && (peer.silent - (peer.polite ? 6 : 4)) % 6 === 0) this.rebuild(peer);
    }
  }

  /** Samples the statistics and moves down or up the ladder. */
  async updateQuality() {
    for (const peer of this.peers.values()) {
      if (peer.negotiator.pc.connectionState !== 'connected') {
        peer.grade = peer.sample && { level: 0, cause: 'the connection was lost' };
        continue;
      }
      peer.sample = sampleStats(await peer.negotiator.pc.getStats(), peer.sample);
      peer.grade = grade(peer.sample);
      peer.recorder.record(peer.sample, this.ladder.step);
    }
    const levels = [...this.peers.values()].flatMap(({ grade: it }) => (it ? [it.level] : []));
    if (levels.length && this.ladder.update(Math.min(...levels))) await this.applyStep();
    this.emit('change');
  }

  /** Applies the ladder's current step to the senders. */
  async applyStep() {
    const { step } = this.ladder;
    this.ownState = { ...this.ownState, paused: step === 'audio' && this.ladder.best === 0 };
    for (const { negotiator } of this.peers.values()) {
      negotiator.sendState(this.ownState);
      for (const sender of negotiator.pc.getSenders().filter(({ track }) => track?.kind === 'video')) {
        const parameters = sender.getParameters();
        for (const encoding of parameters.encodings ?? []) Object.assign(encoding, VIDEO_ENCODINGS[step] ?? {}, { active: step !== 'audio' });
        await sender.setParameters(parameters).catch(() => {});
      }
    }
  }

  /** Replaces the sent track of this kind; null sends none. Adds a sender where there is none. */
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

  /** Sets the call's current members and closes the connections of those who left. A new member may already be connected. */
  setMembers(users) {
    const left = this.members.filter((user) => !users.includes(user));
    this.members = users;
    for (const [user, peer] of this.peers) {
      if (!left.includes(user)) continue;
      clearTimeout(peer.repairTimer);
      peer.negotiator.close();
      this.peers.delete(user);
      this.departed.push(peer);
    }
  }

  /** Shares the state of microphone, camera and screen with the others. */
  shareState(state) {
    this.ownState = { ...this.ownState, ...state };
    for (const { negotiator } of this.peers.values()) negotiator.sendState(this.ownState);
    this.emit('change');
  }

  /** The call report for the log. */
  reports() {
    return [...this.peers.values(), ...this.departed].map(({ user, recorder }) => ({ call: this.call, peer: user, quality: recorder.report() }));
  }

  dropAll() {
    for (const peer of this.peers.values()) {
      clearTimeout(peer.repairTimer);
      peer.negotiator.close();
    }
    this.peers.clear();
  }

  end() {
    clearInterval(this.statsTimer);
    clearInterval(this.silenceTimer);
    clearTimeout(this.renewTimer);
    clearTimeout(this.reattachTimer);
    clearTimeout(this.drainTimer);
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

/** An empty candidate ends the candidates; it belongs to all media sections. */
const fromWire = ({ candidate, sdp_mid: sdpMid, sdp_m_line_index: sdpMLineIndex, username_fragment: usernameFragment }) =>
  candidate === '' && sdpMid === undefined && sdpMLineIndex === undefined ? { candidate: '', sdpMLineIndex: 0 } : { candidate, sdpMid, sdpMLineIndex, usernameFragment };
