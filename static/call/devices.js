// Camera, microphone and speaker: selection, remembered choice, replacement during a call, and recovery after the system
// revoked them.

const KEY = 'wardroom-devices';

const remembered = () => {
  try {
    return JSON.parse(localStorage.getItem(KEY) ?? '{}');
  } catch {
    return {};
  }
};

export function remember(kind, id) {
  localStorage.setItem(KEY, JSON.stringify({ ...remembered(), [kind]: id }));
}

export const chosen = (kind) => remembered()[kind];

const wanted = (kind, more = {}) => {
  const id = chosen(kind);
  // `ideal`, not `exact`: a remembered device that is not plugged in must not fail the request.
  return { ...more, ...(id && { deviceId: { ideal: id } }) };
};

const VIDEO = { width: { ideal: 1280 }, height: { ideal: 720 }, frameRate: { ideal: 24 }, facingMode: 'user' };
const AUDIO = { echoCancellation: true, noiseSuppression: true, autoGainControl: true };

/** The initial stream: camera and microphone, or what is available. `media` is `video` or `audio`. */
export async function open(media) {
  const audio = wanted('microphone', AUDIO);
  try {
    return await navigator.mediaDevices.getUserMedia({ audio, video: media === 'video' && wanted('camera', VIDEO) });
  } catch (error) {
    if (media === 'audio') throw error;
    // Without a camera, an audio call still works.
    return navigator.mediaDevices.getUserMedia({ audio, video: false }).catch(() => {
      throw error;
    });
  }
}

/** A new track from the chosen device. `kind` is `audio` or `video`. */
export async function fresh(kind) {
  const stream = await navigator.mediaDevices.getUserMedia(kind === 'audio' ? { audio: wanted('microphone', AUDIO) } : { video: wanted('camera', VIDEO) });
  return stream.getTracks()[0];
}

/** The available devices: `{microphone: [{id, label}], camera: […], speaker: […]}`. */
export async function list() {
  const all = await navigator.mediaDevices.enumerateDevices();
  const of = (kind) => all.filter((it) => it.kind === kind && it.deviceId).map(({ deviceId, label }, at) => ({ id: deviceId, label: label || `Device ${at + 1}` }));
  return { microphone: of('audioinput'), camera: of('videoinput'), speaker: of('audiooutput') };
}

/** The reason why a device cannot be used, and the remedy. */
export function why(error) {
  switch (error?.name) {
    case 'NotAllowedError': return 'Your browser does not let this page use it. Allow camera and microphone beside the address, then try again.';
    case 'NotFoundError': return 'There is none. Plug one in, or go on without it.';
    case 'NotReadableError': return 'Another program uses it. Close that program, then try again.';
    default: return `It cannot be used (${error?.name ?? 'unknown'}). Try again, or use another device.`;
  }
}
