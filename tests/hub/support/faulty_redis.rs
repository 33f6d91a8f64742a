//! A proxy in front of Redis that drops, duplicates, and reorders messages between nodes. It passes everything else.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::unix::OwnedWriteHalf;
use tokio::net::{UnixListener, UnixStream};
use wardroom::config::RedisSettings;

/// The share of messages dropped, duplicated, and reordered, each.
const FAULT_PERCENT: u32 = 10;

/// The start of a published message: a push of three items, the first of which is `smessage`.
const PUBLISH_FRAME_PREFIX: &[u8] = b">3\r\n$8\r\nsmessage\r\n";

/// How many messages each fault has affected.
#[derive(Debug, Default)]
pub struct InjectedFaults {
    pub dropped: AtomicUsize,
    pub duplicated: AtomicUsize,
    pub reordered: AtomicUsize,
}

pub struct FaultyRedis {
    folder: tempfile::TempDir,
    pub faults: Arc<InjectedFaults>,
}

impl FaultyRedis {
    /// Starts a proxy in front of the server with this socket.
    pub fn start(server: PathBuf) -> Self {
        let redis_proxy = Self { folder: tempfile::tempdir().unwrap(), faults: Arc::default() };
        let listener = UnixListener::bind(redis_proxy.socket()).unwrap();
        let faults = redis_proxy.faults.clone();
        tokio::spawn(async move {
            for seed in 0.. {
                let (client, _) = listener.accept().await.unwrap();
                let server = UnixStream::connect(&server).await.unwrap();
                let ((mut from_client, to_client), (mut from_server, mut to_server)) =
                    (client.into_split(), server.into_split());
                tokio::spawn(async move { tokio::io::copy(&mut from_client, &mut to_server).await });
                let mut downstream = Downstream {
                    to: to_client,
                    delayed: None,
                    random: StdRng::seed_from_u64(seed),
                    faults: faults.clone(),
                };
                tokio::spawn(async move {
                    let mut waiting = Vec::new();
                    while from_server.read_buf(&mut waiting).await.is_ok_and(|read| read > 0) {
                        while let Some(len) = frame_len(&waiting) {
                            let rest = waiting.split_off(len);
                            if downstream.forward(std::mem::replace(&mut waiting, rest)).await.is_err() {
                                return;
                            }
                        }
                    }
                });
            }
        });
        redis_proxy
    }

    fn socket(&self) -> PathBuf {
        self.folder.path().join("socket")
    }

    pub fn settings(&self) -> RedisSettings {
        RedisSettings::new(format!("unix://{}", self.socket().display()))
    }
}

/// The direction from the server to one client.
struct Downstream {
    to: OwnedWriteHalf,
    delayed: Option<Vec<u8>>,
    random: StdRng,
    faults: Arc<InjectedFaults>,
}

impl Downstream {
    async fn forward(&mut self, frame: Vec<u8>) -> std::io::Result<()> {
        if !frame.starts_with(PUBLISH_FRAME_PREFIX) {
            return self.to.write_all(&frame).await;
        }
        let chance = self.random.random_range(0..100);
        if chance < FAULT_PERCENT {
            self.faults.dropped.fetch_add(1, Ordering::Relaxed);
            return Ok(());
        }
        if chance < 2 * FAULT_PERCENT && self.delayed.is_none() {
            self.faults.reordered.fetch_add(1, Ordering::Relaxed);
            self.delayed = Some(frame);
            return Ok(());
        }
        self.to.write_all(&frame).await?;
        if chance > 100 - FAULT_PERCENT {
            self.faults.duplicated.fetch_add(1, Ordering::Relaxed);
            self.to.write_all(&frame).await?;
        }
        match self.delayed.take() {
            Some(delayed) => self.to.write_all(&delayed).await,
            None => Ok(()),
        }
    }
}

/// Returns the length of the first RESP frame, or `None` while it is incomplete.
fn frame_len(bytes: &[u8]) -> Option<usize> {
    let end = bytes.windows(2).position(|two| two == b"\r\n")? + 2;
    let number = || std::str::from_utf8(&bytes[1..end - 2]).unwrap().parse::<i64>().unwrap();
    let parts = match bytes[0] {
        b'$' | b'=' | b'!' => {
            let len = number();
            let all = if len < 0 { end } else { end + usize::try_from(len).unwrap() + 2 };
            return (bytes.len() >= all).then_some(all);
        }
        b'*' | b'~' | b'>' => number().max(0),
        b'%' => 2 * number(),
        _ => 0,
    };
    (0..parts).try_fold(end, |at, _| Some(at + frame_len(&bytes[at..])?))
}
