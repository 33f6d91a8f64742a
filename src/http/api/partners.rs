//! Receives partners' webhooks, which carry a signature in place of a token.

use axum::Json;
use axum::body::{Body, to_bytes};
use axum::extract::State;
use axum::http::HeaderMap;
use rooms::wire::code::Code;
use schemars::JsonSchema;
use serde::Serialize;
use serde_json::Value;

use crate::http::operation::{Operation, Tag, post};
use crate::integrations::inbound::{Accepted, InboundError, MAX_BODY_BYTES};
use crate::web::{AppState, Problem};

/// The headers that may carry the signature.
const SIGNATURE_HEADERS: [&str; 2] = ["partner-signature", "stripe-signature"];

pub fn operations() -> Vec<Operation> {
    let codes = [Code::Unauthenticated, Code::NotFound, Code::IllegalTransition, Code::TooLarge, Code::Malformed];
    vec![
        post("/v1/partners/payment", "hearPayment", payment)
            .for_partners()
            .without_key()
            .about(Tag::Partners, "Receives a webhook of the payment provider, signed in Partner-Signature")
            .body::<Value>()
            .answers::<WebhookResult>(200, "The message was applied, or was already known.")
            .errors(&codes),
        post("/v1/partners/courier", "hearCourier", courier)
            .for_partners()
            .without_key()
            .about(Tag::Partners, "Receives a webhook of the courier partner, signed in Partner-Signature")
            .body::<Value>()
            .answers::<WebhookResult>(200, "The message was applied, or was already known.")
            .errors(&codes),
    ]
}

/// The result of a webhook.
#[derive(Serialize, JsonSchema)]
#[schemars(rename = "Taken")]
struct WebhookResult {
    /// False if the message was known already, late, or irrelevant.
    taken: bool,
}

async fn payment(
    State(state): State<AppState>,
    headers: HeaderMap,
    body: Body,
) -> Result<Json<WebhookResult>, Problem> {
    let body = read_bounded(body).await?;
    respond(state.integrations.payment().receive(signature(&headers), &body).await)
}

async fn courier(
    State(state): State<AppState>,
    headers: HeaderMap,
    body: Body,
) -> Result<Json<WebhookResult>, Problem> {
    let courier = state.integrations.courier().ok_or_else(|| Problem::from(InboundError::NotConfigured))?;
    let body = read_bounded(body).await?;
    respond(courier.receive(signature(&headers), &body).await)
}

/// Reads a body, up to the longest message that partners send.
async fn read_bounded(body: Body) -> Result<bytes::Bytes, Problem> {
    let too_large = |_| Problem::new(Code::TooLarge, "the body must be complete and at most 64 KiB");
    to_bytes(body, MAX_BODY_BYTES).await.map_err(too_large)
}

fn signature(headers: &HeaderMap) -> Option<&str> {
    SIGNATURE_HEADERS.iter().find_map(|name| headers.get(*name)?.to_str().ok())
}

fn respond(accepted: Result<Accepted, InboundError>) -> Result<Json<WebhookResult>, Problem> {
    Ok(Json(WebhookResult { taken: accepted? == Accepted::Applied }))
}

impl From<InboundError> for Problem {
    fn from(error: InboundError) -> Self {
        let code = match error {
            InboundError::InvalidSignature(_) => Code::Unauthenticated,
            InboundError::Malformed(_) => Code::Malformed,
            InboundError::NotConfigured => Code::NotFound,
            InboundError::TooEarly => Code::IllegalTransition,
            InboundError::Unavailable => Code::Unavailable,
        };
        Self::new(code, error.to_string())
    }
}
