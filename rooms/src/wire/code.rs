//! Error codes: one closed list for socket and REST.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::refusal::{Detail, Refusal};

macro_rules! codes {
    ($($(#[doc = $doc:literal])* $name:ident = $text:literal, $status:literal, $retryable:literal;)*) => {
        /// A machine-readable error code.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
        pub enum Code {
            $($(#[doc = $doc])* #[serde(rename = $text)] $name,)*
        }

        impl Code {
            pub const ALL: &'static [Code] = &[$(Code::$name,)*];

            /// The name on the wire.
            pub fn as_str(self) -> &'static str {
                match self { $(Code::$name => $text,)* }
            }

            /// Returns the HTTP status for REST.
            pub fn status(self) -> u16 {
                match self { $(Code::$name => $status,)* }
            }

            /// Whether the same request may succeed later without a change.
            pub fn retryable(self) -> bool {
                match self { $(Code::$name => $retryable,)* }
            }

            /// Returns what it means and what the client does.
            pub fn meaning(self) -> &'static str {
                match self { $(Code::$name => concat!($($doc,)*).trim_ascii_start(),)* }
            }
        }
    };
}

codes! {
    /// The frame or body violates the protocol: invalid JSON, an unknown field or type, a wrong type. Correct it.
    Malformed = "malformed", 400, false;
    /// A value breaks a rule; `detail.field` names the field. Correct it.
    Invalid = "invalid", 422, false;
    /// The frame or body is larger than allowed. Send less.
    TooLarge = "too_large", 413, false;
    /// No valid access token. Sign in or refresh, then repeat.
    Unauthenticated = "unauthenticated", 401, false;
    /// The e-mail address or the password is wrong.
    BadCredentials = "bad_credentials", 401, false;
    /// The account is not approved yet, or is disabled.
    AccountInactive = "account_inactive", 403, false;
    /// Your role, or your part in this case, does not allow this.
    Forbidden = "forbidden", 403, false;
    /// The resource does not exist, or you may not see it.
    NotFound = "not_found", 404, false;
    /// The resource does not support this method; `Allow` lists those that it supports.
    MethodNotAllowed = "method_not_allowed", 405, false;
    /// The current state does not allow it; `detail` has the state and the moves that are possible now.
    IllegalTransition = "illegal_transition", 409, false;
    /// The command's subject has changed since the sender saw it; `detail` has the current version. Fetch it again.
    StaleVersion = "stale_version", 409, false;
    /// `If-Match` does not name the current version. Fetch it again.
    PreconditionFailed = "precondition_failed", 412, false;
    /// This change requires `If-Match` with the version that it applies to.
    PreconditionRequired = "precondition_required", 428, false;
    /// Somebody else holds or booked the slot. Book another slot.
    SlotTaken = "slot_taken", 409, false;
    /// You hold as many slots as one patient may. Confirm or cancel one.
    TooManyHolds = "too_many_holds", 409, false;
    /// You have as many open bookings as one patient may. Cancel one.
    TooManyBookings = "too_many_bookings", 409, false;
    /// You have another booking at that time; `detail.room` names it. Book another slot.
    BookingOverlap = "booking_overlap", 409, false;
    /// You wait with this doctor already; `detail.room` names the consultation. Go back to it.
    AlreadyWaiting = "already_waiting", 409, false;
    /// The doctor is not connected and takes no walk-ins. Book a slot.
    DoctorAway = "doctor_away", 409, false;
    /// Check-in is not open yet; `detail.opens_at` says from when. Repeat then.
    TooEarly = "too_early", 409, false;
    /// The doctor has another slot at that time.
    SlotOverlap = "slot_overlap", 409, false;
    /// The e-mail address already has an account.
    EmailTaken = "email_taken", 409, false;
    /// This id was used before with different content. Use a fresh id.
    IdConflict = "id_conflict", 422, false;
    /// Every unsafe call requires an `Idempotency-Key` header.
    KeyRequired = "key_required", 400, false;
    /// The first call with this `Idempotency-Key` is still running. Repeat later.
    InFlight = "in_flight", 409, true;
    /// The room has no space left. Closing, cancelling, exporting and break-glass still work.
    RoomFull = "room_full", 409, false;
    /// You have reached the maximum that one person may write in this room, or read of it by export and break-glass.
    /// Closing and cancelling still work.
    BudgetSpent = "budget_spent", 409, false;
    /// Join the room first.
    NotJoined = "not_joined", 409, false;
    /// This session is not attached to that call. Join the call, then attach.
    NotInCall = "not_in_call", 409, false;
    /// Another session of yours holds camera and microphone. Attach with `take` to take them over.
    MediaTaken = "media_taken", 409, false;
    /// Too many requests. Repeat after `detail.retry_after_ms`.
    RateLimited = "rate_limited", 429, true;
    /// The hub is overloaded or its store does not answer: nothing has changed, or the outcome is not known yet. Repeat
    /// with the same id; the command takes effect once.
    Unavailable = "unavailable", 503, true;
    /// The disk of the hub's store is full: nothing has changed. Reading still works. Repeat with the same id once
    /// there is space again.
    StorageFull = "storage_full", 507, true;
    /// The hub failed unexpectedly. Nothing was acknowledged. Repeat with the same id.
    Internal = "internal", 500, true;
}

impl From<&Refusal> for Code {
    fn from(refusal: &Refusal) -> Self {
        match refusal {
            Refusal::Forbidden => Code::Forbidden,
            Refusal::NoSuch(_) => Code::NotFound,
            Refusal::Illegal { .. } => Code::IllegalTransition,
            Refusal::Stale { .. } => Code::StaleVersion,
            Refusal::Invalid { .. } => Code::Invalid,
            Refusal::SlotTaken => Code::SlotTaken,
            Refusal::TooManyHolds { .. } => Code::TooManyHolds,
            Refusal::TooManyBookings { .. } => Code::TooManyBookings,
            Refusal::BookingOverlap { .. } => Code::BookingOverlap,
            Refusal::AlreadyWaiting { .. } => Code::AlreadyWaiting,
            Refusal::DoctorAway => Code::DoctorAway,
            Refusal::TooEarly { .. } => Code::TooEarly,
            Refusal::RoomFull { .. } => Code::RoomFull,
            Refusal::BudgetSpent { .. } => Code::BudgetSpent,
        }
    }
}

impl Refusal {
    /// Returns the machine-readable part of the refusal, beside its code.
    pub fn detail(&self) -> Detail {
        match self {
            Refusal::Illegal { state, allowed, .. } => {
                Detail { state: Some(state.clone()), allowed: allowed.clone(), ..Detail::default() }
            }
            Refusal::Stale { state, version, allowed, .. } => Detail {
                state: Some(state.clone()),
                version: Some(*version),
                allowed: allowed.clone(),
                ..Detail::default()
            },
            Refusal::Invalid { field, .. } => Detail { field: Some((*field).to_owned()), ..Detail::default() },
            Refusal::BookingOverlap { room } | Refusal::AlreadyWaiting { room } => {
                Detail { room: Some(*room), ..Detail::default() }
            }
            Refusal::TooEarly { opens_at } => Detail { opens_at: Some(*opens_at), ..Detail::default() },
            Refusal::Forbidden
            | Refusal::NoSuch(_)
            | Refusal::SlotTaken
            | Refusal::TooManyHolds { .. }
            | Refusal::TooManyBookings { .. }
            | Refusal::DoctorAway
            | Refusal::RoomFull { .. }
            | Refusal::BudgetSpent { .. } => Detail::default(),
        }
    }
}
