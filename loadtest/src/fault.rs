//! Faults of the hub or of its clients under load: `kind@seconds[+duration]`.
//!
//! Only processes named on the command line, or started by the caller's own restart command, ever receive a signal.
//! Every fault ends: a stopped process is continued even if the generator dies first.

use std::fmt;
use std::io::{BufRead, BufReader};
use std::os::unix::process::CommandExt;
use std::process::{Child, Command, Stdio};
use std::str::FromStr;
use std::sync::mpsc;
use std::time::{Duration, Instant};

use anyhow::{Context, bail, ensure};
use serde::Serialize;

use crate::load::plan::ConnectionFault;
use crate::meter::Meters;

/// The latest start of a fault, in seconds after the warm-up.
const MAX_FAULT_START_S: f64 = 3600.0;
/// The longest duration of a fault, in seconds.
const MAX_FAULT_LENGTH_S: f64 = 600.0;
/// Time limit for the restart command to print the new process id.
const RESTART_TIMEOUT: Duration = Duration::from_secs(30);

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum FaultKind {
    /// Kills the hub's process without warning. After the duration, runs the restart command, if there is one.
    Kill,
    /// Stops the hub's process for the duration, then continues it.
    Stop,
    /// A share of the clients stops reading and answering for the duration, without closing.
    HalfOpen,
    /// Cuts the connections of a share of the rooms. Each reconnects after a random time up to the duration.
    Cut,
}

/// A scheduled fault.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Fault {
    pub kind: FaultKind,
    /// Measured from the end of the warm-up.
    pub at: Duration,
    pub lasts: Duration,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("write a fault as kill, stop, half-open, or cut, then @seconds (up to 3600), then +seconds (up to 600)")]
pub struct FaultFormatError;

impl FromStr for Fault {
    type Err = FaultFormatError;

    fn from_str(text: &str) -> Result<Self, FaultFormatError> {
        let (kind, times) = text.split_once('@').ok_or(FaultFormatError)?;
        let kind = [FaultKind::Kill, FaultKind::Stop, FaultKind::HalfOpen, FaultKind::Cut]
            .into_iter()
            .find(|known| known.name() == kind)
            .ok_or(FaultFormatError)?;
        let (at, lasts) = times.split_once('+').unwrap_or((times, "0"));
        let seconds = |text: &str, most: f64| {
            let seconds = text.parse::<f64>().ok().filter(|seconds| (0.0..=most).contains(seconds));
            seconds.map(Duration::from_secs_f64).ok_or(FaultFormatError)
        };
        let fault = Self { kind, at: seconds(at, MAX_FAULT_START_S)?, lasts: seconds(lasts, MAX_FAULT_LENGTH_S)? };
        // A stop or a half-open connection without a duration would have no effect.
        let needs_time = matches!(kind, FaultKind::Stop | FaultKind::HalfOpen);
        if needs_time && fault.lasts.is_zero() { Err(FaultFormatError) } else { Ok(fault) }
    }
}

impl FaultKind {
    pub fn name(self) -> &'static str {
        match self {
            FaultKind::Kill => "kill",
            FaultKind::Stop => "stop",
            FaultKind::HalfOpen => "half-open",
            FaultKind::Cut => "cut",
        }
    }

    /// Returns whether the fault hits a process of the hub rather than clients.
    pub fn targets_hub(self) -> bool {
        matches!(self, FaultKind::Kill | FaultKind::Stop)
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}@{}", self.kind.name(), self.at.as_secs_f64())?;
        if self.lasts.is_zero() { Ok(()) } else { write!(f, "+{}", self.lasts.as_secs_f64()) }
    }
}

impl Fault {
    /// Returns the connection fault of a `share` of the clients, if this fault hits clients.
    pub fn connection_fault(self, share: f64) -> Option<ConnectionFault> {
        match self.kind {
            FaultKind::Kill | FaultKind::Stop => None,
            FaultKind::HalfOpen => Some(ConnectionFault::HalfOpen { share, time: self.lasts }),
            FaultKind::Cut => Some(ConnectionFault::Cut { share, jitter: self.lasts }),
        }
    }
}

