//! A courier partner: told where to fetch and where to bring, and nothing else; believed when it signs; and a parcel that
//! was delivered stays delivered whatever comes late.

use std::time::Duration;

use rooms::command::{
    AssignDelivery, Command, Draft, MoveDelivery, MoveDispensing, Nothing, OfPrescription, SendPrescription,
};
use rooms::event::{HandOver, Item};
use rooms::id::{DeliveryId, PharmacyId, RoomId, UserId};
use rooms::role::{Actor, Role};
use rooms::text::{Line, Prose, Text};
use rooms::time::Timestamp;
use rooms::wire::snapshot::DeliveryView;
use serde_json::{Value, json};
use uuid::Uuid;
use wardroom::config::DatabaseSettings;
use wardroom::store::dispatches::Sink;

use crate::support::both;
use crate::support::courier_stub::{CourierStub, SECRET};
use crate::support::paid_clinic::{PaidClinic, eventually};

/// A parcel that waits for a courier.
struct Parcel {
    clinic: PaidClinic,
    room: RoomId,
    delivery: DeliveryId,
    pharmacist: Actor,
}

impl Parcel {
    async fn start(clinic: PaidClinic) -> Self {
        let (server, pharmacy) = (clinic.server(), PharmacyId(Uuid::now_v7()));
        let (name, address) = (Line::parse("Corner Pharmacy").unwrap(), Text::parse("1 Main Street").unwrap());
        server.state.store.insert_pharmacy(pharmacy, &name, &address).await.unwrap();
        let pharmacist = server.person(Role::Pharmacist, "Phil", Some(pharmacy)).await;
        let room = server.waiting_room(&clinic.patient, &clinic.doctor).await;
        let say = async |actor: &Actor, command: Command| server.submit(room, actor, command).await.unwrap();
        say(&clinic.doctor, Command::Admit(Nothing {})).await;
        say(&clinic.patient, Command::Enter(Nothing {})).await;
        let (medicine, dosage) = (Line::parse("Testamol").unwrap(), Text::parse("one a day").unwrap());
        let items = vec![Item { medicine, dosage, quantity: 10, days: 10 }];
        say(&clinic.doctor, Command::Draft(Draft { items })).await;
        let prescription = clinic.look(room).await.prescriptions[0].id;
        say(&clinic.doctor, Command::Sign(OfPrescription { prescription })).await;
        let hand_over = HandOver::Delivery(Text::parse("5 Home Road").unwrap());
        say(&clinic.patient, Command::Send(SendPrescription { prescription, pharmacy, hand_over })).await;
        let dispensing = clinic.look(room).await.dispensings[0].id;
        for to in ["accepted", "preparing", "checked", "ready"] {
            let to = serde_json::from_value(json!(to)).unwrap();
            let step = MoveDispensing { dispensing, to, hold: None, reason: None, proof: None };
            say(&pharmacist, Command::MoveDispensing(step)).await;
        }
        let delivery = clinic.look(room).await.deliveries[0].id;
        Self { clinic, room, delivery, pharmacist }
    }

    async fn view(&self) -> DeliveryView {
        self.clinic.look(self.room).await.deliveries.remove(0)
    }

    async fn state(&self) -> &'static str {
        self.view().await.state.as_str()
    }

    async fn wait_until(&self, state: &str) {
        eventually(state, async || (self.state().await == state).then_some(())).await;
    }

    /// The partner's account, as pharmacies find it.
    async fn partner(&self, name: &str) -> UserId {
        let token = self.clinic.server().token(&self.pharmacist).0;
        let couriers = self.clinic.rest.get("/v1/couriers").bearer(&token).send().await.ok();
        let partner = couriers["items"].as_array().unwrap().iter().find(|it| it["name"] == name).expect(name);
        serde_json::from_value(partner["id"].clone()).unwrap()
    }

    async fn assign(&self, courier: UserId) {
        let command = Command::AssignDelivery(AssignDelivery { delivery: self.delivery, courier });
        self.clinic.server().submit(self.room, &self.pharmacist, command).await.unwrap();
    }

    fn now(&self) -> Timestamp {
        self.clinic.server().state.clock.now()
    }

    /// What the partner would say.
    fn event(&self, id: &str, status: &str, at: Timestamp) -> Value {
        let mut data = json!({"delivery": self.delivery, "order": "ord_1", "status": status});
        match status {
            "delivered" => data["proof"] = json!({"kind": "code", "reference": "4711"}),
            "attempt_failed" | "lost" | "damaged" => data["reason"] = json!("nobody there"),
            "rescheduled" => data["window"] = json!(at.plus(Duration::from_secs(7200))),
            _ => {}
        }
        json!({"id": id, "type": "delivery.moved", "occurred_at": at, "data": data})
    }

    async fn tell(&self, event: &Value) -> crate::support::rest::RestResponse {
        self.clinic.send_webhook_now("courier", SECRET, &event.to_string()).await
    }

    /// How often each kind of event about the parcel is in the log.
    async fn log(&self, kind: &str) -> usize {
        let stored = self.clinic.server().state.store.events_after(self.room, 0, 1000).await.unwrap();
        stored.iter().filter(|it| it.canonical.contains(&format!("\"kind\":\"{kind}\""))).count()
    }
}

