//! A small clinic without a server: people, a room, its log and a manual clock.

use std::str::FromStr;
use std::time::Duration;

use rooms::command::{
    AssignDelivery, Chat, CheckIn, Command, Context, Draft, Facts, MoveDelivery, MoveDispensing, Need, NewHandOver,
    NewItem, NewProof, Nothing, PrescriptionRef, PresenceChange, Reason, Request, SendPrescription,
};
use rooms::event::Event;
use rooms::id::{DeliveryId, DispensingId, PharmacyId, PrescriptionId, RoomId, SlotId, UserId};
use rooms::limits::Limits;
use rooms::party::{Party, Person, Pharmacy, Policy, Slot, Thread};
use rooms::permission::View;
use rooms::record::Record;
use rooms::refusal::Refusal;
use rooms::role::{Actor, Role};
use rooms::room::Room;
use rooms::room::snapshot::Snapshot;
use rooms::text::TextError;
use rooms::time::Timestamp;
use uuid::Uuid;

/// 2026-03-02T09:00:00Z.
pub const START: i64 = 1_772_442_000_000_000;

pub fn text<T: FromStr<Err = TextError>>(raw: &str) -> T {
    raw.parse().expect("a test's text is fine")
}

pub fn start() -> Timestamp {
    Timestamp::from_micros(START)
}

pub fn secs(secs: u64) -> Duration {
    Duration::from_secs(secs)
}

pub fn uuid(n: u128) -> Uuid {
    Uuid::from_u128(0x0190_0000_0000_7000_8000_0000_0000_0000 + n)
}

fn person(n: u128, role: Role, name: &str, pharmacy: Option<u128>) -> Actor {
    let pharmacy = pharmacy.map(|n| PharmacyId(uuid(n)));
    Actor::Person { id: UserId(uuid(n)), role, name: text(name), pharmacy }
}

pub fn patient() -> Actor {
    person(1, Role::Patient, "Pat Ient", None)
}
pub fn stranger() -> Actor {
    person(2, Role::Patient, "Stran Ger", None)
}
pub fn doctor() -> Actor {
    person(3, Role::Doctor, "Dr Doe", None)
}
pub fn colleague() -> Actor {
    person(4, Role::Doctor, "Dr Other", None)
}
pub fn pharmacist(n: u128) -> Actor {
    person(10 + n, Role::Pharmacist, "Phil Pill", Some(100 + n))
}
pub fn courier(n: u128) -> Actor {
    person(20 + n, Role::Courier, "Cour Ier", None)
}
pub fn admin(n: u128) -> Actor {
    person(30 + n, Role::Admin, "Ad Min", None)
}
pub fn support() -> Actor {
    person(40, Role::Support, "Sup Port", None)
}

/// Everybody with an account, including people without a part in the case.
pub fn everybody() -> Vec<Actor> {
    vec![
        patient(),
        stranger(),
        doctor(),
        colleague(),
        pharmacist(1),
        pharmacist(2),
        pharmacist(3),
        courier(1),
        courier(2),
        admin(1),
        admin(2),
        support(),
        Actor::System,
    ]
}

pub fn pharmacy_id(n: u128) -> PharmacyId {
    PharmacyId(uuid(100 + n))
}

pub fn user(actor: &Actor) -> UserId {
    actor.user().expect("a person")
}

pub fn as_person(actor: &Actor) -> Person {
    match actor {
        Actor::Person { id, name, .. } => Person { id: *id, name: name.clone() },
        Actor::System => panic!("not a person"),
    }
}

/// Slot `n` starts `n` hours after [`start`] and lasts half an hour.
pub fn slot(n: u128) -> Slot {
    let starts_at = start().plus(secs(3600 * n as u64));
    Slot { id: SlotId(uuid(200 + n)), doctor: as_person(&doctor()), starts_at, ends_at: starts_at.plus(secs(1800)) }
}

/// Looks up facts as the server does: three pharmacies, two couriers, the doctors, and slots 1 to 9.
pub fn facts(command: &Command) -> Facts {
    let mut facts = Facts::default();
    match command.needs() {
        Some(Need::Slot(id)) => facts.slot = (1..10).map(slot).find(|slot| slot.id == id),
        Some(Need::Doctor(id)) => {
            facts.doctor = [doctor(), colleague()].iter().map(as_person).find(|doctor| doctor.id == id);
        }
        Some(Need::Pharmacy(id)) => {
            facts.pharmacy = (1..4).map(pharmacy).find(|pharmacy| pharmacy.id == id);
        }
        Some(Need::Courier(id)) => facts.courier = (1..3).map(|n| as_person(&courier(n))).find(|c| c.id == id),
        None => {}
    }
    facts
}

pub fn pharmacy(n: u128) -> Pharmacy {
    Pharmacy { id: pharmacy_id(n), name: text("Corner Pharmacy"), address: text("1 Main Street") }
}

