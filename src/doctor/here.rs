//! What the hub itself stands on: folder, database, address, limits of the system, the bus.

use std::time::Duration;

use super::Finding;
use crate::bus::{Bus, BusState};
use crate::config::Config;
use crate::lifecycle::SPARE_CONNECTIONS;
use crate::store::Store;

/// How long Redis may take to be reached.
const PATIENCE: Duration = Duration::from_secs(4);
/// Files that are open besides connections: the database, keys, logs.
const OTHER_FILES: usize = 100;

/// Keys and secrets are kept there, so it must be writable, and nobody else's to read.
pub fn data_dir(config: &Config) -> Finding {
    let about = "data_dir";
    let folder = &config.data_dir;
    if !folder.exists() {
        let parent = folder.parent().filter(|it| !it.as_os_str().is_empty());
        return match parent.map_or(Ok(true), std::path::Path::try_exists) {
            Ok(true) => Finding::ok(about, format!("{} is made at the first start", folder.display())),
            _ => Finding::bad(about, format!("{}: make the folder above it first", folder.display())),
        };
    }
    match tempfile_in(folder) {
        Ok(()) => Finding::ok(about, format!("{} can be written", folder.display())),
        Err(error) => Finding::bad(
            about,
            format!(
                "{} cannot be written ({error}): make it the property of the user who runs the hub",
                folder.display()
            ),
        ),
    }
}

fn tempfile_in(folder: &std::path::Path) -> std::io::Result<()> {
    let path = folder.join(format!(".doctor-{}", std::process::id()));
    std::fs::write(&path, b"")?;
    std::fs::remove_file(path)
}

/// Opened as it is.
pub async fn database(config: &Config) -> Finding {
    let about = "database_url";
    let url = config.database.url();
    let file = url.strip_prefix("sqlite:").map(|rest| rest.trim_start_matches("//").split('?').next().unwrap_or(rest));
    if file.is_some_and(|file| !std::path::Path::new(file).exists()) {
        return Finding::ok(about, "SQLite; the file is made at the first start");
    }
    let name = if file.is_some() { "SQLite" } else { "PostgreSQL" };
    let store = match Store::open(&config.database).await {
        Ok(store) => store,
        Err(error) => return Finding::bad(about, format!("{name}: {error}")),
    };
    match store.steps_behind().await {
        Some(0) => Finding::ok(about, format!("{name} answers, keeps what it confirms, and its tables are up to date")),
        Some(steps) => Finding::warn(
            about,
            format!(
                "{name}: the tables are {steps} steps behind; the next start brings them up to date, so make a backup first"
            ),
        ),
        None => Finding::ok(about, format!("{name} answers and is empty; the first start makes the tables")),
    }
}

/// What people type, and what proxies change.
pub fn address(config: &Config) -> Vec<Finding> {
    let mut findings = Vec::new();
    findings.push(match &config.public_url {
        Some(url) if url.is_https() => Finding::ok("public_url", format!("{}, behind a proxy with TLS", url.as_str())),
        Some(url) => Finding::warn("public_url", format!("{} is for this machine only", url.as_str())),
        None => Finding::warn(
            "public_url",
            "absent: only this machine reaches the hub; others need an https:// address and a proxy in front",
        ),
    });
    if config.behind_proxy && config.metrics_token.is_none() {
        findings.push(Finding::warn(
            "metrics.token",
            "absent: behind a proxy nobody can read /metrics; set one for Prometheus",
        ));
    }
    findings
}

/// Each connection is a file to the system.
pub fn descriptors(config: &Config) -> Finding {
    let about = "open files";
    let needed = config.limits.connections + SPARE_CONNECTIONS + OTHER_FILES;
    let limits = std::fs::read_to_string("/proc/self/limits").unwrap_or_default();
    let line = limits.lines().find_map(|line| line.strip_prefix("Max open files"));
    let allowed = line.and_then(|line| line.split_whitespace().next()).and_then(|text| text.parse::<usize>().ok());
    match allowed {
        None => Finding::ok(about, "the system names no limit"),
        Some(allowed) if allowed >= needed => Finding::ok(about, format!("{allowed} allowed, {needed} needed")),
        Some(allowed) => Finding::warn(
            about,
            format!(
                "{allowed} allowed, {needed} needed for limits.connections: raise it (ulimit -n, LimitNOFILE=) or lower the setting"
            ),
        ),
    }
}

/// Whether Redis answers, if there is to be one.
pub async fn bus(config: &Config) -> Finding {
    let about = "redis_url";
    let Some(settings) = &config.redis else {
        return Finding::ok(about, "absent: this hub is the only node on its database");
    };
    let Ok((bus, _inbox)) = Bus::open(Some(settings)) else {
        return Finding::bad(about, "cannot be read; write redis://host:6379 or rediss://host:6379");
    };
    let connected = async {
        while bus.state() != BusState::Connected {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    };
    match tokio::time::timeout(PATIENCE, connected).await {
        Ok(()) => Finding::ok(about, "Redis answers"),
        Err(_) => Finding::bad(
            about,
            "Redis does not answer: nodes would hear of each other's events late; start it, or mend the address",
        ),
    }
}
