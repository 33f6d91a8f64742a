// An administrator's home: users, deliveries, webhooks and sandboxes.

import * as api from '../api.js';
import { h, foreign, isolate, action, loading } from '../dom.js';
import { outboundPanel } from './outbound.js';
import { sandboxPanel } from './sandbox.js';
import { webhooksPanel } from './webhooks.js';

export function adminHome(app) {
  const rows = h('div.rows', { testid: 'users' }, loading());
  let pharmacies = [];
  const get = async () => {
    ({ items: pharmacies } = await api.getAll('/v1/pharmacies?limit=200'));
    return (await api.getAll('/v1/users?limit=200')).items;
  };
  const entry = (user) => {
    const pharmacy = user.role === 'pharmacist' && h('select', { aria: { label: 'Pharmacy' } }, pharmacies.map(({ id, name }) => h('option', { value: id, selected: id === user.pharmacy }, isolate(name))));
    const change = (status) => async () => {
      await api.send('PATCH', `/v1/users/${user.id}`, { status, ...(pharmacy && { pharmacy: pharmacy.value }) }, { version: user.version });
      await load();
    };
    return h('div.row', { testid: 'user-row', data: { status: user.status, email: user.email } },
      h('span.row-main', {}, h('b', {}, foreign(user.name)), h('small', {}, foreign(user.email), ` · ${user.role}`)), pharmacy, h('span.chip.plain', {}, user.status),
      user.status === 'active' ? action('Disable', change('disabled'), { class: 'quiet', testid: 'user-disable' }) : action(user.status === 'pending' ? 'Approve' : 'Enable', change('active'), { class: 'primary', testid: 'user-approve' }));
  };
  const order = (users) => users.sort((a, b) => (a.status === 'pending' ? -1 : 0) - (b.status === 'pending' ? -1 : 0));
  const load = app.load(rows, get, (users) => order(users).map(entry));
  return h('div.columns', {}, h('section.card', {}, h('h1', {}, 'People'), rows), outboundPanel(app), webhooksPanel(app), sandboxPanel(app));
}
