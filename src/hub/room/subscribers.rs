//! Subscribers of one room, by view: an event is encoded once for all who share a view.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use bytes::Bytes;
use rooms::event::Event;
use rooms::id::{RoomId, UserId};
use rooms::permission::{View, sees};
use rooms::role::Role;
use rooms::wire::close::Close;
use rooms::wire::server::{ServerFrame, event_frame};
use uuid::Uuid;

use crate::hub::connection::Connection;
use crate::hub::send_queue::QueueItem;

/// How many frames, and how many bytes of them, a view keeps, so that a reader with a recent cursor can go live without
/// reading the store.
const MAX_TAIL_FRAMES: usize = 32;
const MAX_TAIL_BYTES: usize = 32 * 1024;

/// An encoded event frame of one view.
#[derive(Clone, Debug)]
pub struct EventFrame {
    pub prev: u64,
    pub seq: u64,
    pub text: Bytes,
}

/// The connections that share a view of a room.
#[derive(Debug)]
struct ViewChannel {
    view: View,
    /// The number of the last event that this view sees. Heartbeats of its connections read it.
    head: Arc<AtomicU64>,
    connections: Vec<Arc<Connection>>,
    tail: VecDeque<EventFrame>,
    tail_bytes: usize,
}

impl ViewChannel {
    fn keep(&mut self, frame: EventFrame) {
        self.tail_bytes += frame.text.len();
        self.tail.push_back(frame);
        while self.tail.len() > MAX_TAIL_FRAMES || self.tail_bytes > MAX_TAIL_BYTES {
            match self.tail.pop_front() {
                Some(old) => self.tail_bytes -= old.text.len(),
                None => break,
            }
        }
    }

    /// Returns the frames after `cursor`, or `None` if the tail does not have all of them.
    fn since(&self, cursor: u64) -> Option<Vec<EventFrame>> {
        if cursor >= self.head.load(Ordering::Relaxed) {
            return Some(Vec::new());
        }
        let first = self.tail.iter().position(|frame| frame.seq > cursor)?;
        (self.tail[first].prev <= cursor).then(|| self.tail.iter().skip(first).cloned().collect())
    }
}

/// All subscribers of one room.
#[derive(Debug, Default)]
pub struct Subscribers {
    channels: Vec<ViewChannel>,
    /// Whether an administrator subscribes, whose access expires by the clock alone.
    has_expiring_rights: bool,
}

/// Closes the connections that a panic of the room's task would otherwise cut off without a word. They resume from the
/// log.
impl Drop for Subscribers {
    fn drop(&mut self) {
        if std::thread::panicking() {
            self.connections().for_each(|connection| connection.send_queue.close(Close::Failure));
        }
    }
}

impl Subscribers {
    pub fn is_empty(&self) -> bool {
        self.channels.is_empty()
    }

    /// Whether somebody's rights can expire without an event.
    pub fn has_expiring_rights(&self) -> bool {
        self.has_expiring_rights
    }

    /// Subscribes a connection from `cursor` on. Returns the frames between `cursor` and now, and the view's head from
    /// now on; or `None` if the reader must first read the store up to `head`.
    ///
    /// Replay meets live without a gap, because the room's task does nothing else in the meantime.
    pub fn attach(
        &mut self,
        connection: &Arc<Connection>,
        view: View,
        head: u64,
        cursor: u64,
    ) -> Option<(Vec<EventFrame>, Arc<AtomicU64>)> {
        let known = self.channels.iter().position(|channel| channel.view == view);
        let missing = match known {
            Some(at) => self.channels[at].since(cursor)?,
            None if cursor >= head => Vec::new(),
            None => return None,
        };
        self.detach(connection.id);
        let at = self.channels.iter().position(|channel| channel.view == view).unwrap_or_else(|| {
            let head = Arc::new(AtomicU64::new(head));
            self.channels.reserve_exact(1);
            let (connections, tail) = (Vec::new(), VecDeque::new());
            self.channels.push(ViewChannel { view, head, connections, tail, tail_bytes: 0 });
            self.channels.len() - 1
        });
        let channel = &mut self.channels[at];
        channel.connections.push(connection.clone());
        self.has_expiring_rights |= connection.actor.role() == Role::Admin;
        Some((missing, channel.head.clone()))
    }

