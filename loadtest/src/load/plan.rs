//! The plan of a run: its members, its phases, and the faults of its connections.

use std::time::Duration;

use crate::arrivals::Spacing;
use crate::fixture::FixtureRoom;
use crate::load::script::LoadKind;
use crate::target::Target;

/// The participants of a run, and what they send.
#[derive(Clone, Debug)]
pub struct LoadPlan {
    /// The nodes. Members of a room connect to different ones.
    pub targets: Vec<Target>,
    pub rooms: Vec<FixtureRoom>,
    /// Connections of each member, one for each device. Each has its own session and receives every event.
    pub devices: usize,
    /// Threads of the generator.
    pub workers: usize,
    /// `None` if members only connect and send nothing.
    pub kind: Option<LoadKind>,
    /// The length of a chat message, 1 to 4000.
    pub bytes: usize,
    /// The most copies of a command. Above 1, each command is sent 1 to that many times, and once more after its ack.
    pub copies: u8,
    /// The share of rooms with a member that can stop reading, 0 to 1.
    pub slow: f64,
    /// Seed of all random choices.
    pub seed: u64,
}

/// A period at one rate.
#[derive(Clone, Debug)]
pub struct Phase {
    /// Commands a second, over all rooms.
    pub rate: f64,
    pub spacing: Spacing,
    /// Load before the measured time.
    pub warmup: Duration,
    /// The measured time.
    pub duration: Duration,
    /// How long answers may take after the end.
    pub drain: Duration,
    /// The faults of connections, and their times.
    pub connection_faults: Vec<(Duration, ConnectionFault)>,
}

/// A fault of the members' connections.
#[derive(Clone, Copy, Debug)]
pub enum ConnectionFault {
    /// Cuts every connection in this share of the rooms. Each reconnects after a random time up to `jitter`.
    Cut { share: f64, jitter: Duration },
    /// This share of all members stops reading and answering on an open connection for `time`, then reconnects. A
    /// member on whom the script depends is spared, and each room keeps a member that can send.
    HalfOpen { share: f64, time: Duration },
    /// The slow members stop reading.
    StopReading,
    /// The slow members resume reading.
    ResumeReading,
}
