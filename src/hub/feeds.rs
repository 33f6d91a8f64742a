//! Feeds: live lists, kept only while somebody subscribes.
//!
//! A commit only invalidates the feeds that it affects. A worker reads each invalid feed from the store, compares, and
//! sends the difference. Commits in between are read together, and a slow read delays no room.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use bytes::Bytes;
use dashmap::DashMap;
use rooms::id::{PharmacyId, UserId};
use rooms::refusal::Refusal;
use rooms::role::{Actor, Role};
use rooms::room::snapshot::Snapshot;
use rooms::time::Timestamp;
use rooms::wire::client::FeedName;
use rooms::wire::feed::{FeedItem, FeedRow};
use rooms::wire::server::ServerFrame;
use serde::{Deserialize, Serialize};
use tokio::sync::{Mutex, mpsc};

use super::connection::Connection;
use super::send_queue::QueueItem;
use super::submission::SubmitError;
use crate::clock::Clock;
use crate::store::feeds::FeedRows;
use crate::store::{Store, StoreError};
use crate::telemetry::panics::TaskGuard;

/// How long the worker waits before it reads a feed again that it could not read.
const RETRY_DELAY: Duration = Duration::from_secs(1);

/// How long after a slot's start a waiting room is read again. The timers look many times in this span.
const REORDER_WINDOW: Duration = Duration::from_secs(5);

/// Identifies a feed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum FeedKey {
    /// A person's own consultations, or a courier's deliveries.
    Me(UserId, Role),
    /// A doctor's waiting room.
    Lobby(UserId),
    /// A pharmacy's work.
    Queue(PharmacyId),
}

/// The rows of a feed that a subscriber may see.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum RowScope {
    All,
    /// Only the row of this patient, in a lobby.
    Own(UserId),
}

struct FeedSubscriber {
    connection: Arc<Connection>,
    name: FeedName,
    scope: RowScope,
    /// The last version that was sent.
    version: u64,
}

#[derive(Default)]
struct FeedContent {
    items: BTreeMap<String, FeedItem>,
    /// The number of open rows that the store left out.
    missing: u32,
    subscribers: Vec<FeedSubscriber>,
}

#[derive(Default)]
struct LiveFeed {
    /// Whether the feed is in the worker's queue.
    is_queued: AtomicBool,
    content: Mutex<FeedContent>,
}

/// All feeds of this node.
#[derive(Clone)]
pub struct Feeds {
    inner: Arc<FeedsInner>,
}

struct FeedsInner {
    store: Store,
    clock: Clock,
    feeds: DashMap<FeedKey, Arc<LiveFeed>>,
    /// The worker's queue. It is bounded by the number of feeds, because each is queued at most once.
    queue: mpsc::UnboundedSender<FeedKey>,
}

impl Feeds {
    pub fn start(store: Store, clock: Clock) -> Self {
        let (queue, mut invalid) = mpsc::unbounded_channel();
        let feeds = Self { inner: Arc::new(FeedsInner { store, clock, feeds: DashMap::new(), queue }) };
        let inner = Arc::downgrade(&feeds.inner);
        tokio::spawn(async move {
            let mut guard = TaskGuard::new("feeds");
            while let Some(key) = invalid.recv().await {
                let Some(inner) = inner.upgrade() else { return };
                guard.run(inner.refresh(key)).await;
            }
        });
        feeds
    }

    /// Invalidates these feeds, as far as somebody here subscribes to them.
    pub fn invalidate(&self, keys: &[FeedKey]) {
        for key in keys {
            if let Some(feed) = self.inner.feeds.get(key) {
                self.enqueue(*key, &feed);
            }
        }
    }

    /// Invalidates all feeds, because changes may have been missed.
    pub fn invalidate_all(&self) {
        for feed in &self.inner.feeds {
            self.enqueue(*feed.key(), feed.value());
        }
    }

