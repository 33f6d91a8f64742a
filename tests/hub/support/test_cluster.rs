//! Several hubs in this process on one PostgreSQL and one Redis.

use std::net::SocketAddr;
use std::ops::Deref;
use std::time::Duration;

use loadtest::client::Client;
use loadtest::target::Target;
use rooms::id::RoomId;
use tokio::time::{sleep, timeout};
use wardroom::bus::BusState;
use wardroom::config::Config;

use super::database::Database;
use super::hub_process::HubProcess;
use super::redis::Redis;
use super::test_server::TestServer;

/// Longer than any condition takes to become true.
const CONDITION_TIMEOUT: Duration = Duration::from_secs(60);

pub struct TestCluster {
    servers: Vec<TestServer>,
    database: Database,
    pub redis: Redis,
}

impl Deref for TestCluster {
    type Target = [TestServer];

    fn deref(&self) -> &[TestServer] {
        &self.servers
    }
}

impl TestCluster {
    /// Starts this many connected nodes.
    pub async fn start(count: usize) -> Self {
        let redis = Redis::start();
        let nodes = Self::start_with(redis, count, |_, _| {}).await;
        nodes.wait_until_connected().await;
        nodes
    }

    /// Starts nodes with changed settings; the closure receives each node's index.
    pub async fn start_with(redis: Redis, count: usize, change: impl Fn(usize, &mut Config)) -> Self {
        Self::start_on(Database::postgres(), redis, count, change).await
    }

    /// The same over this database.
    pub async fn start_on(database: Database, redis: Redis, count: usize, change: impl Fn(usize, &mut Config)) -> Self {
        let mut servers: Vec<TestServer> = Vec::with_capacity(count);
        for number in 0..count {
            // The nodes of a cluster share their keys.
            let shared = servers.first().map(|first| first.state.config.data_dir.clone());
            let server = TestServer::start_with(database.settings(), |config| {
                config.redis = Some(redis.settings());
                if let Some(folder) = shared {
                    config.data_dir = folder;
                }
                change(number, config);
            });
            servers.push(server.await);
        }
        Self { servers, database, redis }
    }

    /// Returns the nodes' addresses.
    pub fn addresses(&self) -> Vec<SocketAddr> {
        self.servers.iter().map(|server| server.address).collect()
    }

    /// Prepares another node of this cluster as a process, without starting it.
    pub fn process(&self) -> HubProcess {
        let mut process = HubProcess::new("serve", &self.database.settings());
        process.set("WARDROOM_DATA_DIR", self[0].state.config.data_dir.display());
        process.set("WARDROOM_REDIS_URL", self.redis.settings().url());
        process
    }

    /// The database, for another node.
    pub fn database(&self) -> &Database {
        &self.database
    }

    /// Waits until every node is connected to the bus.
    pub async fn wait_until_connected(&self) {
        wait_until("all nodes are connected", async || {
            self.servers.iter().all(|server| server.state.hub.bus().state() == BusState::Connected)
        })
        .await;
    }

    /// Waits until every node subscribes to this room.
    pub async fn wait_until_subscribed(&self, room: RoomId) {
        self.wait_until_subscribed_except(room, 0).await;
    }

    /// The same, except for this many nodes that do not have the room in memory.
    pub async fn wait_until_subscribed_except(&self, room: RoomId, without: usize) {
        self.wait_until_connected().await;
        let channel = format!("wardroom:{{{room}}}");
        wait_until("all nodes subscribe", async || {
            let socket = self.redis.socket();
            let output = std::process::Command::new("redis-cli")
                .arg("-s")
                .arg(socket)
                .args(["pubsub", "shardnumsub", &channel])
                .output()
                .expect("redis-cli comes with the server");
            let reply = String::from_utf8_lossy(&output.stdout);
            reply.lines().nth(1).and_then(|count| count.parse().ok()) == Some(self.servers.len() - without)
        })
        .await;
    }

    /// Makes a client use this node from its next connection on.
    pub fn move_to(&self, client: &mut Client, node: usize) {
        client.retarget(Target::new(self.servers[node].address).expect("loopback"));
    }
}

/// Polls until a condition holds.
pub async fn wait_until(what: &str, mut holds: impl AsyncFnMut() -> bool) {
    let wait = async {
        while !holds().await {
            sleep(Duration::from_millis(10)).await;
        }
    };
    timeout(CONDITION_TIMEOUT, wait)
        .await
        .unwrap_or_else(|_| panic!("timed out after {CONDITION_TIMEOUT:?} waiting until {what}"));
}
