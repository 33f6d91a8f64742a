//! The command line.

use std::path::PathBuf;
use std::time::Duration;

use anyhow::ensure;
use clap::{Args, Parser, Subcommand};
use loadtest::arrivals::Spacing;
use loadtest::fault::{Fault, Faults, Victim};
use loadtest::load::plan::{ConnectionFault, Phase};
use loadtest::load::script::LoadKind;
use loadtest::target::Target;

/// Open-loop load for a Wardroom hub on this machine.
///
/// Seed a throwaway hub first: `wardroom seed --rooms 1000 --out fixture.json`.
#[derive(Debug, Parser)]
#[command(version)]
pub struct Cli {
    #[command(subcommand)]
    pub profile: Profile,
}

#[derive(Debug, Subcommand)]
pub enum Profile {
    /// Messages that all members of a room see.
    Chat(LoadArgs),
    /// Messages to many sockets: each member has several devices, and each device receives every event.
    Fanout {
        #[command(flatten)]
        args: LoadArgs,
        /// Connections of each member.
        #[arg(long, default_value_t = 8, value_parser = clap::value_parser!(u32).range(1..=64))]
        devices: u32,
    },
    /// Status changes, in a loop that the state machine allows.
    Status {
        #[command(flatten)]
        args: LoadArgs,
        /// The loop to run.
        #[arg(long, value_enum, default_value = "dispensing")]
        cycle: LoadKind,
    },
    /// Each message is sent 1 to N times, and once more after its ack.
    Duplicates {
        #[command(flatten)]
        args: LoadArgs,
        /// The most copies before the ack.
        #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u8).range(2..=5))]
        copies: u8,
    },
    /// Messages while some members stop reading; they resume at the end of the load.
    Slow {
        #[command(flatten)]
        args: LoadArgs,
        /// The share of rooms with such a member.
        #[arg(long, default_value_t = 0.1, value_parser = share)]
        share: f64,
    },
    /// Messages while connections are cut all at once and reconnect.
    Storm {
        #[command(flatten)]
        args: LoadArgs,
        /// The share of rooms whose connections are cut. Below 1, latencies are those of the other rooms.
        #[arg(long, default_value_t = 1.0, value_parser = share)]
        share: f64,
        /// Each connection reconnects after a random time up to this, in milliseconds.
        #[arg(long, default_value_t = 0)]
        jitter_ms: u64,
        /// When to cut, in seconds after the warm-up.
        #[arg(long, default_value_t = 2, value_parser = clap::value_parser!(u64).range(0..=3600))]
        cut_after: u64,
    },
    /// Connections that are authenticated and in a room but send nothing.
    Idle {
        #[command(flatten)]
        common: CommonArgs,
        /// Number of connections. If the fixture has too few members, each gets several.
        #[arg(long, value_parser = clap::value_parser!(u32).range(1..=19_000))]
        connections: u32,
        /// How long they stay connected, in seconds; the hub's memory is read at the end.
        #[arg(long, value_parser = clap::value_parser!(u64).range(1..=3600))]
        duration: u64,
        /// Bound on the hub's memory per connection.
        #[arg(long, requires = "hub_pids")]
        max_kib_per_connection: Option<f64>,
    },
    /// Calls with real media on both sides, at a rate.
    Calls(CallsArgs),
    /// A clinic's day, compressed: whole cases from the booking to the medicine, by an arrival curve; then its peak.
    ClinicDay(ClinicDayArgs),
    /// The highest rate whose p99 of acks stays below a bound, and the p99 at half of it.
    Search {
        #[command(flatten)]
        args: LoadArgs,
        /// The kind of load.
        #[arg(long, value_enum, default_value = "chat")]
        kind: LoadKind,
        /// The bound on the p99 of acks, in milliseconds.
        #[arg(long, default_value_t = 100.0)]
        below_ms: f64,
        /// Bound: fail if the rate found is lower.
        #[arg(long)]
        min_rate: Option<f64>,
    },
}

