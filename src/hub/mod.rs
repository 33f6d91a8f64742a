//! The hub: the one door to the rooms.
//!
//! [`Hub::submit`] takes every change, whoever asks; [`Hub::read`] and [`Hub::attach`] let somebody read. Behind them a
//! task per active room decides, the [`appender`] commits the events of many rooms together, and the room's [`members`]
//! get what they may see. What a room means is the crate `rooms`; what is stored and how is the store's.

pub mod admission;
pub mod appender;
pub mod connection;
mod desk;
pub mod fair_queue;
pub mod feeds;
pub mod marks;
mod members;
mod nodes;
mod presence;
pub mod room;
pub mod send_queue;

use std::ops::RangeInclusive;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use dashmap::DashMap;
use rooms::command::{Command, Facts, Need};
use rooms::id::{CallId, CommandId, RoomId, SessionId};
use rooms::party::Policy;
use rooms::record::Hash;
use rooms::refusal::{Detail, Refusal};
use rooms::role::Actor;
use rooms::signal::{Mark, Signal};
use rooms::wire::call::{CallSignal, Servers};
use rooms::wire::code::Code;
use rooms::wire::server::ErrorFrame;
use sha2::{Digest, Sha256};
use tokio::sync::{Semaphore, SemaphorePermit, mpsc, oneshot};
use tokio::time::Instant;
use uuid::Uuid;

use self::appender::Appender;
use self::connection::{Connection, Connections};
use self::fair_queue::FairQueue;
use self::feeds::Feeds;
use self::marks::MarkWriter;
use self::nodes::Nodes;
use self::nodes::message::What;
use self::room::{AttachOutcome, INBOX, ReplyTo, Request, RoomTask, RoomView};
use crate::bus::Bus;
use crate::clock::Clock;
use crate::store::Store;
use crate::store::events::Stored;

pub use self::members::EventFrame;

/// One command on its way to a room.
#[derive(Clone, Debug)]
pub struct Submission {
    pub room: RoomId,
    pub actor: Actor,
    /// The sender's own id: the same command with the same id takes effect once.
    pub id: CommandId,
    pub command: Command,
    /// The version of the part it is about, as the sender saw it.
    pub expect: Option<u64>,
}

/// A command that is committed: its events are `first` to `last`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Committed {
    pub first: u64,
    pub last: u64,
}

/// After how many milliseconds what waited too long may be sent again.
const OVERLOAD_RETRY_AFTER_MS: RangeInclusive<u64> = 2_000..=10_000;

/// Why a command was not carried out, or a reader not let in.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SubmitError {
    #[error(transparent)]
    Refused(#[from] Refusal),
    #[error("there is no such room, or you have no part in it")]
    NotFound,
    #[error("this id was used before with another content; use a fresh id")]
    IdConflict,
    /// Nothing is known to have changed; the same command may be sent again.
    #[error("the hub cannot do this now; send it again with the same id")]
    Unavailable,
    /// It waited too long and was not looked at: the hub gets more than it can do.
    #[error("the hub has too much to do just now; send it again with the same id")]
    Shed,
    /// Nothing has changed; the same command may be sent again when there is space.
    #[error("the disk of the hub's store is full: nothing can be changed, but all can be read; send it again later")]
    StorageFull,
}

impl SubmitError {
    pub fn code(&self) -> Code {
        match self {
            SubmitError::Refused(refusal) => Code::from(refusal),
            SubmitError::NotFound => Code::NotFound,
            SubmitError::IdConflict => Code::IdConflict,
            SubmitError::Unavailable | SubmitError::Shed => Code::Unavailable,
            SubmitError::StorageFull => Code::StorageFull,
        }
    }

