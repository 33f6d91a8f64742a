//! A whole case over REST alone: booking, consultation, prescription, dispensing, delivery, record.

use std::time::Duration;

use rooms::id::PharmacyId;
use rooms::role::Role;
use rooms::text::Text;
use serde_json::{Value, json};
use uuid::Uuid;
use wardroom::archive;
use wardroom::config::DatabaseSettings;

use crate::support::both;
use crate::support::rest::RestClient;

fn items(quantity: u32) -> Value {
    json!({"items": [{"medicine": "Testamol 500 mg", "dosage": "one a day", "quantity": quantity, "days": 10}]})
}

/// Participants of a case: tokens by role, and the ids that the case needs.
struct Participants {
    rest: RestClient,
    patient: String,
    doctor: String,
    pharmacist: String,
    courier: String,
    admin: String,
    pharmacy: PharmacyId,
    courier_id: String,
    doctor_id: String,
}

impl Participants {
    async fn start(database: DatabaseSettings) -> Self {
        let rest = RestClient::start(database).await;
        let pharmacy = PharmacyId(Uuid::now_v7());
        let (name, address) = (Text::stored("Pharmacy").unwrap(), Text::stored("1 Street").unwrap());
        rest.server.state.store.insert_pharmacy(pharmacy, &name, &address).await.unwrap();
        let (courier, courier_token) = rest.person_with_token(Role::Courier, None).await;
        let (doctor, doctor_token) = rest.person_with_token(Role::Doctor, None).await;
        Self {
            patient: rest.token(Role::Patient).await,
            doctor: doctor_token,
            pharmacist: rest.person_with_token(Role::Pharmacist, Some(pharmacy)).await.1,
            courier: courier_token,
            admin: rest.token(Role::Admin).await,
            pharmacy,
            courier_id: courier.user().unwrap().to_string(),
            doctor_id: doctor.user().unwrap().to_string(),
            rest,
        }
    }

    async fn get(&self, token: &str, path: &str) -> Value {
        self.rest.get(path).bearer(token).send().await.ok()
    }

    async fn post(&self, token: &str, path: &str, body: Value) -> Value {
        self.rest.post(path).bearer(token).json(body).send().await.ok()
    }

    async fn command(&self, token: &str, room: &str, kind: &str, data: Value) -> Value {
        let body = json!({"command": {"kind": kind, "data": data}});
        self.post(token, &format!("/v1/consultations/{room}/commands"), body).await
    }

    /// Books, admits, and starts a consultation.
    async fn in_progress(&self) -> String {
        let starts_at = self.rest.server.state.clock.now().plus(Duration::from_secs(300));
        let slot = json!({"slots": [{"starts_at": starts_at, "ends_at": starts_at.plus(Duration::from_secs(900))}]});
        let slots = self.post(&self.doctor, "/v1/slots", slot).await;
        let open = self.get(&self.patient, &format!("/v1/doctors/{}/slots", self.doctor_id)).await;
        assert_eq!((&open["items"][0]["id"], &open["items"][0]["free"]), (&slots["items"][0]["id"], &json!(true)));
        let booking = json!({"slot": slots["items"][0]["id"], "reason": "a cough"});
        let booked = self.rest.post("/v1/bookings").bearer(&self.patient).json(booking).send().await;
        let room = booked.json["room"].as_str().unwrap().to_owned();
        assert_eq!(booked.header("location"), format!("/v1/consultations/{room}"));
        let withdrawn = format!("/v1/slots/{}", slots["items"][0]["id"].as_str().unwrap());
        let withdrawn = self.rest.call("delete", &withdrawn).key(&Uuid::now_v7().to_string()).bearer(&self.doctor);
        withdrawn.send().await.assert_problem(409, "slot_taken");
        self.post(&self.patient, &format!("/v1/bookings/{room}/confirm"), json!({})).await;
        let own = self.get(&self.doctor, "/v1/slots").await;
        assert_eq!(own["items"][0]["room"], room.as_str());
        let case = self.get(&self.patient, &format!("/v1/consultations/{room}")).await;
        let consent = &case["snapshot"]["consultation"]["consent"];
        let check_in = json!({"consent": consent, "identity": "account"});
        self.command(&self.patient, &room, "consultation.check_in", check_in).await;
        self.command(&self.doctor, &room, "consultation.admit", json!({})).await;
        self.command(&self.patient, &room, "consultation.enter", json!({})).await;
        room
    }

