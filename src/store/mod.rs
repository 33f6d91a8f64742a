//! The store: SQLite or PostgreSQL behind one text per statement. All SQL is in this folder.
//!
//! SQLite has one writing connection, whose transactions begin immediate, and a pool of readers; what is acknowledged is
//! on the disk (`synchronous=FULL`). PostgreSQL is one pool.

mod append;
pub mod audit;
pub mod cases;
pub mod devices;
pub mod dispatches;
pub mod events;
pub mod feeds;
mod heads;
pub mod history;
pub mod idempotency;
mod late;
pub mod maintenance;
pub mod marks;
pub mod outgoing;
pub mod page;
pub mod partners;
pub mod people;
mod pieces;
mod plain;
pub mod project;
pub mod sandbox;
pub mod sessions;
pub mod slots;
mod upsert;
pub mod webhooks;

use std::future::Future;
use std::str::FromStr;
use std::time::Duration;

use sqlx::error::{DatabaseError, ErrorKind};
use sqlx::postgres::{PgConnectOptions, PgConnection, PgPool, PgPoolOptions};
use sqlx::sqlite::{SqliteConnectOptions, SqliteJournalMode, SqlitePool, SqlitePoolOptions, SqliteSynchronous};
use sqlx::{Connection, Postgres, Sqlite, Transaction};
use tokio::time::timeout;

use self::plain::PREPARE_SQLITE;
use crate::config::DatabaseSettings;

/// How long to wait for a connection, for another process's lock, or for the answer to one statement. A server behind a
/// network that swallows everything would otherwise be waited for until the kernel gives up, a quarter of an hour later.
const PATIENCE: Duration = Duration::from_secs(5);
/// `pragma synchronous` for FULL; EXTRA is above it.
const FULL: i64 = 2;
/// What PostgreSQL itself ends: a little later than nobody waits for it any more.
const LIMITS: &str = "set idle_in_transaction_session_timeout = '10s'; set statement_timeout = '10s'";
/// What says that there is no space left: PostgreSQL's `disk_full`, SQLite's `SQLITE_FULL` and `SQLITE_IOERR_SHMSIZE`.
const FULL_DISK: [&str; 3] = ["53100", "13", "4874"];
/// Statements that are kept prepared on a connection.
const STATEMENTS: usize = 512;

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
    /// The database does not answer, is locked or cannot write: the outcome of a commit may be unknown.
    #[error("the database does not answer: {0}")]
    Unavailable(String),
    /// There is no space for more on the database's disk: nothing was written. What is there can be read.
    #[error("the database's disk is full: {0}")]
    Full(String),
    /// The database took the transaction back because of another one: it has not happened, and may be done again.
    #[error("the database took it back: {0}")]
    TakenBack(String),
    /// The database answered something that the program does not expect, or refused what the program takes for right.
    #[error("the database and the program disagree: {0}")]
    Unexpected(String),
    /// The address, or the settings of the database behind it, cannot be used.
    #[error("{0}")]
    Setting(String),
}

/// Runs one expression on the pool that reads, whichever database it is.
macro_rules! read {
    ($store:expr, $db:ident => $body:expr) => {
        match $store {
            $crate::store::Store::Sqlite { read: $db, .. } => $crate::store::soon(async { $body }).await,
            $crate::store::Store::Postgres($db) => $crate::store::soon(async { $body }).await,
        }
    };
}

/// Runs one expression on the pool that writes single statements.
macro_rules! write_one {
    ($store:expr, $db:ident => $body:expr) => {
        match $store {
            $crate::store::Store::Sqlite { write: $db, .. } => $crate::store::soon(async { $body }).await,
            $crate::store::Store::Postgres($db) => $crate::store::soon(async { $body }).await,
        }
    };
}

