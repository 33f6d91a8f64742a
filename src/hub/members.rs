//! Who listens to one room, by view: an event is encoded once for all who share a view.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use bytes::Bytes;
use rooms::event::Event;
use rooms::id::{RoomId, UserId};
use rooms::permission::{View, sees};
use rooms::wire::server::{ServerFrame, event_frame};
use uuid::Uuid;

use super::connection::Connection;
use super::send_queue::QueueItem;

/// How many frames, and how many bytes of them, a view keeps so that a reader who is nearly there can go live without
/// another look into the store.
const TAIL_FRAMES: usize = 32;
const TAIL_BYTES: usize = 32 * 1024;

/// One frame that went to a view.
#[derive(Clone, Debug)]
pub struct EventFrame {
    pub prev: u64,
    pub seq: u64,
    pub text: Bytes,
}

/// The connections that share a view of a room.
#[derive(Debug)]
struct Channel {
    view: View,
    /// The last event visible to this view; read by beats.
    head: Arc<AtomicU64>,
    members: Vec<Arc<Connection>>,
    tail: VecDeque<EventFrame>,
    tail_bytes: usize,
}

impl Channel {
    fn keep(&mut self, sent: EventFrame) {
        self.tail_bytes += sent.text.len();
        self.tail.push_back(sent);
        while self.tail.len() > TAIL_FRAMES || self.tail_bytes > TAIL_BYTES {
            match self.tail.pop_front() {
                Some(old) => self.tail_bytes -= old.text.len(),
                None => break,
            }
        }
    }

    /// What a reader at `cursor` lacks, if the tail has all of it.
    fn since(&self, cursor: u64) -> Option<Vec<EventFrame>> {
        if cursor >= self.head.load(Ordering::Relaxed) {
            return Some(Vec::new());
        }
        let first = self.tail.iter().position(|sent| sent.seq > cursor)?;
        (self.tail[first].prev <= cursor).then(|| self.tail.iter().skip(first).cloned().collect())
    }
}

/// All listeners of one room.
#[derive(Debug, Default)]
pub struct Members {
    channels: Vec<Channel>,
}

impl Members {
    pub fn is_empty(&self) -> bool {
        self.channels.is_empty()
    }

