//! The participants of a load test: the file that `wardroom seed` writes and `loadtest --fixture` reads.
//!
//! Its tokens are valid credentials for the seeded hub, so only seed a hub that you will throw away.

use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use rooms::id::{PharmacyId, RoomId, UserId};
use rooms::role::Role;
use rooms::time::Timestamp;
use rooms::wire::client::Token;
use serde::{Deserialize, Serialize};

/// The version of the file format; any other version is rejected.
pub const FIXTURE_VERSION: u32 = 1;

/// Rooms that are ready for load. Their consultation is `in_progress`. A prescription that needs no review was sent to
/// `pharmacy`, so its dispensing is `received`, and the pharmacy's thread is open to all three members.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Fixture {
    /// Must equal [`FIXTURE_VERSION`].
    pub version: u32,
    /// When the first token expires.
    pub expires_at: Timestamp,
    pub rooms: Vec<FixtureRoom>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FixtureRoom {
    pub room: RoomId,
    pub pharmacy: PharmacyId,
    /// The patient, the doctor, and a pharmacist of `pharmacy`, in this order. A user may be in several rooms.
    pub members: Vec<FixtureMember>,
    /// A courier to whom this room's parcels can be assigned, and who is not yet a member. `wardroom seed` always names
    /// one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub courier: Option<FixtureMember>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FixtureMember {
    pub user: UserId,
    pub role: Role,
    /// An access token that outlives the test. Entries of the same user may share one.
    pub token: Token,
}

/// Why a fixture cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum FixtureError {
    #[error("cannot read or write the fixture: {0}")]
    Io(#[from] io::Error),
    #[error("not a fixture written by `wardroom seed`: {0}")]
    Form(#[from] serde_json::Error),
    #[error("the fixture has version {0}, not {FIXTURE_VERSION}: seed again")]
    Version(u32),
    #[error("the fixture's tokens expired at {0}: seed again")]
    Expired(Timestamp),
    #[error("the fixture has {has} rooms of at least {members} members, and the run needs {wanted}: seed more")]
    TooFew { has: usize, wanted: usize, members: usize },
}

impl Fixture {
    /// Reads a fixture and checks its version and that its tokens are still valid at `now`.
    pub fn read(path: &Path, now: Timestamp) -> Result<Self, FixtureError> {
        let fixture: Self = serde_json::from_slice(&std::fs::read(path)?)?;
        if fixture.version != FIXTURE_VERSION {
            return Err(FixtureError::Version(fixture.version));
        }
        if fixture.expires_at <= now {
            return Err(FixtureError::Expired(fixture.expires_at));
        }
        Ok(fixture)
    }

    /// Writes the fixture readable by its owner only, because it holds tokens. Replaces an existing file.
    pub fn write(&self, path: &Path) -> Result<(), FixtureError> {
        let mut options = std::fs::OpenOptions::new();
        let mut file = options.write(true).create(true).truncate(true).mode(0o600).open(path)?;
        file.write_all(&serde_json::to_vec(self)?)?;
        Ok(file.sync_all()?)
    }

    /// Returns the first `rooms` rooms, each with its first `members` members.
    pub fn take(&self, rooms: usize, members: usize) -> Result<Vec<FixtureRoom>, FixtureError> {
        let fit = self.rooms.iter().filter(|room| room.members.len() >= members);
        let taken: Vec<_> = fit
            .take(rooms)
            .map(|room| FixtureRoom { members: room.members[..members].to_vec(), ..room.clone() })
            .collect();
        if taken.len() < rooms {
            return Err(FixtureError::TooFew { has: taken.len(), wanted: rooms, members });
        }
        Ok(taken)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fixture() -> Fixture {
        let member = |role| FixtureMember { user: UserId(uuid::Uuid::now_v7()), role, token: Token("t".into()) };
        let room = || FixtureRoom {
            room: RoomId(uuid::Uuid::now_v7()),
            pharmacy: PharmacyId(uuid::Uuid::now_v7()),
            members: [Role::Patient, Role::Doctor, Role::Pharmacist].map(member).to_vec(),
            courier: None,
        };
        Fixture { version: FIXTURE_VERSION, expires_at: Timestamp::from_micros(1_000), rooms: vec![room(), room()] }
    }

    #[test]
    fn fixture_round_trips_and_is_readable_by_its_owner_only() {
        use std::os::unix::fs::PermissionsExt;
        let path = std::env::temp_dir().join(format!("fixture-{}.json", uuid::Uuid::now_v7()));
        fixture().write(&path).unwrap();
        let mode = std::fs::metadata(&path).unwrap().permissions().mode();
        let read = Fixture::read(&path, Timestamp::from_micros(0));
        let expired = Fixture::read(&path, Timestamp::from_micros(1_000));
        std::fs::remove_file(&path).unwrap();
        assert_eq!(mode & 0o077, 0);
        assert_eq!(read.unwrap().rooms.len(), 2);
        assert!(matches!(expired, Err(FixtureError::Expired(_))));
    }

    #[test]
    fn too_small_a_fixture_is_an_error() {
        assert_eq!(fixture().take(2, 2).unwrap()[1].members.len(), 2);
        assert!(matches!(fixture().take(3, 3), Err(FixtureError::TooFew { has: 2, wanted: 3, members: 3 })));
        assert!(matches!(fixture().take(1, 4), Err(FixtureError::TooFew { has: 0, .. })));
    }
}
