//! Booking: from a held slot, or a walk-in, to a confirmed consultation.

use axum::Json;
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use rooms::case::payment::PaymentAction;
use rooms::command::{Command, Nothing, Reason, Request, Reschedule};
use rooms::id::RoomId;
use rooms::refusal::Refusal;
use rooms::role::Role;
use rooms::state::{ConsultationState, PaymentState};
use rooms::text::Text;
use rooms::wire::code::Code;
use rooms::wire::feed::FeedItem;
use schemars::JsonSchema;
use serde::Serialize;

use crate::auth::Caller;
use crate::http::commands::{Done, by_precondition, read_room, submit};
use crate::http::middleware::idempotency::IdempotencyKey;
use crate::http::operation::{Matching, Operation, Tag, get, post};
use crate::http::pagination::{List, PageQuery};
use crate::web::extract::{Body, IfMatch, Path, Query};
use crate::web::{AppState, Problem};

const PATIENT: &[Role] = &[Role::Patient];
const PATIENT_OR_DOCTOR: &[Role] = &[Role::Patient, Role::Doctor];

pub fn operations() -> Vec<Operation> {
    vec![
        post("/v1/bookings", "book", book)
            .for_roles(PATIENT)
            .about(Tag::Bookings, "Holds a slot for the caller, or requests a walk-in consultation; opens the room")
            .body::<Request>()
            .answers::<Booking>(
                201,
                "The booking. A held slot expires after the time in the policy: confirm or pay before. A walk-in needs neither.",
            )
            .submits()
            .errors(&[
                Code::SlotTaken,
                Code::TooManyHolds,
                Code::TooManyBookings,
                Code::BookingOverlap,
                Code::AlreadyWaiting,
                Code::DoctorAway,
            ]),
        post("/v1/bookings/{room}/confirm", "confirmBooking", confirm)
            .for_roles(PATIENT)
            .about(Tag::Bookings, "Confirms a held slot")
            .body::<Nothing>()
            .matching(Matching::Optional)
            .answers::<Done>(200, "The booking is confirmed.")
            .submits()
            .errors(&[Code::SlotTaken]),
        post("/v1/bookings/{room}/reschedule", "rescheduleBooking", reschedule)
            .for_roles(PATIENT_OR_DOCTOR)
            .about(Tag::Bookings, "Moves a booking to another slot of the same doctor")
            .body::<Reschedule>()
            .matching(Matching::Optional)
            .answers::<Done>(200, "The booking has moved.")
            .submits()
            .errors(&[Code::SlotTaken, Code::BookingOverlap]),
        post("/v1/bookings/{room}/cancel", "cancelBooking", cancel)
            .for_roles(&[Role::Patient, Role::Doctor, Role::Admin])
            .about(Tag::Bookings, "Cancels a booking and frees its slot")
            .body::<Reason>()
            .matching(Matching::Optional)
            .answers::<Done>(200, "The booking is cancelled.")
            .submits(),
        get("/v1/bookings/{room}/payment", "getPayment", payment)
            .for_roles(PATIENT)
            .about(Tag::Bookings, "Shows the state of a booking's payment, and where to pay")
            .answers::<PaymentStatus>(200, "The payment."),
        get("/v1/bookings", "listBookings", list)
            .for_roles(PATIENT_OR_DOCTOR)
            .about(Tag::Bookings, "Lists the caller's requested and booked consultations")
            .query::<PageQuery>()
            .answers::<List<FeedItem>>(200, "Newest first."),
    ]
}

/// A new booking: a held slot, or a walk-in.
#[derive(Serialize, JsonSchema)]
struct Booking {
    #[serde(flatten)]
    done: Done,
    /// Absent if no payment is needed.
    #[serde(skip_serializing_if = "Option::is_none")]
    payment: Option<PaymentStatus>,
}

/// The state of a payment.
#[derive(Serialize, JsonSchema)]
struct PaymentStatus {
    state: PaymentState,
    /// In the minor unit of `currency`.
    amount: u64,
    currency: Text<200>,
    /// The page to pay on. Absent until the provider has created it, and once nothing is left to pay.
    #[serde(skip_serializing_if = "Option::is_none")]
    checkout_url: Option<String>,
}

/// Returns `None` if no payment is needed.
async fn payment_status(state: &AppState, caller: &Caller, room: RoomId) -> Result<Option<PaymentStatus>, Problem> {
    let snapshot = read_room(state, caller, "booking.read", room).await?;
    let is_due = snapshot.payment_due() == Some(PaymentAction::Authorize);
    let Some(payment) = snapshot.payment else { return Ok(None) };
    let link = if is_due { state.store.payment_link(room).await? } else { None };
    Ok(Some(PaymentStatus {
        state: payment.state,
        amount: payment.amount,
        currency: payment.currency,
        checkout_url: link.and_then(|link| link.checkout_url),
    }))
}

async fn payment(
    State(state): State<AppState>,
    caller: Caller,
    Path(room): Path<RoomId>,
) -> Result<Json<PaymentStatus>, Problem> {
    let status = payment_status(&state, &caller, room).await?;
    status.map(Json).ok_or_else(|| Problem::not_found("payment"))
}

async fn book(
    State(state): State<AppState>,
    caller: Caller,
    key: IdempotencyKey,
    Body(request): Body<Request>,
) -> Result<Response, Problem> {
    let room = RoomId(key.fresh);
    if let Some(doctor) = request.doctor
        && state.config.limits.walk_ins_need_doctor
        && !state.hub.may_be_connected(doctor)
        // A repeated call is answered with the room that it opened.
        && state.hub.read(room, &caller.actor()).await.is_err()
    {
        return Err(Refusal::DoctorAway.into());
    }
    let done = submit(&state, &caller, key, room, None, Command::Request(request)).await?;
    let payment = payment_status(&state, &caller, room).await?;
    let location = format!("/v1/consultations/{room}");
    Ok((StatusCode::CREATED, [(header::LOCATION, location)], Json(Booking { done, payment })).into_response())
}

async fn confirm(
    State(state): State<AppState>,
    caller: Caller,
    key: IdempotencyKey,
    Path(room): Path<RoomId>,
    IfMatch(expect): IfMatch,
    Body(nothing): Body<Nothing>,
) -> Result<Json<Done>, Problem> {
    let done = submit(&state, &caller, key, room, expect, Command::Confirm(nothing)).await;
    done.map(Json).map_err(by_precondition)
}

async fn reschedule(
    State(state): State<AppState>,
    caller: Caller,
    key: IdempotencyKey,
    Path(room): Path<RoomId>,
    IfMatch(expect): IfMatch,
    Body(slot): Body<Reschedule>,
) -> Result<Json<Done>, Problem> {
    let done = submit(&state, &caller, key, room, expect, Command::Reschedule(slot)).await;
    done.map(Json).map_err(by_precondition)
}

async fn cancel(
    State(state): State<AppState>,
    caller: Caller,
    key: IdempotencyKey,
    Path(room): Path<RoomId>,
    IfMatch(expect): IfMatch,
    Body(reason): Body<Reason>,
) -> Result<Json<Done>, Problem> {
    let done = submit(&state, &caller, key, room, expect, Command::Cancel(reason)).await;
    done.map(Json).map_err(by_precondition)
}

async fn list(
    State(state): State<AppState>,
    caller: Caller,
    Query(query): Query<PageQuery>,
) -> Result<Json<List<FeedItem>>, Problem> {
    let states = [ConsultationState::Requested, ConsultationState::Booked];
    let page = state.store.consultations(caller.user(), caller.role(), &states, query.request()?).await?;
    Ok(Json(List::of(page, |item| item)))
}
