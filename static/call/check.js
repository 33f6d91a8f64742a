// The check before a call: camera, microphone and network routes. Independent of any page.

/** Time limit for finding a route, in milliseconds. */
const ROUTE_TIMEOUT_MS = 6_000;
/** Time limit for gathering the candidates of the echo's offer, in milliseconds. */
const GATHERING_TIMEOUT_MS = 2_000;

/**
 * Whether a route through these servers exists: `ok`, `failed`, or `skipped` without such a server.
 * `route` is `stun`, `turn_udp` or `turn_tcp`.
 */
export function checkRoute(iceServers, route, { RTCPeerConnection = globalThis.RTCPeerConnection } = {}) {
  const fits = {
    stun: (url) => url.startsWith('stun:'),
    turn_udp: (url) => url.startsWith('turn:') && !url.includes('transport=tcp'),
    turn_tcp: (url) => url.includes('transport=tcp'),
  }[route];
  const servers = iceServers.flatMap(({ urls, ...rest }) => {
    const some = [urls].flat().filter(fits);
    return some.length ? [{ ...rest, urls: some }] : [];
  });
  if (!servers.length) return Promise.resolve('skipped');
  const pc = new RTCPeerConnection({ iceServers: servers, ...(route !== 'stun' && { iceTransportPolicy: 'relay' }) });
  return new Promise((resolve) => {
    let failed = false;
    const end = (finding) => {
      clearTimeout(timer);
      pc.onicecandidate = pc.onicecandidateerror = null;
      pc.close();
      resolve(finding);
    };
    const timer = setTimeout(() => end('failed'), ROUTE_TIMEOUT_MS);
    pc.onicecandidateerror = () => (failed = true);
    pc.onicecandidate = ({ candidate }) => {
      if (candidate?.candidate.includes(route === 'stun' ? 'typ srflx' : 'typ relay')) end('ok');
      // A device with a public address gets no server-reflexive candidate: that the server answered is enough.
      else if (!candidate) end(route === 'stun' && !failed ? 'ok' : 'failed');
    };
    pc.createDataChannel('check');
    pc.setLocalDescription().catch(() => end('failed'));
  });
}

/** Reports the microphone's level, 0 to 1, about ten times a second; returns a function that stops it. */
export function meterLevel(stream, onLevel) {
  const audio = new AudioContext();
  const meter = audio.createAnalyser();
  audio.createMediaStreamSource(stream).connect(meter);
  const samples = new Float32Array(meter.fftSize);
  const timer = setInterval(() => {
    meter.getFloatTimeDomainData(samples);
    onLevel(Math.min(1, 4 * Math.sqrt(samples.reduce((sum, it) => sum + it * it, 0) / samples.length)));
  }, 100);
  return () => {
    clearInterval(timer);
    audio.close();
  };
}

/** Plays a test tone for one second. */
export function playTone() {
  const audio = new AudioContext();
  const source = audio.createOscillator();
  const gain = audio.createGain();
  source.frequency.value = 440;
  gain.gain.setValueAtTime(0.2, audio.currentTime);
  gain.gain.exponentialRampToValueAtTime(0.001, audio.currentTime + 1);
  source.connect(gain).connect(audio.destination);
  source.start();
  source.stop(audio.currentTime + 1);
  source.onended = () => audio.close();
}

/**
 * Calls the hub's echo, which returns the media of `stream` after a moment. `exchange` takes the offer's SDP and returns
 * the answer's. The result has the returned `stream`, `packetsReceived`, `stop`, and `ended`, which resolves at the end.
 */
export async function callEcho(iceServers, stream, exchange, { RTCPeerConnection = globalThis.RTCPeerConnection } = {}) {
  const pc = new RTCPeerConnection({ iceServers });
  const returned = new MediaStream();
  pc.ontrack = ({ track }) => returned.addTrack(track);
  const ended = new Promise((resolve) => {
    pc.onconnectionstatechange = () => ['failed', 'closed', 'disconnected'].includes(pc.connectionState) && resolve();
  });
  try {
    for (const track of stream.getTracks()) pc.addTrack(track, stream);
    await pc.setLocalDescription();
    await candidatesGathered(pc);
    await pc.setRemoteDescription({ type: 'answer', sdp: await exchange(pc.localDescription.sdp) });
  } catch (error) {
    pc.close();
    throw error;
  }
  return { stream: returned, ended, stop: () => pc.close(), packetsReceived: () => receivedPackets(pc) };
}

/** Waits for all candidates, at most two seconds: a server that does not answer must not delay the call. */
function candidatesGathered(pc) {
  if (pc.iceGatheringState === 'complete') return Promise.resolve();
  return new Promise((resolve) => {
    const timer = setTimeout(resolve, GATHERING_TIMEOUT_MS);
    pc.onicegatheringstatechange = () => {
      if (pc.iceGatheringState !== 'complete') return;
      clearTimeout(timer);
      resolve();
    };
  });
}

/** The number of audio and video packets received. */
async function receivedPackets(pc) {
  const stats = [...(await pc.getStats()).values()];
  return Object.fromEntries(['audio', 'video'].map((kind) => [kind, stats.find((it) => it.type === 'inbound-rtp' && it.kind === kind)?.packetsReceived ?? 0]));
}

/** The ladder step at which a device starts: `video`, `audio`, or undefined for chat. */
export function startingMedia({ camera, microphone, stun, turn_udp: udp, turn_tcp: tcp }) {
  const network = [stun, udp, tcp];
  const reachable = network.includes('ok') || network.every((it) => it === 'skipped');
  if (microphone !== 'ok' || !reachable) return undefined;
  return camera === 'ok' ? 'video' : 'audio';
}
