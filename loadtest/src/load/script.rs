//! The script of a room: the commands that its members send, repeated for as long as the test runs.

use rand::Rng;
use rand::rngs::StdRng;
use rooms::command::{Chat, Command, MoveDispensing, Nothing};
use rooms::id::{DispensingId, PharmacyId};
use rooms::party::Thread;
use rooms::reason::HoldReason;
use rooms::room::snapshot::Snapshot;
use rooms::state::{ConsultationState, DispensingState};
use rooms::text::Prose;
use serde::Serialize;

use crate::load::case_script::CaseScript;
use crate::load::members::{DOCTOR, PATIENT, PHARMACIST};

/// The kind of commands that make up the load.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum LoadKind {
    /// Messages in the pharmacy's thread, seen by all three members, from random members.
    #[default]
    Chat,
    /// The pharmacist puts the dispensing on hold and resumes it. All three members see it.
    Dispensing,
    /// The doctor puts the patient back and calls again, and the patient enters. The pharmacist sees none of it.
    Consultation,
}

/// A room's script. Steps that depend on each other are sent one at a time.
#[derive(Clone, Debug)]
pub enum Script {
    Chat {
        pharmacy: PharmacyId,
        body: Prose,
    },
    Dispensing {
        id: DispensingId,
        state: DispensingState,
    },
    Consultation {
        state: ConsultationState,
    },
    /// A whole case, once.
    Case(CaseScript),
}

/// A room in a state from which its script cannot start.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct ScriptError(pub &'static str);

impl Script {
    /// Creates the script for a room in the state `snapshot`, as [`Script::reader`] sees it. `bytes` is the length of a
    /// chat message.
    pub fn new(kind: LoadKind, pharmacy: PharmacyId, snapshot: &Snapshot, bytes: usize) -> Result<Self, ScriptError> {
        match kind {
            LoadKind::Chat => Self::chat(pharmacy, bytes),
            LoadKind::Dispensing => {
                let open = snapshot.dispensings.iter().find(|dispensing| dispensing.pharmacy.id == pharmacy);
                let open = open.ok_or(ScriptError("the room has no dispensing: seed again"))?;
                Ok(Self::Dispensing { id: open.id, state: open.state })
            }
            LoadKind::Consultation => {
                let consultation = snapshot.consultation.as_ref();
                let consultation = consultation.ok_or(ScriptError("the room has no consultation: seed again"))?;
                Ok(Self::Consultation { state: consultation.state })
            }
        }
    }

    /// Creates a script of messages of `bytes` bytes.
    pub fn chat(pharmacy: PharmacyId, bytes: usize) -> Result<Self, ScriptError> {
        let body = Prose::parse(&filler(bytes)).map_err(|_| ScriptError("a message has 1 to 4000 bytes"))?;
        Ok(Self::Chat { pharmacy, body })
    }

    /// Returns the member whose snapshot a script of this kind starts from.
    pub fn reader(kind: LoadKind) -> usize {
        match kind {
            LoadKind::Chat | LoadKind::Consultation => DOCTOR,
            LoadKind::Dispensing => PHARMACIST,
        }
    }

    /// Returns how many of patient, doctor, and pharmacist, in this order, see the next step.
    pub fn audience(&self) -> usize {
        match self {
            Self::Chat { .. } | Self::Dispensing { .. } => PHARMACIST + 1,
            Self::Consultation { .. } => PHARMACIST,
            Self::Case(case) => case.audience(),
        }
    }

    /// Returns whether only this member can send the script's steps.
    pub fn needs(&self, member: usize) -> bool {
        match self {
            Self::Chat { .. } => false,
            Self::Dispensing { .. } => member == PHARMACIST,
            Self::Consultation { .. } => member == PATIENT || member == DOCTOR,
            Self::Case(_) => true,
        }
    }

    /// Returns whether a step must be answered before the next one is sent.
    pub fn is_sequential(&self) -> bool {
        !matches!(self, Self::Chat { .. })
    }

    /// Returns the next step towards the loop and its sender; `None` inside the loop.
    pub fn prepare(&self) -> Result<Option<(usize, Command)>, ScriptError> {
        match self {
            Self::Dispensing { state: DispensingState::Received | DispensingState::Accepted, .. } => Ok(self.step()),
            Self::Dispensing { state: DispensingState::Preparing | DispensingState::OnHold, .. } => Ok(None),
            Self::Dispensing { .. } => Err(ScriptError("the dispensing is past its loop: seed again")),
            Self::Consultation { .. } if self.step().is_none() => {
                Err(ScriptError("the consultation is over: seed again"))
            }
            Self::Consultation { .. } | Self::Chat { .. } | Self::Case(_) => Ok(None),
        }
    }

    /// Returns the next step and its sender. If any member may send, picks one of `among`.
    pub fn next(&self, among: usize, random: &mut StdRng) -> Option<(usize, Command)> {
        match self {
            Self::Chat { pharmacy, body } => {
                let chat = Chat { text: body.clone(), thread: Thread::Pharmacy(*pharmacy) };
                Some((random.random_range(0..among), Command::Chat(chat)))
            }
            _ => self.step(),
        }
    }

