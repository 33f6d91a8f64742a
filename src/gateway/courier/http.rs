//! A courier partner by HTTP: an order is posted, the rest comes by webhooks.

use reqwest::Method;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use uuid::Uuid;

use super::{Order, Stop};
use crate::gateway::partner::{Content, Failure, Partner, reference};

/// The partner.
#[derive(Clone, Debug)]
pub struct Http {
    partner: Partner,
}

#[derive(Serialize)]
struct OrderBody<'a> {
    /// The hub's name for the parcel, which the partner's messages repeat.
    delivery: rooms::id::DeliveryId,
    pickup: &'a Stop,
    dropoff: &'a Stop,
}

#[derive(Deserialize)]
struct Accepted {
    id: String,
}

impl Http {
    pub fn new(partner: Partner) -> Self {
        Self { partner }
    }

    pub async fn order(&self, order: &Order, key: Uuid) -> Result<String, Failure> {
        let body = OrderBody { delivery: order.delivery, pickup: &order.pickup, dropoff: &order.dropoff };
        let body = serde_json::to_vec(&body).expect("an order has string keys");
        let accepted: Accepted = self.partner.call(Method::POST, "/v1/orders", Some(key), Content::Json(body)).await?;
        reference(&accepted.id)
    }

    pub async fn cancel(&self, reference: &str, key: Uuid) -> Result<(), Failure> {
        let path = format!("/v1/orders/{reference}/cancel");
        let _: Value = self.partner.call(Method::POST, &path, Some(key), Content::Nothing).await?;
        Ok(())
    }
}