    pub fn detail(&self) -> Detail {
        match self {
            SubmitError::Refused(refusal) => refusal.detail(),
            SubmitError::Unavailable => Detail { retry_after_ms: Some(1_000), ..Detail::default() },
            // Each at a moment of its own: who was refused together would otherwise be too many together again.
            SubmitError::Shed => {
                Detail { retry_after_ms: Some(rand::random_range(OVERLOAD_RETRY_AFTER_MS)), ..Detail::default() }
            }
            // Space is made by people.
            SubmitError::StorageFull => Detail { retry_after_ms: Some(5_000), ..Detail::default() },
            SubmitError::NotFound | SubmitError::IdConflict => Detail::default(),
        }
    }

    /// Whether the same may be done later.
    pub fn is_retryable(&self) -> bool {
        self.code().retryable()
    }

    /// As an `error` frame that names neither a command nor a room.
    pub fn frame(&self) -> ErrorFrame {
        let code = self.code();
        ErrorFrame {
            id: None,
            room: None,
            code,
            message: self.to_string(),
            retryable: code.retryable(),
            detail: self.detail(),
        }
    }
}

/// The content of a command, for telling a repetition from another command under the same id.
pub fn command_hash(command: &Command) -> Hash {
    let bytes = serde_json::to_vec(command).expect("a command has string keys and whole numbers only");
    Sha256::digest(&bytes).into()
}

/// Names the STUN and TURN servers for a session in a call, with credentials of its own.
pub type IceSource = Arc<dyn Fn(SessionId) -> Servers + Send + Sync>;

/// What the rooms of this node share.
pub struct Inner {
    pub store: Store,
    pub appender: Appender,
    pub bus: Bus,
    nodes: Nodes,
    pub clock: Clock,
    /// The rules that rooms opened here live under.
    pub policy: Policy,
    pub feeds: Feeds,
    pub marks: MarkWriter,
    pub connections: Connections,
    /// STUN and TURN servers for a session.
    pub ice: IceSource,
    /// Readers that are served from the store at a time. All may come back at once, and must not keep the commits of the
    /// others waiting for a connection.
    replays: Semaphore,
    connect_queue: FairQueue,
    disconnect_queue: FairQueue,
    stopping: AtomicBool,
    rooms: DashMap<RoomId, RoomHandle>,
}

/// A room in memory.
struct RoomHandle {
    inbox: mpsc::Sender<Box<Request>>,
    /// Its last event, or [`UNLOADED`].
    head: Arc<AtomicU64>,
}

/// In place of a head: the room has not been read from the store yet.
const UNLOADED: u64 = u64::MAX;

impl Inner {
    /// Looks up what a command needs to know about the world.
    async fn facts(&self, need: Option<Need>) -> Result<Facts, SubmitError> {
        let mut facts = Facts::default();
        match need {
            None => {}
            Some(Need::Slot(id)) => facts.slot = self.store.slot_fact(id).await?,
            Some(Need::Doctor(id)) => facts.doctor = self.store.doctor_fact(id).await?,
            Some(Need::Pharmacy(id)) => facts.pharmacy = self.store.pharmacy_fact(id).await?,
            Some(Need::Courier(id)) => facts.courier = self.store.courier_fact(id).await?,
        }
        Ok(facts)
    }

    /// Hands a request to the room's task, which is started if it is not there. Never waits.
    fn ask(self: &Arc<Self>, room: RoomId, request: Request) -> Result<(), Full> {
        // The inbox keeps places for many: apart, a request that is not there costs a pointer only.
        let mut request = Box::new(request);
        // A task that died is started again once. A second one that is gone at once says that the runtime is ending, and
        // starts none any more.
        for _ in 0..2 {
            // The map's lock is held while sending, so that a room that retires cannot miss a request.
            let handle = self.rooms.entry(room).or_insert_with(|| {
                let (sender, inbox) = mpsc::channel(INBOX);
                let head = Arc::new(AtomicU64::new(UNLOADED));
                tokio::spawn(RoomTask::new(room, self.clone(), head.clone()).run(inbox));
                RoomHandle { inbox: sender, head }
            });
            match handle.inbox.try_send(request) {
                Ok(()) => return Ok(()),
                Err(mpsc::error::TrySendError::Full(_)) => return Err(Full),
                Err(mpsc::error::TrySendError::Closed(back)) => {
                    // The next round starts another one.
                    drop(handle);
                    self.rooms.remove_if(&room, |_, known| known.inbox.is_closed());
                    request = back;
                }
            }
        }
        Err(Full)
    }