/// The outcome of a fault.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct FaultOutcome {
    pub fault: String,
    /// The process that the fault hit.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pid: Option<u32>,
    /// Why the fault could not be injected.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub failed: Option<String>,
}

/// The faults of a run, and the processes that they hit.
#[derive(Clone, Debug, Default)]
pub struct Faults {
    pub list: Vec<Fault>,
    /// The share of clients, 0 to 1.
    pub share: f64,
    /// The processes that take turns at the hub's faults.
    pub victims: Vec<Victim>,
}

impl Faults {
    /// Returns the connection faults of a phase with this warm-up, and their times.
    pub fn connection_faults(&self, warmup: Duration) -> impl Iterator<Item = (Duration, ConnectionFault)> {
        self.list.iter().filter_map(move |fault| Some((warmup + fault.at, fault.connection_fault(self.share)?)))
    }

    /// Injects the hub's faults, timed from `start`, until `ended` reports the end of the load. Returns the outcome of
    /// every fault, those of clients included.
    pub fn play(&self, start: Instant, ended: &mpsc::Receiver<()>, meters: &Meters) -> Vec<FaultOutcome> {
        let client_faults = self.list.iter().filter(|fault| !fault.kind.targets_hub());
        let mut done: Vec<_> =
            client_faults.map(|fault| FaultOutcome { fault: fault.to_string(), pid: None, failed: None }).collect();
        let mut hub_faults: Vec<_> = self.list.iter().filter(|fault| fault.kind.targets_hub()).collect();
        hub_faults.sort_by_key(|fault| fault.at);
        let mut victims = self.victims.clone();
        for (number, fault) in hub_faults.into_iter().enumerate() {
            let wait = (start + fault.at).saturating_duration_since(Instant::now());
            if victims.is_empty() || !matches!(ended.recv_timeout(wait), Err(mpsc::RecvTimeoutError::Timeout)) {
                break;
            }
            let turn = number % victims.len();
            let pid = victims[turn].pid;
            let outcome = match fault.kind {
                FaultKind::Kill => victims[turn].kill(turn + 1, fault.lasts, meters),
                _ => victims[turn].stop(fault.lasts),
            };
            let failed = outcome.err().map(|error| format!("{error:#}"));
            done.push(FaultOutcome { fault: fault.to_string(), pid: Some(pid), failed });
        }
        done
    }
}

/// A process that faults of the hub hit.
#[derive(Clone, Debug)]
pub struct Victim {
    pid: u32,
    /// When the kernel started the process. Guards against signalling another process that reuses the id.
    started_at: u64,
    /// A shell command that starts the hub again and prints its process id. Its first argument is the victim's number,
    /// from 1.
    restart: Option<String>,
}

impl Victim {
    /// Creates a victim from a process that is running.
    pub fn new(pid: u32, restart: Option<String>) -> anyhow::Result<Self> {
        ensure!(pid > 1 && pid != std::process::id(), "{pid} is not a hub's process");
        let started_at = started_at(pid).with_context(|| format!("no process has the id {pid}"))?;
        Ok(Self { pid, started_at, restart })
    }

    fn stop(&self, lasts: Duration) -> anyhow::Result<()> {
        self.check()?;
        // A separate process outside the terminal's process group: it continues the hub even if this one dies.
        let script = r#"kill -STOP "$1" && sleep "$2"; kill -CONT "$1""#;
        let mut child = shell(script, &[&self.pid.to_string(), &lasts.as_secs_f64().to_string()])
            .stdout(Stdio::null())
            .process_group(0)
            .spawn()?;
        ensure!(child.wait()?.success(), "cannot stop and continue the process");
        Ok(())
    }

