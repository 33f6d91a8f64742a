// Labels and formats: the hub's names, times and amounts as people read them.

import { hubNow } from './clock.js';
import { isolate } from './dom.js';

export const STATE_LABELS = {
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

/** For a dispensing, `released` means something else than for a prescription. */
export const stateLabel = (state, part) =>
  part === 'dispensing' && state === 'released' ? 'Handed to the courier'
  : part === 'dispensing' && state === 'completed' ? 'Handed over'
  : part === 'delivery' && state === 'requested' ? 'Waiting for a courier'
  : STATE_LABELS[state] ?? state;

const GOOD_STATES = ['completed', 'delivered', 'captured', 'ready'];
const BAD_STATES = ['cancelled', 'expired', 'no_show', 'declined', 'rejected', 'lost', 'damaged', 'failed', 'attempt_failed', 'entered_in_error'];
const BUSY_STATES = ['called', 'in_progress', 'preparing', 'in_transit', 'out_for_delivery', 'with_pharmacy', 'picked_up'];
const HELD_STATES = ['on_hold', 'interrupted', 'queried', 'rescheduled', 'waiting'];

/** The tone of a state: good, bad, busy, held or plain. */
export const stateTone = (state) =>
  GOOD_STATES.includes(state) ? 'good' : BAD_STATES.includes(state) ? 'bad' : BUSY_STATES.includes(state) ? 'busy' : HELD_STATES.includes(state) ? 'held' : 'plain';

/** Button labels of the moves. */
export const MOVE_LABELS = {
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

/** What a person is in a case; stands beside the name that the person chose. */
const ROLE_LABELS = {
  patient: 'patient', doctor: 'doctor', pharmacist: 'pharmacist', courier: 'courier', admin: 'administrator', support: 'support', guest: 'guest',
};
export const roleLabel = (role) => ROLE_LABELS[role] ?? role;

const timeFormat = new Intl.DateTimeFormat(undefined, { hour: '2-digit', minute: '2-digit' });
const dateFormat = new Intl.DateTimeFormat(undefined, { weekday: 'long', day: 'numeric', month: 'long' });

export const formatTime = (at) => timeFormat.format(new Date(at));
export const formatDate = (at) => dateFormat.format(new Date(at));
export const formatMoment = (at) => (new Date(at).toDateString() === new Date(hubNow()).toDateString() ? `today ${formatTime(at)}` : `${formatDate(at)}, ${formatTime(at)}`);

// The currencies that have other than two decimals by ISO 4217. Browsers know what is usual in cash instead, e.g. none for HUF.
const DECIMALS = {
  0: 'BIF CLP DJF GNF ISK JPY KMF KRW PYG RWF UGX UYI VND VUV XAF XOF XPF',
  3: 'BHD IQD JOD KWD LYD OMR TND',
  4: 'CLF UYW',
};

/** Formats an amount given in minor units. */
export function formatPrice({ amount, currency }) {
  const decimals = Number(Object.keys(DECIMALS).find((key) => DECIMALS[key].split(' ').includes(currency)) ?? 2);
  const digits = { minimumFractionDigits: decimals, maximumFractionDigits: decimals };
  return new Intl.NumberFormat(undefined, { style: 'currency', currency, ...digits }).format(amount / 10 ** decimals);
}

/** Groups items by the day on which they start: `[[day, items], …]`. */
export function groupByDay(items) {
  const days = new Map();
  for (const item of items) days.set(formatDate(item.starts_at), [...(days.get(formatDate(item.starts_at)) ?? []), item]);
  return [...days];
}

const firstMatch = (text, pairs) => pairs.find(([sign]) => text.includes(sign))?.[1];

/** A short device name from a browser's user agent. */
export function describeDevice(label) {
  const browser = firstMatch(label, [['Edg', 'Edge'], ['OPR', 'Opera'], ['Firefox', 'Firefox'], ['Chrome', 'Chrome'], ['Safari', 'Safari']]);
  const system = firstMatch(label, [['Android', 'Android'], ['iPhone', 'an iPhone'], ['iPad', 'an iPad'], ['Windows', 'Windows'], ['Mac OS', 'a Mac'], ['Linux', 'Linux']]);
  return browser && system ? `${browser} on ${system}` : label || 'A device';
}

/** An approximate duration. */
export const approximateDuration = (seconds) => (seconds < 90 ? 'about a minute' : `about ${Math.round(seconds / 60)} minutes`);

const CALL_END_REASONS = {
  hangup: 'hung up', ice_failed: 'no network path', device: 'a device failed', declined: 'declined', missed: 'not answered', consultation: 'the consultation moved on',
};

/** An exact duration. */
export const exactDuration = (seconds) => `${Math.floor(seconds / 60)}:${String(seconds % 60).padStart(2, '0')} min`;

const describeCallQuality = ({ path, protocol, round_trip_ms: trip, loss_permille: loss, interruptions, lowest }) =>
  [`Call quality: ${path === 'relay' ? 'over a relay' : 'direct'} (${protocol.toUpperCase()})`, `${trip} ms`, `${(loss / 10).toFixed(1)} % lost`,
    interruptions && `${interruptions} ${interruptions === 1 ? 'interruption' : 'interruptions'}`, lowest === 'audio' && 'picture paused at times'].filter(Boolean).join(' · ');

/** The timeline's text for an event; null if another part of the page shows it. */
export function describeEvent({ kind, data }) {
  switch (kind) {
    case 'consultation.requested': return data.slot ? `Consultation requested for ${formatMoment(data.slot.starts_at)}` : 'Walk-in without an appointment';
    case 'consultation.moved': return `Consultation: ${stateLabel(data.to)}${data.reason ? ` (${isolate(data.reason)})` : ''}`;
    case 'consultation.rescheduled': return `Moved to ${formatMoment(data.slot.starts_at)}`;
    case 'consultation.checked_in': return `Checked in, consent ${data.consent} recorded`;
    case 'consultation.called': return 'The doctor calls the patient in';
    case 'consultation.noted': return 'The doctor signed the note';
    case 'consultation.error_proposed': return 'An administrator asks to mark this as entered in error';
    case 'call.started': return data.media === 'video' ? 'Video call' : 'Audio call';
    case 'call.joined': return 'Call answered';
    case 'call.left': return `Left the call${data.why === 'hangup' ? '' : ` (${CALL_END_REASONS[data.why]})`}`;
    case 'call.connected': return 'Call connected';
    case 'call.interrupted': return `Call interrupted: ${{ network: 'network', device: 'device', unknown: 'cause unknown' }[data.cause]}`;
    case 'call.ended': return `Call ended: ${CALL_END_REASONS[data.why] ?? data.why}${data.lasted_s ? `, ${exactDuration(data.lasted_s)}` : ''}`;
    case 'call.reported': return describeCallQuality(data.quality);
    case 'call.checked': return `Devices checked: ${data.check.start ?? 'chat only'}`;
    case 'guest.invited': return `Invited: ${isolate(data.guest.name)} (${data.kind})`;
    case 'guest.entered': return `${isolate(data.guest.name)} joined (${data.kind})`;
    case 'guest.dismissed': return { removed: 'A guest was asked to leave', expired: 'A guest\'s link has ended', consultation: 'The guest\'s access ended with the consultation' }[data.why];
    case 'prescription.drafted': return `Prescription drafted: ${data.items.map((item) => isolate(item.medicine)).join(', ')}`;
    case 'prescription.amended': return 'Prescription changed';
    case 'prescription.signed': return 'Prescription signed';
    case 'prescription.sent': return `Prescription sent to ${isolate(data.pharmacy.name)}`;
    case 'prescription.reviewed': return `Pharmacist's review: ${data.verdict}`;
    case 'prescription.answered': return 'The doctor answered the pharmacy';
    case 'prescription.moved': return `Prescription: ${stateLabel(data.to, 'prescription')}`;
    case 'dispensing.moved': return `Pharmacy: ${stateLabel(data.to, 'dispensing')}${data.reason ? ` (${isolate(data.reason)})` : ''}`;
    case 'delivery.requested': return 'Delivery requested';
    case 'delivery.assigned': return `Courier: ${isolate(data.courier.name)}`;
    case 'delivery.moved': return `Delivery: ${stateLabel(data.to, 'delivery')}`;
    case 'delivery.reported': return `Late report: ${stateLabel(data.to, 'delivery')}`;
    case 'payment.moved': return `Payment: ${stateLabel(data.to)}`;
    case 'record.exported': return 'The record was exported';
    case 'record.opened': return `An administrator opened the record: ${isolate(data.reason)}`;
    default: return kind === 'chat.sent' ? null : kind;
  }
}

/** The sign of each tone, so that a state is never shown by color alone. */
export const TONE_SIGNS = { good: '✓', bad: '✕', busy: '●', held: '❚❚', plain: '○' };