#[derive(Debug, Args)]
pub struct CommonArgs {
    /// The hub: a loopback address and a port; other addresses are rejected. Repeat it for the nodes of one hub: each
    /// room's members are spread over them, and a member that loses its connection reconnects to the next node. Write a
    /// competitor as `socketio://127.0.0.1:PORT` or `rooms://127.0.0.1:PORT`.
    #[arg(long = "target", default_value = "127.0.0.1:8080")]
    pub targets: Vec<Target>,
    /// The file that `wardroom seed` wrote. Required for a hub; competitors accept any rooms.
    #[arg(long)]
    pub fixture: Option<PathBuf>,
    /// The hub's process, to measure its CPU time and memory. Repeat it to sum several processes.
    #[arg(long = "hub-pid")]
    pub hub_pids: Vec<u32>,
    /// A fault of the hub or of clients: `kind@seconds[+duration]`, in seconds after the warm-up. `kill`: kills the
    /// process `--fault-pid` and runs `--restart` after the duration. `stop`: stops it for the duration. `half-open`: a
    /// share of the clients stops reading and answering for the duration, without closing. `cut`: cuts the connections
    /// of a share of the rooms, which reconnect within the duration. May be repeated.
    #[arg(long = "fault")]
    pub faults: Vec<Fault>,
    /// The hub process that `kill` and `stop` hit. If repeated, the processes take turns. No other process ever
    /// receives a signal.
    #[arg(long = "fault-pid")]
    pub fault_pids: Vec<u32>,
    /// The share of clients that `half-open` and `cut` hit.
    #[arg(long, default_value_t = 0.1, value_parser = share)]
    pub fault_share: f64,
    /// A shell command that restarts the killed hub and prints its process id, which later faults hit. `$1` is the
    /// number of the `--fault-pid`, from 1.
    #[arg(long, requires = "fault_pids")]
    pub restart: Option<String>,
    /// Writes the report as JSON to this file.
    #[arg(long)]
    pub json: Option<PathBuf>,
    /// Writes the report as a page with plots to this file.
    #[arg(long)]
    pub html: Option<PathBuf>,
    /// Shows no progress.
    #[arg(long)]
    pub quiet: bool,
    /// Threads of the generator.
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=64))]
    pub workers: u32,
    /// Seed of all random choices.
    #[arg(long, default_value_t = 1)]
    pub seed: u64,
}

#[derive(Debug, Args)]
pub struct LoadArgs {
    #[command(flatten)]
    pub common: CommonArgs,
    #[arg(long, default_value_t = 1000, value_parser = clap::value_parser!(u32).range(1..=6_000))]
    pub rooms: u32,
    /// Members of each room.
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u32).range(1..=3))]
    pub members: u32,
    /// Commands a second, over all rooms; for `search`, the first rate tried.
    #[arg(long, default_value_t = 1000.0, value_parser = rate)]
    pub rate: f64,
    /// The measured time in seconds; for `search`, of each step.
    #[arg(long, value_parser = clap::value_parser!(u64).range(1..=3600))]
    pub duration: u64,
    /// Seconds of load before the measured time.
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u64).range(0..=600))]
    pub warmup: u64,
    /// Seconds that answers may take after the end.
    #[arg(long, default_value_t = 30, value_parser = clap::value_parser!(u64).range(1..=600))]
    pub drain: u64,
    #[arg(long, value_enum, default_value = "poisson")]
    pub arrivals: Spacing,
    /// Bytes of a message.
    #[arg(long, default_value_t = 200, value_parser = clap::value_parser!(u32).range(1..=4000))]
    pub bytes: u32,
    #[command(flatten)]
    pub limits: Limits,
}

/// Calls at a rate.
#[derive(Debug, Args)]
pub struct CallsArgs {
    #[command(flatten)]
    pub common: CommonArgs,
    /// Calls a minute.
    #[arg(long, default_value_t = 500.0, value_parser = rate)]
    pub per_minute: f64,
    /// How long new calls start, in seconds.
    #[arg(long, value_parser = clap::value_parser!(u64).range(1..=3600))]
    pub duration: u64,
    /// How long a call lasts once media flows, in seconds.
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u64).range(0..=600))]
    pub hold: u64,
    #[arg(long, value_enum, default_value = "poisson")]
    pub arrivals: Spacing,
    /// Bound on the p99 of the time from starting a call to media on both sides.
    #[arg(long)]
    pub max_setup_p99_ms: Option<f64>,
    /// Bound on the p99 of the time that the hub takes to relay a signal.
    #[arg(long)]
    pub max_signal_p99_ms: Option<f64>,
    /// Bound on failed calls.
    #[arg(long, default_value_t = 0)]
    pub max_failed: u64,
}