/// Runs one expression on a transaction's connection.
macro_rules! on {
    ($tx:expr, $db:ident => $body:expr) => {
        match $tx {
            $crate::store::Tx::Sqlite(tx) => {
                let $db = &mut **tx;
                $crate::store::soon(async { $body }).await
            }
            $crate::store::Tx::Postgres(tx) => {
                let $db = &mut **tx;
                $crate::store::soon(async { $body }).await
            }
        }
    };
}

pub(crate) use {on, read, write_one};

/// Waits for an answer, but not for ever. What is given up may still take effect: for a commit that means that its outcome
/// is unknown.
pub(crate) async fn soon<T>(work: impl Future<Output = Result<T, sqlx::Error>>) -> Result<T, StoreError> {
    match timeout(PATIENCE, work).await {
        Ok(answer) => Ok(answer?),
        Err(_) => Err(StoreError::Unavailable(format!("no answer within {PATIENCE:?}"))),
    }
}

impl Store {
    /// Opens the database, checks that it keeps what it confirms, and brings its tables up to date.
    pub async fn connect(settings: &DatabaseSettings) -> Result<Self, StoreError> {
        let store = Self::open(settings).await?;
        // Without a time limit: another node may be at it, and a large table takes long.
        let migrated = match &store {
            Store::Sqlite { write, .. } => sqlx::migrate!().run(write).await,
            // On a connection without the pool's time limits. The nodes that start together wait for each other.
            Store::Postgres(pool) => {
                let mut connection = PgConnection::connect_with(&pool.connect_options()).await?;
                sqlx::migrate!().run(&mut connection).await
            }
        };
        migrated.map_err(|error| StoreError::Setting(format!("the tables cannot be brought up to date: {error}")))?;
        Ok(store)
    }

    /// Opens the database as it is, and checks that it keeps what it confirms.
    pub async fn open(settings: &DatabaseSettings) -> Result<Self, StoreError> {
        let (url, connections) = (settings.url(), settings.connections);
        match url.split(':').next() {
            Some("sqlite") => Self::sqlite(url, connections).await,
            Some("postgres" | "postgresql") => Self::postgres(url, connections).await,
            _ => Err(StoreError::Setting("the address must begin with sqlite: or postgres:".into())),
        }
    }

    /// How many steps the tables are behind this program; `None` before the first.
    pub async fn steps_behind(&self) -> Option<usize> {
        let applied: Result<(i64,), StoreError> = read!(self, db => sqlx::query_as("select count(*) from _sqlx_migrations where success").fetch_one(db).await);
        let (applied,) = applied.ok()?;
        Some(sqlx::migrate!().iter().count().saturating_sub(usize::try_from(applied).unwrap_or(0)))
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
            // Pages go from the log into the file beside the commits, by a job. This is for when there is none.
            .pragma("wal_autocheckpoint", "16000");
        let pool = |size| SqlitePoolOptions::new().max_connections(size).acquire_timeout(PATIENCE);
        // When the disk is full SQLite ends a transaction by itself, and the driver's count of open ones is wrong from
        // then on. Such a connection is replaced, so that writing goes on when there is space again.
        let write = pool(1)
            .before_acquire(|connection, _| Box::pin(async { Ok(!connection.is_in_transaction()) }))
            .after_connect(|connection, _| {
                Box::pin(async { sqlx::raw_sql(PREPARE_SQLITE).execute(connection).await.map(drop) })
            })
            // 8 MiB: each room appends to a page of its own, and those of a thousand active ones should be at hand. What a
            // statement of many rows would take back is kept in memory: SQLite would else write it into a file as well.
            .connect_with(options.clone().pragma("cache_size", "-8192").pragma("temp_store", "memory"))
            .await?;
        let (synchronous,): (i64,) = sqlx::query_as("pragma synchronous").fetch_one(&write).await?;
        if synchronous < FULL {
            return Err(StoreError::Setting("SQLite does not flush at each commit (synchronous is below FULL)".into()));
        }
        let (journal,): (String,) = sqlx::query_as("pragma journal_mode").fetch_one(&write).await?;
        if journal != "wal" {
            let why = "SQLite cannot keep a write-ahead log there: give the path of a file on a local disk";
            return Err(StoreError::Setting(why.into()));
        }
        // Little cache: whenever something was written since, a reader begins with an empty one, and the system has the
        // pages. Rows for a whole page, so that the driver's thread is not woken again for each fifty.
        let read = options.pragma("query_only", "on").pragma("cache_size", "-512").row_buffer_size(512);
        let read = pool(readers).connect_with(read).await?;
        Ok(Self::Sqlite { read, write })
    }

