//! One room at work: a task that takes requests one after the other, so that a room needs no lock and has one order.

mod call;
mod desks;
mod elsewhere;
mod log;
mod parties;
mod readers;
mod submit;

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::time::Duration;

use rooms::command::{Command, Nothing};
use rooms::id::{CallId, CommandId, RoomId, UserId};
use rooms::permission::View;
use rooms::record::Hash;
use rooms::role::Actor;
use rooms::room::snapshot::Snapshot;
use rooms::signal::{Mark, Signal};
use rooms::wire::call::CallSignal;
use tokio::sync::{mpsc, oneshot};
use tokio::time::Instant;
use uuid::Uuid;

use self::desks::Place;
use super::connection::Connection;
use super::desk::Desk;
use super::members::{EventFrame, Members};
use super::nodes::message::Word;
use super::presence::Presences;
use super::{Committed, Inner, Submission, SubmitError};
use crate::bus::{NodeId, RoomSubscription};
use crate::store::StoreError;
use crate::telemetry::COMMAND_TRACE;
use crate::telemetry::metrics::METRICS;

/// Requests that may wait for one room. A full inbox answers `unavailable`.
pub const INBOX: usize = 256;
/// How long a command may wait in that inbox. One that waited longer is answered `unavailable` without being looked at: in a
/// hub that gets more than it can do, what is answered in time would otherwise wait behind what nobody waits for any more.
const OVERDUE: Duration = Duration::from_secs(3);
/// How long a room without listeners stays in memory.
const IDLE: Duration = Duration::from_secs(30);
/// How often the right of readers to be here is looked at when it can end by the clock alone.
const RECHECK: Duration = Duration::from_millis(500);

/// Where the answer to a command goes.
pub enum ReplyTo {
    Caller(oneshot::Sender<Result<Committed, SubmitError>>),
    /// As an `ack` or `error` frame, behind the command's own events.
    Connection(Arc<Connection>),
    /// Nobody waits: the hub's own commands.
    Nobody,
}

/// What can be asked of a room's task.
pub enum Request {
    Submit {
        submission: Submission,
        reply: ReplyTo,
        /// When it came.
        asked: Instant,
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
    /// What another node says of this room.
    Heard(String),
    /// The store's log is longer than what is in memory.
    Behind {
        head: u64,
    },
    /// What other nodes said, or what was said to them, may have been missed.
    Resync,
    /// What another node says to this one.
    Word {
        from: NodeId,
        word: Box<Word>,
    },
}

impl Request {
    /// Whether it only says what happens elsewhere, which keeps no room in memory.
    fn is_hearsay(&self) -> bool {
        matches!(self, Request::Heard(_) | Request::Behind { .. } | Request::Resync)
    }
}

/// A room as one actor sees it.
#[derive(Debug)]
pub struct RoomView {
    pub view: View,
    /// The last event visible to that view.
    pub head: u64,
    pub snapshot: Snapshot,
}

/// The answer to a reader who wants to listen.
#[derive(Debug)]
pub enum AttachOutcome {
    /// The reader is listening. `missing` is what lies between its cursor and now.
    Live { room_view: Box<RoomView>, missing: Vec<EventFrame>, head: Arc<AtomicU64> },
    /// The reader must read the store up to `room_view.head` first, then ask again.
    NeedsReplay { room_view: Box<RoomView> },
}

struct Answered {
    sender: UserId,
    id: CommandId,
    hash: Hash,
    done: Committed,
}

struct Loaded {
    room: rooms::room::Room,
    hash: Hash,
}

/// The task's own data.
pub struct RoomTask {
    id: RoomId,
    hub: Arc<Inner>,
    /// Absent before the first request.
    loaded: Option<Loaded>,
    /// After a commit whose outcome is unknown: the store may be ahead.
    stale: bool,
    /// The last event in memory, for whoever compares it with the store.
    head: Arc<AtomicU64>,
    /// Other nodes are heard as long as this is kept.
    _subscription: RoomSubscription,
    recent: VecDeque<Answered>,
    members: Members,
    presences: Presences,
    /// When the other nodes are told again who is here.
    repeat_at: Option<Instant>,
    marks: BTreeMap<UserId, Mark>,
    /// Who is attached to the call that goes on.
    desk: Option<Box<Desk>>,
    /// Where that desk is, if there are other nodes.
    place: Option<Box<Place>>,
    /// Whether an administrator listens, whose right to do so ends by the clock.
    is_opened: bool,
}

impl RoomTask {
    pub fn new(id: RoomId, hub: Arc<Inner>, head: Arc<AtomicU64>) -> Self {
        Self {
            // Before the log is read, so that nothing falls between.
            _subscription: hub.bus.subscribe(id),
            id,
            hub,
            loaded: None,
            stale: false,
            head,
            recent: VecDeque::new(),
            members: Members::default(),
            presences: Presences::default(),
            repeat_at: None,
            marks: BTreeMap::new(),
            desk: None,
            place: None,
            is_opened: false,
        }
    }

