//! The reader of one room: order, gaps, repeats.
//!
//! Events reach a reader over roads that may lose, repeat and reorder. The reader trusts only two things: its own
//! cursor, and the claim `(prev, seq)` on each frame, "nothing that you may see lies strictly between `prev` and `seq`".
//! The claim holds for a filtered view as for the whole log, so a reader of either can prove that it missed nothing.

/// How far a reader has got in a room: everything visible to it up to and including `cursor` was delivered, once and in
/// order.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Feed {
    cursor: u64,
}

/// What to do with an offered event.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Offer {
    /// It is the next one: take it. The cursor has moved to it.
    Deliver,
    /// It was delivered before: drop it.
    Repeat,
    /// Something between the cursor and it may be missing: drop it and join the room again with the cursor.
    Gap,
}

impl Feed {
    /// A reader that has everything up to `cursor`; 0 for nothing.
    pub fn new(cursor: u64) -> Self {
        Self { cursor }
    }

    /// The last `seq` delivered; what `join.after` asks with.
    pub fn cursor(&self) -> u64 {
        self.cursor
    }

    /// Judges one event frame and moves the cursor when it is the next.
    pub fn offer(&mut self, prev: u64, seq: u64) -> Offer {
        if seq <= self.cursor {
            Offer::Repeat
        } else if prev > self.cursor {
            Offer::Gap
        } else {
            self.cursor = seq;
            Offer::Deliver
        }
    }

    /// Whether a `live` or `beat` frame with this head shows that something is missing: then join again with the cursor.
    pub fn behind(&self, head: u64) -> bool {
        head > self.cursor
    }
}
