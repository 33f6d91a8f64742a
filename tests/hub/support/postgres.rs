//! Throwaway PostgreSQL servers that can be paused, restarted, and replicated.

use std::os::unix::fs::{MetadataExt, PermissionsExt, chown};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use super::database::Database;

/// How long a server may take until it serves; a machine that compiles at the same time is slow.
const START_TIMEOUT: Duration = Duration::from_secs(60);

/// A server that ends with this value, or with this process however that ends. It listens only on a socket in its
/// folder.
pub struct PostgresServer {
    folder: PathBuf,
    connections: u32,
    server: Option<Child>,
}

impl PostgresServer {
    /// Starts a server for this many connections.
    pub fn start(connections: u32) -> Self {
        let mut cluster = Self::folder(connections);
        let mut make = cluster.command("initdb");
        make.args(["-U", "postgres", "-A", "trust", "--no-sync", "-D"]).arg(cluster.data());
        assert!(make.status().expect("initdb is installed").success(), "initdb succeeds");
        cluster.restart();
        cluster
    }

    /// Starts a readable replica of this server.
    pub fn replica(&self) -> Self {
        let mut replica = Self::folder(self.connections);
        let mut copy = replica.command("pg_basebackup");
        copy.arg("-h").arg(self.socket()).args(["-U", "postgres", "-R", "-X", "stream", "-c", "fast", "--no-sync"]);
        assert!(copy.arg("-D").arg(replica.data()).status().expect("pg_basebackup is installed").success());
        replica.restart();
        replica
    }

    fn folder(connections: u32) -> Self {
        let folder = tempfile::Builder::new().prefix("wardroom-pg-").tempdir().unwrap().keep();
        std::fs::set_permissions(&folder, std::fs::Permissions::from_mode(0o777)).unwrap();
        let cluster = Self { folder, connections, server: None };
        if let Some((uid, gid)) = postgres_account() {
            chown(&cluster.folder, Some(uid), Some(gid)).unwrap();
        }
        cluster.watch();
        cluster
    }

    /// Starts a watcher that outlives this process, then stops the server and cleans up. The watcher cannot signal a
    /// process of root's, not even with signal 0, so it checks /proc.
    #[expect(clippy::zombie_processes, reason = "the watcher outlives this process")]
    fn watch(&self) {
        let script = format!(
            "while [ -e /proc/{parent} ] && [ -e '{folder}' ]; do sleep 1; done; server=$(head -n 1 '{folder}/data/postmaster.pid') && \
             kill -INT $server && kill -CONT $server; sleep 2; rm -rf '{folder}'",
            parent = std::process::id(),
            folder = self.folder.display(),
        );
        let mut watcher = self.as_postgres("sh".as_ref());
        watcher.current_dir("/").arg("-c").arg(script).process_group(0).spawn().expect("a shell is installed");
    }

    fn as_postgres(&self, program: &Path) -> Command {
        let mut command = Command::new(program);
        if let Some((uid, gid)) = postgres_account() {
            command.uid(uid).gid(gid);
        }
        command.current_dir(&self.folder).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        command
    }

    fn command(&self, program: &str) -> Command {
        self.as_postgres(&programs().join(program))
    }

    fn data(&self) -> PathBuf {
        self.folder.join("data")
    }

    /// The folder of its socket.
    pub fn socket(&self) -> &Path {
        &self.folder
    }

    /// Creates a database on it.
    pub fn database(&self) -> Database {
        Database::on(self.socket())
    }

    /// Creates a database whose tables are in this folder.
    pub fn database_at(&self, folder: &Path) -> Database {
        let mut make = self.command("psql");
        make.arg("-h").arg(self.socket()).args(["-q", "-U", "postgres", "-c"]);
        make.arg(format!("create tablespace apart location '{}'", folder.display()));
        assert!(make.status().expect("psql is installed").success(), "the folder is empty and owned by PostgreSQL");
        Database::create(self.socket(), "tablespace apart")
    }

    /// Runs a statement on this server's copy of a database.
    pub fn sql(&self, of: &Database, statement: &str) -> String {
        of.at(self.socket()).sql(statement)
    }

    /// Starts the server and waits until it serves.
    pub fn restart(&mut self) {
        assert!(self.server.is_none(), "the server is not running yet");
        let mut server = self.command("postgres");
        server.arg("-D").arg(self.data()).args(["-c", "listen_addresses=", "-c"]);
        server.arg(format!("unix_socket_directories={}", self.socket().display()));
        server.args(["-c", &format!("max_connections={}", self.connections)]);
        self.server = Some(server.spawn().expect("the server program is installed"));
        let deadline = Instant::now() + START_TIMEOUT;
        let ready = || self.command("pg_isready").arg("-q").arg("-h").arg(self.socket()).status();
        while !ready().is_ok_and(|status| status.success()) {
            assert!(Instant::now() < deadline, "PostgreSQL did not start");
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    /// Stops the server as a crash would: unwritten data is lost, and it recovers at the next start.
    pub fn crash(&mut self) {
        if let Some(mut server) = self.server.take() {
            signal("QUIT", &[server.id()]);
            server.wait().expect("the server exits");
        }
    }

    /// Suspends all of its processes.
    pub fn pause(&self) {
        let pid = self.server.as_ref().expect("the server is running").id();
        signal("STOP", &[pid]);
        signal("STOP", &children(pid));
    }

    /// Continues all of its processes.
    pub fn resume(&self) {
        let pid = self.server.as_ref().expect("the server is running").id();
        signal("CONT", &children(pid));
        signal("CONT", &[pid]);
    }
}

impl Drop for PostgresServer {
    fn drop(&mut self) {
        if self.server.is_some() {
            self.resume();
        }
        self.crash();
        let _ = std::fs::remove_dir_all(&self.folder);
    }
}

fn children(pid: u32) -> Vec<u32> {
    let listed =
        std::fs::read_to_string(format!("/proc/{pid}/task/{pid}/children")).expect("the kernel lists child processes");
    listed.split_whitespace().map(|pid| pid.parse().expect("a process id")).collect()
}

/// Signals processes; ignores those that have ended.
fn signal(name: &str, pids: &[u32]) {
    let mut kill = Command::new("kill");
    kill.arg(format!("-{name}")).args(pids.iter().map(u32::to_string)).stderr(Stdio::null());
    kill.status().expect("kill is installed");
}

/// Returns the folder of the newest installed server's programs.
fn programs() -> PathBuf {
    let versions = std::fs::read_dir("/usr/lib/postgresql").expect("PostgreSQL is installed (tests/run does that)");
    let mut folders: Vec<PathBuf> = versions.map(|entry| entry.unwrap().path().join("bin")).collect();
    folders.retain(|folder| folder.join("initdb").exists());
    folders.sort();
    folders.pop().expect("a PostgreSQL server is installed (tests/run does that)")
}

/// Returns the account to run PostgreSQL as when we are root, since it refuses to run as root.
pub fn postgres_account() -> Option<(u32, u32)> {
    if Path::new("/proc/self").metadata().ok()?.uid() != 0 {
        return None;
    }
    let accounts = std::fs::read_to_string("/etc/passwd").unwrap();
    let line = accounts.lines().find(|line| line.starts_with("postgres:")).expect("the package creates the account");
    let fields: Vec<&str> = line.split(':').collect();
    Some((fields[2].parse().unwrap(), fields[3].parse().unwrap()))
}
