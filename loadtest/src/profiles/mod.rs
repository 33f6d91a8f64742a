//! The profiles, one module for each kind, and their dispatch.

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

/// Runs a profile, prints its report, and writes the requested files.
pub fn run(profile: &Profile) -> anyhow::Result<Report> {
    let (common, report) = match profile {
        Profile::Chat(args) => (&args.common, SinglePhase::new("chat", args).play()?),
        Profile::Fanout { args, devices } => {
            (&args.common, SinglePhase { devices: *devices as usize, ..SinglePhase::new("fanout", args) }.play()?)
        }
        Profile::Status { args, cycle } => {
            ensure!(*cycle != LoadKind::Chat, "--cycle is dispensing or consultation");
            (&args.common, SinglePhase { kind: *cycle, ..SinglePhase::new("status", args) }.play()?)
        }
        Profile::Duplicates { args, copies } => {
            (&args.common, SinglePhase { copies: *copies, ..SinglePhase::new("duplicates", args) }.play()?)
        }
        Profile::Slow { args, share } => {
            let end = Duration::from_secs(args.warmup + args.duration);
            let connection_faults =
                vec![(Duration::ZERO, ConnectionFault::StopReading), (end, ConnectionFault::ResumeReading)];
            (&args.common, SinglePhase { slow: *share, connection_faults, ..SinglePhase::new("slow", args) }.play()?)
        }
        Profile::Storm { args, share, jitter_ms, cut_after } => {
            let cut = ConnectionFault::Cut { share: *share, jitter: Duration::from_millis(*jitter_ms) };
            let connection_faults = vec![(Duration::from_secs(args.warmup + cut_after), cut)];
            (&args.common, SinglePhase { connection_faults, ..SinglePhase::new("storm", args) }.play()?)
        }
        Profile::Idle { common, connections, duration, max_kib_per_connection } => {
            (common, idle::run(common, *connections as usize, *duration, *max_kib_per_connection)?)
        }
        Profile::Calls(args) => (&args.common, calls::run(args)?),
        Profile::ClinicDay(args) => (&args.common, clinic_day::run(args)?),
        Profile::Search { args, kind, below_ms, min_rate } => {
            (&args.common, search::run(args, *kind, *below_ms, *min_rate)?)
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
