// One peer connection with perfect negotiation: both sides may offer at any time, and on a collision the polite side
// rolls back (W3C WebRTC, "Perfect negotiation example"). Independent of page and hub: messages pass through functions.

/** The data channel's id is fixed on both sides, so the channel needs no negotiation. */
const STATE_CHANNEL = { negotiated: true, id: 0 };

/**
 * Events: `state` {state} as of `RTCPeerConnection.connectionState`, `track` {track, stream}, `remote-state`
 * {state} (the other side's microphone and camera), `failure` {error}.
 */
export class Negotiator extends EventTarget {
  /**
   * @param {object} o
   * @param {typeof RTCPeerConnection} o.RTCPeerConnection
   * @param {RTCConfiguration} o.config
   * @param {boolean} o.polite
   * @param {(message: {description?: RTCSessionDescription, candidate?: RTCIceCandidateInit}) => void} o.send
   */
  constructor({ RTCPeerConnection, config, polite, send }) {
    super();
    this.polite = polite;
    this.send = send;
    this.makingOffer = false;
    this.ignoringOffer = false;
    /** The polite side waits for the first offer, so that a call does not begin with a collision. */
    this.mayOffer = !polite;
    this.queue = Promise.resolve();
    const pc = (this.pc = new RTCPeerConnection(config));
    pc.onnegotiationneeded = () => this.mayOffer && this.offer();
    pc.onicecandidate = ({ candidate }) => send({ candidate: candidate ? candidate.toJSON() : { candidate: '' } });
    pc.ontrack = ({ track, streams }) => this.emit('track', { track, stream: streams[0] });
    pc.onconnectionstatechange = () => this.emit('state', { state: pc.connectionState });
    this.channel = pc.createDataChannel('state', STATE_CHANNEL);
    this.channel.onopen = () => this.ownState && this.sendState(this.ownState);
    let remoteReady = false;
    this.channel.onmessage = ({ data }) => {
      // A message sent before the other side is ready may be lost (w3c/webrtc-pc, issue 1879). Its own first message proves
      // that it is ready.
      if (!remoteReady && this.ownState) this.sendState(this.ownState);
      remoteReady = true;
      try {
        this.emit('remote-state', { state: JSON.parse(data) });
      } catch {
        // Ignore messages in another program's format.
      }
    };
  }

  /** Sends the own microphone and camera state; sent again when the channel opens and on the other side's first message. */
  sendState(state) {
    this.ownState = state;
    if (this.channel.readyState === 'open') this.channel.send(JSON.stringify(state));
  }

  async offer() {
    try {
      this.makingOffer = true;
      await this.pc.setLocalDescription();
      this.send({ description: this.pc.localDescription });
    } catch (error) {
      this.fail(error);
    } finally {
      this.makingOffer = false;
    }
  }

  /** Processes the other side's messages in order. */
  receive(message) {
    this.queue = this.queue.then(() => this.closed || this.handle(message)).catch((error) => this.fail(error));
    return this.queue;
  }

  async handle({ description, candidate }) {
    const { pc } = this;
    if (description) {
      const collision = description.type === 'offer' && (this.makingOffer || pc.signalingState !== 'stable');
      this.ignoringOffer = !this.polite && collision;
      // Ignore an answer to an offer that has been rolled back since.
      if (this.ignoringOffer || (description.type === 'answer' && pc.signalingState !== 'have-local-offer')) return;
      await pc.setRemoteDescription(description);
      this.mayOffer = true;
      if (description.type === 'offer') {
        await pc.setLocalDescription();
        this.send({ description: pc.localDescription });
      }
    } else if (candidate) {
      try {
        await pc.addIceCandidate(candidate);
      } catch (error) {
        // Candidates of an ignored offer cannot be added.
        if (!this.ignoringOffer) throw error;
      }
    }
  }

  /**
   * Restarts ICE, from the impolite side. A pending offer may have been lost with the connection that carried it: it is
   * rolled back.
   */
  restart() {
    if (this.polite) return Promise.resolve();
    this.queue = this.queue.then(() => this.restartNow()).catch((error) => this.fail(error));
    return this.queue;
  }

  async restartNow() {
    if (this.closed) return;
    if (this.pc.signalingState === 'have-local-offer') await this.pc.setLocalDescription({ type: 'rollback' });
    this.pc.restartIce();
  }

  /** Restarts ICE while the hub is reachable: either side may do so. */
  restartIce() {
    if (this.mayOffer && !this.closed) this.pc.restartIce();
  }

  close() {
    this.closed = true;
    this.pc.onnegotiationneeded = this.pc.onicecandidate = this.pc.ontrack = this.pc.onconnectionstatechange = null;
    this.pc.close();
  }

  fail(error) {
    if (!this.closed) this.emit('failure', { error });
  }

  emit(type, detail) {
    this.dispatchEvent(Object.assign(new Event(type), { detail }));
  }
}
