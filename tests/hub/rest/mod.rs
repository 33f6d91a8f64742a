//! The REST API: cases, bookings, errors, idempotency, roles, and the OpenAPI document.

mod bookings;
mod case;
mod errors;
mod idempotency;
mod openapi;
mod role_matrix;