async fn ordered(database: DatabaseSettings) -> (Parcel, CourierStub) {
    let courier = CourierStub::start().await;
    let settings = courier.settings(false);
    let parcel = Parcel::start(PaidClinic::free(database, |config| config.courier = settings).await).await;
    let partner = parcel.partner("Swift Parcels").await;
    parcel.assign(partner).await;
    eventually("it is ordered", async || (courier.orders() == 1).then_some(())).await;
    (parcel, courier)
}

async fn a_partner_is_told_where_to_fetch_and_where_to_bring_and_nothing_else(database: DatabaseSettings) {
    let (parcel, courier) = ordered(database).await;
    let calls = courier.calls();
    assert_eq!((calls.len(), calls[0].what.as_str()), (1, "POST /v1/orders"));
    assert_eq!((calls[0].authorization.as_str(), calls[0].key.len()), ("Bearer ck_test", 36));
    let body: Value = serde_json::from_str(&calls[0].body).unwrap();
    let expected = json!({
        "delivery": parcel.delivery,
        "pickup": {"name": "Corner Pharmacy", "address": "1 Main Street"},
        "dropoff": {"name": "A patient", "address": "5 Home Road"},
    });
    assert_eq!(body, expected);
    // Given to somebody else, it is called off.
    let person = parcel.clinic.server().person(Role::Courier, "Casey", None).await;
    parcel.assign(person.user().unwrap()).await;
    let called_off = async || courier.calls().iter().find(|it| it.what == "POST /v1/orders/ord_1/cancel").map(drop);
    eventually("it is called off", called_off).await;
    // And what the partner still says of it concerns nobody.
    let late = parcel.event("evt_1", "picked_up", parcel.now());
    assert_eq!(parcel.tell(&late).await.ok(), json!({"taken": false}));
    assert_eq!(parcel.state().await, "assigned");
}

async fn a_parcel_goes_its_way_by_signed_reports_alone(database: DatabaseSettings) {
    let (parcel, _) = ordered(database).await;
    for status in ["picked_up", "in_transit", "out_for_delivery", "attempt_failed", "rescheduled", "out_for_delivery"] {
        let id = format!("evt_{}", Uuid::now_v7());
        let event = parcel.event(&id, status, parcel.now());
        assert_eq!(parcel.tell(&event).await.ok(), json!({"taken": true}), "{status}");
        assert_eq!(parcel.state().await, status);
    }
    let delivered = parcel.event("evt_d", "delivered", parcel.now());
    assert_eq!(parcel.tell(&delivered).await.ok(), json!({"taken": true}));
    let snapshot = parcel.clinic.look(parcel.room).await;
    assert_eq!(snapshot.dispensings[0].state.as_str(), "completed");
    assert_eq!(snapshot.prescriptions[0].state.as_str(), "completed");
}

