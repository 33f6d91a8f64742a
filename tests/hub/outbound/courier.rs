//! Courier partners: an order contains the two addresses and nothing else, signed reports are applied, and a
//! delivered parcel stays delivered whatever arrives late.

use std::time::Duration;

use rooms::command::{
    AssignDelivery, Command, Draft, MoveDelivery, MoveDispensing, NewHandOver, NewItem, Nothing, PrescriptionRef,
    SendPrescription,
};
use rooms::id::{DeliveryId, PharmacyId, RoomId, UserId};
use rooms::role::{Actor, Role};
use rooms::room::snapshot::DeliveryView;
use rooms::text::{Line, Paragraph, Prose, Text};
use rooms::time::Timestamp;
use serde_json::{Value, json};
use uuid::Uuid;
use wardroom::config::DatabaseSettings;
use wardroom::store::dispatches::Sink;

use crate::support::both;
use crate::support::courier_stub::{CourierStub, SECRET};
use crate::support::paid_clinic::{PaidClinic, eventually};

/// A delivery that waits for a courier.
struct CourierCase {
    clinic: PaidClinic,
    room: RoomId,
    delivery: DeliveryId,
    pharmacist: Actor,
}

impl CourierCase {
    async fn start(clinic: PaidClinic) -> Self {
        let (server, pharmacy) = (clinic.server(), PharmacyId(Uuid::now_v7()));
        let (name, address) = (Text::stored("Corner Pharmacy").unwrap(), Text::stored("1 Main Street").unwrap());
        server.state.store.insert_pharmacy(pharmacy, &name, &address).await.unwrap();
        let pharmacist = server.person(Role::Pharmacist, "Phil", Some(pharmacy)).await;
        let room = server.waiting_room(&clinic.patient, &clinic.doctor).await;
        let say = async |actor: &Actor, command: Command| server.submit(room, actor, command).await.unwrap();
        say(&clinic.doctor, Command::Admit(Nothing {})).await;
        say(&clinic.patient, Command::Enter(Nothing {})).await;
        let (medicine, dosage) = (Line::parse("Testamol").unwrap(), Paragraph::parse("one a day").unwrap());
        let items = vec![NewItem { medicine, dosage, quantity: 10, days: 10 }];
        say(&clinic.doctor, Command::Draft(Draft { items })).await;
        let prescription = clinic.snapshot(room).await.prescriptions[0].id;
        say(&clinic.doctor, Command::Sign(PrescriptionRef { prescription })).await;
        let hand_over = NewHandOver::Delivery(Paragraph::parse("5 Home Road").unwrap());
        say(&clinic.patient, Command::Send(SendPrescription { prescription, pharmacy, hand_over })).await;
        let dispensing = clinic.snapshot(room).await.dispensings[0].id;
        for to in ["accepted", "preparing", "checked", "ready"] {
            let to = serde_json::from_value(json!(to)).unwrap();
            let step = MoveDispensing { dispensing, to, hold: None, reason: None, proof: None };
            say(&pharmacist, Command::MoveDispensing(step)).await;
        }
        let delivery = clinic.snapshot(room).await.deliveries[0].id;
        Self { clinic, room, delivery, pharmacist }
    }

    async fn view(&self) -> DeliveryView {
        self.clinic.snapshot(self.room).await.deliveries.remove(0)
    }

    async fn state(&self) -> &'static str {
        self.view().await.state.as_str()
    }

    async fn wait_until(&self, state: &str) {
        eventually(state, async || (self.state().await == state).then_some(())).await;
    }

    /// Returns the partner's account, as pharmacies find it.
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

    /// Builds a report of the partner.
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

    async fn report(&self, event: &Value) -> crate::support::rest::RestResponse {
        self.clinic.send_webhook_now("courier", SECRET, &event.to_string()).await
    }

    /// Counts events of this kind about the delivery in the log.
    async fn log(&self, kind: &str) -> usize {
        let stored = self.clinic.server().state.store.events_after(self.room, 0, 1000).await.unwrap();
        stored.iter().filter(|it| it.canonical.contains(&format!("\"kind\":\"{kind}\""))).count()
    }
}

async fn ordered(database: DatabaseSettings) -> (CourierCase, CourierStub) {
    let courier = CourierStub::start().await;
    let settings = courier.settings(false);
    let parcel = CourierCase::start(PaidClinic::free(database, |config| config.courier = settings).await).await;
    let partner = parcel.partner("Swift Parcels").await;
    parcel.assign(partner).await;
    eventually("the order was placed", async || (courier.orders() == 1).then_some(())).await;
    (parcel, courier)
}

async fn order_contains_pickup_and_destination_and_nothing_else(database: DatabaseSettings) {
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
    // Assigning another courier cancels the order.
    let person = parcel.clinic.server().person(Role::Courier, "Casey", None).await;
    parcel.assign(person.user().unwrap()).await;
    let called_off = async || courier.calls().iter().find(|it| it.what == "POST /v1/orders/ord_1/cancel").map(drop);
    eventually("the order was cancelled", called_off).await;
    // Later reports of the partner have no effect.
    let late = parcel.event("evt_1", "picked_up", parcel.now());
    assert_eq!(parcel.report(&late).await.ok(), json!({"taken": false}));
    assert_eq!(parcel.state().await, "assigned");
}

