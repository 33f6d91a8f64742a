//! A hub in this process with a case in it, for tests that observe it from its sockets.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use loadtest::client::Client;
use loadtest::target::Target;
use rooms::command::{
    CheckIn, Command, Draft, NewHandOver, NewItem, Nothing, PrescriptionRef, Request, SendPrescription,
};
use rooms::id::{CommandId, PharmacyId, RoomId, UserId};
use rooms::role::{Actor, Role};
use rooms::text::{Line, Paragraph, Text};
use rooms::wire::client::Token;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;
use wardroom::app::App;
use wardroom::config::{Config, DatabaseSettings};
use wardroom::hub::{Committed, Submission, SubmitError};
use wardroom::store::users::{Status, User};
use wardroom::turn::Relay;
use wardroom::web::AppState;

use super::{panics, stall_detector};

/// A running hub.
pub struct TestServer {
    pub state: AppState,
    pub address: SocketAddr,
    pub relay: Arc<Relay>,
    stop: CancellationToken,
    _data: tempfile::TempDir,
}

impl Drop for TestServer {
    fn drop(&mut self) {
        self.stop.cancel();
        panics::assert_none();
    }
}

/// A room in progress and its members. The prescription has reached the pharmacy.
pub struct Case {
    pub room: RoomId,
    pub patient: Actor,
    pub doctor: Actor,
    pub pharmacist: Actor,
    pub pharmacy: PharmacyId,
}

impl TestServer {
    /// Starts a hub over this database.
    pub async fn start(database: DatabaseSettings) -> Self {
        Self::start_with(database, |_| {}).await
    }

    /// Starts a hub with changed settings.
    pub async fn start_with(database: DatabaseSettings, change: impl FnOnce(&mut Config)) -> Self {
        stall_detector::start();
        panics::record();
        let data = tempfile::tempdir().unwrap();
        let environment =
            [("WARDROOM_DATA_DIR", data.path().display().to_string()), ("WARDROOM_LISTEN", "127.0.0.1:0".to_owned())];
        let environment = environment.map(|(name, value)| (name.to_owned(), value));
        let mut config = Config::from_parts("", environment, false).expect("the tests' settings are usable");
        config.database = database;
        // One patient opens many rooms in a test, without doctors at their screens. Tests of the limits restore them.
        config.limits.walk_ins_need_doctor = false;
        let business = &mut config.limits.business;
        (business.open_holds, business.open_bookings, business.waiting_walk_ins) = (1_000, 1_000, 1_000);
        change(&mut config);
        let listener = wardroom::lifecycle::listen(config.listen).unwrap();
        let address = listener.local_addr().unwrap();
        let app = App::build(config).await.expect("the hub starts");
        let (state, relay, stop) = (app.state.clone(), app.state.relay.clone(), app.stop_token());
        tokio::spawn(app.run(listener));
        Self { state, address, relay, stop, _data: data }
    }

    /// Stops the hub when cancelled.
    pub fn stop_token(&self) -> CancellationToken {
        self.stop.clone()
    }

    /// Creates an active account with this role.
    pub async fn person(&self, role: Role, name: &str, pharmacy: Option<PharmacyId>) -> Actor {
        let id = UserId(Uuid::now_v7());
        let now = self.state.clock.now();
        let user = User {
            id,
            email: format!("{id}@example.org"),
            name: Text::stored(name).unwrap(),
            role,
            status: Status::Active,
            pharmacy,
            specialty: None,
            languages: None,
            created_at: now,
            changed_at: now,
            password_hash: "-".into(),
        };
        assert!(self.state.store.insert_user(&user).await.unwrap());
        Actor::Person { id, role, name: user.name, pharmacy }
    }

    /// Returns a token that outlasts the test.
    pub fn token(&self, actor: &Actor) -> Token {
        Token(self.state.auth.token_for_test(actor, Duration::from_secs(600)))
    }

    /// Returns a client of this person that is not connected yet.
    pub fn client(&self, actor: &Actor) -> Client {
        Client::new(Target::new(self.address).expect("loopback"), self.token(actor))
    }

    /// Returns a client of this person that is connected and has joined the room.
    pub async fn joined(&self, actor: &Actor, room: RoomId) -> Client {
        let mut client = self.client(actor);
        client.connect().await.expect("the hub welcomes the client");
        client.join(room).await.expect("a member may join");
        client
    }

    /// Submits a command directly to the hub.
    pub async fn submit(&self, room: RoomId, actor: &Actor, command: Command) -> Result<Committed, SubmitError> {
        let id = CommandId(Uuid::now_v7());
        self.state.hub.submit(Submission { room, actor: actor.clone(), id, command, expect: None }).await
    }

    /// Opens a room whose patient is in the doctor's waiting room.
    pub async fn waiting_room(&self, patient: &Actor, doctor: &Actor) -> RoomId {
        let room = RoomId(Uuid::now_v7());
        let request = Request { slot: None, doctor: doctor.user(), reason: None };
        self.submit(room, patient, Command::Request(request)).await.unwrap();
        let consent = self.state.config.policy.consent.as_str().parse().unwrap();
        let identity = Line::parse("account").unwrap();
        self.submit(room, patient, Command::CheckIn(CheckIn { consent, identity })).await.unwrap();
        room
    }

    /// Opens a consultation in progress with a prescription that was sent to a pharmacy.
    pub async fn case(&self) -> Case {
        let pharmacy = PharmacyId(Uuid::now_v7());
        let (name, address) = (Text::stored("Pharmacy").unwrap(), Text::stored("1 Street").unwrap());
        self.state.store.insert_pharmacy(pharmacy, &name, &address).await.unwrap();
        let patient = self.person(Role::Patient, "Pat", None).await;
        let doctor = self.person(Role::Doctor, "Doc", None).await;
        let pharmacist = self.person(Role::Pharmacist, "Phil", Some(pharmacy)).await;
        let room = self.waiting_room(&patient, &doctor).await;
        self.submit(room, &doctor, Command::Admit(Nothing {})).await.unwrap();
        self.submit(room, &patient, Command::Enter(Nothing {})).await.unwrap();
        let (medicine, dosage) = (Line::parse("Testamol").unwrap(), Paragraph::parse("one a day").unwrap());
        let items = vec![NewItem { medicine, dosage, quantity: 10, days: 10 }];
        self.submit(room, &doctor, Command::Draft(Draft { items })).await.unwrap();
        let view = self.state.hub.read(room, &doctor).await.unwrap();
        let prescription = view.snapshot.prescriptions[0].id;
        self.submit(room, &doctor, Command::Sign(PrescriptionRef { prescription })).await.unwrap();
        let send = SendPrescription { prescription, pharmacy, hand_over: NewHandOver::Pickup };
        self.submit(room, &patient, Command::Send(send)).await.unwrap();
        Case { room, patient, doctor, pharmacist, pharmacy }
    }
}
