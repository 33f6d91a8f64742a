//! A courier partner: a company that carries parcels besides the clinic's own couriers.
//!
//! In the rooms, the partner is a courier like any other, with an account that nobody signs in to. Pharmacies assign
//! parcels to it, and it moves them step by step. It receives only the pickup and drop-off addresses of a parcel.

pub mod adapter;
mod http;
pub mod sandbox;

use rooms::command::NewProof;
use rooms::id::{DeliveryId, RoomId};
use rooms::state::DeliveryState;
use rooms::text::Prose;
use rooms::time::Timestamp;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use self::http::HttpCourier;
use self::sandbox::SandboxCourier;
use super::partner::{PartnerClient, PartnerError};
use crate::clock::Clock;
use crate::config::CourierProvider;
use crate::egress::Egress;
use crate::store::Store;

/// A pickup or drop-off address.
#[derive(Clone, Debug, Serialize)]
pub struct Stop {
    pub name: String,
    pub address: String,
}

/// An order to carry a parcel.
#[derive(Clone, Debug)]
pub struct CourierOrder {
    pub room: RoomId,
    pub delivery: DeliveryId,
    pub pickup: Stop,
    pub dropoff: Stop,
}

/// A report about a parcel.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct DeliveryReport {
    pub delivery: DeliveryId,
    pub status: DeliveryState,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<Prose>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub proof: Option<NewProof>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub window: Option<Timestamp>,
}

/// A courier's message: a report, and when the reported step happened.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct CourierEvent {
    pub id: String,
    #[serde(rename = "type")]
    pub kind: String,
    pub occurred_at: Timestamp,
    pub data: DeliveryReport,
}

/// The only kind of message that reports a step of a parcel.
pub const MOVED_EVENT: &str = "delivery.moved";

/// The client of the configured partner.
#[derive(Clone, Debug)]
pub enum CourierClient {
    Sandbox(SandboxCourier),
    Http(HttpCourier),
}

impl CourierClient {
    pub fn new(provider: &CourierProvider, egress: &Egress, store: Store, clock: Clock) -> Self {
        match provider {
            CourierProvider::Sandbox => Self::Sandbox(SandboxCourier::new(store, clock)),
            CourierProvider::Http { url, key } => {
                Self::Http(HttpCourier::new(PartnerClient::new(egress, clock, url.clone(), key.clone())))
            }
        }
    }

    /// Returns the name of its destination.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Sandbox(_) => "sandbox",
            Self::Http(_) => "http",
        }
    }

    /// Orders the pickup of a parcel. Returns the partner's reference for the order.
    pub async fn order(&self, order: &CourierOrder, key: Uuid) -> Result<String, PartnerError> {
        match self {
            Self::Sandbox(sandbox) => sandbox.order(order).await,
            Self::Http(http) => http.order(order, key).await,
        }
    }

    /// Cancels an order.
    pub async fn cancel(&self, reference: &str, key: Uuid) -> Result<(), PartnerError> {
        match self {
            Self::Sandbox(sandbox) => sandbox.cancel(reference).await,
            Self::Http(http) => http.cancel(reference, key).await,
        }
    }
}
