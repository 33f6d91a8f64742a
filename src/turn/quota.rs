//! How many allocations a session may hold at once, over all listeners and all of its credentials.

use std::sync::Arc;

use dashmap::DashMap;

/// Allocations that one session may hold. A device with several networks tries many paths, by UDP and by TCP.
const MAX_ALLOCATIONS_PER_SESSION: usize = 12;

/// Counts the live allocations of each session. Clones share the counts.
#[derive(Clone, Default)]
pub struct AllocationQuota(Arc<DashMap<String, usize>>);

/// The right to one allocation; released when dropped.
pub struct AllocationPermit {
    quota: AllocationQuota,
    session: String,
}

impl AllocationQuota {
    /// Returns `true` if the session holds at least one allocation.
    pub fn has_allocation(&self, session: &str) -> bool {
        self.0.contains_key(session)
    }

    /// Grants one more allocation, or returns `None` if the session holds as many as it may.
    pub fn acquire(&self, session: &str) -> Option<AllocationPermit> {
        let mut count = self.0.entry(session.to_owned()).or_insert(0);
        if *count >= MAX_ALLOCATIONS_PER_SESSION {
            return None;
        }
        *count += 1;
        drop(count);
        Some(AllocationPermit { quota: self.clone(), session: session.to_owned() })
    }
}

impl Drop for AllocationPermit {
    fn drop(&mut self) {
        let counts = &self.quota.0;
        if let Some(mut count) = counts.get_mut(&self.session) {
            *count -= 1;
        }
        counts.remove_if(&self.session, |_, count| *count == 0);
    }
}