    fn kill(&mut self, turn: usize, pause: Duration, meters: &Meters) -> anyhow::Result<()> {
        self.check()?;
        let killed = shell(r#"kill -KILL "$1""#, &[&self.pid.to_string()]).status()?;
        ensure!(killed.success(), "cannot kill the process");
        let Some(restart) = &self.restart else { return Ok(()) };
        std::thread::sleep(pause);
        let mut child = shell(restart, &[&turn.to_string()]).stdout(Stdio::piped()).process_group(0).spawn()?;
        let pid =
            first_line(&mut child)?.trim().parse().context("the restart command must print the new process's id")?;
        let restarted = Self::new(pid, self.restart.clone())?;
        meters.replace(self.pid, pid);
        *self = restarted;
        Ok(())
    }

    /// Checks that the id still belongs to the same process.
    fn check(&self) -> anyhow::Result<()> {
        match started_at(self.pid) {
            Some(started_at) if started_at == self.started_at => Ok(()),
            _ => bail!("the process {} has ended", self.pid),
        }
    }
}

fn shell(script: &str, arguments: &[&str]) -> Command {
    let mut command = Command::new("sh");
    command.args(["-c", script, "sh"]).args(arguments).stdin(Stdio::null());
    command
}

/// Returns the first line that a command prints. The command may go on, and may have passed its output to a child.
fn first_line(child: &mut Child) -> anyhow::Result<String> {
    let output = child.stdout.take().context("the restart command has no output")?;
    let (line_sender, line) = mpsc::channel();
    std::thread::spawn(move || {
        let mut text = String::new();
        let read = BufReader::new(output).read_line(&mut text);
        let _ = line_sender.send(read.map(|_| text));
    });
    Ok(line.recv_timeout(RESTART_TIMEOUT).context("the restart command did not print a process id in time")??)
}

/// Returns a process's start time, in kernel ticks since boot; `None` if it has ended, reaped or not.
fn started_at(pid: u32) -> Option<u64> {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    let mut fields = stat.rsplit_once(')')?.1.split_ascii_whitespace();
    let state = fields.next()?;
    if matches!(state, "Z" | "X") { None } else { fields.nth(18)?.parse().ok() }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fault(text: &str) -> Fault {
        text.parse().unwrap()
    }

    /// An idle process that ends with the test.
    struct Idler(Child);

    impl Idler {
        fn start() -> Self {
            Self(Command::new("sleep").arg("60").spawn().unwrap())
        }

        fn state(&self) -> String {
            let stat = std::fs::read_to_string(format!("/proc/{}/stat", self.0.id())).unwrap();
            stat.rsplit_once(')').unwrap().1.split_ascii_whitespace().next().unwrap().to_owned()
        }

        fn until(&self, state: &str) {
            let give_up = Instant::now() + Duration::from_secs(20);
            while self.state() != state {
                assert!(Instant::now() < give_up, "never {state}");
                std::thread::sleep(Duration::from_millis(5));
            }
        }
    }

    impl Drop for Idler {
        fn drop(&mut self) {
            let _ = self.0.kill();
            let _ = self.0.wait();
        }
    }

    fn faults(victims: &[Victim], faults: &[&str]) -> Faults {
        Faults { list: faults.iter().map(|text| fault(text)).collect(), share: 0.0, victims: victims.to_vec() }
    }

    /// Injects faults during a load that does not end.
    fn run_faults(victims: &[Victim], list: &[&str], meters: &Meters) -> Vec<FaultOutcome> {
        let (_load, ended) = mpsc::channel();
        faults(victims, list).play(Instant::now(), &ended, meters)
    }

    #[test]
    fn faults_round_trip_and_have_a_bounded_duration() {
        for text in ["kill@5", "kill@5+2", "stop@1.5+10", "half-open@0+3", "cut@2"] {
            assert_eq!(fault(text).to_string(), text);
        }
        for text in
            ["", "kill", "kill@", "kill@-1", "kill@x", "stop@1", "stop@1+601", "half-open@1", "kill@3601", "term@1"]
        {
            assert_eq!(text.parse::<Fault>(), Err(FaultFormatError), "{text}");
        }
        assert!(matches!(fault("cut@1+2").connection_fault(0.5), Some(ConnectionFault::Cut { share: 0.5, .. })));
        assert!(fault("kill@1").connection_fault(0.5).is_none());
    }

    #[test]
    fn stopped_process_continues_after_the_duration() {
        let idler = Idler::start();
        let victim = Victim::new(idler.0.id(), None).unwrap();
        std::thread::scope(|scope| {
            let done = scope.spawn(|| run_faults(std::slice::from_ref(&victim), &["stop@0+1"], &Meters::default()));
            idler.until("T");
            idler.until("S");
            assert_eq!(
                done.join().unwrap(),
                [FaultOutcome { fault: "stop@0+1".into(), pid: Some(idler.0.id()), failed: None }]
            );
        });
    }

    #[test]
    fn restarted_process_replaces_the_killed_one_and_its_meter() {
        let idler = Idler::start();
        let (meters, pid) = (Meters::of(&[idler.0.id()]).unwrap(), idler.0.id());
        let restart = "sleep 30 > /dev/null 2>&1 & echo $!";
        let victim = Victim::new(pid, Some(restart.to_owned())).unwrap();
        let done = run_faults(std::slice::from_ref(&victim), &["kill@0.1", "kill@0"], &meters);
        let pids: Vec<_> = done.iter().filter_map(|done| done.pid).collect();
        assert!(done.iter().all(|done| done.failed.is_none()), "{done:?}");
        assert!(idler.state() == "Z" && pids[0] == pid && pids[1] != pid, "{done:?}");
        let left: Vec<_> = meters.read().into_keys().collect();
        assert!(left.len() == 1 && !pids.contains(&left[0]));
        shell(r#"kill "$1""#, &[&left[0].to_string()]).status().unwrap();
    }

    #[test]
    fn victims_take_turns_and_the_restart_command_receives_their_number() {
        let idlers = [Idler::start(), Idler::start()];
        let file = std::env::temp_dir().join(format!("turns-{}", uuid::Uuid::now_v7()));
        let restart = format!("echo $1 >> {}; sleep 30 > /dev/null 2>&1 & echo $!", file.display());
        let victims = idlers.each_ref().map(|idler| Victim::new(idler.0.id(), Some(restart.clone())).unwrap());
        let meters = Meters::of(&idlers.each_ref().map(|idler| idler.0.id())).unwrap();
        let done = run_faults(&victims, &["kill@0", "kill@0.05", "kill@0.1"], &meters);
        let pids: Vec<_> = done.iter().filter_map(|done| done.pid).collect();
        assert_eq!(pids[..2], idlers.each_ref().map(|idler| idler.0.id()), "{done:?}");
        assert!(!pids[..2].contains(&pids[2]) && done.iter().all(|done| done.failed.is_none()), "{done:?}");
        assert_eq!(std::fs::read_to_string(&file).unwrap(), "1\n2\n1\n");
        std::fs::remove_file(file).unwrap();
        for pid in meters.read().into_keys() {
            shell(r#"kill "$1""#, &[&pid.to_string()]).status().unwrap();
        }
    }

    #[test]
    fn ended_process_receives_no_signal_and_the_fault_fails() {
        let mut idler = Idler::start();
        let victim = Victim::new(idler.0.id(), None).unwrap();
        idler.0.kill().unwrap();
        idler.until("Z");
        let done = run_faults(std::slice::from_ref(&victim), &["stop@0+1"], &Meters::default());
        assert!(done[0].failed.as_ref().is_some_and(|why| why.contains("has ended")), "{done:?}");
        for pid in [0, 1, std::process::id(), u32::MAX] {
            assert!(Victim::new(pid, None).is_err());
        }
        // Same id, different process.
        let other = Idler::start();
        let stale = Victim { pid: other.0.id(), started_at: 1, restart: None };
        assert!(stale.check().is_err());
    }

    #[test]
    fn faults_after_the_end_of_the_load_are_skipped() {
        let idler = Idler::start();
        let victim = Victim::new(idler.0.id(), None).unwrap();
        let (load, ended) = mpsc::channel::<()>();
        drop(load);
        let faults = faults(&[victim], &["kill@3600"]);
        assert_eq!(faults.play(Instant::now(), &ended, &Meters::default()), []);
        idler.until("S");
    }
}
