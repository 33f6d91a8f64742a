// The two transports: a WebSocket, or server-sent events down with HTTP posts up.
//
// Both report to their owner: `frame` for each received frame, `answer` for the reply to a post, `closed` at the end.

const SUBPROTOCOL = 'wardroom.v1';
/** Frames that are posted while a stream is open. */
const POSTED_FRAMES = ['command', 'signal', 'mark'];
const POST_TIMEOUT_MS = 20_000;

/** A WebSocket. */
export class SocketLink {
  constructor(client, token, owner) {
    const url = client.options.base.replace(/^http/, 'ws') + '/v1/ws';
    const socket = new client.options.WebSocket(url, SUBPROTOCOL);
    this.socket = socket;
    socket.onopen = () => this.send(client.opening().hello(token));
    socket.onmessage = ({ data }) => owner.frame(JSON.parse(data));
    socket.onclose = ({ code, reason }) => owner.closed(code, reason);
  }

  send(frame) {
    if (this.socket.readyState === 1) this.socket.send(JSON.stringify(frame));
  }

  close() {
    this.socket.onclose = this.socket.onmessage = this.socket.onopen = null;
    this.socket.close();
  }
}

/** Server-sent events down, posts up. A stream names its rooms and feeds when it opens, so a change reopens it. */
export class StreamLink {
  constructor(client, token, owner) {
    Object.assign(this, { client, token, owner, ended: false, queue: Promise.resolve() });
    this.open();
  }

  async open() {
    const stop = (this.stop = new AbortController());
    const { rooms, feeds } = this.client.opening();
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
    else if (!(value.type === 'welcome' && this.welcomed)) this.owner.frame(value);
    if (value.type === 'welcome') this.welcomed = true;
  }

  /** Reopens the stream with the client's current rooms and feeds. */
  reopen() {
    if (this.reopening) return;
    this.reopening = Promise.resolve().then(() => {
      this.reopening = null;
      if (this.ended) return;
      this.stop.abort();
      this.open();
    });
  }

  /** Posts frames one after the other, so that commands keep their order. */
  send(frame) {
    if (frame.type === 'auth') {
      this.token = frame.token;
      this.reopen();
    }
    if (POSTED_FRAMES.includes(frame.type)) this.queue = this.queue.then(() => this.postFrame(frame));
  }

  async postFrame(frame) {
    if (this.ended) return;
    const { id, room } = frame;
    const stop = new AbortController();
    const timer = this.client.options.setTimeout(() => stop.abort(), POST_TIMEOUT_MS);
    try {
      const response = await this.post('/v1/frames', { frames: [frame] }, stop.signal);
      const body = await response.json();
      if (response.ok) body.frames.forEach(this.owner.answer);
      else if (response.status === 401) this.end(4010);
      else if (id) this.owner.answer(refusal(id, room, body, response.status));
    } catch {
      // The post or its reply was lost, or a proxy replied: the client sends the command again with the same id.
      if (id) this.owner.answer({ type: 'error', id, room, code: 'unavailable', message: 'no answer', retryable: true });
    } finally {
      this.client.options.clearTimeout(timer);
    }
  }

  post(path, body, signal) {
    const headers = { 'content-type': 'application/json', authorization: `Bearer ${this.token}` };
    return this.client.options.fetch(this.client.options.base + path, { method: 'POST', headers, body: JSON.stringify(body), signal });
  }

  end(code, reason) {
    if (this.ended) return;
    this.ended = true;
    this.owner.closed(code, reason);
  }

  close() {
    this.ended = true;
    this.stop?.abort();
  }
}

/** The error frame that a socket would have received for a refused post. */
function refusal(id, room, { code = 'internal', detail, title, retryable, retry_after_ms }, status) {
  const message = detail ?? title ?? 'the hub refused it';
  return { type: 'error', id, room, code, message, retryable: retryable ?? status >= 500, detail: { retry_after_ms } };
}
