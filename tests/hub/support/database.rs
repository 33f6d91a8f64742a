//! Throwaway databases. PostgreSQL is one server for the whole run, with a fresh database for each test.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

use uuid::Uuid;
use wardroom::config::DatabaseSettings;

use super::postgres::PostgresServer;

/// A database that goes when this goes, or with its server.
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

    /// A fresh database on the server with this socket's folder.
    pub fn on(socket: &Path) -> Self {
        Self::create(socket, "")
    }

    /// The same, with more to say about how it is made.
    pub fn create(socket: &Path, how: &str) -> Self {
        let name = format!("test_{}", Uuid::now_v7().simple());
        let socket = socket.display();
        let made = Command::new("psql")
            .args(["-q", "-h", &socket.to_string(), "-U", "postgres", "-c", &format!("create database {name} {how}")])
            .status()
            .expect("psql is installed");
        assert!(made.success(), "a database can be made");
        Self { url: format!("postgres://postgres@localhost/{name}?host={socket}"), _folder: None }
    }

    /// The database of the same name on the server with this socket's folder.
    pub fn at(&self, socket: &Path) -> Self {
        let here = self.url.split_once("?host=").expect("it is PostgreSQL's").0;
        Self { url: format!("{here}?host={}", socket.display()), _folder: None }
    }

    /// Runs statements on a PostgreSQL database, and returns what they print.
    pub fn sql(&self, statements: &str) -> String {
        let done = Command::new("psql").args(["-q", "-t", "-A", &self.url, "-c", statements]).output();
        let done = done.expect("psql is installed");
        assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
        String::from_utf8_lossy(&done.stdout).trim().to_owned()
    }

    pub fn settings(&self) -> DatabaseSettings {
        let mut settings = DatabaseSettings::new(self.url.clone());
        // Many tests run at once on one server.
        settings.connections = 4;
        settings
    }
}

/// The socket's folder of the server that `tests/run` has started, or of one of our own that ends with this process.
fn server() -> &'static Path {
    static SERVER: OnceLock<PathBuf> = OnceLock::new();
    static OWN: OnceLock<PostgresServer> = OnceLock::new();
    SERVER.get_or_init(|| match std::env::var_os("WARDROOM_TEST_PG") {
        Some(socket) => socket.into(),
        None => OWN.get_or_init(|| PostgresServer::start(300)).socket().to_owned(),
    })
}
