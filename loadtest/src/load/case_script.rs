//! The script of a whole case, from the check-in to the medicine in the patient's hands.

use std::str::FromStr;

use rooms::command::{
    AssignDelivery, Chat, CheckIn, Command, Draft, MoveDelivery, MoveDispensing, NewHandOver, NewItem, NewProof, Note,
    Nothing, PrescriptionRef, SendPrescription,
};
use rooms::id::{DeliveryId, DispensingId, PharmacyId, PrescriptionId, UserId};
use rooms::party::{ProofKind, Thread};
use rooms::state::{DeliveryState, DispensingState};
use rooms::text::{Line, Prose, TextError};
use serde::Deserialize;

use crate::load::members::{COURIER, DOCTOR, PATIENT, PHARMACIST};

/// One step of a case.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Step {
    CheckIn,
    Admit,
    Enter,
    /// In the consultation, by the doctor or the patient.
    CareMessage(usize),
    Draft,
    Sign,
    Send,
    End,
    Complete,
    Dispense(DispensingState),
    /// In the pharmacy's thread.
    PharmacyMessage(usize),
    Assign,
    Deliver(DeliveryState),
}

/// The script of a case, and its current position.
#[derive(Clone, Debug)]
pub struct CaseScript {
    steps: std::rc::Rc<[Step]>,
    at: usize,
    pharmacy: PharmacyId,
    courier: Option<UserId>,
    consent: Line,
    body: Prose,
    prescription: Option<PrescriptionId>,
    dispensing: Option<DispensingId>,
    delivery: Option<DeliveryId>,
    failed: bool,
}

impl CaseScript {
    /// Creates a case with this many messages, two thirds of them in the consultation. With a courier the medicine is
    /// delivered; otherwise the patient picks it up. `consent` is the version of the text that the patient accepts.
    pub fn new(pharmacy: PharmacyId, courier: Option<UserId>, consent: Line, body: Prose, messages: usize) -> Self {
        use Step::*;
        let care_messages = messages - messages / 3;
        let mut steps = vec![CheckIn, Admit, Enter];
        steps.extend((0..care_messages).map(|n| CareMessage(if n % 2 == 0 { DOCTOR } else { PATIENT })));
        steps.extend([Draft, Sign, Send, End, Complete]);
        steps.extend([DispensingState::Accepted, DispensingState::Preparing].map(Dispense));
        steps.extend((0..messages / 3).map(|n| PharmacyMessage([PHARMACIST, PATIENT, DOCTOR][n % 3])));
        steps.extend([DispensingState::Checked, DispensingState::Ready].map(Dispense));
        if courier.is_some() {
            steps.push(Assign);
            let way = [DeliveryState::PickedUp, DeliveryState::OutForDelivery, DeliveryState::Delivered];
            steps.extend(way.map(Deliver));
        } else {
            steps.push(Dispense(DispensingState::Completed));
        }
        Self {
            steps: steps.into(),
            at: 0,
            pharmacy,
            courier,
            consent,
            body,
            prescription: None,
            dispensing: None,
            delivery: None,
            failed: false,
        }
    }

    /// Returns the number of steps.
    pub fn len(&self) -> usize {
        self.steps.len()
    }

    pub fn is_done(&self) -> bool {
        self.at >= self.steps.len()
    }

    /// Returns whether no further step follows.
    pub fn is_over(&self) -> bool {
        self.failed || self.is_done()
    }

    pub fn is_failed(&self) -> bool {
        self.failed
    }

    /// Returns the current step's name.
    pub fn name(&self) -> String {
        self.steps.get(self.at).map_or_else(|| "none".to_owned(), |step| format!("{step:?}"))
    }

    /// Returns the next step and the member who sends it; `None` at the end and after a refusal.
    pub fn step(&self) -> Option<(usize, Command)> {
        let step = self.steps.get(self.at).filter(|_| !self.failed)?;
        let chat = |thread| Command::Chat(Chat { text: self.body.clone(), thread });
        Some(match *step {
            Step::CheckIn => {
                (PATIENT, Command::CheckIn(CheckIn { consent: self.consent.clone(), identity: text("account") }))
            }
            Step::Admit => (DOCTOR, Command::Admit(Nothing {})),
            Step::Enter => (PATIENT, Command::Enter(Nothing {})),
            Step::CareMessage(who) => (who, chat(Thread::Care)),
            Step::Draft => {
                let item =
                    NewItem { medicine: text("Testamol 500 mg"), dosage: text("one a day"), quantity: 10, days: 10 };
                (DOCTOR, Command::Draft(Draft { items: vec![item] }))
            }
            Step::Sign => (DOCTOR, Command::Sign(PrescriptionRef { prescription: self.prescription? })),
            Step::Send => {
                let hand_over =
                    self.courier.map_or(NewHandOver::Pickup, |_| NewHandOver::Delivery(text("1 Test Street")));
                let (prescription, pharmacy) = (self.prescription?, self.pharmacy);
                (PATIENT, Command::Send(SendPrescription { prescription, pharmacy, hand_over }))
            }
            Step::End => (DOCTOR, Command::End(Nothing {})),
            Step::Complete => (DOCTOR, Command::Complete(Note { note: self.body.clone() })),
            Step::Dispense(to) => {
                let proof = (to == DispensingState::Completed).then(proof);
                let dispensing = self.dispensing?;
                (
                    PHARMACIST,
                    Command::MoveDispensing(MoveDispensing { dispensing, to, hold: None, reason: None, proof }),
                )
            }
            Step::PharmacyMessage(who) => (who, chat(Thread::Pharmacy(self.pharmacy))),
            Step::Assign => {
                let assign = AssignDelivery { delivery: self.delivery?, courier: self.courier? };
                (PHARMACIST, Command::AssignDelivery(assign))
            }
            Step::Deliver(to) => {
                let proof = (to == DeliveryState::Delivered).then(proof);
                let delivery = self.delivery?;
                let step = MoveDelivery { delivery, to, reason: None, proof, window: None, occurred_at: None };
                (COURIER, Command::MoveDelivery(step))
            }
        })
    }

