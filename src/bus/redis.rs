//! The bus over Redis: one connection that listens, one that tells. Both are made anew whenever they break, for ever; a
//! connection that is dead without having said so is found by asking it something each second.
//!
//! Channels are sharded ones (Redis 7), each on its own hash slot.

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

use super::connection::{RedisConnection, Servers};
use super::queue::{InboxSender, Receiver, Sender, queue};
use super::{BusAddressError, BusError, BusEvent, BusState, CALL_LEASE, Channel, NodeId};

/// How often a connection is asked whether it lives.
const PING: Duration = Duration::from_secs(1);
/// How long after a failure the next connection is tried.
const RETRY: Duration = Duration::from_millis(250);
/// Messages that are sent before their answers are waited for.
const BATCH: usize = 256;
/// Subscriptions that are asked for at once.
const AT_ONCE: usize = 512;
/// What every channel's name begins with.
const PREFIX: &str = "wardroom:";
const ALL: &str = "wardroom:{all}";

/// Sets a lease if it is free, one's own, or a dead node's; answers with its owner.
const CLAIM: &str = "local owner = redis.call('get', KEYS[1]) \
    if not owner or owner == ARGV[1] or owner == ARGV[2] then \
    redis.call('set', KEYS[1], ARGV[1], 'px', ARGV[3]) return ARGV[1] end return owner";

/// Counts, and begins anew when the time is over; answers with the count and the milliseconds that are left.
const COUNT: &str = "local count = redis.call('incr', KEYS[1]) \
    if count == 1 then redis.call('pexpire', KEYS[1], ARGV[1]) end return {count, redis.call('pttl', KEYS[1])}";

/// See the module.
pub struct RedisBus {
    inner: Arc<Inner>,
    _end: DropGuard,
}

struct Inner {
    node: NodeId,
    servers: Servers,
    outgoing: Sender<(Channel, String)>,
    rooms: Mutex<Rooms>,
    /// Tells the listener that `rooms` changed.
    changed: Notify,
    listens: AtomicBool,
    tells: AtomicBool,
    was: Mutex<Option<BusState>>,
    inbox: InboxSender,
    /// The telling connection while there is one, for what must be answered.
    commands: Mutex<Option<RedisConnection>>,
}

/// The rooms that should be listened to.
#[derive(Default)]
struct Rooms {
    /// By how many.
    wanted: HashMap<RoomId, u32>,
    /// Where Redis is to be told of a change.
    changed: HashSet<RoomId>,
}

impl RedisBus {
    /// Begins to connect.
    pub fn start(url: &str, inbox: InboxSender) -> Result<Self, BusAddressError> {
        let servers = Servers::at(url)?;
        let (outgoing, waiting) = queue();
        let inner = Arc::new(Inner {
            node: NodeId(Uuid::now_v7()),
            servers,
            outgoing,
            rooms: Mutex::default(),
            changed: Notify::new(),
            listens: AtomicBool::new(false),
            tells: AtomicBool::new(false),
            was: Mutex::new(None),
            inbox,
            commands: Mutex::new(None),
        });
        let end = CancellationToken::new();
        tokio::spawn(end.clone().run_until_cancelled_owned(inner.clone().listen()));
        tokio::spawn(end.clone().run_until_cancelled_owned(inner.clone().tell(waiting)));
        Ok(Self { inner, _end: end.drop_guard() })
    }

    pub fn node(&self) -> NodeId {
        self.inner.node
    }

    pub fn state(&self) -> BusState {
        self.inner.state()
    }

    /// Listens to a room, once more.
    pub fn subscribe(&self, room: RoomId) {
        let mut rooms = self.inner.rooms();
        let count = rooms.wanted.entry(room).or_default();
        *count += 1;
        if *count == 1 {
            rooms.changed.insert(room);
            self.inner.changed.notify_one();
        }
    }

    /// Listens to a room once less.
    pub fn unsubscribe(&self, room: RoomId) {
        let mut rooms = self.inner.rooms();
        let Some(count) = rooms.wanted.get_mut(&room) else { return };
        *count -= 1;
        if *count == 0 {
            rooms.wanted.remove(&room);
            rooms.changed.insert(room);
            self.inner.changed.notify_one();
        }
    }

    pub async fn deliver(&self, to: NodeId, text: String) -> Result<bool, BusError> {
        let mut command = redis::cmd("SPUBLISH");
        let listeners: u64 = self.inner.ask(command.arg(name(Channel::Node(to))).arg(text)).await?;
        Ok(listeners > 0)
    }

    pub async fn claim(&self, room: RoomId, dead: Option<NodeId>) -> Result<NodeId, BusError> {
        let mut command = redis::cmd("EVAL");
        command.arg(CLAIM).arg(1).arg(format!("{PREFIX}desk:{{{room}}}")).arg(self.inner.node.to_string());
        command.arg(dead.map_or_else(String::new, |node| node.to_string())).arg(CALL_LEASE.as_millis().to_string());
        let owner: String = self.inner.ask(&command).await?;
        owner.parse().map(NodeId).map_err(|_| BusError)
    }

