// The account: profile, language of mail, and sign-ins on all devices.

import * as api from '../api.js';
import { h, foreign, action, loading, empty, field, toast } from '../dom.js';
import { notificationsPanel } from './notifications.js';
import { describeDevice, formatMoment } from '../labels.js';

const LANGUAGES = { en: 'English', ko: '한국어' };

/** The language of mail; a choice is saved immediately. */
function languagePanel(app) {
  const box = h('div.rows', {}, loading());
  app.load(box, () => api.get('/v1/me/language'), ({ language }) => {
    const choice = h('select', { testid: 'mail-language' }, Object.entries(LANGUAGES).map(([code, name]) => h('option', { value: code, selected: code === language }, name)));
    choice.addEventListener('change', () => api.send('PUT', '/v1/me/language', { language: choice.value }).then(() => toast('Saved.'), (error) => toast(error.message, 'bad')));
    return field('Language of mail', choice);
  });
  return box;
}

export function accountScreen(app) {
  const rows = h('div.rows', { testid: 'sessions' }, loading());
  const entry = (session) => h('div.row', { testid: 'session-row', data: { current: session.current } },
    h('span.row-main', {}, h('b', {}, describeDevice(session.label ?? '')), h('small', {}, `Signed in ${formatMoment(session.created_at)} · last seen ${formatMoment(session.last_seen_at)}`)),
    session.current
      ? h('span.chip.good', {}, h('i', { aria: { hidden: 'true' } }, '✓'), 'this device')
      : action('Sign out', async () => { await api.send('DELETE', `/v1/auth/sessions/${session.id}`); await load(); }, { testid: 'session-end' }));
  const load = app.load(rows, () => api.get('/v1/auth/sessions'), ({ items }) => (items.length ? items.map(entry) : empty('No sign-ins')));
  return h('section.card.account', {},
    h('a.back', { href: '#/' }, '← Back'),
    h('h1', {}, foreign(app.user.name)), h('p.muted', {}, [app.user.email, app.user.role].filter(Boolean).join(' · ')),
    notificationsPanel(app),
    languagePanel(app),
    h('h2', {}, 'Where you are signed in'), rows,
    h('p.muted', {}, 'Lost a device, or do not recognize one? Sign it out here: it is disconnected within a second.'),
    action('Sign out everywhere', async () => { await api.send('POST', '/v1/auth/sign-out-everywhere'); app.leave(); }, { testid: 'sign-out-everywhere' }));
}
