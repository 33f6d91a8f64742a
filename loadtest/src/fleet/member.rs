//! One member of one room: a client in a task of its own.

use std::cell::RefCell;
use std::collections::HashMap;
use std::rc::Rc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use rand::Rng;
use rooms::command::Command;
use rooms::id::CommandId;
use rooms::wire::client::ClientFrame;
use tokio::sync::mpsc;
use tokio::time::{sleep, timeout};

use crate::client::{Client, ClientError, Heard};
use crate::fleet::account::{Gauges, Verdict};
use crate::fleet::room::{Do, Room, Shared};
use crate::fleet::script::PHARMACIST;
use crate::frame::Brief;
use crate::tally::Order;

/// How long a member waits before it repeats a command, when the hub does not say.
const AGAIN: Duration = Duration::from_millis(200);

/// The longest wait between two attempts to come back, and what it grows from.
const BACKOFF: (Duration, Duration) = (Duration::from_secs(30), Duration::from_millis(500));

pub struct Member {
    pub client: Client,
    pub room: Rc<RefCell<Room>>,
    /// The place in the room.
    pub place: usize,
    pub shared: Rc<Shared>,
    /// Where this member's own reminders go.
    pub orders: mpsc::UnboundedSender<Do>,
    /// Whether frames are read.
    pub reading: bool,
    /// With repeated commands: what was said, and the answer.
    pub said: HashMap<CommandId, Said>,
    /// With repeated commands: where each took effect, as this member saw it.
    pub effects: HashMap<CommandId, u64>,
}

pub struct Said {
    command: Command,
    answer: Option<(u64, u64)>,
}

impl Member {
    /// Works until it is told to leave. Then says goodbye.
    pub async fn serve(mut self, mut orders: mpsc::UnboundedReceiver<Do>) {
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
            Do::Stall => self.reading = false,
            Do::ReadOn => self.reading = true,
            Do::Verify(reply) => {
                let verdict = self.verify().await;
                let _ = reply.send(verdict);
            }
            Do::Leave => {}
        }
    }

    fn hear(&mut self, heard: &Heard) {
        match &heard.brief {
            Brief::Event { seq, command, .. } => {
                if matches!(heard.order, Some(Order::Next | Order::Late)) {
                    let counts = self.room.borrow().is_undisturbed(self.place);
                    self.shared.delivered(*command, counts);
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
        if code != 0 && code < 4500 {
            self.come_back(self.jitter(0)).await;
        } else {
            self.give_up();
        }
    }

    /// Connects again, for the first time after `delay`, and resumes.
    async fn come_back(&mut self, delay: Duration) {
        self.shared.gauges.connected.fetch_sub(1, Ordering::Relaxed);
        let cut = self.shared.now();
        sleep(delay).await;
        for attempt in 1.. {
            let resumed = async {
                self.client.connect().await?;
                self.client.until_live().await
            };
            match resumed.await {
                Ok(()) => break,
                Err(error) if error.close().is_some_and(|close| !close.resumable()) => return self.give_up(),
                Err(_) => {
                    self.shared.account.borrow_mut().failed_opens += 1;
                    sleep(self.jitter(attempt)).await;
                }
            }
        }
        self.shared.gauges.connected.fetch_add(1, Ordering::Relaxed);
        self.shared.account.borrow_mut().resume.record(self.shared.now().saturating_sub(cut));
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
        // What came before the question was delivered without it.
        self.drain(Duration::from_millis(1)).await;
        let before = self.client.tally(room).map_or(0, |tally| tally.delivered());
        if self.client.join(room).await.is_err() {
            return unreachable;
        }
        self.drain(Duration::ZERO).await;
        let Some(tally) = self.client.tally(room) else { return unreachable };
        let late = tally.delivered() - before;
        let owed = self.room.borrow().owed_to(self.place).filter(|seq| !tally.has(*seq)).count() as u64;
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

    /// Takes what has come, until nothing comes for `quiet`.
    async fn drain(&mut self, quiet: Duration) {
        while let Ok(Ok(heard)) = timeout(quiet, self.client.next()).await {
            self.hear(&heard);
        }
    }
}