pub fn reason() -> Reason {
    Reason { reason: text("because") }
}

pub fn item() -> NewItem {
    NewItem { medicine: text("Amoxicillin 500 mg"), dosage: text("three times a day"), quantity: 21, days: 7 }
}

pub fn to_home() -> NewHandOver {
    NewHandOver::Delivery(text("2 Side Street"))
}

/// A room under test.
#[derive(Clone)]
pub struct Clinic {
    pub room: Room,
    pub log: Vec<Record>,
    pub now: Timestamp,
    pub policy: Policy,
    pub limits: Limits,
    ids: u128,
}

impl Clinic {
    pub fn new(policy: Policy) -> Self {
        Self {
            room: Room::new(RoomId(uuid(0))),
            log: Vec::new(),
            now: start(),
            policy,
            limits: Limits::default(),
            ids: 1_000,
        }
    }

    /// A room with the default policy.
    pub fn with_default_policy() -> Self {
        Self::new(Policy::default())
    }

    pub fn advance(&mut self, span: Duration) {
        self.now = self.now.plus(span);
    }

    /// Decides a command without applying the events.
    pub fn decide(&self, who: &Actor, command: &Command, expect: Option<u64>) -> Result<Vec<Event>, Refusal> {
        let mut ids = self.ids;
        let mut fresh = || {
            ids += 1;
            uuid(ids)
        };
        let facts = facts(command);
        let mut context = Context {
            now: self.now,
            actor: who,
            facts: &facts,
            policy: &self.policy,
            limits: &self.limits,
            expect,
            fresh: &mut fresh,
        };
        self.room.decide(command, &mut context)
    }

    /// Decides a command and applies the events, as the hub does after the commit.
    pub fn submit(&mut self, who: &Actor, command: Command) -> Result<Vec<Event>, Refusal> {
        let events = self.decide(who, &command, None)?;
        self.apply(who, &events);
        Ok(events)
    }

    /// Like `submit`, for commands that must succeed. Returns the kinds of the events.
    #[track_caller]
    pub fn ok(&mut self, who: &Actor, command: Command) -> Vec<&'static str> {
        let kind = command.kind();
        match self.submit(who, command) {
            Ok(events) => events.iter().map(Event::kind).collect(),
            Err(refusal) => panic!("{kind} by {:?} was refused: {refusal:?}", who.role()),
        }
    }

    pub fn apply(&mut self, who: &Actor, events: &[Event]) {
        self.ids += events.len() as u128 + 1;
        for event in events {
            let seq = self.room.head() + 1;
            let room = self.room.id();
            let record = Record { room, seq, at: self.now, actor: who.by(), command: None, event: event.clone() };
            assert!(self.room.apply(&record), "the next record is applied");
            self.log.push(record);
        }
    }

    pub fn timer(&mut self) -> Vec<&'static str> {
        self.ok(&Actor::System, Command::Timer(Nothing {}))
    }

    pub fn presence(&mut self, party: Party, here: bool) -> Vec<&'static str> {
        self.ok(&Actor::System, Command::Presence(PresenceChange { party, here }))
    }

    /// Returns the guests who may enter or have entered.
    pub fn guests(&self) -> Vec<Actor> {
        let guest = |it: rooms::room::snapshot::GuestView| Actor::Person {
            id: it.id,
            role: Role::Guest,
            name: it.name,
            pharmacy: None,
        };
        self.care().guests.into_iter().map(guest).collect()
    }

    /// Returns everybody, including the guests.
    pub fn everybody(&self) -> Vec<Actor> {
        everybody().into_iter().chain(self.guests()).collect()
    }

    pub fn care(&self) -> Snapshot {
        self.room.snapshot(&View::Care, self.now)
    }

    pub fn state(&self) -> &'static str {
        self.care().consultation.expect("care sees the consultation").state.as_str()
    }

    /// Returns the states of the newest prescription, dispensing and delivery.
    pub fn medicine_states(&self) -> (&'static str, &'static str, &'static str) {
        let care = self.care();
        (
            care.prescriptions.last().map_or("", |p| p.state.as_str()),
            care.dispensings.last().map_or("", |d| d.state.as_str()),
            care.deliveries.last().map_or("", |d| d.state.as_str()),
        )
    }

    pub fn prescription(&self) -> PrescriptionId {
        self.care().prescriptions.last().expect("a prescription").id
    }

    pub fn dispensing(&self) -> DispensingId {
        self.care().dispensings.last().expect("a dispensing").id
    }

    pub fn delivery(&self) -> DeliveryId {
        self.care().deliveries.last().expect("a delivery").id
    }

    pub fn call(&self) -> rooms::room::snapshot::CallView {
        self.care().call.expect("a call")
    }

    pub fn request(&mut self) -> &mut Self {
        self.ok(&patient(), request_slot(1));
        self
    }

    pub fn booked(&mut self) -> &mut Self {
        self.request().ok(&patient(), Command::Confirm(Nothing {}));
        self
    }

    pub fn waiting(&mut self) -> &mut Self {
        self.booked().ok(&patient(), check_in());
        self
    }

    pub fn in_progress(&mut self) -> &mut Self {
        self.waiting().ok(&doctor(), Command::Admit(Nothing {}));
        self.ok(&patient(), Command::Enter(Nothing {}));
        self
    }

    pub fn signed(&mut self) -> &mut Self {
        self.in_progress().ok(&doctor(), draft());
        let prescription = self.prescription();
        self.ok(&doctor(), Command::Sign(PrescriptionRef { prescription }));
        self
    }

    pub fn sent(&mut self, n: u128, hand_over: NewHandOver) -> &mut Self {
        self.signed();
        self.send(n, hand_over);
        self
    }

    pub fn send(&mut self, n: u128, hand_over: NewHandOver) {
        let prescription = self.prescription();
        self.ok(&patient(), Command::Send(SendPrescription { prescription, pharmacy: pharmacy_id(n), hand_over }));
    }

    pub fn dispense(&mut self, n: u128, to: &[&str]) -> &mut Self {
        for to in to {
            let dispensing = self.dispensing();
            self.ok(&pharmacist(n), move_dispensing(dispensing, to));
        }
        self
    }

    pub fn deliver(&mut self, to: &[&str]) -> &mut Self {
        for to in to {
            let delivery = self.delivery();
            self.ok(&courier(1), move_delivery(delivery, to, self.now));
        }
        self
    }

    /// Advances to a delivery assigned to courier 1.
    pub fn assigned_delivery(&mut self) -> &mut Self {
        self.sent(1, to_home()).dispense(1, &["accepted", "preparing", "checked", "ready"]);
        let delivery = self.delivery();
        self.ok(&pharmacist(1), assign(delivery, 1));
        self
    }
}

