//! The hub: the one way to change a room, and to read it.
//!
//! [`Hub::submit`] takes every change; [`Hub::read`] and [`Hub::attach`] serve readers. A task per active room decides
//! commands, the [`appender`] commits the events of many rooms together, and the room's subscribers receive what they
//! may see. What a command means is decided by the crate `rooms`; what is stored, and how, by the store.

mod access_log;
pub mod admission;
pub mod appender;
mod call;
mod cluster;
pub mod connection;
pub mod connection_pool;
pub mod fair_queue;
pub mod feeds;
pub mod marks;
pub mod room;
pub mod send_queue;
mod services;
mod submission;
mod sync;
mod wakes;

use std::sync::Arc;

use rooms::id::{CallId, CommandId, RoomId, SessionId, UserId};
use rooms::role::Actor;
use rooms::signal::{Mark, Signal};
use rooms::time::Timestamp;
use rooms::wire::call::{CallSignal, Servers};
use rooms::wire::server::{ErrorFrame, ServerFrame};
use tokio::sync::{SemaphorePermit, oneshot};
use tokio::time::Instant;
use uuid::Uuid;

use self::appender::Appender;
use self::cluster::message::ClusterEventKind;
use self::connection::{Connection, Connections};
use self::fair_queue::FairQueue;
use self::feeds::Feeds;
use self::room::registry::Rooms;
use self::room::{AttachOutcome, ReplyTo, Request, RoomView};
use self::services::Services;
use self::wakes::WakeSchedule;
use crate::bus::Bus;
use crate::clock::Clock;
use crate::store::Store;
use crate::store::record::StoredRecord;

pub use self::room::EventFrame;
pub use self::services::{HubSettings, MediaRelays};
pub use self::submission::{Committed, Submission, SubmitError, command_hash};
pub use self::wakes::StuckRoom;

/// A handle of the hub; cheap to clone.
#[derive(Clone)]
pub struct Hub {
    rooms: Arc<Rooms>,
    wakes: Arc<WakeSchedule>,
}

impl Hub {
    pub fn new(
        store: Store,
        appender: Appender,
        bus: Bus,
        clock: Clock,
        settings: HubSettings,
        relays: Arc<dyn MediaRelays>,
    ) -> Self {
        let services = Services::new(store, appender, bus, clock, settings, relays);
        Self { rooms: Arc::new(Rooms::new(Arc::new(services))), wakes: Arc::default() }
    }

    /// Commits a command. Returns after its events were published to the room's subscribers on this node.
    pub async fn submit(&self, submission: Submission) -> Result<Committed, SubmitError> {
        let (reply, answer) = oneshot::channel();
        let room = submission.room;
        self.send_submission(room, submission, ReplyTo::Caller(reply))?;
        answer.await.unwrap_or(Err(SubmitError::Unavailable))
    }

    /// Submits a command and answers by a frame on `connection`, after the command's own events. Commands of one
    /// connection keep their order.
    pub fn submit_from(&self, connection: &Arc<Connection>, submission: Submission) {
        let (id, room) = (submission.id, submission.room);
        if let Err(error) = self.send_submission(room, submission, ReplyTo::Connection(connection.clone())) {
            connection.end_command();
            connection.send(&ServerFrame::Error(ErrorFrame { id: Some(id), room: Some(room), ..error.frame() }));
        }
    }

    /// Wakes the rooms whose timers are due, except those that were woken shortly before. `due`: all due rooms, each
    /// with the time of its timer.
    pub fn wake_due(&self, due: &[(RoomId, Timestamp)]) {
        self.wakes.next(due, Instant::now()).into_iter().for_each(|room| self.wake(room));
    }

    /// Returns how many rooms were due in the last round.
    pub fn due_room_count(&self) -> usize {
        self.wakes.pending_count()
    }

    /// Returns the rooms whose timers stay due although this node has woken them several times.
    pub fn stuck_rooms(&self) -> Vec<StuckRoom> {
        self.wakes.stuck_rooms()
    }

    /// Runs a room's due timers.
    pub fn wake(&self, room: RoomId) {
        let id = CommandId(self.services().clock.fresh_id());
        let submission = Submission { room, actor: Actor::System, id, command: room::timer_command(), expect: None };
        // If the inbox is full, the next timer job tries again.
        let _ = self.send_submission(room, submission, ReplyTo::Nobody);
    }

    fn send_submission(&self, room: RoomId, submission: Submission, reply: ReplyTo) -> Result<(), SubmitError> {
        let request = Request::Submit { submission, reply, submitted_at: Instant::now() };
        self.rooms.send(room, request).map_err(|_| SubmitError::Unavailable)
    }

    /// Returns a room as `actor` may see it, for `actor` to receive. Records the access under the name `action` first.
    pub async fn view(&self, room: RoomId, actor: &Actor, action: &str) -> Result<RoomView, SubmitError> {
        let view = self.read(room, actor).await?;
        self.services().access_log.record(actor, action, room).await?;
        Ok(view)
    }

    /// Reads a room as `actor` sees it, for the hub's own work: what people receive comes from [`view`](Self::view).
    pub async fn read(&self, room: RoomId, actor: &Actor) -> Result<RoomView, SubmitError> {
        let (reply, answer) = oneshot::channel();
        let request = Request::Read { actor: actor.clone(), reply };
        self.rooms.send(room, request).map_err(|_| SubmitError::Unavailable)?;
        answer.await.unwrap_or(Err(SubmitError::Unavailable))
    }

