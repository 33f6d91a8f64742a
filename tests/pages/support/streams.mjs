/** @file A simulated HTTP fallback: the test sends frames on streams, breaks them, and answers posts or not. */

/** Returns a `fetch` for a client; it records requests in `streams` and `posts`, oldest first. */
export function simulatedFallback() {
  const way = {
    streams: [],
    posts: [],
    /** The path of every request. */
    tried: [],
    /** Whether the hub is reachable. */
    up: true,
    /** Returns the response to a stream request, instead of a stream. */
    refuse: null,
    /** Returns the response to a post; may throw. */
    answer: (frames) => Response.json({ frames: frames.map(({ id, room }) => ({ type: 'ack', id, room, first: 1, last: 1 })) }),
    last: () => way.streams.at(-1),
    async fetch(url, { headers, body, signal } = {}) {
      way.tried.push(new URL(url).pathname);
      if (!way.up) throw new TypeError('refused');
      if (url.endsWith('/healthz')) return new Response('ok');
      const asked = JSON.parse(body);
      const token = headers.authorization;
      if (url.endsWith('/v1/frames')) {
        way.posts.push({ token, frames: asked.frames });
        return new Promise((resolve, reject) => {
          signal.addEventListener('abort', () => reject(signal.reason));
          Promise.resolve(asked.frames).then(way.answer).then(resolve, reject);
        });
      }
      if (way.refuse) return way.refuse();
      const stream = new Stream({ token, asked, signal });
      way.streams.push(stream);
      return stream.response;
    },
  };
  return way;
}

class Stream {
  constructor({ token, asked, signal }) {
    Object.assign(this, { token, asked, ended: false });
    const body = new ReadableStream({ start: (controller) => (this.controller = controller) });
    this.response = new Response(body, { headers: { 'content-type': 'text/event-stream' } });
    signal.addEventListener('abort', () => this.end(signal.reason));
  }

  /** Writes raw text, so that a test can split frames anywhere. */
  write(text) {
    if (!this.ended) this.controller.enqueue(new TextEncoder().encode(text));
  }

  receive(frame) {
    this.write(`data: ${JSON.stringify(frame)}\n\n`);
  }

  welcome(connection = 'c9') {
    this.receive({ type: 'welcome', connection, beat_ms: 15_000 });
  }

  close(code, reason) {
    this.write(`event: close\ndata: ${JSON.stringify({ code, reason })}\n\n`);
  }

  end(error) {
    if (this.ended) return;
    this.ended = true;
    if (error) this.controller.error(error);
    else this.controller.close();
  }
}
