// Notification settings, a part of the account screen.

import * as api from '../api.js';
import * as notify from '../notify.js';
import { h, fill, field, toast } from '../dom.js';

const KINDS = {
  call: 'Calls that ring', missed_call: 'Missed calls', message: 'Messages', consultation: 'Bookings and consultations',
  prescription: 'Prescriptions', delivery: 'Deliveries', payment: 'Payments',
};
const formatMinutes = (minutes) => `${String(Math.floor(minutes / 60)).padStart(2, '0')}:${String(minutes % 60).padStart(2, '0')}`;
const parseMinutes = (text) => text.split(':').reduce((sum, part) => sum * 60 + Number(part), 0);

export function notificationsPanel(app) {
  const here = h('div.fields');
  const preferences = h('div.fields', { testid: 'notify-kinds' });
  const box = h('section', {}, h('h2', {}, 'Notifications'), here, h('h3', {}, 'On all your devices'), preferences);
  fill(here, notify.supported() ? device(app) : h('p.muted', {}, 'This browser cannot be notified.'));
  app.load(preferences, () => api.get('/v1/push/preferences'), choices);
  return box;
}

function device(app) {
  const toggle = h('input', { type: 'checkbox', testid: 'notify-device', checked: notify.isOn(app.user), onchange: async () => {
    toggle.disabled = true;
    try {
      await (toggle.checked ? notify.enable(app.user) : notify.disable(app.user));
    } catch (error) {
      toast(error.message, 'bad');
    }
    toggle.checked = notify.isOn(app.user);
    toggle.disabled = false;
  } });
  const language = h('select', { testid: 'notify-language', onchange: () => notify.setLanguage(language.value) },
    Object.entries(notify.LANGUAGES).map(([value, name]) => h('option', { value, selected: value === notify.language() }, name)));
  return [
    h('label.check', {}, toggle, 'Notify this device when I am away'),
    field('Language of notifications here', language),
    h('p.muted', {}, 'A notification names the kind of news, never its content.'),
  ];
}

function choices({ muted, quiet }) {
  const save = async () => {
    const off = Object.keys(KINDS).filter((kind) => !kinds.get(kind).checked);
    const hours = from.value && until.value && from.value !== until.value
      ? { from: parseMinutes(from.value), until: parseMinutes(until.value), offset: -new Date().getTimezoneOffset() } : undefined;
    await api.send('PUT', '/v1/push/preferences', { muted: off, ...(hours && { quiet: hours }) }).catch((error) => toast(error.message, 'bad'));
  };
  const kinds = new Map(Object.keys(KINDS).map((kind) => [kind, h('input', { type: 'checkbox', testid: 'notify-kind', data: { kind }, checked: !muted.includes(kind), onchange: save })]));
  const time = (testid, value) => h('input', { type: 'time', testid, value: value === undefined ? '' : formatMinutes(value), onchange: save });
  const [from, until] = [time('notify-from', quiet?.from), time('notify-until', quiet?.until)];
  return [
    ...[...kinds].map(([kind, input]) => h('label.check', {}, input, KINDS[kind])),
    field('Quiet from', from), field('until', until, 'Only a call that rings comes through. Empty: at any time.'),
  ];
}
