//! Files of the hub are readable by its own user only, whatever the umask, and those of an older hub become so.

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use crate::support::database::Database;
use crate::support::hub_process::HubProcess;

/// Returns the folders and files below `path`, and `path` itself.
fn all_below(path: &Path) -> Vec<PathBuf> {
    let mut found = vec![path.to_owned()];
    if path.is_dir() {
        for entry in fs::read_dir(path).unwrap() {
            found.extend(all_below(&entry.unwrap().path()));
        }
    }
    found
}

fn assert_private(path: &Path) {
    for path in all_below(path) {
        let mode = fs::metadata(&path).unwrap().permissions().mode() & 0o777;
        assert_eq!(mode & 0o077, 0, "{} has mode {mode:o}", path.display());
    }
}

#[test]
fn data_folder_and_database_are_private_after_a_start() {
    let database = Database::sqlite();
    let mut hub = HubProcess::new("demo", &database.settings());
    let file = hub.data().join("wardroom.db");
    hub.set("WARDROOM_DATABASE_URL", format!("sqlite:{}", file.display()));
    fs::set_permissions(hub.data(), Permissions::from_mode(0o755)).unwrap();
    hub.start();
    assert_private(hub.data());
    assert!(file.exists(), "{:?}", all_below(hub.data()));

    // A hub that an older version left open to others.
    hub.kill();
    for path in [hub.data(), &file] {
        fs::set_permissions(path, Permissions::from_mode(0o755)).unwrap();
    }
    hub.start();
    assert_private(hub.data());
}
