//! The demo clinic: people for a whole case, and a link that signs in each of them.
//!
//! It exists in demo mode only, which the configuration allows on loopback only. Nobody in it has a password. The
//! links expire with the process.

use std::net::SocketAddr;
use std::time::Duration;

use rooms::id::{PharmacyId, SlotId, UserId};
use rooms::role::Role;
use rooms::text::{Name, Paragraph};
use rooms::time::Timestamp;
use uuid::Uuid;

use crate::store::slots::PublishedSlot;
use crate::web::AppState;

/// Derives fixed ids, so that a second start finds what the first one created.
const DEMO_NAMESPACE: Uuid = Uuid::from_u128(0x6f1c_7d3e_52a4_5b7b_9c1a_7761_7264_726d);
/// The length of a slot, and the time from one slot's start to the next.
const SLOT_LENGTH: Duration = Duration::from_secs(15 * 60);
/// Slots in the next two hours, and in each of the mornings after that.
const UPCOMING_SLOTS: u32 = 8;
const SLOTS_PER_MORNING: u32 = 12;
const MORNINGS: u32 = 5;
const DAY: Duration = Duration::from_secs(86_400);

/// A person of the demo clinic.
struct DemoPerson {
    name: &'static str,
    role: Role,
    /// The index in [`PHARMACIES`] of a pharmacist's workplace.
    pharmacy: Option<usize>,
    /// A doctor's specialty and languages, which patients see.
    profile: Option<(&'static str, &'static str)>,
}

const PHARMACIES: [(&str, &str); 2] =
    [("Harbour Pharmacy", "12 Quay Street, Port Elsewhere"), ("Linden Pharmacy", "3 Market Square, Port Elsewhere")];

const PEOPLE: [DemoPerson; 8] = [
    person("Alex Admin", Role::Admin),
    DemoPerson { profile: Some(("General practice", "en, de")), ..person("Dr. Dana Okafor", Role::Doctor) },
    DemoPerson { profile: Some(("Dermatology", "en, ko")), ..person("Dr. Minjun Seo", Role::Doctor) },
    DemoPerson { pharmacy: Some(0), ..person("Farid Haddad", Role::Pharmacist) },
    DemoPerson { pharmacy: Some(1), ..person("Lena Brandt", Role::Pharmacist) },
    person("Pia Lindqvist", Role::Patient),
    person("Tom Abara", Role::Patient),
    person("Casey Rivera", Role::Courier),
];

const fn person(name: &'static str, role: Role) -> DemoPerson {
    DemoPerson { name, role, pharmacy: None, profile: None }
}

impl DemoPerson {
    fn email(&self) -> String {
        let parts: Vec<String> = self.name.split(' ').map(|word| word.trim_matches('.').to_lowercase()).collect();
        format!("{}@demo.invalid", parts.join("."))
    }

    fn id(&self) -> UserId {
        UserId(Uuid::new_v5(&DEMO_NAMESPACE, self.name.as_bytes()))
    }
}

/// Creates the parts of the demo clinic that do not exist yet.
pub async fn prepare(state: &AppState) -> anyhow::Result<()> {
    for (at, (name, address)) in PHARMACIES.iter().enumerate() {
        let (name, address) = (Name::parse(name)?, Paragraph::parse(address)?);
        state.store.insert_pharmacy(pharmacy(at), &name, &address).await?;
    }
    for person in &PEOPLE {
        let name = Name::parse(person.name)?;
        let pharmacy = person.pharmacy.map(pharmacy);
        state.auth.demo_person(person.id(), &person.email(), name, person.role, pharmacy, person.profile).await?;
        if person.role == Role::Doctor {
            publish_slots(state, person.id()).await?;
        }
    }
    Ok(())
}

fn pharmacy(at: usize) -> PharmacyId {
    PharmacyId(Uuid::new_v5(&DEMO_NAMESPACE, PHARMACIES[at].0.as_bytes()))
}

/// Publishes a doctor's next slots one by one. Existing ones stay, because a repeated slot overlaps itself.
async fn publish_slots(state: &AppState, doctor: UserId) -> anyhow::Result<()> {
    let now = state.clock.now();
    for starts_at in slot_starts(now) {
        let name = format!("{doctor} {starts_at}");
        let id = SlotId(Uuid::new_v5(&DEMO_NAMESPACE, name.as_bytes()));
        let slot = PublishedSlot { id, starts_at, ends_at: starts_at.plus(SLOT_LENGTH), room: None };
        state.store.publish_slots(doctor, &[slot]).await?;
    }
    Ok(())
}

/// Returns when slots start: for two hours from the next quarter of an hour that is at least two minutes away, then in
/// the mornings of the next days.
fn slot_starts(now: Timestamp) -> Vec<Timestamp> {
    let align = |at: Timestamp, to: Duration| {
        let to = i64::try_from(to.as_micros()).unwrap_or(i64::MAX);
        Timestamp::from_micros(at.micros().div_euclid(to).saturating_mul(to))
    };
    let first = align(now.plus(SLOT_LENGTH + Duration::from_secs(120)), SLOT_LENGTH);
    let upcoming = (0..UPCOMING_SLOTS).map(|at| first.plus(SLOT_LENGTH * at));
    let mornings = (1..=MORNINGS).flat_map(|day| {
        let morning = align(now, DAY).plus(DAY * day + Duration::from_secs(8 * 3600));
        (0..SLOTS_PER_MORNING).map(move |at| morning.plus(SLOT_LENGTH * at))
    });
    upcoming.chain(mornings).collect()
}

/// Returns the text to print: each person with the link that signs them in. Outside demo mode there are no links.
pub fn welcome(state: &AppState, address: SocketAddr) -> String {
    let base = match &state.config.public_url {
        Some(url) => url.to_string(),
        None => format!("http://{address}"),
    };
    let mut text = format!("Wardroom's demo clinic runs at {base}/. Each link signs in one person:\n\n");
    for person in &PEOPLE {
        if let Some(token) = state.auth.demo_token(person.id()) {
            text.push_str(&format!("  {:<11} {:<16} {base}/#demo={}\n", person.role.as_str(), person.name, token.0));
        }
    }
    text.push_str(&format!("\nThe links expire when this process stops. The API is documented at {base}/docs\n"));
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn demo_slots_start_soon_and_never_overlap() {
        for minute in 0..120 {
            let now = Timestamp::from_micros(1_800_000_000_000_000).plus(Duration::from_secs(minute * 60));
            let starts = slot_starts(now);
            assert!(starts[0].since(now) >= Duration::from_secs(120), "{now}");
            assert!(starts[0].since(now) <= Duration::from_secs(17 * 60), "{now}");
            let mut sorted = starts.clone();
            sorted.sort();
            sorted.dedup();
            assert_eq!(sorted.len(), starts.len());
        }
    }
}
