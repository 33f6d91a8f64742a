//! A room's current state as one view may see it.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::case::payment::{self, PaymentAction};
use crate::id::{CallId, DeliveryId, DispensingId, PrescriptionId, RoomId, UserId};
use crate::media::Media;
use crate::party::{GuestKind, HandOver, Item, Party, Person, Pharmacy, Slot};
use crate::reason::HoldReason;
use crate::role::Role;
use crate::signal::{Mark, Presence};
use crate::state::{CallState, ConsultationState, DeliveryState, DispensingState, PaymentState, PrescriptionState};
use crate::text::Text;
use crate::time::Timestamp;

/// The command kinds and move targets that are possible now, by the role that may use them:
/// `{"doctor":["consultation.admit"]}`, and for moves `{"pharmacist":["dispensing.move:accepted"]}`.
pub type Allowed = BTreeMap<Role, Vec<String>>;

/// A room's state. Parts that the reader may not see are absent.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Snapshot {
    pub room: RoomId,
    pub patient: Person,
    /// Absent for couriers: which doctor the patient saw is a clinical fact.
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
    /// The guests who may enter or have entered; for guests only those who have. Absent for pharmacists and couriers.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub guests: Vec<GuestView>,
    /// Who is connected now. Filled in by the hub; empty in REST.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub presence: Vec<Presence>,
    /// Everybody's read receipts. Filled in by the hub.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub marks: BTreeMap<UserId, Mark>,
}

impl Snapshot {
    /// Returns the payment provider's next action. None if nothing is due, or if the view lacks the payment.
    pub fn payment_due(&self) -> Option<PaymentAction> {
        let (consultation, payment) = (self.consultation.as_ref()?, self.payment.as_ref()?);
        payment::due_action(payment.state, consultation.state, consultation.missing)
    }
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct GuestView {
    pub id: UserId,
    pub name: Text<200>,
    pub kind: GuestKind,
    /// When the link expires.
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
    /// Sends and receives media.
    pub connected: bool,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ConsultationView {
    pub state: ConsultationState,
    /// `seq` of the last event that changed it.
    pub version: u64,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub slot: Option<Slot>,
    /// The reason for the visit.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<Text<4000>>,
    /// The version of the consent text that the patient must agree to at check-in.
    pub consent: Text<200>,
    /// The end of the current hold, ring or grace period.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub until: Option<Timestamp>,
    /// When the check-in of a booking opens; absent if it is open at any time.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub check_in_from: Option<Timestamp>,
    /// When the patient checked in. Orders the queue; a missed call or a return to the queue does not change it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub waiting_since: Option<Timestamp>,
    /// The side that is missing from an interrupted consultation or a no-show; absent if both are missing.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub missing: Option<Party>,
    /// When the conversation began.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub started_at: Option<Timestamp>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ended_at: Option<Timestamp>,
    /// The signed note.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub note: Option<Text<4000>>,
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
    pub currency: Text<200>,
}
