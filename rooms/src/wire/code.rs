//! Error codes: a closed list, the same on the socket and in REST.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::refusal::{Detail, Refusal};

macro_rules! codes {
    ($($(#[doc = $doc:literal])* $name:ident = $text:literal, $status:literal, $retryable:literal;)*) => {
        /// What went wrong, for programs.
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

            /// The HTTP status it has in REST.
            pub fn status(self) -> u16 {
                match self { $(Code::$name => $status,)* }
            }

            /// Whether the same request may succeed later without a change.
            pub fn retryable(self) -> bool {
                match self { $(Code::$name => $retryable,)* }
            }

            /// What it means and what to do.
            pub fn meaning(self) -> &'static str {
                match self { $(Code::$name => concat!($($doc,)*).trim_ascii_start(),)* }
            }
        }
    };
}

codes! {
    /// The frame or body is not what the protocol knows: bad JSON, an unknown field or type, a wrong type. Mend it.
    Malformed = "malformed", 400, false;
    /// A value breaks a rule; `detail.field` names it. Mend it.
    Invalid = "invalid", 422, false;
    /// The frame or body is larger than allowed. Send less.
    TooLarge = "too_large", 413, false;
    /// No valid access token. Sign in or refresh, then repeat.
    Unauthenticated = "unauthenticated", 401, false;
    /// The e-mail address and the password do not belong together.
    BadCredentials = "bad_credentials", 401, false;
    /// The account waits for approval, or is disabled.
    AccountInactive = "account_inactive", 403, false;
    /// Your role, or your part in this case, does not allow this.
    Forbidden = "forbidden", 403, false;
    /// There is no such thing, or not for you.
    NotFound = "not_found", 404, false;
    /// This address knows other methods; `Allow` names them.
    MethodNotAllowed = "method_not_allowed", 405, false;
    /// The present state does not allow it; `detail` has the state and the moves that are possible.
    IllegalTransition = "illegal_transition", 409, false;
    /// What the command is about has changed since the sender saw it; `detail` has the present version. Look again.
    StaleVersion = "stale_version", 409, false;
    /// `If-Match` does not name the present version. Fetch it again.
    PreconditionFailed = "precondition_failed", 412, false;
    /// This change needs `If-Match` with the version it is about.
    PreconditionRequired = "precondition_required", 428, false;
    /// The slot is held or booked by somebody else. Choose another.
    SlotTaken = "slot_taken", 409, false;
    /// The doctor has another slot at that time.
    SlotOverlap = "slot_overlap", 409, false;
    /// The e-mail address already has an account.
    EmailTaken = "email_taken", 409, false;
    /// This id was used before with another content. Use a fresh id.
    IdConflict = "id_conflict", 422, false;
    /// Every unsafe call needs an `Idempotency-Key` header.
    KeyRequired = "key_required", 400, false;
    /// The first call with this `Idempotency-Key` is still running. Repeat later.
    InFlight = "in_flight", 409, true;
    /// The room has reached its greatest number of events.
    RoomFull = "room_full", 409, false;
    /// Join the room first.
    NotJoined = "not_joined", 409, false;
    /// This session is not attached to that call. Join the call, then attach.
    NotInCall = "not_in_call", 409, false;
    /// Another session of yours owns camera and microphone. Attach with `take` to take over.
    MediaTaken = "media_taken", 409, false;
    /// Too much at once. Repeat after `detail.retry_after_ms`.
    RateLimited = "rate_limited", 429, true;
    /// The hub is overloaded or its store does not answer: nothing was changed, or it is not known yet. Repeat with the
    /// same id: it takes effect once.
    Unavailable = "unavailable", 503, true;
    /// The disk of the hub's store is full: nothing was changed. What is stored can be read. Repeat with the same id when
    /// somebody has made room.
    StorageFull = "storage_full", 507, true;
    /// The hub failed in a way it does not know. Nothing was acknowledged. Repeat with the same id.
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
            Refusal::RoomFull { .. } => Code::RoomFull,
        }
    }
}

impl Refusal {
    /// What a program wants to know beyond the code.
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
            Refusal::Forbidden | Refusal::NoSuch(_) | Refusal::SlotTaken | Refusal::RoomFull { .. } => {
                Detail::default()
            }
        }
    }
}
