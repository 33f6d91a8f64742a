//! What stands before every operation, as its entry in the table says: token, role, rates and key.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use axum::extract::{ConnectInfo, Request, State};
use axum::http::{HeaderMap, Method, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use axum_extra::extract::CookieJar;
use rooms::role::Role;
use rooms::wire::code::Code;

use super::idempotency;
use crate::auth::{AuthError, Caller, Claims, ClientInfo, RateLimitSubject};
use crate::http::operation::{Access, Operation, ResponseCache};
use crate::web::origin::{Verdict, judge};
use crate::web::{ACCESS_COOKIE, AppState, Problem};

/// Bytes of what a device calls itself that are kept.
const MAX_LABEL: usize = 120;

/// What an entry of the table demands.
#[derive(Clone, Copy, Debug)]
pub struct Rule {
    id: &'static str,
    access: Access,
    cache: Option<ResponseCache>,
}

impl Rule {
    pub fn of(operation: &Operation) -> Self {
        Self { id: operation.id, access: operation.access, cache: operation.cache() }
    }
}

/// The guard's own state.
#[derive(Clone)]
pub struct Guarded {
    pub state: AppState,
    pub rule: Rule,
}

/// Lets a request through to its handler, with the [`Caller`] and the [`ClientInfo`] beside it.
pub async fn guard(State(Guarded { state, rule }): State<Guarded>, mut request: Request, next: Next) -> Response {
    let client = client(&state, &request);
    let caller = match admit(&state, &rule, &request, &client) {
        Ok(caller) => caller,
        Err(problem) => return problem.into_response(),
    };
    request.extensions_mut().insert(client);
    let Some(caller) = caller else { return next.run(request).await };
    let user = caller.user();
    request.extensions_mut().insert(caller);
    match rule.cache {
        Some(cache) => idempotency::run_idempotent(&state, rule.id, user, cache, request, next).await,
        None => next.run(request).await,
    }
}

fn admit(state: &AppState, rule: &Rule, request: &Request, client: &ClientInfo) -> Result<Option<Caller>, Problem> {
    let limiter = state.auth.limiter();
    // A partner's messages come from one address, as many as there are; one without a good signature costs little.
    if rule.access == Access::Partners {
        return Ok(None);
    }
    if rule.access == Access::Anyone {
        // Reading what is public costs nothing; what is posted without a token may be an attempt to guess.
        if request.method() == Method::POST {
            limiter.count(&RateLimitSubject::Anonymous(client.address)).map_err(Problem::limited)?;
        }
        return Ok(None);
    }
    let caller = Caller { claims: identify(state, request)? };
    limiter.count(&RateLimitSubject::Person(caller.user())).map_err(Problem::limited)?;
    match rule.access {
        Access::Roles(roles) if !roles.contains(&caller.role()) => Err(forbidden()),
        Access::SignedIn if caller.role() == Role::Guest => Err(forbidden()),
        _ => Ok(Some(caller)),
    }
}

fn forbidden() -> Problem {
    Problem::new(Code::Forbidden, "your role does not allow this")
}

/// By the `Authorization` header; else by the cookie, which a browser sends by itself: so not for a foreign page.
fn identify(state: &AppState, request: &Request) -> Result<Claims, Problem> {
    let now = state.clock.now();
    if let Some(claims) = state.auth.bearer(request.headers(), now)? {
        return Ok(claims);
    }
    let jar = CookieJar::from_headers(request.headers());
    let cookie = jar.get(ACCESS_COOKIE).filter(|_| state.config.cookie_domain.is_some());
    let Some(cookie) = cookie else {
        return Err(Problem::new(Code::Unauthenticated, "send an access token: Authorization: Bearer …"));
    };
    let claims = state.auth.verify(cookie.value(), now).map_err(|error: AuthError| Problem::from(error))?;
    let is_safe = request.method() == Method::GET || request.method() == Method::HEAD;
    if is_safe || matches!(judge(&state.config, request.headers()), Verdict::Own | Verdict::Allowed(_)) {
        Ok(claims)
    } else {
        Err(Problem::new(Code::Forbidden, "a change by cookie must come from a page that may use this hub"))
    }
}

/// Who connects. Behind a proxy, what the proxy says of its own client, which it puts last.
fn client(state: &AppState, request: &Request) -> ClientInfo {
    let peer = request.extensions().get::<ConnectInfo<SocketAddr>>().map(|ConnectInfo(address)| address.ip());
    let forwarded = state.config.behind_proxy.then(|| forwarded_for(request.headers())).flatten();
    let label = request.headers().get(header::USER_AGENT).and_then(|it| it.to_str().ok()).unwrap_or("unknown");
    ClientInfo {
        address: forwarded.or(peer).unwrap_or(IpAddr::V4(Ipv4Addr::UNSPECIFIED)),
        label: label.chars().filter(|c| !c.is_control()).take(MAX_LABEL).collect(),
    }
}

fn forwarded_for(headers: &HeaderMap) -> Option<IpAddr> {
    let last = headers.get_all("x-forwarded-for").iter().next_back()?;
    last.to_str().ok()?.rsplit(',').next()?.trim().parse().ok()
}
