//! `wardroom verify`.

use std::fs::File;
use std::io::BufReader;
use std::path::Path;
use std::process::ExitCode;

use anyhow::Context;

use super::{verify, verify_room};
use crate::config::DatabaseSettings;
use crate::store::Store;

/// Rooms listed at a time.
const PAGE: u32 = 500;

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
    let store = Store::connect(settings).await.context("cannot open the database (WARDROOM_DATABASE_URL)")?;
    let (mut rooms, mut events, mut broken) = (0u64, 0u64, 0u64);
    let mut last = None;
    loop {
        let page = store.rooms_after(last, PAGE).await?;
        for room in &page {
            rooms += 1;
            match verify_room(&store, *room).await? {
                Ok(report) => events += report.events,
                Err(mismatch) => {
                    broken += 1;
                    println!("room {room}: NOT whole: {mismatch}");
                }
            }
        }
        eprint!("\r{rooms} rooms, {events} events   ");
        if page.len() < PAGE as usize {
            break;
        }
        last = page.last().copied();
    }
    eprintln!();
    println!("{rooms} rooms, {events} events in whole rooms, {broken} rooms not whole");
    Ok(if broken == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}
