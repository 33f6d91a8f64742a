//! The REST API: cases, bookings, errors, idempotency, roles, and the OpenAPI document.

mod booking_limits;
mod bookings;
mod bounds;
mod case;
mod documents;
mod early_errors;
mod errors;
mod idempotency;
mod identifiers;
mod openapi;
mod role_matrix;
mod search;
mod slots;
mod text_types;
mod texts;
mod versions;
