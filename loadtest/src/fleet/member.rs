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

use crate::client::{Client, ClientError, Heard};
use crate::fleet::account::{Gauges, Verdict};
use crate::fleet::room::{Do, Room, Shared};
use crate::fleet::script::PHARMACIST;
use crate::frame::Brief;
use crate::tally::Order;
use crate::target::Target;

/// How long a member waits before it repeats a command, when the hub does not say.
const AGAIN: Duration = Duration::from_millis(200);

/// The longest wait between two attempts to come back, and what it grows from.
const BACKOFF: (Duration, Duration) = (Duration::from_secs(30), Duration::from_millis(500));

/// How long one attempt to come back may take before the next node is tried.
const ATTEMPT: Duration = Duration::from_secs(15);

/// What is added to the hub's own wait when it has no room, as the protocol demands.
const MINUTE: Duration = Duration::from_secs(60);

/// Where a member is connected, and what it must know to find its way back.
pub struct Link {
    pub nodes: Rc<[Target]>,
    /// The node of the present connection, or the one that was tried last.
    pub node: usize,
    /// How long the hub may say nothing before the connection counts as broken.
    pub silence: Duration,
    /// When the hub, before it closed, told this client to come back.
    pub told: Option<Duration>,
}

/// How long what was acknowledged may be under way to a member, at the end.
const UNDER_WAY: Duration = Duration::from_secs(2);

/// How often is looked whether it has come.
const LOOK: Duration = Duration::from_millis(20);

/// What the protocol allows: twice the hub's beat.
pub fn silence(welcome: &Welcome) -> Duration {
    2 * Duration::from_millis(welcome.beat_ms)
}

pub struct Member {
    client: Client,
    link: Link,
    /// When the last frame came, in microseconds since the run began.
    heard: u64,
    room: Rc<RefCell<Room>>,
    /// Which of the room's connections this is.
    index: usize,
    /// Which of the room's people has it.
    place: usize,
    shared: Rc<Shared>,
    /// Where this member's own reminders go.
    orders: mpsc::UnboundedSender<Do>,
    /// Whether frames are read.
    reading: bool,
    /// With repeated commands: what was said, and the answer.
    said: HashMap<CommandId, Said>,
    /// With repeated commands: where each took effect, as this member saw it.
    effects: HashMap<CommandId, u64>,
}

pub struct Said {
    command: Command,
    answer: Option<(u64, u64)>,
}

impl Member {
    /// A member that serves in a task of its own from now on.
    pub fn spawn(
        (client, link): (Client, Link),
        room: &Rc<RefCell<Room>>,
        (index, place): (usize, usize),
        shared: &Rc<Shared>,
        (orders, receiver): (mpsc::UnboundedSender<Do>, mpsc::UnboundedReceiver<Do>),
    ) -> JoinHandle<()> {
        let member = Self {
            client,
            link,
            heard: shared.now(),
            room: room.clone(),
            index,
            place,
            shared: shared.clone(),
            orders,
            reading: true,
            said: HashMap::new(),
            effects: HashMap::new(),
        };
        tokio::task::spawn_local(member.serve(receiver))
    }

    /// Works until it is told to leave. Then says goodbye.
    pub async fn serve(mut self, mut orders: mpsc::UnboundedReceiver<Do>) {
        let mut silence = pin!(sleep(self.link.silence));
        loop {
            tokio::select! {
                biased;
                order = orders.recv() => match order {
                    Some(Do::Leave) | None => break,
                    Some(order) => self.act(order).await,
                },
                heard = self.client.next(), if self.reading => match heard {
                    Ok(heard) => self.hear(&heard),
                    Err(error) => self.lost(&error).await,
                },
                () = &mut silence, if self.reading => {
                    let end = self.shared.instant(self.heard) + self.link.silence;
                    if end <= Instant::now() {
                        self.client.cut();
                        self.lost(&ClientError::Closed { code: 1006, reason: String::new() }).await;
                    }
                    silence.as_mut().reset((self.shared.instant(self.heard) + self.link.silence).into());
                }
            }
        }
        self.client.close().await;
    }