    /// Removes a connection. Returns `true` if it was subscribed.
    pub fn detach(&mut self, connection: Uuid) -> bool {
        let mut found = false;
        for channel in &mut self.channels {
            let before = channel.connections.len();
            channel.connections.retain(|known| known.id != connection);
            found |= channel.connections.len() < before;
        }
        self.channels.retain(|channel| !channel.connections.is_empty());
        found
    }

    /// Sends a committed event to every view that sees it.
    pub fn publish(&mut self, room: RoomId, seq: u64, event: &Event, canonical: &str) {
        let mut encoded: Vec<(u64, Bytes)> = Vec::with_capacity(1);
        for channel in self.channels.iter_mut().filter(|channel| sees(&channel.view, seq, event)) {
            let prev = channel.head.load(Ordering::Relaxed);
            let text = match encoded.iter().find(|(of, _)| *of == prev) {
                Some((_, text)) => text.clone(),
                None => {
                    let text = Bytes::from(event_frame(room, prev, canonical));
                    encoded.push((prev, text.clone()));
                    text
                }
            };
            for connection in &channel.connections {
                connection.send_queue.push(QueueItem::Event { room, prev, seq, text: text.clone() });
            }
            // After the pushes: a heartbeat must not name this event before the event itself is queued.
            channel.head.store(seq, Ordering::Release);
            channel.keep(EventFrame { prev, seq, text });
        }
    }

    /// Sends a frame, which is not kept, to every connection whose view passes, except one.
    pub fn relay(&self, frame: &ServerFrame, except: Option<Uuid>, passes: impl Fn(&View) -> bool) {
        let mut text: Option<Bytes> = None;
        for channel in self.channels.iter().filter(|channel| passes(&channel.view)) {
            for connection in channel.connections.iter().filter(|connection| Some(connection.id) != except) {
                let text = text.get_or_insert_with(|| frame.encode().into());
                connection.send_queue.push(QueueItem::Frame(text.clone()));
            }
        }
    }

    /// Returns the connections that may no longer have their view.
    pub fn unauthorized(&self, view_of: impl Fn(&Connection) -> Option<View>) -> Vec<Arc<Connection>> {
        let all = self.channels.iter().flat_map(|channel| channel.connections.iter().map(|it| (channel.view, it)));
        all.filter(|(view, connection)| view_of(connection) != Some(*view)).map(|(_, it)| it.clone()).collect()
    }

    /// Updates [`has_expiring_rights`](Self::has_expiring_rights) after unauthorized connections were removed.
    pub fn rights_checked(&mut self) {
        let has_admin = self.connections().any(|connection| connection.actor.role() == Role::Admin);
        self.has_expiring_rights = has_admin;
    }

    /// Whether a person has a subscribed connection.
    pub fn has_user(&self, user: UserId) -> bool {
        self.connections().any(|connection| connection.user == user)
    }

    /// Returns each person who has a subscribed connection once, in order.
    pub fn users(&self) -> Vec<UserId> {
        let mut users: Vec<UserId> = self.connections().map(|connection| connection.user).collect();
        users.sort_unstable();
        users.dedup();
        users
    }

    pub fn connection(&self, id: Uuid) -> Option<&Arc<Connection>> {
        self.connections().find(|connection| connection.id == id)
    }