/// A day of consultations.
#[derive(Debug, Args)]
pub struct ClinicDayArgs {
    #[command(flatten)]
    pub common: CommonArgs,
    /// Consultations in the whole day.
    #[arg(long, default_value_t = 100_000, value_parser = clap::value_parser!(u32).range(24..=10_000_000))]
    pub cases: u32,
    /// How many times faster than the clock the day runs, and how many times shorter a case is.
    #[arg(long, default_value_t = 24.0, value_parser = factor)]
    pub compress: f64,
    /// The hours of the day to run, as FROM-TO; 0-0 skips the day.
    #[arg(long, default_value = "0-24", value_parser = hours)]
    pub hours: (f64, f64),
    /// Seconds of peak load after the day: consultations begin at `--peak-factor` times the day's mean rate, by the
    /// clock. Only the length of a case is compressed.
    #[arg(long, default_value_t = 0, value_parser = clap::value_parser!(u64).range(0..=3600))]
    pub peak: u64,
    #[arg(long, default_value_t = 16.7, value_parser = factor)]
    pub peak_factor: f64,
    /// Minutes that a case lasts before compression.
    #[arg(long, default_value_t = 20, value_parser = clap::value_parser!(u64).range(1..=1440))]
    pub case_minutes: u64,
    /// Messages in a case, besides some 17 other steps.
    #[arg(long, default_value_t = 40, value_parser = clap::value_parser!(u32).range(0..=1000))]
    pub messages: u32,
    /// Bytes of a message.
    #[arg(long, default_value_t = 200, value_parser = clap::value_parser!(u32).range(1..=4000))]
    pub bytes: u32,
    /// Bound on failed cases.
    #[arg(long, default_value_t = 0)]
    pub max_failed: u64,
    #[command(flatten)]
    pub limits: Limits,
}

/// The bounds; breaking one makes the exit code 1.
#[allow(clippy::struct_field_names, reason = "the names are those of the options")]
#[derive(Debug, Args)]
pub struct Limits {
    /// Bound on the p99 of acks.
    #[arg(long)]
    pub max_p99_ms: Option<f64>,
    /// Bound on the p99 of deliveries.
    #[arg(long)]
    pub max_delivery_p99_ms: Option<f64>,
    /// Bound on the p99 of the time to the last socket that receives an event.
    #[arg(long)]
    pub max_last_p99_ms: Option<f64>,
    /// Bound on the p99 of the time from a lost connection to the end of the replay on the next one.
    #[arg(long)]
    pub max_resume_p99_ms: Option<f64>,
    #[arg(long, default_value_t = 0)]
    pub max_lost: u64,
    #[arg(long, default_value_t = 0)]
    pub max_repeated: u64,
    #[arg(long, default_value_t = 0)]
    pub max_out_of_order: u64,
    /// Bound on error frames.
    #[arg(long, default_value_t = 0)]
    pub max_errors: u64,
    /// Bound on unanswered commands.
    #[arg(long, default_value_t = 0)]
    pub max_unanswered: u64,
}

impl CommonArgs {
    /// Returns the requested faults. Fails if one is impossible in this profile; `clients` tells whether its clients
    /// support faults.
    pub fn faults(&self, clients: bool) -> anyhow::Result<Faults> {
        let has_hub_faults = self.faults.iter().any(|fault| fault.kind.targets_hub());
        ensure!(!has_hub_faults || !self.fault_pids.is_empty(), "kill and stop need --fault-pid");
        let all = self.faults.iter().all(|fault| fault.kind.targets_hub());
        ensure!(clients || all, "this profile supports only kill and stop");
        let victims = self.fault_pids.iter().map(|pid| Victim::new(*pid, self.restart.clone()));
        let victims = victims.collect::<anyhow::Result<_>>()?;
        Ok(Faults { list: self.faults.clone(), share: self.fault_share, victims })
    }
}

impl LoadArgs {
    pub fn phase(&self, connection_faults: Vec<(Duration, ConnectionFault)>) -> Phase {
        Phase {
            rate: self.rate,
            spacing: self.arrivals,
            warmup: Duration::from_secs(self.warmup),
            duration: Duration::from_secs(self.duration),
            drain: Duration::from_secs(self.drain),
            connection_faults,
        }
    }
}

fn share(text: &str) -> Result<f64, String> {
    let share: f64 = text.parse().map_err(|_| "must be a number from 0 to 1".to_owned())?;
    if (0.0..=1.0).contains(&share) { Ok(share) } else { Err("must be from 0 to 1".to_owned()) }
}

fn factor(text: &str) -> Result<f64, String> {
    let factor: f64 = text.parse().map_err(|_| "must be a number".to_owned())?;
    if (1.0..=1_440.0).contains(&factor) { Ok(factor) } else { Err("must be from 1 to 1440".to_owned()) }
}

fn hours(text: &str) -> Result<(f64, f64), String> {
    let hours = text.split_once('-').and_then(|(from, to)| Some((from.parse().ok()?, to.parse().ok()?)));
    let hours: Option<(f64, f64)> = hours.filter(|(from, to)| 0.0 <= *from && from <= to && *to <= 24.0);
    hours.ok_or_else(|| "write FROM-TO, from 0 to 24".to_owned())
}

fn rate(text: &str) -> Result<f64, String> {
    let rate: f64 = text.parse().map_err(|_| "must be a number".to_owned())?;
    if (0.1..=200_000.0).contains(&rate) { Ok(rate) } else { Err("must be from 0.1 to 200000".to_owned()) }
}
