//! How many allocations may live at once: of a session, a person, a room, and in total.

use std::time::Instant;

use super::credentials::AllocationOwner;

/// The most allocations of each owner, and of all together.
#[derive(Clone, Copy, Debug)]
pub struct AllocationLimits {
    pub per_session: usize,
    pub per_person: usize,
    pub per_room: usize,
    pub total: usize,
}

/// Descriptors that other parts of the process need for each one of the relay.
const DESCRIPTOR_SHARE: usize = 8;
/// The most allocations, and the fewest, whatever the system allows.
const MAX_ALLOCATIONS: usize = 1_024;
const MIN_ALLOCATIONS: usize = 16;

impl AllocationLimits {
    /// Returns the limits for a process that may open `descriptors` files: a total that leaves most of them to others.
    /// A device with several networks tries many paths, by UDP and by TCP, and a person may use several devices.
    pub fn for_descriptors(descriptors: usize) -> Self {
        let total = (descriptors / DESCRIPTOR_SHARE).clamp(MIN_ALLOCATIONS, MAX_ALLOCATIONS);
        Self { per_session: 12, per_person: 24, per_room: 48, total }
    }
}

/// Why there can be no further allocation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum QuotaError {
    /// The owner has as many as they may.
    Reached,
    /// The relay has as many as it may.
    NoCapacity,
}

/// A live allocation, as the quota sees it.
pub struct LiveAllocation {
    pub owner: AllocationOwner,
    /// When its client last used it.
    pub used: Instant,
}

/// Decides whether `owner` may have one more allocation. At a limit, the one of the same session, else of the same person,
/// that has been idle for the longest has to end first; its index is returned. So a device that changes its network again
/// and again replaces its orphans, and nobody ends the allocations of others.
pub fn to_replace(
    limits: &AllocationLimits,
    live: &[LiveAllocation],
    owner: &AllocationOwner,
) -> Result<Option<usize>, QuotaError> {
    let of_session = |it: &LiveAllocation| it.owner.session == owner.session;
    let of_person = |it: &LiveAllocation| it.owner.person == owner.person;
    let of_room = |it: &LiveAllocation| owner.room.is_some() && it.owner.room == owner.room;
    let count = |is_counted: &dyn Fn(&LiveAllocation) -> bool| live.iter().filter(|it| is_counted(it)).count();
    let idlest = |is_candidate: &dyn Fn(&LiveAllocation) -> bool| {
        let candidates = live.iter().enumerate().filter(|(_, it)| is_candidate(it));
        candidates.min_by_key(|(_, it)| it.used).map(|(at, _)| at)
    };
    if count(&of_session) >= limits.per_session {
        return Ok(idlest(&of_session));
    }
    if count(&of_person) >= limits.per_person {
        return Ok(idlest(&of_person));
    }
    let reached = if count(&of_room) >= limits.per_room {
        QuotaError::Reached
    } else if live.len() >= limits.total {
        QuotaError::NoCapacity
    } else {
        return Ok(None);
    };
    let in_room = |it: &LiveAllocation| of_person(it) && (reached == QuotaError::NoCapacity || of_room(it));
    idlest(&|it| in_room(it) && of_session(it)).or_else(|| idlest(&in_room)).map(Some).ok_or(reached)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::turn::credentials::OwnerTag;
    use std::time::Duration;
    use uuid::Uuid;

    const LIMITS: AllocationLimits = AllocationLimits { per_session: 2, per_person: 3, per_room: 4, total: 6 };

    fn owner(person: u128, session: u128, room: u128) -> AllocationOwner {
        let tag = |id| OwnerTag::of(Uuid::from_u128(id));
        let room = (room > 0).then(|| tag(300 + room));
        AllocationOwner { session: tag(person * 10 + session), person: tag(100 + person), room }
    }

    /// Live allocations, the one used longest ago first.
    fn live(owners: &[(u128, u128, u128)]) -> Vec<LiveAllocation> {
        let start = Instant::now();
        let used = |at: usize| start + Duration::from_secs(at as u64);
        let entry =
            |(at, it): (usize, &(u128, u128, u128))| LiveAllocation { owner: owner(it.0, it.1, it.2), used: used(at) };
        owners.iter().enumerate().map(entry).collect()
    }

    #[test]
    fn idlest_allocation_of_the_same_session_then_person_is_replaced() {
        let replaced = |owners: &[_], new: AllocationOwner| to_replace(&LIMITS, &live(owners), &new);
        assert_eq!(replaced(&[], owner(1, 1, 0)), Ok(None));
        assert_eq!(replaced(&[(2, 1, 0), (1, 1, 0)], owner(1, 1, 0)), Ok(None));
        assert_eq!(replaced(&[(2, 1, 0), (1, 1, 0), (1, 1, 0)], owner(1, 1, 0)), Ok(Some(1)), "session");
        assert_eq!(replaced(&[(2, 1, 0), (1, 1, 0), (1, 2, 0), (1, 3, 0)], owner(1, 4, 0)), Ok(Some(1)), "person");
    }

    #[test]
    fn full_room_and_full_relay_reject_only_those_without_an_allocation() {
        let replaced = |owners: &[_], new: AllocationOwner| to_replace(&LIMITS, &live(owners), &new);
        let room = [(1, 1, 1), (1, 2, 1), (2, 1, 1), (2, 1, 1)];
        assert_eq!(replaced(&room, owner(3, 1, 1)), Err(QuotaError::Reached));
        assert_eq!(replaced(&room, owner(1, 2, 1)), Ok(Some(1)), "the same session first");
        assert_eq!(replaced(&room, owner(1, 3, 1)), Ok(Some(0)), "then the same person");
        assert_eq!(replaced(&room, owner(3, 1, 2)), Ok(None), "another room");
        let relay = [(1, 1, 1), (2, 1, 2), (3, 1, 3), (4, 1, 4), (5, 1, 5), (6, 1, 0)];
        assert_eq!(replaced(&relay, owner(7, 1, 1)), Err(QuotaError::NoCapacity));
        assert_eq!(replaced(&relay, owner(3, 2, 9)), Ok(Some(2)));
    }

    #[test]
    fn total_leaves_most_descriptors_to_others() {
        for (descriptors, total) in [(0, 16), (1_024, 128), (4_096, 512), (1_000_000, 1_024)] {
            assert_eq!(AllocationLimits::for_descriptors(descriptors).total, total);
        }
    }
}
