//! A proxy in front of Redis that loses, doubles and swaps what the nodes tell each other. Everything else passes.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::unix::OwnedWriteHalf;
use tokio::net::{UnixListener, UnixStream};
use wardroom::config::RedisSettings;

/// Of a hundred messages so many are lost; so many doubled; so many come behind the next.
const EACH: u32 = 10;

/// How a message to a node begins: a push of three, the first of them this word.
const MESSAGE: &[u8] = b">3\r\n$8\r\nsmessage\r\n";

/// What has been done to messages.
#[derive(Debug, Default)]
pub struct Lies {
    pub lost: AtomicUsize,
    pub doubled: AtomicUsize,
    pub swapped: AtomicUsize,
}

pub struct Liar {
    folder: tempfile::TempDir,
    pub lies: Arc<Lies>,
}

impl Liar {
    /// Lies about the server with this socket.
    pub fn start(server: PathBuf) -> Self {
        let liar = Self { folder: tempfile::tempdir().unwrap(), lies: Arc::default() };
        let listener = UnixListener::bind(liar.socket()).unwrap();
        let lies = liar.lies.clone();
        tokio::spawn(async move {
            for seed in 0.. {
                let (client, _) = listener.accept().await.unwrap();
                let server = UnixStream::connect(&server).await.unwrap();
                let ((mut from_client, to_client), (mut from_server, mut to_server)) =
                    (client.into_split(), server.into_split());
                tokio::spawn(async move { tokio::io::copy(&mut from_client, &mut to_server).await });
                let mut way =
                    Way { to: to_client, held: None, random: StdRng::seed_from_u64(seed), lies: lies.clone() };
                tokio::spawn(async move {
                    let mut waiting = Vec::new();
                    while from_server.read_buf(&mut waiting).await.is_ok_and(|read| read > 0) {
                        while let Some(len) = frame(&waiting) {
                            let rest = waiting.split_off(len);
                            if way.pass(std::mem::replace(&mut waiting, rest)).await.is_err() {
                                return;
                            }
                        }
                    }
                });
            }
        });
        liar
    }

    fn socket(&self) -> PathBuf {
        self.folder.path().join("socket")
    }

    pub fn settings(&self) -> RedisSettings {
        RedisSettings::new(format!("unix://{}", self.socket().display()))
    }
}

/// From the server to one client.
struct Way {
    to: OwnedWriteHalf,
    held: Option<Vec<u8>>,
    random: StdRng,
    lies: Arc<Lies>,
}

impl Way {
    async fn pass(&mut self, frame: Vec<u8>) -> std::io::Result<()> {
        if !frame.starts_with(MESSAGE) {
            return self.to.write_all(&frame).await;
        }
        let chance = self.random.random_range(0..100);
        if chance < EACH {
            self.lies.lost.fetch_add(1, Ordering::Relaxed);
            return Ok(());
        }
        if chance < 2 * EACH && self.held.is_none() {
            self.lies.swapped.fetch_add(1, Ordering::Relaxed);
            self.held = Some(frame);
            return Ok(());
        }
        self.to.write_all(&frame).await?;
        if chance > 100 - EACH {
            self.lies.doubled.fetch_add(1, Ordering::Relaxed);
            self.to.write_all(&frame).await?;
        }
        match self.held.take() {
            Some(held) => self.to.write_all(&held).await,
            None => Ok(()),
        }
    }
}

/// How long the first frame of Redis's protocol is; none while it is not all there.
fn frame(bytes: &[u8]) -> Option<usize> {
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
    (0..parts).try_fold(end, |at, _| Some(at + frame(&bytes[at..])?))
}
