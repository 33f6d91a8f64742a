//! One member of one room of a peer, in a task of its own: what the fleet's member is with a hub.
//!
//! It does what a careful client of such a server does: it comes back when its connection broke, with the waits of
//! Socket.IO's own client, and says again what was not acknowledged.

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

use super::line::{Broken, Line};
use super::{Heard, Say};
use crate::fleet::account::Verdict;
use crate::fleet::room::{Do, Room, Shared};
use crate::target::Target;

/// The wait before the second attempt to come back, and the longest; half more or less by chance.
const BACKOFF: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(5));

/// How long one attempt may take.
const ATTEMPT: Duration = Duration::from_secs(20);

/// How long nothing comes before everything counts as come.
const QUIET: Duration = Duration::from_millis(100);

/// The code of a connection that broke.
const BROKE: u16 = 1006;

pub struct Member {
    pub line: Line,
    pub target: Target,
    pub room: Rc<RefCell<Room>>,
    /// The place in the room.
    pub place: usize,
    pub shared: Rc<Shared>,
    /// The number of the last message, and those without an ack.
    pub said: u64,
    pub unanswered: BTreeMap<u64, (CommandId, Prose)>,
    /// The counts of the messages that came, and how many came again.
    pub heard: HashSet<u64>,
    pub repeated: u64,
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
                heard = self.line.next() => match heard {
                    Ok(heard) => self.hear(&heard),
                    Err(_) => self.lost().await,
                },
            }
        }
        self.line.close().await;
    }

    async fn act(&mut self, order: Do) {
        match order {
            Do::Say { id, command: Command::Chat(chat), .. } => {
                self.said += 1;
                self.unanswered.insert(self.said, (id, chat.text));
                // What cannot be said now is said on the next connection.
                let _ = self.say(self.said).await;
            }
            Do::Cut(delay) => self.come_back(delay).await,
            Do::Verify(reply) => {
                let verdict = self.verify().await;
                let _ = reply.send(verdict);
            }
            // Nothing else is asked of a peer.
            _ => {}
        }
    }

    async fn say(&mut self, number: u64) -> Result<(), Broken> {
        let Some((id, text)) = self.unanswered.get(&number) else { return Ok(()) };
        let room = self.room.borrow().id;
        self.line.say(number, &Say { id: *id, room, text: text.as_str() }).await
    }

    fn hear(&mut self, heard: &Heard) {
        match heard {
            Heard::Acked(number) => {
                let answered = self.unanswered.remove(number).map(|(id, _)| id);
                if let Some((id, count)) = answered.and_then(|id| Some((id, self.shared.stamps.count(id)?))) {
                    self.room.borrow_mut().acked(&self.shared, id, count, count);
                }
            }
            Heard::Said(id) => {
                let Some(count) = self.shared.stamps.count(*id) else { return };
                if self.heard.insert(count) {
                    let mut room = self.room.borrow_mut();
                    let counts = room.is_undisturbed(self.place);
                    self.shared.delivered(Some(*id), counts);
                    if counts {
                        room.reached(&self.shared, self.place, count, Some(*id));
                    }
                } else {
                    self.repeated += 1;
                }
            }
            _ => {}
        }
    }

    async fn lost(&mut self) {
        *self.shared.account.borrow_mut().closes.entry(BROKE).or_default() += 1;
        let wait = self.wait(0);
        self.come_back(wait).await;
    }

    /// Connects again, for the first time after `delay`, and says again what has no ack.
    async fn come_back(&mut self, delay: Duration) {
        self.line.cut();
        self.shared.gauges.connected.fetch_sub(1, Ordering::Relaxed);
        let cut = self.shared.now();
        sleep(delay).await;
        for attempt in 0.. {
            if matches!(timeout(ATTEMPT, self.line.connect(self.target)).await, Ok(Ok(()))) {
                break;
            }
            self.line.cut();
            self.shared.account.borrow_mut().failed_opens += 1;
            sleep(self.wait(attempt)).await;
        }
        self.shared.gauges.connected.fetch_add(1, Ordering::Relaxed);
        self.shared.account.borrow_mut().resume.record(self.shared.now().saturating_sub(cut));
        for number in self.unanswered.keys().copied().collect::<Vec<_>>() {
            if self.say(number).await.is_err() {
                break;
            }
        }
    }

    fn wait(&self, attempt: u32) -> Duration {
        let (first, most) = BACKOFF;
        let wait = first.saturating_mul(1 << attempt.min(4)).min(most);
        wait.mul_f64(self.shared.random.borrow_mut().random_range(0.5..=1.5))
    }

    /// Compares what came with what the room's members have acks for.
    async fn verify(&mut self) -> Verdict {
        while let Ok(Ok(heard)) = timeout(QUIET, self.line.next()).await {
            self.hear(&heard);
        }
        let lost = self.room.borrow().owed_to(self.place).filter(|count| !self.heard.contains(count)).count();
        Verdict {
            readers: 1,
            delivered: self.heard.len() as u64,
            lost: lost as u64,
            repeated: self.repeated,
            ..Verdict::default()
        }
    }
}
