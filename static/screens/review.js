// The pharmacist's review of a prescription, where the policy demands one, and the doctor's answer to a query.

import { h, field, foreign, action } from '../dom.js';

export function reviewPanel(app, room) {
  const forms = new Map();

  /** One text field per prescription and purpose, kept across refreshes. */
  const form = (key, label, hint, testid, buttons) => {
    if (!forms.has(key)) {
      const text = h('textarea', { rows: 2, maxChars: 4000, dir: 'auto', testid });
      const read = () => {
        if (!text.value.trim()) throw new Error(`${label}: write it first.`);
        return text.value.trim();
      };
      const clear = () => (text.value = '');
      forms.set(key, h('div.review', {}, field(label, text, hint), h('div.buttons', {}, buttons(read, clear))));
    }
    return forms.get(key);
  };

  const version = (id) => room.snapshot.prescriptions.find((rx) => rx.id === id)?.version;

  const verdictForm = (rx) => {
    const give = (verdict, text) => room.submit('prescription.review', { prescription: rx.id, verdict, ...(text && { text }) }, version(rx.id));
    return form(`review ${rx.id}`, 'Review', 'Needed for a question or a rejection. The doctor and the patient can read it.', 'review-text', (read, clear) => [
      action('Approve', () => give('approve').then(clear), { class: 'primary', testid: 'review-approve' }),
      action('Ask the doctor', () => give('query', read()).then(clear), { testid: 'review-query' }),
      action('Reject', () => give('reject', read()).then(clear), { class: 'quiet', testid: 'review-reject' }),
    ]);
  };

  const answerForm = (rx) => form(`answer ${rx.id}`, 'Answer to the pharmacy', '', 'review-answer-text', (read, clear) => [
    action('Send the answer', () => room.submit('prescription.answer', { prescription: rx.id, text: read() }, version(rx.id)).then(clear), { class: 'primary', testid: 'review-answer' }),
  ]);

  /** What the reviewer last wrote about a prescription, as long as it matters. */
  const lastText = (rx) => ['queried', 'rejected'].includes(rx.state)
    && room.events.findLast(({ kind, data }) => kind === 'prescription.reviewed' && data.prescription === rx.id)?.data.text;

  /** The review's part of a prescription's card. */
  const show = (rx) => {
    const may = (kind) => room.allows(rx, app.user.role, `prescription.${kind}`);
    const text = lastText(rx);
    return [
      text && h('p.held', { role: 'status', testid: 'review-note' }, rx.state === 'queried' ? 'The pharmacist asks: ' : 'The pharmacist rejects it: ', foreign(text)),
      may('review') && verdictForm(rx),
      may('answer') && answerForm(rx),
    ];
  };
  return { show, lastText };
}
