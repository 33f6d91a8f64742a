//! Exports and databases whose integrity can be verified.

mod database;
mod export;