async fn what_comes_late_or_twice_is_kept_and_a_delivered_parcel_stays_delivered(database: DatabaseSettings) {
    let (parcel, _) = ordered(database).await;
    let begin = parcel.now();
    parcel.clinic.advance_clock(Duration::from_secs(10));
    let at = |seconds: u64| begin.plus(Duration::from_secs(seconds));
    let (first, second, third) = (at(1), at(2), at(3));
    // The last report comes first: the steps that were left out are recorded with it.
    let delivered = parcel.event("evt_3", "delivered", third);
    assert_eq!(parcel.tell(&delivered).await.ok(), json!({"taken": true}));
    assert_eq!((parcel.state().await, parcel.log("delivery.moved").await), ("delivered", 3));
    // What came before it is kept with its time, and moves nothing.
    for (id, status, when) in [("evt_2", "out_for_delivery", second), ("evt_1", "picked_up", first)] {
        assert_eq!(parcel.tell(&parcel.event(id, status, when)).await.ok(), json!({"taken": true}));
    }
    assert_eq!((parcel.state().await, parcel.log("delivery.reported").await), ("delivered", 2));
    // Repeated, all of it is known.
    for (id, status, when) in
        [("evt_1", "picked_up", first), ("evt_2", "out_for_delivery", second), ("evt_3", "delivered", third)]
    {
        assert_eq!(parcel.tell(&parcel.event(id, status, when)).await.ok(), json!({"taken": false}));
    }
    // And nothing that is said afterwards leads back, or on.
    for status in ["in_transit", "attempt_failed", "returning", "lost", "delivered"] {
        let event = parcel.event(&format!("evt_after_{status}"), status, at(4));
        assert_eq!(parcel.tell(&event).await.ok(), json!({"taken": false}), "{status}");
    }
    assert_eq!((parcel.state().await, parcel.log("delivery.moved").await), ("delivered", 3));
}

async fn a_step_that_cannot_follow_yet_is_asked_for_again(database: DatabaseSettings) {
    let (parcel, _) = ordered(database).await;
    for (id, status) in [("evt_1", "out_for_delivery"), ("evt_2", "attempt_failed")] {
        parcel.tell(&parcel.event(id, status, parcel.now())).await.ok();
    }
    let again = parcel.event("evt_4", "out_for_delivery", parcel.now().plus(Duration::from_secs(60)));
    parcel.tell(&again).await.assert_problem(409, "illegal_transition");
    assert_eq!(parcel.state().await, "attempt_failed");
    assert_eq!(parcel.tell(&parcel.event("evt_3", "rescheduled", parcel.now())).await.ok(), json!({"taken": true}));
    assert_eq!(parcel.tell(&again).await.ok(), json!({"taken": true}));
    assert_eq!(parcel.state().await, "out_for_delivery");
    // The partner's word that a parcel is lost is the hub's to take.
    let lost = parcel.event("evt_5", "lost", parcel.now().plus(Duration::from_secs(120)));
    assert_eq!(parcel.tell(&lost).await.ok(), json!({"taken": true}));
    assert_eq!(parcel.state().await, "lost");
}

async fn what_is_forged_broken_or_about_nothing_is_refused(database: DatabaseSettings) {
    let (parcel, _) = ordered(database).await;
    let event = parcel.event("evt_1", "picked_up", parcel.now());
    let clinic = &parcel.clinic;
    clinic
        .send_webhook_now("courier", "another secret altogether", &event.to_string())
        .await
        .assert_problem(401, "unauthenticated");
    let long_ago = Timestamp::from_micros(parcel.now().micros() - 600_000_000);
    clinic.send_webhook("courier", SECRET, long_ago, &event.to_string()).await.assert_problem(401, "unauthenticated");
    let mut stranger = event.clone();
    stranger["data"]["delivery"] = json!(Uuid::now_v7());
    parcel.tell(&stranger).await.assert_problem(404, "not_found");
    let mut unproven = parcel.event("evt_2", "delivered", parcel.now());
    unproven["data"]["proof"] = Value::Null;
    let mut unheard = event.clone();
    unheard["data"]["status"] = json!("teleported");
    let mut timeless = event.clone();
    timeless["occurred_at"] = json!("yesterday");
    let ahead = parcel.event("evt_3", "picked_up", parcel.now().plus(Duration::from_secs(3600)));
    let not_theirs = parcel.event("evt_4", "restocked", parcel.now());
    for broken in [unheard, timeless, ahead, not_theirs] {
        parcel.tell(&broken).await.assert_problem(400, "malformed");
    }
    // Nor are the steps taken that such a report leaves out.
    parcel.tell(&unproven).await.assert_problem(400, "malformed");
    let other = json!({"id": "evt_5", "type": "courier.lunch", "data": {"menu": "soup"}});
    assert_eq!(parcel.tell(&other).await.ok(), json!({"taken": false}));
    assert_eq!(parcel.state().await, "assigned");
    assert_eq!(parcel.tell(&event).await.ok(), json!({"taken": true}));
}

