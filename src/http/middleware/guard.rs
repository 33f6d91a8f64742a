//! Checks every request by its operation's entry in the table: token, role, rate limit and idempotency key.

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
use crate::http::operation::{Audience, Operation, ResponseCache};
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
    // A partner sends all its messages from one address, and rejecting a bad signature costs little.
    if rule.access == Audience::Partners {
        return Ok(None);
    }
    if rule.access == Audience::Anyone {
        // Public reads are cheap; a POST without a token may be an attempt to guess a secret.
        if request.method() == Method::POST {
            limiter.count(&RateLimitSubject::Anonymous(client.address)).map_err(Problem::limited)?;
        }
        return Ok(None);
    }
    let caller = Caller { claims: identify(state, request)? };
    limiter.count(&RateLimitSubject::Person(caller.user())).map_err(Problem::limited)?;
    match rule.access {
        Audience::Roles(roles) if !roles.contains(&caller.role()) => Err(forbidden()),
        Audience::SignedIn if caller.role() == Role::Guest => Err(forbidden()),
        _ => Ok(Some(caller)),
    }
}

fn forbidden() -> Problem {
    Problem::new(Code::Forbidden, "your role does not allow this")
}

/// Authenticates by the `Authorization` header, or else by the cookie. Browsers attach the cookie to requests of any page,
/// so a change by cookie needs an allowed origin.
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
        Err(Problem::new(Code::Forbidden, "changes by cookie need an allowed Origin header"))
    }
}

/// Returns the client's address and name. Behind a proxy, the address is the last one in `X-Forwarded-For`, which the
/// proxy appends.
fn client(state: &AppState, request: &Request) -> ClientInfo {
    let peer = request.extensions().get::<ConnectInfo<SocketAddr>>().map(|ConnectInfo(address)| address.ip());
    let forwarded = state.config.behind_proxy.then(|| forwarded_for(request.headers())).flatten();
    let label = request.headers().get(header::USER_AGENT).and_then(|it| it.to_str().ok()).unwrap_or("unknown");
    ClientInfo {
        address: forwarded.or(peer).unwrap_or(IpAddr::V4(Ipv4Addr::UNSPECIFIED)),
        label: label.chars().filter(|c| !c.is_control()).take(MAX_LABEL_CHARS).collect(),
    }
}

fn forwarded_for(headers: &HeaderMap) -> Option<IpAddr> {
    let last = headers.get_all("x-forwarded-for").iter().next_back()?;
    last.to_str().ok()?.rsplit(',').next()?.trim().parse().ok()
}
