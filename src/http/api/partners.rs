//! What partners say: signed webhooks, which need no token.

use axum::Json;
use axum::body::{Body, to_bytes};
use axum::extract::State;
use axum::http::HeaderMap;
use rooms::wire::code::Code;
use schemars::JsonSchema;
use serde::Serialize;
use serde_json::Value;

use crate::gateway::inbound::{Deaf, Heard, MAX_BODY};
use crate::http::operation::{Operation, Tag, post};
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
    answer(state.gateway.payment().hear(signature(&headers), &body).await)
}

async fn courier(State(state): State<AppState>, headers: HeaderMap, body: Body) -> Result<Json<Taken>, Problem> {
    let courier = state.gateway.courier().ok_or_else(|| Problem::from(Deaf::Off))?;
    let body = bounded(body).await?;
    answer(courier.hear(signature(&headers), &body).await)
}

/// A body that is read no further than a message may be long.
async fn bounded(body: Body) -> Result<bytes::Bytes, Problem> {
    let too_large = |_| Problem::new(Code::TooLarge, "the body is larger than 64 KiB, or broke off");
    to_bytes(body, MAX_BODY).await.map_err(too_large)
}

fn signature(headers: &HeaderMap) -> Option<&str> {
    SIGNATURES.iter().find_map(|name| headers.get(*name)?.to_str().ok())
}

fn answer(heard: Result<Heard, Deaf>) -> Result<Json<Taken>, Problem> {
    Ok(Json(Taken { taken: heard? == Heard::Taken }))
}

impl From<Deaf> for Problem {
    fn from(deaf: Deaf) -> Self {
        let code = match deaf {
            Deaf::Unsigned(_) => Code::Unauthenticated,
            Deaf::Malformed(_) => Code::Malformed,
            Deaf::Off | Deaf::Unknown => Code::NotFound,
            Deaf::Early => Code::IllegalTransition,
            Deaf::Busy => Code::Unavailable,
        };
        Self::new(code, deaf.to_string())
    }
}
