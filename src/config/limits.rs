//! Limits on what one client, or all clients together, may use.

use std::num::NonZeroU32;

use rooms::limits::{MAX_ROOM_BYTES, MAX_ROOM_EVENTS};

use super::error::{ConfigError, within};
use super::raw::RawLimits;

/// What one client, or all clients together, may use.
#[derive(Clone, Debug)]
pub struct Limits {
    /// Open sockets.
    pub connections: usize,
    /// Sockets admitted per second, both sustained and in a burst.
    pub arrivals_per_second: NonZeroU32,
    /// Bytes in the send queue of one socket.
    pub outbox_bytes: usize,
    /// Bytes of a request body.
    pub body_bytes: usize,
    /// Sustained REST calls per second of one person; a burst may have four times as many.
    pub requests_per_second: u32,
    /// Sign-in attempts per minute to one account from one address.
    pub sign_ins_per_minute: u32,
    /// Calls per minute from one address that need no token: sign-in, registration, refresh.
    pub anonymous_per_minute: u32,
    /// How much one person may write in a room, and hold at the clinic.
    pub business: rooms::limits::Limits,
    /// Whether a patient may walk in only to a doctor who is connected.
    pub walk_ins_need_doctor: bool,
}

impl RawLimits {
    /// In demo mode one person at one browser plays everybody, so a walk-in does not need the doctor there.
    pub(super) fn validate(self, demo: bool) -> Result<Limits, ConfigError> {
        let [min, default, max] =
            [1, 5_000, 1_000_000].map(|number| NonZeroU32::new(number).expect("the number is not zero"));
        let business = rooms::limits::Limits::default();
        Ok(Limits {
            connections: within("limits.connections", self.connections, 15_000, 1, 1_000_000)?,
            arrivals_per_second: within("limits.arrivals_per_second", self.arrivals_per_second, default, min, max)?,
            outbox_bytes: within("limits.outbox_bytes", self.outbox_bytes, 1 << 20, 128 << 10, 64 << 20)?,
            body_bytes: within("limits.body_bytes", self.body_bytes, 256 << 10, 16 << 10, 16 << 20)?,
            requests_per_second: within("limits.requests_per_second", self.requests_per_second, 50, 1, 100_000)?,
            sign_ins_per_minute: within("limits.sign_ins_per_minute", self.sign_ins_per_minute, 10, 1, 100_000)?,
            anonymous_per_minute: within("limits.anonymous_per_minute", self.anonymous_per_minute, 300, 1, 1_000_000)?,
            walk_ins_need_doctor: self.walk_ins_need_doctor.unwrap_or(!demo),
            business: rooms::limits::Limits {
                person_events: within(
                    "limits.person_events",
                    self.person_events,
                    business.person_events,
                    100,
                    MAX_ROOM_EVENTS,
                )?,
                person_bytes: within(
                    "limits.person_bytes",
                    self.person_bytes,
                    business.person_bytes,
                    64 << 10,
                    MAX_ROOM_BYTES,
                )?,
                open_holds: within("limits.open_holds", self.open_holds, business.open_holds, 1, 1_000_000)?,
                open_bookings: within(
                    "limits.open_bookings",
                    self.open_bookings,
                    business.open_bookings,
                    1,
                    1_000_000,
                )?,
                waiting_walk_ins: within(
                    "limits.waiting_walk_ins",
                    self.waiting_walk_ins,
                    business.waiting_walk_ins,
                    1,
                    1_000_000,
                )?,
            },
        })
    }
}