    /// Sends a prescription of `room` to the pharmacy.
    async fn sent(&self, room: &str, hand_over: Value) -> String {
        let drafted = self.post(&self.doctor, &format!("/v1/consultations/{room}/prescriptions"), items(10)).await;
        let id = drafted["prescription"].as_str().unwrap().to_owned();
        self.post(&self.doctor, &format!("/v1/prescriptions/{id}/sign"), json!({})).await;
        let send = json!({"pharmacy": self.pharmacy, "hand_over": hand_over});
        self.post(&self.patient, &format!("/v1/prescriptions/{id}/send"), send).await;
        id
    }
}

async fn case_runs_from_booking_to_delivery_over_rest_alone(database: DatabaseSettings) {
    let cast = Participants::start(database).await;
    let room = cast.in_progress().await;
    cast.command(&cast.patient, &room, "chat.send", json!({"text": "it hurts here"})).await;
    let prescription = cast.sent(&room, json!({"delivery": "5 Home Road"})).await;

    let queue = cast.get(&cast.pharmacist, "/v1/dispensings?state=received").await;
    let dispensing = queue["items"][0]["dispensing"].as_str().unwrap().to_owned();
    assert_eq!(queue["items"][0]["prescription"], prescription.as_str());
    let path = format!("/v1/dispensings/{dispensing}");
    let seen = cast.rest.get(&path).bearer(&cast.pharmacist).send().await;
    let claim =
        cast.rest.post(&format!("{path}/claim")).bearer(&cast.pharmacist).header("if-match", seen.header("etag"));
    assert_eq!(claim.json(json!({})).send().await.status, 200);
    let again =
        cast.rest.post(&format!("{path}/claim")).bearer(&cast.pharmacist).header("if-match", seen.header("etag"));
    again.json(json!({})).send().await.assert_problem(412, "precondition_failed");
    for to in ["preparing", "checked", "ready"] {
        cast.post(&cast.pharmacist, &format!("{path}/moves"), json!({"to": to})).await;
    }

    let delivery = cast.get(&cast.pharmacist, "/v1/deliveries").await["items"][0]["delivery"].clone();
    let path = format!("/v1/deliveries/{}", delivery.as_str().unwrap());
    cast.post(&cast.pharmacist, &format!("{path}/assign"), json!({"courier": cast.courier_id})).await;
    assert_eq!(cast.get(&cast.courier, "/v1/deliveries").await["items"][0]["delivery"], delivery);
    for to in ["picked_up", "in_transit", "out_for_delivery"] {
        cast.post(&cast.courier, &format!("{path}/moves"), json!({"to": to})).await;
    }
    let unproven = cast.rest.post(&format!("{path}/moves")).bearer(&cast.courier).json(json!({"to": "delivered"}));
    unproven.send().await.assert_problem(422, "invalid");
    let proof = json!({"to": "delivered", "proof": {"kind": "code", "reference": "1234"}});
    cast.post(&cast.courier, &format!("{path}/moves"), proof).await;
    assert_eq!(cast.get(&cast.patient, &path).await["state"], "delivered");
    assert_eq!(cast.get(&cast.patient, &format!("/v1/prescriptions/{prescription}")).await["state"], "completed");

    cast.command(&cast.doctor, &room, "consultation.end", json!({})).await;
    cast.command(&cast.doctor, &room, "consultation.complete", json!({"note": "rest and tea"})).await;
    let done = cast.get(&cast.patient, "/v1/consultations?state=completed").await;
    assert_eq!(done["items"][0]["room"], room.as_str());
    assert_eq!(done["items"][0]["deliveries"], json!(["delivered"]));
    assert_eq!(cast.get(&cast.patient, "/v1/bookings").await["items"], json!([]));

    let on_invalid = |invalid: archive::InvalidRoom| panic!("tables and record agree, except: {}", invalid.error);
    let progress = archive::verify_database(&cast.rest.server.state.store, on_invalid, |_| {}).await.unwrap();
    assert_eq!(progress.rooms, 1);
}