    async fn act(&mut self, order: Do) {
        match order {
            Do::Say { id, command, copies } => {
                let room = self.room.borrow().id;
                if self.shared.copies > 1 {
                    self.said.insert(id, Said { command: command.clone(), answer: None });
                }
                self.client.send_as(id, room, None, command);
                for _ in 1..copies {
                    self.client.send_again(id);
                }
            }
            Do::Again(id) => {
                self.client.send_again(id);
            }
            Do::Cut(delay) => {
                self.client.cut();
                self.come_back(delay).await;
            }
            Do::Join => {
                let room = self.room.borrow().id;
                self.client.ask(room);
            }
            Do::Abandon(time) => {
                let held = self.client.half_open();
                sleep(time).await;
                self.come_back(Duration::ZERO).await;
                drop(held);
            }
            Do::Stall => self.reading = false,
            Do::ReadOn => {
                self.heard = self.shared.now();
                self.reading = true;
            }
            Do::Verify(reply) => {
                let verdict = self.verify().await;
                let _ = reply.send(verdict);
            }
            Do::Leave => {}
        }
    }

    fn hear(&mut self, heard: &Heard) {
        self.heard = self.shared.now();
        match &heard.brief {
            Brief::Event { seq, command, .. } => {
                if matches!(heard.order, Some(Order::Next | Order::Late)) {
                    let mut room = self.room.borrow_mut();
                    let counts = room.is_undisturbed(self.index);
                    self.shared.delivered(*command, counts);
                    if counts {
                        room.reached(&self.shared, self.index, *seq, *command);
                    }
                    if self.place < PHARMACIST {
                        room.learn(&self.shared, &heard.text);
                    }
                    drop(room);
                    self.watch(*command, *seq);
                }
            }
            Brief::Ack { id, first, last, .. } => {
                if heard.settles.is_some() {
                    self.room.borrow_mut().acked(&self.shared, *id, *first, *last);
                }
                self.compare(*id, *first, *last);
            }
            Brief::Error(error) => {
                Gauges::count(&self.shared.gauges.errors);
                *self.shared.account.borrow_mut().errors.entry(error.code).or_default() += 1;
                if heard.settles.is_some() {
                    self.room.borrow_mut().refused(&self.shared, error.detail.state.as_deref());
                } else if let Some(id) = error.id {
                    let orders = self.orders.clone();
                    let wait = error.detail.retry_after_ms.map_or(AGAIN, Duration::from_millis);
                    tokio::task::spawn_local(async move {
                        sleep(wait).await;
                        let _ = orders.send(Do::Again(id));
                    });
                }
            }
            Brief::Reconnect { after_ms } => self.link.told = Some(Duration::from_millis(*after_ms)),
            _ => {}
        }
    }

    /// One command, one effect.
    fn watch(&mut self, command: Option<CommandId>, seq: u64) {
        if self.shared.copies > 1
            && let Some(id) = command.filter(|id| self.shared.stamps.read(*id).is_some())
            && self.effects.insert(id, seq).is_some_and(|before| before != seq)
        {
            self.shared.account.borrow_mut().doubled += 1;
        }
    }

    /// One command, one answer, however often it is given. After the first one, the command is sent once more.
    fn compare(&mut self, id: CommandId, first: u64, last: u64) {
        let Some(said) = self.said.get_mut(&id) else { return };
        match said.answer {
            None => {
                said.answer = Some((first, last));
                let room = self.room.borrow().id;
                self.client.queue(&ClientFrame::Command { id, room, expect: None, command: said.command.clone() });
            }
            Some(answer) if answer != (first, last) => self.shared.account.borrow_mut().doubled += 1,
            Some(_) => {}
        }
    }

