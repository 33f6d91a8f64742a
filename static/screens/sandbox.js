// The sandboxes' mail and parcels, for administrators; empty with real partners.

import * as api from '../api.js';
import { h, foreign, action, empty, loading } from '../dom.js';
import { stateLabel, formatMoment } from '../labels.js';

const STEPS = ['picked_up', 'in_transit', 'out_for_delivery', 'delivered', 'attempt_failed', 'rescheduled', 'returning', 'returned', 'lost'];
/** The most rows that the hub returns. */
const MAX_ROWS = 50;

export function sandboxPanel(app) {
  const mails = h('div.rows', { testid: 'sandbox-mail' }, loading());
  const parcels = h('div.rows', { testid: 'sandbox-parcels' }, loading());
  // With a real partner there is no sandbox.
  const get = (path) => async () => {
    try {
      return (await api.get(path)).items;
    } catch (error) {
      if (error.status === 404) return [];
      throw error;
    }
  };
  const mail = ({ id, at, to, subject, text }) => h('details.row', { testid: 'sandbox-mail-row', data: { id } },
    h('summary', {}, h('b', {}, foreign(subject)), h('small', {}, ' ', foreign(to), ` · ${formatMoment(at)}`)), foreign(text, 'pre'));
  const parcel = ({ id, state, room, updated_at: at }) => {
    const to = h('select', { aria: { label: 'Step' } }, STEPS.map((step) => h('option', { value: step }, stateLabel(step, 'delivery'))));
    const report = async () => {
      await api.send('POST', `/v1/sandbox/parcels/${id}/moves`, { to: to.value });
      await again();
    };
    return h('div.row', { testid: 'sandbox-parcel', data: { state, room } },
      h('span.row-main', {}, h('b', {}, stateLabel(state, 'delivery')), h('small', {}, formatMoment(at))), to, action('Report', report, { class: 'quiet' }));
  };
  const list = (rows, one, none) => (rows.length
    ? [rows.map(one), rows.length >= MAX_ROWS && h('p.muted', { testid: 'missing-rows' }, `Only the newest ${MAX_ROWS} are shown.`)]
    : empty(none));
  const loadMail = app.load(mails, get('/v1/sandbox/mail'), (rows) => list(rows, mail, 'No mail yet'));
  const again = app.load(parcels, get('/v1/sandbox/parcels'), (rows) => list(rows, parcel, 'No parcels with the sandbox courier'));
  return h('section.card', {}, h('h2', {}, 'Sandbox mail'), mails, action('Refresh', () => Promise.all([loadMail(), again()]), { class: 'quiet' }),
    h('h2', {}, 'Sandbox courier'), parcels);
}
