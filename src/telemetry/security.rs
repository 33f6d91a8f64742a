//! The log of security events: a closed list, each with who, from where, and the outcome.
//!
//! The lines have the target `wardroom::security` and never contain names, e-mail addresses or tokens. Rejections are
//! counted in full by `wardroom_security_events_total`; their lines are limited in number, so that a flood of requests
//! cannot fill the disk.

use std::net::IpAddr;
use std::num::NonZeroU32;
use std::sync::LazyLock;

use governor::{DefaultDirectRateLimiter, Quota, RateLimiter};
use metrics::counter;
use rooms::id::UserId;

/// The target of all security lines, for `log.filter`.
const SECURITY_TARGET: &str = "wardroom::security";
/// Lines for rejections per second, sustained; a burst may have ten times as many.
const REJECTION_LINES_PER_SECOND: NonZeroU32 = NonZeroU32::new(20).expect("20 is not 0");
const MAX_BURST_REJECTION_LINES: NonZeroU32 = NonZeroU32::new(200).expect("200 is not 0");

static REJECTION_LINES: LazyLock<DefaultDirectRateLimiter> = LazyLock::new(|| {
    RateLimiter::direct(Quota::per_second(REJECTION_LINES_PER_SECOND).allow_burst(MAX_BURST_REJECTION_LINES))
});

/// A security event.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SecurityEvent {
    /// A person signed in.
    SignInSucceeded,
    /// The e-mail address, the password or the link was wrong.
    SignInFailed,
    /// The credentials were right, but the account is disabled or waits for approval.
    SignInRefused,
    /// Too many attempts to sign in to one account from one address.
    SignInLimited,
    /// A refresh token was used again: somebody else may have it. The hub ended its sign-in.
    RefreshTokenReused,
    /// A sign-in was ended by its person.
    SignInEnded,
    /// All sign-ins of a person were ended.
    AllSignInsEnded,
    /// The access token is missing, invalid, expired or revoked.
    TokenRejected,
    /// The caller's role does not allow the operation.
    AccessDenied,
    /// The page's origin may not use this hub.
    OriginRejected,
    /// A person or an address exceeded its rate of requests.
    RequestsLimited,
    /// A person or an address exceeded its number of sockets and streams.
    ConnectionsLimited,
    /// A client sent more messages than a connection may.
    FloodClosed,
    /// A view of a room was granted, but the database could not store the audit entry; this line replaces it.
    AccessUnrecorded,
}

impl SecurityEvent {
    /// All events, for documentation and its test.
    pub const ALL: [Self; 14] = [
        Self::SignInSucceeded,
        Self::SignInFailed,
        Self::SignInRefused,
        Self::SignInLimited,
        Self::RefreshTokenReused,
        Self::SignInEnded,
        Self::AllSignInsEnded,
        Self::TokenRejected,
        Self::AccessDenied,
        Self::OriginRejected,
        Self::RequestsLimited,
        Self::ConnectionsLimited,
        Self::FloodClosed,
        Self::AccessUnrecorded,
    ];

    /// The event's name in the log and in metrics.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::SignInSucceeded => "sign_in.succeeded",
            Self::SignInFailed => "sign_in.failed",
            Self::SignInRefused => "sign_in.refused",
            Self::SignInLimited => "sign_in.limited",
            Self::RefreshTokenReused => "refresh_token.reused",
            Self::SignInEnded => "sign_in.ended",
            Self::AllSignInsEnded => "sign_in.all_ended",
            Self::TokenRejected => "token.rejected",
            Self::AccessDenied => "access.denied",
            Self::OriginRejected => "origin.rejected",
            Self::RequestsLimited => "requests.limited",
            Self::ConnectionsLimited => "connections.limited",
            Self::FloodClosed => "flood.closed",
            Self::AccessUnrecorded => "access.unrecorded",
        }
    }

    /// Whether the hub allowed what was attempted, or rejected it.
    fn outcome(self) -> &'static str {
        match self {
            Self::SignInSucceeded | Self::SignInEnded | Self::AllSignInsEnded | Self::AccessUnrecorded => "allowed",
            _ => "rejected",
        }
    }
}

/// Logs and counts an event. `user` is the person, if known; `address` is where the request came from, if there is one;
/// `about` is the operation or the room.
pub fn record(event: SecurityEvent, user: Option<UserId>, address: Option<IpAddr>, about: &str) {
    counter!("wardroom_security_events_total", "event" => event.as_str()).increment(1);
    let outcome = event.outcome();
    if outcome == "rejected" && REJECTION_LINES.check().is_err() {
        return;
    }
    let user = user.map(tracing::field::display);
    let address = address.map(tracing::field::display);
    let event = event.as_str();
    match outcome {
        "rejected" => tracing::warn!(target: SECURITY_TARGET, event, outcome, user, address, about, "security event"),
        _ => tracing::info!(target: SECURITY_TARGET, event, outcome, user, address, about, "security event"),
    }
}
