//! The bus over Redis: one connection for subscriptions, one for publishing and commands.
//!
//! Each is opened again whenever it breaks. A ping per second finds a connection that died silently. Channels are
//! sharded (Redis 7), each on its own hash slot.

use std::collections::{HashMap, HashSet};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use futures_util::future::try_join_all;
use redis::{FromRedisValue, PushInfo, PushKind, RedisResult, Value};
use rooms::id::RoomId;
use tokio::sync::Notify;
use tokio::time::{Instant, sleep, sleep_until};
use tokio_util::sync::{CancellationToken, DropGuard};
use uuid::Uuid;

use super::connection::{RedisConnection, RedisServers};
use super::queue::{InboxSender, QueueReceiver, QueueSender, queue};
use super::{BusAddressError, BusError, BusEvent, BusState, CALL_LEASE, Channel, NodeId};
use crate::telemetry::panics::TaskGuard;

const PING_INTERVAL: Duration = Duration::from_secs(1);
/// How long after a failure the next connection is tried.
const RECONNECT_DELAY: Duration = Duration::from_millis(250);
/// Messages that are published before their answers are awaited.
const MAX_PUBLISH_BATCH: usize = 256;
/// Subscriptions that are requested before their answers are awaited.
const MAX_SUBSCRIBE_BATCH: usize = 512;
/// The prefix of all channel and key names.
const NAME_PREFIX: &str = "wardroom:";
const ALL_CHANNEL: &str = "wardroom:{all}";

/// Sets a lease if it is free, this node's own, or a dead node's. Returns its owner.
const CLAIM_SCRIPT: &str = "local owner = redis.call('get', KEYS[1]) \
    if not owner or owner == ARGV[1] or owner == ARGV[2] then \
    redis.call('set', KEYS[1], ARGV[1], 'px', ARGV[3]) return ARGV[1] end return owner";

/// Increments a counter that expires. Returns the count and the milliseconds until it expires.
const COUNT_SCRIPT: &str = "local count = redis.call('incr', KEYS[1]) \
    if count == 1 then redis.call('pexpire', KEYS[1], ARGV[1]) end return {count, redis.call('pttl', KEYS[1])}";

/// The bus over Redis. Dropping it ends its tasks.
pub struct RedisBus {
    shared: Arc<RedisBusState>,
    _end: DropGuard,
}

struct RedisBusState {
    node: NodeId,
    servers: RedisServers,
    outgoing: QueueSender<(Channel, String)>,
    rooms: Mutex<SubscribedRooms>,
    /// Wakes the subscriber after a change of `rooms`.
    rooms_changed: Notify,
    is_subscribed: AtomicBool,
    is_publishing: AtomicBool,
    last_state: Mutex<Option<BusState>>,
    inbox: InboxSender,
    /// The publisher's connection while there is one, for commands with an answer.
    commands: Mutex<Option<RedisConnection>>,
}

/// The rooms with a subscription.
#[derive(Default)]
struct SubscribedRooms {
    /// The number of subscriptions of each room.
    counts: HashMap<RoomId, u32>,
    /// Rooms whose subscription in Redis must change.
    changed: HashSet<RoomId>,
}

impl RedisBus {
    /// Starts connecting.
    pub fn start(url: &str, inbox: InboxSender) -> Result<Self, BusAddressError> {
        let servers = RedisServers::parse(url)?;
        let (outgoing, queued) = queue();
        let shared = Arc::new(RedisBusState {
            node: NodeId(fresh_node_id()),
            servers,
            outgoing,
            rooms: Mutex::default(),
            rooms_changed: Notify::new(),
            is_subscribed: AtomicBool::new(false),
            is_publishing: AtomicBool::new(false),
            last_state: Mutex::new(None),
            inbox,
            commands: Mutex::new(None),
        });
        let end = CancellationToken::new();
        tokio::spawn(end.clone().run_until_cancelled_owned(shared.clone().run_subscriber()));
        tokio::spawn(end.clone().run_until_cancelled_owned(shared.clone().run_publisher(queued)));
        Ok(Self { shared, _end: end.drop_guard() })
    }

    pub fn node(&self) -> NodeId {
        self.shared.node
    }

