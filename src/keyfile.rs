//! Secret files: created when absent, readable by their owner only, never replaced.

use std::fs::{self, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

use ring::rand::SystemRandom;

/// Why a secret cannot be used. Names the file, never its content.
#[derive(Debug, thiserror::Error)]
pub enum KeyError {
    #[error("{path}: {why}")]
    Io { path: PathBuf, why: io::Error },
    #[error(
        "{0} is readable by others than its owner: run `chmod 600` on it, and replace the key if others had access"
    )]
    Exposed(PathBuf),
    #[error(
        "{0} is malformed: restore it from a backup, or remove it to get a new one, which ends every sign-in or subscription made with the old one"
    )]
    Malformed(PathBuf),
    #[error("the system provides no random numbers")]
    Random,
}

/// Creates the folder for secrets, unless it exists.
pub fn create_folder(folder: &Path) -> Result<(), KeyError> {
    let created = fs::DirBuilder::new().recursive(true).mode(0o700).create(folder);
    created.map_err(|why| KeyError::Io { path: folder.to_owned(), why })
}

/// Removes the permissions of everyone but the owner from a folder or file that exists.
pub fn restrict(path: &Path) -> Result<(), KeyError> {
    let io_error = |why| KeyError::Io { path: path.to_owned(), why };
    let mut permissions = fs::metadata(path).map_err(io_error)?.permissions();
    let mode = permissions.mode();
    if mode & 0o077 == 0 {
        return Ok(());
    }
    permissions.set_mode(mode & 0o700);
    fs::set_permissions(path, permissions).map_err(io_error)?;
    tracing::warn!(path = %path.display(), "other users could read it; permissions restricted to the owner");
    Ok(())
}

/// Opens a file for writing that only its owner can read, and creates it if it does not exist.
pub fn open_private(path: &Path) -> io::Result<fs::File> {
    OpenOptions::new().write(true).create(true).truncate(false).mode(0o600).open(path)
}

/// Returns the source of randomness for keys.
pub fn system_random() -> SystemRandom {
    SystemRandom::new()
}

/// Reads a secret. A file that others can read is rejected.
pub fn read(path: &Path) -> Result<String, KeyError> {
    let io_error = |why| KeyError::Io { path: path.to_owned(), why };
    if fs::metadata(path).map_err(io_error)?.permissions().mode() & 0o077 != 0 {
        return Err(KeyError::Exposed(path.to_owned()));
    }
    fs::read_to_string(path).map_err(io_error)
}

/// Writes a file atomically. A file that another process created meanwhile stays.
pub fn create(path: &Path, content: impl FnOnce() -> Result<String, KeyError>) -> Result<(), KeyError> {
    let io_error = |why| KeyError::Io { path: path.to_owned(), why };
    let draft = path.with_extension(format!("{}.new", std::process::id()));
    // A draft left behind by a crash would make `create_new` fail.
    let _ = fs::remove_file(&draft);
    let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&draft).map_err(io_error)?;
    file.write_all(content()?.as_bytes()).and_then(|()| file.sync_all()).map_err(io_error)?;
    let linked = fs::hard_link(&draft, path);
    let _ = fs::remove_file(&draft);
    match linked {
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => Err(io_error(error)),
        _ => Ok(()),
    }
}
