// The call panel: ringing, audio and video, controls, and connection quality. It stays open while the user moves from
// screen to screen.

import * as devices from '../call/devices.js';
import { CallSession } from '../call/session.js';
import { h, fill, action, field, guard, isolate, toast } from '../dom.js';
import { roleLabel } from '../labels.js';

/** Identifies this page while it is loaded. */
const DEVICE = crypto.randomUUID();
const GRADE_LABELS = ['no connection', 'poor connection', 'fair connection', 'good connection'];
const END_TEXTS = {
  hangup: 'The call is over.', declined: 'The call was declined.', missed: 'Nobody answered.', consultation: 'The consultation has moved on; the call is over.',
  device: 'The call ended: a camera or microphone could not be used.', ice_failed: 'The call ended: no network path between the two sides was found.',
};

export class Calls {
  /** @param {HTMLElement} box */
  constructor(app, box) {
    Object.assign(this, { app, box, session: null, room: null, key: '' });
    /** The other members' tiles, by user. */
    this.tiles = new Map();
    this.remotes = h('div.remotes');
    this.local = h('video', { autoplay: true, playsInline: true, muted: true, testid: 'call-local' });
    this.status = h('p.call-state', { role: 'status', testid: 'call-state' });
    this.quality = h('p.quality', { testid: 'call-quality' });
    this.stop = new AbortController();
    const on = (target, type, run) => target.addEventListener(type, run, { signal: this.stop.signal });
    // The system does not return a device that it took while the page was hidden, for example for a phone call.
    on(document, 'visibilitychange', () => document.visibilityState === 'visible' && this.reacquire());
    if (navigator.mediaDevices) on(navigator.mediaDevices, 'devicechange', () => this.reacquire());
  }

  /** Shows the calls of a room from now on. */
  watch(room) {
    room.addEventListener('change', () => this.show(room), { signal: this.stop.signal });
  }

  /** Starts a call. */
  async start(room, media) {
    this.stream = await this.open(media);
    try {
      await room.submit('call.start', { media: this.stream.getVideoTracks().length ? 'video' : 'audio' });
    } catch (error) {
      this.drop();
      throw error;
    }
  }

  async answer(room, call, media) {
    this.stream = await this.open(media);
    await room.submit('call.join', { call });
  }

  async open(media) {
    try {
      const stream = await devices.open(media);
      if (media === 'video' && !stream.getVideoTracks().length) toast('No camera: you are heard, but not seen.', 'bad');
      return stream;
    } catch (error) {
      throw new Error(devices.why(error));
    }
  }

  show(room) {
    const call = room.snapshot?.call;
    const me = this.app.user.id;
    const mine = call?.members.some(({ user }) => user === me);
    if (this.session && this.room === room && (!call || call.state === 'ended' || call.id !== this.session.call || !mine)) this.finish(room);
    if (!call || call.state === 'ended') {
      if (this.room === room || this.room === null) this.render('');
      return;
    }
    this.room = room;
    if (!mine) {
      const open = call.allowed[this.app.user.role]?.includes('call.join');
      return this.render(open ? `in:${call.id}:${call.state === 'ringing'}` : '', () => this.incoming(room, call));
    }
    if (!this.session && this.stream) this.begin(room, call);
    if (!this.session) return this.render(`off:${call.id}`, () => this.elsewhere(room, call, 'Your call continues without this page.'));
    if (this.session.elsewhere) return this.render(`else:${call.id}`, () => this.elsewhere(room, call, 'This call is on another device or tab of yours.'));
    this.render(`on:${call.id}`, () => this.stage(room, call));
    this.update(room, call);
  }

  begin(room, call, take = false) {
    const session = (this.session = new CallSession({ client: this.app.client, room, call: call.id, device: DEVICE, local: this.stream }));
    this.watchTracks();
    for (const type of ['change', 'elsewhere']) session.addEventListener(type, () => this.show(room));
    session.addEventListener('taken', () => {
      this.release();
      toast('You continued this call on another device or tab.');
      this.show(room);
    });
    session.attach(take);
  }

