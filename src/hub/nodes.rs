//! The other nodes: what they say is passed on to the rooms, and what they may have said unheard is looked up.
//!
//! The bus makes things fast, the store makes them right. Each second the heads of all rooms in memory are compared with
//! the store's, so that an event whose message was lost arrives all the same; and five times a second while the node does
//! not hear over the bus what it says to itself.

pub(super) mod message;

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::Duration;

use rooms::id::RoomId;
use tokio::sync::Notify;
use tokio::time::{Instant, MissedTickBehavior, interval};

use self::message::{News, Said, What, Word};
use super::room::Request;
use super::{Hub, Inner, UNLOADED};
use crate::bus::{BusEvent, BusState, Channel, Inbox, NodeId};

/// How often the heads of all rooms are compared with the store's.
const COMPARE: Duration = Duration::from_secs(1);
/// How often a node says something to itself over the bus, and at most compares the heads.
const PROBE: Duration = Duration::from_millis(200);
/// So many times as long as a comparison took, the store is left alone afterwards; at most [`COMPARE`].
const REST: u32 = 4;
/// A node that says nothing for this long may be doing what nobody hears of.
const SILENT: Duration = Duration::from_secs(3);
/// After this it counts as ended.
const FORGET: Duration = Duration::from_secs(30);
/// Nodes that are remembered.
const MOST: usize = 1_000;

/// What is told to all nodes, and heard from each.
#[derive(Default)]
pub struct Nodes {
    /// The number of what was told last. Held while it is handed over, so that the numbers go out in order.
    told: Mutex<u64>,
    /// Of each node the number that was heard last, and when.
    heard: Mutex<HashMap<NodeId, (u64, Instant)>>,
    /// Rights may have changed on another node.
    rights: Notify,
    /// The number of what this node heard of itself last.
    probe: AtomicU64,
}

impl Nodes {
    /// Notes the number of what a node says: whether it is new, and whether something before it was missed.
    fn note(&self, from: NodeId, news: &News) -> (bool, bool) {
        let now = Instant::now();
        let mut heard = self.heard.lock().unwrap_or_else(PoisonError::into_inner);
        if heard.len() >= MOST && !heard.contains_key(&from) {
            return (true, true);
        }
        let (last, when) = heard.entry(from).or_insert((0, now));
        *when = now;
        let before = *last;
        *last = before.max(news.n);
        match news.what {
            What::Beat => (false, news.n > before),
            _ => (news.n > before, news.n > before.saturating_add(1)),
        }
    }

    fn is_one_silent(&self) -> bool {
        let now = Instant::now();
        let mut heard = self.heard.lock().unwrap_or_else(PoisonError::into_inner);
        heard.retain(|_, (_, when)| *when + FORGET > now);
        heard.values().any(|(_, when)| *when + SILENT < now)
    }
}

impl Hub {
    /// Tells the other nodes that sign-ins ended or rights changed, which the store knows by now.
    pub fn publish_rights_change(&self) {
        self.inner.tell_all(What::Rights);
    }

    /// Waits until sign-ins or rights may have changed on another node.
    pub async fn remote_rights_change(&self) {
        self.inner.nodes.rights.notified().await;
    }

    /// Follows the other nodes for as long as there is a hub.
    pub fn follow_bus(&self, inbox: Inbox) {
        if self.inner.bus.is_shared() {
            tokio::spawn(listen(Arc::downgrade(&self.inner), inbox));
            tokio::spawn(compare(Arc::downgrade(&self.inner)));
        }
    }
}

async fn listen(hub: Weak<Inner>, mut inbox: Inbox) {
    while let Some(heard) = inbox.next().await {
        let Some(hub) = hub.upgrade() else { return };
        match heard {
            BusEvent::Message { channel, text } => hub.heard(channel, text),
            BusEvent::Subscribed(rooms) => hub.catch_up(&rooms).await,
            BusEvent::Gap => hub.heal().await,
        }
    }
}

async fn compare(hub: Weak<Inner>) {
    let mut ticks = interval(PROBE);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let (mut beat, mut due, mut rested) = (Instant::now(), Instant::now(), Instant::now());
    for number in 1.. {
        let now = ticks.tick().await;
        let Some(hub) = hub.upgrade() else { return };
        let deaf = hub.is_deaf(number);
        if beat <= now {
            beat = now + COMPARE;
            hub.tell_all(What::Beat);
            if hub.bus.state() == BusState::Degraded || hub.nodes.is_one_silent() {
                // Nobody says what changed, so everything may have.
                hub.feeds.touch_all();
            }
        }
        if (deaf || due <= now) && rested <= now {
            let begin = Instant::now();
            hub.catch_up(&hub.rooms_here()).await;
            due = now + COMPARE;
            rested = Instant::now() + (REST * begin.elapsed()).min(COMPARE);
        }
    }
}

