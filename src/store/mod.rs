//! The store: SQLite or PostgreSQL behind one text per statement. All SQL is in this folder.
//!
//! SQLite has one writing connection, whose transactions begin immediate, and a pool of readers; what is acknowledged is
//! on the disk (`synchronous=FULL`). PostgreSQL is one pool.

pub mod audit;
mod batching;
mod columns;
mod connect;
pub mod devices;
pub mod dispatches;
mod error;
pub mod feeds;
mod folding;
pub mod history;
pub mod idempotency;
mod log;
pub mod maintenance;
pub mod marks;
pub mod outbox;
pub mod page;
pub mod partners;
pub mod projection;
pub mod record;
pub mod room_lookup;
pub mod sandbox;
mod search;
pub mod sessions;
pub mod slots;
pub mod users;
pub mod webhooks;

use std::future::Future;
use std::time::Duration;

use sqlx::postgres::PgPool;
use sqlx::sqlite::SqlitePool;
use sqlx::{Postgres, Sqlite, Transaction};
use tokio::time::timeout;

pub use self::error::StoreError;

/// Limit for a connection, for another process's lock, and for one statement. Without it the hub would wait for a server
/// behind a network that drops everything until the kernel gives up, a quarter of an hour later.
const QUERY_TIMEOUT: Duration = Duration::from_secs(5);

/// The database.
#[derive(Clone, Debug)]
pub enum Store {
    Sqlite { read: SqlitePool, write: SqlitePool },
    Postgres(PgPool),
}

/// An open transaction that may write.
pub(crate) enum Tx {
    Sqlite(Transaction<'static, Sqlite>),
    Postgres(Transaction<'static, Postgres>),
}

/// Which database a handle belongs to.
trait Dialect {
    fn is_sqlite(&self) -> bool;
}

impl Dialect for Store {
    fn is_sqlite(&self) -> bool {
        matches!(self, Store::Sqlite { .. })
    }
}

impl Dialect for Tx {
    fn is_sqlite(&self) -> bool {
        matches!(self, Tx::Sqlite(_))
    }
}

/// Runs one expression on the reading pool of either database.
macro_rules! read {
    ($store:expr, $db:ident => $body:expr) => {
        match $store {
            $crate::store::Store::Sqlite { read: $db, .. } => $crate::store::with_timeout(async { $body }).await,
            $crate::store::Store::Postgres($db) => $crate::store::with_timeout(async { $body }).await,
        }
    };
}

/// Runs one expression on the writing pool of either database, as a statement of its own.
macro_rules! write_one {
    ($store:expr, $db:ident => $body:expr) => {
        match $store {
            $crate::store::Store::Sqlite { write: $db, .. } => $crate::store::with_timeout(async { $body }).await,
            $crate::store::Store::Postgres($db) => $crate::store::with_timeout(async { $body }).await,
        }
    };
}

/// Runs one expression on a transaction's connection.
macro_rules! on_tx {
    ($tx:expr, $db:ident => $body:expr) => {
        match $tx {
            $crate::store::Tx::Sqlite(tx) => {
                let $db = &mut **tx;
                $crate::store::with_timeout(async { $body }).await
            }
            $crate::store::Tx::Postgres(tx) => {
                let $db = &mut **tx;
                $crate::store::with_timeout(async { $body }).await
            }
        }
    };
}

pub(crate) use {on_tx, read, write_one};

/// Limits an operation to [`QUERY_TIMEOUT`]. After a time-out it may still take effect: the outcome of a commit is unknown.
pub(crate) async fn with_timeout<T>(work: impl Future<Output = Result<T, sqlx::Error>>) -> Result<T, StoreError> {
    match timeout(QUERY_TIMEOUT, work).await {
        Ok(answer) => Ok(answer?),
        Err(_) => Err(StoreError::Unavailable(format!("no answer within {QUERY_TIMEOUT:?}"))),
    }
}

impl Store {
    /// Counts the migrations that the tables lack; `None` before the first one.
    pub async fn missing_migrations(&self) -> Option<usize> {
        let applied: Result<(i64,), StoreError> = read!(self, db => sqlx::query_as("select count(*) from _sqlx_migrations where success").fetch_one(db).await);
        let (applied,) = applied.ok()?;
        Some(sqlx::migrate!().iter().count().saturating_sub(usize::try_from(applied).unwrap_or(0)))
    }

    /// Begins a transaction that may write.
    pub(crate) async fn begin(&self) -> Result<Tx, StoreError> {
        Ok(match self {
            Store::Sqlite { write, .. } => Tx::Sqlite(with_timeout(write.begin_with("BEGIN IMMEDIATE")).await?),
            Store::Postgres(pool) => Tx::Postgres(with_timeout(pool.begin()).await?),
        })
    }

    /// The number of connections that may read at a time.
    pub fn readers(&self) -> u32 {
        match self {
            Store::Sqlite { read, .. } => read.options().get_max_connections(),
            Store::Postgres(pool) => pool.options().get_max_connections(),
        }
    }

    /// Checks that the database answers.
    pub async fn ping(&self) -> Result<(), StoreError> {
        let (_,): (i64,) = read!(self, db => sqlx::query_as("select cast(1 as bigint)").fetch_one(db).await)?;
        Ok(())
    }
}

impl Tx {
    pub(crate) async fn commit(self) -> Result<(), StoreError> {
        match self {
            Tx::Sqlite(tx) => with_timeout(tx.commit()).await,
            Tx::Postgres(tx) => with_timeout(tx.commit()).await,
        }
    }

    pub(crate) async fn rollback(self) -> Result<(), StoreError> {
        match self {
            Tx::Sqlite(tx) => with_timeout(tx.rollback()).await,
            Tx::Postgres(tx) => with_timeout(tx.rollback()).await,
        }
    }
}
