//! What a run is to do: its members, its phases, and what happens to connections during them.

use std::time::Duration;

use crate::arrivals::Spacing;
use crate::fixture::FixtureRoom;
use crate::load::script::LoadKind;
use crate::target::Target;

/// Who takes part, and what they do.
#[derive(Clone, Debug)]
pub struct LoadPlan {
    /// The nodes: members of a room begin on different ones.
    pub targets: Vec<Target>,
    pub rooms: Vec<FixtureRoom>,
    /// How many connections each member of a room has: its devices. Each is a session, and each gets every event.
    pub devices: usize,
    /// Threads of the generator.
    pub workers: usize,
    /// Nothing: members are there and say nothing.
    pub kind: Option<LoadKind>,
    /// The length of a chat message, 1 to 4000.
    pub bytes: usize,
    /// How often a command is sent at most; above 1 each is sent 1 to that many times, and once more after its ack.
    pub copies: u8,
    /// The share of rooms with a member that can be told to stop reading, 0 to 1.
    pub slow: f64,
    /// Where random choices begin.
    pub seed: u64,
}

/// A time at one rate.
#[derive(Clone, Debug)]
pub struct Phase {
    /// Commands a second, over all rooms.
    pub rate: f64,
    pub spacing: Spacing,
    /// Played, not measured.
    pub warmup: Duration,
    /// Measured.
    pub duration: Duration,
    /// How long answers may take after the end.
    pub drain: Duration,
    /// What happens to connections meanwhile, and when.
    pub connection_faults: Vec<(Duration, ConnectionFault)>,
}

/// Something that happens to connections.
#[derive(Clone, Copy, Debug)]
pub enum ConnectionFault {
    /// In this share of the rooms every connection is cut; each comes back after a random time up to `jitter`.
    Cut { share: f64, jitter: Duration },
    /// This share of the members, in all rooms, stops reading and answering on an open connection for `time`, and comes
    /// back on another one. Who alone can take a script's steps is spared, and somebody is left to speak.
    HalfOpen { share: f64, time: Duration },
    /// The slow members stop reading.
    StopReading,
    /// The slow members read on.
    ResumeReading,
}
