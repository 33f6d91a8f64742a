//! Who and what state, as a reader may see it.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::case::call::{CallState, Media};
use crate::case::consultation::ConsultationState;
use crate::case::delivery::DeliveryState;
use crate::case::dispensing::{DispensingState, HoldReason};
use crate::case::guest::GuestKind;
use crate::case::payment::{self, PaymentState, PaymentWish};
use crate::case::prescription::PrescriptionState;
use crate::event::{HandOver, Item, Party, Person, Pharmacy, Slot};
use crate::id::{CallId, DeliveryId, DispensingId, PharmacyId, PrescriptionId, RoomId, UserId};
use crate::role::Role;
use crate::signal::{Mark, Presence};
use crate::text::{Line, Prose, Text};
use crate::time::Timestamp;

/// Command kinds and move targets that are possible now, by the role that may use them:
/// `{"doctor":["consultation.admit"]}`, and for moves `{"pharmacist":["dispensing.move:accepted"]}`.
pub type Allowed = BTreeMap<Role, Vec<String>>;

/// A room's state. What the reader may not see is absent.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Snapshot {
    pub room: RoomId,
    pub patient: Person,
    /// Absent for couriers: whom the patient saw is a clinical fact.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub doctor: Option<Person>,
    /// Absent for pharmacists, couriers and guests.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub consultation: Option<ConsultationView>,
    pub prescriptions: Vec<PrescriptionView>,
    pub dispensings: Vec<DispensingView>,
    pub deliveries: Vec<DeliveryView>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub payment: Option<PaymentView>,
    /// The latest call. Absent before the first, and for pharmacists and couriers.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub call: Option<CallView>,
    /// Who was invited and still may come, or is in; for guests those who came in. Absent for pharmacists and couriers.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub guests: Vec<GuestView>,
    /// Who is connected now. Filled in by the hub, empty in REST.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub presence: Vec<Presence>,
    /// How far everybody got. Filled in by the hub.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub marks: BTreeMap<UserId, Mark>,
}

impl Snapshot {
    /// What the payment provider is to do next; nothing where nothing is to be paid, and in a view without the payment.
    pub fn payment_due(&self) -> Option<PaymentWish> {
        let (consultation, payment) = (self.consultation.as_ref()?, self.payment.as_ref()?);
        payment::due(payment.state, consultation.state, consultation.missing)
    }
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct GuestView {
    pub id: UserId,
    pub name: Line,
    pub kind: GuestKind,
    /// The link is good until then.
    pub until: Timestamp,
    /// Whether the guest ever came in.
    pub entered: bool,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct CallView {
    pub id: CallId,
    pub state: CallState,
    /// `seq` of the last event that changed it.
    pub version: u64,
    /// What it was started with.
    pub media: Media,
    /// Who rang.
    pub by: UserId,
    /// The end of the ringing.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub until: Option<Timestamp>,
    /// Who is in it now.
    pub members: Vec<CallMember>,
    /// Whether media goes over a relay only.
    pub relay_only: bool,
    pub allowed: Allowed,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct CallMember {
    pub user: UserId,
    /// Sends and gets media.
    pub connected: bool,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ConsultationView {
    pub state: ConsultationState,
    /// `seq` of the last event that changed it.
    pub version: u64,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub slot: Option<Slot>,
    /// Why the patient comes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<Prose>,
    /// The version of the consent text to agree to at check-in.
    pub consent: Line,
    /// The end of the hold, the ring or the grace time that runs now.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub until: Option<Timestamp>,
    /// When the patient checked in: the order of the queue. Being put back or missing a call does not change it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub waiting_since: Option<Timestamp>,
    /// Who is missing from an interrupted consultation, or did not come to it; absent too when both are missing.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub missing: Option<Party>,
    /// When talking began.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub started_at: Option<Timestamp>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ended_at: Option<Timestamp>,
    /// The signed note.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub note: Option<Prose>,
    pub allowed: Allowed,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct PrescriptionView {
    pub id: PrescriptionId,
    pub state: PrescriptionState,
    pub version: u64,
    pub items: Vec<Item>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub replaces: Option<PrescriptionId>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub valid_until: Option<Timestamp>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pharmacy: Option<Pharmacy>,
    pub allowed: Allowed,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct DispensingView {
    pub id: DispensingId,
    pub prescription: PrescriptionId,
    pub pharmacy: Pharmacy,
    pub state: DispensingState,
    pub version: u64,
    pub hand_over: HandOver,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hold: Option<HoldReason>,
    pub allowed: Allowed,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct DeliveryView {
    pub id: DeliveryId,
    pub dispensing: DispensingId,
    pub pharmacy: Pharmacy,
    pub recipient: Person,
    pub address: Text<400>,
    pub state: DeliveryState,
    pub version: u64,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub courier: Option<Person>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub window: Option<Timestamp>,
    /// Failed attempts so far.
    pub attempts: u32,
    pub allowed: Allowed,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct PaymentView {
    pub state: PaymentState,
    pub amount: u64,
    pub currency: Line,
}

/// One row of a feed. `key` names it within its feed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct FeedItem {
    pub key: String,
    #[serde(flatten)]
    pub row: FeedRow,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum FeedRow {
    /// In `me` of patients and doctors.
    Consultation {
        room: RoomId,
        state: ConsultationState,
        patient: Person,
        doctor: Person,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        starts_at: Option<Timestamp>,
        prescriptions: Vec<PrescriptionState>,
        dispensings: Vec<DispensingState>,
        deliveries: Vec<DeliveryState>,
        updated_at: Timestamp,
    },
    /// In `lobby`: one who waits. For a patient only the own row, for the doctor all.
    Waiting {
        room: RoomId,
        /// Absent for other patients.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        patient: Option<Person>,
        state: ConsultationState,
        /// 1 is next; 0 is being called.
        position: u32,
        /// From this doctor's recent times; absent as long as there are none.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        estimate_s: Option<u32>,
        since: Timestamp,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        starts_at: Option<Timestamp>,
    },
    /// In `queue`, and in `me` of pharmacists.
    Dispensing {
        room: RoomId,
        dispensing: DispensingId,
        prescription: PrescriptionId,
        pharmacy: PharmacyId,
        state: DispensingState,
        patient: Person,
        items: u32,
        delivery: bool,
        received_at: Timestamp,
        updated_at: Timestamp,
    },
    /// In `me` of couriers.
    Delivery {
        room: RoomId,
        delivery: DeliveryId,
        state: DeliveryState,
        pharmacy: Pharmacy,
        recipient: Person,
        address: Text<400>,
        updated_at: Timestamp,
    },
}
