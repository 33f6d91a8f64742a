//! Rows of the live feeds.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::id::{DeliveryId, DispensingId, PharmacyId, PrescriptionId, RoomId};
use crate::party::{Person, Pharmacy};
use crate::state::{ConsultationState, DeliveryState, DispensingState, PrescriptionState};
use crate::text::Text;
use crate::time::Timestamp;

/// One row of a feed. `key` identifies it within its feed.
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
    /// In `lobby`: a waiting patient. The doctor sees all rows, a patient sees their own.
    Waiting {
        room: RoomId,
        /// Absent for other patients.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        patient: Option<Person>,
        state: ConsultationState,
        /// 1 is the next patient; 0 is the patient being called.
        position: u32,
        /// Estimated from this doctor's recent consultations; absent if there are none.
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