    async fn lost(&mut self, error: &ClientError) {
        let code = match error {
            ClientError::Closed { code, .. } => *code,
            // What the hub sent is not the protocol: as if the connection had broken, but this client does not go on.
            _ => 0,
        };
        *self.shared.account.borrow_mut().closes.entry(code).or_default() += 1;
        let told = self.link.told.take();
        if code != 0 && code < 4500 {
            let delay = match code {
                4020 | 4021 => MINUTE + self.jitter(0),
                _ => told.unwrap_or_else(|| self.jitter(0)),
            };
            self.come_back(delay).await;
        } else {
            self.give_up();
        }
    }

    /// Connects again, for the first time after `delay`, to the next node that answers, and resumes.
    async fn come_back(&mut self, delay: Duration) {
        self.shared.gauges.connected.fetch_sub(1, Ordering::Relaxed);
        let (cut, before) = (self.shared.now(), self.link.node);
        sleep(delay).await;
        for attempt in 1.. {
            self.link.node = (self.link.node + 1) % self.link.nodes.len();
            self.client.retarget(self.link.nodes[self.link.node]);
            let resumed = timeout(ATTEMPT, async {
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
                    self.shared.account.borrow_mut().failed_opens += 1;
                    sleep(self.jitter(attempt)).await;
                }
            }
        }
        self.shared.gauges.connected.fetch_add(1, Ordering::Relaxed);
        self.heard = self.shared.now();
        let took = self.heard.saturating_sub(cut);
        let mut account = self.shared.account.borrow_mut();
        account.resume.record(took);
        if self.link.node != before {
            account.elsewhere.record(took);
        }
    }

    /// Full jitter: anything between nothing and a bound that doubles with each attempt.
    fn jitter(&self, attempt: u32) -> Duration {
        let (most, first) = BACKOFF;
        let bound = first.saturating_mul(1 << attempt.min(10)).min(most);
        self.shared.random.borrow_mut().random_range(Duration::ZERO..=bound)
    }

    fn give_up(&mut self) {
        self.client.cut();
        self.reading = false;
    }

    async fn verify(&mut self) -> Verdict {
        let unreachable = Verdict { readers: 1, unreachable: 1, ..Verdict::default() };
        if !self.client.is_connected() && self.reading {
            self.come_back(Duration::ZERO).await;
        }
        if !self.reading {
            return unreachable;
        }
        let room = self.room.borrow().id;
        // What comes before the question is delivered without it. What was acknowledged may still be under way.
        let end = Instant::now() + UNDER_WAY;
        self.drain(Duration::from_millis(1)).await;
        while self.owed(room) > 0 && self.client.is_connected() && Instant::now() < end {
            self.drain(LOOK).await;
        }
        let before = self.client.tally(room).map_or(0, |tally| tally.delivered());
        if self.client.join(room).await.is_err() {
            return unreachable;
        }
        self.drain(Duration::ZERO).await;
        let Some(tally) = self.client.tally(room) else { return unreachable };
        let late = tally.delivered() - before;
        let owed = self.owed(room);
        // The patient and the doctor see everything, so that every number must have come.
        let came = tally.delivered() + tally.out_of_order();
        let holes = if self.place < PHARMACIST { tally.cursor().saturating_sub(came) } else { 0 };
        Verdict {
            readers: 1,
            delivered: came,
            lost: late + owed.max(holes),
            repeated: tally.repeated(),
            out_of_order: tally.out_of_order(),
            healed: tally.gaps() - u64::from(late > 0).min(tally.gaps()),
            unreachable: 0,
        }
    }

    /// Events that were acknowledged and have not come.
    fn owed(&self, room: RoomId) -> u64 {
        let Some(tally) = self.client.tally(room) else { return 0 };
        self.room.borrow().owed_to(self.place).filter(|seq| !tally.has(*seq)).count() as u64
    }

    /// Takes what has come, until nothing comes for `quiet`.
    async fn drain(&mut self, quiet: Duration) {
        while let Ok(Ok(heard)) = timeout(quiet, self.client.next()).await {
            self.hear(&heard);
        }
    }
}
