//! Throwaway Redis servers: one that can be stopped and restarted in place, and a Redis Cluster.

use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use wardroom::config::RedisSettings;

use super::ports;

/// How long a server may take until it answers; a machine that compiles at the same time is slow.
const START_TIMEOUT: Duration = Duration::from_secs(30);

/// A server without persistence that ends with this value. It listens only on a socket in its folder.
pub struct Redis {
    folder: tempfile::TempDir,
    child: Option<Child>,
}

impl Redis {
    pub fn start() -> Self {
        let mut redis = Self { folder: tempfile::tempdir().unwrap(), child: None };
        redis.restart();
        redis
    }

    /// Starts a server that accepts only TLS on this loopback port. Returns it with its self-signed certificate.
    pub fn start_tls(port: u16) -> (Self, PathBuf) {
        let mut redis = Self { folder: tempfile::tempdir().unwrap(), child: None };
        let (key, certificate) = (redis.folder.path().join("key.pem"), redis.folder.path().join("cert.pem"));
        let created = Command::new("openssl")
            .args(["req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "2"])
            .args(["-subj", "/CN=redis", "-addext", "subjectAltName=IP:127.0.0.1"])
            .args(["-addext", "basicConstraints=critical,CA:FALSE", "-keyout"])
            .arg(&key)
            .arg("-out")
            .arg(&certificate)
            .stderr(Stdio::null())
            .status();
        assert!(created.expect("openssl is installed (tests/run does that)").success());
        let child = Command::new("redis-server")
            .args(["--port", "0", "--tls-port", &port.to_string(), "--bind", "127.0.0.1", "--save", ""])
            .args(["--tls-auth-clients", "no", "--tls-key-file"])
            .arg(&key)
            .arg("--tls-cert-file")
            .arg(&certificate)
            .arg("--tls-ca-cert-file")
            .arg(&certificate)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .spawn();
        redis.child = Some(child.expect("a Redis server is installed (tests/run does that)"));
        (redis, certificate)
    }

    pub fn socket(&self) -> PathBuf {
        self.folder.path().join("socket")
    }

    pub fn settings(&self) -> RedisSettings {
        RedisSettings::new(format!("unix://{}", self.socket().display()))
    }

    pub fn restart(&mut self) {
        assert!(self.child.is_none(), "the server is not running yet");
        let socket = self.socket().display().to_string();
        let child = Command::new("redis-server")
            .args(["--port", "0", "--unixsocket", &socket, "--save", "", "--appendonly", "no"])
            .current_dir(self.folder.path())
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .spawn();
        self.child = Some(child.expect("a Redis server is installed (tests/run does that)"));
        let deadline = Instant::now() + START_TIMEOUT;
        while std::os::unix::net::UnixStream::connect(self.socket()).is_err() {
            assert!(Instant::now() < deadline, "Redis did not start");
            std::thread::sleep(Duration::from_millis(10));
        }
    }

    /// Closes connections of one of Redis's types: `pubsub` for subscribers, `normal` for all others.
    pub fn kill_connections(&self, kind: &str) {
        assert_ne!(self.ask(&["client", "kill", "type", kind]).trim(), "0");
    }

    /// Closes only the newest connection of this type.
    pub fn kill_newest_connection(&self, kind: &str) {
        let list = self.ask(&["client", "list", "type", kind]);
        let ids = list.lines().filter_map(|line| line.strip_prefix("id=")?.split(' ').next()?.parse::<u64>().ok());
        let newest = ids.max().expect("a connection of this type").to_string();
        assert_eq!(self.ask(&["client", "kill", "id", &newest]).trim(), "1");
    }

    fn ask(&self, command: &[&str]) -> String {
        let output = Command::new("redis-cli").arg("-s").arg(self.socket()).args(command).output();
        String::from_utf8(output.expect("redis-cli comes with the server").stdout).expect("text")
    }

    /// Publishes a message that no node would send.
    pub fn publish(&self, channel: &str, text: &str) {
        let done = Command::new("redis-cli")
            .arg("-s")
            .arg(self.socket())
            .args(["spublish", channel, text])
            .stdout(Stdio::null())
            .status();
        assert!(done.expect("redis-cli comes with the server").success());
    }

    /// Sends the process a signal: `STOP` or `CONT`.
    pub fn signal(&self, name: &str) {
        let pid = self.child.as_ref().expect("the server is running").id().to_string();
        assert!(Command::new("kill").args([&format!("-{name}"), &pid]).status().expect("kill is installed").success());
    }

    /// Kills the server; its data is lost.
    pub fn kill(&mut self) {
        if let Some(mut child) = self.child.take() {
            child.kill().expect("the server is running");
            child.wait().expect("the server exits");
            let _ = std::fs::remove_file(self.socket());
        }
    }
}

impl Drop for Redis {
    fn drop(&mut self) {
        self.kill();
    }
}

/// A Redis Cluster of three servers on loopback that end with this value.
pub struct RedisCluster {
    servers: Vec<(u16, Child)>,
    _folder: tempfile::TempDir,
}

impl RedisCluster {
    const SLOTS: [&str; 3] = ["0 5460", "5461 10922", "10923 16383"];

    pub fn start() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let ports: Vec<u16> = (0..6).map(|_| ports::free()).collect();
        let mut servers = Vec::new();
        for of in ports.chunks(2) {
            let (port, bus) = (of[0].to_string(), of[1].to_string());
            let child = Command::new("redis-server")
                .args(["--port", &port, "--cluster-port", &bus, "--bind", "127.0.0.1", "--save", ""])
                .args(["--cluster-enabled", "yes", "--cluster-config-file", &format!("nodes-{port}.conf")])
                .current_dir(folder.path())
                .stdin(Stdio::null())
                .stdout(Stdio::null())
                .spawn();
            servers.push((of[0], child.expect("a Redis server is installed (tests/run does that)")));
        }
        let cluster = Self { servers, _folder: folder };
        for (at, slots) in Self::SLOTS.iter().enumerate() {
            cluster.wait_until(at, "ping", "PONG");
            cluster.wait_until(at, &format!("cluster addslotsrange {slots}"), "OK");
            if at > 0 {
                cluster.wait_until(0, &format!("cluster meet 127.0.0.1 {} {}", ports[2 * at], ports[2 * at + 1]), "OK");
            }
        }
        for at in 0..3 {
            cluster.wait_until(at, "cluster info", "cluster_state:ok");
        }
        cluster
    }

    /// Repeats a command until its reply contains `wanted`.
    fn wait_until(&self, server: usize, command: &str, wanted: &str) {
        let deadline = Instant::now() + START_TIMEOUT;
        let port = self.servers[server].0.to_string();
        loop {
            let output = Command::new("redis-cli").args(["-p", &port]).args(command.split(' ')).output();
            let reply = output.expect("redis-cli comes with the server").stdout;
            if String::from_utf8_lossy(&reply).contains(wanted) {
                return;
            }
            assert!(Instant::now() < deadline, "{command} never replied {wanted}");
            std::thread::sleep(Duration::from_millis(50));
        }
    }

    pub fn settings(&self) -> RedisSettings {
        let addresses: Vec<String> = self.servers.iter().map(|(port, _)| format!("redis://127.0.0.1:{port}")).collect();
        RedisSettings::new(addresses.join(","))
    }
}

impl Drop for RedisCluster {
    fn drop(&mut self) {
        for (_, child) in &mut self.servers {
            // An error means that it has already ended.
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}
