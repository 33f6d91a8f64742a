//! A throwaway Redis server, which can be stopped and started again at the same place.

use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use wardroom::config::RedisSettings;

/// How long it may take to answer; a machine that compiles at the same time is slow.
const START: Duration = Duration::from_secs(30);

/// A server that ends with this. It listens on a socket in its own folder only, and keeps nothing.
pub struct Redis {
    folder: tempfile::TempDir,
    child: Option<Child>,
}

impl Redis {
    pub fn start() -> Self {
        let mut redis = Self { folder: tempfile::tempdir().unwrap(), child: None };
        redis.start_again();
        redis
    }

    pub fn socket(&self) -> PathBuf {
        self.folder.path().join("socket")
    }

    pub fn settings(&self) -> RedisSettings {
        RedisSettings::new(format!("unix://{}", self.socket().display()))
    }

    pub fn start_again(&mut self) {
        assert!(self.child.is_none(), "it runs already");
        let socket = self.socket().display().to_string();
        let child = Command::new("redis-server")
            .args(["--port", "0", "--unixsocket", &socket, "--save", "", "--appendonly", "no"])
            .current_dir(self.folder.path())
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .spawn();
        self.child = Some(child.expect("a Redis server is installed (tests/run does that)"));
        let deadline = Instant::now() + START;
        while std::os::unix::net::UnixStream::connect(self.socket()).is_err() {
            assert!(Instant::now() < deadline, "Redis did not start");
            std::thread::sleep(Duration::from_millis(10));
        }
    }

    /// Publishes something that no node says.
    pub fn publish(&self, channel: &str, text: &str) {
        let done = Command::new("redis-cli")
            .arg("-s")
            .arg(self.socket())
            .args(["spublish", channel, text])
            .stdout(Stdio::null())
            .status();
        assert!(done.expect("redis-cli comes with the server").success());
    }

    /// Ends it at once; what it had in mind is gone.
    pub fn kill(&mut self) {
        if let Some(mut child) = self.child.take() {
            child.kill().expect("it runs");
            child.wait().expect("it ends");
            let _ = std::fs::remove_file(self.socket());
        }
    }
}

impl Drop for Redis {
    fn drop(&mut self) {
        self.kill();
    }
}
