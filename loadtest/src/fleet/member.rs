//! One member of one room: a client in a task of its own.

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

/// How long a member waits before it repeats a command, when the hub does not say.
const DEFAULT_RETRY_DELAY: Duration = Duration::from_millis(200);

/// The longest wait between two attempts to come back, and what it grows from.
const BACKOFF: (Duration, Duration) = (Duration::from_secs(30), Duration::from_millis(500));

/// How long one attempt to come back may take before the next node is tried.
const RECONNECT_TIMEOUT: Duration = Duration::from_secs(15);

/// What is added to the hub's own wait when it has no room, as the protocol demands.
const FULL_HUB_EXTRA_WAIT: Duration = Duration::from_secs(60);

/// Where a member is connected, and what it must know to find its way back.
pub struct Link {
    pub nodes: Rc<[Target]>,
    /// The node of the present connection, or the one that was tried last.
    pub node: usize,
    /// How long the hub may say nothing before the connection counts as broken.
    pub silence: Duration,
    /// When the hub, before it closed, retry_after this client to come back.
    pub retry_after: Option<Duration>,
}

/// How long what was acknowledged may be under way to a member, at the end.
const DELIVERY_GRACE: Duration = Duration::from_secs(2);

/// How often is looked whether it has come.
const DELIVERY_POLL_INTERVAL: Duration = Duration::from_millis(20);

/// What the protocol allows: twice the hub's beat.
pub fn silence(welcome: &Welcome) -> Duration {
    2 * Duration::from_millis(welcome.beat_ms)
}

pub struct Member {
    client: Client,
    link: Link,
    /// When the last frame came, in microseconds since the run began.
    last_frame_at: u64,
    room: Rc<RefCell<Room>>,
    /// Which of the room's connections this is.
    index: usize,
    /// Which of the room's people has it.
    place: usize,
    shared: Rc<RunState>,
    /// Where this member's own reminders go.
    commands: mpsc::UnboundedSender<MemberCommand>,
    /// Whether frames are read.
    reading: bool,
    /// With repeated commands: what was said, and the answer.
    repeated: HashMap<CommandId, RepeatedCommand>,
    /// With repeated commands: where each took effect, as this member saw it.
    effects: HashMap<CommandId, u64>,
}

pub struct RepeatedCommand {
    command: Command,
    answer: Option<(u64, u64)>,
}

impl Member {
    /// A member that serves in a task of its own from now on.
    pub fn spawn(
        (client, link): (Client, Link),
        room: &Rc<RefCell<Room>>,
        (index, place): (usize, usize),
        shared: &Rc<RunState>,
        (commands, receiver): (mpsc::UnboundedSender<MemberCommand>, mpsc::UnboundedReceiver<MemberCommand>),
    ) -> JoinHandle<()> {
        let member = Self {
            client,
            link,
            last_frame_at: shared.now(),
            room: room.clone(),
            index,
            place,
            shared: shared.clone(),
            commands,
            reading: true,
            repeated: HashMap::new(),
            effects: HashMap::new(),
        };
        tokio::task::spawn_local(member.serve(receiver))
    }

    /// Works until it is retry_after to leave. Then says goodbye.
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
                let held = self.client.half_open();
                sleep(time).await;
                self.reconnect(Duration::ZERO).await;
                drop(held);
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
                    if self.place < PHARMACIST {
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
                Gauges::count(&self.shared.gauges.errors);
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

    /// One command, one effect.
    fn check_single_effect(&mut self, command: Option<CommandId>, seq: u64) {
        if self.shared.copies > 1
            && let Some(id) = command.filter(|id| self.shared.ids.decode(*id).is_some())
            && self.effects.insert(id, seq).is_some_and(|before| before != seq)
        {
            self.shared.result.borrow_mut().doubled += 1;
        }
    }

    /// One command, one answer, however often it is given. After the first one, the command is sent once more.
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
            // What the hub sent is not the protocol: as if the connection had broken, but this client does not go on.
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

    /// Connects again, for the first time after `delay`, to the next node that answers, and resumes.
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

    /// Full jitter: anything between nothing and a bound that doubles with each attempt.
    fn backoff(&self, attempt: u32) -> Duration {
        let (most, first) = BACKOFF;
        let bound = first.saturating_mul(1 << attempt.min(10)).min(most);
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
        // What comes before the question is delivered without it. What was acknowledged may still be under way.
        let end = Instant::now() + DELIVERY_GRACE;
        self.drain(Duration::from_millis(1)).await;
        while self.missing(room) > 0 && self.client.is_connected() && Instant::now() < end {
            self.drain(DELIVERY_POLL_INTERVAL).await;
        }
        let before = self.client.delivery_check(room).map_or(0, |check| check.delivered());
        if self.client.join(room).await.is_err() {
            return unreachable;
        }
        self.drain(Duration::ZERO).await;
        let Some(check) = self.client.delivery_check(room) else { return unreachable };
        let late = check.delivered() - before;
        let owed = self.missing(room);
        // The patient and the doctor see everything, so that every number must have come.
        let came = check.delivered() + check.out_of_order();
        let holes = if self.place < PHARMACIST { check.cursor().saturating_sub(came) } else { 0 };
        CheckResult {
            readers: 1,
            delivered: came,
            lost: late + owed.max(holes),
            repeated: check.repeated(),
            out_of_order: check.out_of_order(),
            healed: check.gaps() - u64::from(late > 0).min(check.gaps()),
            unreachable: 0,
        }
    }

    /// Events that were acknowledged and have not come.
    fn missing(&self, room: RoomId) -> u64 {
        let Some(check) = self.client.delivery_check(room) else { return 0 };
        self.room.borrow().acked_events_for(self.place).filter(|seq| !check.has(*seq)).count() as u64
    }

    /// Takes what has come, until nothing comes for `quiet`.
    async fn drain(&mut self, quiet: Duration) {
        while let Ok(Ok(frame)) = timeout(quiet, self.client.next()).await {
            self.on_frame(&frame);
        }
    }
}
