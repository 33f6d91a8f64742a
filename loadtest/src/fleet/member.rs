//! A member of a room: a client in its own task.

use std::cell::RefCell;
use std::collections::HashMap;
use std::pin::pin;
use std::rc::Rc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use rand::Rng;
use rooms::command::Command;
use rooms::id::{CommandId, RoomId};
use rooms::wire::client::ClientFrame;
use rooms::wire::server::Welcome;
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tokio::time::{sleep, timeout};

use crate::client::{Client, ClientError, ReceivedFrame};
use crate::delivery_check::EventOrder;
use crate::frame::FrameSummary;
use crate::load::members::PHARMACIST;
use crate::load::results::{CheckResult, Gauges};
use crate::load::room::{MemberCommand, Room, RunState};
use crate::target::Target;

/// Retry delay of a command if the hub sends none.
const DEFAULT_RETRY_DELAY: Duration = Duration::from_millis(200);

/// The limit of the first backoff between reconnects.
const FIRST_RECONNECT_BACKOFF: Duration = Duration::from_millis(500);

/// The limit of the longest backoff between reconnects.
const RECONNECT_BACKOFF_MAX: Duration = Duration::from_secs(30);

/// Time limit of one attempt to reconnect; the next attempt uses the next node.
const RECONNECT_TIMEOUT: Duration = Duration::from_secs(15);

/// Added to the backoff when the hub is full, as the protocol requires.
const FULL_HUB_EXTRA_WAIT: Duration = Duration::from_secs(60);

/// A member's place in the cluster, and what it needs to reconnect.
pub struct Link {
    pub nodes: Rc<[Target]>,
    /// The node of the current connection, or the last one tried.
    pub node: usize,
    /// How long the hub may be silent before the connection counts as broken.
    pub silence: Duration,
    /// The reconnect delay that the hub sent before it closed.
    pub retry_after: Option<Duration>,
}

/// How long acknowledged events may be in flight at the end.
const DELIVERY_GRACE: Duration = Duration::from_secs(2);

/// Interval at which a member checks whether they have arrived.
const DELIVERY_POLL_INTERVAL: Duration = Duration::from_millis(20);

/// Returns the silence that the protocol allows: twice the hub's beat.
pub fn silence(welcome: &Welcome) -> Duration {
    2 * Duration::from_millis(welcome.beat_ms)
}

pub struct Member {
    client: Client,
    link: Link,
    /// When the last frame arrived, in microseconds since the start of the run.
    last_frame_at: u64,
    room: Rc<RefCell<Room>>,
    /// The index of this connection in the room.
    index: usize,
    /// The index of the person in the room.
    person: usize,
    shared: Rc<RunState>,
    /// The queue for this member's own retries.
    commands: mpsc::UnboundedSender<MemberCommand>,
    /// Whether the member reads frames.
    reading: bool,
    /// The commands that are sent more than once, with their answers.
    repeated: HashMap<CommandId, RepeatedCommand>,
    /// Where the repeated commands took effect, as this member saw it.
    effects: HashMap<CommandId, u64>,
}

pub struct RepeatedCommand {
    command: Command,
    answer: Option<(u64, u64)>,
}

impl Member {
    /// Starts a member's task.
    pub fn spawn(
        (client, link): (Client, Link),
        room: &Rc<RefCell<Room>>,
        (index, person): (usize, usize),
        shared: &Rc<RunState>,
        (commands, receiver): (mpsc::UnboundedSender<MemberCommand>, mpsc::UnboundedReceiver<MemberCommand>),
    ) -> JoinHandle<()> {
        let member = Self {
            client,
            link,
            last_frame_at: shared.now(),
            room: room.clone(),
            index,
            person,
            shared: shared.clone(),
            commands,
            reading: true,
            repeated: HashMap::new(),
            effects: HashMap::new(),
        };
        tokio::task::spawn_local(member.serve(receiver))
    }

    /// Executes commands until `Leave`, then closes the connection.
    pub async fn serve(mut self, mut commands: mpsc::UnboundedReceiver<MemberCommand>) {
        let mut silence = pin!(sleep(self.link.silence));
        loop {
            tokio::select! {
                biased;
                command = commands.recv() => match command {
                    Some(MemberCommand::Leave) | None => break,
                    Some(command) => self.execute(command).await,
                },
                frame = self.client.next(), if self.reading => match frame {
                    Ok(frame) => self.on_frame(&frame),
                    Err(error) => self.on_connection_lost(&error).await,
                },
                () = &mut silence, if self.reading => {
                    let end = self.shared.instant(self.last_frame_at) + self.link.silence;
                    if end <= Instant::now() {
                        self.client.cut();
                        self.on_connection_lost(&ClientError::Closed { code: 1006, reason: String::new() }).await;
                    }
                    silence.as_mut().reset((self.shared.instant(self.last_frame_at) + self.link.silence).into());
                }
            }
        }
        self.client.close().await;
    }

