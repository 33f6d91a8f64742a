//! A client for a courier partner's HTTP API. The hub posts orders; the partner reports by webhook.

use reqwest::Method;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use uuid::Uuid;

use super::{CourierOrder, Stop};
use crate::integrations::partner::{PartnerClient, PartnerError, RequestBody, reference};

/// A client of the partner's API.
#[derive(Clone, Debug)]
pub struct HttpCourier {
    partner: PartnerClient,
}

#[derive(Serialize)]
struct OrderBody<'a> {
    /// The hub's id of the parcel, which the partner's messages repeat.
    delivery: rooms::id::DeliveryId,
    pickup: &'a Stop,
    dropoff: &'a Stop,
}

#[derive(Deserialize)]
struct AcceptedOrder {
    id: String,
}

impl HttpCourier {
    pub fn new(partner: PartnerClient) -> Self {
        Self { partner }
    }

    pub async fn order(&self, order: &CourierOrder, key: Uuid) -> Result<String, PartnerError> {
        let body = OrderBody { delivery: order.delivery, pickup: &order.pickup, dropoff: &order.dropoff };
        let body = serde_json::to_vec(&body).expect("an order has string keys");
        let accepted: AcceptedOrder =
            self.partner.call(Method::POST, "/v1/orders", Some(key), RequestBody::Json(body)).await?;
        reference(&accepted.id)
    }

    pub async fn cancel(&self, reference: &str, key: Uuid) -> Result<(), PartnerError> {
        let path = format!("/v1/orders/{reference}/cancel");
        let _: Value = self.partner.call(Method::POST, &path, Some(key), RequestBody::Empty).await?;
        Ok(())
    }
}
