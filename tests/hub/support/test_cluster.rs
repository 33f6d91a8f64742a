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

/// Longer than anything waited for here takes.
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
    /// So many nodes that can hear each other.
    pub async fn start(count: usize) -> Self {
        let redis = Redis::start();
        let nodes = Self::start_with(redis, count, |_, _| {}).await;
        nodes.wait_until_connected().await;
        nodes
    }

    /// Nodes with other settings than the usual ones; the closure gets each one's number.
    pub async fn start_with(redis: Redis, count: usize, change: impl Fn(usize, &mut Config)) -> Self {
        Self::start_on(Database::postgres(), redis, count, change).await
    }

    /// The same over this database.
    pub async fn start_on(database: Database, redis: Redis, count: usize, change: impl Fn(usize, &mut Config)) -> Self {
        let mut servers: Vec<TestServer> = Vec::with_capacity(count);
        for number in 0..count {
            // The nodes of one hub share their keys.
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

    /// Where they serve.
    pub fn addresses(&self) -> Vec<SocketAddr> {
        self.servers.iter().map(|server| server.address).collect()
    }

    /// Another node of these, as a process that does not run yet.
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

    /// Waits until every node hears and is heard.
    pub async fn wait_until_connected(&self) {
        wait_until("all nodes are connected", async || {
            self.servers.iter().all(|server| server.state.hub.bus().state() == BusState::Connected)
        })
        .await;
    }

    /// Waits until every node listens to this room.
    pub async fn wait_until_subscribed(&self, room: RoomId) {
        self.wait_until_subscribed_except(room, 0).await;
    }

    /// The same, but for so many nodes that do not have it in memory.
    pub async fn wait_until_subscribed_except(&self, room: RoomId, without: usize) {
        self.wait_until_connected().await;
        let channel = format!("wardroom:{{{room}}}");
        wait_until("all nodes listen", async || {
            let socket = self.redis.socket();
            let asked = std::process::Command::new("redis-cli")
                .arg("-s")
                .arg(socket)
                .args(["pubsub", "shardnumsub", &channel])
                .output()
                .expect("redis-cli comes with the server");
            let said = String::from_utf8_lossy(&asked.stdout);
            said.lines().nth(1).and_then(|count| count.parse().ok()) == Some(self.servers.len() - without)
        })
        .await;
    }

    /// From its next connection on, a client uses this node.
    pub fn move_to(&self, client: &mut Client, node: usize) {
        client.retarget(Target::new(self.servers[node].address).expect("loopback"));
    }
}

/// Waits for a condition.
pub async fn wait_until(what: &str, mut holds: impl AsyncFnMut() -> bool) {
    let wait = async {
        while !holds().await {
            sleep(Duration::from_millis(10)).await;
        }
    };
    timeout(CONDITION_TIMEOUT, wait).await.unwrap_or_else(|_| panic!("not within {CONDITION_TIMEOUT:?}: {what}"));
}
