//! The authenticated caller, as an extractor for handlers.

use axum::extract::FromRequestParts;
use axum::http::StatusCode;
use axum::http::request::Parts;
use axum::response::{IntoResponse, Response};
use rooms::id::UserId;
use rooms::role::{Actor, Role};

use super::token::{AuthError, Claims};

/// A caller with a verified token. The router's guard adds it to requests for operations that require a token in the
/// table. Extracting it in any other handler is a programming error.
#[derive(Clone, Debug)]
pub struct Caller {
    pub claims: Claims,
}

impl Caller {
    pub fn actor(&self) -> Actor {
        self.claims.actor()
    }

    pub fn user(&self) -> UserId {
        self.claims.user
    }

    pub fn role(&self) -> Role {
        self.claims.role
    }
}

impl<S: Send + Sync> FromRequestParts<S> for Caller {
    type Rejection = StatusCode;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, StatusCode> {
        parts.extensions.get::<Caller>().cloned().ok_or(StatusCode::INTERNAL_SERVER_ERROR)
    }
}

/// A bare 401 that carries its reason. The outermost layer turns it into a problem document.
impl IntoResponse for AuthError {
    fn into_response(self) -> Response {
        let mut response = StatusCode::UNAUTHORIZED.into_response();
        response.extensions_mut().insert(self);
        response
    }
}
