//! Checks every request by its operation's entry in the table: token, role, rate limit and idempotency key.

use std::time::Duration;

use axum::extract::{DefaultBodyLimit, Request, State};
use axum::http::{Method, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use axum_extra::extract::CookieJar;
use rooms::id::UserId;
use rooms::role::Role;
use rooms::wire::code::Code;

use super::idempotency;
use crate::auth::{AuthError, Caller, Claims, ClientInfo, RateLimitSubject};
use crate::config::edge::MAX_ANONYMOUS_BODY_BYTES;
use crate::http::operation::{Audience, Operation, ResponseCache};
use crate::hub::connection_pool::ConnectionPermit;
use crate::telemetry::security::{self, SecurityEvent};
use crate::web::origin::{Verdict, judge};
use crate::web::{ACCESS_COOKIE, AppState, Problem};

/// The most characters kept of a device's own name.
const MAX_LABEL_CHARS: usize = 120;

/// The requirements of one entry in the table.
#[derive(Clone, Copy, Debug)]
pub struct Rule {
    id: &'static str,
    access: Audience,
    cache: Option<ResponseCache>,
}

impl Rule {
    pub fn of(operation: &Operation) -> Self {
        Self { id: operation.id, access: operation.access, cache: operation.cache() }
    }
}

/// The guard's state for one operation.
#[derive(Clone)]
pub struct Guarded {
    pub state: AppState,
    pub rule: Rule,
}

/// Passes an admitted request to its handler, with [`Caller`] and [`ClientInfo`] as extensions.
pub async fn guard(State(Guarded { state, rule }): State<Guarded>, mut request: Request, next: Next) -> Response {
    let client = client(&state, &request);
    let caller = match admit(&state, &rule, &request, &client) {
        Ok(caller) => caller,
        Err(Rejection { event, user, problem }) => {
            security::record(event, user, Some(client.address), rule.id);
            return problem.into_response();
        }
    };
    request.extensions_mut().insert(client);
    if rule.access == Audience::Anyone {
        DefaultBodyLimit::max(MAX_ANONYMOUS_BODY_BYTES.min(state.config.limits.body_bytes)).apply(&mut request);
    }
    let Some(caller) = caller else { return next.run(request).await };
    if let Some(permit) = request.extensions().get::<ConnectionPermit>() {
        permit.mark_signed_in();
    }
    let user = caller.user();
    request.extensions_mut().insert(caller);
    match rule.cache {
        Some(cache) => idempotency::run_idempotent(&state, rule.id, user, cache, request, next).await,
        None => next.run(request).await,
    }
}

/// A rejected request, as the caller and the security log learn of it.
struct Rejection {
    event: SecurityEvent,
    user: Option<UserId>,
    problem: Problem,
}

impl Rejection {
    fn limited(user: Option<UserId>, wait: Duration) -> Self {
        Self { event: SecurityEvent::RequestsLimited, user, problem: Problem::limited(wait) }
    }

    fn forbidden(user: UserId) -> Self {
        let problem = Problem::new(Code::Forbidden, "your role does not allow this");
        Self { event: SecurityEvent::AccessDenied, user: Some(user), problem }
    }

    fn unauthenticated(problem: Problem) -> Self {
        Self { event: SecurityEvent::TokenRejected, user: None, problem }
    }
}

fn admit(state: &AppState, rule: &Rule, request: &Request, client: &ClientInfo) -> Result<Option<Caller>, Rejection> {
    let limiter = state.auth.limiter();
    // A partner sends all its messages from one address, and rejecting a bad signature costs little.
    if rule.access == Audience::Partners {
        return Ok(None);
    }
    if rule.access == Audience::Anyone {
        // Public reads are cheap; a POST without a token may be an attempt to guess a secret.
        if request.method() == Method::POST {
            let counted = limiter.count(&RateLimitSubject::Anonymous(client.address));
            counted.map_err(|wait| Rejection::limited(None, wait))?;
        }
        return Ok(None);
    }
    let caller = Caller { claims: identify(state, request)? };
    let user = caller.user();
    limiter.count(&RateLimitSubject::Person(user)).map_err(|wait| Rejection::limited(Some(user), wait))?;
    match rule.access {
        Audience::Roles(roles) if !roles.contains(&caller.role()) => Err(Rejection::forbidden(user)),
        Audience::SignedIn if caller.role() == Role::Guest => Err(Rejection::forbidden(user)),
        _ => Ok(Some(caller)),
    }
}

/// Authenticates by the `Authorization` header, or else by the cookie. Browsers attach the cookie to requests of any page,
/// so a change by cookie needs an allowed origin.
fn identify(state: &AppState, request: &Request) -> Result<Claims, Rejection> {
    let now = state.clock.now();
    let rejected = |error: AuthError| Rejection::unauthenticated(error.into());
    if let Some(claims) = state.auth.bearer(request.headers(), now).map_err(rejected)? {
        return Ok(claims);
    }
    let jar = CookieJar::from_headers(request.headers());
    let cookie = jar.get(ACCESS_COOKIE).filter(|_| state.config.cookie_domain.is_some());
    let Some(cookie) = cookie else {
        let problem = Problem::new(Code::Unauthenticated, "send an access token: Authorization: Bearer …");
        return Err(Rejection::unauthenticated(problem));
    };
    let claims = state.auth.verify(cookie.value(), now).map_err(rejected)?;
    let is_safe = request.method() == Method::GET || request.method() == Method::HEAD;
    if is_safe || matches!(judge(&state.config, request.headers()), Verdict::Own | Verdict::Allowed(_)) {
        Ok(claims)
    } else {
        let problem = Problem::new(Code::Forbidden, "changes by cookie need an allowed Origin header");
        Err(Rejection { event: SecurityEvent::OriginRejected, user: Some(claims.user), problem })
    }
}

/// Returns the client's address and name.
fn client(state: &AppState, request: &Request) -> ClientInfo {
    let label = request.headers().get(header::USER_AGENT).and_then(|it| it.to_str().ok()).unwrap_or("unknown");
    ClientInfo {
        address: state.client_addresses.of(request),
        label: label.chars().filter(|c| !c.is_control()).take(MAX_LABEL_CHARS).collect(),
    }
}
