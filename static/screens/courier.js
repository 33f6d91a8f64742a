// A courier's home: the parcels assigned to them.

import { h, fill, foreign, loading, empty } from '../dom.js';
import { stateChip, missingRows, newestFirst } from '../widgets.js';

export function courierHome(app) {
  const rows = h('div.rows', { testid: 'parcels' }, loading());
  app.follow({ name: 'me' }, (items, missing) => fill(rows, items.length
    ? [newestFirst(items).map((row) => h('a.row', { href: `#/room/${row.room}`, testid: 'delivery-row', data: { state: row.state } },
      h('span.row-main', {}, h('b', {}, foreign(row.recipient.name)), h('small', {}, foreign(row.address)), h('small', {}, 'From ', foreign(row.pharmacy.name))), stateChip(row.state, 'delivery'))), missingRows(missing)]
    : empty('No parcels', 'Parcels appear here as soon as a pharmacy assigns them to you.')));
  return h('section.card', {}, h('h1', {}, 'My parcels'), rows);
}
