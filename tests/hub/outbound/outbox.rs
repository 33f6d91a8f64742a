//! The outbox, on both databases: no committed change is lost, no delivery is recorded twice, and no two nodes send
//! the same one.

use std::collections::BTreeSet;
use std::time::Duration;

use rooms::id::RoomId;
use rooms::time::Timestamp;
use uuid::Uuid;
use wardroom::config::DatabaseSettings;
use wardroom::store::dispatches::{Dispatch, DispatchState, Report, Sink, Wish};
use wardroom::store::outbox::{EventRange, OutboxEntry};
use wardroom::store::page::PageRequest;
use wardroom::store::record::Appended;

use crate::support::both;
use crate::support::room_log::{RoomLog, new_ids, open_store};

const FIRST_PAGE: PageRequest = PageRequest { after: None, limit: 200 };

fn now() -> Timestamp {
    Timestamp::new(chrono::Utc::now())
}

fn seconds(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

fn new_delivery(lane: &str, seq: u64) -> Wish {
    Wish {
        sink: Sink::Webhook,
        lane: lane.to_owned(),
        target: "somebody".to_owned(),
        room: RoomId(Uuid::nil()),
        seq,
        kind: "chat.sent".to_owned(),
        body: "{}".to_owned(),
        due_at: now(),
    }
}

fn report(dispatch: &Dispatch, state: DispatchState, due_at: Option<Timestamp>) -> Report {
    let error = due_at.map(|_| "receiver not found".to_owned());
    Report { id: dispatch.id, attempts: dispatch.attempts, state, due_at, error }
}

async fn outbox_entry_exists_exactly_for_committed_changes(settings: DatabaseSettings) {
    let store = open_store(&settings).await;
    let (doctor, slots) = crate::support::room_log::doctor_with_slots(&store, 1).await;
    let (log, asked) = crate::support::room_log::slot_request(&slots[0], &doctor);
    let note = || OutboxEntry { id: Uuid::now_v7(), leased_until: now() };
    let opening = note();
    assert_eq!(
        store.append_with_outbox(std::slice::from_ref(&asked), Some(opening)).await.unwrap(),
        [Appended::Committed]
    );
    let mut log = log.after(&asked);
    let mut batch = Vec::new();
    for _ in 0..2 {
        let (sender, command) = new_ids();
        let chat = log.chat(sender, command, "hello");
        log = log.after(&chat);
        batch.push(chat);
    }
    // A conflicting append: the batch falls back to single appends, and this one fails.
    let late = crate::support::room_log::slot_request(&slots[0], &doctor).1;
    batch.push(late);
    let chat_note = note();
    let answers = store.append_with_outbox(&batch, Some(chat_note)).await.unwrap();
    assert_eq!(answers, [Appended::Committed, Appended::Committed, Appended::SlotTaken]);
    // A room without parties concerns nobody outside.
    let (sender, command) = new_ids();
    assert_eq!(
        store.append_with_outbox(&[RoomLog::new().chat(sender, command, "x")], Some(note())).await.unwrap(),
        [Appended::Committed]
    );
    let later = now().plus(seconds(1));
    let notes = store.lease_outbox_entries(later, seconds(30), 100).await.unwrap();
    let span = |first, last| EventRange { room: log.room, first, last };
    let first = asked.records.len() as u64;
    let expected = [
        (opening.id, vec![span(1, first)]),
        (chat_note.id, vec![span(first + 1, first + 1), span(first + 2, first + 2)]),
    ];
    assert_eq!(notes, expected);
    store.delete_outbox_entries(&[opening.id, chat_note.id]).await.unwrap();
    assert_eq!(store.outbox_len().await.unwrap(), 0);
}

async fn expired_outbox_lease_is_taken_over_by_one_node(settings: DatabaseSettings) {
    let store = open_store(&settings).await;
    let (doctor, slots) = crate::support::room_log::doctor_with_slots(&store, 20).await;
    let begin = now();
    for slot in &slots {
        let (_, asked) = crate::support::room_log::slot_request(slot, &doctor);
        let note = OutboxEntry { id: Uuid::now_v7(), leased_until: begin.plus(seconds(30)) };
        store.append_with_outbox(&[asked], Some(note)).await.unwrap();
    }
    assert!(
        store.lease_outbox_entries(begin.plus(seconds(29)), seconds(30), 100).await.unwrap().is_empty(),
        "its lease has not expired"
    );
    let later = begin.plus(seconds(31));
    let mut nodes = Vec::new();
    for _ in 0..4 {
        let store = open_store(&settings).await;
        nodes.push(tokio::spawn(async move {
            let mut taken = Vec::new();
            for _ in 0..10 {
                taken.extend(store.lease_outbox_entries(later, seconds(30), 3).await.unwrap());
            }
            taken
        }));
    }
    let mut taken = Vec::new();
    for node in nodes {
        taken.extend(node.await.unwrap().into_iter().map(|(id, _)| id));
    }
    assert_eq!((taken.len(), taken.iter().collect::<BTreeSet<_>>().len()), (20, 20));
    store.release_outbox_entries(&taken[..5]).await.unwrap();
    assert_eq!(store.lease_outbox_entries(later, seconds(30), 100).await.unwrap().len(), 5);
}

async fn delivery_is_recorded_once(settings: DatabaseSettings) {
    let store = open_store(&settings).await;
    let wishes: Vec<Wish> = (0..200).map(|seq| new_delivery("a", seq)).collect();
    assert_eq!(store.enqueue(&wishes, now(), Uuid::now_v7).await.unwrap(), 200);
    assert_eq!(store.enqueue(&wishes[50..], now(), Uuid::now_v7).await.unwrap(), 0);
    let other = Wish { kind: "another".to_owned(), ..new_delivery("a", 7) };
    assert_eq!(store.enqueue(&[new_delivery("a", 7), other], now(), Uuid::now_v7).await.unwrap(), 1);
    // Even long after the first was sent.
    let later = now().plus(seconds(1));
    let taken = store.take_dispatches((Sink::Webhook, "a"), later, later, 1000).await.unwrap();
    let reports: Vec<_> = taken.iter().map(|it| report(it, DispatchState::Done, None)).collect();
    store.report(&reports, later).await.unwrap();
    assert_eq!(store.enqueue(&wishes, later, Uuid::now_v7).await.unwrap(), 0);
    store.sweep_dispatches(later.plus(seconds(6 * 86_400))).await.unwrap();
    assert_eq!(store.dispatches(None, None, None, FIRST_PAGE).await.unwrap().items.len(), 200);
    store.sweep_dispatches(later.plus(seconds(8 * 86_400))).await.unwrap();
    assert!(store.dispatches(None, None, None, FIRST_PAGE).await.unwrap().items.is_empty());
}

async fn delivery_is_claimed_by_one_node_at_a_time(settings: DatabaseSettings) {
    let store = open_store(&settings).await;
    let wishes: Vec<Wish> = (0..100).map(|seq| new_delivery("a", seq)).collect();
    store.enqueue(&wishes, now(), Uuid::now_v7).await.unwrap();
    let later = now().plus(seconds(1));
    assert_eq!(store.due_lanes(later).await.unwrap(), [(Sink::Webhook, "a".to_owned())]);
    let mut nodes = Vec::new();
    for _ in 0..4 {
        let store = open_store(&settings).await;
        nodes.push(tokio::spawn(async move {
            let mut taken = Vec::new();
            for _ in 0..20 {
                let until = later.plus(seconds(60));
                taken.extend(store.take_dispatches((Sink::Webhook, "a"), later, until, 5).await.unwrap());
            }
            taken
        }));
    }
    let mut taken = Vec::new();
    for node in nodes {
        taken.extend(node.await.unwrap());
    }
    assert_eq!((taken.len(), taken.iter().map(|it| it.id).collect::<BTreeSet<_>>().len()), (100, 100));
    assert!(taken.iter().all(|it| it.attempts == 1 && it.state == DispatchState::Sending));
    assert!(store.due_lanes(later).await.unwrap().is_empty());
}

async fn unanswered_attempt_is_retried_and_its_late_answer_is_ignored(settings: DatabaseSettings) {
    let store = open_store(&settings).await;
    store.enqueue(&[new_delivery("a", 1)], now(), Uuid::now_v7).await.unwrap();
    let later = now().plus(seconds(1));
    let lane = (Sink::Webhook, "a");
    let first = store.take_dispatches(lane, later, later.plus(seconds(60)), 5).await.unwrap().remove(0);
    let after = later.plus(seconds(61));
    let second = store.take_dispatches(lane, after, after.plus(seconds(60)), 5).await.unwrap().remove(0);
    assert_eq!((first.id, first.attempts, second.id, second.attempts), (first.id, 1, first.id, 2));
    store.report(&[report(&first, DispatchState::Dead, None)], after).await.unwrap();
    assert_eq!(store.dispatch(first.id).await.unwrap().unwrap().state, DispatchState::Sending);
    let again = after.plus(seconds(5));
    store.report(&[report(&second, DispatchState::Waiting, Some(again))], after).await.unwrap();
    let waiting = store.dispatch(first.id).await.unwrap().unwrap();
    assert_eq!((waiting.state, waiting.due_at), (DispatchState::Waiting, Some(again)));
    assert_eq!(waiting.last_error.as_deref(), Some("receiver not found"));
    assert!(!store.retry_dispatch(first.id, after).await.unwrap(), "the delivery is not dead");
    let third = store.take_dispatches(lane, again, again, 5).await.unwrap().remove(0);
    store.report(&[report(&third, DispatchState::Dead, None)], again).await.unwrap();
    store.sweep_dispatches(again.plus(seconds(20 * 86_400))).await.unwrap();
    assert!(store.retry_dispatch(first.id, again).await.unwrap(), "a dead delivery stays for an operator to look at");
    let lanes = store.lanes().await.unwrap();
    assert_eq!((lanes.len(), lanes[0].state, lanes[0].count, lanes[0].attempts), (1, DispatchState::Waiting, 1, 0));
}

both! {
    outbox_entry_exists_exactly_for_committed_changes
    expired_outbox_lease_is_taken_over_by_one_node
    delivery_is_recorded_once
    delivery_is_claimed_by_one_node_at_a_time
    unanswered_attempt_is_retried_and_its_late_answer_is_ignored
}
