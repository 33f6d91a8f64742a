//! Fills a throwaway database with running consultations for `loadtest`, by the same way every change takes.

use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::time::Duration;

use anyhow::Context;
use futures_util::{StreamExt, TryStreamExt, stream};
use rooms::command::{CheckIn, Command, Draft, Nothing, PrescriptionRef, Request, SendPrescription};
use rooms::id::{CommandId, PharmacyId, PrescriptionId, RoomId, UserId};
use rooms::party::{HandOver, Item};
use rooms::role::{Actor, Role};
use rooms::text::{Line, Text};
use serde_json::{Value, json};

use crate::app::App;
use crate::config::Config;
use crate::hub::Submission;
use crate::store::people::{Status, User};
use crate::web::AppState;

/// The version of the file's form, which `loadtest` checks.
const VERSION: u32 = 1;
/// Rooms that share a doctor, a pharmacist and a courier.
const SHARED: u32 = 10;
/// Rooms that are made at the same time, so that their commits share transactions.
const AT_ONCE: usize = 200;
/// How long the tokens last.
const TOKENS: Duration = Duration::from_secs(4 * 3600);

/// Makes `rooms` rooms in progress with a patient, a doctor and a pharmacist each, and writes them to `out`.
pub async fn run(config: Config, rooms: u32, out: &Path) -> anyhow::Result<()> {
    let state = App::build(config).await?.state;
    let groups = rooms.div_ceil(SHARED);
    let mut staff = Vec::new();
    for number in 0..groups {
        let pharmacy = PharmacyId(state.clock.fresh_id());
        state.store.insert_pharmacy(pharmacy, &line(&format!("Pharmacy {number}")), &text("1 Test Street")).await?;
        let doctor = person(&state, Role::Doctor, &format!("Doctor {number}"), None).await?;
        let pharmacist = person(&state, Role::Pharmacist, &format!("Pharmacist {number}"), Some(pharmacy)).await?;
        let courier = person(&state, Role::Courier, &format!("Courier {number}"), None).await?;
        staff.push((doctor, pharmacist, courier, pharmacy));
        progress("groups", number + 1, groups);
    }
    let done = std::sync::atomic::AtomicU32::new(0);
    let entries: Vec<Value> = stream::iter(0..rooms)
        .map(|number| {
            let (state, done) = (&state, &done);
            let (doctor, pharmacist, courier, pharmacy) = &staff[(number / SHARED) as usize];
            async move {
                let patient = person(state, Role::Patient, &format!("Patient {number}"), None).await?;
                let room = open(state, &patient, doctor, *pharmacy).await?;
                progress("rooms", done.fetch_add(1, std::sync::atomic::Ordering::Relaxed) + 1, rooms);
                let [patient, doctor, pharmacist, courier] = [&patient, doctor, pharmacist, courier].map(|member| {
                    json!({
                        "user": member.user(),
                        "role": member.role(),
                        "token": state.auth.token_for_test(member, TOKENS),
                    })
                });
                let members = [patient, doctor, pharmacist];
                anyhow::Ok(json!({"room": room, "pharmacy": pharmacy, "members": members, "courier": courier}))
            }
        })
        .buffer_unordered(AT_ONCE)
        .try_collect()
        .await?;
    let expires_at = state.clock.now().plus(TOKENS);
    let fixture = json!({"version": VERSION, "expires_at": expires_at, "rooms": entries});
    // The file holds tokens: for its owner's eyes only.
    let mut options = std::fs::OpenOptions::new();
    let file = options.write(true).create(true).truncate(true).mode(0o600).open(out);
    let file = file.with_context(|| format!("cannot write {}", out.display()))?;
    serde_json::to_writer(std::io::BufWriter::new(file), &fixture)?;
    state.hub.finish().await;
    eprintln!("\nwrote {}", out.display());
    Ok(())
}

fn progress(what: &str, done: u32, of: u32) {
    if done.is_multiple_of(50) || done == of {
        eprint!("\r{what}: {done} of {of}   ");
    }
}

async fn person(state: &AppState, role: Role, name: &str, pharmacy: Option<PharmacyId>) -> anyhow::Result<Actor> {
    let id = UserId(state.clock.fresh_id());
    let now = state.clock.now();
    let user = User {
        id,
        email: format!("{id}@seed.invalid"),
        name: line(name),
        role,
        status: Status::Active,
        pharmacy,
        specialty: None,
        languages: None,
        created_at: now,
        changed_at: now,
        // No hash: nobody signs in as a seeded person, whose token is in the fixture.
        password_hash: String::from("-"),
    };
    state.store.insert_user(&user).await?;
    Ok(Actor::Person { id, role, name: line(name), pharmacy })
}

/// Plays a consultation up to the point where all three can write to each other.
async fn open(state: &AppState, patient: &Actor, doctor: &Actor, pharmacy: PharmacyId) -> anyhow::Result<RoomId> {
    let room = RoomId(state.clock.fresh_id());
    let say = async |actor: &Actor, command: Command| {
        let id = CommandId(state.clock.fresh_id());
        state.hub.submit(Submission { room, actor: actor.clone(), id, command, expect: None }).await
    };
    say(patient, Command::Request(Request { slot: None, doctor: doctor.user(), reason: None })).await?;
    let consent = state.config.policy.consent.clone();
    say(patient, Command::CheckIn(CheckIn { consent, identity: line("account") })).await?;
    say(doctor, Command::Admit(Nothing {})).await?;
    say(patient, Command::Enter(Nothing {})).await?;
    let item = Item { medicine: line("Testamol 500 mg"), dosage: text("one a day"), quantity: 10, days: 10 };
    say(doctor, Command::Draft(Draft { items: vec![item] })).await?;
    let prescription = prescription(state, room, doctor).await?;
    say(doctor, Command::Sign(PrescriptionRef { prescription })).await?;
    say(patient, Command::Send(SendPrescription { prescription, pharmacy, hand_over: HandOver::Pickup })).await?;
    Ok(room)
}

async fn prescription(state: &AppState, room: RoomId, doctor: &Actor) -> anyhow::Result<PrescriptionId> {
    let look = state.hub.read(room, doctor).await?;
    look.snapshot.prescriptions.first().map(|it| it.id).context("a drafted prescription is in the room")
}

fn line(text: &str) -> Line {
    Line::parse(text).expect("a short literal is a line")
}

fn text<const MAX: usize>(text: &str) -> Text<MAX> {
    Text::parse(text).expect("a short literal is a text")
}
