// The hub's other way, played by a test: streams that say and break when told to, and posts that are answered or not.

/** A `fetch` for a client; `streams` and `posts` are what it asked for, oldest first. */
export function streaming() {
  const way = {
    streams: [],
    posts: [],
    /** Every address that was asked for. */
    tried: [],
    /** Whether the hub answers anything at all. */
    up: true,
    /** What a stream's request gets instead of a stream. */
    refuse: null,
    /** Answers a post's frames; may throw. */
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

  /** Text as it is, so that a test can cut it where it likes. */
  write(text) {
    if (!this.ended) this.controller.enqueue(new TextEncoder().encode(text));
  }

  say(frame) {
    this.write(`data: ${JSON.stringify(frame)}\n\n`);
  }

  welcome(connection = 'c9') {
    this.say({ type: 'welcome', connection, beat_ms: 15_000 });
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
