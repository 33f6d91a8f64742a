//! What one patient may hold, book and wait for at a time, and which doctor takes walk-ins.

use std::time::Duration;

use rooms::id::SlotId;
use rooms::limits::Limits;
use rooms::role::{Actor, Role};
use serde_json::{Value, json};
use tokio::task::JoinSet;
use uuid::Uuid;
use wardroom::config::{Config, DatabaseSettings};
use wardroom::store::slots::PublishedSlot;

use crate::support::both;
use crate::support::test_server::TestServer;

const SLOT_LENGTH: Duration = Duration::from_secs(900);

/// A clinic with the limits as they are shipped.
struct Clinic {
    server: TestServer,
    doctor: Actor,
    patient: Actor,
    slots: Vec<SlotId>,
}

impl Clinic {
    async fn start(database: DatabaseSettings, change: impl FnOnce(&mut Config)) -> Self {
        let server = TestServer::start_with(database, |config| {
            config.limits.business = Limits::default();
            change(config);
        })
        .await;
        let doctor = server.person(Role::Doctor, "Doc", None).await;
        let patient = server.person(Role::Patient, "Pat", None).await;
        let slots = publish(&server, &doctor, 30).await;
        Self { server, doctor, patient, slots }
    }

    fn post(&self, path: &str, body: &Value) -> reqwest::RequestBuilder {
        let call = reqwest::Client::new().post(format!("http://{}{path}", self.server.address));
        let call = call.bearer_auth(self.server.token(&self.patient).0);
        call.header("idempotency-key", Uuid::now_v7().to_string()).json(body)
    }

    async fn call(&self, path: &str, body: Value) -> (u16, Value) {
        let answer = self.post(path, &body).send().await.unwrap();
        (answer.status().as_u16(), answer.json().await.expect("JSON"))
    }

    async fn book(&self, body: Value) -> (u16, Value) {
        self.call("/v1/bookings", body).await
    }

    async fn confirm(&self, booking: &Value) {
        let path = format!("/v1/bookings/{}/confirm", booking["room"].as_str().unwrap());
        assert_eq!(self.call(&path, json!({})).await.0, 200);
    }
}

async fn publish(server: &TestServer, doctor: &Actor, count: u32) -> Vec<SlotId> {
    let tomorrow = server.state.clock.now().plus(Duration::from_secs(86_400));
    let slot = |at: u32| {
        let starts_at = tomorrow.plus(SLOT_LENGTH * at);
        PublishedSlot { id: SlotId(Uuid::now_v7()), starts_at, ends_at: starts_at.plus(SLOT_LENGTH), room: None }
    };
    let slots: Vec<PublishedSlot> = (0..count).map(slot).collect();
    server.state.store.publish_slots(doctor.user().unwrap(), &slots).await.unwrap();
    slots.into_iter().map(|slot| slot.id).collect()
}

/// A new account that asks for every slot at once holds two of them.
async fn concurrent_holds_of_one_patient_stay_within_the_limit(database: DatabaseSettings) {
    let clinic = Clinic::start(database, |_| {}).await;
    let mut calls = JoinSet::new();
    for slot in &clinic.slots {
        let call = clinic.post("/v1/bookings", &json!({"slot": slot}));
        calls.spawn(async move { call.send().await.unwrap().json::<Value>().await.unwrap() });
    }
    let answers = calls.join_all().await;
    let held = answers.iter().filter(|answer| answer["room"].is_string()).count();
    assert_eq!(held, 2, "{answers:?}");
    let refused = answers.iter().filter(|answer| answer["code"] == "too_many_holds").count();
    assert_eq!(held + refused, clinic.slots.len(), "{answers:?}");
}

async fn bookings_of_one_patient_are_few_and_do_not_overlap(database: DatabaseSettings) {
    let clinic = Clinic::start(database, |_| {}).await;
    let colleague = clinic.server.person(Role::Doctor, "Doc Two", None).await;
    let others = publish(&clinic.server, &colleague, 3).await;
    let (status, first) = clinic.book(json!({"slot": clinic.slots[0]})).await;
    assert_eq!(status, 201, "{first}");
    let (status, overlap) = clinic.book(json!({"slot": others[0]})).await;
    assert_eq!((status, &overlap["code"]), (409, &json!("booking_overlap")), "{overlap}");
    assert_eq!(overlap["room"], first["room"], "the problem names the consultation in the way");
    clinic.confirm(&first).await;
    let mut last = first;
    for slot in &clinic.slots[2..6] {
        let (status, booking) = clinic.book(json!({"slot": slot})).await;
        assert_eq!(status, 201, "{booking}");
        clinic.confirm(&booking).await;
        last = booking;
    }
    let (status, sixth) = clinic.book(json!({"slot": clinic.slots[8]})).await;
    assert_eq!((status, &sixth["code"]), (409, &json!("too_many_bookings")), "{sixth}");
    // Moving a booking makes none more, and it still may not overlap.
    let room = last["room"].as_str().unwrap();
    let path = format!("/v1/bookings/{room}/reschedule");
    assert_eq!(clinic.call(&path, json!({"slot": clinic.slots[9]})).await.0, 200);
    assert_eq!(clinic.call(&format!("/v1/bookings/{room}/cancel"), json!({"reason": "well again"})).await.0, 200);
    assert_eq!(clinic.book(json!({"slot": clinic.slots[8]})).await.0, 201);
}

async fn walk_in_waits_once_with_a_doctor_who_is_there(database: DatabaseSettings) {
    let clinic = Clinic::start(database, |config| config.limits.walk_ins_need_doctor = true).await;
    let walk_in = json!({"doctor": clinic.doctor.user()});
    let (status, away) = clinic.book(walk_in.clone()).await;
    assert_eq!((status, &away["code"]), (409, &json!("doctor_away")), "{away}");
    let mut screen = clinic.server.client(&clinic.doctor);
    screen.connect().await.expect("the hub welcomes the doctor");
    let (status, waiting) = clinic.book(walk_in.clone()).await;
    assert_eq!(status, 201, "{waiting}");
    let (status, again) = clinic.book(walk_in).await;
    assert_eq!((status, &again["code"]), (409, &json!("already_waiting")), "{again}");
    assert_eq!(again["room"], waiting["room"]);
}

async fn check_in_days_ahead_is_refused_with_the_time_when_it_opens(database: DatabaseSettings) {
    let clinic = Clinic::start(database, |_| {}).await;
    let (_, booking) = clinic.book(json!({"slot": clinic.slots[0]})).await;
    clinic.confirm(&booking).await;
    let path = format!("/v1/consultations/{}/commands", booking["room"].as_str().unwrap());
    let consent = &clinic.server.state.config.policy.consent;
    let check_in = json!({"kind": "consultation.check_in", "data": {"consent": consent, "identity": "account"}});
    let (status, early) = clinic.call(&path, json!({"command": check_in})).await;
    assert_eq!((status, &early["code"]), (409, &json!("too_early")), "{early}");
    let room = serde_json::from_value(booking["room"].clone()).unwrap();
    let view = clinic.server.state.hub.read(room, &clinic.patient).await.unwrap().snapshot.consultation.unwrap();
    assert_eq!(early["opens_at"], json!(view.check_in_from));
}

both! {
    concurrent_holds_of_one_patient_stay_within_the_limit
    bookings_of_one_patient_are_few_and_do_not_overlap
    walk_in_waits_once_with_a_doctor_who_is_there
    check_in_days_ahead_is_refused_with_the_time_when_it_opens
}