    /// Reads up to `limit` events of a room's log after the event `after`. Does not check what the reader may see.
    pub async fn history(&self, room: RoomId, after: u64, limit: u32) -> Result<Vec<StoredRecord>, SubmitError> {
        self.services().store.events_after(room, after, limit).await.map_err(|_| SubmitError::Unavailable)
    }

    /// Subscribes `connection` to a room that it joins, as [`attach`](Self::attach) does, and records the access.
    pub async fn join(
        &self,
        room: RoomId,
        connection: &Arc<Connection>,
        cursor: u64,
    ) -> Result<AttachOutcome, SubmitError> {
        let outcome = self.attach(room, connection, cursor).await?;
        // The session sends nothing of the room before this returns.
        if let Err(error) = self.services().access_log.record(&connection.actor, "room.joined", room).await {
            self.detach(room, connection.id).await;
            return Err(error);
        }
        Ok(outcome)
    }

    /// Subscribes `connection` to a room from `cursor` on, unless it must read the log first. For a connection that has
    /// joined the room and has read the log since.
    pub async fn attach(
        &self,
        room: RoomId,
        connection: &Arc<Connection>,
        cursor: u64,
    ) -> Result<AttachOutcome, SubmitError> {
        let (reply, answer) = oneshot::channel();
        let request = Request::Attach { connection: connection.clone(), cursor, reply };
        self.rooms.send(room, request).map_err(|_| SubmitError::Unavailable)?;
        answer.await.unwrap_or(Err(SubmitError::Unavailable))
    }

    /// Ends a subscription.
    pub async fn detach(&self, room: RoomId, connection: Uuid) {
        self.rooms.forward_waiting(room, Request::Detach { connection }).await;
    }

    /// Relays a signal to the other readers of the room. It may be lost.
    pub fn signal(&self, room: RoomId, actor: &Actor, from: Option<Uuid>, signal: Signal) {
        let _ = self.rooms.send(room, Request::Signal { actor: actor.clone(), from, signal });
    }

    /// Takes a session's signal about a call.
    pub fn call(&self, room: RoomId, connection: &Arc<Connection>, call: CallId, signal: CallSignal) {
        let request = Request::Call { connection: connection.clone(), call, signal: Box::new(signal) };
        if self.rooms.send(room, request).is_err() {
            let error = ErrorFrame { room: Some(room), ..SubmitError::Unavailable.frame() };
            connection.send(&ServerFrame::Error(error));
        }
    }

    /// Advances a person's mark. It may be lost; the next mark makes up for that.
    pub fn mark(&self, room: RoomId, actor: &Actor, from: Option<Uuid>, mark: Mark) {
        let _ = self.rooms.send(room, Request::Mark { actor: actor.clone(), from, mark });
    }

    /// Closes the former connection of a client that has reconnected, here or on another node.
    pub fn replace(&self, former: Uuid, session: SessionId) {
        if !self.services().connections.replace(former, session) {
            self.services().broadcast(ClusterEventKind::Replaced { connection: former, session });
        }
    }

    /// Puts patients whose slot has just begun before the walk-ins, in the waiting rooms that somebody watches.
    pub async fn reorder_lobbies(&self, now: Timestamp) {
        self.services().feeds.reorder_lobbies(now).await;
    }

    /// Whether this person may be connected. With several nodes this one does not know the others' connections, so
    /// everybody may be.
    pub fn may_be_connected(&self, user: UserId) -> bool {
        self.services().bus.is_shared() || self.services().connections.has_user(user)
    }

    /// From now on the hub admits no connections and reports that it is not ready.
    pub fn begin_stop(&self) {
        self.services().begin_stop();
    }

    pub fn is_stopping(&self) -> bool {
        self.services().is_stopping()
    }

    /// Waits for permission to read the log for a replay. The permit is held until dropped.
    pub async fn replay_permit(&self) -> SemaphorePermit<'_> {
        self.services().replays.acquire().await.expect("the semaphore is never closed")
    }

    /// The queue of clients that connect or join a room.
    pub fn connect_queue(&self) -> &FairQueue {
        &self.services().connect_queue
    }

    /// The queue of sessions that end.
    pub fn disconnect_queue(&self) -> &FairQueue {
        &self.services().disconnect_queue
    }

    pub fn connections(&self) -> &Connections {
        &self.services().connections
    }

    pub fn feeds(&self) -> &Feeds {
        &self.services().feeds
    }

    /// Names STUN and TURN servers for a session outside a call, with fresh credentials.
    pub fn ice_servers(&self, session: SessionId, user: UserId) -> Servers {
        self.services().relays.servers(session, user, None)
    }

    pub fn bus(&self) -> &Bus {
        &self.services().bus
    }

    pub fn store(&self) -> &Store {
        &self.services().store
    }

    /// Returns how many rooms are in memory.
    pub fn rooms(&self) -> usize {
        self.rooms.count()
    }

    /// Returns how many appends wait for their transaction.
    pub fn appends_waiting(&self) -> usize {
        self.services().appender.waiting()
    }

    /// Finishes accepted work: writes all marks and waits until the appender is idle.
    pub async fn finish(&self) {
        self.services().marks.flush().await;
        self.services().appender.finish().await;
    }

    fn services(&self) -> &Services {
        self.rooms.services()
    }
}