async fn prescription_is_amended_only_at_the_version_seen(database: DatabaseSettings) {
    let cast = Participants::start(database).await;
    let room = cast.in_progress().await;
    let drafted = cast.post(&cast.doctor, &format!("/v1/consultations/{room}/prescriptions"), items(10)).await;
    let path = format!("/v1/prescriptions/{}", drafted["prescription"].as_str().unwrap());
    let etag = cast.rest.get(&path).bearer(&cast.doctor).send().await.header("etag").to_owned();
    let amend = |version: Option<&str>, body: Value| {
        let call = cast.rest.call("put", &path).bearer(&cast.doctor).key(&Uuid::now_v7().to_string()).json(body);
        match version {
            Some(version) => call.header("if-match", version).send(),
            None => call.send(),
        }
    };
    amend(None, items(20)).await.assert_problem(428, "precondition_required");
    amend(Some("7"), items(20)).await.assert_problem(412, "precondition_failed");
    let amended = amend(Some(&etag), items(20)).await.ok();
    assert_eq!(amended["prescription"], drafted["prescription"], "a draft changes in place");
    let stale = amend(Some(&etag), items(30)).await;
    stale.assert_problem(412, "precondition_failed");
    assert_eq!(stale.json["version"], amended["last"]);
    let etag_now = format!("\"{}\"", amended["last"]);
    amend(Some(&etag_now), json!({"items": []})).await.assert_problem(422, "invalid");
    let now = cast.get(&cast.doctor, &path).await;
    assert_eq!(now["items"][0]["quantity"], 20);
    let listed = cast.get(&cast.patient, "/v1/prescriptions").await;
    assert_eq!((&listed["items"][0]["id"], &listed["items"][0]["state"]), (&now["id"], &json!("draft")));
    let stranger = cast.rest.token(Role::Doctor).await;
    let call =
        cast.rest.call("put", &path).bearer(&stranger).key(&Uuid::now_v7().to_string()).header("if-match", &etag);
    let foreign = call.json(items(99)).send().await;
    assert!([403, 404].contains(&foreign.status.as_u16()), "{}", foreign.text);
}

async fn log_is_paged_in_both_directions_within_the_callers_view(database: DatabaseSettings) {
    let cast = Participants::start(database).await;
    let room = cast.in_progress().await;
    for at in 0..40 {
        cast.command(&cast.patient, &room, "chat.send", json!({"text": format!("line {at}")})).await;
    }
    cast.sent(&room, json!("pickup")).await;
    let path = format!("/v1/rooms/{room}/events");
    let numbers = |page: &Value| -> Vec<u64> {
        page["items"].as_array().unwrap().iter().map(|event| event["seq"].as_u64().unwrap()).collect()
    };
    for token in [&cast.patient, &cast.pharmacist] {
        let whole = cast.get(token, &format!("{path}?after=0&limit=500")).await;
        let all = numbers(&whole);
        assert!(all.is_sorted() && Some(&whole["head"].as_u64().unwrap()) == all.last());
        let (mut forwards, mut after) = (Vec::new(), 0);
        loop {
            let page = cast.get(token, &format!("{path}?after={after}&limit=7")).await;
            assert_eq!(page["prev"], after);
            match numbers(&page).last() {
                Some(last) => after = *last,
                None => break,
            }
            forwards.extend(numbers(&page));
        }
        assert_eq!(forwards, all);
        let (mut backwards, mut before) = (Vec::new(), u64::MAX >> 1);
        loop {
            let page = cast.get(token, &format!("{path}?before={before}&limit=7")).await;
            let here = numbers(&page);
            backwards = [here.clone(), backwards].concat();
            // `prev` is the previous page's last event, or 0 at the beginning.
            let at = all.iter().position(|seq| *seq == here[0]).unwrap();
            assert_eq!(page["prev"], if at == 0 { 0 } else { all[at - 1] });
            before = here[0];
            if page["prev"] == 0 {
                break;
            }
        }
        assert_eq!(backwards, all);
    }
    let seen = cast.get(&cast.pharmacist, &format!("{path}?after=0&limit=500")).await.to_string();
    assert!(!seen.contains("line 1") && !seen.contains("a cough"), "the pharmacy sees no clinical messages: {seen}");
    assert!(seen.contains("Testamol"));
    let both_ways = cast.rest.get(&format!("{path}?after=1&before=2")).bearer(&cast.patient);
    both_ways.send().await.assert_problem(422, "invalid");
    let case = cast.get(&cast.pharmacist, &format!("/v1/consultations/{room}")).await;
    assert_eq!(case["view"], "pharmacy");
    assert!(case["snapshot"]["consultation"].is_null());
}

