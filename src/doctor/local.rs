//! Checks of the hub's own environment: data folder, database, address, system limits, Redis.

use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::time::Duration;

use super::Finding;
use crate::bus::{Bus, BusState};
use crate::config::Config;
use crate::config::edge::RESERVED_DESCRIPTORS;
use crate::lifecycle::{SPARE_CONNECTIONS, max_open_files};
use crate::store::Store;

/// How long a connection to Redis may take.
const REDIS_TIMEOUT: Duration = Duration::from_secs(4);

/// Checks that the folder for keys and secrets is writable, or can be created.
pub fn data_dir(config: &Config) -> Finding {
    let about = "data_dir";
    let folder = &config.data_dir;
    if !folder.exists() {
        let parent = folder.parent().filter(|it| !it.as_os_str().is_empty());
        return match parent.map_or(Ok(true), Path::try_exists) {
            Ok(true) => Finding::ok(about, format!("{} will be created at the first start", folder.display())),
            _ => Finding::bad(about, format!("{}: create its parent folder first", folder.display())),
        };
    }
    match write_probe_file(folder) {
        Ok(()) if is_exposed(folder) => Finding::warn(
            about,
            format!("{} can be read by other users; the next start restricts it to its owner", folder.display()),
        ),
        Ok(()) => Finding::ok(about, format!("{} is writable", folder.display())),
        Err(error) => Finding::bad(
            about,
            format!("{} is not writable ({error}): make the user who runs the hub its owner", folder.display()),
        ),
    }
}

/// Returns whether anyone but the owner has a permission on the folder.
fn is_exposed(folder: &Path) -> bool {
    std::fs::metadata(folder).is_ok_and(|it| it.permissions().mode() & 0o077 != 0)
}

fn write_probe_file(folder: &Path) -> std::io::Result<()> {
    let path = folder.join(format!(".doctor-{}", std::process::id()));
    std::fs::write(&path, b"")?;
    std::fs::remove_file(path)
}

/// Checks that the database opens and is up to date, without migrating it.
pub async fn database(config: &Config) -> Finding {
    let about = "database_url";
    let url = config.database.url();
    let file = url.strip_prefix("sqlite:").map(|rest| rest.trim_start_matches("//").split('?').next().unwrap_or(rest));
    if file.is_some_and(|file| !Path::new(file).exists()) {
        return Finding::ok(about, "SQLite; the file will be created at the first start");
    }
    let name = if file.is_some() { "SQLite" } else { "PostgreSQL" };
    let store = match Store::open(&config.database).await {
        Ok(store) => store,
        Err(error) => return Finding::bad(about, format!("{name}: {error}")),
    };
    match store.missing_migrations().await {
        Some(0) => {
            Finding::ok(about, format!("{name} responds, its commits are durable, and its tables are up to date"))
        }
        Some(steps) => Finding::warn(
            about,
            format!(
                "{name}: the tables are {steps} migrations behind; the next start runs them, so back up the database first"
            ),
        ),
        None => Finding::ok(about, format!("{name} responds and is empty; the first start will create the tables")),
    }
}

/// Checks the public address, and what a proxy in front requires.
pub fn address(config: &Config) -> Vec<Finding> {
    let mut findings = Vec::new();
    findings.push(match &config.public_url {
        Some(url) if url.is_https() => Finding::ok("public_url", format!("{}, behind a proxy with TLS", url.as_str())),
        Some(url) => Finding::warn("public_url", format!("{} works on this machine only", url.as_str())),
        None => Finding::warn(
            "public_url",
            "not set: only this machine can reach the hub; for others, set an https:// address and put a proxy in front",
        ),
    });
    if config.behind_proxy && config.metrics_token.is_none() {
        findings.push(Finding::warn(
            "metrics.token",
            "not set: nobody can read /metrics behind a proxy; set a token for Prometheus",
        ));
    }
    findings
}

/// Checks that the system allows enough open files, since each connection is one.
pub fn descriptors(config: &Config) -> Finding {
    let about = "open files";
    let needed = config.limits.connections + SPARE_CONNECTIONS + RESERVED_DESCRIPTORS;
    match max_open_files() {
        None => Finding::ok(about, "the system sets no limit"),
        Some(allowed) if allowed >= needed => Finding::ok(about, format!("{allowed} allowed, {needed} needed")),
        Some(allowed) => Finding::warn(
            about,
            format!(
                "{allowed} allowed, {needed} needed for limits.connections: raise it (ulimit -n, LimitNOFILE=) or lower the setting"
            ),
        ),
    }
}

/// Checks that Redis responds, if one is configured.
pub async fn bus(config: &Config) -> Finding {
    let about = "redis_url";
    let Some(settings) = &config.redis else {
        return Finding::ok(about, "not set: this hub is the only node on its database");
    };
    let Ok((bus, _inbox)) = Bus::open(Some(settings)) else {
        return Finding::bad(about, "is not a valid address; write redis://host:6379 or rediss://host:6379");
    };
    let connected = async {
        while bus.state() != BusState::Connected {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    };
    match tokio::time::timeout(REDIS_TIMEOUT, connected).await {
        Ok(()) => Finding::ok(about, "Redis responds"),
        Err(_) => Finding::bad(
            about,
            "Redis does not respond, so nodes would receive each other's events late; start it, or correct the address",
        ),
    }
}
