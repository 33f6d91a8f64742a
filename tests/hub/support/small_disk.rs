//! A disk of a few megabytes that a test can fill.

use std::fs::File;
use std::io::Write;
use std::os::unix::fs::{PermissionsExt, chown};
use std::path::Path;
use std::process::{Command, Stdio};

use super::postgres::postgres_account;

/// An in-memory file system, mounted in a folder of its own.
pub struct SmallDisk {
    folder: tempfile::TempDir,
}

impl SmallDisk {
    /// Mounts a disk of this many MiB. Returns `None`, with a message, where this process may not mount: that takes
    /// root.
    pub fn mount(size: u32) -> Option<Self> {
        let folder = tempfile::Builder::new().prefix("wardroom-disk-").tempdir_in("/tmp").unwrap();
        let mut mount = Command::new("mount");
        mount.args(["-t", "tmpfs", "-o", &format!("size={size}m"), "tmpfs"]).arg(folder.path()).stderr(Stdio::null());
        if !mount.status().is_ok_and(|status| status.success()) {
            eprintln!("SKIPPED: mounting a small disk requires root; behaviour on a full disk was not tested");
            return None;
        }
        let disk = Self { folder };
        if let Some((uid, gid)) = postgres_account() {
            chown(disk.path(), Some(uid), Some(gid)).unwrap();
        }
        std::fs::set_permissions(disk.path(), std::fs::Permissions::from_mode(0o777)).unwrap();
        Some(disk)
    }

    pub fn path(&self) -> &Path {
        self.folder.path()
    }

    /// Fills the disk to the last byte.
    pub fn fill(&self) {
        let mut filler = File::create(self.path().join("filler")).unwrap();
        for size in [1 << 16, 1 << 12, 1] {
            let some = vec![0; size];
            while filler.write_all(&some).is_ok() {}
        }
    }

    /// Frees the space again.
    pub fn clear(&self) {
        std::fs::remove_file(self.path().join("filler")).unwrap();
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        // Lazily, because a database may have open files there.
        let _ = Command::new("umount").arg("-l").arg(self.path()).status();
    }
}
