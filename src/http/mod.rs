//! REST: a thin layer over the hub and the store.
//!
//! [`api`] lists every operation; the [`mod@router`] and the [`openapi`] document are made from it. A request passes the
//! outer layer (headers, time limit, errors as problems), its operation's guard (token, role, rates,
//! `Idempotency-Key`), then a handler of a few lines. Handlers change a room through `hub.submit`, as sockets do.

mod api;
pub mod asyncapi;
mod commands;
mod documents;
mod middleware;
pub mod openapi;
mod operation;
mod pagination;
mod router;
mod static_files;

pub use self::router::router;
use crate::web::Documents;

/// Generates the documents that the hub serves, once per process.
pub fn generate_documents() -> Documents {
    Documents {
        openapi: documents::prepare(openapi::document_text()),
        asyncapi: documents::prepare(asyncapi::document_text()),
    }
}
