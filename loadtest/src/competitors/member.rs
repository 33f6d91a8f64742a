//! A member of a competitor's room, in its own task; the counterpart of the fleet's member of a hub's room.
//!
//! It behaves as a careful client of such a server does. It reconnects with the backoff of Socket.IO's own client and
//! resends unacknowledged messages.

use std::cell::RefCell;
use std::collections::{BTreeMap, HashSet};
use std::rc::Rc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use rand::Rng;
use rooms::command::Command;
use rooms::id::CommandId;
use rooms::text::Prose;
use tokio::sync::mpsc;
use tokio::time::{sleep, timeout};

use super::connection::{Connection, ConnectionError};
use super::{OutgoingMessage, Packet};
use crate::load::results::CheckResult;
use crate::load::room::{MemberCommand, Room, RunState};
use crate::target::Target;

/// The first backoff between reconnects, before jitter of half either way.
const FIRST_RECONNECT_BACKOFF: Duration = Duration::from_secs(1);

/// The longest backoff between reconnects, before the same jitter.
const RECONNECT_BACKOFF_MAX: Duration = Duration::from_secs(5);

/// Time limit of one attempt to connect.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(20);

/// After this long without a packet, every packet in flight counts as received.
const QUIET_PERIOD: Duration = Duration::from_millis(100);

/// The close code of a connection that broke.
const ABNORMAL_CLOSURE_CODE: u16 = 1006;

pub struct CompetitorMember {
    pub connection: Connection,
    pub target: Target,
    pub room: Rc<RefCell<Room>>,
    /// The member's index in the room.
    pub person: usize,
    pub shared: Rc<RunState>,
    /// The number of the last message sent.
    pub last_number: u64,
    pub unanswered: BTreeMap<u64, (CommandId, Prose)>,
    /// The id counts of the messages received, and the number of repeats.
    pub received: HashSet<u64>,
    pub repeated: u64,
}

impl CompetitorMember {
    /// Executes commands until `Leave`, then closes the connection.
    pub async fn serve(mut self, mut commands: mpsc::UnboundedReceiver<MemberCommand>) {
        loop {
            tokio::select! {
                biased;
                command = commands.recv() => match command {
                    Some(MemberCommand::Leave) | None => break,
                    Some(command) => self.execute(command).await,
                },
                packet = self.connection.next() => match packet {
                    Ok(packet) => self.on_packet(&packet),
                    Err(_) => self.on_connection_lost().await,
                },
            }
        }
        self.connection.close().await;
    }

    async fn execute(&mut self, command: MemberCommand) {
        match command {
            MemberCommand::Send { id, command: Command::Chat(chat), .. } => {
                self.last_number += 1;
                self.unanswered.insert(self.last_number, (id, chat.text));
                // After a failure, the next connection resends the message.
                let _ = self.send_message(self.last_number).await;
            }
            MemberCommand::Cut(delay) => self.reconnect(delay).await,
            MemberCommand::Check(reply) => {
                let result = self.check().await;
                let _ = reply.send(result);
            }
            // The fleet sends no other command to a competitor's member.
            _ => {}
        }
    }

    async fn send_message(&mut self, number: u64) -> Result<(), ConnectionError> {
        let Some((id, text)) = self.unanswered.get(&number) else { return Ok(()) };
        let room = self.room.borrow().id;
        self.connection.send_message(number, &OutgoingMessage { id: *id, room, text: text.as_str() }).await
    }

    fn on_packet(&mut self, packet: &Packet) {
        match packet {
            Packet::Acked(number) => {
                let answered = self.unanswered.remove(number).map(|(id, _)| id);
                if let Some((id, count)) = answered.and_then(|id| Some((id, self.shared.ids.count(id)?))) {
                    self.room.borrow_mut().acked(&self.shared, id, count, count);
                }
            }
            Packet::Message(id) => {
                let Some(count) = self.shared.ids.count(*id) else { return };
                if self.received.insert(count) {
                    let mut room = self.room.borrow_mut();
                    let counts = room.is_undisturbed(self.person);
                    self.shared.delivered(Some(*id), counts);
                    if counts {
                        room.event_arrived(&self.shared, self.person, count, Some(*id));
                    }
                } else {
                    self.repeated += 1;
                }
            }
            _ => {}
        }
    }

    async fn on_connection_lost(&mut self) {
        *self.shared.result.borrow_mut().closes.entry(ABNORMAL_CLOSURE_CODE).or_default() += 1;
        let wait = self.backoff(0);
        self.reconnect(wait).await;
    }

    /// Reconnects, first after `delay`, and resends unacknowledged messages.
    async fn reconnect(&mut self, delay: Duration) {
        self.connection.cut();
        self.shared.gauges.connected.fetch_sub(1, Ordering::Relaxed);
        let cut = self.shared.now();
        sleep(delay).await;
        for attempt in 0.. {
            if matches!(timeout(CONNECT_TIMEOUT, self.connection.connect(self.target)).await, Ok(Ok(()))) {
                break;
            }
            self.connection.cut();
            self.shared.result.borrow_mut().failed_opens += 1;
            sleep(self.backoff(attempt)).await;
        }
        self.shared.gauges.connected.fetch_add(1, Ordering::Relaxed);
        self.shared.result.borrow_mut().resume.record(self.shared.now().saturating_sub(cut));
        for number in self.unanswered.keys().copied().collect::<Vec<_>>() {
            if self.send_message(number).await.is_err() {
                break;
            }
        }
    }

    fn backoff(&self, attempt: u32) -> Duration {
        let wait = FIRST_RECONNECT_BACKOFF.saturating_mul(1 << attempt.min(4)).min(RECONNECT_BACKOFF_MAX);
        wait.mul_f64(self.shared.random.borrow_mut().random_range(0.5..=1.5))
    }

    /// Compares the messages received with those acknowledged to the room's members.
    async fn check(&mut self) -> CheckResult {
        while let Ok(Ok(packet)) = timeout(QUIET_PERIOD, self.connection.next()).await {
            self.on_packet(&packet);
        }
        let lost =
            self.room.borrow().acked_events_for(self.person).filter(|count| !self.received.contains(count)).count();
        CheckResult {
            readers: 1,
            delivered: self.received.len() as u64,
            lost: lost as u64,
            repeated: self.repeated,
            ..CheckResult::default()
        }
    }
}
