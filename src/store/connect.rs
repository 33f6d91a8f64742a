//! Opens the database, checks that it keeps what it confirms, and migrates its tables.

use std::path::Path;
use std::str::FromStr;

use sqlx::Connection;
use sqlx::postgres::{PgConnectOptions, PgConnection, PgPoolOptions};
use sqlx::sqlite::{SqliteConnectOptions, SqliteJournalMode, SqlitePoolOptions, SqliteSynchronous};

use super::log::fast_append::PREPARE_SQLITE;
use super::{QUERY_TIMEOUT, Store, StoreError};
use crate::config::DatabaseSettings;
use crate::keyfile;

/// `pragma synchronous` for FULL; EXTRA is above it.
const SYNCHRONOUS_FULL: i64 = 2;
/// Limits that PostgreSQL enforces itself: a little later than the hub stops waiting.
const SESSION_LIMITS: &str = "set idle_in_transaction_session_timeout = '10s'; set statement_timeout = '10s'";
/// Statements that stay prepared on a connection.
const MAX_PREPARED_STATEMENTS: usize = 512;

impl Store {
    /// Opens the database, checks that it keeps what it confirms, and brings its tables up to date.
    pub async fn connect(settings: &DatabaseSettings) -> Result<Self, StoreError> {
        if settings.url().starts_with("sqlite:") {
            make_private(sqlite_options(settings.url())?.get_filename())?;
        }
        let store = Self::open(settings).await?;
        // Without a time limit: another node may be migrating, and a large table takes long.
        let migrated = match &store {
            Store::Sqlite { write, .. } => sqlx::migrate!().run(write).await,
            // On a connection without the pool's time limits. Nodes that start together wait for each other.
            Store::Postgres(pool) => {
                let mut connection = PgConnection::connect_with(&pool.connect_options()).await?;
                sqlx::migrate!().run(&mut connection).await
            }
        };
        migrated.map_err(|error| StoreError::Config(format!("the tables cannot be migrated: {error}")))?;
        Ok(store)
    }

    /// Opens the database as it is, and checks that it keeps what it confirms.
    pub async fn open(settings: &DatabaseSettings) -> Result<Self, StoreError> {
        let (url, connections) = (settings.url(), settings.connections);
        match url.split(':').next() {
            Some("sqlite") => Self::sqlite(url, connections).await,
            Some("postgres" | "postgresql") => Self::postgres(url, connections).await,
            _ => Err(StoreError::Config("the address must begin with sqlite: or postgres:".into())),
        }
    }

    async fn sqlite(url: &str, readers: u32) -> Result<Self, StoreError> {
        let options = sqlite_options(url)?
            .create_if_missing(true)
            .journal_mode(SqliteJournalMode::Wal)
            .synchronous(SqliteSynchronous::Full)
            .foreign_keys(true)
            .busy_timeout(QUERY_TIMEOUT)
            .statement_cache_capacity(MAX_PREPARED_STATEMENTS)
            // A job copies pages from the log into the file beside the commits. This is the fallback without that job.
            .pragma("wal_autocheckpoint", "16000");
        let pool = |size| SqlitePoolOptions::new().max_connections(size).acquire_timeout(QUERY_TIMEOUT);
        // On a full disk SQLite ends a transaction by itself, and the driver's count of open transactions is wrong from
        // then on. The pool replaces such a connection, so that writes continue once there is space.
        let write = pool(1)
            .before_acquire(|connection, _| Box::pin(async { Ok(!connection.is_in_transaction()) }))
            .after_connect(|connection, _| {
                Box::pin(async { sqlx::raw_sql(PREPARE_SQLITE).execute(connection).await.map(drop) })
            })
            // 8 MiB: each room appends to a page of its own, and the pages of a thousand active rooms should be cached.
            // Statement journals stay in memory; SQLite would otherwise write them to a file as well.
            .connect_with(options.clone().pragma("cache_size", "-8192").pragma("temp_store", "memory"))
            .await?;
        let (synchronous,): (i64,) = sqlx::query_as("pragma synchronous").fetch_one(&write).await?;
        if synchronous < SYNCHRONOUS_FULL {
            return Err(StoreError::Config("SQLite does not flush at each commit (synchronous is below FULL)".into()));
        }
        let (journal,): (String,) = sqlx::query_as("pragma journal_mode").fetch_one(&write).await?;
        if journal != "wal" {
            let why = "SQLite cannot keep a write-ahead log there: give the path of a file on a local disk";
            return Err(StoreError::Config(why.into()));
        }
        // A small cache: each write invalidates a reader's cache, and the system caches the pages anyway. The row buffer
        // holds a whole page of results, so that the driver's thread is not woken again for every fifty rows.
        let read = options.pragma("query_only", "on").pragma("cache_size", "-512").row_buffer_size(512);
        let read = pool(readers).connect_with(read).await?;
        Ok(Self::Sqlite { read, write })
    }

    async fn postgres(url: &str, connections: u32) -> Result<Self, StoreError> {
        let pool = PgPoolOptions::new().max_connections(connections).acquire_timeout(QUERY_TIMEOUT);
        let pool = with_session_limits(pool).connect_with(postgres_options(url)?).await?;
        for setting in ["fsync", "synchronous_commit"] {
            let (value,): (String,) =
                sqlx::query_as("select current_setting($1)").bind(setting).fetch_one(&pool).await?;
            if value == "off" {
                return Err(StoreError::Config(format!(
                    "PostgreSQL runs with {setting}=off and would lose what it confirmed; turn it on"
                )));
            }
        }
        Ok(Self::Postgres(pool))
    }
}

fn sqlite_options(url: &str) -> Result<SqliteConnectOptions, StoreError> {
    SqliteConnectOptions::from_str(url)
        .map_err(|_| StoreError::Config("the address of the SQLite file cannot be read".into()))
}

pub(super) fn postgres_options(url: &str) -> Result<PgConnectOptions, StoreError> {
    let options = PgConnectOptions::from_str(url)
        .map_err(|_| StoreError::Config("the address of the PostgreSQL server cannot be read".into()))?;
    Ok(options.statement_cache_capacity(MAX_PREPARED_STATEMENTS))
}

/// Makes PostgreSQL end the work of a node that hangs or is cut off, so that others do not wait for its locks.
pub(super) fn with_session_limits(pool: PgPoolOptions) -> PgPoolOptions {
    pool.after_connect(|connection, _| {
        Box::pin(async move { sqlx::raw_sql(SESSION_LIMITS).execute(connection).await.map(drop) })
    })
}

/// Creates the database file for its owner only, or restricts the one that exists with its companions. SQLite gives the
/// companions that it creates the permissions of the database.
fn make_private(file: &Path) -> Result<(), StoreError> {
    // The driver's name for a database in memory, which has no file.
    let is_in_memory = file.as_os_str().as_encoded_bytes().starts_with(b"file:sqlx-in-memory-");
    if is_in_memory || file.parent().is_some_and(|it| !it.as_os_str().is_empty() && !it.exists()) {
        return Ok(());
    }
    let failed =
        |why: String| StoreError::Config(format!("the database file cannot be restricted to its owner: {why}"));
    keyfile::open_private(file).map_err(|why| failed(format!("{}: {why}", file.display())))?;
    for suffix in ["", "-wal", "-shm"] {
        let mut path = file.as_os_str().to_owned();
        path.push(suffix);
        let path = Path::new(&path);
        if path.exists() {
            keyfile::restrict(path).map_err(|why| failed(why.to_string()))?;
        }
    }
    Ok(())
}
