// Guests of a consultation: a relative or an interpreter, invited by a link.

import * as api from '../api.js';
import { h, fill, field, foreign, action, toast } from '../dom.js';
import { formatTime } from '../labels.js';

const KINDS = { interpreter: 'Interpreter', relative: 'Relative' };

export function guestsPanel(app, room) {
  const box = h('section.panel', { testid: 'guests-panel' });
  const mayInvite = ['patient', 'doctor'].includes(app.user.role);
  const name = h('input', { maxChars: 200, autocomplete: 'off', testid: 'guest-name' });
  const kind = h('select', { testid: 'guest-kind' }, Object.entries(KINDS).map(([value, text]) => h('option', { value }, text)));
  const form = h('details', { testid: 'guest-invite' }, h('summary', {}, 'Invite a guest'),
    h('p', {}, 'A relative or an interpreter comes in by a link, without an account. They see the chat and the calls from then on, and nothing from before.'),
    field('Name', name), field('Comes as', kind),
    action('Make a link', async () => {
      if (!name.value.trim()) throw new Error('Write the guest\'s name first.');
      await room.submit('guest.invite', { name: name.value.trim(), kind: kind.value });
      name.value = '';
      form.open = false;
    }, { class: 'primary', testid: 'guest-make' }));
  const list = h('ul.guests');
  /** Links requested so far, by guest. */
  const links = new Map();
  let shown = null;

  const pass = async (guest) => {
    const { token } = await api.get(`/v1/consultations/${room.id}/guests/${guest.id}/link`);
    const url = `${location.origin}/#guest=${token}`;
    links.set(guest.id, url);
    shown = null;
    show();
    if (await navigator.clipboard?.writeText(url).then(() => true, () => false)) toast('The link is copied.');
  };

  const entry = (guest) => h('li', { testid: 'guest', data: { name: guest.name, entered: guest.entered } },
    h('span', {}, h('b', {}, foreign(guest.name)), ` ${KINDS[guest.kind].toLowerCase()}, `, guest.entered ? (room.presence.has(guest.id) ? 'is online' : 'is offline') : `link good until ${formatTime(guest.until)}`),
    mayInvite && (links.has(guest.id)
      ? field('Pass this link on to your guest alone: whoever has it can come in', h('input', { readOnly: true, value: links.get(guest.id), testid: 'guest-url', onfocus: ({ target }) => target.select() }))
      : action('Show the link', () => pass(guest), { testid: 'guest-link' })),
    mayInvite && action('Ask to leave', () => room.submit('guest.dismiss', { guest: guest.id }), { class: 'quiet', testid: 'guest-dismiss' }));

  const show = () => {
    const { guests = [], consultation } = room.snapshot ?? {};
    const open = mayInvite && room.allows(consultation, app.user.role, 'guest.invite');
    const key = JSON.stringify([guests, open, guests.map(({ id }) => room.presence.has(id))]);
    if (key === shown) return;
    shown = key;
    fill(list, guests.map(entry));
    if (form.parentNode !== box || list.parentNode !== box) fill(box, h('h2', {}, 'Guests'), list, form);
    form.hidden = !open;
    box.hidden = !open && !guests.length;
  };
  return { box, show };
}
