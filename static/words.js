// The hub's names in people's words.

export const STATES = {
  requested: 'Slot held', booked: 'Booked', waiting: 'In the waiting room', called: 'Being called', in_progress: 'In progress',
  interrupted: 'Interrupted', wrap_up: 'Wrapping up', completed: 'Completed', cancelled: 'Cancelled', expired: 'Expired',
  no_show: 'Missed', referred: 'Referred', entered_in_error: 'Entered in error',
  draft: 'Draft', signed: 'Signed', in_review: 'In review', queried: 'Question from the pharmacy', rejected: 'Rejected',
  released: 'Signed and valid', with_pharmacy: 'With the pharmacy', superseded: 'Replaced',
  received: 'Received', accepted: 'Accepted', preparing: 'Being prepared', on_hold: 'On hold', checked: 'Checked',
  ready: 'Ready', returned_to_stock: 'Returned to stock', declined: 'Declined',
  assigned: 'Courier assigned', picked_up: 'Picked up', in_transit: 'On its way', out_for_delivery: 'Out for delivery',
  attempt_failed: 'Nobody there', rescheduled: 'Rescheduled', delivered: 'Delivered', returning: 'Coming back',
  returned: 'Returned', restocked: 'Restocked', disposed: 'Disposed of', lost: 'Lost', damaged: 'Damaged',
  pending: 'Pending', authorized: 'Authorized', captured: 'Paid', refunded: 'Refunded', failed: 'Failed',
};

/** In dispensing, `released` is another thing than for a prescription. */
export const word = (state, part) =>
  part === 'dispensing' && state === 'released' ? 'Handed to the courier'
  : part === 'dispensing' && state === 'completed' ? 'Handed over'
  : part === 'delivery' && state === 'requested' ? 'Waiting for a courier'
  : STATES[state] ?? state;

const GOOD = ['completed', 'delivered', 'captured', 'ready'];
const BAD = ['cancelled', 'expired', 'no_show', 'declined', 'rejected', 'lost', 'damaged', 'failed', 'attempt_failed', 'entered_in_error'];
const BUSY = ['called', 'in_progress', 'preparing', 'in_transit', 'out_for_delivery', 'with_pharmacy', 'picked_up'];
const HELD = ['on_hold', 'interrupted', 'queried', 'rescheduled', 'waiting'];

/** How a state looks: good, bad, busy, held or plain. */
export const tone = (state) =>
  GOOD.includes(state) ? 'good' : BAD.includes(state) ? 'bad' : BUSY.includes(state) ? 'busy' : HELD.includes(state) ? 'held' : 'plain';

/** What a move is called on its button. */
export const MOVES = {
  'dispensing.move': {
    accepted: 'Accept', declined: 'Decline', preparing: 'Start preparing', on_hold: 'Put on hold', checked: 'Checked',
    ready: 'Ready', completed: 'Hand over', returned_to_stock: 'Return to stock',
  },
  'delivery.move': {
    picked_up: 'Picked up', in_transit: 'On the way', out_for_delivery: 'Out for delivery', delivered: 'Delivered',
    attempt_failed: 'Nobody there', rescheduled: 'Reschedule', returning: 'Bring back', returned: 'Arrived back',
    restocked: 'Restock', disposed: 'Dispose', cancelled: 'Cancel delivery', lost: 'Lost', damaged: 'Damaged',
  },
};

const clock = new Intl.DateTimeFormat(undefined, { hour: '2-digit', minute: '2-digit' });
const day = new Intl.DateTimeFormat(undefined, { weekday: 'long', day: 'numeric', month: 'long' });

export const time = (at) => clock.format(new Date(at));
export const date = (at) => day.format(new Date(at));
export const when = (at) => (new Date(at).toDateString() === new Date().toDateString() ? `today ${time(at)}` : `${date(at)}, ${time(at)}`);

/** An amount in minor units, as people write it. */
export function price({ amount, currency }) {
  const format = new Intl.NumberFormat(undefined, { style: 'currency', currency });
  return format.format(amount / 10 ** format.resolvedOptions().maximumFractionDigits);
}

/** Things by the day they begin on: `[[day, things], …]`. */
export function byDay(things) {
  const days = new Map();
  for (const thing of things) days.set(date(thing.starts_at), [...(days.get(date(thing.starts_at)) ?? []), thing]);
  return [...days];
}

const first = (text, pairs) => pairs.find(([sign]) => text.includes(sign))?.[1];

