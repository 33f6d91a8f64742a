// One conversation of a room.

import { h, fill } from '../dom.js';
import { formatTime } from '../labels.js';

const RECEIPTS = { waiting: '… waiting', sent: '✓ sent', delivered: '✓✓ delivered', seen: '✓✓ seen' };

export function chatBox(app, room, thread) {
  const list = h('ol.messages', { aria: { live: 'polite', label: `Messages: ${thread.title}` } });
  const typing = h('p.typing', { testid: 'typing' });
  const input = h('textarea', { rows: 1, maxLength: 4000, placeholder: `Write to ${thread.title}…`, testid: 'chat-input', aria: { label: `Message to ${thread.title}` } });
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
      room.command('chat.send', { text, thread: thread.id });
    },
  }, input, h('button.primary', { type: 'submit', testid: 'chat-send' }, 'Send'));
  const box = h('div.thread', { testid: 'chat-thread', data: { thread: thread.id === 'care' ? 'care' : 'pharmacy' } }, h('h2', {}, `Chat with ${thread.title}`), list, typing, form);

  const show = () => {
    const { received, waiting, refused } = room.chat(thread.id);
    const lines = [
      ...received.map((event) => {
        const mine = event.actor.id === app.user.id;
        return message(event.data.text, mine, mine ? room.receipt(event) : 'came', mine ? 'You' : event.actor.name, event.at);
      }),
      ...waiting.map((entry) => message(entry.command.data.text, true, 'waiting', 'You', entry.at)),
      ...refused.map(({ command, error }) => message(command.data.text, true, 'refused', 'You', Date.now(), error.message)),
    ];
    const low = list.scrollHeight - list.scrollTop - list.clientHeight < 60;
    fill(list, lines.length ? lines : h('li.none', {}, 'No messages yet.'));
    if (low) list.scrollTop = list.scrollHeight;
    typing.textContent = room.typingUsers().length ? 'is writing…' : '';
  };
  app.every(1000, () => (typing.textContent = room.typingUsers().length ? 'is writing…' : ''));
  return { box, show };
}

function message(text, mine, state, who, at, note) {
  return h(`li.message.${mine ? 'mine' : 'theirs'}`, { testid: 'chat-message', data: { state } },
    h('p', {}, text),
    h('small', {}, `${who} · ${formatTime(at)}`, RECEIPTS[state] && h('span.receipt', {}, ` · ${RECEIPTS[state]}`), note && h('span.error', {}, ` · not sent: ${note}`)));
}
