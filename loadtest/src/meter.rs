//! CPU time and memory of processes, read from `/proc`.

use std::collections::BTreeMap;
use std::io;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use serde::Serialize;

/// Linux reports CPU time to user space in hundredths of a second on every platform.
const CPU_TICK_LENGTH: Duration = Duration::from_millis(10);

/// The meter of one process.
#[derive(Clone, Copy, Debug)]
pub struct Meter {
    pid: u32,
}

/// The resources that a process has used at a point in time.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize)]
pub struct Reading {
    /// User and system time in seconds, of all threads.
    pub cpu_s: f64,
    /// Resident memory in bytes.
    pub rss: u64,
    /// Peak resident memory in bytes.
    pub peak_rss: u64,
}

impl Meter {
    /// Creates a meter for a running process.
    pub fn of(pid: u32) -> io::Result<Self> {
        let meter = Self { pid };
        meter.read()?;
        Ok(meter)
    }

    /// Creates a meter for this process.
    pub fn own() -> io::Result<Self> {
        Self::of(std::process::id())
    }

    pub fn read(self) -> io::Result<Reading> {
        let stat = std::fs::read_to_string(format!("/proc/{}/stat", self.pid))?;
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.pid))?;
        parse(&stat, &status).ok_or_else(|| io::Error::new(io::ErrorKind::InvalidData, "unexpected form of /proc"))
    }
}

/// The meters of several processes, such as the nodes of one hub. Clones share the list.
#[derive(Clone, Debug, Default)]
pub struct Meters(Arc<Mutex<Vec<Meter>>>);

/// The reading of each running process, by its id.
pub type Readings = BTreeMap<u32, Reading>;

impl Meters {
    /// Creates meters for running processes.
    pub fn of(pids: &[u32]) -> io::Result<Self> {
        Ok(Self(Arc::new(Mutex::new(pids.iter().copied().map(Meter::of).collect::<io::Result<_>>()?))))
    }

    /// Replaces the process `old` by `new`.
    pub fn replace(&self, old: u32, new: u32) {
        for meter in self.0.lock().unwrap_or_else(PoisonError::into_inner).iter_mut().filter(|it| it.pid == old) {
            meter.pid = new;
        }
    }

    pub fn read(&self) -> Readings {
        let meters = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        meters.iter().filter_map(|meter| Some((meter.pid, meter.read().ok()?))).collect()
    }
}

/// Returns the CPU time between two readings and the memory at the second, summed over the processes in the second. A
/// process that started in between counts from its start. `None` without a process.
pub fn between(from: &Readings, to: &Readings) -> Option<Reading> {
    to.iter().map(|(pid, to)| Reading { cpu_s: to.cpu_s - from.get(pid).map_or(0.0, |from| from.cpu_s), ..*to }).reduce(
        |sum, one| Reading {
            cpu_s: sum.cpu_s + one.cpu_s,
            rss: sum.rss + one.rss,
            peak_rss: sum.peak_rss + one.peak_rss,
        },
    )
}

fn parse(stat: &str, status: &str) -> Option<Reading> {
    // The second field is the command name in parentheses, which may contain anything.
    let mut fields = stat.rsplit_once(')')?.1.split_ascii_whitespace().skip(11);
    let ticks = fields.next()?.parse::<u64>().ok()? + fields.next()?.parse::<u64>().ok()?;
    let bytes = |name| {
        let line = status.lines().find_map(|line| line.strip_prefix(name))?;
        line.split_ascii_whitespace().next()?.parse::<u64>().ok().map(|kib| kib * 1024)
    };
    Some(Reading {
        cpu_s: ticks as f64 * CPU_TICK_LENGTH.as_secs_f64(),
        rss: bytes("VmRSS:")?,
        peak_rss: bytes("VmHWM:")?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn proc_files_are_parsed() {
        let stat = "7 (a ) b) S 1 1 1 0 -1 4194560 1 0 0 0 150 50 0 0 20 0 9 0 1 1 1";
        let status = "Name:\tx\nVmHWM:\t    2048 kB\nVmRSS:\t    1024 kB\n";
        assert_eq!(parse(stat, status), Some(Reading { cpu_s: 2.0, rss: 1 << 20, peak_rss: 1 << 21 }));
        assert_eq!(parse("", ""), None);
        assert!(Meter::own().unwrap().read().unwrap().rss > 0);
        assert!(Meter::of(u32::MAX).is_err());
    }

    #[test]
    fn meters_sum_processes_and_count_new_ones_from_their_start() {
        let reading = |cpu_s, rss| Reading { cpu_s, rss, peak_rss: rss };
        let from = Readings::from([(1, reading(5.0, 10)), (2, reading(7.0, 10))]);
        let to = Readings::from([(1, reading(6.0, 20)), (3, reading(0.5, 30))]);
        assert_eq!(between(&from, &to), Some(reading(1.5, 50)));
        assert_eq!(between(&from, &Readings::new()), None);
        let own = std::process::id();
        let meters = Meters::of(&[own]).unwrap();
        meters.clone().replace(own, u32::MAX);
        assert!(meters.read().is_empty());
    }
}
