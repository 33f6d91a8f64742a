//! Notices that wait for their people to confirm what happened, in the order in which their time comes.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use uuid::Uuid;

use crate::push::Notice;

/// Notices that may wait here; the rest wait in the database, for the end of their leases.
const MOST: usize = 100_000;

/// The notices of one commit that wait equally long.
#[derive(Debug)]
pub struct Batch {
    pub notices: Vec<Notice>,
    /// The note that is worked through when these are.
    pub note: Option<Uuid>,
}

/// See the module.
#[derive(Debug, Default)]
pub struct Held {
    /// By when they are due; the number tells apart what is due at the same instant.
    waiting: BTreeMap<(Instant, u64), Batch>,
    number: u64,
    count: usize,
}

impl Held {
    /// Keeps the notices of a commit until their time comes. False if there is no room for them.
    pub fn keep(&mut self, note: Uuid, notices: Vec<Notice>, now: Instant) -> bool {
        if self.count + notices.len() > MOST {
            return false;
        }
        let mut by_patience: BTreeMap<Duration, Vec<Notice>> = BTreeMap::new();
        for notice in notices {
            by_patience.entry(notice.kind.patience()).or_default().push(notice);
        }
        // The note goes with those that wait longest.
        let longest = by_patience.keys().next_back().copied();
        for (patience, notices) in by_patience {
            let note = (Some(patience) == longest).then_some(note);
            self.put(now + patience, Batch { notices, note });
        }
        true
    }

    /// Keeps something until a certain time.
    pub fn put(&mut self, due: Instant, batch: Batch) {
        self.count += batch.notices.len();
        self.number += 1;
        self.waiting.insert((due, self.number), batch);
    }

    /// Takes what is due.
    pub fn due(&mut self, now: Instant) -> Vec<Batch> {
        let later = self.waiting.split_off(&(now, u64::MAX));
        let due: Vec<Batch> = std::mem::replace(&mut self.waiting, later).into_values().collect();
        self.count -= due.iter().map(|batch| batch.notices.len()).sum::<usize>();
        due
    }

    /// The notes of everything that waits.
    pub fn notes(&self) -> Vec<Uuid> {
        self.waiting.values().filter_map(|batch| batch.note).collect()
    }
}

#[cfg(test)]
mod tests {
    use rooms::id::{RoomId, UserId};
    use rooms::time::Timestamp;

    use super::*;
    use crate::push::Told;
    use crate::store::devices::NoticeKind;

    fn notice(kind: NoticeKind) -> Notice {
        let (room, told) = (RoomId(Uuid::nil()), Told::Person(UserId(Uuid::nil())));
        Notice { room, seq: 1, kind, told, expires_at: Timestamp::from_micros(0) }
    }

    #[test]
    fn a_ring_waits_less_and_the_note_is_done_with_the_last() {
        let (mut held, now) = (Held::default(), Instant::now());
        let note = Uuid::now_v7();
        assert!(held.keep(note, vec![notice(NoticeKind::Message), notice(NoticeKind::Call)], now));
        assert!(held.due(now).is_empty());
        let soon = held.due(now + NoticeKind::Call.patience());
        assert_eq!((soon.len(), soon[0].notices[0].kind, soon[0].note), (1, NoticeKind::Call, None));
        assert_eq!(held.notes(), [note]);
        let later = held.due(now + NoticeKind::Message.patience());
        assert_eq!((later.len(), later[0].note), (1, Some(note)));
        assert!(held.notes().is_empty() && held.count == 0);
    }

    #[test]
    fn there_is_a_bound_to_what_waits_here() {
        let (mut held, now) = (Held::default(), Instant::now());
        assert!(held.keep(Uuid::now_v7(), vec![notice(NoticeKind::Message); MOST], now));
        assert!(!held.keep(Uuid::now_v7(), vec![notice(NoticeKind::Message)], now));
        held.due(now + Duration::from_secs(60));
        assert!(held.keep(Uuid::now_v7(), vec![notice(NoticeKind::Message)], now));
    }
}