    /// Returns how many of patient, doctor, and pharmacist, in this order, see the next step.
    pub fn audience(&self) -> usize {
        match self.steps.get(self.at) {
            Some(Step::Dispense(_) | Step::PharmacyMessage(_) | Step::Assign | Step::Deliver(_)) => PHARMACIST + 1,
            _ => PHARMACIST,
        }
    }

    /// Advances to the next step. Returns a member who may now join the room, if there is one.
    pub fn step_done(&mut self) -> Option<usize> {
        let step = self.steps.get(self.at).copied();
        self.at += 1;
        match step? {
            Step::Send => Some(PHARMACIST),
            Step::Assign => Some(COURIER),
            _ => None,
        }
    }

    /// Ends the case: the hub refused the step for good.
    pub fn fail(&mut self) {
        self.failed = true;
    }

    /// Returns whether the next step needs an id that no event has contained yet.
    pub fn awaits_id(&self) -> bool {
        !self.failed && !self.is_done() && self.step().is_none()
    }

    /// Reads from an event the ids that later steps need.
    pub fn read_ids(&mut self, text: &str) {
        #[derive(Deserialize)]
        struct IdFrame {
            event: IdEvent,
        }
        #[derive(Deserialize)]
        struct IdEvent {
            kind: String,
            data: Ids,
        }
        #[derive(Deserialize)]
        struct Ids {
            prescription: Option<PrescriptionId>,
            dispensing: Option<DispensingId>,
            delivery: Option<DeliveryId>,
        }
        const ID_EVENTS: [&str; 3] = ["prescription.drafted", "prescription.sent", "delivery.requested"];
        if !ID_EVENTS.iter().any(|kind| text.contains(kind)) {
            return;
        }
        let Ok(IdFrame { event: IdEvent { kind, data } }) = serde_json::from_str(text) else { return };
        match kind.as_str() {
            "prescription.drafted" => self.prescription = data.prescription,
            "prescription.sent" => self.dispensing = data.dispensing,
            "delivery.requested" => self.delivery = data.delivery,
            _ => {}
        }
    }
}

fn proof() -> NewProof {
    NewProof { kind: ProofKind::Code, reference: text("1234") }
}

fn text<T: FromStr<Err = TextError>>(text: &str) -> T {
    text.parse().expect("a short literal is a text")
}

#[cfg(test)]
mod tests {
    use uuid::Uuid;

    use super::*;

    fn case(courier: bool, messages: usize) -> CaseScript {
        let courier = courier.then(|| UserId(Uuid::now_v7()));
        CaseScript::new(PharmacyId(Uuid::now_v7()), courier, text("1"), Prose::parse("hello").unwrap(), messages)
    }

    fn deliver_id(case: &mut CaseScript, kind: &str, name: &str) {
        let id = Uuid::now_v7();
        case.read_ids(&format!(r#"{{"type":"event","event":{{"seq":1,"kind":"{kind}","data":{{"{name}":"{id}"}}}}}}"#));
    }

    #[test]
    fn case_runs_to_its_end_once_events_contain_its_ids() {
        for (courier, last) in [(true, "delivery.move"), (false, "dispensing.move")] {
            let mut case = case(courier, 9);
            let (mut kinds, mut joined) = (Vec::new(), Vec::new());
            while !case.is_done() {
                if case.awaits_id() {
                    match kinds.last() {
                        Some(&"prescription.draft") => deliver_id(&mut case, "prescription.drafted", "prescription"),
                        Some(&"consultation.complete") => deliver_id(&mut case, "prescription.sent", "dispensing"),
                        Some(&"dispensing.move") => deliver_id(&mut case, "delivery.requested", "delivery"),
                        other => panic!("awaits an id after {other:?}"),
                    }
                }
                let (_, command) = case.step().unwrap();
                kinds.push(command.kind());
                joined.extend(case.step_done());
            }
            assert_eq!(kinds.len(), case.len());
            assert_eq!((kinds[0], kinds[kinds.len() - 1]), ("consultation.check_in", last));
            assert_eq!(kinds.iter().filter(|kind| **kind == "chat.send").count(), 9);
            assert_eq!(joined, if courier { vec![PHARMACIST, COURIER] } else { vec![PHARMACIST] });
            assert!(case.step().is_none() && !case.awaits_id());
        }
    }

    #[test]
    fn refused_step_ends_the_case() {
        let mut case = case(false, 0);
        case.fail();
        assert!(case.step().is_none() && !case.awaits_id() && !case.is_done());
    }
}