    /// Invalidates the waiting rooms in which a slot has just begun: its patient now goes before the walk-ins.
    pub async fn reorder_lobbies(&self, now: Timestamp) {
        let feeds = self.inner.feeds.iter().filter(|feed| matches!(feed.key(), FeedKey::Lobby(_)));
        // Copied, so that no lock of the map is held while this waits for a feed.
        let lobbies: Vec<_> = feeds.map(|feed| (*feed.key(), feed.value().clone())).collect();
        let has_begun = |item: &FeedItem| match item.row {
            FeedRow::Waiting { starts_at: Some(start), .. } => start <= now && now.since(start) < REORDER_WINDOW,
            _ => false,
        };
        for (key, feed) in lobbies {
            if feed.content.lock().await.items.values().any(has_begun) {
                self.enqueue(key, &feed);
            }
        }
    }

    /// Subscribes a connection, and sends it the whole content as a `feed` frame.
    pub async fn subscribe(&self, connection: &Arc<Connection>, name: FeedName) -> Result<(), SubmitError> {
        let (key, scope) = feed_of(&connection.actor, name).ok_or(Refusal::Forbidden)?;
        let feed = self.inner.feeds.entry(key).or_default().clone();
        let mut content = feed.content.lock().await;
        content.subscribers.retain(|known| known.connection.id != connection.id || known.name != name);
        if content.subscribers.is_empty() {
            (content.items, content.missing) = self.inner.read(key).await?;
        }
        let items = content.items.values().filter(|item| is_visible(item, scope)).cloned().collect();
        connection.send(&ServerFrame::Feed { feed: name, version: 1, items, missing: content.missing });
        content.subscribers.push(FeedSubscriber { connection: connection.clone(), name, scope, version: 1 });
        Ok(())
    }

    /// Ends a subscription.
    pub async fn unsubscribe(&self, connection: &Connection, name: FeedName) {
        let Some((key, _)) = feed_of(&connection.actor, name) else { return };
        let Some(feed) = self.inner.feeds.get(&key).map(|feed| feed.clone()) else { return };
        let mut content = feed.content.lock().await;
        content.subscribers.retain(|known| known.connection.id != connection.id || known.name != name);
        let is_unused = content.subscribers.is_empty();
        drop(content);
        if is_unused {
            // A third reference belongs to somebody who is about to subscribe.
            self.inner.feeds.remove_if(&key, |_, known| Arc::strong_count(known) <= 2);
        }
    }

    fn enqueue(&self, key: FeedKey, feed: &LiveFeed) {
        if !feed.is_queued.swap(true, Ordering::AcqRel) {
            // The worker ends only with the hub.
            let _ = self.inner.queue.send(key);
        }
    }
}

/// Returns the feeds that show a room.
pub fn affected_feeds(room: &Snapshot) -> Vec<FeedKey> {
    let mut keys = vec![FeedKey::Me(room.patient.id, Role::Patient)];
    if let Some(doctor) = &room.doctor {
        keys.extend([FeedKey::Me(doctor.id, Role::Doctor), FeedKey::Lobby(doctor.id)]);
    }
    keys.extend(room.dispensings.iter().map(|dispensing| FeedKey::Queue(dispensing.pharmacy.id)));
    let couriers = room.deliveries.iter().filter_map(|delivery| delivery.courier.as_ref());
    keys.extend(couriers.map(|courier| FeedKey::Me(courier.id, Role::Courier)));
    keys
}

impl FeedsInner {
    async fn read(&self, key: FeedKey) -> Result<(BTreeMap<String, FeedItem>, u32), StoreError> {
        let FeedRows { items, missing } = match key {
            FeedKey::Me(user, Role::Courier) => self.store.courier_feed(user).await?,
            FeedKey::Me(user, role) => self.store.person_feed(user, role).await?,
            FeedKey::Lobby(doctor) => self.store.lobby_feed(doctor, self.clock.now()).await?,
            FeedKey::Queue(pharmacy) => self.store.queue_feed(pharmacy).await?,
        };
        Ok((items.into_iter().map(|item| (item.key.clone(), item)).collect(), missing))
    }