    pub fn state(&self) -> BusState {
        self.shared.state()
    }

    /// Adds a subscription to a room.
    pub fn subscribe(&self, room: RoomId) {
        let mut rooms = self.shared.rooms();
        let count = rooms.counts.entry(room).or_default();
        *count += 1;
        if *count == 1 {
            rooms.changed.insert(room);
            self.shared.rooms_changed.notify_one();
        }
    }

    /// Removes a subscription to a room.
    pub fn unsubscribe(&self, room: RoomId) {
        let mut rooms = self.shared.rooms();
        let Some(count) = rooms.counts.get_mut(&room) else { return };
        *count -= 1;
        if *count == 0 {
            rooms.counts.remove(&room);
            rooms.changed.insert(room);
            self.shared.rooms_changed.notify_one();
        }
    }

    pub async fn deliver(&self, to: NodeId, text: String) -> Result<bool, BusError> {
        let mut command = redis::cmd("SPUBLISH");
        let receivers: u64 = self.shared.query(command.arg(name_of(Channel::Node(to))).arg(text)).await?;
        Ok(receivers > 0)
    }

    pub async fn claim(&self, room: RoomId, dead: Option<NodeId>) -> Result<NodeId, BusError> {
        let mut command = redis::cmd("EVAL");
        command.arg(CLAIM_SCRIPT).arg(1).arg(format!("{NAME_PREFIX}call:{{{room}}}")).arg(self.shared.node.to_string());
        command.arg(dead.map_or_else(String::new, |node| node.to_string())).arg(CALL_LEASE.as_millis().to_string());
        let owner: String = self.shared.query(&command).await?;
        owner.parse().map(NodeId).map_err(|_| BusError)
    }

    pub async fn count(&self, what: &str, window: Duration) -> Result<(u64, Duration), BusError> {
        let mut command = redis::cmd("EVAL");
        command.arg(COUNT_SCRIPT).arg(1).arg(format!("{NAME_PREFIX}count:{{{what}}}"));
        command.arg(window.as_millis().to_string());
        let (count, left): (u64, i64) = self.shared.query(&command).await?;
        Ok((count, Duration::from_millis(u64::try_from(left).unwrap_or(0))))
    }

    pub fn publish(&self, to: Channel, text: String) {
        let bytes = text.len();
        // If the queue is full, the message is lost, as on a disconnected bus.
        let _ = self.shared.outgoing.push((to, text), bytes);
    }
}

impl RedisBusState {
    fn rooms(&self) -> MutexGuard<'_, SubscribedRooms> {
        self.rooms.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn state(&self) -> BusState {
        if self.is_subscribed.load(Ordering::Acquire) && self.is_publishing.load(Ordering::Acquire) {
            BusState::Connected
        } else {
            BusState::Degraded
        }
    }

    /// Notes whether one of the connections works, and logs a change of the bus's state. After a reconnect it reports a
    /// gap: messages were lost while either connection was down.
    fn note_connection(&self, connection: &AtomicBool, works: bool) {
        // Locked throughout, so that no change of the two connections together is missed.
        let mut last_state = self.last_state.lock().unwrap_or_else(PoisonError::into_inner);
        connection.store(works, Ordering::Release);
        let state = self.state();
        if *last_state == Some(state) || (works && state == BusState::Degraded) {
            // Unchanged; or the other connection is still down, which was logged.
            return;
        }
        *last_state = Some(state);
        if state == BusState::Connected {
            tracing::info!(node = %self.node, "bus connected");
            self.inbox.send(BusEvent::Gap);
        } else {
            tracing::warn!(node = %self.node, "bus disconnected, events of other nodes arrive by the store");
        }
    }

    /// Sends a command whose answer is needed.
    async fn query<T: FromRedisValue>(&self, command: &redis::Cmd) -> Result<T, BusError> {
        let connection = self.commands.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let mut connection = connection.ok_or(BusError)?;
        connection.query(command).await.map_err(|error| {
            tracing::debug!(kind = ?error.kind(), "redis command failed");
            BusError
        })
    }

