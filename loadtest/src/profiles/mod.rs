//! One module for each kind of profile, and the choice between them.

mod bounds;
mod calls;
mod clinic_day;
mod idle;
mod search;
mod setup;
mod single_phase;

use std::time::Duration;

use anyhow::{Context, ensure};
use loadtest::html;
use loadtest::load::plan::ConnectionFault;
use loadtest::load::script::LoadKind;
use loadtest::report::Report;

use self::single_phase::SinglePhase;
use crate::cli::Profile;

/// Runs a profile, prints its report, and writes the files that the command line asks for.
pub fn run(profile: &Profile) -> anyhow::Result<Report> {
    let (common, report) = match profile {
        Profile::Chat(talk) => (&talk.common, SinglePhase::new("chat", talk).play()?),
        Profile::Fanout { talk, devices } => {
            (&talk.common, SinglePhase { devices: *devices as usize, ..SinglePhase::new("fanout", talk) }.play()?)
        }
        Profile::Status { talk, cycle } => {
            ensure!(*cycle != LoadKind::Chat, "--cycle is dispensing or consultation");
            (&talk.common, SinglePhase { kind: *cycle, ..SinglePhase::new("status", talk) }.play()?)
        }
        Profile::Duplicates { talk, copies } => {
            (&talk.common, SinglePhase { copies: *copies, ..SinglePhase::new("duplicates", talk) }.play()?)
        }
        Profile::Slow { talk, share } => {
            let end = Duration::from_secs(talk.warmup + talk.duration);
            let connection_faults =
                vec![(Duration::ZERO, ConnectionFault::StopReading), (end, ConnectionFault::ResumeReading)];
            (&talk.common, SinglePhase { slow: *share, connection_faults, ..SinglePhase::new("slow", talk) }.play()?)
        }
        Profile::Storm { talk, share, jitter_ms, cut_after } => {
            let cut = ConnectionFault::Cut { share: *share, jitter: Duration::from_millis(*jitter_ms) };
            let connection_faults = vec![(Duration::from_secs(talk.warmup + cut_after), cut)];
            (&talk.common, SinglePhase { connection_faults, ..SinglePhase::new("storm", talk) }.play()?)
        }
        Profile::Idle { common, connections, duration, max_kib_per_connection } => {
            (common, idle::run(common, *connections as usize, *duration, *max_kib_per_connection)?)
        }
        Profile::Calls(ring) => (&ring.common, calls::run(ring)?),
        Profile::ClinicDay(clinic) => (&clinic.common, clinic_day::run(clinic)?),
        Profile::Search { talk, kind, below_ms, min_rate } => {
            (&talk.common, search::run(talk, *kind, *below_ms, *min_rate)?)
        }
    };
    print!("{report}");
    if let Some(path) = &common.json {
        std::fs::write(path, serde_json::to_vec_pretty(&report)?).context("cannot write the report")?;
    }
    if let Some(path) = &common.html {
        std::fs::write(path, html::page(&report)).context("cannot write the page")?;
    }
    Ok(report)
}
