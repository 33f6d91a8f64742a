// Webhook endpoints, for administrators: add, test, rotate the secret, and list deliveries.

import * as api from '../api.js';
import { h, fill, field, action, empty, loading, toast } from '../dom.js';
import { formatMoment } from '../labels.js';

const STATES = { waiting: 'held', sending: 'busy', done: 'good', dropped: 'plain', dead: 'bad' };

export function webhooksPanel(app) {
  const rows = h('div.rows', { testid: 'webhooks' }, loading());
  const url = h('input', { type: 'url', maxLength: 500, placeholder: 'https://…', testid: 'webhook-url' });
  const kinds = h('input', { autocomplete: 'off', placeholder: 'dispensing.moved, delivery.moved', testid: 'webhook-kinds' });
  const fresh = h('div', { role: 'status' });

  const show = ({ secret }) => fill(fresh, field('The secret, shown this once: give it to the receiver', h('input', { readOnly: true, value: secret, testid: 'webhook-secret', onfocus: ({ target }) => target.select() })));
  const add = async () => {
    const wanted = kinds.value.split(',').map((kind) => kind.trim()).filter(Boolean);
    show(await api.send('POST', '/v1/webhooks', { url: url.value.trim(), kinds: wanted }));
    url.value = kinds.value = '';
    await load();
  };
  const log = async (id, box) => {
    const { items, next } = await api.get(`/v1/dispatches?sink=webhook&lane=${id}&limit=10`);
    fill(box, items.length ? [items.map(({ kind, state, created_at: at, attempts, last_error: why }) => h('li', { testid: 'webhook-delivery', data: { state, kind } },
      h(`span.chip.${STATES[state]}`, {}, state), ` ${kind} · ${formatMoment(at)} · ${attempts === 1 ? '1 attempt' : `${attempts} attempts`}${why ? ` · ${why}` : ''}`)), next && h('li', { testid: 'missing-rows' }, `Only the newest ${items.length} are shown.`)] : h('li', {}, 'Nothing sent yet.'));
  };
  const entry = ({ id, url: to, kinds: wanted, disabled }) => {
    const deliveries = h('ul.deliveries');
    const act = (label, run, props) => action(label, async () => { await run(); }, { class: 'quiet', ...props });
    return h('div.row', { testid: 'webhook-row', data: { disabled: !!disabled } },
      h('span.row-main.wide', {}, h('b', {}, to), h('small', {}, disabled ?? (wanted.length ? wanted.join(', ') : 'all events'))),
      act('Send a test', async () => { await api.send('POST', `/v1/webhooks/${id}/test`); toast('A test message is on its way.'); await log(id, deliveries); }, { testid: 'webhook-test' }),
      act('Log', () => log(id, deliveries), { testid: 'webhook-log' }),
      act('New secret', async () => { show(await api.send('POST', `/v1/webhooks/${id}/secret`)); await load(); }, { testid: 'webhook-rotate' }),
      disabled && act('Send again', async () => { await api.send('POST', `/v1/webhooks/${id}/enable`); await load(); }, { testid: 'webhook-enable' }),
      act('Remove', async () => { await api.send('DELETE', `/v1/webhooks/${id}`); await load(); }, { testid: 'webhook-remove' }),
      deliveries);
  };
  const load = app.load(rows, () => api.get('/v1/webhooks'), ({ items }) => (items.length ? items.map(entry) : empty('No endpoints yet')));
  return h('section.card', {}, h('h2', {}, 'Integrations'), rows, fresh,
    h('h3', {}, 'Add an endpoint'), field('Address', url), field('Kinds of events', kinds, 'Left empty: all that leave the hub. Ids and states are sent, never names or texts.'),
    action('Add', add, { class: 'primary', testid: 'webhook-add' }));
}
