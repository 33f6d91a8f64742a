// The two ways to the hub: a WebSocket, or a stream of events down and posts up.
//
// Both tell their owner of a `frame` that came down, of an `answer` to a post, and that they are `closed`.

const SUBPROTOCOL = 'wardroom.v1';
/** Frames that go up beside a stream. */
const UP = ['command', 'signal', 'mark'];
const POST_WITHIN = 20_000;

/** A WebSocket. */
export class SocketLink {
  constructor(client, token, to) {
    const url = client.o.base.replace(/^http/, 'ws') + '/v1/ws';
    const socket = new client.o.WebSocket(url, SUBPROTOCOL);
    this.socket = socket;
    socket.onopen = () => this.send(client.greeting().hello(token));
    socket.onmessage = ({ data }) => to.frame(JSON.parse(data));
    socket.onclose = ({ code, reason }) => to.closed(code, reason);
  }

  send(frame) {
    if (this.socket.readyState === 1) this.socket.send(JSON.stringify(frame));
  }

  close() {
    this.socket.onclose = this.socket.onmessage = this.socket.onopen = null;
    this.socket.close();
  }
}

/** Server-sent events down, posts up. What is listened to is said when the stream opens, so a change opens it anew. */
export class StreamLink {
  constructor(client, token, to) {
    Object.assign(this, { client, token, to, ended: false, queue: Promise.resolve() });
    this.open();
  }

  async open() {
    const stop = (this.stop = new AbortController());
    const { rooms, feeds } = this.client.greeting();
    try {
      const response = await this.post('/v1/stream', { rooms, feeds }, stop.signal);
      if (!response.ok) return this.end(response.status === 401 ? 4010 : 1006);
      const reader = response.body.pipeThrough(new TextDecoderStream()).getReader();
      let text = '';
      for (;;) {
        const { value, done } = await reader.read();
        if (done || stop.signal.aborted) break;
        const blocks = (text + value).split('\n\n');
        text = blocks.pop() ?? '';
        for (const block of blocks) this.block(block);
      }
      if (!stop.signal.aborted) this.end(1006);
    } catch {
      if (!stop.signal.aborted) this.end(1006);
    }
  }

  block(block) {
    const data = block.split('\n').filter((line) => line.startsWith('data:')).map((line) => line.slice(5)).join('\n');
    if (!data) return;
    const value = JSON.parse(data);
    if (block.startsWith('event: close')) this.end(value.code, value.reason);
    else if (!(value.type === 'welcome' && this.welcomed)) this.to.frame(value);
    if (value.type === 'welcome') this.welcomed = true;
  }

  /** Listens to what the client wants now. */
  reopen() {
    if (this.reopening) return;
    this.reopening = Promise.resolve().then(() => {
      this.reopening = null;
      if (this.ended) return;
      this.stop.abort();
      this.open();
    });
  }

  /** Frames go up one after the other, so that commands keep their order. */
  send(frame) {
    if (frame.type === 'auth') {
      this.token = frame.token;
      this.reopen();
    }
    if (UP.includes(frame.type)) this.queue = this.queue.then(() => this.up(frame));
  }

  async up(frame) {
    if (this.ended) return;
    const { id, room } = frame;
    const stop = new AbortController();
    const timer = this.client.o.setTimeout(() => stop.abort(), POST_WITHIN);
    try {
      const response = await this.post('/v1/frames', { frames: [frame] }, stop.signal);
      const body = await response.json();
      if (response.ok) body.frames.forEach(this.to.answer);
      else if (response.status === 401) this.end(4010);
      else if (id) this.to.answer(refusal(id, room, body, response.status));
    } catch {
      // The post or its answer was lost, or a proxy answered: the client sends it again, with its old id.
      if (id) this.to.answer({ type: 'error', id, room, code: 'unavailable', message: 'no answer', retryable: true });
    } finally {
      this.client.o.clearTimeout(timer);
    }
  }

  post(path, body, signal) {
    const headers = { 'content-type': 'application/json', authorization: `Bearer ${this.token}` };
    return this.client.o.fetch(this.client.o.base + path, { method: 'POST', headers, body: JSON.stringify(body), signal });
  }

  end(code, reason) {
    if (this.ended) return;
    this.ended = true;
    this.to.closed(code, reason);
  }

  close() {
    this.ended = true;
    this.stop?.abort();
  }
}

/** A refused post, as the frame that a socket would have brought. */
function refusal(id, room, { code = 'internal', detail, title, retryable, retry_after_ms }, status) {
  const message = detail ?? title ?? 'the hub refused it';
  return { type: 'error', id, room, code, message, retryable: retryable ?? status >= 500, detail: { retry_after_ms } };
}
