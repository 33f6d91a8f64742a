//! Errors of the store.

use sqlx::error::{DatabaseError, ErrorKind};

/// Codes for a full disk: PostgreSQL's `disk_full`, SQLite's `SQLITE_FULL` and `SQLITE_IOERR_SHMSIZE`.
const FULL_DISK_CODES: [&str; 3] = ["53100", "13", "4874"];

/// A failed operation of the store. Carries no data of the statement.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// The database does not answer, is locked or cannot write: the outcome of a commit may be unknown.
    #[error("the database does not answer: {0}")]
    Unavailable(String),
    /// The database's disk is full: nothing was written, and everything stored can be read.
    #[error("the database's disk is full: {0}")]
    Full(String),
    /// The database rolled the transaction back because of another one. Nothing happened; it may be repeated.
    #[error("the database rolled the transaction back: {0}")]
    Serialization(String),
    /// The database returned something unexpected, or rejected values that the program considers valid.
    #[error("the database and the program disagree: {0}")]
    Unexpected(String),
    /// The address, or the settings of the database behind it, are unusable.
    #[error("{0}")]
    Config(String),
}

impl From<sqlx::Error> for StoreError {
    fn from(error: sqlx::Error) -> Self {
        match &error {
            sqlx::Error::ColumnDecode { .. } | sqlx::Error::Decode(_) | sqlx::Error::ColumnNotFound(_) => {
                StoreError::Unexpected(error.to_string())
            }
            // A database's message can quote a value, such as a unique key, so only its code is kept.
            sqlx::Error::Database(database) => {
                let code = format!("code {}", database.code().unwrap_or_default());
                // Class 40: a deadlock, or transactions that cannot be serialized.
                if database.code().is_some_and(|code| code.len() == 5 && code.starts_with("40")) {
                    StoreError::Serialization(code)
                } else if database.code().is_some_and(|code| FULL_DISK_CODES.contains(&&*code)) {
                    StoreError::Full(code)
                } else if rejects_values(&**database) {
                    StoreError::Unexpected(code)
                } else {
                    StoreError::Unavailable(code)
                }
            }
            other => StoreError::Unavailable(other.to_string()),
        }
    }
}

/// Whether the database rejects the values themselves, so that a retry is useless.
fn rejects_values(error: &dyn DatabaseError) -> bool {
    // PostgreSQL's class 22: a value that its type cannot hold. SQLite's codes are shorter; 1811 is raised by a trigger.
    let bad_value = error.code().is_some_and(|code| code == "1811" || code.len() == 5 && code.starts_with("22"));
    bad_value || !matches!(error.kind(), ErrorKind::Other)
}
