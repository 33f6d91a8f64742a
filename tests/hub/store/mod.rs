//! The store on SQLite and PostgreSQL, and on a read replica.

mod append;
mod fast_append;
mod feeds;
mod replica;
mod slots;
