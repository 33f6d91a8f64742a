//! Fills a throwaway database with running consultations for `loadtest`. It submits commands like any client.

use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::str::FromStr;
use std::time::Duration;

use anyhow::Context;
use futures_util::{StreamExt, TryStreamExt, stream};
use rooms::command::{
    CheckIn, Command, Draft, NewHandOver, NewItem, Nothing, PrescriptionRef, Request, SendPrescription,
};
use rooms::id::{CommandId, PharmacyId, PrescriptionId, RoomId, UserId};
use rooms::role::{Actor, Role};
use rooms::text::{Line, TextError};
use serde_json::{Value, json};

use crate::app::App;
use crate::config::Config;
use crate::hub::Submission;
use crate::store::users::{Status, User};
use crate::web::AppState;

/// The version of the fixture's format, which `loadtest` checks.
const FIXTURE_VERSION: u32 = 1;
/// Rooms that share a doctor, a pharmacist, and a courier.
const ROOMS_PER_STAFF: u32 = 10;
/// Rooms created concurrently, so that their commits share transactions.
const CONCURRENT_ROOMS: usize = 200;
/// How long the tokens in the fixture are valid.
const TOKEN_LIFETIME: Duration = Duration::from_secs(4 * 3600);

/// Creates this many rooms in progress, each with a patient, a doctor, and a pharmacist, and writes them to `out`.
pub async fn run(config: Config, rooms: u32, out: &Path) -> anyhow::Result<()> {
    let state = App::build(config).await?.state;
    let groups = rooms.div_ceil(ROOMS_PER_STAFF);
    let mut staff = Vec::new();
    for number in 0..groups {
        let pharmacy = PharmacyId(state.clock.fresh_id());
        state.store.insert_pharmacy(pharmacy, &text(&format!("Pharmacy {number}")), &text("1 Test Street")).await?;
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
            let (doctor, pharmacist, courier, pharmacy) = &staff[(number / ROOMS_PER_STAFF) as usize];
            async move {
                let patient = person(state, Role::Patient, &format!("Patient {number}"), None).await?;
                let room = open(state, &patient, doctor, *pharmacy).await?;
                progress("rooms", done.fetch_add(1, std::sync::atomic::Ordering::Relaxed) + 1, rooms);
                let [patient, doctor, pharmacist, courier] = [&patient, doctor, pharmacist, courier].map(|member| {
                    json!({
                        "user": member.user(),
                        "role": member.role(),
                        "token": state.auth.token_for_test(member, TOKEN_LIFETIME),
                    })
                });
                let members = [patient, doctor, pharmacist];
                anyhow::Ok(json!({"room": room, "pharmacy": pharmacy, "members": members, "courier": courier}))
            }
        })
        .buffer_unordered(CONCURRENT_ROOMS)
        .try_collect()
        .await?;
    let expires_at = state.clock.now().plus(TOKEN_LIFETIME);
    let fixture = json!({"version": FIXTURE_VERSION, "expires_at": expires_at, "rooms": entries});
    // The file holds tokens, so only its owner may read it.
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
        name: text(name),
        role,
        status: Status::Active,
        pharmacy,
        specialty: None,
        languages: None,
        created_at: now,
        changed_at: now,
        // No password matches this. The fixture has the person's token.
        password_hash: String::from("-"),
    };
    state.store.insert_user(&user).await?;
    Ok(Actor::Person { id, role, name: text(name), pharmacy })
}

/// Advances a consultation to where all three can write to each other.
async fn open(state: &AppState, patient: &Actor, doctor: &Actor, pharmacy: PharmacyId) -> anyhow::Result<RoomId> {
    let room = RoomId(state.clock.fresh_id());
    let submit = async |actor: &Actor, command: Command| {
        let id = CommandId(state.clock.fresh_id());
        state.hub.submit(Submission { room, actor: actor.clone(), id, command, expect: None }).await
    };
    submit(patient, Command::Request(Request { slot: None, doctor: doctor.user(), reason: None })).await?;
    let consent = Line::parse(state.config.policy.consent.as_str())?;
    submit(patient, Command::CheckIn(CheckIn { consent, identity: text("account") })).await?;
    submit(doctor, Command::Admit(Nothing {})).await?;
    submit(patient, Command::Enter(Nothing {})).await?;
    let item = NewItem { medicine: text("Testamol 500 mg"), dosage: text("one a day"), quantity: 10, days: 10 };
    submit(doctor, Command::Draft(Draft { items: vec![item] })).await?;
    let prescription = prescription(state, room, doctor).await?;
    submit(doctor, Command::Sign(PrescriptionRef { prescription })).await?;
    submit(patient, Command::Send(SendPrescription { prescription, pharmacy, hand_over: NewHandOver::Pickup })).await?;
    Ok(room)
}

async fn prescription(state: &AppState, room: RoomId, doctor: &Actor) -> anyhow::Result<PrescriptionId> {
    let view = state.hub.read(room, doctor).await?;
    view.snapshot.prescriptions.first().map(|it| it.id).context("the room has no drafted prescription")
}

fn text<T: FromStr<Err = TextError>>(text: &str) -> T {
    text.parse().expect("the literal is a valid text")
}
