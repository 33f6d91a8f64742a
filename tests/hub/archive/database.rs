//! Verification of a whole database: each record by its hash chain, and the tables by the records.

use std::collections::BTreeMap;

use rooms::command::{Chat, Command};
use rooms::id::RoomId;
use rooms::party::Thread;
use rooms::signal::Mark;
use rooms::text::Prose;
use wardroom::archive::{Violation, verify_database};
use wardroom::config::DatabaseSettings;
use wardroom::store::Store;
use wardroom::store::record::Appended;

use crate::support::both;
use crate::support::database::tamper;
use crate::support::room_log::{doctor_with_slots, slot_request};
use crate::support::test_server::TestServer;

async fn violations(store: &Store) -> (u64, BTreeMap<RoomId, Violation>) {
    let mut violations = BTreeMap::new();
    let mut calls = 0;
    let insert = |invalid: wardroom::archive::InvalidRoom| {
        violations.insert(invalid.room, invalid.error.violation);
    };
    let progress = verify_database(store, insert, |_| calls += 1).await.unwrap();
    assert_eq!((progress.rooms, progress.invalid), (calls, violations.len() as u64));
    (progress.rooms, violations)
}

async fn tampering_is_found_in_the_room_it_affects(database: DatabaseSettings) {
    let server = TestServer::start(database).await;
    let store = &server.state.store;
    let case = server.case().await;
    let last = server.state.hub.read(case.room, &case.doctor).await.unwrap().head;
    let tampers = [
        ("update events set body = replace(body, 'Pat', 'Tap') where room = ROOM and seq = 1", Violation::WrongHash),
        ("delete from events where room = ROOM and seq = 3", Violation::WrongSeq { found: 4 }),
        (
            "update events set seq = 100 where room = ROOM and seq = 2; \
            update events set seq = 2 where room = ROOM and seq = 3; \
            update events set seq = 3 where room = ROOM and seq = 100",
            Violation::WrongSeq { found: 3 },
        ),
        ("delete from events where room = ROOM and seq = LAST", Violation::ReceiptBeyondHead { seq: last + 1 }),
        ("delete from marks where room = ROOM; delete from events where room = ROOM", Violation::Projection("rooms")),
        (
            "delete from marks where room = ROOM; delete from events where room = ROOM and seq > CASE",
            Violation::Projection("prescriptions"),
        ),
        ("update rooms set state = 'completed' where id = ROOM", Violation::Projection("rooms")),
        ("update prescriptions set state = 'cancelled' where room = ROOM", Violation::Projection("prescriptions")),
        ("delete from dispensings where room = ROOM", Violation::Projection("dispensings")),
    ];
    let mut expected = BTreeMap::new();
    for (sql, violation) in tampers {
        let case = server.case().await;
        let chat = Chat { text: Prose::parse("it hurts").unwrap(), thread: Thread::default() };
        let sent = server.submit(case.room, &case.patient, Command::Chat(chat)).await.unwrap();
        let mark = Mark { delivered: sent.last, seen: sent.last };
        store.save_marks(&[(case.room, case.doctor.user().unwrap(), mark)]).await.unwrap();
        // Sending the prescription appended two events.
        let sql = sql.replace("LAST", &sent.last.to_string()).replace("CASE", &(sent.last - 2).to_string());
        tamper(store, &sql, case.room).await;
        expected.insert(case.room, violation);
    }
    let (doctor, slots) = doctor_with_slots(store, 1).await;
    let (_, booking) = slot_request(&slots[0], &doctor);
    assert_eq!(store.append(std::slice::from_ref(&booking)).await.unwrap(), [Appended::Committed]);
    assert_eq!(violations(store).await, (expected.len() as u64 + 2, expected.clone()), "all other rooms are intact");
    tamper(store, "update slots set room = null where room = ROOM", booking.room).await;
    expected.insert(booking.room, Violation::Projection("slots"));
    assert_eq!(violations(store).await.1, expected);
}

both! {
    tampering_is_found_in_the_room_it_affects
}