async fn a_partner_that_is_down_gets_its_order_once_when_it_is_back(database: DatabaseSettings) {
    let courier = CourierStub::start().await;
    courier.is_down(true);
    let settings = courier.settings(true);
    let parcel = Parcel::start(PaidClinic::free(database, |config| config.courier = settings).await).await;
    // By the setting it is given to the partner by itself, down or not.
    parcel.wait_until("assigned").await;
    assert_eq!(parcel.view().await.courier.unwrap().name.as_str(), "Swift Parcels");
    eventually("it was tried", async || (!courier.calls().is_empty()).then_some(())).await;
    courier.is_down(false);
    parcel.clinic.wait_until_settled(Sink::Courier).await;
    assert_eq!(courier.orders(), 1);
    let keys: std::collections::BTreeSet<String> = courier.calls().into_iter().map(|call| call.key).collect();
    assert_eq!(keys.len(), 1, "one order, one key");
}

async fn a_person_may_carry_what_no_setting_gives_to_the_partner(database: DatabaseSettings) {
    let courier = CourierStub::start().await;
    let settings = courier.settings(false);
    let parcel = Parcel::start(PaidClinic::free(database, |config| config.courier = settings).await).await;
    let person = parcel.clinic.server().person(Role::Courier, "Casey", None).await;
    parcel.assign(person.user().unwrap()).await;
    let step = MoveDelivery {
        delivery: parcel.delivery,
        to: serde_json::from_value(json!("picked_up")).unwrap(),
        reason: None::<Prose>,
        proof: None,
        window: None,
        occurred_at: None,
    };
    parcel.clinic.server().submit(parcel.room, &person, Command::MoveDelivery(step)).await.unwrap();
    parcel.clinic.wait_until_settled(Sink::Courier).await;
    assert!(courier.calls().is_empty(), "{:?}", courier.calls());
}

async fn the_played_courier_brings_a_parcel_by_itself_and_by_buttons(database: DatabaseSettings) {
    let parcel = Parcel::start(PaidClinic::free(database, |_| {}).await).await;
    let partner = parcel.partner("Sandbox courier").await;
    parcel.assign(partner).await;
    let admin = parcel.clinic.rest.token(Role::Admin).await;
    let list = async || {
        let parcels = parcel.clinic.rest.get("/v1/sandbox/parcels").bearer(&admin).send().await.ok();
        parcels["items"].as_array().unwrap().first().cloned()
    };
    let id = eventually("it is with the played courier", list).await["id"].as_str().unwrap().to_owned();
    let path = format!("/v1/sandbox/parcels/{id}/moves");
    let push = async |body: Value| parcel.clinic.rest.post(&path).bearer(&admin).json(body).send().await;
    assert_eq!(push(json!({"to": "out_for_delivery"})).await.ok(), json!({"taken": true}));
    assert_eq!(push(json!({"to": "attempt_failed"})).await.ok(), json!({"taken": true}));
    assert_eq!(parcel.state().await, "attempt_failed");
    push(json!({"to": "restocked"})).await.assert_problem(404, "not_found");
    let earlier = Timestamp::from_micros(parcel.now().micros() - 60_000_000);
    push(json!({"to": "in_transit", "occurred_at": earlier})).await.ok();
    assert_eq!((parcel.state().await, parcel.log("delivery.reported").await), ("attempt_failed", 1));
    // And from there on by itself.
    for state in ["rescheduled", "out_for_delivery", "delivered"] {
        parcel.clinic.advance_clock(Duration::from_secs(9));
        parcel.wait_until(state).await;
    }
}

both! {
    a_partner_is_told_where_to_fetch_and_where_to_bring_and_nothing_else
    a_parcel_goes_its_way_by_signed_reports_alone
    what_comes_late_or_twice_is_kept_and_a_delivered_parcel_stays_delivered
    a_step_that_cannot_follow_yet_is_asked_for_again
    what_is_forged_broken_or_about_nothing_is_refused
    a_partner_that_is_down_gets_its_order_once_when_it_is_back
    a_person_may_carry_what_no_setting_gives_to_the_partner
    the_played_courier_brings_a_parcel_by_itself_and_by_buttons
}
