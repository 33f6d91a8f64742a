// A short sound that asks for attention.

/** Plays two tones. Without an earlier user gesture a browser may keep silent. */
export function playChime() {
  try {
    const audio = new AudioContext();
    let last = null;
    for (const at of [0, 0.25]) {
      const tone = audio.createOscillator();
      const gain = audio.createGain();
      gain.gain.setValueAtTime(0.15, audio.currentTime + at);
      gain.gain.exponentialRampToValueAtTime(0.001, audio.currentTime + at + 0.2);
      tone.connect(gain).connect(audio.destination);
      tone.start(audio.currentTime + at);
      tone.stop(audio.currentTime + at + 0.2);
      last = tone;
    }
    // Browsers allow few open audio contexts.
    last.onended = () => audio.close().catch(() => {});
  } catch {
    // A browser without sound still shows the title and the screen.
  }
}
