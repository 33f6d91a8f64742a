//! Throwaway databases. PostgreSQL is one server for the whole run, with a fresh database for each test.

use std::os::unix::fs::{PermissionsExt, chown};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::OnceLock;

use uuid::Uuid;
use wardroom::config::DatabaseSettings;

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
        let server = server();
        let name = format!("test_{}", Uuid::now_v7().simple());
        let socket = server.socket.display();
        let made = Command::new("psql")
            .args(["-q", "-h", &socket.to_string(), "-U", "postgres", "-c", &format!("create database {name}")])
            .status()
            .expect("psql is installed");
        assert!(made.success(), "a database can be made");
        Self { url: format!("postgres://postgres@localhost/{name}?host={socket}"), _folder: None }
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

struct Server {
    /// The folder of its socket, which is all it listens on.
    socket: PathBuf,
}

/// The server that `tests/run` has started, or one of our own that ends with this process.
fn server() -> &'static Server {
    static SERVER: OnceLock<Server> = OnceLock::new();
    SERVER.get_or_init(|| match std::env::var_os("WARDROOM_TEST_PG") {
        Some(socket) => Server { socket: socket.into() },
        None => start(),
    })
}

#[expect(clippy::zombie_processes, reason = "the watcher outlives this process")]
fn start() -> Server {
    let programs = programs();
    let folder = tempfile::Builder::new().prefix("wardroom-pg-").tempdir().unwrap().keep();
    std::fs::set_permissions(&folder, std::fs::Permissions::from_mode(0o777)).unwrap();
    let postgres = account();
    if let Some((uid, gid)) = postgres {
        chown(&folder, Some(uid), Some(gid)).unwrap();
    }
    let run = |program: &str| {
        let mut command = Command::new(programs.join(program));
        if let Some((uid, gid)) = postgres {
            command.uid(uid).gid(gid);
        }
        command.current_dir(&folder).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        command
    };
    let data = folder.join("data");
    let made = run("initdb").args(["-U", "postgres", "-A", "trust", "--no-sync", "-D"]).arg(&data).status();
    assert!(made.expect("initdb is installed").success(), "PostgreSQL can make its files");
    // A watcher outlives this process however it ends, then stops the server and cleans up. It may not signal this
    // process, not even with signal 0, if that is root's: hence the look into /proc.
    let script = format!(
        "'{bin}/postgres' -D '{data}' -c listen_addresses='' -c unix_socket_directories='{socket}' \
         -c max_connections=300 & server=$!; while [ -e /proc/{parent} ]; do sleep 1; done; \
         kill -INT $server; wait $server; rm -rf '{socket}'",
        bin = programs.display(),
        data = data.display(),
        socket = folder.display(),
        parent = std::process::id(),
    );
    let mut watcher = Command::new("sh");
    if let Some((uid, gid)) = postgres {
        watcher.uid(uid).gid(gid);
    }
    watcher.arg("-c").arg(script).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    watcher.process_group(0).spawn().expect("a shell is there");
    let ready = || {
        let socket = folder.display().to_string();
        run("pg_isready").args(["-q", "-h", &socket]).status().is_ok_and(|status| status.success())
    };
    for _ in 0..1200 {
        if ready() {
            return Server { socket: folder };
        }
        std::thread::sleep(std::time::Duration::from_millis(50));
    }
    panic!("PostgreSQL did not start");
}

/// The folder of the newest installed server's programs.
fn programs() -> PathBuf {
    let versions = std::fs::read_dir("/usr/lib/postgresql").expect("PostgreSQL is installed (tests/run does that)");
    let mut folders: Vec<PathBuf> = versions.map(|entry| entry.unwrap().path().join("bin")).collect();
    folders.retain(|folder| folder.join("initdb").exists());
    folders.sort();
    folders.pop().expect("a PostgreSQL server is installed (tests/run does that)")
}

/// Whom PostgreSQL runs as when we are root, which it refuses to be.
fn account() -> Option<(u32, u32)> {
    use std::os::unix::fs::MetadataExt;
    if Path::new("/proc/self").metadata().ok()?.uid() != 0 {
        return None;
    }
    let accounts = std::fs::read_to_string("/etc/passwd").unwrap();
    let line = accounts.lines().find(|line| line.starts_with("postgres:")).expect("the package makes the account");
    let fields: Vec<&str> = line.split(':').collect();
    Some((fields[2].parse().unwrap(), fields[3].parse().unwrap()))
}
