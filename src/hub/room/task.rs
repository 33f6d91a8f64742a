//! The task of a room: takes requests in turn, and carries out what is due.
//!
//! The task's data is in five organs, each with its own rules. The task does the I/O between them: it reads the log,
//! commits, publishes and sends.

use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::time::Duration;

use rooms::id::RoomId;
use tokio::sync::mpsc;
use tokio::time::Instant;

use super::answered::AnsweredCommands;
use super::presence::Presence;
use super::registry::Rooms;
use super::state::RoomState;
use super::subscribers::Subscribers;
use super::{AttachOutcome, ReplyTo, Request, command};
use crate::hub::call::RoomCalls;
use crate::hub::services::Services;
use crate::hub::submission::SubmitError;
use crate::telemetry::COMMAND_TRACE;
use crate::telemetry::metrics::METRICS;

/// How long a command may wait in the inbox before the task sheds it. In an overloaded hub, commands that no client
/// waits for any more would otherwise delay those that can still be answered in time.
const SHED_AFTER: Duration = Duration::from_secs(3);
/// How long a room without subscribers stays in memory.
const IDLE_TIMEOUT: Duration = Duration::from_secs(30);
/// How often rights are checked if they can expire by the clock alone.
const RIGHTS_CHECK_INTERVAL: Duration = Duration::from_millis(500);

/// One room at work.
pub struct RoomTask {
    pub(super) id: RoomId,
    pub(super) hub: Arc<Services>,
    pub(super) state: RoomState,
    pub(super) subscribers: Subscribers,
    pub(super) presence: Presence,
    pub(super) calls: RoomCalls,
    pub(super) answered: AnsweredCommands,
}

impl RoomTask {
    pub fn new(id: RoomId, hub: Arc<Services>, head: Arc<AtomicU64>) -> Self {
        // Before the log is read, so that no event falls between.
        let subscription = hub.bus.subscribe(id);
        Self {
            id,
            state: RoomState::new(head, subscription),
            subscribers: Subscribers::default(),
            presence: Presence::default(),
            calls: RoomCalls::new(hub.bus.node()),
            answered: AnsweredCommands::default(),
            hub,
        }
    }

    /// Runs until the room is idle: it has no subscribers, has no grace period to wait for, and had no request for a
    /// while.
    pub async fn run(mut self, rooms: Arc<Rooms>, mut inbox: mpsc::Receiver<Box<Request>>) {
        let mut used_at = Instant::now();
        loop {
            let timeout = if self.subscribers.has_expiring_rights() { RIGHTS_CHECK_INTERVAL } else { IDLE_TIMEOUT };
            let idle_at = used_at + timeout;
            let due = self.presence.next_deadline().into_iter().chain(self.calls.renew_at());
            let wake_at = due.fold(idle_at, Instant::min);
            tokio::select! {
                request = inbox.recv() => match request {
                    Some(request) => {
                        if !request.is_remote() {
                            used_at = Instant::now();
                        }
                        // Boxed, here and below: a waiting room keeps no space for the futures of its work.
                        Box::pin(self.handle(*request)).await;
                        // Anyone signed in can name rooms that do not exist; these must not stay in memory.
                        if !self.state.exists() && inbox.is_empty() && !self.is_needed() && rooms.retire(self.id, &inbox) {
                            return;
                        }
                    }
                    None => return,
                },
                () = tokio::time::sleep_until(wake_at) => {
                    let now = Instant::now();
                    let is_idle = idle_at <= now;
                    if is_idle {
                        used_at = now;
                    }
                    if self.presence.is_report_due(now) {
                        self.report_presence();
                    }
                    Box::pin(self.renew_placement()).await;
                    Box::pin(self.expire_presence()).await;
                    self.evict_unauthorized();
                    if is_idle && !self.is_needed() && rooms.retire(self.id, &inbox) {
                        return;
                    }
                }
            }
        }
    }

    fn is_needed(&self) -> bool {
        !self.subscribers.is_empty() || self.presence.has_grace_period() || self.calls.has_remote_sessions()
    }

    async fn handle(&mut self, request: Request) {
        match request {
            Request::Submit { submission, reply, submitted_at } => {
                let waited_us = submitted_at.elapsed().as_micros();
                tracing::debug!(target: COMMAND_TRACE, command = %submission.id.0, room = %self.id, waited_us, "received");
                let is_shed = submitted_at.elapsed() > SHED_AFTER && !matches!(reply, ReplyTo::Nobody);
                let result = if is_shed { Err(SubmitError::Shed) } else { self.submit(&submission).await };
                match &result {
                    Ok(_) => METRICS.ack.observe_since(submitted_at),
                    Err(error) => {
                        let code = error.code().as_str();
                        tracing::debug!(target: COMMAND_TRACE, command = %submission.id.0, room = %self.id, code, "rejected");
                    }
                }
                command::reply(&submission, reply, result);
            }
            Request::Read { actor, reply } => {
                let result = self.read_fresh(&actor).await;
                // An error means that the caller has given up.
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
            Request::BusMessage(text) => self.receive(&text).await,
            Request::HeadAdvanced { head } => self.catch_up_to(head).await,
            Request::Resync => {
                self.query_presence();
                let effects = self.calls.resync();
                self.carry_out(effects);
            }
            Request::CallMessage { from, message } => self.call_message(from, *message).await,
        }
    }
}
