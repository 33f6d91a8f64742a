//! The sandboxes' pages and buttons: what a person does in place of a partner. None of it is there with a real partner.

use axum::Json;
use axum::extract::State;
use axum::http::{HeaderMap, Method, Uri};
use axum::response::Response;
use rooms::id::{DeliveryId, RoomId};
use rooms::role::Role;
use rooms::state::DeliveryState;
use rooms::text::Line;
use rooms::time::Timestamp;
use rooms::wire::code::Code;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::http::operation::{Operation, Tag, get, post, put};
use crate::http::static_files;
use crate::integrations::courier::CourierClient;
use crate::integrations::courier::sandbox::SandboxCourier;
use crate::integrations::inbound::Accepted;
use crate::integrations::mail::transport::{MailTransport, SandboxMail};
use crate::integrations::partner::PartnerError;
use crate::integrations::payment::PaymentClient;
use crate::integrations::payment::sandbox::{Choice, SandboxPayments};
use crate::store::sandbox::{SandboxFaults, SandboxPayment, SandboxPaymentState};
use crate::web::extract::{Body, Path};
use crate::web::{AppState, Problem};

const ADMIN: &[Role] = &[Role::Admin];

pub fn operations() -> Vec<Operation> {
    vec![
        get("/sandbox/checkout/{payment}", "getSandboxCheckout", page)
            .for_anyone()
            .about(Tag::Sandbox, "A fake checkout page; no money moves")
            .answers_as(200, "A page.", "text/html"),
        get("/v1/sandbox/payments/{payment}", "getSandboxPayment", payment)
            .for_anyone()
            .about(Tag::Sandbox, "Shows a played payment to whoever has its address")
            .answers::<Played>(200, "The payment."),
        post("/v1/sandbox/payments/{payment}", "settleSandboxPayment", settle)
            .for_anyone()
            .without_key()
            .about(Tag::Sandbox, "Pays, or declines to")
            .body::<Settlement>()
            .answers::<Played>(200, "The payment as it is now.")
            .errors(&[Code::IllegalTransition]),
        put("/v1/sandbox/payments/{payment}/whims", "setSandboxWhims", whims)
            .for_anyone()
            .without_key()
            .about(Tag::Sandbox, "Tells a played payment what to do wrong")
            .body::<SandboxFaults>()
            .answers::<Played>(200, "The payment as it is now."),
        get("/v1/sandbox/parcels", "listSandboxParcels", parcels)
            .for_roles(ADMIN)
            .about(Tag::Sandbox, "Lists the parcels that the played courier moved last")
            .answers::<Items<Parcel>>(200, "The last moved first.")
            .errors(&[Code::NotFound]),
        post("/v1/sandbox/parcels/{parcel}/moves", "moveSandboxParcel", push)
            .for_roles(ADMIN)
            .about(Tag::Sandbox, "Lets the played courier report a step")
            .body::<Push>()
            .answers::<Pushed>(200, "It was reported.")
            .errors(&[Code::IllegalTransition]),
        get("/v1/sandbox/mail", "listSandboxMail", mail)
            .for_roles(ADMIN)
            .about(Tag::Sandbox, "Shows the mail that went into the folder")
            .answers::<Items<SandboxMail>>(200, "Newest first, at most 50.")
            .errors(&[Code::NotFound]),
    ]
}

/// A played payment, as its checkout page shows it.
#[derive(Serialize, JsonSchema)]
#[schemars(rename = "SandboxPayment")]
struct Played {
    room: RoomId,
    amount: u64,
    currency: Line,
    state: SandboxPaymentState,
    whims: SandboxFaults,
}

#[derive(Clone, Copy, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
enum Action {
    Pay,
    Decline,
}

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(rename = "SandboxSettlement")]
struct Settlement {
    action: Action,
}

/// A parcel of the played courier.
#[derive(Serialize, JsonSchema)]
#[schemars(rename = "SandboxParcel")]
struct Parcel {
    id: Uuid,
    delivery: DeliveryId,
    room: RoomId,
    /// What the courier said last.
    state: String,
    /// When it moves on by itself.
    next_at: Option<Timestamp>,
    updated_at: Timestamp,
}

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(rename = "SandboxStep")]
struct Push {
    to: DeliveryState,
    /// When it happened, for a report that comes late.
    #[serde(default)]
    occurred_at: Option<Timestamp>,
}

#[derive(Serialize, JsonSchema)]
#[schemars(rename = "SandboxReported")]
struct Pushed {
    /// False if the room knew it already.
    taken: bool,
}

