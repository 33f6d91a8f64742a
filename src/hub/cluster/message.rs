//! Messages between nodes about rooms, and broadcasts to all nodes. Incoming messages are not trusted: their size is
//! bounded, and what does not parse or does not follow is dropped.

use std::sync::Arc;

use rooms::id::{RoomId, SessionId, UserId};
use rooms::permission::View;
use rooms::record::{Hash, Record, chain};
use rooms::signal::{Mark, Signal};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use uuid::Uuid;

use crate::bus::NodeId;
use crate::hub::feeds::FeedKey;
use crate::store::record::HashedRecord;

/// Bytes of a message. Of a longer commit, only the new head is published.
const MAX_MESSAGE_BYTES: usize = 512 * 1024;
/// Bytes of the sender's id, which precedes each message.
const SENDER_BYTES: usize = 32;

/// A message about one room, to the nodes that have it in memory.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RoomMessage {
    /// These events were committed.
    Events(CommittedEvents),
    /// Events were committed, up to this number.
    HeadAdvanced(u64),
    Signal {
        user: UserId,
        signal: Signal,
    },
    Mark {
        user: UserId,
        view: View,
        mark: Mark,
    },
    /// The people who are connected to the sender.
    PresenceReport(Vec<UserId>),
    /// Asks all other nodes for a report.
    PresenceQuery,
}

/// A broadcast to all nodes.
#[derive(Debug, Serialize, Deserialize)]
pub struct ClusterEvent {
    /// Counts the sender's events, so that receivers notice a missing one.
    pub seq: u64,
    pub kind: ClusterEventKind,
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ClusterEventKind {
    /// No event: `seq` is the number of the last one.
    Heartbeat,
    /// The rows of these feeds may have changed.
    FeedsChanged(Vec<FeedKey>),
    /// Sign-ins ended or rights changed; the store has the details.
    RightsChanged,
    /// A client has reconnected to the sender, so this connection of its sign-in is dead.
    Replaced { connection: Uuid, session: SessionId },
}

/// Consecutive events in their stored form.
#[derive(Debug, Serialize, Deserialize)]
pub struct CommittedEvents {
    first: u64,
    /// The hash of the last event, which covers all events before it.
    hash: Hash,
    records: Vec<Box<RawValue>>,
}

impl RoomMessage {
    /// Returns the message about a commit, or `None` if the commit is empty.
    pub fn of_commit(records: &[HashedRecord]) -> Option<Self> {
        let (first, last) = (records.first()?, records.last()?);
        let bytes: usize = records.iter().map(|record| record.canonical.len()).sum();
        if bytes > MAX_MESSAGE_BYTES / 2 {
            return Some(RoomMessage::HeadAdvanced(last.seq));
        }
        let raw = records.iter().map(|record| RawValue::from_string(record.canonical.to_string()));
        let records = raw.collect::<Result<_, _>>().ok()?;
        Some(RoomMessage::Events(CommittedEvents { first: first.seq, hash: last.hash, records }))
    }
}

impl CommittedEvents {
    /// Returns the number of the last event; 0 if there is none or it overflows.
    pub fn last(&self) -> u64 {
        let more = u64::try_from(self.records.len()).unwrap_or(u64::MAX);
        self.first.checked_add(more).map_or(0, |end| end.saturating_sub(1))
    }

    /// Returns the events after `head` if they follow it without a gap and match their hash. `hash` is the head's.
    pub fn after(&self, room: RoomId, head: u64, hash: Hash) -> Option<Vec<HashedRecord>> {
        if self.first == 0 || self.first > head + 1 {
            return None;
        }
        let known = usize::try_from(head + 1 - self.first).ok()?;
        let (mut seq, mut hash) = (head, hash);
        let mut records = Vec::with_capacity(self.records.len().saturating_sub(known));
        for raw in self.records.iter().skip(known) {
            let record: Record = serde_json::from_str(raw.get()).ok()?;
            seq += 1;
            if record.room != room || record.seq != seq {
                return None;
            }
            hash = chain(&hash, raw.get());
            records.push(HashedRecord { seq, canonical: raw.get().into(), hash, record: Arc::new(record) });
        }
        (hash == self.hash).then_some(records)
    }
}

/// Encodes a message for the bus: the sender, then the body. Returns `None` if the message is too long.
pub fn encode<M: Serialize>(from: NodeId, message: &M) -> Option<String> {
    let body = serde_json::to_string(message).ok()?;
    (body.len() <= MAX_MESSAGE_BYTES).then(|| format!("{}{body}", from.0.simple()))
}

/// Splits a message of the bus into its sender and its body.
pub fn decode(text: &str) -> Option<(NodeId, &str)> {
    let (sender, body) = text.split_at_checked(SENDER_BYTES)?;
    (body.len() <= MAX_MESSAGE_BYTES).then_some((NodeId(sender.parse().ok()?), body))
}

/// Parses the body of a message.
pub fn parse<M: DeserializeOwned>(body: &str) -> Option<M> {
    serde_json::from_str(body).ok()
}
