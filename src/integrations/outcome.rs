//! The result of one delivery attempt. Adapters return it; `outbound` decides from it whether and when to retry.

use std::time::Duration;

/// The result of one delivery attempt.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// The receiver accepted the delivery.
    Done,
    /// The receiver did not answer, or cannot accept the delivery now. The next attempt is at least `after` away.
    Retry { after: Option<Duration>, why: String },
    /// The delivery has become pointless: its receiver no longer exists, or it has expired.
    Gone { why: String },
    /// The receiver works and will never accept this delivery. An administrator has to look into it.
    Refused { why: String },
}

impl Outcome {
    /// Returns a retry at the time that the schedule sets.
    pub fn retry(why: impl Into<String>) -> Self {
        Outcome::Retry { after: None, why: why.into() }
    }

    pub fn gone(why: impl Into<String>) -> Self {
        Outcome::Gone { why: why.into() }
    }

    pub fn refused(why: impl Into<String>) -> Self {
        Outcome::Refused { why: why.into() }
    }

    /// Returns the name of this outcome in metrics.
    pub fn as_str(&self) -> &'static str {
        match self {
            Outcome::Done => "done",
            Outcome::Retry { .. } => "retry",
            Outcome::Gone { .. } => "gone",
            Outcome::Refused { .. } => "refused",
        }
    }

    /// Returns whether the attempt shows that the destination works. Feeds its breaker.
    pub fn is_healthy(&self) -> bool {
        !matches!(self, Outcome::Retry { .. })
    }
}