async fn parcel_given_away_and_back_during_an_outage_is_ordered_once(database: DatabaseSettings) {
    let courier = CourierStub::start().await;
    let settings = courier.settings(false);
    let parcel = CourierCase::start(PaidClinic::free(database, |config| config.courier = settings).await).await;
    let partner = parcel.partner("Swift Parcels").await;
    let person = parcel.clinic.server().person(Role::Courier, "Casey", None).await.user().unwrap();
    courier.is_down(true);
    for to in [partner, person, partner] {
        parcel.assign(to).await;
    }
    eventually("the partner was asked", async || (!courier.calls().is_empty()).then_some(())).await;
    courier.is_down(false);
    parcel.clinic.wait_until_settled(Sink::Courier).await;
    assert_eq!(courier.orders(), 1);
    // With the partner up, each change counts.
    parcel.assign(person).await;
    let cancelled = async || courier.calls().iter().find(|it| it.what.ends_with("/cancel")).map(drop);
    eventually("the order was cancelled", cancelled).await;
    parcel.clinic.wait_until_settled(Sink::Courier).await;
    parcel.assign(partner).await;
    eventually("the parcel was ordered again", async || (courier.orders() == 2).then_some(())).await;
}

async fn signed_reports_move_a_delivery_to_its_end(database: DatabaseSettings) {
    let (parcel, _) = ordered(database).await;
    for status in ["picked_up", "in_transit", "out_for_delivery", "attempt_failed", "rescheduled", "out_for_delivery"] {
        let id = format!("evt_{}", Uuid::now_v7());
        let event = parcel.event(&id, status, parcel.now());
        assert_eq!(parcel.report(&event).await.ok(), json!({"taken": true}), "{status}");
        assert_eq!(parcel.state().await, status);
    }
    let delivered = parcel.event("evt_d", "delivered", parcel.now());
    assert_eq!(parcel.report(&delivered).await.ok(), json!({"taken": true}));
    let snapshot = parcel.clinic.snapshot(parcel.room).await;
    assert_eq!(snapshot.dispensings[0].state.as_str(), "completed");
    assert_eq!(snapshot.prescriptions[0].state.as_str(), "completed");
}

async fn late_and_repeated_reports_never_move_a_delivery_back(database: DatabaseSettings) {
    let (parcel, _) = ordered(database).await;
    let begin = parcel.now();
    parcel.clinic.advance_clock(Duration::from_secs(10));
    let at = |seconds: u64| begin.plus(Duration::from_secs(seconds));
    let (first, second, third) = (at(1), at(2), at(3));
    // The last report arrives first: the skipped steps are recorded with it.
    let delivered = parcel.event("evt_3", "delivered", third);
    assert_eq!(parcel.report(&delivered).await.ok(), json!({"taken": true}));
    assert_eq!((parcel.state().await, parcel.log("delivery.moved").await), ("delivered", 3));
    // Earlier reports are recorded with their times and change no state.
    for (id, status, when) in [("evt_2", "out_for_delivery", second), ("evt_1", "picked_up", first)] {
        assert_eq!(parcel.report(&parcel.event(id, status, when)).await.ok(), json!({"taken": true}));
    }
    assert_eq!((parcel.state().await, parcel.log("delivery.reported").await), ("delivered", 2));
    // Repeated reports are recognised as duplicates.
    for (id, status, when) in
        [("evt_1", "picked_up", first), ("evt_2", "out_for_delivery", second), ("evt_3", "delivered", third)]
    {
        assert_eq!(parcel.report(&parcel.event(id, status, when)).await.ok(), json!({"taken": false}));
    }
    // No later report leads back, or further.
    for status in ["in_transit", "attempt_failed", "returning", "lost", "delivered"] {
        let event = parcel.event(&format!("evt_after_{status}"), status, at(4));
        assert_eq!(parcel.report(&event).await.ok(), json!({"taken": false}), "{status}");
    }
    assert_eq!((parcel.state().await, parcel.log("delivery.moved").await), ("delivered", 3));
}

async fn premature_report_is_requested_again(database: DatabaseSettings) {
    let (parcel, _) = ordered(database).await;
    for (id, status) in [("evt_1", "out_for_delivery"), ("evt_2", "attempt_failed")] {
        parcel.report(&parcel.event(id, status, parcel.now())).await.ok();
    }
    let again = parcel.event("evt_4", "out_for_delivery", parcel.now().plus(Duration::from_secs(60)));
    parcel.report(&again).await.assert_problem(409, "illegal_transition");
    assert_eq!(parcel.state().await, "attempt_failed");
    assert_eq!(parcel.report(&parcel.event("evt_3", "rescheduled", parcel.now())).await.ok(), json!({"taken": true}));
    assert_eq!(parcel.report(&again).await.ok(), json!({"taken": true}));
    assert_eq!(parcel.state().await, "out_for_delivery");
    // The partner may report a parcel as lost.
    let lost = parcel.event("evt_5", "lost", parcel.now().plus(Duration::from_secs(120)));
    assert_eq!(parcel.report(&lost).await.ok(), json!({"taken": true}));
    assert_eq!(parcel.state().await, "lost");
}