    /// Lets `connection` listen from `cursor` on, if what lies between `cursor` and now is at hand: the answer is that,
    /// and the view's head from now on. `None`: read the store up to `head`, then try again.
    ///
    /// Replay meets live here without a seam, because the room does nothing else meanwhile.
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
            self.channels.push(Channel { view, head, members: Vec::new(), tail: VecDeque::new(), tail_bytes: 0 });
            self.channels.len() - 1
        });
        let channel = &mut self.channels[at];
        channel.members.push(connection.clone());
        Some((missing, channel.head.clone()))
    }

    /// Forgets a connection; true if it was listening.
    pub fn detach(&mut self, connection: Uuid) -> bool {
        let mut found = false;
        for channel in &mut self.channels {
            let before = channel.members.len();
            channel.members.retain(|member| member.id != connection);
            found |= channel.members.len() < before;
        }
        self.channels.retain(|channel| !channel.members.is_empty());
        found
    }

    /// Sends a committed event to everybody who may see it.
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
            for member in &channel.members {
                member.send_queue.push(QueueItem::Event { room, prev, seq, text: text.clone() });
            }
            // Not before: a beat that names this event would come before the event.
            channel.head.store(seq, Ordering::Release);
            channel.keep(EventFrame { prev, seq, text });
        }
    }

    /// Sends a frame that is not kept to every connection whose view passes, but not to `except`.
    pub fn relay(&self, frame: &ServerFrame, except: Option<Uuid>, passes: impl Fn(&View) -> bool) {
        let mut text: Option<Bytes> = None;
        for channel in self.channels.iter().filter(|channel| passes(&channel.view)) {
            for member in channel.members.iter().filter(|member| Some(member.id) != except) {
                let text = text.get_or_insert_with(|| frame.encode().into());
                member.send_queue.push(QueueItem::Frame(text.clone()));
            }
        }
    }

    /// The connections that may no longer have the view they have.
    pub fn unfit(&self, view_of: impl Fn(&Connection) -> Option<View>) -> Vec<Arc<Connection>> {
        let listed =
            self.channels.iter().flat_map(|channel| channel.members.iter().map(|member| (channel.view, member)));
        listed.filter(|(view, member)| view_of(member) != Some(*view)).map(|(_, member)| member.clone()).collect()
    }

    /// Whether any connection of `user` listens.
    pub fn has(&self, user: UserId) -> bool {
        self.channels.iter().flat_map(|channel| &channel.members).any(|member| member.user == user)
    }

    /// The listening connections.
    pub fn connections(&self) -> impl Iterator<Item = &Arc<Connection>> {
        self.channels.iter().flat_map(|channel| &channel.members)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rooms::cursor::{Cursor, Verdict};
    use rooms::event::ChatSent;
    use rooms::id::{PharmacyId, SessionId};
    use rooms::party::Thread;
    use rooms::role::Actor;
    use rooms::text::Prose;

    fn connection() -> Arc<Connection> {
        let (session, user) = (SessionId(Uuid::now_v7()), UserId(Uuid::now_v7()));
        Arc::new(Connection::new(Uuid::now_v7(), session, user, Actor::System, 1 << 20))
    }

    fn chat(thread: Thread) -> Event {
        Event::ChatSent(ChatSent { text: Prose::parse("hello").unwrap(), thread })
    }

    fn publish(members: &mut Members, seqs: std::ops::RangeInclusive<u64>, thread: Thread) {
        for seq in seqs {
            members.publish(RoomId(Uuid::nil()), seq, &chat(thread), &format!(r#"{{"seq":{seq}}}"#));
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
    fn a_reader_goes_live_without_a_seam_or_is_sent_to_the_store() {
        let mut members = Members::default();
        let (first, second) = (connection(), connection());
        assert!(members.attach(&first, View::Care, 10, 9).is_none(), "nobody kept event 10: the store has it");
        assert!(members.attach(&first, View::Care, 10, 10).is_some());
        publish(&mut members, 11..=20, Thread::Care);
        let (missing, head) = members.attach(&second, View::Care, 20, 15).expect("the tail has 16 to 20");
        assert_eq!(missing.iter().map(|sent| sent.seq).collect::<Vec<_>>(), [16, 17, 18, 19, 20]);
        assert_eq!((missing[0].prev, head.load(Ordering::Relaxed)), (15, 20));
        assert!(members.attach(&second, View::Care, 20, 9).is_none(), "event 10 went before the tail began");
        publish(&mut members, 21..=22, Thread::Care);
        assert_eq!(received(&second, 20), [21, 22]);
        assert_eq!(received(&first, 10), (11..=22).collect::<Vec<_>>());
    }

    #[test]
    fn a_long_tail_is_cut_and_then_sends_to_the_store() {
        let mut members = Members::default();
        assert!(members.attach(&connection(), View::Care, 0, 0).is_some());
        publish(&mut members, 1..=100, Thread::Care);
        let late = connection();
        assert!(members.attach(&late, View::Care, 100, 50).is_none());
        assert!(members.attach(&late, View::Care, 100, 100 - TAIL_FRAMES as u64).is_some());
    }

    #[test]
    fn a_filtered_reader_gets_a_chain_without_holes_and_nothing_else() {
        let mut members = Members::default();
        let pharmacy = PharmacyId(Uuid::now_v7());
        let (care, pharmacist) = (connection(), connection());
        assert!(members.attach(&care, View::Care, 0, 0).is_some());
        assert!(members.attach(&pharmacist, View::Pharmacy(pharmacy), 0, 0).is_some());
        publish(&mut members, 1..=3, Thread::Care);
        publish(&mut members, 4..=4, Thread::Pharmacy(pharmacy));
        publish(&mut members, 5..=6, Thread::Care);
        publish(&mut members, 7..=7, Thread::Pharmacy(pharmacy));
        publish(&mut members, 8..=8, Thread::Pharmacy(PharmacyId(Uuid::now_v7())));
        assert_eq!(received(&pharmacist, 0), [4, 7]);
        assert_eq!(received(&care, 0), (1..=8).collect::<Vec<_>>());
    }

    #[test]
    fn an_event_is_in_the_outbox_before_a_beat_can_name_it() {
        // So few that all of them have room in the outbox, however late the reader is.
        const EVENTS: u64 = 4_000;
        let (mut members, reader) = (Members::default(), connection());
        let (_, head) = members.attach(&reader, View::Care, 0, 0).unwrap();
        std::thread::scope(|scope| {
            scope.spawn(|| publish(&mut members, 1..=EVENTS, Thread::Care));
            let mut cursor = 0;
            while cursor < EVENTS {
                let named = head.load(Ordering::Acquire);
                cursor += received(&reader, cursor).len() as u64;
                assert!(cursor >= named, "{named} was named, and only {cursor} had come");
            }
        });
    }

    #[test]
    fn whoever_left_gets_nothing_more() {
        let mut members = Members::default();
        let connection = connection();
        assert!(members.attach(&connection, View::Care, 0, 0).is_some());
        assert!(members.detach(connection.id) && members.is_empty() && !members.detach(connection.id));
        publish(&mut members, 1..=1, Thread::Care);
        assert!(connection.send_queue.take().is_none());
    }
}
