//! The grace-period buffer: push notices that wait, in order of their due time, for people to confirm the event.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use uuid::Uuid;

use crate::integrations::push::recipients::Notice;

/// Notices that the buffer holds. The rest stay in the database until their leases expire.
const MAX_DELAYED_NOTICES: usize = 100_000;

/// Notices of one commit with the same grace period.
#[derive(Debug)]
pub struct NoticeBatch {
    pub notices: Vec<Notice>,
    /// The outbox entry that is finished once these notices are.
    pub entry: Option<Uuid>,
}

/// See the module.
#[derive(Debug, Default)]
pub struct DelayedNotices {
    /// By due time; the number separates batches that are due at the same instant.
    batches: BTreeMap<(Instant, u64), NoticeBatch>,
    next_number: u64,
    notice_count: usize,
}

impl DelayedNotices {
    /// Buffers the notices of an outbox entry for their grace periods. Returns `false` if the buffer is full.
    pub fn delay(&mut self, entry: Uuid, notices: Vec<Notice>, now: Instant) -> bool {
        if self.notice_count + notices.len() > MAX_DELAYED_NOTICES {
            return false;
        }
        let mut by_grace: BTreeMap<Duration, Vec<Notice>> = BTreeMap::new();
        for notice in notices {
            by_grace.entry(notice.kind.grace_period()).or_default().push(notice);
        }
        // The entry is finished with the batch that is due last.
        let longest = by_grace.keys().next_back().copied();
        for (grace, notices) in by_grace {
            let entry = (Some(grace) == longest).then_some(entry);
            self.insert(now + grace, NoticeBatch { notices, entry });
        }
        true
    }

    /// Buffers a batch until `due`.
    pub fn insert(&mut self, due: Instant, batch: NoticeBatch) {
        self.notice_count += batch.notices.len();
        self.next_number += 1;
        self.batches.insert((due, self.next_number), batch);
    }

    /// Removes and returns the batches that are due.
    pub fn take_due(&mut self, now: Instant) -> Vec<NoticeBatch> {
        let later = self.batches.split_off(&(now, u64::MAX));
        let due: Vec<NoticeBatch> = std::mem::replace(&mut self.batches, later).into_values().collect();
        self.notice_count -= due.iter().map(|batch| batch.notices.len()).sum::<usize>();
        due
    }

    /// Returns the outbox entries of all buffered batches.
    pub fn entries(&self) -> Vec<Uuid> {
        self.batches.values().filter_map(|batch| batch.entry).collect()
    }
}

#[cfg(test)]
mod tests {
    use rooms::id::{RoomId, UserId};
    use rooms::time::Timestamp;

    use super::*;
    use crate::integrations::push::recipients::Recipient;
    use crate::store::devices::NoticeKind;

    fn notice(kind: NoticeKind) -> Notice {
        let (room, recipient) = (RoomId(Uuid::nil()), Recipient::Person(UserId(Uuid::nil())));
        Notice { room, seq: 1, kind, recipient, expires_at: Timestamp::from_micros(0) }
    }

    #[test]
    fn calls_are_due_first_and_the_entry_is_finished_with_the_last_batch() {
        let (mut delayed, now) = (DelayedNotices::default(), Instant::now());
        let entry = Uuid::now_v7();
        assert!(delayed.delay(entry, vec![notice(NoticeKind::Message), notice(NoticeKind::Call)], now));
        assert!(delayed.take_due(now).is_empty());
        let first = delayed.take_due(now + NoticeKind::Call.grace_period());
        assert_eq!((first.len(), first[0].notices[0].kind, first[0].entry), (1, NoticeKind::Call, None));
        assert_eq!(delayed.entries(), [entry]);
        let second = delayed.take_due(now + NoticeKind::Message.grace_period());
        assert_eq!((second.len(), second[0].entry), (1, Some(entry)));
        assert!(delayed.entries().is_empty() && delayed.notice_count == 0);
    }

    #[test]
    fn full_buffer_rejects_notices_until_some_are_due() {
        let (mut delayed, now) = (DelayedNotices::default(), Instant::now());
        assert!(delayed.delay(Uuid::now_v7(), vec![notice(NoticeKind::Message); MAX_DELAYED_NOTICES], now));
        assert!(!delayed.delay(Uuid::now_v7(), vec![notice(NoticeKind::Message)], now));
        delayed.take_due(now + Duration::from_secs(60));
        assert!(delayed.delay(Uuid::now_v7(), vec![notice(NoticeKind::Message)], now));
    }
}
