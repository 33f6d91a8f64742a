// One peer connection, negotiated perfectly: both sides may offer at any time, and when they do at once the polite one
// gives way (W3C WebRTC, "Perfect negotiation example"). Knows no page and no hub: messages come and go by functions.

/** Two peers agree on this number before they meet, so the channel needs no negotiation of its own. */
const STATE_CHANNEL = { negotiated: true, id: 0 };

/**
 * Events: `state` {state} as of `RTCPeerConnection.connectionState`, `track` {track, stream}, `told` {state} (what the
 * other side says of its microphone and camera), `trouble` {error}.
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
    this.making = false;
    this.ignoring = false;
    /** The polite side waits for the first offer, so that a call does not begin with a collision. */
    this.mayOffer = !polite;
    this.queue = Promise.resolve();
    const pc = (this.pc = new RTCPeerConnection(config));
    pc.onnegotiationneeded = () => this.mayOffer && this.offer();
    pc.onicecandidate = ({ candidate }) => send({ candidate: candidate ? candidate.toJSON() : { candidate: '' } });
    pc.ontrack = ({ track, streams }) => this.emit('track', { track, stream: streams[0] });
    pc.onconnectionstatechange = () => this.emit('state', { state: pc.connectionState });
    this.channel = pc.createDataChannel('state', STATE_CHANNEL);
    this.channel.onopen = () => this.told && this.tell(this.told);
    let heard = false;
    this.channel.onmessage = ({ data }) => {
      // A word that comes before the other side is ready for it may be lost (w3c/webrtc-pc, issue 1879). Its own first word
      // says that it is ready.
      if (!heard && this.told) this.tell(this.told);
      heard = true;
      try {
        this.emit('told', { state: JSON.parse(data) });
      } catch {
        // What another program says there is not for us.
      }
    };
  }

  /** Says what the own microphone and camera do; repeated when the channel opens, and when the other side is first heard. */
  tell(state) {
    this.told = state;
    if (this.channel.readyState === 'open') this.channel.send(JSON.stringify(state));
  }

  async offer() {
    try {
      this.making = true;
      await this.pc.setLocalDescription();
      this.send({ description: this.pc.localDescription });
    } catch (error) {
      this.trouble(error);
    } finally {
      this.making = false;
    }
  }

  /** Takes what the other side sent, in its order. */
  take(message) {
    this.queue = this.queue.then(() => this.closed || this.handle(message)).catch((error) => this.trouble(error));
    return this.queue;
  }

  async handle({ description, candidate }) {
    const { pc } = this;
    if (description) {
      const collision = description.type === 'offer' && (this.making || pc.signalingState !== 'stable');
      this.ignoring = !this.polite && collision;
      // An answer to an offer that was taken back meanwhile has nothing to answer.
      if (this.ignoring || (description.type === 'answer' && pc.signalingState !== 'have-local-offer')) return;
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
        // Candidates of an offer that was ignored fit nothing, and need not.
        if (!this.ignoring) throw error;
      }
    }
  }

  /**
   * The way to the other side is to be found anew, by the one who is not polite. An offer that was under way may be
   * lost with the connection it was sent on: it is taken back.
   */
  restart() {
    if (this.polite) return Promise.resolve();
    this.queue = this.queue.then(() => this.restartNow()).catch((error) => this.trouble(error));
    return this.queue;
  }

  async restartNow() {
    if (this.closed) return;
    if (this.pc.signalingState === 'have-local-offer') await this.pc.setLocalDescription({ type: 'rollback' });
    this.pc.restartIce();
  }

  /** The way broke while the hub is there: either side may ask for another one. */
  mend() {
    if (this.mayOffer && !this.closed) this.pc.restartIce();
  }

  close() {
    this.closed = true;
    this.pc.onnegotiationneeded = this.pc.onicecandidate = this.pc.ontrack = this.pc.onconnectionstatechange = null;
    this.pc.close();
  }

  trouble(error) {
    if (!this.closed) this.emit('trouble', { error });
  }

  emit(type, detail) {
    this.dispatchEvent(Object.assign(new Event(type), { detail }));
  }
}
