// The screen of the check before a call.

import * as api from '../api.js';
import * as devices from '../call/devices.js';
import { callEcho, checkRoute, meterLevel, playTone, startingMedia } from '../call/check.js';
import { h, fill, action, guard } from '../dom.js';

const TITLES = { camera: 'Camera', microphone: 'Microphone', speaker: 'Speaker', socket: 'Connection', stun: 'Public address', turn_udp: 'Relay', turn_tcp: 'Relay by TCP' };
const FINDINGS = { ok: ['good', '✓', 'works'], failed: ['bad', '✕', 'does not work'], skipped: ['plain', '–', 'not checked'], running: ['plain', '…', 'checking'] };
const HELP = {
  socket: 'This page has no connection to the hub. Check your internet connection; chat will be sent as soon as it is back.',
  stun: 'Your network does not let this page find its own address. A call may still work over the relay.',
  turn_udp: 'Your network blocks fast connections. A call may work over TCP, with more delay.',
  turn_tcp: 'Your network blocks the relay. Try another network, for example your phone\'s.',
  speaker: 'Turn the volume up, or choose another speaker in your system\'s settings.',
};
const VERDICTS = { video: 'You are ready for a video call.', audio: 'You are ready for a call without a picture.' };

export function checkScreen(app, id) {
  const room = app.room(id);
  const findings = { camera: 'running', microphone: 'running', speaker: 'skipped', socket: 'running', stun: 'running', turn_udp: 'running', turn_tcp: 'running' };
  const rows = Object.fromEntries(Object.keys(TITLES).map((name) => [name, { chip: h('span'), help: h('p.help'), more: h('div') }]));
  const verdict = h('p.state', { role: 'status', testid: 'check-verdict' });
  let stream = null;
  let stopMeter = () => {};
  let echoCall = null;
  const heard = h('div.echo', { testid: 'echo' });

  const set = (name, finding, help = '') => {
    findings[name] = finding;
    const [kind, sign, word] = FINDINGS[finding];
    const { chip, help: text } = rows[name];
    chip.className = `chip ${kind}`;
    chip.dataset.testid = `check-${name}`;
    chip.dataset.state = finding;
    fill(chip, h('i', { aria: { hidden: 'true' } }, sign), word);
    text.textContent = finding === 'failed' ? help || (HELP[name] ?? '') : '';
    const open = Object.values(findings).includes('running');
    verdict.textContent = open ? 'Checking…' : VERDICTS[startingMedia(findings)] ?? 'A call will not work now, but the chat does.';
  };

  const testSpeaker = () => {
    playTone();
    fill(rows.speaker.more, h('span', {}, 'Did you hear a tone? '), h('button', { testid: 'heard', onclick: () => set('speaker', 'ok') }, 'Yes'), h('button', { onclick: () => set('speaker', 'failed') }, 'No'));
  };

  const addTrack = async (kind, name) => {
    try {
      const track = await devices.fresh(kind);
      stream.addTrack(track);
      return track;
    } catch (error) {
      set(name, error.name === 'NotFoundError' ? 'skipped' : 'failed', devices.why(error));
      return null;
    }
  };

  const hangUp = () => {
    echoCall?.stop();
    echoCall = null;
    fill(heard);
  };

  const call = async () => {
    hangUp();
    if (!stream?.getTracks().length) throw new Error('There is neither a microphone nor a camera to try.');
    const { ice_servers: servers } = await api.get('/v1/ice-servers');
    const current = await callEcho(servers, stream, async (sdp) => (await api.send('POST', '/v1/echo', { sdp })).sdp);
    echoCall = current;
    const picture = h('video', { autoplay: true, playsInline: true, testid: 'echo-picture' });
    picture.srcObject = current.stream;
    const state = h('p', { role: 'status', testid: 'echo-state' }, 'Connecting…');
    fill(heard, picture, state, h('button', { testid: 'echo-stop', onclick: hangUp }, 'Hang up'));
    const watch = setInterval(() => guard(async () => {
      const { audio } = await current.packetsReceived();
      if (audio) state.textContent = 'Say something: you should hear it a moment later. If you do, so will the other side.';
    }), 300);
    current.ended.then(() => {
      clearInterval(watch);
      if (echoCall !== current) return;
      hangUp();
      fill(heard, h('p', { role: 'status' }, 'The echo call has ended.'));
    });
  };

  const run = async () => {
    close();
    for (const name of Object.keys(findings)) if (name !== 'speaker') set(name, 'running');
    stream = new MediaStream();
    set('socket', app.client.state === 'live' ? 'ok' : 'failed');
    const networks = api.get('/v1/ice-servers').then(
      ({ ice_servers: servers }) => Promise.all(['stun', 'turn_udp', 'turn_tcp'].map(async (route) => set(route, await checkRoute(servers, route)))),
      () => ['stun', 'turn_udp', 'turn_tcp'].forEach((way) => set(way, 'failed')),
    );
    if (await addTrack('video', 'camera')) {
      const picture = h('video', { autoplay: true, playsInline: true, muted: true });
      picture.srcObject = stream;
      fill(rows.camera.more, picture);
      set('camera', 'ok');
    }
    if (await addTrack('audio', 'microphone')) {
      const meter = h('meter', { min: 0, max: 1, aria: { label: 'Level of the microphone' } });
      fill(rows.microphone.more, meter, h('small', {}, 'Say something: the bar should move.'));
      stopMeter = meterLevel(stream, (now) => (meter.value = now));
      set('microphone', 'ok');
    }
    await networks;
  };

  const close = () => {
    stopMeter();
    stopMeter = () => {};
    hangUp();
    stream?.getTracks().forEach((track) => track.stop());
  };

  const save = async () => {
    if (Object.values(findings).includes('running')) throw new Error('The check still runs.');
    const begin = startingMedia(findings);
    await room.submit('call.check', { ...findings, ...(begin && { start: begin }) });
    app.go(`/room/${id}`);
  };

  app.on(window, 'hashchange', close);
  fill(rows.speaker.more, h('button', { testid: 'play-tone', onclick: testSpeaker }, 'Play a tone'));
  set('speaker', 'skipped');
  guard(run);
  return h('section.card', {},
    h('a.back', { href: `#/room/${id}` }, '← Back'),
    h('h1', {}, 'Is everything ready for a call?'), verdict,
    h('ul.checks', {}, Object.entries(rows).map(([name, { chip, help, more }]) => h('li', {}, h('b', {}, TITLES[name]), chip, more, help))),
    app.user.role !== 'guest' && [
      h('h2', {}, 'Can I be heard?'),
      h('p', {}, 'Call the echo: it sends back what you say and show, to you alone. Nothing is kept. It hangs up after a minute.'),
      action('Call the echo', call, { testid: 'echo-call' }), heard,
    ],
    h('div.buttons', {}, action('Done', save, { class: 'primary', testid: 'check-save' }), action('Check again', run, { testid: 'check-again' })));
}
