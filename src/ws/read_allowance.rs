//! Limits the rate at which a socket reads from its client.
//!
//! The WebSocket library handles pings and fragments within one read, so only what it reads can be limited: the rest waits
//! in the kernel, which slows the client down.

use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::time::{Instant, Sleep, sleep_until};

use crate::config::edge::{MAX_RECEIVED_BYTES_PER_SECOND, MIN_READ_BYTES};

/// The period of an allowance.
pub const ALLOWANCE_PERIOD: Duration = Duration::from_secs(1);

/// What the client may still send in this second.
#[derive(Default)]
pub struct ReadAllowance {
    bytes: usize,
    /// The end of the second; `None` before the first read.
    renews_at: Option<Instant>,
    timer: Option<Pin<Box<Sleep>>>,
}

impl ReadAllowance {
    /// Waits until the client may send more.
    pub fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<()> {
        if let Some(timer) = &mut self.timer {
            ready!(timer.as_mut().poll(context));
            self.timer = None;
        }
        let now = Instant::now();
        match self.renews_at {
            Some(renews_at) if now < renews_at && self.bytes == 0 => {
                let timer = self.timer.insert(Box::pin(sleep_until(renews_at)));
                timer.as_mut().poll(context)
            }
            Some(renews_at) if now < renews_at => Poll::Ready(()),
            _ => {
                self.renews_at = Some(now + ALLOWANCE_PERIOD);
                self.bytes = MAX_RECEIVED_BYTES_PER_SECOND;
                Poll::Ready(())
            }
        }
    }

    /// Counts a read of this many bytes.
    pub fn spend(&mut self, bytes: usize) {
        self.bytes = self.bytes.saturating_sub(bytes.max(MIN_READ_BYTES));
    }
}
