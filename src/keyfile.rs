//! Files of secrets: made when absent, readable by their owner only, never replaced.

use std::fs::{self, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

use ring::rand::SystemRandom;

/// Why a key cannot be used. Names the file, never its content.
#[derive(Debug, thiserror::Error)]
pub enum KeyError {
    #[error("{path}: {why}")]
    Io { path: PathBuf, why: io::Error },
    #[error("{0} can be read by others than its owner: run `chmod 600` on it, and replace the key if others had it")]
    Open(PathBuf),
    #[error(
        "{0} is not what the hub writes there: restore it from a backup, or remove it for a fresh one, which ends every sign-in or subscription that was made with it"
    )]
    Broken(PathBuf),
    #[error("the system gives no random numbers")]
    Random,
}

/// Makes the folder of secrets, if it is not there.
pub fn make_folder(folder: &Path) -> Result<(), KeyError> {
    let made = fs::DirBuilder::new().recursive(true).mode(0o700).create(folder);
    made.map_err(|why| KeyError::Io { path: folder.to_owned(), why })
}

/// Where randomness comes from.
pub fn random() -> SystemRandom {
    SystemRandom::new()
}

/// What is in it; refused if others can read it.
pub fn read(path: &Path) -> Result<String, KeyError> {
    let fault = |why| KeyError::Io { path: path.to_owned(), why };
    if fs::metadata(path).map_err(fault)?.permissions().mode() & 0o077 != 0 {
        return Err(KeyError::Open(path.to_owned()));
    }
    fs::read_to_string(path).map_err(fault)
}

/// Writes a file that appears whole or not at all; one that is there by then, made by another process, stays.
pub fn create(path: &Path, content: impl FnOnce() -> Result<String, KeyError>) -> Result<(), KeyError> {
    let fault = |why| KeyError::Io { path: path.to_owned(), why };
    let draft = path.with_extension(format!("{}.new", std::process::id()));
    // A draft that a crash left behind is in the way of `create_new`.
    let _ = fs::remove_file(&draft);
    let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&draft).map_err(fault)?;
    file.write_all(content()?.as_bytes()).and_then(|()| file.sync_all()).map_err(fault)?;
    let linked = fs::hard_link(&draft, path);
    let _ = fs::remove_file(&draft);
    match linked {
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => Err(fault(error)),
        _ => Ok(()),
    }
}
