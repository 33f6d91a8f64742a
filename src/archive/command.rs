//! `wardroom verify`.

use std::fs::File;
use std::io::BufReader;
use std::path::Path;
use std::process::ExitCode;

use anyhow::Context;

use super::{Fault, Tally, verify, verify_database};
use crate::config::DatabaseSettings;
use crate::store::{Store, StoreError};

/// Rooms between two notes of how far it is.
const STEP: u64 = 1_000;

/// Checks an exported file; says what it found and fails if something does not fit.
pub fn file(path: &Path) -> anyhow::Result<ExitCode> {
    let file = File::open(path).with_context(|| format!("cannot open {}", path.display()))?;
    Ok(match verify(BufReader::new(file)) {
        Ok(report) => {
            println!("whole: room {}, {} events, head {}", report.room, report.events, report.head);
            ExitCode::SUCCESS
        }
        Err(mismatch) => {
            println!("NOT whole: {mismatch}");
            ExitCode::FAILURE
        }
    })
}

/// Checks every room of a database, with progress on the way.
pub async fn database(settings: &DatabaseSettings) -> anyhow::Result<ExitCode> {
    let store = open(settings).await.context("cannot open the database (WARDROOM_DATABASE_URL)")?;
    let fault = |fault: Fault| println!("room {}: NOT whole: {}", fault.room, fault.mismatch);
    let progress = |so_far: &Tally| {
        if so_far.rooms.is_multiple_of(STEP) {
            eprintln!("{} rooms, {} events so far", so_far.rooms, so_far.events);
        }
    };
    let Tally { rooms, events, faults } = verify_database(&store, fault, progress).await?;
    println!("{rooms} rooms, {events} events in whole rooms, {faults} rooms not whole");
    Ok(if faults == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// The replica, if there is one that answers: reading everything is what it is there for.
async fn open(settings: &DatabaseSettings) -> Result<Store, StoreError> {
    if let Some(replica) = settings.replica() {
        match Store::open(&replica).await {
            Ok(store) => return Ok(store),
            Err(error) => eprintln!("the replica cannot be read ({error}); the database itself is"),
        }
    }
    Store::connect(settings).await
}