/// A short list.
#[derive(Serialize, JsonSchema)]
struct Items<T> {
    items: Vec<T>,
}

impl From<SandboxPayment> for Played {
    fn from(payment: SandboxPayment) -> Self {
        let SandboxPayment { room, amount, currency, state, faults: whims, .. } = payment;
        Self { room, amount, currency, state, whims }
    }
}

fn payments(state: &AppState) -> Result<&SandboxPayments, Problem> {
    match state.integrations.payment().client() {
        PaymentClient::Sandbox(sandbox) => Ok(sandbox),
        PaymentClient::Stripe(_) => Err(Problem::not_found("sandbox")),
    }
}

async fn find(state: &AppState, id: Uuid) -> Result<SandboxPayment, Problem> {
    payments(state)?.payment(id).await?.ok_or_else(|| Problem::not_found("payment"))
}

async fn page(State(state): State<AppState>, method: Method, headers: HeaderMap) -> Result<Response, Problem> {
    payments(&state)?;
    Ok(static_files::serve(method, Uri::from_static("/sandbox/checkout.html"), headers).await)
}

async fn payment(State(state): State<AppState>, Path(id): Path<Uuid>) -> Result<Json<Played>, Problem> {
    Ok(Json(find(&state, id).await?.into()))
}

async fn settle(
    State(state): State<AppState>,
    Path(id): Path<Uuid>,
    Body(Settlement { action }): Body<Settlement>,
) -> Result<Json<Played>, Problem> {
    let payment = find(&state, id).await?;
    let choice = match action {
        Action::Pay => Choice::Pay,
        Action::Decline => Choice::Decline,
    };
    let event = payments(&state)?.choose(&payment, choice).await.map_err(|error| match error {
        PartnerError::Retryable { why, .. } => Problem::new(Code::Unavailable, why),
        PartnerError::Refused(why) => Problem::new(Code::IllegalTransition, why),
    })?;
    let settled = || Problem::new(Code::IllegalTransition, "this payment is settled");
    let event = event.ok_or_else(settled)?;
    for _ in 0..=u32::from(payment.faults.twice) {
        state.integrations.payment().receive_from_sandbox(&event).await?;
    }
    Ok(Json(find(&state, id).await?.into()))
}

async fn whims(
    State(state): State<AppState>,
    Path(id): Path<Uuid>,
    Body(whims): Body<SandboxFaults>,
) -> Result<Json<Played>, Problem> {
    payments(&state)?.set_faults(id, whims).await?;
    Ok(Json(find(&state, id).await?.into()))
}

fn courier(state: &AppState) -> Result<&SandboxCourier, Problem> {
    match state.integrations.courier().map(|courier| courier.client()) {
        Some(CourierClient::Sandbox(sandbox)) => Ok(sandbox),
        Some(CourierClient::Http(_)) | None => Err(Problem::not_found("sandbox")),
    }
}

async fn parcels(State(state): State<AppState>) -> Result<Json<Items<Parcel>>, Problem> {
    let parcels = courier(&state)?.parcels().await?;
    let items = parcels.into_iter().map(|it| Parcel {
        id: it.id,
        delivery: it.delivery,
        room: it.room,
        state: it.state,
        next_at: it.next_at,
        updated_at: it.updated_at,
    });
    Ok(Json(Items { items: items.collect() }))
}

async fn push(
    State(state): State<AppState>,
    Path(id): Path<Uuid>,
    Body(Push { to, occurred_at }): Body<Push>,
) -> Result<Json<Pushed>, Problem> {
    let step = courier(&state)?.advance(id, to, occurred_at).await?;
    let step = step.ok_or_else(|| Problem::not_found("parcel, or no courier makes this step"))?;
    let adapter = state.integrations.courier().ok_or_else(|| Problem::not_found("sandbox"))?;
    let accepted = adapter.receive_from_sandbox(&step).await?;
    Ok(Json(Pushed { taken: accepted == Accepted::Applied }))
}

async fn mail(State(state): State<AppState>) -> Result<Json<Items<SandboxMail>>, Problem> {
    let Some(MailTransport::Folder(folder)) = state.integrations.mail().map(|mail| mail.transport()) else {
        return Err(Problem::not_found("sandbox"));
    };
    let items = folder.list().await.map_err(|error| {
        tracing::warn!(%error, "the mail folder cannot be read");
        Problem::new(Code::Unavailable, "the mail folder cannot be read")
    })?;
    Ok(Json(Items { items }))
}
