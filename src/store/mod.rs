//! The store: SQLite or PostgreSQL behind one text per statement. All SQL is in this folder.

pub mod events;
