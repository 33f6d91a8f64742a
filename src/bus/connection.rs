//! Connections to Redis: to one server, or to all servers of a cluster.

use std::sync::Arc;
use std::time::Duration;

use redis::aio::MultiplexedConnection;
use redis::cluster::{ClusterClient, ClusterClientBuilder};
use redis::cluster_async::ClusterConnection;
use redis::{
    AsyncConnectionConfig, Client, Cmd, ErrorKind, FromRedisValue, IntoConnectionInfo, ProtocolVersion, PushInfo,
    RedisError, RedisResult,
};
use tokio::time::timeout;

use super::BusAddressError;

/// How long Redis may take to answer before the connection counts as dead.
const RESPONSE_TIMEOUT: Duration = Duration::from_secs(1);

/// Receives push messages of Redis.
pub type OnPush = Arc<dyn Fn(PushInfo) + Send + Sync>;

/// The addresses of Redis.
pub enum RedisServers {
    One(Box<Client>),
    Cluster(Vec<String>),
}

/// A connection to Redis; cheap to clone.
#[derive(Clone)]
pub enum RedisConnection {
    One(MultiplexedConnection),
    Cluster(ClusterConnection),
}

impl RedisServers {
    /// Parses one address, or several of a cluster separated by commas.
    pub fn parse(addresses: &str) -> Result<Self, BusAddressError> {
        let all: Vec<&str> = addresses.split(',').map(str::trim).collect();
        if let [address] = all[..] {
            let info = address.into_connection_info().map_err(|_| BusAddressError)?;
            let settings = info.redis_settings().clone().set_protocol(ProtocolVersion::RESP3);
            let client = Client::open(info.set_redis_settings(settings)).map_err(|_| BusAddressError)?;
            return Ok(RedisServers::One(Box::new(client)));
        }
        let all: Vec<String> = all.into_iter().map(str::to_owned).collect();
        ClusterClientBuilder::new(all.clone()).build().map_err(|_| BusAddressError)?;
        Ok(RedisServers::Cluster(all))
    }

    /// Opens a connection. Its push messages go to `on_push`.
    pub async fn connect(&self, on_push: Option<OnPush>) -> RedisResult<RedisConnection> {
        let send = on_push.map(|on_push| {
            move |push: PushInfo| {
                on_push(push);
                Ok::<(), redis::aio::SendError>(())
            }
        });
        let connect = async {
            Ok(match self {
                RedisServers::One(client) => {
                    let config = AsyncConnectionConfig::new().set_response_timeout(Some(RESPONSE_TIMEOUT));
                    let config = match send {
                        Some(send) => config.set_push_sender(send),
                        None => config,
                    };
                    RedisConnection::One(client.get_multiplexed_async_connection_with_config(&config).await?)
                }
                RedisServers::Cluster(addresses) => {
                    RedisConnection::Cluster(cluster_client(addresses, send)?.get_async_connection().await?)
                }
            })
        };
        timeout(2 * RESPONSE_TIMEOUT, connect).await.unwrap_or_else(|_| Err(timed_out()))
    }
}

fn cluster_client<S>(addresses: &[String], send: Option<S>) -> RedisResult<ClusterClient>
where
    S: Fn(PushInfo) -> Result<(), redis::aio::SendError> + Send + Sync + 'static,
{
    let builder = ClusterClientBuilder::new(addresses.to_vec())
        .use_protocol(ProtocolVersion::RESP3)
        .connection_timeout(RESPONSE_TIMEOUT)
        .response_timeout(RESPONSE_TIMEOUT)
        .retries(1);
    match send {
        Some(send) => builder.push_sender(send).build(),
        None => builder.build(),
    }
}

impl RedisConnection {
    /// Sends a command and returns the answer.
    pub async fn query<T: FromRedisValue>(&mut self, command: &Cmd) -> RedisResult<T> {
        let answer = async {
            match self {
                RedisConnection::One(connection) => command.query_async(connection).await,
                RedisConnection::Cluster(connection) => command.query_async(connection).await,
            }
        };
        timeout(RESPONSE_TIMEOUT, answer).await.unwrap_or_else(|_| Err(timed_out()))
    }
}

fn timed_out() -> RedisError {
    (ErrorKind::Io, "no answer in time").into()
}
