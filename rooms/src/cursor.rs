//! The reader's cursor in one room: orders events, drops repeats, finds gaps.
//!
//! Transports may lose, repeat and reorder events. The reader trusts only its own cursor and the claim `(prev, seq)` on
//! each frame: "nothing that you may see lies strictly between `prev` and `seq`". The claim holds for a filtered view as
//! for the whole log, so every reader can prove that it missed nothing.

/// A reader's position in a room. Every visible event up to and including it was delivered, once and in order.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Cursor {
    position: u64,
}

/// What the reader does with an event.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// The next event: deliver it. The cursor has moved to it.
    Deliver,
    /// A repeat: drop it.
    Repeat,
    /// Events before this one may be missing: drop it and join the room again with the cursor.
    Gap,
}

impl Cursor {
    /// Starts behind the event with this `seq`; 0 starts before the first event.
    pub fn new(position: u64) -> Self {
        Self { position }
    }

    /// The `seq` of the last event delivered; a client sends it as `join.after`.
    pub fn position(&self) -> u64 {
        self.position
    }

    /// Judges one event frame. Moves the cursor if the event is the next one.
    pub fn judge(&mut self, prev: u64, seq: u64) -> Verdict {
        if seq <= self.position {
            Verdict::Repeat
        } else if prev > self.position {
            Verdict::Gap
        } else {
            self.position = seq;
            Verdict::Deliver
        }
    }

    /// Whether a `live` or `beat` frame with this head shows a gap. If so, the reader joins again with the cursor.
    pub fn is_behind(&self, head: u64) -> bool {
        head > self.position
    }
}
