//! Searches and adds pharmacies, and searches couriers.

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use rooms::id::PharmacyId;
use rooms::party::{Person, Pharmacy};
use rooms::role::Role;
use rooms::text::{Name, Paragraph};
use schemars::JsonSchema;
use serde::Deserialize;

use crate::http::middleware::idempotency::IdempotencyKey;
use crate::http::operation::{Operation, Tag, get, post};
use crate::http::pagination::{List, SearchText, page_request};
use crate::web::extract::{Body, Query};
use crate::web::{AppState, Problem};

pub fn operations() -> Vec<Operation> {
    vec![
        get("/v1/pharmacies", "listPharmacies", list)
            .about(Tag::Dispensing, "Finds pharmacies by name and address")
            .query::<SearchQuery>()
            .answers::<List<Pharmacy>>(200, "Pharmacies that accept prescriptions."),
        post("/v1/pharmacies", "addPharmacy", add)
            .for_roles(&[Role::Admin])
            .about(Tag::Administration, "Adds a pharmacy")
            .body::<PharmacyRequest>()
            .answers::<Pharmacy>(201, "The pharmacy."),
        get("/v1/couriers", "listCouriers", couriers)
            .for_roles(&[Role::Pharmacist, Role::Admin])
            .about(Tag::Deliveries, "Finds couriers by name")
            .query::<SearchQuery>()
            .answers::<List<Person>>(200, "Couriers who can be assigned a delivery."),
    ]
}

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct SearchQuery {
    /// Text to find.
    #[serde(default)]
    q: SearchText,
    /// `next` of the previous page.
    cursor: Option<String>,
    /// Items per page, 1 to 200; 50 if absent.
    #[schemars(range(min = 1, max = 200))]
    limit: Option<u32>,
}

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct PharmacyRequest {
    name: Name,
    address: Paragraph,
}

async fn list(
    State(state): State<AppState>,
    Query(query): Query<SearchQuery>,
) -> Result<Json<List<Pharmacy>>, Problem> {
    let request = page_request(query.cursor.as_deref(), query.limit)?;
    let page = state.store.pharmacies(query.q.as_str(), request).await?;
    Ok(Json(List::of(page, |pharmacy| pharmacy)))
}

async fn add(
    State(state): State<AppState>,
    key: IdempotencyKey,
    Body(PharmacyRequest { name, address }): Body<PharmacyRequest>,
) -> Result<(StatusCode, Json<Pharmacy>), Problem> {
    let id = PharmacyId(key.fresh);
    state.store.insert_pharmacy(id, &name, &address).await?;
    Ok((StatusCode::CREATED, Json(Pharmacy { id, name: name.into(), address: address.into() })))
}

async fn couriers(
    State(state): State<AppState>,
    Query(query): Query<SearchQuery>,
) -> Result<Json<List<Person>>, Problem> {
    let request = page_request(query.cursor.as_deref(), query.limit)?;
    let page = state.store.search_users(Role::Courier, query.q.as_str(), "", request).await?;
    Ok(Json(List::of(page, |user| Person { id: user.id, name: user.name })))
}
