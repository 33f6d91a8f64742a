//! Bulk reads of the log: from a replica if it has what the reader needs, otherwise from the primary.
//!
//! Events never change and their numbers have no gaps, so a replica's page is correct if it reaches far enough. The
//! reader states how far that is: as far as it has seen events before.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use rooms::id::RoomId;
use sqlx::postgres::{PgPool, PgPoolOptions};
use tokio::time::{Instant, timeout};

use super::connect::{postgres_options, with_session_limits};
use super::record::StoredRecord;
use super::{Store, StoreError};
use crate::config::DatabaseSettings;

/// Limit for a connection to the replica and for one query.
const REPLICA_TIMEOUT: Duration = Duration::from_secs(1);
/// The time during which an unreachable replica is not queried.
const REPLICA_COOLDOWN: Duration = Duration::from_secs(5);

/// Reads logs; cheap to clone.
#[derive(Clone, Debug)]
pub struct History {
    primary: Store,
    replica: Option<Arc<Replica>>,
}

#[derive(Debug)]
struct Replica {
    store: Store,
    /// The end of the cooldown.
    unavailable_until: Mutex<Option<Instant>>,
    reads: ReadCounts,
}

/// Counts of queries to the replica, by result.
#[derive(Debug, Default)]
struct ReadCounts {
    answered: AtomicU64,
    behind: AtomicU64,
    away: AtomicU64,
}

impl History {
    /// Reads from `primary` and from the replica in the settings, which need not be reachable yet.
    pub fn open(primary: Store, settings: &DatabaseSettings) -> Result<Self, StoreError> {
        let Some(url) = settings.read_url() else { return Ok(Self { primary, replica: None }) };
        let pool = PgPoolOptions::new().max_connections(settings.connections).acquire_timeout(REPLICA_TIMEOUT);
        let pool: PgPool = with_session_limits(pool).connect_lazy_with(postgres_options(url)?);
        let replica =
            Replica { store: Store::Postgres(pool), unavailable_until: Mutex::default(), reads: ReadCounts::default() };
        Ok(Self { primary, replica: Some(Arc::new(replica)) })
    }

    /// Returns the primary database.
    pub fn primary(&self) -> &Store {
        &self.primary
    }

    /// Reads up to `limit` events after `after`, in order. The page leaves out no event up to `needed`.
    pub async fn events_after(
        &self,
        room: RoomId,
        after: u64,
        limit: u32,
        needed: u64,
    ) -> Result<Vec<StoredRecord>, StoreError> {
        let last = after.saturating_add(u64::from(limit)).min(needed);
        if let Some(replica) = &self.replica
            && let Some(page) = replica.query(replica.store.events_after(room, after, limit), last).await
        {
            return Ok(page);
        }
        self.primary.events_after(room, after, limit).await
    }

    /// Reads the last `limit` events before `before`, in order. The page leaves out no event up to `needed`.
    pub async fn events_before(
        &self,
        room: RoomId,
        before: u64,
        limit: u32,
        needed: u64,
    ) -> Result<Vec<StoredRecord>, StoreError> {
        let last = before.saturating_sub(1).min(needed);
        if let Some(replica) = &self.replica
            && let Some(page) = replica.query(replica.store.events_before(room, before, limit), last).await
        {
            return Ok(page);
        }
        self.primary.events_before(room, before, limit).await
    }

    /// Counts how often the replica answered, lagged behind, and was unreachable; `None` without a replica.
    pub fn replica_reads(&self) -> Option<[(&'static str, u64); 3]> {
        let reads = &self.replica.as_ref()?.reads;
        let count = |of: &AtomicU64| of.load(Ordering::Relaxed);
        Some([("answered", count(&reads.answered)), ("behind", count(&reads.behind)), ("away", count(&reads.away))])
    }
}

impl Replica {
    /// Returns a page that reaches `last`, or `None` if the replica lags behind or is unreachable.
    async fn query(
        &self,
        page: impl Future<Output = Result<Vec<StoredRecord>, StoreError>>,
        last: u64,
    ) -> Option<Vec<StoredRecord>> {
        let now = Instant::now();
        if self.unavailable_until.lock().unwrap_or_else(PoisonError::into_inner).is_some_and(|until| until > now) {
            return None;
        }
        let (counter, page) = match timeout(REPLICA_TIMEOUT, page).await {
            Ok(Ok(page)) if page.last().map_or(0, |event| event.seq) >= last => (&self.reads.answered, Some(page)),
            Ok(Ok(_)) => (&self.reads.behind, None),
            Ok(Err(_)) | Err(_) => {
                tracing::warn!(retry_after = ?REPLICA_COOLDOWN, "replica query failed; reading from the primary");
                *self.unavailable_until.lock().unwrap_or_else(PoisonError::into_inner) = Some(now + REPLICA_COOLDOWN);
                (&self.reads.away, None)
            }
        };
        counter.fetch_add(1, Ordering::Relaxed);
        page
    }
}
