//! What the hub cannot process fails by itself: it holds nothing else up, is tried by a schedule, and ends where an operator
//! sees it.

use std::sync::Arc;
use std::time::Duration;

use rooms::command::{Command, StartCall};
use rooms::id::{RoomId, SessionId, UserId};
use rooms::media::Media;
use rooms::role::Actor;
use rooms::wire::call::{Attach, CallSignal, Servers};
use rooms::wire::close::Close;
use serde_json::{Value, json};
use tokio::sync::mpsc;
use uuid::Uuid;
use wardroom::bus::Bus;
use wardroom::config::DatabaseSettings;
use wardroom::hub::appender::Appender;
use wardroom::hub::connection::{ConnectedClient, Connection};
use wardroom::hub::{Hub, HubSettings, MediaRelays, SubmitError};
use wardroom::store::dispatches::{DispatchState, Sink, Wish};
use wardroom::store::outbox::OutboxEntry;

use crate::support::both;
use crate::support::database::tamper;
use crate::support::paid_clinic::{PaidClinic, eventually};
use crate::support::room_log::{doctor_with_slots, slot_request};
use crate::support::test_server::TestServer;

async fn sinks(clinic: &PaidClinic) -> Value {
    let admin = clinic.server().token(&clinic.admin).0;
    clinic.rest.get("/v1/sinks").bearer(&admin).send().await.ok()
}

/// An entry whose events cannot be read is next to a good one. The good one is processed; the other is dead in the end.
async fn unreadable_outbox_entry_holds_nothing_up_and_ends_dead(database: DatabaseSettings) {
    let clinic = PaidClinic::free(database, |_| {}).await;
    let store = &clinic.server().state.store;
    let (doctor, slots) = doctor_with_slots(store, 2).await;
    let mut entries = Vec::new();
    for slot in &slots {
        let (log, append) = slot_request(slot, &doctor);
        let entry = OutboxEntry { id: Uuid::now_v7(), leased_until: clinic.server().state.clock.now() };
        store.append_with_outbox(&[append], Some(entry)).await.unwrap();
        if entries.is_empty() {
            tamper(store, "update events set body = 'unreadable' where room = ROOM", log.room).await;
        }
        entries.push(entry.id);
    }
    eventually("the good entry is processed", async || (store.outbox_len().await.unwrap() == 1).then_some(())).await;
    assert_eq!(sinks(&clinic).await["dead_notes"], json!([]));
    let dead = async || {
        clinic.advance_clock(Duration::from_secs(700));
        let listed = sinks(&clinic).await["dead_notes"].clone();
        (listed != json!([])).then_some(listed)
    };
    assert_eq!(eventually("the other is dead", dead).await, json!([entries[0]]));
    let now = clinic.server().state.clock.now().plus(Duration::from_secs(86_400));
    assert!(store.lease_outbox_entries(now, Duration::ZERO, 10).await.unwrap().is_empty());
    let again = format!("/v1/dispatches/{}/retry", entries[0]);
    let admin = clinic.server().token(&clinic.admin).0;
    assert_eq!(clinic.rest.post(&again).bearer(&admin).send().await.status, 204);
    assert_eq!(sinks(&clinic).await["dead_notes"], json!([]));
}

/// During a rolling update, a newer node stores what this one does not know.
async fn deliveries_of_an_unknown_sink_do_not_stop_the_others(database: DatabaseSettings) {
    let clinic = PaidClinic::free(database, |_| {}).await;
    let (store, now) = (&clinic.server().state.store, clinic.server().state.clock.now());
    let delivery = |room| Wish {
        sink: Sink::Webhook,
        lane: "unknown".to_owned(),
        target: "nobody".to_owned(),
        room,
        seq: 1,
        kind: "chat.sent".to_owned(),
        body: String::new(),
        due_at: now.plus(Duration::from_secs(5)),
    };
    let rooms = [RoomId(Uuid::now_v7()), RoomId(Uuid::now_v7())];
    store.enqueue(&rooms.map(delivery), now, Uuid::now_v7).await.unwrap();
    tamper(store, "update dispatches set sink = 'fax' where room = ROOM", rooms[0]).await;
    clinic.advance_clock(Duration::from_secs(6));
    let dead = async || clinic.delivery_counts(Sink::Webhook).await.contains(&(DispatchState::Dead, 1)).then_some(());
    eventually("the other delivery is tried", dead).await;
    let admin = clinic.server().token(&clinic.admin).0;
    let listed = clinic.rest.get("/v1/dispatches").bearer(&admin).send().await.ok();
    assert_eq!(listed["items"].as_array().unwrap().len(), 1);
}

/// Relays whose servers cannot be named without a panic.
struct FailingRelays;

impl MediaRelays for FailingRelays {
    fn servers(&self, _: SessionId, _: UserId, _: Option<RoomId>) -> Servers {
        panic!("a fault of the hub")
    }

    fn end_call(&self, _: RoomId) {}

    fn dismiss_guest(&self, _: UserId) {}
}

/// A room whose task panics: its readers are told, it rests, another room works on, and after the rest it is back.
async fn panicking_room_rests_and_tells_its_readers(database: DatabaseSettings) {
    let server = TestServer::start(database).await;
    let (state, case) = (&server.state, server.case().await);
    let start = Command::StartCall(StartCall { media: Media::Audio });
    server.submit(case.room, &case.doctor, start).await.unwrap();
    // A second hub over the same store. It fails as soon as it is asked for the servers of a call.
    let (batches, _outbox) = mpsc::channel(8);
    let appender = Appender::start(state.store.clone(), state.clock.clone(), batches);
    let (bus, clock) = (Bus::open(None).unwrap().0, state.clock.clone());
    let settings =
        HubSettings { policy: state.config.policy.clone(), limits: state.config.limits.business, max_connections: 1 };
    let hub = Hub::new(state.store.clone(), appender, bus, clock, settings, Arc::new(FailingRelays));
    let (user, session) = (case.doctor.user().unwrap(), Uuid::now_v7().into());
    let address = std::net::IpAddr::from([127, 0, 0, 1]);
    let client = ConnectedClient { session, user, actor: case.doctor.clone(), address };
    let reader = Arc::new(Connection::new(Uuid::now_v7(), client, 1 << 20));
    let view = hub.read(case.room, &case.doctor).await.unwrap();
    hub.attach(case.room, &reader, view.head).await.unwrap();
    let call = view.snapshot.call.unwrap().id;
    let attach = CallSignal::Attach(Attach { device: Uuid::now_v7(), take: false, held: Vec::new() });
    hub.call(case.room, &reader, call, attach);
    let closed = async || reader.send_queue.closed().filter(|why| *why == Close::Failure);
    eventually("the reader is told", closed).await;
    let resting = hub.read(case.room, &Actor::System).await;
    assert_eq!(resting.err(), Some(SubmitError::Unavailable), "the room rests");
    let other = server.case().await.room;
    hub.read(other, &Actor::System).await.expect("another room works on");
    let back = async || hub.read(case.room, &Actor::System).await.ok();
    eventually("the room is back after its rest", back).await;
}

both! {
    unreadable_outbox_entry_holds_nothing_up_and_ends_dead
    deliveries_of_an_unknown_sink_do_not_stop_the_others
    panicking_room_rests_and_tells_its_readers
}
