//! The table of business limits: how much one person may write in a room, and hold at the clinic.
//!
//! Limits are checked when a command is decided, never when a log is replayed: a log from before a limit stays readable.
//! Limits within one room are checked here; those that span rooms are checked in the transaction that opens a room.

/// The events of one room after which it takes no more [ordinary](crate::case::usage::Allowance::Ordinary) commands.
pub const MAX_ROOM_EVENTS: u64 = 19_000;
/// The bytes of one room after which it takes no more ordinary commands.
pub const MAX_ROOM_BYTES: u64 = 64 << 20;
/// The exports and break-glass accesses that one person may have in a room on its first day. Each further day of the room's
/// age adds one.
pub const MAX_PERSON_ACCESSES: u64 = 200;
/// The late reports that one parcel may have.
pub const MAX_LATE_REPORTS: u8 = 8;

/// The limits that a clinic may set.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// The events of one person in one room. All guests of a room count as one person.
    pub person_events: u64,
    /// The bytes of these events.
    pub person_bytes: u64,
    /// The slots that one patient holds without having confirmed.
    pub open_holds: u32,
    /// The slots that one patient holds or has booked; also the doctors with whom one patient waits as a walk-in.
    pub open_bookings: u32,
    /// The walk-ins of one patient who wait with one doctor.
    pub waiting_walk_ins: u32,
}

impl Default for Limits {
    fn default() -> Self {
        Self { person_events: 6_000, person_bytes: 8 << 20, open_holds: 2, open_bookings: 5, waiting_walk_ins: 1 }
    }
}
