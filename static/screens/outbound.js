// The hub's deliveries to other systems, for administrators: receivers, their state, and dead letters.

import * as api from '../api.js';
import { h, action, empty, loading } from '../dom.js';
import { formatMoment } from '../labels.js';

const BREAKERS = { closed: ['good', 'working'], half_open: ['held', 'trying again'], open: ['bad', 'paused'] };

export function outboundPanel(app) {
  const lanes = h('div.rows', { testid: 'sinks' }, loading());
  const dead = h('div.rows', { testid: 'dead-letters' }, loading());
  const lane = ({ sink, lane, breaker, waiting, sending, done, dead, lag_s: lag, attempts }) => {
    const [kind, text] = BREAKERS[breaker];
    const counts = [`${done} sent`, waiting + sending && `${waiting + sending} on their way`, lag > 5 && `${lag} s late`, attempts > 1 && `${attempts} attempts`, dead && `${dead} dead`];
    return h('div.row', { testid: 'sink-row', data: { sink, breaker } },
      h('span.row-main', {}, h('b', {}, `${sink}: ${lane}`), h('small', {}, counts.filter(Boolean).join(' · '))), h(`span.chip.${kind}`, {}, text));
  };
  const letter = ({ id, sink, kind, attempts, last_error: why, created_at: at }) => h('div.row', { testid: 'dead-letter' },
    h('span.row-main', {}, h('b', {}, `${sink}: ${kind}`), h('small', {}, `${formatMoment(at)} · ${attempts} attempts · ${why ?? ''}`)),
    action('Send again', async () => { await api.send('POST', `/v1/dispatches/${id}/retry`); show(); again(); }, { testid: 'dead-letter-retry' }));
  const show = app.load(lanes, () => api.get('/v1/sinks'), ({ sinks }) => (sinks.length ? sinks.map(lane) : empty('Nothing sent yet')));
  const again = app.load(dead, () => api.get('/v1/dispatches?state=dead&limit=200'), ({ items, next }) => (items.length ? [items.map(letter), next && h('p.muted', { testid: 'missing-rows' }, `Only the newest ${items.length} are shown.`)] : empty('No dead letters')));
  app.every(10_000, show);
  return h('section.card', {}, h('h2', {}, 'Outgoing deliveries'), lanes, h('h3', {}, 'Dead letters'), dead);
}
