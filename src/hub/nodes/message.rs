//! What the nodes tell each other. Whatever comes in is taken for hostile: it is bounded, and what makes no sense is
//! dropped.

use std::sync::Arc;

use rooms::id::{CallId, RoomId, SessionId, UserId};
use rooms::permission::View;
use rooms::record::{Hash, Record, chain};
use rooms::signal::{Mark, Signal};
use rooms::wire::call::{CallNotice, CallSignal};
use rooms::wire::code::Code;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use uuid::Uuid;

use crate::bus::NodeId;
use crate::hub::feeds::FeedKey;
use crate::store::events::Sealed;

/// Bytes of a message; of what is longer, only that it happened is told.
const MAX: usize = 512 * 1024;
/// How long a node's name is in front of a message.
const NAME: usize = 32;

/// About one room, to the nodes that have it in memory.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RoomMessage {
    /// These were committed.
    Events(CommittedEvents),
    /// Something was committed, up to this number.
    Head(u64),
    Signal {
        user: UserId,
        signal: Signal,
    },
    Mark {
        user: UserId,
        view: View,
        mark: Mark,
    },
    /// Who is connected to the node that says it.
    Here(Vec<UserId>),
    /// Asks who is connected to the others.
    Who,
}

/// To all nodes.
#[derive(Debug, Serialize, Deserialize)]
pub struct News {
    /// Each node numbers what it tells all, so that the others know when they missed something.
    pub n: u64,
    pub what: What,
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum What {
    /// Nothing new: `n` is of the last news.
    Beat,
    /// What these show may have changed.
    Feeds(Vec<FeedKey>),
    /// Sign-ins ended, or rights changed: the store knows which.
    Rights,
    /// A client came back here and means that this connection of its sign-in is dead.
    Replaced { connection: Uuid, session: SessionId },
}

/// To one node, about the call in a room, of one connection.
#[derive(Debug, Serialize, Deserialize)]
pub struct Word {
    pub room: RoomId,
    pub connection: Uuid,
    pub call: CallId,
    pub said: Said,
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Said {
    /// To the desk: the session says this.
    Ask { user: UserId, signal: Box<CallSignal> },
    /// To the desk: it is still there.
    Still,
    /// To the desk: its connection broke.
    Lost,
    /// From the desk, to the session.
    Tell(Box<CallNotice>),
    /// From the desk: what it said was not taken.
    Refused(Code),
}

/// Consecutive events as they were stored.
#[derive(Debug, Serialize, Deserialize)]
pub struct CommittedEvents {
    first: u64,
    /// The last one's hash, which stands for all before it.
    hash: Hash,
    records: Vec<Box<RawValue>>,
}

impl RoomMessage {
    /// What to tell of a commit, if there is anything to tell.
    pub fn of(records: &[Sealed]) -> Option<Self> {
        let (first, last) = (records.first()?, records.last()?);
        let bytes: usize = records.iter().map(|sealed| sealed.canonical.len()).sum();
        if bytes > MAX / 2 {
            return Some(RoomMessage::Head(last.seq));
        }
        let raw = records.iter().map(|sealed| RawValue::from_string(sealed.canonical.to_string()));
        let records = raw.collect::<Result<_, _>>().ok()?;
        Some(RoomMessage::Events(CommittedEvents { first: first.seq, hash: last.hash, records }))
    }
}

impl CommittedEvents {
    /// The number of the last one; 0 if there is none, or it has none.
    pub fn last(&self) -> u64 {
        let more = u64::try_from(self.records.len()).unwrap_or(u64::MAX);
        self.first.checked_add(more).map_or(0, |end| end.saturating_sub(1))
    }

    /// Those that come behind event `head`, if they follow it without a gap and are what their hashes say.
    pub fn behind(&self, room: RoomId, head: u64, before: Hash) -> Option<Vec<Sealed>> {
        if self.first == 0 || self.first > head + 1 {
            return None;
        }
        let skip = usize::try_from(head + 1 - self.first).ok()?;
        let mut hash = before;
        let mut seq = head;
        let mut news = Vec::with_capacity(self.records.len().saturating_sub(skip));
        for raw in self.records.iter().skip(skip) {
            let record: Record = serde_json::from_str(raw.get()).ok()?;
            seq += 1;
            if record.room != room || record.seq != seq {
                return None;
            }
            hash = chain(&hash, raw.get());
            news.push(Sealed { seq, canonical: raw.get().into(), hash, record: Arc::new(record) });
        }
        (hash == self.hash).then_some(news)
    }
}

/// A message as it goes over the bus: who says it, then what. `None` if it is too long.
pub fn seal<M: Serialize>(from: NodeId, message: &M) -> Option<String> {
    let body = serde_json::to_string(message).ok()?;
    (body.len() <= MAX).then(|| format!("{}{body}", from.0.simple()))
}

/// Who says it, and what.
pub fn open(text: &str) -> Option<(NodeId, &str)> {
    let (name, body) = text.split_at_checked(NAME)?;
    (body.len() <= MAX).then_some((NodeId(name.parse().ok()?), body))
}

/// Reads the body of a message.
pub fn read<M: DeserializeOwned>(body: &str) -> Option<M> {
    serde_json::from_str(body).ok()
}