    /// Works until nobody listens, nobody is expected back and nothing was asked for a while.
    pub async fn run(mut self, mut inbox: mpsc::Receiver<Box<Request>>) {
        let mut used = Instant::now();
        loop {
            let idle = used + if self.is_opened { RECHECK } else { IDLE };
            let wake =
                self.presences.next().into_iter().chain(self.repeat_at).chain(self.keep_at()).fold(idle, Instant::min);
            tokio::select! {
                request = inbox.recv() => match request {
                    Some(request) => {
                        if !request.is_hearsay() {
                            used = Instant::now();
                        }
                        // Boxed, here and below: a room that waits keeps no space for what it does when it works.
                        Box::pin(self.handle(*request)).await;
                    }
                    None => return,
                },
                () = tokio::time::sleep_until(wake) => {
                    let now = Instant::now();
                    let idle = idle <= now;
                    if idle {
                        used = now;
                    }
                    if self.repeat_at.is_some_and(|at| at <= now) {
                        self.tell_presence();
                    }
                    Box::pin(self.keep_desk()).await;
                    Box::pin(self.drop_absent()).await;
                    self.put_out_unfit();
                    let needed = !self.members.is_empty() || self.presences.is_waiting() || self.has_guests();
                    if idle && !needed && self.hub.retire(self.id, &inbox) {
                        return;
                    }
                }
            }
        }
    }

    async fn handle(&mut self, request: Request) {
        match request {
            Request::Submit { submission, reply, asked } => {
                tracing::debug!(target: COMMAND_TRACE, command = %submission.id.0, room = %self.id, waited_us = asked.elapsed().as_micros(), "received");
                let overdue = asked.elapsed() > OVERDUE && !matches!(reply, ReplyTo::Nobody);
                let result = if overdue { Err(SubmitError::Shed) } else { self.submit(&submission).await };
                if let Err(error) = &result {
                    let code = error.code().as_str();
                    tracing::debug!(target: COMMAND_TRACE, command = %submission.id.0, room = %self.id, code, "rejected");
                }
                if result.is_ok() {
                    METRICS.ack.observe_since(asked);
                }
                submit::answer(&submission, reply, result);
            }
            Request::Read { actor, reply } => {
                let result = self.look_now(&actor).await;
                // Whoever asked may have gone; then nobody needs the answer.
                let _ = reply.send(result);
            }
            Request::Attach { connection, cursor, reply } => {
                let result = self.attach(&connection, cursor).await;
                if let Err(Ok(AttachOutcome::Live { .. })) = reply.send(result) {
                    self.detach(connection.id);
                }
            }
            Request::Detach { connection } => self.detach(connection),
            Request::Signal { actor, from, signal } => self.signal(&actor, from, signal),
            Request::Call { connection, call, signal } => self.call_signal(&connection, call, *signal).await,
            Request::Mark { actor, from, mark } => self.mark(&actor, from, mark),
            Request::Heard(text) => self.heard(&text).await,
            Request::Behind { head } => self.look_up(head).await,
            Request::Resync => {
                self.ask_presence();
                self.attach_anew();
            }
            Request::Word { from, word } => self.word_from(from, *word).await,
        }
    }
}

/// The command that the room's timer submits.
pub fn timer_command() -> Command {
    Command::Timer(Nothing {})
}

impl From<StoreError> for SubmitError {
    fn from(error: StoreError) -> Self {
        tracing::warn!(%error, "the store did not answer as expected");
        match error {
            StoreError::Full(_) => SubmitError::StorageFull,
            _ => SubmitError::Unavailable,
        }
    }
}