  /** Ends this page's part in the call and logs the flight recorder's report. */
  finish(room) {
    const { session } = this;
    this.session = null;
    for (const report of session.reports()) if (report.quality.path !== 'none') room.command('call.report', report);
    session.end();
    this.release();
    const end = room.events.findLast(({ kind, data }) => kind === 'call.ended' && data.call === session.call);
    if (end) toast(END_TEXTS[end.data.why] ?? 'The call is over.');
  }

  release() {
    for (const track of this.stream?.getTracks() ?? []) track.stop();
    this.shared?.stop();
    this.stream = this.shared = null;
    this.local.srcObject = null;
    for (const { tile } of this.tiles.values()) tile.remove();
    this.tiles.clear();
  }

  /** Called at sign-out. */
  drop() {
    this.session?.end();
    this.session = null;
    this.release();
    this.render('');
  }

  close() {
    this.stop.abort();
    this.drop();
  }

  // --- display ---

  /** Rebuilds the panel only when another view is due, so that focus and video are not lost. */
  render(key, make) {
    if (key === this.key) return;
    this.key = key;
    this.box.hidden = !key;
    fill(this.box, key ? make() : []);
  }

  incoming(room, call) {
    const from = names(room, call.members.map(({ user }) => user), true) || 'somebody';
    const accept = (media, label, testid, style) => action(label, () => this.answer(room, call.id, media), { class: style, testid });
    const ringing = call.state === 'ringing';
    return h('div.incoming', { role: 'alertdialog', aria: { label: `Call from ${from}` }, testid: 'call-incoming' },
      h('h2', {}, ringing ? `${from} is calling` : `A call with ${from} is in progress`),
      h('div.buttons', {},
        call.media === 'video' && accept('video', ringing ? 'Answer with video' : 'Join with video', 'call-accept', 'primary'),
        accept('audio', ringing ? 'Answer without camera' : 'Join without camera', 'call-accept-audio', call.media === 'audio' ? 'primary' : ''),
        ringing && action('Decline', () => room.submit('call.decline', { call: call.id }), { class: 'quiet', testid: 'call-decline' })));
  }

  elsewhere(room, call, text) {
    return h('div.incoming', { testid: 'call-elsewhere' },
      h('h2', {}, text),
      h('div.buttons', {},
        action('Continue here', async () => {
          this.stream = await this.open(call.media);
          this.session?.end();
          this.key = '';
          this.begin(room, call, true);
          this.show(room);
        }, { class: 'primary', testid: 'call-take' }),
        this.hangUp(room, call)));
  }

  hangUp(room, call) {
    return action('Hang up', () => room.submit('call.leave', { call: call.id, why: 'hangup' }), { class: 'hangup', testid: 'call-hangup' });
  }

  stage(room, call) {
    this.panel = h('div.devices', { hidden: true, testid: 'call-devices' });
    this.buttons = {
      microphone: h('button', { type: 'button', testid: 'call-mute', onclick: () => this.toggle('microphone') }),
      camera: h('button', { type: 'button', testid: 'call-camera', onclick: () => this.toggle('camera') }),
      screen: h('button', { type: 'button', testid: 'call-share', onclick: () => this.share().catch((error) => error.name !== 'NotAllowedError' && toast(devices.why(error), 'bad')) }),
    };
    return [
      h('div.stage', { testid: 'call-stage' }, this.remotes, h('div.self', {}, this.local), h('div.overlay', {}, this.status, this.quality)),
      h('div.controls', { role: 'group', aria: { label: 'Call' } }, Object.values(this.buttons),
        h('button', { type: 'button', testid: 'call-settings', aria: { expanded: 'false' }, onclick: (event) => this.settings(event.currentTarget) }, 'Devices'),
        this.hangUp(room, call)),
      this.panel,
    ];
  }

