//! The cursor: over a bus that loses, repeats and reorders, a reader of any view ends complete and in order.

use proptest::prelude::*;
use rooms::cursor::{Cursor, Verdict};
use rooms::permission::{View, sees};
use rooms::record::Record;

use crate::random::{case, play, views};

/// What the bus does to one frame.
#[derive(Clone, Debug)]
enum Fate {
    Arrives,
    Lost,
    Twice,
    /// Arrives this many frames later.
    Late(usize),
}

fn fate() -> impl Strategy<Value = Fate> {
    prop_oneof![
        5 => Just(Fate::Arrives),
        2 => Just(Fate::Lost),
        1 => Just(Fate::Twice),
        2 => (1usize..6).prop_map(Fate::Late),
    ]
}

/// The frames a hub sends to a view for the records after `after`: each event with its claim.
fn frames<'a>(log: &'a [Record], view: &'a View, after: u64) -> impl Iterator<Item = (u64, u64)> + 'a {
    let before = log.iter().take_while(move |record| record.seq <= after);
    let mut prev = before.filter(|record| sees(view, record.seq, &record.event)).last().map_or(0, |record| record.seq);
    let rest = log.iter().filter(move |record| record.seq > after && sees(view, record.seq, &record.event));
    rest.map(move |record| (std::mem::replace(&mut prev, record.seq), record.seq))
}

/// A client that relies on its cursor only.
struct Reader {
    cursor: Cursor,
    got: Vec<u64>,
}

impl Reader {
    /// Returns whether the frame showed no gap.
    fn take(&mut self, (prev, seq): (u64, u64)) -> bool {
        match self.cursor.judge(prev, seq) {
            Verdict::Deliver => self.got.push(seq),
            Verdict::Repeat => {}
            Verdict::Gap => return false,
        }
        true
    }

    /// Joins again with the cursor. The replay is in order, but may be cut off.
    fn join(&mut self, log: &[Record], view: &View, cut: Option<usize>) {
        let cursor = self.cursor.position();
        for frame in frames(log, view, cursor).take(cut.unwrap_or(usize::MAX)) {
            assert!(self.take(frame), "a replay has no gap");
        }
    }
}

/// Sends the live frames of a log over a faulty bus to a reader that joins again after each gap.
fn read(log: &[Record], view: &View, fates: &[Fate], cuts: &[Option<usize>], start: u64) -> Vec<u64> {
    let live: Vec<_> = frames(log, view, 0).collect();
    let mut arriving: Vec<(usize, usize, (u64, u64))> = Vec::new();
    for (index, frame) in live.iter().enumerate() {
        match fates[index % fates.len()] {
            Fate::Arrives => arriving.push((index, index, *frame)),
            Fate::Lost => {}
            Fate::Twice => arriving.extend([(index, index, *frame), (index + 3, index, *frame)]),
            Fate::Late(by) => arriving.push((index + by, index, *frame)),
        }
    }
    arriving.sort_unstable();
    let start = start.min(log.len() as u64);
    let mut reader = Reader { cursor: Cursor::new(start), got: Vec::new() };
    let mut joins = cuts.iter().cycle();
    for (when, _, frame) in arriving {
        if !reader.take(frame) {
            // By now the log has grown up to the last frame sent.
            let head = live[when.min(live.len() - 1)].1.max(frame.1) as usize;
            reader.join(&log[..head], view, *joins.next().expect("endless"));
        }
    }
    // The hub's next beat carries the head, and a last, uncut replay delivers the rest.
    let head = live.last().map_or(0, |(_, seq)| *seq);
    if reader.cursor.is_behind(head) {
        reader.join(log, view, None);
    }
    assert!(!reader.cursor.is_behind(head));
    reader.got
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, ..ProptestConfig::default() })]

    #[test]
    fn reader_ends_complete_and_in_order_on_any_bus(
        (policy, slot, actions) in case(),
        fates in prop::collection::vec(fate(), 1..40),
        cuts in prop::collection::vec(prop::option::of(0usize..5), 1..8),
        start in prop_oneof![Just(0u64), 0u64..80],
    ) {
        let clinic = play(policy, slot, &actions, |_, _| {});
        for view in views(&clinic.log) {
            let visible: Vec<u64> = clinic.log.iter()
                .filter(|record| record.seq > start && sees(&view, record.seq, &record.event))
                .map(|record| record.seq)
                .collect();
            prop_assert_eq!(read(&clinic.log, &view, &fates, &cuts, start), visible, "{:?}", view);
        }
    }
}

#[test]
fn cursor_judges_a_frame_by_its_claim() {
    let mut cursor = Cursor::new(4);
    assert_eq!(cursor.judge(5, 6), Verdict::Gap);
    assert_eq!(cursor.position(), 4);
    // A filtered log: the claim states that 5 to 8 are not for this view.
    assert_eq!(cursor.judge(3, 9), Verdict::Deliver);
    assert_eq!(cursor.judge(3, 9), Verdict::Repeat);
    assert_eq!(cursor.judge(0, 2), Verdict::Repeat);
    assert_eq!(cursor.judge(9, 10), Verdict::Deliver);
    assert!(cursor.is_behind(11) && !cursor.is_behind(10) && !cursor.is_behind(3));
    assert_eq!(Cursor::default().judge(u64::MAX, u64::MAX), Verdict::Gap);
}