/** What a browser calls itself, in a few words. */
export function device(label) {
  const browser = first(label, [['Edg', 'Edge'], ['OPR', 'Opera'], ['Firefox', 'Firefox'], ['Chrome', 'Chrome'], ['Safari', 'Safari']]);
  const system = first(label, [['Android', 'Android'], ['iPhone', 'an iPhone'], ['iPad', 'an iPad'], ['Windows', 'Windows'], ['Mac OS', 'a Mac'], ['Linux', 'Linux']]);
  return browser && system ? `${browser} on ${system}` : label || 'A device';
}

/** How long, roughly. */
export const minutes = (seconds) => (seconds < 90 ? 'about a minute' : `about ${Math.round(seconds / 60)} minutes`);

const CALL_ENDS = {
  hangup: 'hung up', ice_failed: 'no way between the networks', device: 'a device failed', declined: 'declined', missed: 'not answered', consultation: 'the consultation moved on',
};

/** A length of time, exactly. */
export const span = (seconds) => `${Math.floor(seconds / 60)}:${String(seconds % 60).padStart(2, '0')} min`;

const flight = ({ path, protocol, round_trip_ms: trip, loss_permille: loss, interruptions, lowest }) =>
  [`Call quality: ${path === 'relay' ? 'over a relay' : 'direct'} (${protocol.toUpperCase()})`, `${trip} ms`, `${(loss / 10).toFixed(1)} % lost`,
    interruptions && `${interruptions} ${interruptions === 1 ? 'interruption' : 'interruptions'}`, lowest === 'audio' && 'picture paused at times'].filter(Boolean).join(' · ');

/** What happened, for the timeline; null for what belongs elsewhere. */
export function story({ kind, data }) {
  switch (kind) {
    case 'consultation.requested': return data.slot ? `Consultation requested for ${when(data.slot.starts_at)}` : 'Came without an appointment';
    case 'consultation.moved': return `Consultation: ${word(data.to)}${data.reason ? ` (${data.reason})` : ''}`;
    case 'consultation.rescheduled': return `Moved to ${when(data.slot.starts_at)}`;
    case 'consultation.checked_in': return `Checked in, consent ${data.consent} recorded`;
    case 'consultation.called': return 'The doctor calls the patient in';
    case 'consultation.noted': return 'The doctor signed the note';
    case 'consultation.error_proposed': return 'An administrator asks to mark this as entered in error';
    case 'call.started': return data.media === 'video' ? 'Video call' : 'Audio call';
    case 'call.joined': return 'Call answered';
    case 'call.left': return `Left the call${data.why === 'hangup' ? '' : ` (${CALL_ENDS[data.why]})`}`;
    case 'call.connected': return 'Picture and sound arrive';
    case 'call.interrupted': return `Call interrupted: ${{ network: 'network', device: 'device', unknown: 'cause unknown' }[data.cause]}`;
    case 'call.ended': return `Call ended: ${CALL_ENDS[data.why] ?? data.why}${data.lasted_s ? `, ${span(data.lasted_s)}` : ''}`;
    case 'call.reported': return flight(data.quality);
    case 'call.checked': return `Devices checked: ${data.check.start ?? 'chat only'}`;
    case 'guest.invited': return `Invited: ${data.guest.name} (${data.kind})`;
    case 'guest.entered': return `${data.guest.name} came in (${data.kind})`;
    case 'guest.dismissed': return { removed: 'A guest was asked to leave', expired: 'A guest\'s link has ended', consultation: 'The guest has left with the end of the talk' }[data.why];
    case 'prescription.drafted': return `Prescription drafted: ${data.items.map((item) => item.medicine).join(', ')}`;
    case 'prescription.amended': return 'Prescription changed';
    case 'prescription.signed': return 'Prescription signed';
    case 'prescription.sent': return `Prescription sent to ${data.pharmacy.name}`;
    case 'prescription.reviewed': return `Pharmacist's review: ${data.verdict}`;
    case 'prescription.answered': return 'The doctor answered the pharmacy';
    case 'prescription.moved': return `Prescription: ${word(data.to, 'prescription')}`;
    case 'dispensing.moved': return `Pharmacy: ${word(data.to, 'dispensing')}${data.reason ? ` (${data.reason})` : ''}`;
    case 'delivery.requested': return 'Delivery requested';
    case 'delivery.assigned': return `Courier: ${data.courier.name}`;
    case 'delivery.moved': return `Delivery: ${word(data.to, 'delivery')}`;
    case 'delivery.reported': return `Late report: ${word(data.to, 'delivery')}`;
    case 'payment.moved': return `Payment: ${word(data.to)}`;
    case 'record.exported': return 'A copy of the record was taken';
    case 'record.opened': return `An administrator opened the record: ${data.reason}`;
    default: return kind === 'chat.sent' ? null : kind;
  }
}

/** A state as a chip with a sign and a word, never by colour alone. */
export const SIGNS = { good: '✓', bad: '✕', busy: '●', held: '❚❚', plain: '○' };
