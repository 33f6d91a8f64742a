//! Notifications: each kind reaches every device of people who are away, decryptable, and once; people who are
//! present get none.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use rooms::command::{
    AssignDelivery, CallRef, Chat, CheckIn, Command, Draft, MoveDelivery, MoveDispensing, NewHandOver, NewItem,
    Nothing, PrescriptionRef, Request, SendPrescription, StartCall,
};
use rooms::id::{PharmacyId, RoomId};
use rooms::media::Media;
use rooms::party::Thread;
use rooms::role::{Actor, Role};
use rooms::signal::Mark;
use rooms::state::{DeliveryState, DispensingState};
use rooms::text::{Line, Paragraph, Prose, Text};
use uuid::Uuid;
use wardroom::config::{DatabaseSettings, PushService as Allowed};
use wardroom::store::devices::{NoticeKind, Preferences, Quiet, Subscription};
use wardroom::store::dispatches::{Dispatch, DispatchState, Sink};
use wardroom::store::page::PageRequest;

use crate::support::both;
use crate::support::push_service::{Fault, PushService};
use crate::support::test_server::TestServer;

const FIRST_PAGE: PageRequest = PageRequest { after: None, limit: 200 };

async fn server(database: DatabaseSettings, service: &PushService) -> TestServer {
    TestServer::start_with(database, |config| config.push.services = vec![Allowed::Origin(service.origin.clone())])
        .await
}

async fn subscribe(server: &TestServer, service: &PushService, who: &Actor, name: &str) -> Subscription {
    let device = service.device(who.user().unwrap(), name);
    let id = server.state.integrations.push().subscribe(&device).await.unwrap();
    Subscription { id, ..device }
}

async fn send_chat(server: &TestServer, room: RoomId, who: &Actor, text: &str) -> u64 {
    let chat = Chat { text: Prose::parse(text).unwrap(), thread: Thread::Care };
    server.submit(room, who, Command::Chat(chat)).await.unwrap().last
}

/// Returns this hub's push deliveries in the order of their creation.
async fn pushes(server: &TestServer) -> Vec<Dispatch> {
    let mut all = server.state.store.dispatches(Some(Sink::Push), None, None, FIRST_PAGE).await.unwrap().items;
    all.reverse();
    all
}

