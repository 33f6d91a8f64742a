//! Timers are rows, so they survive the hub that set them; two hubs over one database agree.

use std::time::Duration;

use rooms::command::{Chat, Command, Request};
use rooms::id::{RoomId, SlotId};
use rooms::party::Thread;
use rooms::record::Record;
use rooms::role::Role;
use rooms::text::Prose;
use tokio::time::timeout;
use uuid::Uuid;
use wardroom::config::DatabaseSettings;
use wardroom::store::slots::{Published, PublishedSlot};

use crate::support::both;
use crate::support::test_server::TestServer;

async fn unconfirmed_hold_expires_across_a_restart(database: DatabaseSettings) {
    let server = TestServer::start(database.clone()).await;
    let doctor = server.person(Role::Doctor, "Doc", None).await;
    let patient = server.person(Role::Patient, "Pat", None).await;
    let later = |seconds| server.state.clock.now().plus(Duration::from_secs(seconds));
    let id = SlotId(Uuid::now_v7());
    let slot = PublishedSlot { id, starts_at: later(86_400), ends_at: later(87_000), room: None };
    let doctor = doctor.user().unwrap();
    assert_eq!(server.state.store.publish_slots(doctor, &[slot]).await.unwrap(), Published::All);
    let room = RoomId(Uuid::now_v7());
    let request = Command::Request(Request { slot: Some(id), doctor: None, reason: None });
    server.submit(room, &patient, request).await.unwrap();
    assert_eq!(server.state.store.next_free_slot(doctor, server.state.clock.now()).await.unwrap(), None);
    let hold = server.state.config.policy.hold_s;
    drop(server);

    let server = TestServer::start(database).await;
    server.state.clock.advance(Duration::from_secs(u64::from(hold) + 1));
    let freed = async {
        while server.state.store.next_free_slot(doctor, server.state.clock.now()).await.unwrap().is_none() {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    timeout(Duration::from_secs(5), freed).await.expect("the slot is free again");
    let view = server.state.hub.read(room, &patient).await.unwrap();
    assert_eq!(view.snapshot.consultation.unwrap().state.as_str(), "expired");
}

async fn two_hubs_appending_to_one_room_leave_one_log(database: DatabaseSettings) {
    let here = TestServer::start(database.clone()).await;
    let there = TestServer::start(database).await;
    let case = here.case().await;
    let mut reader = here.joined(&case.patient, case.room).await;
    let writers =
        [(&here, &case.doctor, "here"), (&there, &case.patient, "there")].map(|(server, actor, name)| async move {
            for number in 0..30 {
                let text = Prose::parse(&format!("{name} {number}")).unwrap();
                server.submit(case.room, actor, Command::Chat(Chat { text, thread: Thread::Care })).await.unwrap();
            }
        });
    let [first, second] = writers;
    tokio::join!(first, second);
    let text = Prose::parse("last").unwrap();
    let last = here.submit(case.room, &case.doctor, Command::Chat(Chat { text, thread: Thread::Care })).await.unwrap();
    let stored = here.state.store.events_after(case.room, 0, 1000).await.unwrap();
    let records: Vec<Record> = stored.iter().map(|it| serde_json::from_str(&it.canonical).unwrap()).collect();
    assert_eq!(records.iter().map(|it| it.seq).collect::<Vec<_>>(), (1..=last.last).collect::<Vec<_>>());
    for name in ["here", "there"] {
        let all: String = stored.iter().map(|it| it.canonical.clone()).collect();
        for number in 0..30 {
            assert_eq!(all.matches(&format!("\"{name} {number}\"")).count(), 1);
        }
    }
    assert!(wardroom::archive::verify_room(&here.state.store, case.room).await.unwrap().is_ok());
    reader.until_seq(case.room, last.last).await.unwrap();
    let check = reader.delivery_check(case.room).unwrap();
    assert_eq!((check.repeated(), check.out_of_order(), check.gaps()), (0, 0, 0));
}

both! {
    unconfirmed_hold_expires_across_a_restart
    two_hubs_appending_to_one_room_leave_one_log
}
