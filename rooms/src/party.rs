//! People, places and goods: the nouns that commands, events and snapshots share.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::id::{PharmacyId, SlotId, UserId};
use crate::text::Text;
use crate::time::Timestamp;

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Person {
    pub id: UserId,
    pub name: Text<200>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Pharmacy {
    pub id: PharmacyId,
    pub name: Text<200>,
    pub address: Text<400>,
}

/// A slot as the log records it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Slot {
    pub id: SlotId,
    pub doctor: Person,
    pub starts_at: Timestamp,
    pub ends_at: Timestamp,
}

/// One of the two sides of a consultation.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Party {
    Patient,
    Doctor,
}

impl Party {
    /// The other side.
    pub fn other(self) -> Self {
        match self {
            Party::Patient => Party::Doctor,
            Party::Doctor => Party::Patient,
        }
    }
}

/// What brings a guest.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum GuestKind {
    Relative,
    Interpreter,
}

/// The conversation that a chat message belongs to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Thread {
    /// The clinical thread: patient, doctor and the guests they invited.
    #[default]
    Care,
    /// The dispensing thread with one pharmacy.
    Pharmacy(PharmacyId),
}

/// A room's rules, fixed when it opens.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Policy {
    /// The version of the consent text that a patient must have agreed to.
    pub consent: Text<200>,
    /// How long a slot is held for a patient who has not confirmed, in seconds.
    pub hold_s: u32,
    /// How long a call rings, in seconds.
    pub ring_s: u32,
    /// How many calls may go unanswered before the patient counts as a no-show.
    pub rings: u32,
    /// How late the doctor may be before the patient is released, in seconds.
    pub doctor_grace_s: u32,
    /// How late a patient with a slot may check in, in seconds.
    pub patient_grace_s: u32,
    /// How long before the slot's start a patient may check in, in seconds. Absent in rooms from before this limit: at any
    /// time.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub check_in_s: Option<u32>,
    /// How long an interrupted consultation waits for the missing side, in seconds.
    pub interrupted_s: u32,
    /// How long a pharmacy may claim a signed prescription, in seconds.
    pub prescription_valid_s: u32,
    /// The longest supply of one item, in days.
    pub max_days: u16,
    /// Whether a pharmacist must review a prescription before it takes effect.
    pub review: bool,
    /// Whether calls send media through a relay only, so that neither side learns the other's network address.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub relay_only: bool,
    /// The price of the consultation in minor units; 0 means that there is no payment.
    pub price: u64,
    /// ISO 4217.
    pub currency: Text<200>,
}

impl Default for Policy {
    fn default() -> Self {
        let line = |text| Text::stored(text).expect("a short literal is a line");
        Self {
            consent: line("2026-1"),
            hold_s: 300,
            ring_s: 60,
            rings: 3,
            doctor_grace_s: 3600,
            patient_grace_s: 900,
            check_in_s: None,
            interrupted_s: 300,
            prescription_valid_s: 7 * 86_400,
            max_days: 90,
            review: false,
            relay_only: false,
            price: 0,
            currency: line("EUR"),
        }
    }
}

/// One medicine of a prescription.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Item {
    /// Name and strength, e.g. `Amoxicillin 500 mg`.
    pub medicine: Text<200>,
    /// How to take it.
    pub dosage: Text<400>,
    /// Number of units to dispense, 1 to 9999.
    #[schemars(range(min = 1, max = 9999))]
    pub quantity: u16,
    /// Number of days that the supply lasts, 1 to the policy's `max_days`.
    #[schemars(range(min = 1, max = 366))]
    pub days: u16,
}

/// How the patient receives the medicine.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum HandOver {
    Pickup,
    /// Delivery to this address.
    Delivery(Text<400>),
}

/// Proof of a hand-over to the patient.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Proof {
    pub kind: ProofKind,
    /// The code, or a reference to the signature or photo; never the picture itself.
    pub reference: Text<200>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum ProofKind {
    Code,
    Signature,
    IdCard,
    Photo,
}
