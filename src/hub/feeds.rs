//! Feeds: live read models, kept only while somebody subscribes.
//!
//! A commit only marks the feeds it concerns; a worker reads each marked feed anew from the store, finds what changed and
//! sends that. However many commits come in between, a feed is read once, and a slow read delays no room.

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
use rooms::wire::client::FeedName;
use rooms::wire::feed::{FeedItem, FeedRow};
use rooms::wire::server::ServerFrame;
use serde::{Deserialize, Serialize};
use tokio::sync::{Mutex, mpsc};

use super::connection::Connection;
use super::send_queue::QueueItem;
use super::submission::SubmitError;
use crate::clock::Clock;
use crate::store::{Store, StoreError};

/// How soon a feed that could not be read is tried again.
const RETRY: Duration = Duration::from_secs(1);

/// What a feed is read for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum FeedKey {
    /// A person's own consultations, or a courier's deliveries.
    Me(UserId, Role),
    /// A doctor's waiting room.
    Lobby(UserId),
    /// A pharmacy's work.
    Queue(PharmacyId),
}

/// Which rows of a feed somebody sees.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Scope {
    All,
    /// In a lobby, the row of this patient alone.
    Own(UserId),
}

struct Subscriber {
    connection: Arc<Connection>,
    name: FeedName,
    scope: Scope,
    /// The last version this subscriber was sent.
    version: u64,
}

#[derive(Default)]
struct Content {
    items: BTreeMap<String, FeedItem>,
    subscribers: Vec<Subscriber>,
}

#[derive(Default)]
struct Feed {
    /// Whether the worker already has it on its list.
    marked: AtomicBool,
    content: Mutex<Content>,
}

/// All feeds of this node.
#[derive(Clone)]
pub struct Feeds {
    inner: Arc<Inner>,
}

struct Inner {
    store: Store,
    clock: Clock,
    feeds: DashMap<FeedKey, Arc<Feed>>,
    /// Bounded by the number of feeds: a marked one is not put on it again.
    marked: mpsc::UnboundedSender<FeedKey>,
}

impl Feeds {
    pub fn start(store: Store, clock: Clock) -> Self {
        let (marked, mut list) = mpsc::unbounded_channel();
        let feeds = Self { inner: Arc::new(Inner { store, clock, feeds: DashMap::new(), marked }) };
        let inner = Arc::downgrade(&feeds.inner);
        tokio::spawn(async move {
            while let Some(key) = list.recv().await {
                let Some(inner) = inner.upgrade() else { return };
                inner.refresh(key).await;
            }
        });
        feeds
    }

    /// Marks these feeds, as far as somebody here follows them.
    pub fn invalidate(&self, keys: &[FeedKey]) {
        for key in keys {
            if let Some(feed) = self.inner.feeds.get(key) {
                self.mark(*key, &feed);
            }
        }
    }

    /// Marks all feeds: what concerns them may have been missed.
    pub fn invalidate_all(&self) {
        for feed in self.inner.feeds.iter() {
            self.mark(*feed.key(), feed.value());
        }
    }

    /// Subscribes a connection; the whole content follows as a `feed` frame.
    pub async fn subscribe(&self, connection: &Arc<Connection>, name: FeedName) -> Result<(), SubmitError> {
        let (key, scope) = scope(&connection.actor, name).ok_or(Refusal::Forbidden)?;
        let feed = self.inner.feeds.entry(key).or_default().clone();
        let mut content = feed.content.lock().await;
        content.subscribers.retain(|known| known.connection.id != connection.id || known.name != name);
        if content.subscribers.is_empty() {
            content.items = self.inner.read(key).await?;
        }
        let items = content.items.values().filter(|item| visible(item, scope)).cloned().collect();
        connection.send(&ServerFrame::Feed { feed: name, version: 1, items });
        content.subscribers.push(Subscriber { connection: connection.clone(), name, scope, version: 1 });
        Ok(())
    }

    /// Ends a subscription.
    pub async fn unsubscribe(&self, connection: &Connection, name: FeedName) {
        let Some((key, _)) = scope(&connection.actor, name) else { return };
        let Some(feed) = self.inner.feeds.get(&key).map(|feed| feed.clone()) else { return };
        let mut content = feed.content.lock().await;
        content.subscribers.retain(|known| known.connection.id != connection.id || known.name != name);
        let unused = content.subscribers.is_empty();
        drop(content);
        if unused {
            // Whoever is about to subscribe holds a second reference.
            self.inner.feeds.remove_if(&key, |_, known| Arc::strong_count(known) <= 2);
        }
    }

