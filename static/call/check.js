// The check before a call: which of camera, microphone and ways through the network work. Knows no page.

/** How long a way through the network may take to be found. */
const WITHIN = 6_000;

/**
 * Whether a way through these servers exists: `ok`, `failed`, or `skipped` when there is no such server.
 * `way` is `stun`, `turn_udp` or `turn_tcp`.
 */
export function network(iceServers, way, { RTCPeerConnection = globalThis.RTCPeerConnection } = {}) {
  const fits = {
    stun: (url) => url.startsWith('stun:'),
    turn_udp: (url) => url.startsWith('turn:') && !url.includes('transport=tcp'),
    turn_tcp: (url) => url.includes('transport=tcp'),
  }[way];
  const servers = iceServers.flatMap(({ urls, ...rest }) => {
    const some = [urls].flat().filter(fits);
    return some.length ? [{ ...rest, urls: some }] : [];
  });
  if (!servers.length) return Promise.resolve('skipped');
  const pc = new RTCPeerConnection({ iceServers: servers, ...(way !== 'stun' && { iceTransportPolicy: 'relay' }) });
  return new Promise((resolve) => {
    let failed = false;
    const end = (finding) => {
      clearTimeout(timer);
      pc.onicecandidate = pc.onicecandidateerror = null;
      pc.close();
      resolve(finding);
    };
    const timer = setTimeout(() => end('failed'), WITHIN);
    pc.onicecandidateerror = () => (failed = true);
    pc.onicecandidate = ({ candidate }) => {
      if (candidate?.candidate.includes(way === 'stun' ? 'typ srflx' : 'typ relay')) end('ok');
      // A device that is not behind a router gets no address of its own told: the server answered, and that is enough.
      else if (!candidate) end(way === 'stun' && !failed ? 'ok' : 'failed');
    };
    pc.createDataChannel('check');
    pc.setLocalDescription().catch(() => end('failed'));
  });
}

/** Calls back with the microphone's level, 0 to 1, about ten times a second; returns what ends it. */
export function level(stream, told) {
  const audio = new AudioContext();
  const meter = audio.createAnalyser();
  audio.createMediaStreamSource(stream).connect(meter);
  const samples = new Float32Array(meter.fftSize);
  const timer = setInterval(() => {
    meter.getFloatTimeDomainData(samples);
    told(Math.min(1, 4 * Math.sqrt(samples.reduce((sum, it) => sum + it * it, 0) / samples.length)));
  }, 100);
  return () => {
    clearInterval(timer);
    audio.close();
  };
}

/** A second of a calm tone, for the ear. */
export function tone() {
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
 * Calls the hub's echo: what `stream` has comes back a moment later. `exchange` takes the offer's SDP and gives the
 * answer's. Gives what came back as `stream`, `moves` (whether media arrives), and `stop`; `over` settles at the end.
 */
export async function echo(iceServers, stream, exchange, { RTCPeerConnection = globalThis.RTCPeerConnection } = {}) {
  const pc = new RTCPeerConnection({ iceServers });
  const back = new MediaStream();
  pc.ontrack = ({ track }) => back.addTrack(track);
  const over = new Promise((resolve) => {
    pc.onconnectionstatechange = () => ['failed', 'closed', 'disconnected'].includes(pc.connectionState) && resolve();
  });
  try {
    for (const track of stream.getTracks()) pc.addTrack(track, stream);
    await pc.setLocalDescription();
    await gathered(pc);
    await pc.setRemoteDescription({ type: 'answer', sdp: await exchange(pc.localDescription.sdp) });
  } catch (error) {
    pc.close();
    throw error;
  }
  return { stream: back, over, stop: () => pc.close(), moves: () => arrived(pc) };
}

/** All candidates, or those found within two seconds: a server that does not answer must not hold up the rest. */
function gathered(pc) {
  if (pc.iceGatheringState === 'complete') return Promise.resolve();
  return new Promise((resolve) => {
    const timer = setTimeout(resolve, 2_000);
    pc.onicegatheringstatechange = () => {
      if (pc.iceGatheringState !== 'complete') return;
      clearTimeout(timer);
      resolve();
    };
  });
}

/** The packets of sound and picture that came. */
async function arrived(pc) {
  const stats = [...(await pc.getStats()).values()];
  return Object.fromEntries(['audio', 'video'].map((kind) => [kind, stats.find((it) => it.type === 'inbound-rtp' && it.kind === kind)?.packetsReceived ?? 0]));
}

/** Where on the ladder a device begins: `video`, `audio`, or undefined for chat. */
export function start({ camera, microphone, stun, turn_udp: udp, turn_tcp: tcp }) {
  const network = [stun, udp, tcp];
  const reachable = network.includes('ok') || network.every((it) => it === 'skipped');
  if (microphone !== 'ok' || !reachable) return undefined;
  return camera === 'ok' ? 'video' : 'audio';
}
