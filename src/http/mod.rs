//! REST: a thin layer over the hub and the store.
//!
//! [`table`] lists every operation; [`router`] and the [`openapi`] document are made from it. A request passes the
//! [`finish`] layer (headers, time limit, errors as problems), then its operation's [`guard`] (token, role, rates,
//! `Idempotency-Key`), then a handler of a few lines. What changes a room goes through `hub.submit`, as on the socket.

pub mod asyncapi;
mod files;
mod finish;
mod guard;
mod idempotency;
mod input;
mod listing;
pub mod openapi;
mod operation;
mod origin;
mod problem;
mod table;

mod bookings;
mod consultations;
mod deliveries;
mod dispatches;
mod dispensings;
mod doctors;
mod guests;
mod live;
mod partners;
mod pharmacies;
mod prescriptions;
mod push;
mod records;
mod sandbox;
mod service;
mod sign_in;
mod slots;
mod submit;
mod users;
mod webhooks;

use std::sync::Arc;

use axum::Router;
use axum::extract::DefaultBodyLimit;
use axum::http::HeaderMap;
use axum::middleware::{from_fn, from_fn_with_state};
use rooms::wire::code::Code;

pub use self::input::Body;
pub use self::problem::Problem;

use self::guard::{Guarded, Rule, guard};
use crate::auth::Auth;
use crate::clock::Clock;
use crate::config::Config;
use crate::echo::Echo;
use crate::gateway::Gateway;
use crate::hub::Hub;
use crate::store::Store;
use crate::store::history::History;
use crate::turn::Relay;
use crate::ws::arrivals::Arrivals;

/// What every handler has at hand.
#[derive(Clone)]
pub struct AppState {
    pub store: Store,
    /// For whoever reads long pieces of a log.
    pub history: History,
    pub auth: Auth,
    pub hub: Hub,
    /// Shared, because this state is copied for every request and the gateway holds names and settings of its own.
    pub gateway: Arc<Gateway>,
    pub relay: Arc<Relay>,
    pub echo: Echo,
    pub config: Arc<Config>,
    pub clock: Clock,
    /// The door of the sockets.
    pub arrivals: Arrivals,
}

impl AppState {
    /// Refuses a request that a page of somebody else's made. What carries no `Origin` comes from no page.
    pub fn origin_allowed(&self, headers: &HeaderMap) -> Result<(), Problem> {
        match origin::judge(&self.config, headers) {
            origin::Verdict::Absent | origin::Verdict::Own | origin::Verdict::Allowed(_) => Ok(()),
            origin::Verdict::Foreign => Err(Problem::new(Code::Forbidden, "pages of this origin may not use this hub")),
        }
    }
}

/// Everything the hub answers to.
pub fn router(state: AppState) -> Router {
    let mut router = Router::new();
    for operation in table::operations() {
        let guarded = Guarded { state: state.clone(), rule: Rule::of(&operation) };
        let path = operation.path;
        router = router.route(path, operation.into_route().route_layer(from_fn_with_state(guarded, guard)));
    }
    router
        .fallback(files::serve)
        .layer(DefaultBodyLimit::max(state.config.limits.body_bytes))
        .layer(from_fn(finish::speak_in_problems))
        .layer(from_fn_with_state(finish::Headers::new(&state.config), finish::finish))
        .with_state(state)
}
