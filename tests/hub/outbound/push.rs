//! What notifications promise: each kind reaches each device of who is away, readable, once; who is here gets none.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use rooms::case::call::{Media, StartCall};
use rooms::case::delivery::DeliveryState;
use rooms::case::dispensing::DispensingState;
use rooms::command::{
    AssignDelivery, Chat, CheckIn, Command, Draft, MoveDelivery, MoveDispensing, Nothing, OfPrescription, Request,
    SendPrescription,
};
use rooms::event::{HandOver, Item, Thread};
use rooms::id::{PharmacyId, RoomId};
use rooms::role::{Actor, Role};
use rooms::signal::Mark;
use rooms::text::{Line, Prose, Text};
use uuid::Uuid;
use wardroom::config::{DatabaseSettings, PushService as Allowed};
use wardroom::store::devices::{NoticeKind, Preferences, Quiet, Subscription};
use wardroom::store::dispatches::{Dispatch, DispatchState, Sink};
use wardroom::store::page::PageRequest;

use crate::support::both;
use crate::support::push_service::{Fault, PushService};
use crate::support::test_server::TestServer;

const EVERYTHING: PageRequest = PageRequest { after: None, limit: 200 };

async fn server(database: DatabaseSettings, service: &PushService) -> TestServer {
    TestServer::start_with(database, |config| config.push.services = vec![Allowed::Origin(service.origin.clone())])
        .await
}

async fn subscribe(server: &TestServer, service: &PushService, who: &Actor, name: &str) -> Subscription {
    let device = service.device(who.user().unwrap(), name);
    let id = server.state.gateway.push().subscribe(&device).await.unwrap();
    Subscription { id, ..device }
}

async fn say(server: &TestServer, room: RoomId, who: &Actor, text: &str) -> u64 {
    let chat = Chat { text: Prose::parse(text).unwrap(), thread: Thread::Care };
    server.submit(room, who, Command::Chat(chat)).await.unwrap().last
}

/// The pushes of this hub in the order in which they were written down.
async fn pushes(server: &TestServer) -> Vec<Dispatch> {
    let mut all = server.state.store.dispatches(Some(Sink::Push), None, EVERYTHING).await.unwrap().items;
    all.reverse();
    all
}