pub fn request_slot(n: u128) -> Command {
    Command::Request(Request { slot: Some(slot(n).id), doctor: None, reason: Some(text("a cough")) })
}

pub fn walk_in() -> Command {
    Command::Request(Request { slot: None, doctor: Some(user(&doctor())), reason: None })
}

pub fn check_in() -> Command {
    Command::CheckIn(CheckIn { consent: text("2026-1"), identity: text("account") })
}

pub fn draft() -> Command {
    Command::Draft(Draft { items: vec![item()] })
}

pub fn chat(thread: Thread) -> Command {
    Command::Chat(Chat { text: text("hello"), thread })
}

pub fn device_check() -> rooms::media::Check {
    use rooms::media::{Check, Finding, Media};
    Check {
        camera: Finding::Ok,
        microphone: Finding::Ok,
        speaker: Finding::Skipped,
        socket: Finding::Ok,
        stun: Finding::Ok,
        turn_udp: Finding::Failed,
        turn_tcp: Finding::Ok,
        start: Some(Media::Video),
    }
}

pub fn quality() -> rooms::media::Quality {
    use rooms::media::{Media, MediaPath, MediaProtocol, Quality};
    Quality {
        path: MediaPath::Relay,
        protocol: MediaProtocol::Udp,
        setup_ms: 420,
        round_trip_ms: 38,
        loss_permille: 4,
        lasted_s: 600,
        interruptions: 1,
        lowest: Media::Audio,
    }
}

pub fn assign(delivery: DeliveryId, n: u128) -> Command {
    Command::AssignDelivery(AssignDelivery { delivery, courier: user(&courier(n)) })
}

pub fn proof() -> NewProof {
    NewProof { kind: rooms::party::ProofKind::Code, reference: text("4711") }
}

/// Parses a state from its name on the wire.
pub fn named<T: serde::de::DeserializeOwned>(name: &str) -> T {
    serde_json::from_value(name.into()).expect("a state's name")
}

/// Builds a move with exactly the data that its target requires.
pub fn move_dispensing(dispensing: DispensingId, to: &str) -> Command {
    Command::MoveDispensing(MoveDispensing {
        dispensing,
        to: named(to),
        hold: (to == "on_hold").then_some(rooms::reason::HoldReason::OutOfStock),
        reason: ["declined", "returned_to_stock"].contains(&to).then(|| text("because")),
        proof: (to == "completed").then(proof),
    })
}

/// Builds a move with exactly the data that its target requires.
pub fn move_delivery(delivery: DeliveryId, to: &str, now: Timestamp) -> Command {
    Command::MoveDelivery(MoveDelivery {
        delivery,
        to: named(to),
        reason: ["attempt_failed", "cancelled", "lost", "damaged"].contains(&to).then(|| text("because")),
        proof: (to == "delivered").then(proof),
        window: (to == "rescheduled").then(|| now.plus(secs(7200))),
        occurred_at: None,
    })
}