    /// Forgets an idle room; false if a request came meanwhile.
    fn retire(&self, room: RoomId, inbox: &mpsc::Receiver<Box<Request>>) -> bool {
        self.rooms.remove_if(&room, |_, _| inbox.is_empty()).is_some()
    }
}

/// A handle on the hub; cheap to clone.
#[derive(Clone)]
pub struct Hub {
    inner: Arc<Inner>,
}

impl Hub {
    pub fn new(store: Store, appender: Appender, bus: Bus, clock: Clock, policy: Policy, ice: IceSource) -> Self {
        let feeds = Feeds::start(store.clone(), clock.clone());
        let marks = MarkWriter::start(store.clone());
        let connections = Connections::default();
        let replays = Semaphore::new(usize::try_from(store.readers() / 2).unwrap_or(0).max(1));
        Self {
            inner: Arc::new(Inner {
                store,
                appender,
                bus,
                nodes: Nodes::default(),
                clock,
                policy,
                feeds,
                marks,
                connections,
                ice,
                replays,
                connect_queue: FairQueue::default(),
                disconnect_queue: FairQueue::default(),
                stopping: AtomicBool::new(false),
                rooms: DashMap::new(),
            }),
        }
    }

    /// Carries out a command: decided, committed and told to everybody concerned before this answers.
    pub async fn submit(&self, submission: Submission) -> Result<Committed, SubmitError> {
        let (reply, answer) = oneshot::channel();
        let room = submission.room;
        if self
            .inner
            .ask(room, Request::Submit { submission, reply: ReplyTo::Caller(reply), asked: Instant::now() })
            .is_err()
        {
            return Err(SubmitError::Unavailable);
        }
        answer.await.unwrap_or(Err(SubmitError::Unavailable))
    }

    /// Like [`submit`](Self::submit), but answers by a frame on `connection`, behind the command's own events, so that
    /// the commands of one connection keep their order.
    pub fn submit_from(&self, connection: &Arc<Connection>, submission: Submission) {
        let (id, room) = (submission.id, submission.room);
        let reply = ReplyTo::Connection(connection.clone());
        if self.inner.ask(room, Request::Submit { submission, reply, asked: Instant::now() }).is_err() {
            connection.end_command();
            connection.send(&rooms::wire::server::ServerFrame::Error(ErrorFrame {
                id: Some(id),
                room: Some(room),
                ..SubmitError::Unavailable.frame()
            }));
        }
    }

    /// Wakes a room whose timer is due.
    pub fn wake(&self, room: RoomId) {
        let id = CommandId(self.inner.clock.fresh_id());
        let submission = Submission { room, actor: Actor::System, id, command: room::timer_command(), expect: None };
        // A full inbox means that the room is at work; the timer comes again.
        let _ = self.inner.ask(room, Request::Submit { submission, reply: ReplyTo::Nobody, asked: Instant::now() });
    }

    /// A room as `actor` sees it.
    pub async fn read(&self, room: RoomId, actor: &Actor) -> Result<RoomView, SubmitError> {
        let (reply, answer) = oneshot::channel();
        self.inner.ask(room, Request::Read { actor: actor.clone(), reply }).map_err(|_| SubmitError::Unavailable)?;
        answer.await.unwrap_or(Err(SubmitError::Unavailable))
    }

    /// Lets `connection` listen to a room from `cursor` on, or says what it must read first.
    pub async fn attach(
        &self,
        room: RoomId,
        connection: &Arc<Connection>,
        cursor: u64,
    ) -> Result<AttachOutcome, SubmitError> {
        let (reply, answer) = oneshot::channel();
        let request = Request::Attach { connection: connection.clone(), cursor, reply };
        self.inner.ask(room, request).map_err(|_| SubmitError::Unavailable)?;
        answer.await.unwrap_or(Err(SubmitError::Unavailable))
    }

