//! A hub in a process of its own, which can be killed and restarted on the same data and port.

use std::io::{BufRead, BufReader};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc;
use std::time::{Duration, Instant};

use wardroom::config::{Config, DatabaseSettings};

use super::ports;

/// How long a hub may take until it serves; a machine that compiles at the same time is slow.
const START_TIMEOUT: Duration = Duration::from_secs(60);

/// The hub's program and its data. Dropping it kills the process.
pub struct HubProcess {
    data: tempfile::TempDir,
    environment: Vec<(String, String)>,
    mode: &'static str,
    child: Option<Child>,
    address: Option<SocketAddr>,
    output_lines: Vec<String>,
    log: Option<PathBuf>,
    max_open_files: Option<u32>,
}

impl HubProcess {
    /// Prepares a hub over this database without starting it. `mode` is `serve` or `demo`.
    pub fn new(mode: &'static str, database: &DatabaseSettings) -> Self {
        // The hub installs a provider itself; the test's own requests need one too. An error means that one is
        // installed.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let data = tempfile::tempdir().unwrap();
        let settings = [
            ("WARDROOM_DATA_DIR", data.path().display().to_string()),
            ("WARDROOM_DATABASE_URL", database.url().to_owned()),
            ("WARDROOM_DATABASE_CONNECTIONS", database.connections.to_string()),
            ("WARDROOM_LOG_FILTER", "warn".to_owned()),
            // One patient opens many rooms in a test, without doctors at their screens.
            ("WARDROOM_LIMITS_WALK_INS_NEED_DOCTOR", "false".to_owned()),
            ("WARDROOM_LIMITS_WAITING_WALK_INS", "1000".to_owned()),
            ("WARDROOM_LIMITS_OPEN_BOOKINGS", "1000".to_owned()),
        ];
        let environment = settings.map(|(name, value)| (name.to_owned(), value)).to_vec();
        Self {
            data,
            environment,
            mode,
            child: None,
            address: None,
            output_lines: Vec::new(),
            log: None,
            max_open_files: None,
        }
    }

    /// Changes a setting for the next start.
    pub fn set(&mut self, name: &str, value: impl ToString) {
        self.environment.retain(|(known, _)| known != name);
        self.environment.push((name.to_owned(), value.to_string()));
    }

    /// Limits the files that the process may have open, from the next start on.
    pub fn limit_open_files(&mut self, count: u32) {
        self.max_open_files = Some(count);
    }

    /// Writes the log to this file from the next start on.
    pub fn log_to(&mut self, file: PathBuf) {
        self.log = Some(file);
    }

    /// The folder of keys, and of whatever else the test stores.
    pub fn data(&self) -> &Path {
        self.data.path()
    }

    /// Returns the settings, for code that runs in the test's own process beside the hub.
    pub fn config(&self) -> Config {
        Config::from_parts("", self.environment.clone(), false).expect("the tests' settings are usable")
    }

    fn command(&self) -> Command {
        let program = env!("CARGO_BIN_EXE_wardroom");
        let mut command = match self.max_open_files {
            None => Command::new(program),
            Some(count) => {
                let mut shell = Command::new("sh");
                shell.arg("-c").arg(format!("ulimit -n {count} && exec \"$0\" \"$@\"")).arg(program);
                shell
            }
        };
        command.current_dir(self.data()).stdin(Stdio::null());
        for (name, _) in std::env::vars().filter(|(name, _)| name.starts_with("WARDROOM_")) {
            command.env_remove(name);
        }
        command.envs(self.environment.iter().map(|(name, value)| (name, value)));
        command
    }

    /// Runs another command of the program to its end; returns whether it succeeded, and its output.
    pub fn run(&self, arguments: &[&str]) -> (bool, String) {
        let output = self.command().args(arguments).output().expect("the program runs");
        let text = String::from_utf8_lossy(&output.stdout) + String::from_utf8_lossy(&output.stderr);
        (output.status.success(), text.into_owned())
    }

    /// Starts the hub on a free port, or on its former one, and waits until it serves.
    pub fn start(&mut self) -> SocketAddr {
        assert!(self.child.is_none(), "the process is not running yet");
        let listen = self.address.map_or_else(|| format!("127.0.0.1:{}", ports::free()), |address| address.to_string());
        let mut command = self.command();
        command.env("WARDROOM_LISTEN", listen).arg(self.mode).stdout(Stdio::piped());
        if let Some(file) = &self.log {
            command.stderr(std::fs::File::create(file).unwrap());
        }
        let mut child = command.spawn().expect("the program starts");
        let output = child.stdout.take().expect("stdout is piped");
        let (sender, lines) = mpsc::channel();
        // Keeps reading to the end, so that the hub never blocks on a full pipe.
        std::thread::spawn(move || {
            for line in BufReader::new(output).lines().map_while(Result::ok) {
                let _ = sender.send(line);
            }
        });
        self.child = Some(child);
        self.output_lines.clear();
        // The last line that each mode prints once its listener is bound.
        let last = if self.mode == "demo" { "The links expire" } else { "Wardroom listens on" };
        let deadline = Instant::now() + START_TIMEOUT;
        while !self.output_lines.last().is_some_and(|line| line.starts_with(last)) {
            let left = deadline.saturating_duration_since(Instant::now());
            match lines.recv_timeout(left) {
                Ok(line) => self.output_lines.push(line),
                Err(error) => panic!("the hub did not start ({error}); its output: {:?}", self.output_lines),
            }
        }
        let text = self
            .output_lines
            .iter()
            .find_map(|line| line.split("http://").nth(1))
            .expect("the output names the address");
        let address = text.split('/').next().and_then(|text| text.parse().ok()).expect("a socket address");
        self.address = Some(address);
        address
    }

    /// Returns the link that signs this person in, in demo mode.
    pub fn demo_link(&self, name: &str) -> String {
        let line = self.output_lines.iter().find(|line| line.contains(name)).expect("a person of the demo clinic");
        line.split_whitespace().last().expect("a sign-in link").to_owned()
    }

    /// Sends the process a signal: `STOP` or `CONT`.
    pub fn signal(&self, name: &str) {
        let pid = self.child.as_ref().expect("the process is running").id().to_string();
        let done = Command::new("kill").args([&format!("-{name}"), &pid]).status();
        assert!(done.expect("kill is installed").success());
    }

    /// Returns the memory that the process occupies.
    pub fn resident_kib(&self) -> u64 {
        let pid = self.child.as_ref().expect("the process is running").id();
        let status = std::fs::read_to_string(format!("/proc/{pid}/status")).expect("Linux describes the process");
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).expect("the status has the memory");
        line.trim().trim_end_matches(" kB").parse().expect("a number of KiB")
    }

    /// Waits for the process to exit and returns whether it succeeded.
    pub fn wait(&mut self) -> bool {
        self.child.take().expect("the process is running").wait().expect("the process exits").success()
    }

    /// Kills the process with SIGKILL.
    pub fn kill(&mut self) {
        if let Some(mut child) = self.child.take() {
            child.kill().expect("the process is running");
            child.wait().expect("the process exits");
        }
    }
}

impl Drop for HubProcess {
    fn drop(&mut self) {
        self.kill();
    }
}
