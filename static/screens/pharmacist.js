// A pharmacist's home: the pharmacy's live queue.

import * as api from '../api.js';
import { h, fill, foreign, action, loading, empty } from '../dom.js';
import { stateChip, missingRows, newestFirst } from '../widgets.js';
import { formatMoment } from '../labels.js';

const DONE = ['completed', 'declined', 'cancelled', 'returned_to_stock'];
/** The number of finished rows shown. */
const MAX_DONE_ROWS = 20;

export function pharmacyHome(app) {
  const open = h('div.rows', { testid: 'queue' }, loading());
  const done = h('div.rows', {});
  app.follow({ name: 'queue' }, (items, missing) => {
    const [working, over] = [items.filter((row) => !DONE.includes(row.state)), items.filter((row) => DONE.includes(row.state))];
    fill(open, working.length ? [newestFirst(working).map((row) => entry(app, row)), missingRows(missing)] : empty('The queue is empty', 'New prescriptions appear here by themselves.'));
    fill(done, newestFirst(over).slice(0, MAX_DONE_ROWS).map((row) => entry(app, row)), missingRows(over.length - MAX_DONE_ROWS));
  });
  return h('div.columns', {}, h('section.card', {}, h('h1', {}, 'Prescriptions to dispense'), open), h('section.card', {}, h('h2', {}, 'Finished'), done));
}

function entry(app, row) {
  return h('div.row', { testid: 'queue-row', data: { state: row.state, room: row.room } },
    h('span.row-main', {}, h('b', {}, foreign(row.patient.name)), h('small', {}, `${row.items} ${row.items === 1 ? 'medicine' : 'medicines'} · ${row.delivery ? 'delivery' : 'pick-up'} · ${formatMoment(row.received_at)}`)),
    stateChip(row.state, 'dispensing'),
    row.state === 'received' && action('Claim', async () => {
      await api.send('POST', `/v1/dispensings/${row.dispensing}/claim`, {});
      app.go(`/room/${row.room}`);
    }, { class: 'primary', testid: 'queue-claim' }),
    h('a.button', { href: `#/room/${row.room}`, testid: 'queue-open' }, 'Open'));
}