    pub async fn count(&self, what: &str, window: Duration) -> Result<(u64, Duration), BusError> {
        let mut command = redis::cmd("EVAL");
        command.arg(COUNT).arg(1).arg(format!("{PREFIX}count:{{{what}}}")).arg(window.as_millis().to_string());
        let (count, left): (u64, i64) = self.inner.ask(&command).await?;
        Ok((count, Duration::from_millis(u64::try_from(left).unwrap_or(0))))
    }

    pub fn publish(&self, to: Channel, text: String) {
        let bytes = text.len();
        // What finds no space is lost, as on a bus that is away.
        let _ = self.inner.outgoing.push((to, text), bytes);
    }
}

impl Inner {
    fn rooms(&self) -> MutexGuard<'_, Rooms> {
        self.rooms.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn state(&self) -> BusState {
        if self.listens.load(Ordering::Acquire) && self.tells.load(Ordering::Acquire) {
            BusState::Connected
        } else {
            BusState::Degraded
        }
    }

    /// Notes how it is with one of the connections, and says what that means for the bus if it is news: what was said while
    /// either was away was not heard, here or elsewhere.
    fn note(&self, connection: &AtomicBool, works: bool) {
        // One after the other, so that no change of the two together is missed.
        let mut was = self.was.lock().unwrap_or_else(PoisonError::into_inner);
        connection.store(works, Ordering::Release);
        let is = self.state();
        if *was == Some(is) || (works && is == BusState::Degraded) {
            // No news; or the other one is on its way, or its end was logged.
            return;
        }
        *was = Some(is);
        if is == BusState::Connected {
            tracing::info!(node = %self.node, "the bus is connected");
            self.inbox.send(BusEvent::Gap);
        } else {
            tracing::warn!(node = %self.node, "the bus is away; events of other nodes come by the store");
        }
    }

    /// A command whose answer is needed.
    async fn ask<T: FromRedisValue>(&self, command: &redis::Cmd) -> Result<T, BusError> {
        let connection = self.commands.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let mut connection = connection.ok_or(BusError)?;
        connection.ask(command).await.map_err(|error| {
            tracing::debug!(kind = ?error.kind(), "Redis did not answer a command");
            BusError
        })
    }

    fn set_commands(&self, connection: Option<RedisConnection>) {
        *self.commands.lock().unwrap_or_else(PoisonError::into_inner) = connection;
    }

    // --- listening ---

    async fn listen(self: Arc<Self>) {
        loop {
            if let Err(error) = self.listen_once().await {
                tracing::debug!(kind = ?error.kind(), "the listening connection to Redis failed");
            }
            self.note(&self.listens, false);
            sleep(RETRY).await;
        }
    }

    /// Listens until the connection breaks.
    async fn listen_once(self: &Arc<Self>) -> RedisResult<()> {
        let broken = Arc::new(Notify::new());
        let on_push = {
            let (this, broken) = (self.clone(), broken.clone());
            Arc::new(move |push| this.pushed(push, &broken))
        };
        let connection = self.servers.connect(Some(on_push)).await?;
        let rooms: Vec<RoomId> = {
            let mut rooms = self.rooms();
            rooms.changed.clear();
            rooms.wanted.keys().copied().collect()
        };
        let fixed = [name(Channel::All), name(Channel::Node(self.node))];
        subscribe(&connection, "SSUBSCRIBE", fixed.into_iter()).await?;
        subscribe(&connection, "SSUBSCRIBE", rooms.into_iter().map(|room| name(Channel::Room(room)))).await?;
        self.note(&self.listens, true);
        let mut ping = Instant::now() + PING;
        loop {
            tokio::select! {
                () = self.changed.notified() => self.follow_changes(&connection).await?,
                () = broken.notified() => return Ok(()),
                () = sleep_until(ping) => {
                    ping = Instant::now() + PING;
                    connection.clone().ask::<()>(&redis::cmd("PING")).await?;
                }
            }
        }
    }

    async fn follow_changes(&self, connection: &RedisConnection) -> RedisResult<()> {
        let (come, gone): (Vec<RoomId>, Vec<RoomId>) = {
            let mut rooms = self.rooms();
            let changed = std::mem::take(&mut rooms.changed);
            changed.into_iter().partition(|room| rooms.wanted.contains_key(room))
        };
        let names = |rooms: &[RoomId]| rooms.iter().map(|room| name(Channel::Room(*room))).collect::<Vec<_>>();
        subscribe(connection, "SUNSUBSCRIBE", names(&gone).into_iter()).await?;
        subscribe(connection, "SSUBSCRIBE", names(&come).into_iter()).await?;
        if !come.is_empty() {
            self.inbox.send(BusEvent::Subscribed(come));
        }
        Ok(())
    }

