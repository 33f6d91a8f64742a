//! The one way out: everything that leaves the hub is a [`Dispatch`] for a [`Sink`].
//!
//! A commit is noted in its own transaction (`store::outgoing`). What follows from it for each sink is written down as
//! dispatches ([`Gateway::wishes`]), and each of them is sent at least once ([`Gateway::send`]). The jobs `outgoing` and
//! `dispatch` do the one and the other. A sink is a file beside this one, or the folder `push`.

pub mod breaker;
pub mod lanes;
pub mod schedule;

use std::time::Duration;

use crate::hub::Hub;
use crate::store::StoreError;
use crate::store::dispatches::{Dispatch, Sink, Wish};
use crate::store::outgoing::News;

use self::lanes::Lanes;

/// What became of an attempt to send.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// The receiver has it.
    Done,
    /// The receiver did not answer, or cannot take it now. It is tried again, not before `after` from now.
    Retry { after: Option<Duration>, why: String },
    /// It is of no use any more: the receiver is gone for good, or the time for it is over.
    Gone { why: String },
    /// The receiver works and will never take it: a person has to look at it.
    Refused { why: String },
}

impl Outcome {
    /// It is tried again when the schedule says so.
    pub fn retry(why: impl Into<String>) -> Self {
        Outcome::Retry { after: None, why: why.into() }
    }

    pub fn gone(why: impl Into<String>) -> Self {
        Outcome::Gone { why: why.into() }
    }

    pub fn refused(why: impl Into<String>) -> Self {
        Outcome::Refused { why: why.into() }
    }

    /// Whether the receiver works, as far as this attempt tells.
    pub fn works(&self) -> bool {
        !matches!(self, Outcome::Retry { .. })
    }
}

/// All sinks. What is sent where is decided here and nowhere else.
#[derive(Clone)]
pub struct Gateway {
    hub: Hub,
    lanes: Lanes,
}

impl Gateway {
    pub fn new(hub: Hub) -> Self {
        Self { hub, lanes: Lanes::default() }
    }

    /// The breakers.
    pub fn lanes(&self) -> &Lanes {
        &self.lanes
    }

    /// The rooms, for what a partner's answer changes in them.
    pub fn hub(&self) -> &Hub {
        &self.hub
    }

    /// What follows from a commit at once. What people are notified of is not among it: that waits, to see whether it
    /// is needed.
    pub async fn wishes(&self, _news: &News) -> Result<Vec<Wish>, StoreError> {
        Ok(Vec::new())
    }

    /// Sends one, within [`timeout`]. It may have been sent before.
    pub async fn send(&self, dispatch: &Dispatch) -> Outcome {
        match dispatch.sink {
            Sink::Push | Sink::Mail | Sink::Webhook | Sink::Payment | Sink::Courier => {
                Outcome::refused("this hub does not have this sink")
            }
        }
    }
}

/// How long one attempt may take.
pub fn timeout(sink: Sink) -> Duration {
    match sink {
        Sink::Push | Sink::Webhook | Sink::Payment | Sink::Courier => Duration::from_secs(10),
        Sink::Mail => Duration::from_secs(20),
    }
}
