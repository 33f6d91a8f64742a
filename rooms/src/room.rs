//! The room: decide, apply, snapshot.

use crate::case::consultation::ConsultationState;
use crate::command::{Command, Context};
use crate::event::{ChatSent, Event, Person, Requested};
use crate::id::RoomId;
use crate::permission::{View, may};
use crate::record::Record;
use crate::refusal::Refusal;
use crate::role::{Actor, Role};
use crate::text::Line;
use crate::time::Timestamp;
use crate::wire::snapshot::{Allowed, ConsultationView, Snapshot};

/// The greatest number of events in one room.
pub const MAX_EVENTS: u64 = 20_000;

/// One room's state: what its log says, folded.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Room {
    id: RoomId,
    head: u64,
    opened: Option<Box<Requested>>,
    state: ConsultationState,
    version: u64,
}

impl Room {
    /// A room without events.
    pub fn new(id: RoomId) -> Self {
        Self { id, head: 0, opened: None, state: ConsultationState::Requested, version: 0 }
    }

    pub fn id(&self) -> RoomId {
        self.id
    }

    /// `seq` of the last event; 0 before the first.
    pub fn head(&self) -> u64 {
        self.head
    }

    /// What a command comes to. Changes nothing; the caller numbers, stores and then applies the events.
    pub fn decide(&self, command: &Command, context: &mut Context<'_>) -> Result<Vec<Event>, Refusal> {
        if !may(context.actor.role(), command) {
            return Err(Refusal::Forbidden);
        }
        if let (Command::Request(request), 0, Actor::Person { id, name, .. }) = (command, self.head, context.actor) {
            let slot = context.facts.slot.clone();
            let doctor = match (&slot, &context.facts.doctor) {
                (Some(slot), _) => slot.doctor.clone(),
                (None, Some(doctor)) => doctor.clone(),
                (None, None) => return Err(Refusal::NoSuch("doctor")),
            };
            let hold = std::time::Duration::from_secs(context.policy.hold_s.into());
            return Ok(vec![Event::Requested(Requested {
                patient: Person { id: *id, name: name.clone() },
                doctor,
                hold_until: slot.is_some().then(|| context.now.plus(hold)),
                slot,
                reason: request.reason.clone(),
                policy: context.policy.clone(),
            })]);
        }
        if self.view_of(context.actor, context.now).is_none() {
            return Err(Refusal::Forbidden);
        }
        match command {
            Command::Chat(chat) => Ok(vec![Event::ChatSent(ChatSent { text: chat.text.clone(), thread: chat.thread })]),
            Command::Timer(_) | Command::Presence(_) => Ok(vec![]),
            _ => Err(Refusal::Illegal {
                subject: "consultation",
                state: self.state.as_str().to_owned(),
                allowed: vec![],
            }),
        }
    }

    /// Takes the next record of this room's log; one that is not the next is not taken. Whether it was.
    pub fn apply(&mut self, record: &Record) -> bool {
        if record.room != self.id || record.seq != self.head + 1 {
            return false;
        }
        self.head = record.seq;
        match &record.event {
            Event::Requested(requested) => {
                self.opened = Some(Box::new(requested.clone()));
                self.version = record.seq;
            }
            Event::Moved(moved) => {
                self.state = moved.to;
                self.version = record.seq;
            }
            _ => {}
        }
        true
    }

    /// What part of the log this actor sees now; none for who has no part in this case.
    pub fn view_of(&self, actor: &Actor, _now: Timestamp) -> Option<View> {
        let opened = self.opened.as_ref()?;
        match actor {
            Actor::System => Some(View::Care),
            Actor::Person { id, role: Role::Patient, .. } if *id == opened.patient.id => Some(View::Care),
            Actor::Person { id, role: Role::Doctor, .. } if *id == opened.doctor.id => Some(View::Care),
            Actor::Person { .. } => None,
        }
    }

    /// `seq` of the last event that this view sees; 0 for none.
    pub fn visible_head(&self, view: &View) -> u64 {
        match view {
            View::Care => self.head,
            View::Pharmacy(_) | View::Courier(_) => 0,
        }
    }

    /// When `timer` has something to do, if nothing else happens before.
    pub fn wake_at(&self) -> Option<Timestamp> {
        None
    }

    /// The state as this view may see it, without marks and presence.
    pub fn snapshot(&self, _view: &View) -> Snapshot {
        let nobody = || Person { id: uuid::Uuid::nil().into(), name: Line::parse("-").expect("one character") };
        let opened = self.opened.as_deref();
        Snapshot {
            room: self.id,
            patient: opened.map_or_else(nobody, |o| o.patient.clone()),
            doctor: opened.map(|o| o.doctor.clone()),
            consultation: opened.map(|o| ConsultationView {
                state: self.state,
                version: self.version,
                slot: o.slot.clone(),
                reason: o.reason.clone(),
                consent: o.policy.consent.clone(),
                until: o.hold_until,
                waiting_since: None,
                missing: None,
                started_at: None,
                ended_at: None,
                note: None,
                allowed: Allowed::new(),
            }),
            prescriptions: vec![],
            dispensings: vec![],
            deliveries: vec![],
            payment: None,
            presence: vec![],
            marks: Default::default(),
        }
    }
}
