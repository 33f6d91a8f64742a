//! Operations of the sandbox partners, with which a person plays the partner. Real partners have none of them.

use axum::Json;
use axum::extract::State;
use axum::http::{HeaderMap, Method, Uri};
use axum::response::Response;
use rooms::id::{DeliveryId, RoomId};
use rooms::role::Role;
use rooms::state::DeliveryState;
use rooms::text::Text;
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
            .about(Tag::Sandbox, "Shows the sandbox's checkout page; no money moves")
            .answers_as(200, "An HTML page.", "text/html"),
        get("/v1/sandbox/payments/{payment}", "getSandboxPayment", payment)
            .for_anyone()
            .about(Tag::Sandbox, "Shows a sandbox payment to anyone who knows its id")
            .answers::<SandboxPaymentView>(200, "The payment."),
        post("/v1/sandbox/payments/{payment}", "settleSandboxPayment", settle)
            .for_anyone()
            .without_key()
            .about(Tag::Sandbox, "Pays or declines")
            .body::<SandboxSettlement>()
            .answers::<SandboxPaymentView>(200, "The changed payment.")
            .errors(&[Code::IllegalTransition]),
        put("/v1/sandbox/payments/{payment}/whims", "setSandboxWhims", set_whims)
            .for_anyone()
            .without_key()
            .about(Tag::Sandbox, "Sets the faults that a sandbox payment simulates")
            .body::<SandboxFaults>()
            .answers::<SandboxPaymentView>(200, "The changed payment."),
        get("/v1/sandbox/parcels", "listSandboxParcels", parcels)
            .for_roles(ADMIN)
            .about(Tag::Sandbox, "Lists the sandbox courier's most recently moved parcels")
            .answers::<Items<SandboxParcelView>>(200, "Most recently moved first, at most 50.")
            .errors(&[Code::NotFound]),
        post("/v1/sandbox/parcels/{parcel}/moves", "moveSandboxParcel", move_parcel)
            .for_roles(ADMIN)
            .about(Tag::Sandbox, "Makes the sandbox courier report a step")
            .body::<SandboxStep>()
            .answers::<SandboxReported>(200, "The step was reported.")
            .errors(&[Code::IllegalTransition]),
        get("/v1/sandbox/mail", "listSandboxMail", mail)
            .for_roles(ADMIN)
            .about(Tag::Sandbox, "Lists the e-mail written to the folder")
            .answers::<Items<SandboxMail>>(200, "Newest first, at most 50.")
            .errors(&[Code::NotFound]),
    ]
}

/// A sandbox payment, as its checkout page shows it.
#[derive(Serialize, JsonSchema)]
#[schemars(rename = "SandboxPayment")]
struct SandboxPaymentView {
    room: RoomId,
    amount: u64,
    currency: Text<200>,
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
struct SandboxSettlement {
    action: Action,
}

/// A parcel of the sandbox courier.
#[derive(Serialize, JsonSchema)]
#[schemars(rename = "SandboxParcel")]
struct SandboxParcelView {
    id: Uuid,
    delivery: DeliveryId,
    room: RoomId,
    /// The state that the courier reported last.
    state: String,
    /// When it moves by itself.
    next_at: Option<Timestamp>,
    updated_at: Timestamp,
}

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct SandboxStep {
    to: DeliveryState,
    /// When the step happened, for a late report.
    #[serde(default)]
    occurred_at: Option<Timestamp>,
}

#[derive(Serialize, JsonSchema)]
struct SandboxReported {
    /// False if the room knew the step already.
    taken: bool,
}

/// A short list.
#[derive(Serialize, JsonSchema)]
struct Items<T> {
    items: Vec<T>,
}

impl From<SandboxPayment> for SandboxPaymentView {
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

async fn page(
    State(state): State<AppState>,
    Path(_): Path<Uuid>,
    method: Method,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    payments(&state)?;
    Ok(static_files::serve(method, Uri::from_static("/sandbox/checkout.html"), headers).await)
}

async fn payment(State(state): State<AppState>, Path(id): Path<Uuid>) -> Result<Json<SandboxPaymentView>, Problem> {
    Ok(Json(find(&state, id).await?.into()))
}

async fn settle(
    State(state): State<AppState>,
    Path(id): Path<Uuid>,
    Body(SandboxSettlement { action }): Body<SandboxSettlement>,
) -> Result<Json<SandboxPaymentView>, Problem> {
    let payment = find(&state, id).await?;
    let choice = match action {
        Action::Pay => Choice::Pay,
        Action::Decline => Choice::Decline,
    };
    let event = payments(&state)?.choose(&payment, choice).await.map_err(|error| match error {
        PartnerError::Retryable { why, .. } | PartnerError::Postponed(why) => Problem::new(Code::Unavailable, why),
        PartnerError::Refused(why) | PartnerError::Unsendable(why) => Problem::new(Code::IllegalTransition, why),
    })?;
    let settled = || Problem::new(Code::IllegalTransition, "this payment is already settled");
    let event = event.ok_or_else(settled)?;
    for _ in 0..=u32::from(payment.faults.twice) {
        state.integrations.payment().receive_from_sandbox(&event).await?;
    }
    Ok(Json(find(&state, id).await?.into()))
}

async fn set_whims(
    State(state): State<AppState>,
    Path(id): Path<Uuid>,
    Body(whims): Body<SandboxFaults>,
) -> Result<Json<SandboxPaymentView>, Problem> {
    payments(&state)?.set_faults(id, whims).await?;
    Ok(Json(find(&state, id).await?.into()))
}

fn courier(state: &AppState) -> Result<&SandboxCourier, Problem> {
    match state.integrations.courier().map(|courier| courier.client()) {
        Some(CourierClient::Sandbox(sandbox)) => Ok(sandbox),
        Some(CourierClient::Http(_)) | None => Err(Problem::not_found("sandbox")),
    }
}

async fn parcels(State(state): State<AppState>) -> Result<Json<Items<SandboxParcelView>>, Problem> {
    let parcels = courier(&state)?.parcels().await?;
    let items = parcels.into_iter().map(|it| SandboxParcelView {
        id: it.id,
        delivery: it.delivery,
        room: it.room,
        state: it.state,
        next_at: it.next_at,
        updated_at: it.updated_at,
    });
    Ok(Json(Items { items: items.collect() }))
}

async fn move_parcel(
    State(state): State<AppState>,
    Path(id): Path<Uuid>,
    Body(SandboxStep { to, occurred_at }): Body<SandboxStep>,
) -> Result<Json<SandboxReported>, Problem> {
    let step = courier(&state)?.advance(id, to, occurred_at).await?;
    let step = step.ok_or_else(|| Problem::not_found("parcel, or no courier makes this step"))?;
    let adapter = state.integrations.courier().ok_or_else(|| Problem::not_found("sandbox"))?;
    let accepted = adapter.receive_from_sandbox(&step).await?;
    Ok(Json(SandboxReported { taken: accepted == Accepted::Applied }))
}

async fn mail(State(state): State<AppState>) -> Result<Json<Items<SandboxMail>>, Problem> {
    let Some(MailTransport::Folder(folder)) = state.integrations.mail().map(|mail| mail.transport()) else {
        return Err(Problem::not_found("sandbox"));
    };
    let items = folder.list().await.map_err(|error| {
        tracing::warn!(%error, "mail folder read failed");
        Problem::new(Code::Unavailable, "the mail folder cannot be read")
    })?;
    Ok(Json(Items { items }))
}
