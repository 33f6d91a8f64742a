//! The application's state.

use std::sync::Arc;

use axum::http::{HeaderMap, HeaderValue};
use bytes::Bytes;
use rooms::wire::code::Code;

use super::client_address::ClientAddresses;
use super::origin;
use super::problem::Problem;
use crate::auth::Auth;
use crate::clock::Clock;
use crate::config::Config;
use crate::echo::Echo;
use crate::hub::Hub;
use crate::hub::admission::AdmissionQueue;
use crate::integrations::Integrations;
use crate::outbound::lane::Destinations;
use crate::store::Store;
use crate::store::history::History;
use crate::turn::Relay;

/// The generated API documents.
#[derive(Clone)]
pub struct Documents {
    pub openapi: Document,
    pub asyncapi: Document,
}

/// A generated JSON document, ready to serve; cheap to clone.
#[derive(Clone)]
pub struct Document {
    pub text: Bytes,
    pub gzip: Bytes,
    /// A hash of the text, in quotes.
    pub etag: HeaderValue,
}

/// The services that every handler can use; cheap to clone.
#[derive(Clone)]
pub struct AppState {
    pub store: Store,
    /// For long reads of a log; may use a replica.
    pub history: History,
    pub auth: Auth,
    pub hub: Hub,
    /// Shared, because axum clones this state for every request.
    pub integrations: Arc<Integrations>,
    /// The circuit breakers, for the pages that show them.
    pub destinations: Destinations,
    pub relay: Arc<Relay>,
    pub echo: Echo,
    pub config: Arc<Config>,
    pub clock: Clock,
    /// Admission of new sockets and streams.
    pub admission: AdmissionQueue,
    pub documents: Documents,
    pub client_addresses: Arc<ClientAddresses>,
}

impl AppState {
    /// Refuses a request from a page of a foreign origin. A request without `Origin` does not come from a page.
    pub fn origin_allowed(&self, headers: &HeaderMap) -> Result<(), Problem> {
        match origin::judge(&self.config, headers) {
            origin::Verdict::Absent | origin::Verdict::Own | origin::Verdict::Allowed(_) => Ok(()),
            origin::Verdict::Foreign => Err(Problem::new(Code::Forbidden, "pages of this origin may not use this hub")),
        }
    }
}
