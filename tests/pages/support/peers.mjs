/**
 * @file A peer connection that implements WebRTC’s rules for descriptions, without media: signalling states, implicit
 * rollback, an operations chain, and `negotiationneeded` only while stable.
 */

let serial = 0;

export class FakePeerConnection {
  constructor(config) {
    Object.assign(this, { config, signalingState: 'stable', connectionState: 'new', localDescription: null, remoteDescription: null });
    this.pending = { local: null, remote: null };
    this.current = { local: null, remote: null };
    this.needed = false;
    this.chain = Promise.resolve();
    this.operations = 0;
    this.tracks = [];
    this.candidates = [];
    this.ice = 0;
    this.log = [];
    FakePeerConnection.all.push(this);
  }

  createDataChannel() {
    this.need();
    return (this.channel = { readyState: 'connecting', sent: [], send(text) { this.sent.push(text); } });
  }

  addTrack(track) {
    this.tracks.push(track);
    this.need();
  }

  getSenders() {
    return [];
  }

  getTransceivers() {
    return [];
  }

  setConfiguration(config) {
    this.config = config;
  }

  restartIce() {
    this.ice += 1;
    this.need();
  }

  need() {
    this.needed = true;
    setTimeout(() => this.check(), 0);
  }

  check() {
    if (!this.needed || this.closed || this.signalingState !== 'stable' || this.operations) return;
    this.needed = false;
    this.onnegotiationneeded?.();
  }

  /** Runs operations one after the other, each with a delay. */
  operate(run) {
    this.operations += 1;
    const result = this.chain.then(async () => {
      await new Promise((done) => setTimeout(done, Math.random() * 4));
      if (this.closed) return new Promise(() => {});
      return run();
    });
    this.chain = result.catch(() => {}).then(() => {
      this.operations -= 1;
      if (this.needed) setTimeout(() => this.check(), 0);
    });
    return result;
  }

  setLocalDescription(description) {
    return this.operate(() => {
      const type = description?.type ?? (this.signalingState === 'have-remote-offer' ? 'answer' : 'offer');
      if (type === 'rollback') {
        if (this.signalingState !== 'have-local-offer') throw new DOMException('nothing to roll back', 'InvalidStateError');
        this.signalingState = 'stable';
        this.localDescription = this.current.local;
        this.needed = true;
        return;
      }
      if (type === 'offer' && !['stable', 'have-local-offer'].includes(this.signalingState)) throw new DOMException('offer', 'InvalidStateError');
      if (type === 'answer' && this.signalingState !== 'have-remote-offer') throw new DOMException('answer', 'InvalidStateError');
      this.localDescription = { type, sdp: `${type} ${++serial} ice ${this.ice}` };
      this.signalingState = type === 'offer' ? 'have-local-offer' : 'stable';
      if (type === 'answer') this.settle();
      const { sdp } = this.localDescription;
      // A browser gathers candidates after the promise is settled.
      setTimeout(() => this.localDescription?.sdp === sdp && this.onicecandidate?.({ candidate: { toJSON: () => ({ candidate: `of ${sdp}` }) } }), 1);
    });
  }

  setRemoteDescription({ type, sdp }) {
    return this.operate(() => {
      if (type === 'offer') {
        if (this.signalingState === 'have-local-offer') this.needed = true;
        this.signalingState = 'have-remote-offer';
      } else {
        if (this.signalingState !== 'have-local-offer') throw new DOMException('answer in ' + this.signalingState, 'InvalidStateError');
        this.signalingState = 'stable';
      }
      this.remoteDescription = { type, sdp };
      if (type === 'answer') this.settle();
    });
  }

  settle() {
    this.current = { local: this.localDescription, remote: this.remoteDescription };
    this.log.push([this.current.local.sdp, this.current.remote.sdp]);
  }

  addIceCandidate(candidate) {
    return this.operate(() => {
      if (candidate.candidate !== '' && candidate.candidate !== `of ${this.remoteDescription?.sdp}`) throw new DOMException('unknown ufrag', 'OperationError');
      this.candidates.push(candidate);
    });
  }

  close() {
    this.closed = true;
    this.signalingState = 'closed';
  }
}

FakePeerConnection.all = [];

/** Polls until `fact` returns true. */
export async function waitUntil(fact, what = String(fact)) {
  for (let at = 0; at < 2000; at += 1) {
    if (fact()) return;
    await new Promise((done) => setTimeout(done, 2));
  }
  throw new Error(`never: ${what}`);
}