    /// Takes what Redis says by itself.
    fn pushed(&self, push: PushInfo, broken: &Notify) {
        match push.kind {
            PushKind::Disconnection => broken.notify_one(),
            PushKind::SMessage => {
                if let Some(heard) = message(push.data) {
                    self.inbox.send(heard);
                }
            }
            PushKind::SUnsubscribe => {
                // In a cluster also when the channel has moved to another server.
                match push.data.into_iter().next().and_then(text).and_then(|name| channel(&name)) {
                    Some(Channel::Room(room)) => {
                        let mut rooms = self.rooms();
                        if rooms.wanted.contains_key(&room) {
                            rooms.changed.insert(room);
                            self.changed.notify_one();
                        }
                    }
                    Some(Channel::All | Channel::Node(_)) => broken.notify_one(),
                    None => {}
                }
            }
            _ => {}
        }
    }

    // --- telling ---

    async fn tell(self: Arc<Self>, mut waiting: Receiver<(Channel, String)>) {
        loop {
            match self.servers.connect(None).await {
                Ok(connection) => {
                    // What waited while nobody could be told is old: the others have read the store by now.
                    while waiting.try_take().is_some() {}
                    self.set_commands(Some(connection.clone()));
                    self.note(&self.tells, true);
                    if let Err(error) = tell_by(connection, &mut waiting).await {
                        tracing::debug!(kind = ?error.kind(), "the telling connection to Redis failed");
                    }
                }
                Err(error) => tracing::debug!(kind = ?error.kind(), "Redis cannot be reached"),
            }
            self.set_commands(None);
            self.note(&self.tells, false);
            sleep(RETRY).await;
        }
    }
}

/// Sends what waits until the connection breaks.
async fn tell_by(mut connection: RedisConnection, waiting: &mut Receiver<(Channel, String)>) -> RedisResult<()> {
    loop {
        tokio::select! {
            first = waiting.take() => {
                let Some(first) = first else { return Ok(()) };
                let mut batch = vec![first];
                while batch.len() < BATCH && let Some(next) = waiting.try_take() {
                    batch.push(next);
                }
                // Handed over in their order, and not waited for one by one.
                try_join_all(batch.into_iter().map(|(channel, text)| {
                    let mut connection = connection.clone();
                    async move { connection.ask::<()>(redis::cmd("SPUBLISH").arg(name(channel)).arg(text)).await }
                }))
                .await?;
            }
            () = sleep(PING) => connection.ask::<()>(&redis::cmd("PING")).await?,
        }
    }
}

/// Asks for many subscriptions, or for the end of them.
async fn subscribe(
    connection: &RedisConnection,
    command: &str,
    names: impl Iterator<Item = String>,
) -> RedisResult<()> {
    let mut names = names.peekable();
    while names.peek().is_some() {
        let some: Vec<String> = names.by_ref().take(AT_ONCE).collect();
        try_join_all(some.into_iter().map(|name| {
            let mut connection = connection.clone();
            async move { connection.ask::<()>(redis::cmd(command).arg(name)).await }
        }))
        .await?;
    }
    Ok(())
}

/// The braces hold what Redis Cluster makes the slot from.
fn name(channel: Channel) -> String {
    match channel {
        Channel::Room(room) => format!("{PREFIX}{{{room}}}"),
        Channel::Node(node) => format!("{PREFIX}node:{{{node}}}"),
        Channel::All => ALL.to_owned(),
    }
}

fn channel(name: &str) -> Option<Channel> {
    if name == ALL {
        return Some(Channel::All);
    }
    let rest = name.strip_prefix(PREFIX)?;
    let id = |text: &str| text.strip_prefix('{')?.strip_suffix('}')?.parse::<Uuid>().ok();
    match rest.strip_prefix("node:") {
        Some(node) => Some(Channel::Node(NodeId(id(node)?))),
        None => Some(Channel::Room(RoomId(id(rest)?))),
    }
}

fn message(data: Vec<Value>) -> Option<BusEvent> {
    let mut data = data.into_iter();
    let channel = channel(&text(data.next()?)?)?;
    Some(BusEvent::Message { channel, text: text(data.next()?)? })
}

fn text(value: Value) -> Option<String> {
    match value {
        Value::BulkString(bytes) => String::from_utf8(bytes).ok(),
        Value::SimpleString(text) => Some(text),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_channel_is_known_by_its_name() {
        let id = Uuid::now_v7();
        for known in [Channel::All, Channel::Room(RoomId(id)), Channel::Node(NodeId(id))] {
            assert_eq!(channel(&name(known)), Some(known));
        }
        for foreign in ["", "wardroom:", "wardroom:{}", "wardroom:node:{x}", "other:{all}", "wardroom:{all}x"] {
            assert_eq!(channel(foreign), None, "{foreign}");
        }
    }
}
