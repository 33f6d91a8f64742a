//! Throwaway databases. One PostgreSQL server serves the whole run, with a fresh database for each test.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

use rooms::id::RoomId;
use uuid::Uuid;
use wardroom::config::DatabaseSettings;
use wardroom::store::Store;

use super::postgres::PostgresServer;

/// A database that is removed with this value, or with its server.
pub struct Database {
    url: String,
    _folder: Option<tempfile::TempDir>,
}

impl Database {
    pub fn sqlite() -> Self {
        let folder = tempfile::tempdir().unwrap();
        Self { url: format!("sqlite:{}/test.db", folder.path().display()), _folder: Some(folder) }
    }

    pub fn postgres() -> Self {
        Self::on(server())
    }

    /// Creates a PostgreSQL database with the C locale, in which the server folds the case of ASCII letters only.
    pub fn postgres_in_c_locale() -> Self {
        Self::create(server(), "template template0 encoding 'UTF8' locale 'C'")
    }

    /// Creates a database on the server with this socket folder.
    pub fn on(socket: &Path) -> Self {
        Self::create(socket, "")
    }

    /// Creates a database with further options of `create database`.
    pub fn create(socket: &Path, how: &str) -> Self {
        let name = format!("test_{}", Uuid::now_v7().simple());
        let socket = socket.display();
        let created = Command::new("psql")
            .args(["-q", "-h", &socket.to_string(), "-U", "postgres", "-c", &format!("create database {name} {how}")])
            .status()
            .expect("psql is installed");
        assert!(created.success(), "the database is created");
        Self { url: format!("postgres://postgres@localhost/{name}?host={socket}"), _folder: None }
    }

    /// The database of the same name on the server with this socket folder.
    pub fn at(&self, socket: &Path) -> Self {
        let here = self.url.split_once("?host=").expect("a PostgreSQL URL").0;
        Self { url: format!("{here}?host={}", socket.display()), _folder: None }
    }

    /// Runs statements on a PostgreSQL database and returns their output.
    pub fn sql(&self, statements: &str) -> String {
        let done = Command::new("psql").args(["-q", "-t", "-A", &self.url, "-c", statements]).output();
        let done = done.expect("psql is installed");
        assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
        String::from_utf8_lossy(&done.stdout).trim().to_owned()
    }

    pub fn settings(&self) -> DatabaseSettings {
        let mut settings = DatabaseSettings::new(self.url.clone());
        // Many tests share one server.
        settings.connections = 4;
        settings
    }
}

/// Returns the socket folder of the server that `tests/run` started, or of our own, which ends with this process.
fn server() -> &'static Path {
    static SERVER: OnceLock<PathBuf> = OnceLock::new();
    static OWN: OnceLock<PostgresServer> = OnceLock::new();
    SERVER.get_or_init(|| match std::env::var_os("WARDROOM_TEST_PG") {
        Some(socket) => socket.into(),
        None => OWN.get_or_init(|| PostgresServer::start(300)).socket().to_owned(),
    })
}

/// Changes one room's rows as somebody with access to the database could. `ROOM` stands for its id.
pub async fn tamper(store: &Store, sql: &str, room: RoomId) {
    for sql in sql.split(';') {
        let changed = match store {
            Store::Sqlite { write, .. } => {
                let sql = sql.replace("ROOM", &format!("x'{}'", room.0.simple()));
                sqlx::query(sqlx::AssertSqlSafe(sql)).execute(write).await.unwrap().rows_affected()
            }
            Store::Postgres(pool) => {
                let sql = sql.replace("ROOM", &format!("'{room}'"));
                sqlx::query(sqlx::AssertSqlSafe(sql)).execute(pool).await.unwrap().rows_affected()
            }
        };
        assert!(changed > 0, "{sql} changes a row");
    }
}