  update(room, call) {
    const { session } = this;
    const others = call.members.map(({ user }) => user).filter((user) => user !== this.app.user.id);
    session.setMembers(others);
    this.updateTiles(room, others);
    show(this.local, this.stream);
    const peers = others.map((user) => ({ name: names(room, [user]), ...session.peers.get(user) }));
    const muted = peers.filter(({ remoteState }) => remoteState?.microphone === false).map(({ name }) => `${name} has muted the microphone.`);
    const dark = peers.map(({ name, remoteState }) => (remoteState?.paused ? `${name}'s video is paused to keep the audio.` : remoteState?.camera === false && `${name} has the camera off.`));
    const texts = {
      ringing: `Calling ${isolate(otherSide(room, this.app.user.id)?.name ?? '')}…`, connecting: 'Connecting…', reconnecting: 'The connection was lost. Reconnecting…',
    };
    const state = call.state === 'ringing' ? 'ringing' : connectionState(peers);
    this.box.dataset.state = state;
    this.status.textContent = texts[state] ?? [...muted, ...dark.filter(Boolean)].join(' ');
    const [grade] = peers.flatMap((peer) => peer.grade ?? []).sort((one, two) => one.level - two.level);
    this.quality.dataset.level = grade?.level ?? '';
    this.quality.textContent = grade ? `${GRADE_LABELS[grade.level]}${grade.cause ? `: ${grade.cause}` : ''}${session.ownState.paused ? '. Your video is paused to keep the audio.' : ''}` : '';
    const { microphone, camera, screen } = session.ownState;
    label(this.buttons.microphone, microphone ? 'Mute' : 'Unmute', !microphone);
    label(this.buttons.camera, camera ? 'Camera off' : 'Camera on', !camera);
    label(this.buttons.screen, screen ? 'Stop sharing' : 'Share screen', !!screen);
    this.buttons.screen.hidden = !navigator.mediaDevices.getDisplayMedia;
  }

  /** One tile for each other member, named where there are several. */
  updateTiles(room, others) {
    for (const [user, { tile }] of this.tiles) {
      if (others.includes(user)) continue;
      tile.remove();
      this.tiles.delete(user);
    }
    for (const user of others) {
      if (!this.tiles.has(user)) {
        const video = h('video', { autoplay: true, playsInline: true, testid: 'call-remote', data: { user } });
        const tile = h('figure.tile', {}, video, h('figcaption', {}, names(room, [user], true)));
        this.tiles.set(user, { tile, video });
        this.remotes.append(tile);
      }
      const { video } = this.tiles.get(user);
      show(video, this.session.peers.get(user)?.stream);
      const sink = devices.chosen('speaker');
      if (sink && video.setSinkId && video.sinkId !== sink) video.setSinkId(sink).catch(() => {});
    }
    this.remotes.dataset.count = others.length;
  }

  // --- user actions ---

  async toggle(what) {
    const kind = what === 'camera' ? 'video' : 'audio';
    const { session } = this;
    const on = !session.ownState[what];
    try {
      const track = this.stream.getTracks().find((it) => it.kind === kind);
      if (on && (!track || track.readyState === 'ended')) await this.swap(kind);
      else if (track) track.enabled = on;
      session.shareState({ [what]: on });
    } catch (error) {
      toast(devices.why(error), 'bad');
    }
  }

  /** Replaces the current track by one from the chosen device. */
  async swap(kind) {
    const old = this.stream.getTracks().find((it) => it.kind === kind);
    const enabled = old?.enabled ?? true;
    old?.stop();
    const track = await devices.fresh(kind);
    track.enabled = enabled;
    await this.session.replace(kind, track);
    this.watchTracks();
    show(this.local, this.stream, true);
  }