    fn set_commands(&self, connection: Option<RedisConnection>) {
        *self.commands.lock().unwrap_or_else(PoisonError::into_inner) = connection;
    }

    // --- subscriptions ---

    async fn run_subscriber(self: Arc<Self>) {
        let mut guard = TaskGuard::new("redis subscriber");
        loop {
            if let Some(Err(error)) = guard.run(self.subscribe_until_broken()).await {
                tracing::debug!(kind = ?error.kind(), "redis subscriber connection lost");
            }
            self.note_connection(&self.is_subscribed, false);
            sleep(RECONNECT_DELAY).await;
        }
    }

    /// Receives messages until the connection breaks.
    async fn subscribe_until_broken(self: &Arc<Self>) -> RedisResult<()> {
        let broken = Arc::new(Notify::new());
        let on_push = {
            let (this, broken) = (self.clone(), broken.clone());
            Arc::new(move |push| this.handle_push(push, &broken))
        };
        let connection = self.servers.connect(Some(on_push)).await?;
        let rooms: Vec<RoomId> = {
            let mut rooms = self.rooms();
            rooms.changed.clear();
            rooms.counts.keys().copied().collect()
        };
        let fixed = [name_of(Channel::All), name_of(Channel::Node(self.node))];
        send_for_each(&connection, "SSUBSCRIBE", fixed.into_iter()).await?;
        let names = rooms.into_iter().map(|room| name_of(Channel::Room(room)));
        send_for_each(&connection, "SSUBSCRIBE", names).await?;
        self.note_connection(&self.is_subscribed, true);
        let mut ping_at = Instant::now() + PING_INTERVAL;
        loop {
            tokio::select! {
                () = self.rooms_changed.notified() => self.update_subscriptions(&connection).await?,
                () = broken.notified() => return Ok(()),
                () = sleep_until(ping_at) => {
                    ping_at = Instant::now() + PING_INTERVAL;
                    connection.clone().query::<()>(&redis::cmd("PING")).await?;
                }
            }
        }
    }

    async fn update_subscriptions(&self, connection: &RedisConnection) -> RedisResult<()> {
        let (added, removed): (Vec<RoomId>, Vec<RoomId>) = {
            let mut rooms = self.rooms();
            let changed = std::mem::take(&mut rooms.changed);
            changed.into_iter().partition(|room| rooms.counts.contains_key(room))
        };
        let names = |rooms: &[RoomId]| rooms.iter().map(|room| name_of(Channel::Room(*room))).collect::<Vec<_>>();
        send_for_each(connection, "SUNSUBSCRIBE", names(&removed).into_iter()).await?;
        send_for_each(connection, "SSUBSCRIBE", names(&added).into_iter()).await?;
        if !added.is_empty() {
            self.inbox.send(BusEvent::Subscribed(added));
        }
        Ok(())
    }

    /// Handles a push message of Redis.
    fn handle_push(&self, push: PushInfo, broken: &Notify) {
        match push.kind {
            PushKind::Disconnection => broken.notify_one(),
            PushKind::SMessage => {
                if let Some(event) = message_of(push.data) {
                    self.inbox.send(event);
                }
            }
            PushKind::SUnsubscribe => {
                // In a cluster this also means that the channel has moved to another server.
                match push.data.into_iter().next().and_then(text_of).and_then(|name| channel_of(&name)) {
                    Some(Channel::Room(room)) => {
                        let mut rooms = self.rooms();
                        if rooms.counts.contains_key(&room) {
                            rooms.changed.insert(room);
                            self.rooms_changed.notify_one();
                        }
                    }
                    Some(Channel::All | Channel::Node(_)) => broken.notify_one(),
                    None => {}
                }
            }
            _ => {}
        }
    }

    // --- publishing ---

    async fn run_publisher(self: Arc<Self>, mut queued: QueueReceiver<(Channel, String)>) {
        let mut guard = TaskGuard::new("redis publisher");
        loop {
            match self.servers.connect(None).await {
                Ok(connection) => {
                    // Messages from before the reconnect are outdated: the others have read the store by now.
                    while queued.try_take().is_some() {}
                    self.set_commands(Some(connection.clone()));
                    self.note_connection(&self.is_publishing, true);
                    if let Some(Err(error)) = guard.run(publish_until_broken(connection, &mut queued)).await {
                        tracing::debug!(kind = ?error.kind(), "redis publisher connection lost");
                    }
                }
                Err(error) => tracing::debug!(kind = ?error.kind(), "redis connect failed"),
            }
            self.set_commands(None);
            self.note_connection(&self.is_publishing, false);
            sleep(RECONNECT_DELAY).await;
        }
    }
}

