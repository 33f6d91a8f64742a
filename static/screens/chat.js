// One conversation of a room.

import { action, cached, fill, foreign, h } from '../dom.js';
import { formatTime } from '../labels.js';
import { author } from '../widgets.js';

const RECEIPTS = { waiting: '… waiting', sent: '✓ sent', delivered: '✓✓ delivered', seen: '✓✓ seen' };

export function chatBox(app, room, thread) {
  const list = h('ol.messages', { aria: { live: 'polite', label: `Messages: ${thread.title}` } });
  const typing = h('p.typing', { testid: 'typing' });
  const input = h('textarea', { rows: 1, maxChars: 4000, dir: 'auto', placeholder: `Write to ${thread.title}…`, testid: 'chat-input', aria: { label: `Message to ${thread.title}` } });
  const lines = new Map();
  let last = 0;
  input.addEventListener('input', () => {
    if (Date.now() - last < 3000 || !input.value) return;
    last = Date.now();
    app.client.signal(room.id, { kind: 'typing', data: { thread: thread.id } });
  });
  input.addEventListener('keydown', (event) => {
    if (event.key === 'Enter' && !event.shiftKey && !event.isComposing) {
      event.preventDefault();
      form.requestSubmit();
    }
  });
  const form = h('form.compose', {
    onsubmit: (event) => {
      event.preventDefault();
      const text = input.value.trim();
      if (!text) return;
      input.value = '';
      return room.sendMessage(text, thread.id);
    },
  }, input, h('button.primary', { type: 'submit', testid: 'chat-send' }, 'Send'));
  const box = h('div.thread', { testid: 'chat-thread', data: { thread: thread.id === 'care' ? 'care' : 'pharmacy' } }, h('h2', {}, `Chat with ${thread.title}`), list, typing, form);

  /** Why a message was not sent, and what the user can do with its text. */
  const refusal = ({ id, command, refusal: { message: why } }) => [
    h('span.error', {}, ` · not sent: ${why} `),
    action('Edit', () => {
      input.value = [command.data.text, input.value].filter(Boolean).join('\n');
      input.focus();
      return app.client.dismiss(id);
    }, { class: 'link', testid: 'refused-edit', data: { id } }),
    action('Dismiss', () => app.client.dismiss(id), { class: 'link', testid: 'refused-dismiss', data: { id } }),
  ];

  const show = () => {
    const { received, waiting, refused } = room.chat(thread.id);
    const messages = [
      ...received.map((event) => {
        const mine = event.actor.id === app.user.id;
        const state = mine ? room.receipt(event) : 'came';
        return cached(lines, event.seq, state, () => message(event.data.text, mine, state, mine ? 'You' : author(event.actor), event.at));
      }),
      ...waiting.map((entry) => message(entry.command.data.text, true, 'waiting', 'You', entry.at)),
      ...refused.map((entry) => message(entry.command.data.text, true, 'refused', 'You', entry.at, refusal(entry))),
    ];
    const low = list.scrollHeight - list.scrollTop - list.clientHeight < 60;
    fill(list, messages.length ? messages : h('li.none', {}, 'No messages yet.'));
    if (low) list.scrollTop = list.scrollHeight;
    typing.textContent = room.typingUsers().length ? 'is writing…' : '';
  };
  app.every(1000, () => (typing.textContent = room.typingUsers().length ? 'is writing…' : ''));
  return { box, show };
}

function message(text, mine, state, who, at, note) {
  return h(`li.message.${mine ? 'mine' : 'theirs'}`, { testid: 'chat-message', data: { state } },
    foreign(text, 'p'),
    h('small', {}, who, ` · ${formatTime(at)}`, RECEIPTS[state] && h('span.receipt', {}, ` · ${RECEIPTS[state]}`), note));
}
