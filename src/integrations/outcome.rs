//! The result of one delivery attempt. Adapters return it; `outbound` decides from it whether and when to retry.

use std::time::Duration;

/// The result of one delivery attempt, and what it shows about the destination.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Outcome {
    pub result: AttemptResult,
    pub evidence: Evidence,
}

/// What became of the delivery.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum AttemptResult {
    /// The receiver accepted it, or what it asks for is so already.
    Done,
    /// It may succeed later. The next attempt is at least `after` away.
    Retry { after: Option<Duration>, why: String },
    /// It has become pointless: its receiver no longer exists, or it has expired.
    Gone { why: String },
    /// It will never succeed. An administrator has to look into it.
    Refused { why: String },
}

/// What an attempt shows about its destination. Feeds the breaker, which all deliveries to the destination share; so a
/// fault of one delivery is no evidence.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Evidence {
    /// The destination answered as one that works.
    Works,
    /// The destination did not answer, or reported a fault of its own.
    Fails,
    /// The destination was not asked, or its answer concerns this delivery alone.
    Nothing,
}

impl Outcome {
    /// The receiver accepted the delivery.
    pub fn done() -> Self {
        Self { result: AttemptResult::Done, evidence: Evidence::Works }
    }

    /// The destination failed; the schedule sets the time of the next attempt.
    pub fn retry(why: impl Into<String>) -> Self {
        Self { result: AttemptResult::Retry { after: None, why: why.into() }, evidence: Evidence::Fails }
    }

    /// The delivery may succeed later, and the obstacle is not the destination.
    pub fn postponed(why: impl Into<String>) -> Self {
        Self { evidence: Evidence::Nothing, ..Self::retry(why) }
    }

    /// The delivery is pointless. Without evidence, unless the receiver [answered](Self::answered).
    pub fn gone(why: impl Into<String>) -> Self {
        Self { result: AttemptResult::Gone { why: why.into() }, evidence: Evidence::Nothing }
    }

    /// The delivery will never succeed. Without evidence, unless the receiver [answered](Self::answered).
    pub fn refused(why: impl Into<String>) -> Self {
        Self { result: AttemptResult::Refused { why: why.into() }, evidence: Evidence::Nothing }
    }

    /// The receiver itself answered this, so it works.
    pub fn answered(self) -> Self {
        Self { evidence: Evidence::Works, ..self }
    }

    /// The receiver was not asked.
    pub fn unasked(self) -> Self {
        Self { evidence: Evidence::Nothing, ..self }
    }

    /// The next attempt of a retry is at least this far away.
    pub fn not_before(mut self, requested: Option<Duration>) -> Self {
        if let AttemptResult::Retry { after, .. } = &mut self.result {
            *after = requested;
        }
        self
    }

    /// Returns the name of this outcome in metrics.
    pub fn as_str(&self) -> &'static str {
        match self.result {
            AttemptResult::Done => "done",
            AttemptResult::Retry { .. } => "retry",
            AttemptResult::Gone { .. } => "gone",
            AttemptResult::Refused { .. } => "refused",
        }
    }
}