    async fn execute(&mut self, command: MemberCommand) {
        match command {
            MemberCommand::Send { id, command, copies } => {
                let room = self.room.borrow().id;
                if self.shared.copies > 1 {
                    self.repeated.insert(id, RepeatedCommand { command: command.clone(), answer: None });
                }
                self.client.send_as(id, room, None, command);
                for _ in 1..copies {
                    self.client.send_again(id);
                }
            }
            MemberCommand::Resend(id) => {
                self.client.send_again(id);
            }
            MemberCommand::Cut(delay) => {
                self.client.cut();
                self.reconnect(delay).await;
            }
            MemberCommand::Join => {
                let room = self.room.borrow().id;
                self.client.request_join(room);
            }
            MemberCommand::GoHalfOpen(time) => {
                let stalled = self.client.half_open();
                sleep(time).await;
                self.reconnect(Duration::ZERO).await;
                drop(stalled);
            }
            MemberCommand::StopReading => self.reading = false,
            MemberCommand::ResumeReading => {
                self.last_frame_at = self.shared.now();
                self.reading = true;
            }
            MemberCommand::Check(reply) => {
                let result = self.check().await;
                let _ = reply.send(result);
            }
            MemberCommand::Leave => {}
        }
    }

    fn on_frame(&mut self, frame: &ReceivedFrame) {
        self.last_frame_at = self.shared.now();
        match &frame.summary {
            FrameSummary::Event { seq, command, .. } => {
                if matches!(frame.order, Some(EventOrder::Next | EventOrder::Late)) {
                    let mut room = self.room.borrow_mut();
                    let counts = room.is_undisturbed(self.index);
                    self.shared.delivered(*command, counts);
                    if counts {
                        room.event_arrived(&self.shared, self.index, *seq, *command);
                    }
                    if self.person < PHARMACIST {
                        room.read_ids(&self.shared, &frame.text);
                    }
                    drop(room);
                    self.check_single_effect(*command, *seq);
                }
            }
            FrameSummary::Ack { id, first, last, .. } => {
                if frame.answers.is_some() {
                    self.room.borrow_mut().acked(&self.shared, *id, *first, *last);
                }
                self.check_single_answer(*id, *first, *last);
            }
            FrameSummary::Error(error) => {
                Gauges::increment(&self.shared.gauges.errors);
                *self.shared.result.borrow_mut().errors.entry(error.code).or_default() += 1;
                if frame.answers.is_some() {
                    self.room.borrow_mut().refused(&self.shared, error.detail.state.as_deref());
                } else if let Some(id) = error.id {
                    let commands = self.commands.clone();
                    let wait = error.detail.retry_after_ms.map_or(DEFAULT_RETRY_DELAY, Duration::from_millis);
                    tokio::task::spawn_local(async move {
                        sleep(wait).await;
                        let _ = commands.send(MemberCommand::Resend(id));
                    });
                }
            }
            FrameSummary::Reconnect { after_ms } => self.link.retry_after = Some(Duration::from_millis(*after_ms)),
            _ => {}
        }
    }

    /// Counts a command that took effect twice.
    fn check_single_effect(&mut self, command: Option<CommandId>, seq: u64) {
        if self.shared.copies > 1
            && let Some(id) = command.filter(|id| self.shared.ids.decode(*id).is_some())
            && self.effects.insert(id, seq).is_some_and(|before| before != seq)
        {
            self.shared.result.borrow_mut().doubled += 1;
        }
    }

    /// Counts a command whose acks differ. After the first ack, sends the command once more.
    fn check_single_answer(&mut self, id: CommandId, first: u64, last: u64) {
        let Some(sent) = self.repeated.get_mut(&id) else { return };
        match sent.answer {
            None => {
                sent.answer = Some((first, last));
                let room = self.room.borrow().id;
                self.client.queue(&ClientFrame::Command { id, room, expect: None, command: sent.command.clone() });
            }
            Some(answer) if answer != (first, last) => self.shared.result.borrow_mut().doubled += 1,
            Some(_) => {}
        }
    }