async fn wait_until_state(server: &TestServer, kind: NoticeKind, state: DispatchState) -> Dispatch {
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

/// Waits until no delivery is waiting or in flight.
async fn wait_until_delivered(server: &TestServer) {
    let over = |it: &Dispatch| !matches!(it.state, DispatchState::Waiting | DispatchState::Sending);
    let end = Instant::now() + Duration::from_secs(20);
    while !pushes(server).await.iter().all(over) {
        assert!(Instant::now() < end, "{:#?}", pushes(server).await);
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

/// Advances the clock until no notice is delayed any more.
async fn advance_past_grace_periods(server: &TestServer) {
    let end = Instant::now() + Duration::from_secs(40);
    while server.state.store.outbox_len().await.unwrap() > 0 {
        assert!(Instant::now() < end, "outbox entries remain");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

async fn each_kind_reaches_each_device_of_absent_people_once(database: DatabaseSettings) {
    let service = PushService::start().await;
    let server = server(database, &service).await;
    let pharmacy = PharmacyId(Uuid::now_v7());
    let (name, address) = (Text::stored("Pharmacy").unwrap(), Text::stored("1 Street").unwrap());
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

    // Nobody is connected.
    let room = RoomId(Uuid::now_v7());
    let submit = |who: &Actor, command| {
        let (server, who) = (&server, who.clone());
        async move { server.submit(room, &who, command).await.unwrap().last }
    };
    submit(&patient, Command::Request(Request { slot: None, doctor: doctor.user(), reason: None })).await;
    let consent = server.state.config.policy.consent.as_str().parse().unwrap();
    submit(&patient, Command::CheckIn(CheckIn { consent, identity: Line::parse("account").unwrap() })).await;
    submit(&doctor, Command::Admit(Nothing {})).await;
    submit(&patient, Command::Enter(Nothing {})).await;
    let started = Instant::now();
    submit(&doctor, Command::StartCall(StartCall { media: Media::Video })).await;
    submit(&doctor, Command::Chat(Chat { text: Prose::parse("hello").unwrap(), thread: Thread::Care })).await;
    let (medicine, dosage) = (Line::parse("Testamol").unwrap(), Paragraph::parse("one a day").unwrap());
    let items = vec![NewItem { medicine, dosage, quantity: 10, days: 10 }];
    submit(&doctor, Command::Draft(Draft { items })).await;
    let view = server.state.hub.read(room, &doctor).await.unwrap().snapshot;
    let prescription = view.prescriptions[0].id;
    submit(&doctor, Command::Sign(PrescriptionRef { prescription })).await;
    let hand_over = NewHandOver::Delivery(Paragraph::parse("2 Lane").unwrap());
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
    // Deliveries must be recorded before the clock jumps, because the jump looks like the death of their sender.
    wait_until_delivered(&server).await;
    // The call rings until it times out.
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
    advance_past_grace_periods(&server).await;
    let taken = service.received();
    for one in &taken {
        assert_eq!(one.room, room.to_string());
        let (_, kinds) = expected.iter().find(|(device, _)| *device == one.device).unwrap();
        // A consultation that resumes without its members concerns both of them.
        let parties = ["phone", "tablet", "desk"].contains(&one.device.as_str());
        assert!(kinds.contains(&one.kind.as_str()) || (parties && one.kind == "consultation"), "{one:?}");
        let (urgency, life) = match one.kind.as_str() {
            "call" => ("high", 1..=60),
            "missed_call" => ("high", 3600..=86_400),
            _ => ("normal", 3600..=86_400),
        };
        assert!(one.urgency == urgency && life.contains(&one.ttl), "{one:?}");
        if one.kind == "call" && one.at > started {
            assert!(one.at.duration_since(started) < Duration::from_secs(20), "a ring is announced while it rings");
        }
    }
    let ids: BTreeSet<&String> = taken.iter().map(|it| &it.id).collect();
    assert_eq!(ids.len(), taken.len(), "each delivery once");
    let all = pushes(&server).await;
    assert!(all.iter().all(|it| it.state == DispatchState::Done && it.attempts == 1), "{all:#?}");
    assert_eq!(all.len(), taken.len());
    // What replaces what: a missed call replaces its ring, and nothing of another room, person, or kind.
    let topic = |device: &str, kind: &str| {
        taken.iter().find(|it| it.device == device && it.kind == kind).unwrap().topic.clone()
    };
    assert_eq!(topic("phone", "call"), topic("phone", "missed_call"));
    assert_ne!(topic("phone", "call"), topic("phone", "message"));
    assert_ne!(topic("phone", "call"), topic("tablet", "call"));
}

async fn every_push_service_response_has_its_documented_effect(database: DatabaseSettings) {
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
        send_chat(&server, room, &doctor, "hello").await;
        cases.push((name, device.id, room));
    }
    for name in ["busy", "ill", "fine"] {
        service.wait_until(name, |it| it.iter().any(|it| it.device == name)).await;
    }
    advance_past_grace_periods(&server).await;
    wait_until_delivered(&server).await;
    let all = pushes(&server).await;
    for (name, device, room) in cases {
        let found = all.iter().find(|it| it.room == room).unwrap();
        let (state, attempts, stays) = match name {
            "gone" | "unknown" => (DispatchState::Dropped, 1, false),
            "large" | "elsewhere" => (DispatchState::Dead, 1, true),
            "stranger" => (DispatchState::Dropped, 1, true),
            "busy" => (DispatchState::Done, 2, true),
            "ill" => (DispatchState::Done, 3, true),
            _ => (DispatchState::Done, 1, true),
        };
        assert_eq!((found.state, found.attempts), (state, attempts), "{name}: {found:?}");
        assert_eq!(server.state.store.subscription(device).await.unwrap().is_some(), stays, "{name}");
        assert_eq!(service.kinds(name).len(), usize::from(state == DispatchState::Done), "{name}");
    }
    let asked = service.attempts("busy");
    assert!(asked[1] - asked[0] >= Duration::from_secs(4), "not before Retry-After");
}

async fn seen_events_on_any_node_suppress_notifications_and_delivered_ones_do_not(database: DatabaseSettings) {
    let service = PushService::start().await;
    let here = server(database.clone(), &service).await;
    let there = server(database, &service).await;
    let doctor = here.person(Role::Doctor, "Doc", None).await;
    let mut rooms = Vec::new();
    for name in ["here", "there", "away", "late", "hidden tab"] {
        let patient = here.person(Role::Patient, name, None).await;
        subscribe(&here, &service, &patient, name).await;
        let room = here.waiting_room(&patient, &doctor).await;
        rooms.push((name, room, patient));
    }
    let mark = |server: &TestServer, room, who: &Actor, seq| {
        server.state.hub.mark(room, who, None, Mark { delivered: seq, seen: seq });
    };
    for (name, room, patient) in &rooms {
        // The person joins the room, so that the read receipt is accepted.
        for server in [&here, &there] {
            server.state.hub.read(*room, patient).await.unwrap();
        }
        let seq = send_chat(&here, *room, &doctor, "hello").await;
        match *name {
            "here" => mark(&here, *room, patient, seq),
            "there" => {
                there.state.hub.read(*room, patient).await.unwrap();
                // That hub must know the event before it accepts a read receipt for it.
                send_chat(&there, *room, patient, "yes?").await;
                mark(&there, *room, patient, seq);
            }
            "late" => mark(&here, *room, patient, seq - 1),
            "hidden tab" => here.state.hub.mark(*room, patient, None, Mark { delivered: seq, seen: seq - 1 }),
            _ => {}
        }
    }
    service.wait_until("people who are away", |it| it.len() >= 3).await;
    advance_past_grace_periods(&here).await;
    let notified: BTreeSet<String> = service.received().into_iter().map(|it| it.device).collect();
    assert_eq!(notified, ["away", "late", "hidden tab"].map(str::to_owned).into());
}

async fn a_call_is_pushed_unless_it_is_answered(database: DatabaseSettings) {
    let service = PushService::start().await;
    let server = server(database, &service).await;
    let doctor = server.person(Role::Doctor, "Doc", None).await;
    for (name, answers) in [("answers", true), ("rings on", false)] {
        let patient = server.person(Role::Patient, name, None).await;
        let room = server.waiting_room(&patient, &doctor).await;
        server.submit(room, &doctor, Command::Admit(Nothing {})).await.unwrap();
        server.submit(room, &patient, Command::Enter(Nothing {})).await.unwrap();
        subscribe(&server, &service, &patient, name).await;
        let seq =
            server.submit(room, &doctor, Command::StartCall(StartCall { media: Media::Video })).await.unwrap().last;
        // The ring reached a device. That alone does not keep the others silent.
        server.state.hub.mark(room, &patient, None, Mark { delivered: seq, seen: 0 });
        if answers {
            let call = server.state.hub.read(room, &patient).await.unwrap().snapshot.call.unwrap().id;
            server.submit(room, &patient, Command::JoinCall(CallRef { call })).await.unwrap();
        }
    }
    service.wait_until("the call that rings on", |it| it.iter().any(|it| it.kind == "call")).await;
    advance_past_grace_periods(&server).await;
    assert!(service.received().iter().all(|it| it.kind != "call" || it.device == "rings on"));
}

async fn muted_kinds_and_quiet_hours_suppress_notifications(database: DatabaseSettings) {
    let service = PushService::start().await;
    let server = server(database, &service).await;
    let doctor = server.person(Role::Doctor, "Doc", None).await;
    let patient = server.person(Role::Patient, "Pat", None).await;
    let sleeper = server.person(Role::Patient, "Sleepy", None).await;
    let closed_account = server.person(Role::Patient, "Gone", None).await;
    for (who, name) in [(&patient, "phone"), (&sleeper, "bed")] {
        subscribe(&server, &service, who, name).await;
    }
    // A person whose account was closed.
    subscribe(&server, &service, &closed_account, "lost").await;
    let closed = wardroom::store::users::Status::Disabled;
    let admin = server.person(Role::Admin, "Ada", None).await;
    let change = wardroom::auth::AccountChange { role: None, status: Some(closed), pharmacy: None };
    server
        .state
        .auth
        .change_account(admin.user().unwrap(), closed_account.user().unwrap(), change, None)
        .await
        .unwrap();

    let store = &server.state.store;
    let muted = Preferences { muted: vec![NoticeKind::Message], quiet: None };
    store.save_preferences(patient.user().unwrap(), &muted).await.unwrap();
    assert_eq!(store.preferences(patient.user().unwrap()).await.unwrap(), muted);
    let all_day = Some(Quiet { from: 0, until: 1439, offset: 0 });
    let night = Preferences { muted: vec![], quiet: all_day };
    store.save_preferences(sleeper.user().unwrap(), &night).await.unwrap();
    for who in [&patient, &sleeper, &closed_account] {
        let room = server.waiting_room(who, &doctor).await;
        send_chat(&server, room, &doctor, "hello").await;
        server.submit(room, &doctor, Command::Admit(Nothing {})).await.unwrap();
    }
    service.wait_until("rings", |it| it.len() >= 2).await;
    advance_past_grace_periods(&server).await;
    assert_eq!(service.kinds("phone"), ["call"]);
    assert_eq!(service.kinds("bed"), ["call"], "a ringing call overrides quiet hours");
    assert!(service.kinds("lost").is_empty());
}

async fn expired_notifications_are_not_sent(database: DatabaseSettings) {
    let service = PushService::start().await;
    let server = server(database, &service).await;
    let doctor = server.person(Role::Doctor, "Doc", None).await;
    let patient = server.person(Role::Patient, "Pat", None).await;
    subscribe(&server, &service, &patient, "phone").await;
    service.fail("phone", [Fault::status(503)]);
    let room = server.waiting_room(&patient, &doctor).await;
    server.submit(room, &doctor, Command::Admit(Nothing {})).await.unwrap();
    wait_until_state(&server, NoticeKind::Call, DispatchState::Waiting).await;
    server.state.clock.advance(Duration::from_secs(u64::from(server.state.config.policy.ring_s)));
    let late = wait_until_state(&server, NoticeKind::Call, DispatchState::Dropped).await;
    assert_eq!(late.last_error.as_deref(), Some("the notification has expired"));
    service.wait_until("the missed call", |it| it.iter().any(|it| it.kind == "missed_call")).await;
    assert_eq!(service.kinds("phone"), ["missed_call"], "the expired ring does not follow it");
}

/// Devices that subscribed before the hub's key changed: with a known former key, and from before keys were recorded.
async fn devices_with_another_key_are_removed_at_the_first_message(database: DatabaseSettings) {
    let service = PushService::start().await;
    let server = server(database, &service).await;
    let doctor = server.person(Role::Doctor, "Doc", None).await;
    let patient = server.person(Role::Patient, "Pat", None).await;
    let (user, now) = (patient.user().unwrap(), server.state.clock.now());
    let former = Some("a former key".to_owned());
    for (name, vapid_key, answer) in
        [("former", former, 201), ("old 1", None, 401), ("old 2", None, 403), ("old 3", None, 400)]
    {
        let device = Subscription { vapid_key, ..service.device(user, name) };
        server.state.store.save_subscription(&device, now).await.unwrap();
        service.fail(name, [Fault::status(answer)]);
    }
    subscribe(&server, &service, &patient, "phone").await;
    let room = server.waiting_room(&patient, &doctor).await;
    send_chat(&server, room, &doctor, "one").await;
    service.wait_until("the phone", |it| !it.is_empty()).await;
    advance_past_grace_periods(&server).await;
    wait_until_delivered(&server).await;
    let devices = server.state.store.devices_of_users(&[user]).await.unwrap();
    assert_eq!(devices.len(), 1, "only the phone is left");
    assert!(service.attempts("former").is_empty(), "a message that cannot arrive is not sent");
    send_chat(&server, room, &doctor, "two").await;
    service.wait_until("the phone again", |it| it.len() >= 2).await;
    wait_until_delivered(&server).await;
    assert!(pushes(&server).await.iter().all(|it| it.state != DispatchState::Dead));
}

both! {
    each_kind_reaches_each_device_of_absent_people_once
    every_push_service_response_has_its_documented_effect
    seen_events_on_any_node_suppress_notifications_and_delivered_ones_do_not
    a_call_is_pushed_unless_it_is_answered
    muted_kinds_and_quiet_hours_suppress_notifications
    expired_notifications_are_not_sent
    devices_with_another_key_are_removed_at_the_first_message
}