    fn connections(&self) -> impl Iterator<Item = &Arc<Connection>> {
        self.channels.iter().flat_map(|channel| &channel.connections)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::IpAddr;

    use rooms::cursor::{Cursor, Verdict};
    use rooms::event::ChatSent;
    use rooms::id::{PharmacyId, SessionId};
    use rooms::party::Thread;
    use rooms::role::Actor;
    use rooms::text::Text;

    use crate::hub::connection::ConnectedClient;

    fn connection() -> Arc<Connection> {
        let (session, user) = (SessionId(Uuid::now_v7()), UserId(Uuid::now_v7()));
        let address = IpAddr::from([127, 0, 0, 1]);
        let client = ConnectedClient { session, user, actor: Actor::System, address };
        Arc::new(Connection::new(Uuid::now_v7(), client, 1 << 20))
    }

    fn chat(thread: Thread) -> Event {
        Event::ChatSent(ChatSent { text: Text::stored("hello").unwrap(), thread })
    }

    fn publish(subscribers: &mut Subscribers, seqs: std::ops::RangeInclusive<u64>, thread: Thread) {
        for seq in seqs {
            subscribers.publish(RoomId(Uuid::nil()), seq, &chat(thread), &format!(r#"{{"seq":{seq}}}"#));
        }
    }

    fn received(connection: &Connection, cursor: u64) -> Vec<u64> {
        let mut feed = Cursor::new(cursor);
        let mut got = Vec::new();
        while let Some(Ok(QueueItem::Event { prev, seq, .. })) = connection.send_queue.take() {
            assert_eq!(feed.judge(prev, seq), Verdict::Deliver, "({prev}, {seq}) after {}", feed.position());
            got.push(seq);
        }
        got
    }

    #[test]
    fn reader_goes_live_without_a_gap_or_must_read_the_store() {
        let mut subscribers = Subscribers::default();
        let (first, second) = (connection(), connection());
        assert!(subscribers.attach(&first, View::Care, 10, 9).is_none(), "only the store has event 10");
        assert!(subscribers.attach(&first, View::Care, 10, 10).is_some());
        publish(&mut subscribers, 11..=20, Thread::Care);
        let (missing, head) = subscribers.attach(&second, View::Care, 20, 15).expect("the tail has 16 to 20");
        assert_eq!(missing.iter().map(|frame| frame.seq).collect::<Vec<_>>(), [16, 17, 18, 19, 20]);
        assert_eq!((missing[0].prev, head.load(Ordering::Relaxed)), (15, 20));
        assert!(subscribers.attach(&second, View::Care, 20, 9).is_none(), "event 10 is older than the tail");
        publish(&mut subscribers, 21..=22, Thread::Care);
        assert_eq!(received(&second, 20), [21, 22]);
        assert_eq!(received(&first, 10), (11..=22).collect::<Vec<_>>());
    }

    #[test]
    fn reader_behind_the_tail_must_read_the_store() {
        let mut subscribers = Subscribers::default();
        assert!(subscribers.attach(&connection(), View::Care, 0, 0).is_some());
        publish(&mut subscribers, 1..=100, Thread::Care);
        let late = connection();
        assert!(subscribers.attach(&late, View::Care, 100, 50).is_none());
        assert!(subscribers.attach(&late, View::Care, 100, 100 - MAX_TAIL_FRAMES as u64).is_some());
    }

    #[test]
    fn filtered_reader_receives_exactly_its_events_without_a_gap() {
        let mut subscribers = Subscribers::default();
        let pharmacy = PharmacyId(Uuid::now_v7());
        let (care, pharmacist) = (connection(), connection());
        assert!(subscribers.attach(&care, View::Care, 0, 0).is_some());
        assert!(subscribers.attach(&pharmacist, View::Pharmacy(pharmacy), 0, 0).is_some());
        publish(&mut subscribers, 1..=3, Thread::Care);
        publish(&mut subscribers, 4..=4, Thread::Pharmacy(pharmacy));
        publish(&mut subscribers, 5..=6, Thread::Care);
        publish(&mut subscribers, 7..=7, Thread::Pharmacy(pharmacy));
        publish(&mut subscribers, 8..=8, Thread::Pharmacy(PharmacyId(Uuid::now_v7())));
        assert_eq!(received(&pharmacist, 0), [4, 7]);
        assert_eq!(received(&care, 0), (1..=8).collect::<Vec<_>>());
    }

    #[test]
    fn event_is_queued_before_a_heartbeat_names_it() {
        // Few enough to fit the send queue, however late the reader is.
        const EVENTS: u64 = 4_000;
        let (mut subscribers, reader) = (Subscribers::default(), connection());
        let (_, head) = subscribers.attach(&reader, View::Care, 0, 0).unwrap();
        std::thread::scope(|scope| {
            scope.spawn(|| publish(&mut subscribers, 1..=EVENTS, Thread::Care));
            let mut cursor = 0;
            while cursor < EVENTS {
                let named = head.load(Ordering::Acquire);
                cursor += received(&reader, cursor).len() as u64;
                assert!(cursor >= named, "{named} was named, but only {cursor} was queued");
            }
        });
    }

    #[test]
    fn detached_connection_receives_nothing_more() {
        let mut subscribers = Subscribers::default();
        let connection = connection();
        assert!(subscribers.attach(&connection, View::Care, 0, 0).is_some());
        assert!(subscribers.detach(connection.id) && subscribers.is_empty() && !subscribers.detach(connection.id));
        publish(&mut subscribers, 1..=1, Thread::Care);
        assert!(connection.send_queue.take().is_none());
    }
}
