//! The store on SQLite and PostgreSQL, and on a read replica.

pub mod append;
mod fast_append;
mod feeds;
mod replica;
pub mod slots;