  async share() {
    const { session } = this;
    if (this.shared) {
      this.shared.stop();
      this.shared = null;
      session.shareState({ screen: false });
      const camera = session.ownState.camera ? await devices.fresh('video').catch(() => null) : null;
      return session.replace('video', camera);
    }
    const [track] = (await navigator.mediaDevices.getDisplayMedia({ video: true })).getVideoTracks();
    this.stream.getVideoTracks().forEach((it) => it.stop());
    this.shared = track;
    track.onended = () => this.shared === track && guard(() => this.share());
    await session.replace('video', track);
    session.shareState({ screen: true });
  }

  /** Reopens a device that the system took, if it is available. */
  async reacquire() {
    if (!this.session || this.session.elsewhere) return;
    for (const track of this.stream.getTracks()) {
      const wanted = track.kind === 'audio' ? this.session.ownState.microphone : this.session.ownState.camera;
      if (wanted && track !== this.shared && (track.readyState === 'ended' || track.muted)) await this.swap(track.kind).catch(() => {});
    }
  }

  watchTracks() {
    for (const track of this.stream.getTracks()) track.onended = () => track !== this.shared && this.reacquire();
  }

  async settings(button) {
    this.panel.hidden = !this.panel.hidden;
    button.setAttribute('aria-expanded', String(!this.panel.hidden));
    if (this.panel.hidden) return;
    const found = await devices.list();
    const choice = (kind, title, apply) => {
      if (!found[kind].length) return null;
      const select = h('select', { testid: `choose-${kind}`, onchange: () => {
        devices.remember(kind, select.value);
        apply().catch((error) => toast(devices.why(error), 'bad'));
      } }, found[kind].map(({ id, label: text }) => h('option', { value: id, selected: id === devices.chosen(kind) }, text)));
      return field(title, select);
    };
    fill(this.panel,
      choice('microphone', 'Microphone', () => this.swap('audio')),
      choice('camera', 'Camera', () => this.swap('video')),
      this.local.setSinkId && choice('speaker', 'Speaker', () => Promise.all([...this.tiles.values()].map(({ video }) => video.setSinkId(devices.chosen('speaker'))))));
  }
}

function otherSide(room, me) {
  const { patient, doctor } = room.snapshot;
  return me === patient.id ? doctor : patient;
}

/** The names as a list in prose: "Ada, Ben and Cleo", or with roles "Ada (patient) and Ben (doctor)". */
function names(room, users, withRoles = false) {
  const { patient, doctor, guests = [] } = room.snapshot;
  const people = [[patient, 'patient'], [doctor, 'doctor'], ...guests.map((guest) => [guest, 'guest'])];
  const known = people.filter(([it]) => it && users.includes(it.id)).map(([{ name }, role]) => isolate(name) + (withRoles ? ` (${roleLabel(role)})` : ''));
  return [known.slice(0, -1).join(', '), known.at(-1)].filter(Boolean).join(' and ');
}

/** The call's connection state on this page, over all peers. */
function connectionState(peers) {
  if (peers.length && peers.every(({ state }) => state === 'connected')) return 'connected';
  return peers.some(({ recorder, state }) => recorder?.first && state !== 'connected') ? 'reconnecting' : 'connecting';
}

function show(video, stream, again = false) {
  if (video.srcObject !== (stream ?? null) || again) video.srcObject = stream ?? null;
}

function label(button, text, pressed) {
  if (button.textContent !== text) button.textContent = text;
  button.setAttribute('aria-pressed', String(pressed));
}

/** The buttons that start a call or check the devices for one, where that is allowed. */
export function callButtons(app, room) {
  const may = (kind) => room.allows(room.snapshot?.consultation, app.user.role, kind);
  return (may('call.start') || may('call.check')) && h('div.buttons.call-start', {},
    may('call.start') && action('Video call', () => app.calls.start(room, 'video'), { class: 'primary', testid: 'call-video' }),
    may('call.start') && action('Audio call', () => app.calls.start(room, 'audio'), { testid: 'call-audio' }),
    may('call.check') && h('a.button.quiet', { href: `#/check/${room.id}`, testid: 'check-open' }, 'Check camera and microphone'));
}
