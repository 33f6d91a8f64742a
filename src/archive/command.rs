//! The command `wardroom verify`: prints the results of verification and sets the exit status.
//!
//! It reports records as consistent, not as complete: hashes alone cannot show that an end was cut off, or that somebody
//! with the whole database wrote the chain anew.

use std::fs::File;
use std::io::BufReader;
use std::path::Path;
use std::process::ExitCode;

use anyhow::Context;

use super::{InvalidRoom, VerificationProgress, verify, verify_database};
use crate::config::DatabaseSettings;
use crate::store::{Store, StoreError};

/// The number of rooms between two progress lines.
const PROGRESS_INTERVAL_ROOMS: u64 = 1_000;

/// Verifies an exported file and prints the result. Fails if the record is invalid.
pub fn file(path: &Path) -> anyhow::Result<ExitCode> {
    let file = File::open(path).with_context(|| format!("cannot open {}", path.display()))?;
    Ok(match verify(BufReader::new(file)) {
        Ok(record) => {
            println!("consistent: room {}, {} events, head {}", record.room, record.events, record.head);
            ExitCode::SUCCESS
        }
        Err(error) => {
            println!("INCONSISTENT: {error}");
            ExitCode::FAILURE
        }
    })
}

/// Verifies every room of a database and prints invalid rooms, progress, and a summary.
pub async fn database(settings: &DatabaseSettings) -> anyhow::Result<ExitCode> {
    let store = open(settings).await.context("cannot open the database (WARDROOM_DATABASE_URL)")?;
    let on_invalid = |invalid: InvalidRoom| println!("room {}: INCONSISTENT: {}", invalid.room, invalid.error);
    let on_progress = |so_far: &VerificationProgress| {
        if so_far.rooms.is_multiple_of(PROGRESS_INTERVAL_ROOMS) {
            eprintln!("{} rooms, {} events so far", so_far.rooms, so_far.events);
        }
    };
    let VerificationProgress { rooms, events, invalid } = verify_database(&store, on_invalid, on_progress).await?;
    println!("{rooms} rooms, {events} events in consistent rooms, {invalid} inconsistent rooms");
    Ok(if invalid == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// Opens the replica if one is configured and reachable, because a full scan should not load the primary.
async fn open(settings: &DatabaseSettings) -> Result<Store, StoreError> {
    if let Some(replica) = settings.replica() {
        match Store::open(&replica).await {
            Ok(store) => return Ok(store),
            Err(error) => eprintln!("replica unavailable ({error}); reading the database itself"),
        }
    }
    Store::connect(settings).await
}
