//! One room at work: requests to its task, and the answers.
//!
//! The task takes one request after the other, so a room needs no lock and has one order of events. What a command
//! means is decided by the crate `rooms`; the store keeps the log.

mod answered;
mod calls;
mod command;
mod failures;
mod log;
mod parties;
mod presence;
pub mod registry;
mod replication;
mod state;
mod subscribers;
mod subscriptions;
mod task;

use std::sync::Arc;
use std::sync::atomic::AtomicU64;

use rooms::command::{Command, Nothing};
use rooms::id::CallId;
use rooms::permission::View;
use rooms::role::Actor;
use rooms::room::snapshot::Snapshot;
use rooms::signal::{Mark, Signal};
use rooms::wire::call::CallSignal;
use tokio::sync::oneshot;
use tokio::time::Instant;
use uuid::Uuid;

use super::call::message::CallMessage;
use super::connection::Connection;
use super::submission::{Committed, Submission, SubmitError};
use crate::bus::NodeId;

pub use self::subscribers::EventFrame;

/// The receiver of a command's result.
pub enum ReplyTo {
    Caller(oneshot::Sender<Result<Committed, SubmitError>>),
    /// Gets an `ack` or `error` frame after the command's own events.
    Connection(Arc<Connection>),
    /// The hub itself submitted the command.
    Nobody,
}

/// A request to a room's task.
pub enum Request {
    Submit {
        submission: Submission,
        reply: ReplyTo,
        submitted_at: Instant,
    },
    Read {
        actor: Actor,
        reply: oneshot::Sender<Result<RoomView, SubmitError>>,
    },
    Attach {
        connection: Arc<Connection>,
        cursor: u64,
        reply: oneshot::Sender<Result<AttachOutcome, SubmitError>>,
    },
    Detach {
        connection: Uuid,
    },
    Signal {
        actor: Actor,
        from: Option<Uuid>,
        signal: Signal,
    },
    Call {
        connection: Arc<Connection>,
        call: CallId,
        signal: Box<CallSignal>,
    },
    Mark {
        actor: Actor,
        from: Option<Uuid>,
        mark: Mark,
    },
    /// Another node published this about the room.
    BusMessage(String),
    /// The store's log reaches at least this number.
    HeadAdvanced {
        head: u64,
    },
    /// Messages from or to other nodes may have been lost.
    Resync,
    /// Another node sent this about a call.
    CallMessage {
        from: NodeId,
        message: Box<CallMessage>,
    },
}

impl Request {
    /// Whether the request only replicates another node's changes, which does not keep the room in memory.
    fn is_remote(&self) -> bool {
        matches!(self, Request::BusMessage(_) | Request::HeadAdvanced { .. } | Request::Resync)
    }
}

/// A room as one actor sees it.
#[derive(Debug)]
pub struct RoomView {
    pub view: View,
    /// The number of the last event that the view sees.
    pub head: u64,
    pub snapshot: Snapshot,
}

/// The answer to a reader who wants to subscribe.
#[derive(Debug)]
pub enum AttachOutcome {
    /// The reader is subscribed. `missing` holds the events between its cursor and now; `head` advances with each
    /// event.
    Live { room_view: Box<RoomView>, missing: Vec<EventFrame>, head: Arc<AtomicU64> },
    /// The reader must read the log up to the view's head and then attach again.
    NeedsReplay { room_view: Box<RoomView> },
}

/// Returns the command that a due timer submits.
pub fn timer_command() -> Command {
    Command::Timer(Nothing {})
}