    async fn on_connection_lost(&mut self, error: &ClientError) {
        let code = match error {
            ClientError::Closed { code, .. } => *code,
            // The hub violated the protocol. Counts like a broken connection, but this client does not reconnect.
            _ => 0,
        };
        *self.shared.result.borrow_mut().closes.entry(code).or_default() += 1;
        let retry_after = self.link.retry_after.take();
        if code != 0 && code < 4500 {
            let delay = match code {
                4020 | 4021 => FULL_HUB_EXTRA_WAIT + self.backoff(0),
                _ => retry_after.unwrap_or_else(|| self.backoff(0)),
            };
            self.reconnect(delay).await;
        } else {
            self.give_up();
        }
    }

    /// Reconnects, first after `delay`, trying the nodes in turn, and resumes.
    async fn reconnect(&mut self, delay: Duration) {
        self.shared.gauges.connected.fetch_sub(1, Ordering::Relaxed);
        let (cut, before) = (self.shared.now(), self.link.node);
        sleep(delay).await;
        for attempt in 1.. {
            self.link.node = (self.link.node + 1) % self.link.nodes.len();
            self.client.retarget(self.link.nodes[self.link.node]);
            let resumed = timeout(RECONNECT_TIMEOUT, async {
                let welcome = self.client.connect().await?;
                self.client.until_live().await?;
                Ok(welcome)
            });
            match resumed.await.unwrap_or(Err(ClientError::Timeout("a node"))) {
                Ok(welcome) => {
                    self.link.silence = silence(&welcome);
                    break;
                }
                Err(error) if error.close().is_some_and(|close| !close.resumable()) => return self.give_up(),
                Err(_) => {
                    self.shared.result.borrow_mut().failed_opens += 1;
                    sleep(self.backoff(attempt)).await;
                }
            }
        }
        self.shared.gauges.connected.fetch_add(1, Ordering::Relaxed);
        self.last_frame_at = self.shared.now();
        let took = self.last_frame_at.saturating_sub(cut);
        let mut result = self.shared.result.borrow_mut();
        result.resume.record(took);
        if self.link.node != before {
            result.elsewhere.record(took);
        }
    }

    /// Returns a full-jitter backoff: a random time up to a limit that doubles with each attempt.
    fn backoff(&self, attempt: u32) -> Duration {
        let bound = FIRST_RECONNECT_BACKOFF.saturating_mul(1 << attempt.min(10)).min(RECONNECT_BACKOFF_MAX);
        self.shared.random.borrow_mut().random_range(Duration::ZERO..=bound)
    }

    fn give_up(&mut self) {
        self.client.cut();
        self.reading = false;
    }

    async fn check(&mut self) -> CheckResult {
        let unreachable = CheckResult { readers: 1, unreachable: 1, ..CheckResult::default() };
        if !self.client.is_connected() && self.reading {
            self.reconnect(Duration::ZERO).await;
        }
        if !self.reading {
            return unreachable;
        }
        let room = self.room.borrow().id;
        // Events that arrive before the rejoin count as delivered live. Acknowledged ones may still be in flight.
        let end = Instant::now() + DELIVERY_GRACE;
        self.drain(Duration::from_millis(1)).await;
        while self.missing(room) > 0 && self.client.is_connected() && Instant::now() < end {
            self.drain(DELIVERY_POLL_INTERVAL).await;
        }
        let before = self.client.delivery_check(room).map_or(0, super::super::delivery_check::DeliveryCheck::delivered);
        if self.client.join(room).await.is_err() {
            return unreachable;
        }
        self.drain(Duration::ZERO).await;
        let Some(check) = self.client.delivery_check(room) else { return unreachable };
        let arrived_late = check.delivered() - before;
        let missing = self.missing(room);
        // The patient and the doctor see all events, so every number must have arrived.
        let received = check.delivered() + check.out_of_order();
        let gaps = if self.person < PHARMACIST { check.cursor().saturating_sub(received) } else { 0 };
        CheckResult {
            readers: 1,
            delivered: received,
            lost: arrived_late + missing.max(gaps),
            repeated: check.repeated(),
            out_of_order: check.out_of_order(),
            healed: check.gaps() - u64::from(arrived_late > 0).min(check.gaps()),
            unreachable: 0,
        }
    }

    /// Returns the number of acknowledged events that have not arrived.
    fn missing(&self, room: RoomId) -> u64 {
        let Some(check) = self.client.delivery_check(room) else { return 0 };
        self.room.borrow().acked_events_for(self.person).filter(|seq| !check.has(*seq)).count() as u64
    }

    /// Reads frames until none arrives for `quiet`.
    async fn drain(&mut self, quiet: Duration) {
        while let Ok(Ok(frame)) = timeout(quiet, self.client.next()).await {
            self.on_frame(&frame);
        }
    }
}
