//! Test support: throwaway databases and servers, stubs of partners, and hubs in this process or in their own.

pub mod browser;
pub mod call;
pub mod chat;
pub mod chat_load;
pub mod courier_stub;
pub mod database;
pub mod devtools;
pub mod faulty_redis;
pub mod hub_process;
pub mod mail_stub;
pub mod pages;
pub mod paid_clinic;
pub mod panics;
pub mod payment_stub;
pub mod ports;
pub mod postgres;
pub mod push_service;
pub mod redis;
pub mod rest;
pub mod room_log;
pub mod small_disk;
pub mod stall_detector;
pub mod stun;
pub mod test_cluster;
pub mod test_server;
pub mod turn;

/// Returns an HTTP client, after choosing a TLS provider in case no hub in this process has done so.
pub fn http() -> reqwest::Client {
    let _ = rustls::crypto::ring::default_provider().install_default();
    reqwest::Client::new()
}

/// Makes two tests of each story, one on SQLite and one on PostgreSQL. A story is an `async fn(DatabaseSettings)`.
macro_rules! both {
    ($($story:ident)*) => {$(
        mod $story {
            #[tokio::test(flavor = "multi_thread")]
            async fn sqlite() {
                let database = $crate::support::database::Database::sqlite();
                super::$story(database.settings()).await;
            }

            #[tokio::test(flavor = "multi_thread")]
            async fn postgres() {
                let database = $crate::support::database::Database::postgres();
                super::$story(database.settings()).await;
            }
        }
    )*};
}
pub(crate) use both;