/// Publishes queued messages until the connection breaks.
async fn publish_until_broken(
    mut connection: RedisConnection,
    queued: &mut QueueReceiver<(Channel, String)>,
) -> RedisResult<()> {
    loop {
        tokio::select! {
            first = queued.take() => {
                let Some(first) = first else { return Ok(()) };
                let mut batch = vec![first];
                while batch.len() < MAX_PUBLISH_BATCH && let Some(next) = queued.try_take() {
                    batch.push(next);
                }
                // Sent in order, and answered together.
                try_join_all(batch.into_iter().map(|(channel, text)| {
                    let mut connection = connection.clone();
                    async move { connection.query::<()>(redis::cmd("SPUBLISH").arg(name_of(channel)).arg(text)).await }
                }))
                .await?;
            }
            () = sleep(PING_INTERVAL) => connection.query::<()>(&redis::cmd("PING")).await?,
        }
    }
}

/// Sends a command for each channel name, many at a time.
async fn send_for_each(
    connection: &RedisConnection,
    command: &str,
    names: impl Iterator<Item = String>,
) -> RedisResult<()> {
    let mut names = names.peekable();
    while names.peek().is_some() {
        let batch: Vec<String> = names.by_ref().take(MAX_SUBSCRIBE_BATCH).collect();
        try_join_all(batch.into_iter().map(|name| {
            let mut connection = connection.clone();
            async move { connection.query::<()>(redis::cmd(command).arg(name)).await }
        }))
        .await?;
    }
    Ok(())
}

/// Returns the name of a channel. Redis Cluster computes the slot from the part in braces.
fn name_of(channel: Channel) -> String {
    match channel {
        Channel::Room(room) => format!("{NAME_PREFIX}{{{room}}}"),
        Channel::Node(node) => format!("{NAME_PREFIX}node:{{{node}}}"),
        Channel::All => ALL_CHANNEL.to_owned(),
    }
}

/// Returns the channel with this name.
fn channel_of(name: &str) -> Option<Channel> {
    if name == ALL_CHANNEL {
        return Some(Channel::All);
    }
    let rest = name.strip_prefix(NAME_PREFIX)?;
    let id = |text: &str| text.strip_prefix('{')?.strip_suffix('}')?.parse::<Uuid>().ok();
    match rest.strip_prefix("node:") {
        Some(node) => Some(Channel::Node(NodeId(id(node)?))),
        None => Some(Channel::Room(RoomId(id(rest)?))),
    }
}

fn message_of(data: Vec<Value>) -> Option<BusEvent> {
    let mut data = data.into_iter();
    let channel = channel_of(&text_of(data.next()?)?)?;
    Some(BusEvent::Message { channel, text: text_of(data.next()?)? })
}

fn text_of(value: Value) -> Option<String> {
    match value {
        Value::BulkString(bytes) => String::from_utf8(bytes).ok(),
        Value::SimpleString(text) => Some(text),
        _ => None,
    }
}

/// Draws the id of this node. It names a process on the bus, and no clock is set yet.
#[allow(clippy::disallowed_methods, reason = "the id of a process does not depend on the hub's clock")]
fn fresh_node_id() -> Uuid {
    Uuid::now_v7()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn channels_are_found_by_their_names() {
        let id = Uuid::now_v7();
        for channel in [Channel::All, Channel::Room(RoomId(id)), Channel::Node(NodeId(id))] {
            assert_eq!(channel_of(&name_of(channel)), Some(channel));
        }
        for foreign in ["", "wardroom:", "wardroom:{}", "wardroom:node:{x}", "other:{all}", "wardroom:{all}x"] {
            assert_eq!(channel_of(foreign), None, "{foreign}");
        }
    }
}
