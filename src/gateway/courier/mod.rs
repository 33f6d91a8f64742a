//! A courier partner: a company that carries parcels beside the clinic's own couriers.
//!
//! To the rooms the partner is a courier like any other, with an account that nobody signs in to: pharmacies give parcels
//! to it, and it moves them step by step. What it is told of a parcel is where to fetch it and where to bring it.

pub mod desk;
mod http;
pub mod sandbox;

use rooms::id::{DeliveryId, RoomId};
use rooms::party::Proof;
use rooms::state::DeliveryState;
use rooms::text::Prose;
use rooms::time::Timestamp;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use self::http::Http;
use self::sandbox::Sandbox;
use super::partner::{Failure, Partner};
use crate::clock::Clock;
use crate::config::CourierProvider;
use crate::egress::Egress;
use crate::store::Store;

/// Where somebody is to come to.
#[derive(Clone, Debug, Serialize)]
pub struct Stop {
    pub name: String,
    pub address: String,
}

/// What a courier is told of a parcel.
#[derive(Clone, Debug)]
pub struct Order {
    pub room: RoomId,
    pub delivery: DeliveryId,
    pub pickup: Stop,
    pub dropoff: Stop,
}

/// What a courier says of a parcel.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Report {
    pub delivery: DeliveryId,
    pub status: DeliveryState,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<Prose>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub proof: Option<Proof>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub window: Option<Timestamp>,
}

/// A courier's message: what it says, and when it happened.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Event {
    pub id: String,
    #[serde(rename = "type")]
    pub kind: String,
    pub occurred_at: Timestamp,
    pub data: Report,
}

/// The one kind of message that is about a parcel's way.
pub const MOVED: &str = "delivery.moved";

/// The partner that is set.
#[derive(Clone, Debug)]
pub enum Couriers {
    Sandbox(Sandbox),
    Http(Http),
}

impl Couriers {
    pub fn new(provider: &CourierProvider, egress: &Egress, store: Store, clock: Clock) -> Self {
        match provider {
            CourierProvider::Sandbox => Self::Sandbox(Sandbox::new(store, clock)),
            CourierProvider::Http { url, key } => {
                Self::Http(Http::new(Partner::new(egress, clock, url.clone(), key.clone())))
            }
        }
    }

    /// The name of its lane.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Sandbox(_) => "sandbox",
            Self::Http(_) => "http",
        }
    }

    /// Orders a parcel to be fetched; answers the partner's name for it.
    pub async fn order(&self, order: &Order, key: Uuid) -> Result<String, Failure> {
        match self {
            Self::Sandbox(sandbox) => sandbox.order(order).await,
            Self::Http(http) => http.order(order, key).await,
        }
    }

    /// Calls an order off.
    pub async fn cancel(&self, reference: &str, key: Uuid) -> Result<(), Failure> {
        match self {
            Self::Sandbox(sandbox) => sandbox.cancel(reference).await,
            Self::Http(http) => http.cancel(reference, key).await,
        }
    }
}
