//! The store: SQLite or PostgreSQL behind one text per statement. All SQL is in this folder.
//!
//! SQLite has one writing connection, whose transactions begin immediate, and a pool of readers; what is acknowledged is
//! on the disk (`synchronous=FULL`). PostgreSQL is one pool.

pub mod audit;
pub mod cases;
pub mod events;
pub mod feeds;
pub mod idempotency;
pub mod maintenance;
pub mod marks;
pub mod page;
pub mod people;
mod project;
pub mod sessions;
pub mod slots;

use std::str::FromStr;
use std::time::Duration;

use sqlx::postgres::{PgConnectOptions, PgPool, PgPoolOptions};
use sqlx::sqlite::{SqliteConnectOptions, SqliteJournalMode, SqlitePool, SqlitePoolOptions, SqliteSynchronous};
use sqlx::{Postgres, Sqlite, Transaction};

use crate::config::DatabaseSettings;

/// How long to wait for a connection, or for another process's lock.
const PATIENCE: Duration = Duration::from_secs(5);
/// `pragma synchronous` for FULL; EXTRA is above it.
const FULL: i64 = 2;
/// Statements that are kept prepared on a connection.
const STATEMENTS: usize = 256;

/// Where everything is kept.
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

/// Why the store could not do what was asked. Carries no data of the statement.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// The database does not answer, is locked, is full or cannot write: the outcome of a commit may be unknown.
    #[error("the database does not answer: {0}")]
    Unavailable(String),
    /// The database answered something that the program does not expect.
    #[error("the database holds something unexpected: {0}")]
    Unexpected(String),
    /// The address, or the settings of the database behind it, cannot be used.
    #[error("{0}")]
    Setting(String),
}

/// Runs one expression on the pool that reads, whichever database it is.
macro_rules! read {
    ($store:expr, $db:ident => $body:expr) => {
        match $store {
            $crate::store::Store::Sqlite { read: $db, .. } => $body,
            $crate::store::Store::Postgres($db) => $body,
        }
    };
}

/// Runs one expression on the pool that writes single statements.
macro_rules! write_one {
    ($store:expr, $db:ident => $body:expr) => {
        match $store {
            $crate::store::Store::Sqlite { write: $db, .. } => $body,
            $crate::store::Store::Postgres($db) => $body,
        }
    };
}

/// Runs one expression on a transaction's connection.
macro_rules! on {
    ($tx:expr, $db:ident => $body:expr) => {
        match $tx {
            $crate::store::Tx::Sqlite(tx) => {
                let $db = &mut **tx;
                $body
            }
            $crate::store::Tx::Postgres(tx) => {
                let $db = &mut **tx;
                $body
            }
        }
    };
}

pub(crate) use {on, read, write_one};

impl Store {
    /// Opens the database, checks that it keeps what it confirms, and brings its tables up to date.
    pub async fn connect(settings: &DatabaseSettings) -> Result<Self, StoreError> {
        let (url, connections) = (settings.url(), settings.connections);
        let store = match url.split(':').next() {
            Some("sqlite") => Self::sqlite(url, connections).await?,
            Some("postgres" | "postgresql") => Self::postgres(url, connections).await?,
            _ => return Err(StoreError::Setting("the address must begin with sqlite: or postgres:".into())),
        };
        write_one!(&store, db => sqlx::migrate!().run(db).await)
            .map_err(|error| StoreError::Setting(format!("the tables cannot be brought up to date: {error}")))?;
        Ok(store)
    }

    async fn sqlite(url: &str, readers: u32) -> Result<Self, StoreError> {
        let options = SqliteConnectOptions::from_str(url)
            .map_err(|_| StoreError::Setting("the address of the SQLite file cannot be read".into()))?
            .create_if_missing(true)
            .journal_mode(SqliteJournalMode::Wal)
            .synchronous(SqliteSynchronous::Full)
            .foreign_keys(true)
            .busy_timeout(PATIENCE)
            .statement_cache_capacity(STATEMENTS)
            // A longer log: fewer pauses in which pages go from the log into the file.
            .pragma("wal_autocheckpoint", "4000");
        let pool = |size| SqlitePoolOptions::new().max_connections(size).acquire_timeout(PATIENCE);
        let write = pool(1).connect_with(options.clone()).await?;
        let (mode,): (i64,) = sqlx::query_as("pragma synchronous").fetch_one(&write).await?;
        if mode < FULL {
            return Err(StoreError::Setting("SQLite does not flush at each commit (synchronous is below FULL)".into()));
        }
        let read = pool(readers).connect_with(options).await?;
        Ok(Self::Sqlite { read, write })
    }

    async fn postgres(url: &str, connections: u32) -> Result<Self, StoreError> {
        let options = PgConnectOptions::from_str(url)
            .map_err(|_| StoreError::Setting("the address of the PostgreSQL server cannot be read".into()))?
            .statement_cache_capacity(STATEMENTS);
        let pool = PgPoolOptions::new().max_connections(connections).acquire_timeout(PATIENCE);
        let pool = pool.connect_with(options).await?;
        for setting in ["fsync", "synchronous_commit"] {
            let (value,): (String,) =
                sqlx::query_as("select current_setting($1)").bind(setting).fetch_one(&pool).await?;
            if value == "off" {
                return Err(StoreError::Setting(format!(
                    "PostgreSQL runs with {setting}=off and would lose what it confirmed; turn it on"
                )));
            }
        }
        Ok(Self::Postgres(pool))
    }

    /// Begins a transaction that may write.
    pub(crate) async fn begin(&self) -> Result<Tx, StoreError> {
        Ok(match self {
            Store::Sqlite { write, .. } => Tx::Sqlite(write.begin_with("BEGIN IMMEDIATE").await?),
            Store::Postgres(pool) => Tx::Postgres(pool.begin().await?),
        })
    }

    /// Whether the database answers.
    pub async fn ping(&self) -> Result<(), StoreError> {
        let (_,): (i64,) = read!(self, db => sqlx::query_as("select cast(1 as bigint)").fetch_one(db).await)?;
        Ok(())
    }
}

impl Tx {
    pub(crate) async fn commit(self) -> Result<(), StoreError> {
        match self {
            Tx::Sqlite(tx) => tx.commit().await?,
            Tx::Postgres(tx) => tx.commit().await?,
        }
        Ok(())
    }

    pub(crate) async fn rollback(self) -> Result<(), StoreError> {
        match self {
            Tx::Sqlite(tx) => tx.rollback().await?,
            Tx::Postgres(tx) => tx.rollback().await?,
        }
        Ok(())
    }
}

impl From<sqlx::Error> for StoreError {
    fn from(error: sqlx::Error) -> Self {
        match &error {
            sqlx::Error::ColumnDecode { .. } | sqlx::Error::Decode(_) | sqlx::Error::ColumnNotFound(_) => {
                StoreError::Unexpected(error.to_string())
            }
            // A database's message can quote a value (a unique key, for one), so only its code is passed on.
            sqlx::Error::Database(database) => {
                StoreError::Unavailable(format!("code {}", database.code().unwrap_or_default()))
            }
            other => StoreError::Unavailable(other.to_string()),
        }
    }
}
