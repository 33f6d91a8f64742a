//! The log as it is read in long pieces: from a replica, if there is one that has what the reader needs.
//!
//! Events never change and their numbers have no gaps, so a replica's page is right if it reaches as far as it must. What
//! it must reach is for the reader to say: as far as was shown before. Else the primary is read.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use rooms::id::RoomId;
use sqlx::postgres::{PgPool, PgPoolOptions};
use tokio::time::{Instant, timeout};

use super::events::Stored;
use super::{Store, StoreError, postgres_options, with_limits};
use crate::config::DatabaseSettings;

/// How long the replica may take.
const PATIENCE: Duration = Duration::from_secs(1);
/// How long one that did not answer is left alone.
const LEFT_ALONE: Duration = Duration::from_secs(5);

/// Reads logs; cheap to clone.
#[derive(Clone, Debug)]
pub struct History {
    primary: Store,
    replica: Option<Arc<Replica>>,
}

#[derive(Debug)]
struct Replica {
    store: Store,
    /// Until then it is not asked.
    left_alone: Mutex<Option<Instant>>,
    reads: Reads,
}

/// What became of what was asked of the replica.
#[derive(Debug, Default)]
struct Reads {
    answered: AtomicU64,
    behind: AtomicU64,
    away: AtomicU64,
}

impl History {
    /// Reads from `primary`, and from the replica of the settings. That need not be reachable.
    pub fn open(primary: Store, settings: &DatabaseSettings) -> Result<Self, StoreError> {
        let Some(url) = settings.read_url() else { return Ok(Self { primary, replica: None }) };
        let pool = PgPoolOptions::new().max_connections(settings.connections).acquire_timeout(PATIENCE);
        let pool: PgPool = with_limits(pool).connect_lazy_with(postgres_options(url)?);
        let replica = Replica { store: Store::Postgres(pool), left_alone: Mutex::default(), reads: Reads::default() };
        Ok(Self { primary, replica: Some(Arc::new(replica)) })
    }

    /// The database itself.
    pub fn primary(&self) -> &Store {
        &self.primary
    }

    /// Up to `limit` events behind `after`, in order, and all of those up to `needed`.
    pub async fn events_after(
        &self,
        room: RoomId,
        after: u64,
        limit: u32,
        needed: u64,
    ) -> Result<Vec<Stored>, StoreError> {
        let last = after.saturating_add(u64::from(limit)).min(needed);
        if let Some(replica) = &self.replica
            && let Some(page) = replica.ask(replica.store.events_after(room, after, limit), last).await
        {
            return Ok(page);
        }
        self.primary.events_after(room, after, limit).await
    }

    /// Up to `limit` events before `before`, in order: the last ones of them, and all of those up to `needed`.
    pub async fn events_before(
        &self,
        room: RoomId,
        before: u64,
        limit: u32,
        needed: u64,
    ) -> Result<Vec<Stored>, StoreError> {
        let last = before.saturating_sub(1).min(needed);
        if let Some(replica) = &self.replica
            && let Some(page) = replica.ask(replica.store.events_before(room, before, limit), last).await
        {
            return Ok(page);
        }
        self.primary.events_before(room, before, limit).await
    }

    /// How often the replica answered, was behind, and was away; none without one.
    pub fn reads(&self) -> Option<[(&'static str, u64); 3]> {
        let reads = &self.replica.as_ref()?.reads;
        let count = |of: &AtomicU64| of.load(Ordering::Relaxed);
        Some([("answered", count(&reads.answered)), ("behind", count(&reads.behind)), ("away", count(&reads.away))])
    }
}

impl Replica {
    /// A page that reaches `last`, if the replica has it.
    async fn ask(&self, page: impl Future<Output = Result<Vec<Stored>, StoreError>>, last: u64) -> Option<Vec<Stored>> {
        let now = Instant::now();
        if self.left_alone.lock().unwrap_or_else(PoisonError::into_inner).is_some_and(|until| until > now) {
            return None;
        }
        let (counter, page) = match timeout(PATIENCE, page).await {
            Ok(Ok(page)) if page.last().map_or(0, |event| event.seq) >= last => (&self.reads.answered, Some(page)),
            Ok(Ok(_)) => (&self.reads.behind, None),
            Ok(Err(_)) | Err(_) => {
                tracing::warn!("the replica of the database does not answer; the database itself is read for a while");
                *self.left_alone.lock().unwrap_or_else(PoisonError::into_inner) = Some(now + LEFT_ALONE);
                (&self.reads.away, None)
            }
        };
        counter.fetch_add(1, Ordering::Relaxed);
        page
    }
}