async fn until_state(server: &TestServer, kind: NoticeKind, state: DispatchState) -> Dispatch {
    let end = Instant::now() + Duration::from_secs(40);
    loop {
        let all = pushes(server).await;
        if let Some(found) = all.iter().find(|it| it.kind == kind.as_str() && it.state == state) {
            return found.clone();
        }
        assert!(Instant::now() < end, "no {kind:?} is {state:?}: {all:#?}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

/// Waits until nothing that was written down is still to be sent.
async fn until_all_are_over(server: &TestServer) {
    let over = |it: &Dispatch| !matches!(it.state, DispatchState::Waiting | DispatchState::Sending);
    let end = Instant::now() + Duration::from_secs(20);
    while !pushes(server).await.iter().all(over) {
        assert!(Instant::now() < end, "{:#?}", pushes(server).await);
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

/// Lets time pass until nothing is held back any more.
async fn until_all_is_looked_at(server: &TestServer) {
    let end = Instant::now() + Duration::from_secs(40);
    while server.state.store.notes().await.unwrap() > 0 {
        assert!(Instant::now() < end, "notes stay");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

async fn each_kind_reaches_each_device_of_who_is_away_readable_and_once(database: DatabaseSettings) {
    let service = PushService::start().await;
    let server = server(database, &service).await;
    let pharmacy = PharmacyId(Uuid::now_v7());
    let (name, address) = (Line::parse("Pharmacy").unwrap(), Text::parse("1 Street").unwrap());
    server.state.store.insert_pharmacy(pharmacy, &name, &address).await.unwrap();
    let people = [
        (server.person(Role::Patient, "Pat", None).await, "phone"),
        (server.person(Role::Doctor, "Doc", None).await, "desk"),
        (server.person(Role::Pharmacist, "Phil", Some(pharmacy)).await, "counter"),
        (server.person(Role::Courier, "Cora", None).await, "van"),
    ];
    for (person, device) in &people {
        subscribe(&server, &service, person, device).await;
    }
    let [patient, doctor, pharmacist, courier] = people.map(|(person, _)| person);
    subscribe(&server, &service, &patient, "tablet").await;

    // Nobody has a page open.
    let room = RoomId(Uuid::now_v7());
    let submit = |who: &Actor, command| {
        let (server, who) = (&server, who.clone());
        async move { server.submit(room, &who, command).await.unwrap().last }
    };
    submit(&patient, Command::Request(Request { slot: None, doctor: doctor.user(), reason: None })).await;
    let consent = server.state.config.policy.consent.clone();
    submit(&patient, Command::CheckIn(CheckIn { consent, identity: Line::parse("account").unwrap() })).await;
    submit(&doctor, Command::Admit(Nothing {})).await;
    submit(&patient, Command::Enter(Nothing {})).await;
    let started = Instant::now();
    submit(&doctor, Command::StartCall(StartCall { media: Media::Video })).await;
    submit(&doctor, Command::Chat(Chat { text: Prose::parse("hello").unwrap(), thread: Thread::Care })).await;
    let (medicine, dosage) = (Line::parse("Testamol").unwrap(), Text::parse("one a day").unwrap());
    let items = vec![Item { medicine, dosage, quantity: 10, days: 10 }];
    submit(&doctor, Command::Draft(Draft { items })).await;
    let look = server.state.hub.read(room, &doctor).await.unwrap().snapshot;
    let prescription = look.prescriptions[0].id;
    submit(&doctor, Command::Sign(OfPrescription { prescription })).await;
    let hand_over = HandOver::Delivery(Text::parse("2 Lane").unwrap());
    submit(&patient, Command::Send(SendPrescription { prescription, pharmacy, hand_over })).await;
    let dispensing = server.state.hub.read(room, &patient).await.unwrap().snapshot.dispensings[0].id;
    use DispensingState::*;
    for to in [Accepted, Preparing, Checked, Ready] {
        let step = MoveDispensing { dispensing, to, hold: None, reason: None, proof: None };
        submit(&pharmacist, Command::MoveDispensing(step)).await;
    }
    let parcel = server.state.hub.read(room, &patient).await.unwrap().snapshot.deliveries[0].id;
    let assign = AssignDelivery { delivery: parcel, courier: courier.user().unwrap() };
    submit(&pharmacist, Command::AssignDelivery(assign)).await;
    let to = DeliveryState::PickedUp;
    let step = MoveDelivery { delivery: parcel, to, reason: None, proof: None, window: None, occurred_at: None };
    submit(&courier, Command::MoveDelivery(step)).await;
    service
        .wait_until("the ring", |it| {
            ["phone", "tablet"].iter().all(|device| it.iter().any(|it| it.device == *device && it.kind == "call"))
        })
        .await;
    // What a jump of the clock would take for a sender that died must have been written down before.
    until_all_are_over(&server).await;
    // It rings until nobody answers.
    server.state.clock.advance(Duration::from_secs(u64::from(server.state.config.policy.ring_s)));

    let expected: [(&str, &[&str]); 5] = [
        ("phone", &["call", "message", "missed_call", "prescription", "delivery"]),
        ("tablet", &["call", "message", "missed_call", "prescription", "delivery"]),
        ("desk", &["consultation"]),
        ("counter", &["prescription", "delivery"]),
        ("van", &["delivery"]),
    ];
    for (device, kinds) in expected {
        let has = |it: &[_], kind: &str| {
            it.iter().any(|it: &crate::support::push_service::ReceivedPush| it.device == device && it.kind == kind)
        };
        service.wait_until(&format!("{kinds:?} on {device}"), |it| kinds.iter().all(|kind| has(it, kind))).await;
    }
    until_all_is_looked_at(&server).await;
    let taken = service.received();
    for one in &taken {
        assert_eq!(one.room, room.to_string());
        let (_, kinds) = expected.iter().find(|(device, _)| *device == one.device).unwrap();
        // That a consultation goes on without those who were in it is news for both.
        let parties = ["phone", "tablet", "desk"].contains(&one.device.as_str());
        assert!(kinds.contains(&one.kind.as_str()) || (parties && one.kind == "consultation"), "{one:?}");
        let (urgency, life) = match one.kind.as_str() {
            "call" => ("high", 1..=60),
            "missed_call" => ("high", 3600..=86_400),
            _ => ("normal", 3600..=86_400),
        };
        assert!(one.urgency == urgency && life.contains(&one.ttl), "{one:?}");
        if one.kind == "call" && one.at > started {
            assert!(one.at.duration_since(started) < Duration::from_secs(20), "a ring is told while it rings");
        }
    }
    let ids: BTreeSet<&String> = taken.iter().map(|it| &it.id).collect();
    assert_eq!(ids.len(), taken.len(), "each delivery once");
    let all = pushes(&server).await;
    assert!(all.iter().all(|it| it.state == DispatchState::Done && it.attempts == 1), "{all:#?}");
    assert_eq!(all.len(), taken.len());
    // What replaces what: the missed call the ring; nothing of another room, person or kind.
    let topic = |device: &str, kind: &str| {
        taken.iter().find(|it| it.device == device && it.kind == kind).unwrap().topic.clone()
    };
    assert_eq!(topic("phone", "call"), topic("phone", "missed_call"));
    assert_ne!(topic("phone", "call"), topic("phone", "message"));
    assert_ne!(topic("phone", "call"), topic("tablet", "call"));
}

async fn each_answer_of_a_push_service_has_its_consequence(database: DatabaseSettings) {
    let service = PushService::start().await;
    let server = server(database, &service).await;
    let doctor = server.person(Role::Doctor, "Doc", None).await;
    let mut cases = Vec::new();
    for (name, faults) in [
        ("gone", vec![Fault::status(410)]),
        ("unknown", vec![Fault::status(404)]),
        ("large", vec![Fault::status(413)]),
        ("stranger", vec![Fault::status(403)]),
        ("elsewhere", vec![Fault { status: 307, header: Some(("location", format!("{}/push/fine", service.origin))) }]),
        ("busy", vec![Fault { status: 429, header: Some(("retry-after", "4".to_owned())) }]),
        ("ill", vec![Fault::status(500), Fault::status(503)]),
        ("fine", vec![]),
    ] {
        let patient = server.person(Role::Patient, "Pat", None).await;
        let device = subscribe(&server, &service, &patient, name).await;
        service.fail(name, faults);
        let room = server.waiting_room(&patient, &doctor).await;
        say(&server, room, &doctor, "hello").await;
        cases.push((name, device.id, room));
    }
    for name in ["busy", "ill", "fine"] {
        service.wait_until(name, |it| it.iter().any(|it| it.device == name)).await;
    }
    until_all_is_looked_at(&server).await;
    until_all_are_over(&server).await;
    let all = pushes(&server).await;
    for (name, device, room) in cases {
        let found = all.iter().find(|it| it.room == room).unwrap();
        let (state, attempts, stays) = match name {
            "gone" | "unknown" => (DispatchState::Dropped, 1, false),
            "large" | "stranger" | "elsewhere" => (DispatchState::Dead, 1, true),
            "busy" => (DispatchState::Done, 2, true),
            "ill" => (DispatchState::Done, 3, true),
            _ => (DispatchState::Done, 1, true),
        };
        assert_eq!((found.state, found.attempts), (state, attempts), "{name}: {found:?}");
        assert_eq!(server.state.store.subscription(device).await.unwrap().is_some(), stays, "{name}");
        assert_eq!(service.kinds(name).len(), usize::from(state == DispatchState::Done), "{name}");
    }
    let asked = service.attempts("busy");
    assert!(asked[1] - asked[0] >= Duration::from_secs(4), "not before it said");
}

async fn who_has_seen_it_gets_none_on_whichever_hub_they_are(database: DatabaseSettings) {
    let service = PushService::start().await;
    let here = server(database.clone(), &service).await;
    let there = server(database, &service).await;
    let doctor = here.person(Role::Doctor, "Doc", None).await;
    let mut rooms = Vec::new();
    for name in ["here", "there", "away", "late"] {
        let patient = here.person(Role::Patient, name, None).await;
        subscribe(&here, &service, &patient, name).await;
        let room = here.waiting_room(&patient, &doctor).await;
        rooms.push((name, room, patient));
    }
    let mark = |server: &TestServer, room, who: &Actor, seq| {
        server.state.hub.mark(room, who, None, Mark { delivered: seq, seen: 0 });
    };
    for (name, room, patient) in &rooms {
        // Somebody looks at the room, so that a mark finds it.
        for server in [&here, &there] {
            server.state.hub.read(*room, patient).await.unwrap();
        }
        let seq = say(&here, *room, &doctor, "hello").await;
        match *name {
            "here" => mark(&here, *room, patient, seq),
            "there" => {
                there.state.hub.read(*room, patient).await.unwrap();
                // That hub has to know of the event before it lets anybody confirm it.
                say(&there, *room, patient, "yes?").await;
                mark(&there, *room, patient, seq);
            }
            "late" => mark(&here, *room, patient, seq - 1),
            _ => {}
        }
    }
    service.wait_until("those who are away", |it| it.len() >= 2).await;
    until_all_is_looked_at(&here).await;
    let told: BTreeSet<String> = service.received().into_iter().map(|it| it.device).collect();
    assert_eq!(told, ["away", "late"].map(str::to_owned).into());
}

async fn what_somebody_does_not_want_to_hear_of_is_not_sent(database: DatabaseSettings) {
    let service = PushService::start().await;
    let server = server(database, &service).await;
    let doctor = server.person(Role::Doctor, "Doc", None).await;
    let patient = server.person(Role::Patient, "Pat", None).await;
    let sleeper = server.person(Role::Patient, "Sleepy", None).await;
    let gone = server.person(Role::Patient, "Gone", None).await;
    for (who, name) in [(&patient, "phone"), (&sleeper, "bed")] {
        subscribe(&server, &service, who, name).await;
    }
    // Somebody whose account was closed.
    subscribe(&server, &service, &gone, "lost").await;
    let closed = wardroom::store::people::Status::Disabled;
    let admin = server.person(Role::Admin, "Ada", None).await;
    let change = wardroom::auth::Change { role: None, status: Some(closed), pharmacy: None };
    server.state.auth.change_account(admin.user().unwrap(), gone.user().unwrap(), change, None).await.unwrap();

    let store = &server.state.store;
    let muted = Preferences { muted: vec![NoticeKind::Message], quiet: None };
    store.save_preferences(patient.user().unwrap(), &muted).await.unwrap();
    assert_eq!(store.preferences(patient.user().unwrap()).await.unwrap(), muted);
    let all_day = Some(Quiet { from: 0, until: 1439, offset: 0 });
    let night = Preferences { muted: vec![], quiet: all_day };
    store.save_preferences(sleeper.user().unwrap(), &night).await.unwrap();
    for who in [&patient, &sleeper, &gone] {
        let room = server.waiting_room(who, &doctor).await;
        say(&server, room, &doctor, "hello").await;
        server.submit(room, &doctor, Command::Admit(Nothing {})).await.unwrap();
    }
    service.wait_until("rings", |it| it.len() >= 2).await;
    until_all_is_looked_at(&server).await;
    assert_eq!(service.kinds("phone"), ["call"]);
    assert_eq!(service.kinds("bed"), ["call"], "a call that rings comes through");
    assert!(service.kinds("lost").is_empty());
}

async fn a_push_that_is_too_late_is_not_sent(database: DatabaseSettings) {
    let service = PushService::start().await;
    let server = server(database, &service).await;
    let doctor = server.person(Role::Doctor, "Doc", None).await;
    let patient = server.person(Role::Patient, "Pat", None).await;
    subscribe(&server, &service, &patient, "phone").await;
    service.fail("phone", [Fault::status(503)]);
    let room = server.waiting_room(&patient, &doctor).await;
    server.submit(room, &doctor, Command::Admit(Nothing {})).await.unwrap();
    until_state(&server, NoticeKind::Call, DispatchState::Waiting).await;
    server.state.clock.advance(Duration::from_secs(u64::from(server.state.config.policy.ring_s)));
    let late = until_state(&server, NoticeKind::Call, DispatchState::Dropped).await;
    assert_eq!(late.last_error.as_deref(), Some("its time is over"));
    service.wait_until("the missed call", |it| it.iter().any(|it| it.kind == "missed_call")).await;
    assert_eq!(service.kinds("phone"), ["missed_call"], "and the ring, which is over, does not come after it");
}

both! {
    each_kind_reaches_each_device_of_who_is_away_readable_and_once
    each_answer_of_a_push_service_has_its_consequence
    who_has_seen_it_gets_none_on_whichever_hub_they_are
    what_somebody_does_not_want_to_hear_of_is_not_sent
    a_push_that_is_too_late_is_not_sent
}