    /// Ends listening.
    pub async fn detach(&self, room: RoomId, connection: Uuid) {
        let sender = self.inner.rooms.get(&room).map(|handle| handle.inbox.clone());
        if let Some(sender) = sender {
            // The room's end means that nobody listens.
            let _ = sender.send(Box::new(Request::Detach { connection })).await;
        }
    }

    /// Relays a signal to the others in the room; may be lost.
    pub fn signal(&self, room: RoomId, actor: &Actor, from: Option<Uuid>, signal: Signal) {
        let _ = self.inner.ask(room, Request::Signal { actor: actor.clone(), from, signal });
    }

    /// Passes on what a session in a call tells the others.
    pub fn call(&self, room: RoomId, connection: &Arc<Connection>, call: CallId, signal: CallSignal) {
        let request = Request::Call { connection: connection.clone(), call, signal: Box::new(signal) };
        if self.inner.ask(room, request).is_err() {
            connection.send(&rooms::wire::server::ServerFrame::Error(ErrorFrame {
                room: Some(room),
                ..SubmitError::Unavailable.frame()
            }));
        }
    }

    /// Notes how far somebody got; a later mark makes up for a lost one.
    pub fn mark(&self, room: RoomId, actor: &Actor, from: Option<Uuid>, mark: Mark) {
        let _ = self.inner.ask(room, Request::Mark { actor: actor.clone(), from, mark });
    }

    /// Ends the connection that a client had before it came back, here or on another node.
    pub fn replace(&self, former: Uuid, session: SessionId) {
        if !self.inner.connections.replace(former, session) {
            self.inner.tell_all(What::Replaced { connection: former, session });
        }
    }

    /// From now on nobody is let in, and the hub says that it is not ready.
    pub fn begin_stop(&self) {
        self.inner.stopping.store(true, Ordering::SeqCst);
    }

    pub fn is_stopping(&self) -> bool {
        self.inner.stopping.load(Ordering::SeqCst)
    }

    /// Waits until a reader may be served from the store, and keeps its place until dropped.
    pub async fn replay_permit(&self) -> SemaphorePermit<'_> {
        self.inner.replays.acquire().await.expect("the semaphore is never closed")
    }

    /// Those who connect, and those who ask for a room.
    pub fn connect_queue(&self) -> &FairQueue {
        &self.inner.connect_queue
    }

    /// Those whose connections have ended.
    pub fn disconnect_queue(&self) -> &FairQueue {
        &self.inner.disconnect_queue
    }

    pub fn connections(&self) -> &Connections {
        &self.inner.connections
    }

    pub fn feeds(&self) -> &Feeds {
        &self.inner.feeds
    }

    /// STUN and TURN servers for this sign-in, with fresh credentials.
    pub fn ice_servers(&self, session: SessionId) -> Servers {
        (self.inner.ice)(session)
    }

    pub fn bus(&self) -> &Bus {
        &self.inner.bus
    }

    /// Rooms that are in memory.
    pub fn rooms(&self) -> usize {
        self.inner.rooms.len()
    }

    /// Appends that wait for their transaction.
    pub fn appends_waiting(&self) -> usize {
        self.inner.appender.waiting()
    }

    /// Reads up to `limit` events of a room's log, beginning behind event `after`.
    pub async fn history(&self, room: RoomId, after: u64, limit: u32) -> Result<Vec<Stored>, SubmitError> {
        self.inner.store.events_after(room, after, limit).await.map_err(|_| SubmitError::Unavailable)
    }

    pub fn store(&self) -> &Store {
        &self.inner.store
    }

    /// Finishes what was accepted: marks are written and the appender has nothing left.
    pub async fn finish(&self) {
        self.inner.marks.flush().await;
        self.inner.appender.finish().await;
    }
}

/// The room's inbox is full, or there is nobody any more to read it.
struct Full;
