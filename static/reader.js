// One reader's cursor in one room: order, gaps, repeats. The same rule as in the hub.

export class Reader {
  /** @param {number} cursor the last `seq` the reader has; 0 for none */
  constructor(cursor = 0) {
    this.cursor = cursor;
    this.live = false;
  }

  /**
   * Decides about an event frame: no event visible to this reader lies strictly between `prev` and `seq`.
   * @returns {'deliver' | 'repeat' | 'gap'}
   */
  offer(prev, seq) {
    if (seq <= this.cursor) return 'repeat';
    if (prev > this.cursor) return 'gap';
    this.cursor = seq;
    return 'deliver';
  }
}