impl Inner {
    fn heard(self: &Arc<Self>, channel: Channel, text: String) {
        let Some((from, body)) = message::open(&text) else { return };
        if from == self.bus.node() {
            if let (Channel::Node(_), Ok(number)) = (channel, body.parse()) {
                self.nodes.probe.store(number, Ordering::Relaxed);
            }
            return;
        }
        match channel {
            Channel::Room(room) => self.pass(room, Request::Heard(text)),
            Channel::All => {
                if let Some(news) = message::read::<News>(body) {
                    self.news(from, news);
                }
            }
            Channel::Node(_) => {
                if let Some(word) = message::read::<Word>(body) {
                    self.word(from, word);
                }
            }
        }
    }

    /// Says this number to itself over the bus. The answer is whether the one before the last did not come back by now: then
    /// what others say may not come either.
    fn is_deaf(&self, number: u64) -> bool {
        if let Some(text) = message::seal(self.bus.node(), &number) {
            self.bus.publish(Channel::Node(self.bus.node()), text);
        }
        self.nodes.probe.load(Ordering::Relaxed) < number.saturating_sub(2)
    }

    /// After anything may have been missed.
    async fn heal(&self) {
        self.feeds.touch_all();
        self.nodes.rights.notify_one();
        let rooms = self.rooms_here();
        for room in &rooms {
            self.pass(*room, Request::Resync);
        }
        self.catch_up(&rooms).await;
    }

    fn rooms_here(&self) -> Vec<RoomId> {
        self.rooms.iter().map(|room| *room.key()).collect()
    }

    fn news(&self, from: NodeId, news: News) {
        let (new, missed) = self.nodes.note(from, &news);
        if missed {
            self.feeds.touch_all();
            self.nodes.rights.notify_one();
        }
        match news.what {
            _ if !new => {}
            What::Beat => {}
            What::Feeds(keys) => self.feeds.touch(&keys),
            What::Rights => self.nodes.rights.notify_one(),
            What::Replaced { connection, session } => {
                self.connections.replace(connection, session);
            }
        }
    }

    fn word(self: &Arc<Self>, from: NodeId, word: Word) {
        let room = word.room;
        let opens = matches!(word.said, Said::Ask { .. });
        let request = Request::Word { from, word: Box::new(word) };
        if opens {
            // The desk may be needed where nobody of the call is any more. A room that is too busy is asked again.
            let _ = self.ask(room, request);
        } else {
            self.pass(room, request);
        }
    }

    /// Tells all nodes.
    pub(super) fn tell_all(&self, what: What) {
        if !self.bus.is_shared() {
            return;
        }
        let mut told = self.nodes.told.lock().unwrap_or_else(PoisonError::into_inner);
        if !matches!(what, What::Beat) {
            *told += 1;
        }
        if let Some(text) = message::seal(self.bus.node(), &News { n: *told, what }) {
            self.bus.publish(Channel::All, text);
        }
    }

    /// Tells those of these rooms that are behind the store.
    async fn catch_up(&self, rooms: &[RoomId]) {
        let head_here = |room: &RoomId| {
            let head = self.rooms.get(room)?.head.load(Ordering::Relaxed);
            (head != UNLOADED).then_some(head)
        };
        let loaded: Vec<RoomId> = rooms.iter().filter(|room| head_here(room).is_some()).copied().collect();
        let heads = match self.store.heads(&loaded).await {
            Ok(heads) => heads,
            Err(error) => {
                tracing::warn!(%error, "the rooms could not be compared with the store; that is tried again");
                return;
            }
        };
        for (room, head) in heads {
            if head_here(&room).is_some_and(|here| here < head) {
                self.pass(room, Request::Behind { head });
            }
        }
    }

    /// Hands a request to a room that is in memory. One that has no time for it finds out by the next comparison.
    fn pass(&self, room: RoomId, request: Request) {
        if let Some(handle) = self.rooms.get(&room) {
            let _ = handle.inbox.try_send(Box::new(request));
        }
    }
}