    async fn postgres(url: &str, connections: u32) -> Result<Self, StoreError> {
        let pool = PgPoolOptions::new().max_connections(connections).acquire_timeout(PATIENCE);
        let pool = with_limits(pool).connect_with(postgres_options(url)?).await?;
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
            Store::Sqlite { write, .. } => Tx::Sqlite(soon(write.begin_with("BEGIN IMMEDIATE")).await?),
            Store::Postgres(pool) => Tx::Postgres(soon(pool.begin()).await?),
        })
    }

    /// Connections that may read at a time.
    pub fn readers(&self) -> u32 {
        match self {
            Store::Sqlite { read, .. } => read.options().get_max_connections(),
            Store::Postgres(pool) => pool.options().get_max_connections(),
        }
    }

    /// Whether the database answers.
    pub async fn ping(&self) -> Result<(), StoreError> {
        let (_,): (i64,) = read!(self, db => sqlx::query_as("select cast(1 as bigint)").fetch_one(db).await)?;
        Ok(())
    }
}

fn postgres_options(url: &str) -> Result<PgConnectOptions, StoreError> {
    let options = PgConnectOptions::from_str(url)
        .map_err(|_| StoreError::Setting("the address of the PostgreSQL server cannot be read".into()))?;
    Ok(options.statement_cache_capacity(STATEMENTS))
}

/// What a node began that stopped or is cut off ends by itself, so that the others need not wait for its locks.
fn with_limits(pool: PgPoolOptions) -> PgPoolOptions {
    pool.after_connect(|connection, _| {
        Box::pin(async move { sqlx::raw_sql(LIMITS).execute(connection).await.map(drop) })
    })
}

impl Tx {
    pub(crate) async fn commit(self) -> Result<(), StoreError> {
        match self {
            Tx::Sqlite(tx) => soon(tx.commit()).await,
            Tx::Postgres(tx) => soon(tx.commit()).await,
        }
    }

    pub(crate) async fn rollback(self) -> Result<(), StoreError> {
        match self {
            Tx::Sqlite(tx) => soon(tx.rollback()).await,
            Tx::Postgres(tx) => soon(tx.rollback()).await,
        }
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
                let code = format!("code {}", database.code().unwrap_or_default());
                // Class 40: a deadlock, or transactions that cannot be put in an order.
                if database.code().is_some_and(|code| code.len() == 5 && code.starts_with("40")) {
                    StoreError::TakenBack(code)
                } else if database.code().is_some_and(|code| FULL_DISK.contains(&&*code)) {
                    StoreError::Full(code)
                } else if is_refusal(&**database) {
                    StoreError::Unexpected(code)
                } else {
                    StoreError::Unavailable(code)
                }
            }
            other => StoreError::Unavailable(other.to_string()),
        }
    }
}

/// Whether the database refuses the values themselves, so that trying again is useless.
fn is_refusal(error: &dyn DatabaseError) -> bool {
    // PostgreSQL's class 22: a value that its type cannot hold. SQLite's codes are shorter; 1811 is a trigger's refusal.
    let bad_value = error.code().is_some_and(|code| code == "1811" || code.len() == 5 && code.starts_with("22"));
    bad_value || !matches!(error.kind(), ErrorKind::Other)
}