    async fn refresh(&self, key: FeedKey) {
        let Some(feed) = self.feeds.get(&key).map(|feed| feed.clone()) else { return };
        // Before reading, so that a commit during the read queues the feed again.
        feed.is_queued.store(false, Ordering::Release);
        let mut content = feed.content.lock().await;
        if content.subscribers.is_empty() {
            return;
        }
        let (new, missing) = match self.read(key).await {
            Ok(new) => new,
            Err(error) => {
                tracing::warn!(%error, "feed read failed, will retry");
                self.retry_later(key, &feed);
                return;
            }
        };
        let set: Vec<&FeedItem> =
            new.iter().filter(|(key, item)| content.items.get(*key) != Some(item)).map(|(_, item)| item).collect();
        let removed: Vec<&FeedItem> =
            content.items.iter().filter(|(key, _)| !new.contains_key(*key)).map(|(_, item)| item).collect();
        let missing_changed = content.missing != missing;
        if set.is_empty() && removed.is_empty() && !missing_changed {
            return;
        }
        let frames = content
            .subscribers
            .iter()
            .map(|to| change_frame(to, &set, &removed, missing, missing_changed))
            .collect::<Vec<_>>();
        send(&mut content.subscribers, frames);
        (content.items, content.missing) = (new, missing);
    }

    fn retry_later(&self, key: FeedKey, feed: &LiveFeed) {
        if !feed.is_queued.swap(true, Ordering::AcqRel) {
            let queue = self.queue.clone();
            tokio::spawn(async move {
                tokio::time::sleep(RETRY_DELAY).await;
                // The worker ends only with the hub.
                let _ = queue.send(key);
            });
        }
    }
}

/// Returns the frame for one subscriber, or `None` if nothing changes for them.
fn change_frame(
    to: &FeedSubscriber,
    set: &[&FeedItem],
    removed: &[&FeedItem],
    missing: u32,
    missing_changed: bool,
) -> Option<ServerFrame> {
    let set: Vec<FeedItem> = set.iter().filter(|item| is_visible(item, to.scope)).map(|item| (*item).clone()).collect();
    let removed: Vec<String> =
        removed.iter().filter(|item| is_visible(item, to.scope)).map(|item| item.key.clone()).collect();
    let has_change = !set.is_empty() || !removed.is_empty() || missing_changed;
    has_change.then(|| ServerFrame::FeedChange { feed: to.name, version: to.version + 1, set, removed, missing })
}

/// Sends each subscriber its frame. Equal frames in a row are encoded once.
fn send(subscribers: &mut [FeedSubscriber], frames: Vec<Option<ServerFrame>>) {
    let mut last: Option<(FeedName, u64, RowScope, Bytes)> = None;
    for (to, frame) in subscribers.iter_mut().zip(frames) {
        let Some(frame) = frame else { continue };
        to.version += 1;
        let text = match &last {
            Some((name, version, scope, text)) if (*name, *version, *scope) == (to.name, to.version, to.scope) => {
                text.clone()
            }
            _ => frame.encode().into(),
        };
        last = Some((to.name, to.version, to.scope, text.clone()));
        to.connection.send_queue.push(QueueItem::Frame(text));
    }
}

/// Returns the feed that a name means for this actor, and the rows that they may see. `None`: they may not subscribe.
fn feed_of(actor: &Actor, name: FeedName) -> Option<(FeedKey, RowScope)> {
    let Actor::Person { id, role, pharmacy, .. } = actor else { return None };
    match (name, role) {
        (FeedName::Me {}, Role::Patient | Role::Doctor | Role::Courier) => {
            Some((FeedKey::Me(*id, *role), RowScope::All))
        }
        (FeedName::Me {} | FeedName::Queue {}, Role::Pharmacist) => Some((FeedKey::Queue((*pharmacy)?), RowScope::All)),
        (FeedName::Lobby { doctor }, Role::Doctor) if doctor == *id => Some((FeedKey::Lobby(doctor), RowScope::All)),
        (FeedName::Lobby { doctor }, Role::Patient) => Some((FeedKey::Lobby(doctor), RowScope::Own(*id))),
        _ => None,
    }
}

fn is_visible(item: &FeedItem, scope: RowScope) -> bool {
    match scope {
        RowScope::All => true,
        RowScope::Own(user) => {
            matches!(&item.row, FeedRow::Waiting { patient: Some(patient), .. } if patient.id == user)
        }
    }
}