async fn forged_malformed_and_unknown_reports_are_rejected(database: DatabaseSettings) {
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
    assert_eq!(parcel.report(&stranger).await.ok(), json!({"taken": false}));
    let mut unproven = parcel.event("evt_2", "delivered", parcel.now());
    unproven["data"]["proof"] = Value::Null;
    let mut unheard = event.clone();
    unheard["data"]["status"] = json!("teleported");
    let mut timeless = event.clone();
    timeless["occurred_at"] = json!("yesterday");
    let ahead = parcel.event("evt_3", "picked_up", parcel.now().plus(Duration::from_secs(3600)));
    let not_theirs = parcel.event("evt_4", "restocked", parcel.now());
    for broken in [unheard, timeless, ahead, not_theirs] {
        parcel.report(&broken).await.assert_problem(400, "malformed");
    }
    // Such a report does not imply the skipped steps.
    parcel.report(&unproven).await.assert_problem(400, "malformed");
    let other = json!({"id": "evt_5", "type": "courier.lunch", "data": {"menu": "soup"}});
    assert_eq!(parcel.report(&other).await.ok(), json!({"taken": false}));
    assert_eq!(parcel.state().await, "assigned");
    assert_eq!(parcel.report(&event).await.ok(), json!({"taken": true}));
}

async fn order_reaches_a_recovered_partner_once(database: DatabaseSettings) {
    let courier = CourierStub::start().await;
    courier.is_down(true);
    let settings = courier.settings(true);
    let parcel = CourierCase::start(PaidClinic::free(database, |config| config.courier = settings).await).await;
    // With automatic assignment the partner gets the order, whether it is down or not.
    parcel.wait_until("assigned").await;
    assert_eq!(parcel.view().await.courier.unwrap().name.as_str(), "Swift Parcels");
    eventually("an attempt was made", async || (!courier.calls().is_empty()).then_some(())).await;
    courier.is_down(false);
    parcel.clinic.wait_until_settled(Sink::Courier).await;
    assert_eq!(courier.orders(), 1);
    let keys: std::collections::BTreeSet<String> = courier.calls().into_iter().map(|call| call.key).collect();
    assert_eq!(keys.len(), 1, "one order with one key");
}

async fn deliveries_without_automatic_assignment_go_to_a_person(database: DatabaseSettings) {
    let courier = CourierStub::start().await;
    let settings = courier.settings(false);
    let parcel = CourierCase::start(PaidClinic::free(database, |config| config.courier = settings).await).await;
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

async fn sandbox_courier_delivers_by_itself_and_by_hand(database: DatabaseSettings) {
    let parcel = CourierCase::start(PaidClinic::free(database, |_| {}).await).await;
    let partner = parcel.partner("Sandbox courier").await;
    parcel.assign(partner).await;
    let admin = parcel.clinic.rest.token(Role::Admin).await;
    let list = async || {
        let parcels = parcel.clinic.rest.get("/v1/sandbox/parcels").bearer(&admin).send().await.ok();
        parcels["items"].as_array().unwrap().first().cloned()
    };
    let id = eventually("the sandbox courier is assigned", list).await["id"].as_str().unwrap().to_owned();
    let path = format!("/v1/sandbox/parcels/{id}/moves");
    let assigned = parcel.now();
    let push = async |body: Value| parcel.clinic.rest.post(&path).bearer(&admin).json(body).send().await;
    assert_eq!(push(json!({"to": "out_for_delivery"})).await.ok(), json!({"taken": true}));
    assert_eq!(push(json!({"to": "attempt_failed"})).await.ok(), json!({"taken": true}));
    assert_eq!(parcel.state().await, "attempt_failed");
    push(json!({"to": "restocked"})).await.assert_problem(404, "not_found");
    let earlier = Timestamp::from_micros(parcel.now().micros() - 60_000_000);
    // What happened before the assignment is not this courier's to report.
    assert_eq!(push(json!({"to": "in_transit", "occurred_at": earlier})).await.ok(), json!({"taken": false}));
    push(json!({"to": "in_transit", "occurred_at": assigned})).await.ok();
    assert_eq!((parcel.state().await, parcel.log("delivery.reported").await), ("attempt_failed", 1));
    // The rest happens automatically.
    for state in ["rescheduled", "out_for_delivery", "delivered"] {
        parcel.clinic.advance_clock(Duration::from_secs(9));
        parcel.wait_until(state).await;
    }
}

both! {
    order_contains_pickup_and_destination_and_nothing_else
    parcel_given_away_and_back_during_an_outage_is_ordered_once
    signed_reports_move_a_delivery_to_its_end
    late_and_repeated_reports_never_move_a_delivery_back
    premature_report_is_requested_again
    forged_malformed_and_unknown_reports_are_rejected
    order_reaches_a_recovered_partner_once
    deliveries_without_automatic_assignment_go_to_a_person
    sandbox_courier_delivers_by_itself_and_by_hand
}
