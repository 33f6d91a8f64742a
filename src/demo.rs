//! The demo clinic: people to play a whole case with, and a link that signs each of them in.
//!
//! In demo mode only, which the configuration allows on loopback only. Nobody here has a password; a link is good as
//! long as this process lives.

use std::net::SocketAddr;
use std::time::Duration;

use rooms::id::{PharmacyId, SlotId, UserId};
use rooms::role::Role;
use rooms::text::{Line, Text};
use rooms::time::Timestamp;
use uuid::Uuid;

use crate::store::slots::PublishedSlot;
use crate::web::AppState;

/// The demo's own ids, so that a second start finds what the first one made.
const NAMESPACE: Uuid = Uuid::from_u128(0x6f1c_7d3e_52a4_5b7b_9c1a_7761_7264_726d);
/// How long a slot is, and how long after its neighbour's begin it begins.
const SLOT: Duration = Duration::from_secs(15 * 60);
/// Slots that begin within the next two hours, and of each of the days after that.
const SOON: u32 = 8;
const A_DAY: u32 = 12;
const DAYS: u32 = 5;
const DAY: Duration = Duration::from_secs(86_400);

/// Somebody of the demo clinic.
struct Cast {
    name: &'static str,
    role: Role,
    /// Which of [`PHARMACIES`] a pharmacist works in.
    pharmacy: Option<usize>,
    /// What patients read about a doctor: specialty and languages.
    profile: Option<(&'static str, &'static str)>,
}

const PHARMACIES: [(&str, &str); 2] =
    [("Harbour Pharmacy", "12 Quay Street, Port Elsewhere"), ("Linden Pharmacy", "3 Market Square, Port Elsewhere")];

const PEOPLE: [Cast; 8] = [
    person("Alex Admin", Role::Admin),
    Cast { profile: Some(("General practice", "en, de")), ..person("Dr. Dana Okafor", Role::Doctor) },
    Cast { profile: Some(("Dermatology", "en, ko")), ..person("Dr. Minjun Seo", Role::Doctor) },
    Cast { pharmacy: Some(0), ..person("Farid Haddad", Role::Pharmacist) },
    Cast { pharmacy: Some(1), ..person("Lena Brandt", Role::Pharmacist) },
    person("Pia Lindqvist", Role::Patient),
    person("Tom Abara", Role::Patient),
    person("Casey Rivera", Role::Courier),
];

const fn person(name: &'static str, role: Role) -> Cast {
    Cast { name, role, pharmacy: None, profile: None }
}

impl Cast {
    fn email(&self) -> String {
        let words: Vec<String> = self.name.split(' ').map(|word| word.trim_matches('.').to_lowercase()).collect();
        format!("{}@demo.invalid", words.join("."))
    }

    fn id(&self) -> UserId {
        UserId(Uuid::new_v5(&NAMESPACE, self.name.as_bytes()))
    }
}

/// Makes what is absent of the demo clinic.
pub async fn prepare(state: &AppState) -> anyhow::Result<()> {
    for (at, (name, address)) in PHARMACIES.iter().enumerate() {
        state.store.insert_pharmacy(pharmacy(at), &Line::parse(name)?, &Text::parse(address)?).await?;
    }
    for cast in &PEOPLE {
        let name = Line::parse(cast.name)?;
        let pharmacy = cast.pharmacy.map(pharmacy);
        state.auth.demo_person(cast.id(), &cast.email(), name, cast.role, pharmacy, cast.profile).await?;
        if cast.role == Role::Doctor {
            publish(state, cast.id()).await?;
        }
    }
    Ok(())
}

fn pharmacy(at: usize) -> PharmacyId {
    PharmacyId(Uuid::new_v5(&NAMESPACE, PHARMACIES[at].0.as_bytes()))
}

/// Publishes a doctor's next slots one by one: those that are there already overlap themselves, and stay.
async fn publish(state: &AppState, doctor: UserId) -> anyhow::Result<()> {
    let now = state.clock.now();
    for starts_at in begins(now) {
        let name = format!("{doctor} {starts_at}");
        let id = SlotId(Uuid::new_v5(&NAMESPACE, name.as_bytes()));
        let slot = PublishedSlot { id, starts_at, ends_at: starts_at.plus(SLOT), room: None };
        state.store.publish_slots(doctor, &[slot]).await?;
    }
    Ok(())
}

/// From the next quarter of an hour but at least two minutes away: two hours, then the mornings of the next days.
fn begins(now: Timestamp) -> Vec<Timestamp> {
    let align = |at: Timestamp, to: Duration| {
        let to = i64::try_from(to.as_micros()).unwrap_or(i64::MAX);
        Timestamp::from_micros(at.micros().div_euclid(to).saturating_mul(to))
    };
    let first = align(now.plus(SLOT + Duration::from_secs(120)), SLOT);
    let soon = (0..SOON).map(|at| first.plus(SLOT * at));
    let days = (1..=DAYS).flat_map(|day| {
        let morning = align(now, DAY).plus(DAY * day + Duration::from_secs(8 * 3600));
        (0..A_DAY).map(move |at| morning.plus(SLOT * at))
    });
    soon.chain(days).collect()
}

/// What to print: who is there, and the link that signs each in. Outside demo mode there are no links.
pub fn welcome(state: &AppState, address: SocketAddr) -> String {
    let base = match &state.config.public_url {
        Some(url) => url.to_string(),
        None => format!("http://{address}"),
    };
    let mut text = format!("Wardroom's demo clinic is open at {base}/ - each link signs one person in:\n\n");
    for cast in &PEOPLE {
        if let Some(token) = state.auth.demo_token(cast.id()) {
            text.push_str(&format!("  {:<11} {:<16} {base}/#demo={}\n", cast.role.as_str(), cast.name, token.0));
        }
    }
    text.push_str(&format!("\nThe links end with this process. The API is documented at {base}/docs\n"));
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slots_begin_soon_and_never_overlap() {
        for minute in 0..120 {
            let now = Timestamp::from_micros(1_800_000_000_000_000).plus(Duration::from_secs(minute * 60));
            let begins = begins(now);
            assert!(begins[0].since(now) >= Duration::from_secs(120), "{now}");
            assert!(begins[0].since(now) <= Duration::from_secs(17 * 60), "{now}");
            let mut sorted = begins.clone();
            sorted.sort();
            sorted.dedup();
            assert_eq!(sorted.len(), begins.len());
        }
    }
}
