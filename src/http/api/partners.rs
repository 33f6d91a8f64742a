//! What partners say: signed webhooks, which need no token.

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

/// Headers that may carry the signature.
const SIGNATURES: [&str; 2] = ["partner-signature", "stripe-signature"];

pub fn operations() -> Vec<Operation> {
    let codes = [Code::Unauthenticated, Code::NotFound, Code::IllegalTransition, Code::TooLarge, Code::Malformed];
    vec![
        post("/v1/partners/payment", "hearPayment", payment)
            .for_partners()
            .without_key()
            .about(Tag::Partners, "Takes a webhook of the payment provider, signed in Partner-Signature")
            .body::<Value>()
            .answers::<Taken>(200, "It took effect, or is known.")
            .errors(&codes),
        post("/v1/partners/courier", "hearCourier", courier)
            .for_partners()
            .without_key()
            .about(Tag::Partners, "Takes a webhook of the courier partner, signed in Partner-Signature")
            .body::<Value>()
            .answers::<Taken>(200, "It took effect, or is known.")
            .errors(&codes),
    ]
}

/// What became of a webhook.
#[derive(Serialize, JsonSchema)]
struct Taken {
    /// False if it was known, late, or of no concern.
    taken: bool,
}

async fn payment(State(state): State<AppState>, headers: HeaderMap, body: Body) -> Result<Json<Taken>, Problem> {
    let body = bounded(body).await?;
    respond(state.integrations.payment().receive(signature(&headers), &body).await)
}

async fn courier(State(state): State<AppState>, headers: HeaderMap, body: Body) -> Result<Json<Taken>, Problem> {
    let courier = state.integrations.courier().ok_or_else(|| Problem::from(InboundError::NotConfigured))?;
    let body = bounded(body).await?;
    respond(courier.receive(signature(&headers), &body).await)
}

/// A body that is read no further than a message may be long.
async fn bounded(body: Body) -> Result<bytes::Bytes, Problem> {
    let too_large = |_| Problem::new(Code::TooLarge, "the body is larger than 64 KiB, or broke off");
    to_bytes(body, MAX_BODY_BYTES).await.map_err(too_large)
}

fn signature(headers: &HeaderMap) -> Option<&str> {
    SIGNATURES.iter().find_map(|name| headers.get(*name)?.to_str().ok())
}

fn respond(accepted: Result<Accepted, InboundError>) -> Result<Json<Taken>, Problem> {
    Ok(Json(Taken { taken: accepted? == Accepted::Applied }))
}

impl From<InboundError> for Problem {
    fn from(error: InboundError) -> Self {
        let code = match error {
            InboundError::InvalidSignature(_) => Code::Unauthenticated,
            InboundError::Malformed(_) => Code::Malformed,
            InboundError::NotConfigured | InboundError::UnknownSubject => Code::NotFound,
            InboundError::TooEarly => Code::IllegalTransition,
            InboundError::Unavailable => Code::Unavailable,
        };
        Self::new(code, error.to_string())
    }
}