    /// Advances to the next step. Returns a member who may now join the room, if there is one.
    pub fn step_done(&mut self) -> Option<usize> {
        match self {
            Self::Chat { .. } => {}
            Self::Case(case) => return case.step_done(),
            Self::Dispensing { state, .. } => *state = next_in_loop(*state),
            Self::Consultation { state } => {
                *state = match state {
                    ConsultationState::InProgress => ConsultationState::Waiting,
                    ConsultationState::Waiting => ConsultationState::Called,
                    _ => ConsultationState::InProgress,
                }
            }
        }
        None
    }

    /// Adopts the state `name` after a final refusal, for example after a call that nobody answered in time.
    pub fn step_refused(&mut self, name: Option<&str>) {
        match self {
            Self::Chat { .. } => {}
            Self::Case(case) => case.fail(),
            Self::Dispensing { state, .. } => {
                *state = DispensingState::ALL.into_iter().find(|known| Some(known.as_str()) == name).unwrap_or(*state);
            }
            Self::Consultation { state } => {
                *state =
                    ConsultationState::ALL.into_iter().find(|known| Some(known.as_str()) == name).unwrap_or(*state);
            }
        }
    }

    fn step(&self) -> Option<(usize, Command)> {
        match self {
            Self::Chat { .. } => None,
            Self::Case(case) => case.step(),
            Self::Dispensing { id, state } => {
                let to = next_in_loop(*state);
                let hold = (to == DispensingState::OnHold).then_some(HoldReason::OutOfStock);
                let step = MoveDispensing { dispensing: *id, to, hold, reason: None, proof: None };
                Some((PHARMACIST, Command::MoveDispensing(step)))
            }
            Self::Consultation { state } => match state {
                ConsultationState::InProgress => Some((DOCTOR, Command::PutBack(Nothing {}))),
                ConsultationState::Waiting => Some((DOCTOR, Command::Admit(Nothing {}))),
                ConsultationState::Called => Some((PATIENT, Command::Enter(Nothing {}))),
                _ => None,
            },
        }
    }
}

/// Returns the next state in the dispensing loop.
fn next_in_loop(state: DispensingState) -> DispensingState {
    match state {
        DispensingState::Received => DispensingState::Accepted,
        DispensingState::Preparing => DispensingState::OnHold,
        _ => DispensingState::Preparing,
    }
}

/// Returns filler text of the given length, 1 to 4000.
pub fn filler(bytes: usize) -> String {
    let mut text = "take one tablet in the morning with water ".repeat(bytes / 42 + 1);
    text.truncate(bytes);
    // The server trims trailing spaces.
    if text.ends_with(' ') {
        text.pop();
        text.push('.');
    }
    text
}

#[cfg(test)]
mod tests {
    use rand::SeedableRng;
    use uuid::Uuid;

    use super::*;

    #[test]
    fn dispensing_is_prepared_and_then_loops() {
        let id = DispensingId(Uuid::now_v7());
        let mut script = Script::Dispensing { id, state: DispensingState::Received };
        let mut steps = Vec::new();
        while let Some((who, _)) = script.prepare().unwrap() {
            assert_eq!(who, PHARMACIST);
            script.step_done();
        }
        let mut random = StdRng::seed_from_u64(1);
        for _ in 0..3 {
            let Some((_, Command::MoveDispensing(step))) = script.next(3, &mut random) else { panic!("no step") };
            assert_eq!(step.hold.is_some(), step.to == DispensingState::OnHold);
            steps.push(step.to);
            script.step_done();
        }
        assert_eq!(steps, [DispensingState::OnHold, DispensingState::Preparing, DispensingState::OnHold]);
        assert!(Script::Dispensing { id, state: DispensingState::Completed }.prepare().is_err());
    }

    #[test]
    fn consultation_loops_and_adopts_the_state_of_a_refusal() {
        let mut script = Script::Consultation { state: ConsultationState::InProgress };
        let mut random = StdRng::seed_from_u64(1);
        let mut take_step = |script: &mut Script| {
            let (who, command) = script.next(3, &mut random).unwrap();
            script.step_done();
            (who, command)
        };
        assert_eq!(take_step(&mut script), (DOCTOR, Command::PutBack(Nothing {})));
        assert_eq!(take_step(&mut script), (DOCTOR, Command::Admit(Nothing {})));
        script.step_refused(Some("waiting"));
        assert_eq!(take_step(&mut script), (DOCTOR, Command::Admit(Nothing {})));
        assert_eq!(take_step(&mut script), (PATIENT, Command::Enter(Nothing {})));
        assert_eq!(script.audience(), PHARMACIST);
    }

    #[test]
    fn messages_have_the_requested_length() {
        for bytes in [1, 42, 43, 200, 4000] {
            assert_eq!(Prose::parse(&filler(bytes)).unwrap().as_str().len(), bytes);
        }
    }
}