async fn record_is_exported_whole_and_every_access_is_audited(database: DatabaseSettings) {
    let cast = Participants::start(database).await;
    let room = cast.in_progress().await;
    let export = format!("/v1/rooms/{room}/export");
    let answer = cast.rest.post(&export).bearer(&cast.patient).json(json!({})).send().await;
    assert_eq!((answer.status.as_u16(), answer.header("content-type")), (200, "application/jsonl"), "{}", answer.text);
    assert!(answer.header("content-disposition").starts_with("attachment"));
    archive::verify(answer.text.as_bytes()).expect("the record is intact");
    assert!(answer.text.lines().last().unwrap().contains("record.exported"), "the export records itself");
    let altered = answer.text.replacen("a cough", "a fever", 1);
    assert!(archive::verify(altered.as_bytes()).is_err());
    let key = Uuid::now_v7().to_string();
    for _ in 0..2 {
        let call = cast.rest.call("post", &export).key(&key).bearer(&cast.doctor);
        assert_eq!(call.json(json!({"purpose": "a second opinion"})).send().await.status, 200);
    }
    let call = cast.rest.call("post", &export).key(&key).bearer(&cast.doctor).json(json!({"purpose": "another"}));
    call.send().await.assert_problem(422, "id_conflict");
    let log = cast.get(&cast.patient, &format!("/v1/rooms/{room}/events?after=0&limit=500")).await.to_string();
    assert_eq!(log.matches("record.exported").count(), 2, "one entry for each of the two who exported");
    cast.rest.post(&export).bearer(&cast.pharmacist).json(json!({})).send().await.assert_problem(403, "forbidden");

    let noted = cast.get(&cast.admin, &format!("/v1/audit?room={room}&limit=200")).await;
    let actions: Vec<&str> =
        noted["items"].as_array().unwrap().iter().map(|it| it["action"].as_str().unwrap()).collect();
    for action in ["consultation.read", "events.read", "record.exported"] {
        assert!(actions.contains(&action), "{actions:?}");
    }
    assert_eq!(actions[0], "events.read", "newest first");
}

async fn lists_are_paged_without_gaps_or_repeats(database: DatabaseSettings) {
    let rest = RestClient::start(database).await;
    let admin = rest.token(Role::Admin).await;
    for _ in 0..12 {
        rest.person_with_token(Role::Doctor, None).await;
    }
    let mut seen = Vec::new();
    let mut path = "/v1/doctors?limit=5".to_owned();
    loop {
        let page = rest.get(&path).bearer(&admin).send().await.ok();
        let items = page["items"].as_array().unwrap();
        assert!(items.len() <= 5);
        seen.extend(items.iter().map(|item| item["id"].as_str().unwrap().to_owned()));
        match page["next"].as_str() {
            Some(next) => path = format!("/v1/doctors?limit=5&cursor={next}"),
            None => break,
        }
    }
    let mut distinct = seen.clone();
    distinct.sort();
    distinct.dedup();
    assert_eq!((seen.len(), distinct.len()), (12, 12));
    let found = rest.get("/v1/doctors?q=A%20DOC&specialty=surgery").bearer(&admin).send().await.ok();
    assert_eq!(found["items"], json!([]));
    let pharmacy = json!({"name": "New Pharmacy", "address": "2 Street"});
    let added = rest.post("/v1/pharmacies").bearer(&admin).json(pharmacy).send().await.ok();
    let found = rest.get("/v1/pharmacies?q=new").bearer(&admin).send().await.ok();
    assert_eq!(found["items"], json!([added]));
}

both! {
    case_runs_from_booking_to_delivery_over_rest_alone
    prescription_is_amended_only_at_the_version_seen
    log_is_paged_in_both_directions_within_the_callers_view
    record_is_exported_whole_and_every_access_is_audited
    lists_are_paged_without_gaps_or_repeats
}
