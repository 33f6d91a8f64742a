//! What a process costs, from `/proc`.

use std::io;
use std::time::Duration;

use serde::Serialize;

/// The kernel counts CPU time for user space in hundredths of a second, on every platform Linux runs on today.
const TICK: Duration = Duration::from_millis(10);

/// One process.
#[derive(Clone, Copy, Debug)]
pub struct Meter {
    pid: u32,
}

/// What it had used by one moment.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize)]
pub struct Reading {
    /// User and system time in seconds, of all threads.
    pub cpu_s: f64,
    /// Resident memory in bytes.
    pub rss: u64,
    /// The greatest resident memory so far, in bytes.
    pub peak_rss: u64,
}

impl Meter {
    /// A meter for a process that runs now.
    pub fn of(pid: u32) -> io::Result<Self> {
        let meter = Self { pid };
        meter.read()?;
        Ok(meter)
    }

    /// A meter for this process.
    pub fn own() -> io::Result<Self> {
        Self::of(std::process::id())
    }

    pub fn read(self) -> io::Result<Reading> {
        let stat = std::fs::read_to_string(format!("/proc/{}/stat", self.pid))?;
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.pid))?;
        parse(&stat, &status).ok_or_else(|| io::Error::new(io::ErrorKind::InvalidData, "unexpected form of /proc"))
    }
}

fn parse(stat: &str, status: &str) -> Option<Reading> {
    // The second field is the command's name in parentheses, which may contain anything.
    let mut fields = stat.rsplit_once(')')?.1.split_ascii_whitespace().skip(11);
    let ticks = fields.next()?.parse::<u64>().ok()? + fields.next()?.parse::<u64>().ok()?;
    let bytes = |name| {
        let line = status.lines().find_map(|line| line.strip_prefix(name))?;
        line.split_ascii_whitespace().next()?.parse::<u64>().ok().map(|kib| kib * 1024)
    };
    Some(Reading { cpu_s: ticks as f64 * TICK.as_secs_f64(), rss: bytes("VmRSS:")?, peak_rss: bytes("VmHWM:")? })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_kernels_lines_are_read() {
        let stat = "7 (a ) b) S 1 1 1 0 -1 4194560 1 0 0 0 150 50 0 0 20 0 9 0 1 1 1";
        let status = "Name:\tx\nVmHWM:\t    2048 kB\nVmRSS:\t    1024 kB\n";
        assert_eq!(parse(stat, status), Some(Reading { cpu_s: 2.0, rss: 1 << 20, peak_rss: 1 << 21 }));
        assert_eq!(parse("", ""), None);
        assert!(Meter::own().unwrap().read().unwrap().rss > 0);
        assert!(Meter::of(u32::MAX).is_err());
    }
}