    fn mark(&self, key: FeedKey, feed: &Feed) {
        if !feed.marked.swap(true, Ordering::AcqRel) {
            // The worker ends only with the hub.
            let _ = self.inner.marked.send(key);
        }
    }
}

/// The feeds that a change of this room concerns.
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

impl Inner {
    async fn read(&self, key: FeedKey) -> Result<BTreeMap<String, FeedItem>, StoreError> {
        let items = match key {
            FeedKey::Me(user, Role::Courier) => self.store.courier_feed(user).await?,
            FeedKey::Me(user, role) => self.store.person_feed(user, role).await?,
            FeedKey::Lobby(doctor) => self.store.lobby_feed(doctor, self.clock.now()).await?,
            FeedKey::Queue(pharmacy) => self.store.queue_feed(pharmacy).await?,
        };
        Ok(items.into_iter().map(|item| (item.key.clone(), item)).collect())
    }

    async fn refresh(&self, key: FeedKey) {
        let Some(feed) = self.feeds.get(&key).map(|feed| feed.clone()) else { return };
        // Cleared before reading: a commit that comes while this reads marks it again.
        feed.marked.store(false, Ordering::Release);
        let mut content = feed.content.lock().await;
        if content.subscribers.is_empty() {
            return;
        }
        let new = match self.read(key).await {
            Ok(new) => new,
            Err(error) => {
                tracing::warn!(%error, "a feed could not be read; it is tried again");
                self.retry_later(key, &feed);
                return;
            }
        };
        let set: Vec<&FeedItem> =
            new.iter().filter(|(k, v)| content.items.get(*k) != Some(v)).map(|(_, v)| v).collect();
        let removed: Vec<&FeedItem> =
            content.items.iter().filter(|(key, _)| !new.contains_key(*key)).map(|(_, item)| item).collect();
        if set.is_empty() && removed.is_empty() {
            return;
        }
        let frames = content.subscribers.iter().map(|to| change(to, &set, &removed)).collect::<Vec<_>>();
        send(&mut content.subscribers, frames);
        content.items = new;
    }
}

impl Inner {
    fn retry_later(&self, key: FeedKey, feed: &Feed) {
        if !feed.marked.swap(true, Ordering::AcqRel) {
            let marked = self.marked.clone();
            tokio::spawn(async move {
                tokio::time::sleep(RETRY).await;
                // The worker ends only with the hub.
                let _ = marked.send(key);
            });
        }
    }
}

fn change(to: &Subscriber, set: &[&FeedItem], removed: &[&FeedItem]) -> Option<ServerFrame> {
    let set: Vec<FeedItem> = set.iter().filter(|item| visible(item, to.scope)).map(|item| (*item).clone()).collect();
    let removed: Vec<String> =
        removed.iter().filter(|item| visible(item, to.scope)).map(|item| item.key.clone()).collect();
    let some = !set.is_empty() || !removed.is_empty();
    some.then(|| ServerFrame::FeedChange { feed: to.name, version: to.version + 1, set, removed })
}

/// Sends each subscriber its frame; equal frames are encoded once.
fn send(subscribers: &mut [Subscriber], frames: Vec<Option<ServerFrame>>) {
    let mut last: Option<(FeedName, u64, Scope, Bytes)> = None;
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

/// Which feed a name means for this person, and how much of it; `None`: none of theirs.
fn scope(actor: &Actor, name: FeedName) -> Option<(FeedKey, Scope)> {
    let Actor::Person { id, role, pharmacy, .. } = actor else { return None };
    match (name, role) {
        (FeedName::Me {}, Role::Patient | Role::Doctor | Role::Courier) => Some((FeedKey::Me(*id, *role), Scope::All)),
        (FeedName::Me {} | FeedName::Queue {}, Role::Pharmacist) => Some((FeedKey::Queue((*pharmacy)?), Scope::All)),
        (FeedName::Lobby { doctor }, Role::Doctor) if doctor == *id => Some((FeedKey::Lobby(doctor), Scope::All)),
        (FeedName::Lobby { doctor }, Role::Patient) => Some((FeedKey::Lobby(doctor), Scope::Own(*id))),
        _ => None,
    }
}

fn visible(item: &FeedItem, scope: Scope) -> bool {
    match scope {
        Scope::All => true,
        Scope::Own(user) => matches!(&item.row, FeedRow::Waiting { patient: Some(patient), .. } if patient.id == user),
    }
}
