//! The settings of the database and of Redis. Their URLs may contain a password, so they are never printed.

use secrecy::{ExposeSecret, SecretString};

use super::error::{ConfigError, invalid};

/// Connections per database, unless configured otherwise.
pub const DEFAULT_CONNECTIONS: u32 = 8;

/// The database that the store connects to.
#[derive(Clone, Debug)]
pub struct DatabaseSettings {
    pub url: SecretString,
    /// A read replica; PostgreSQL only.
    pub read_url: Option<SecretString>,
    /// The connections to PostgreSQL and as many to its replica, or the readers of SQLite.
    pub connections: u32,
}

impl DatabaseSettings {
    pub fn new(url: impl Into<String>) -> Self {
        Self { url: SecretString::from(url.into()), read_url: None, connections: DEFAULT_CONNECTIONS }
    }

    pub(super) fn validate(url: String, read_url: Option<String>) -> Result<Self, ConfigError> {
        if !["sqlite:", "postgres:", "postgresql:"].iter().any(|scheme| url.starts_with(scheme)) {
            return Err(invalid(
                "database_url",
                "must begin with sqlite: or postgres:, e.g. sqlite:data/wardroom.db or postgres://user@host/wardroom",
            ));
        }
        let is_postgres = |url: &str| url.starts_with("postgres:") || url.starts_with("postgresql:");
        if read_url.as_ref().is_some_and(|replica| !is_postgres(replica) || !is_postgres(&url)) {
            return Err(invalid(
                "database_read_url",
                "must name a replica of the PostgreSQL in database_url: set both to PostgreSQL, or remove it",
            ));
        }
        Ok(Self { read_url: read_url.map(SecretString::from), ..Self::new(url) })
    }

    /// Returns the settings to open the replica as a database of its own.
    pub fn replica(&self) -> Option<Self> {
        Some(Self { url: self.read_url.clone()?, read_url: None, connections: self.connections })
    }

    /// Exposes the replica's URL to the code that connects.
    pub fn read_url(&self) -> Option<&str> {
        self.read_url.as_ref().map(ExposeSecret::expose_secret)
    }

    /// Exposes the URL to the code that connects.
    pub fn url(&self) -> &str {
        self.url.expose_secret()
    }
}

/// The Redis server that connects the nodes.
#[derive(Clone, Debug)]
pub struct RedisSettings {
    pub url: SecretString,
}

impl RedisSettings {
    pub fn new(url: impl Into<String>) -> Self {
        Self { url: SecretString::from(url.into()) }
    }

    /// `url` may list several servers, separated by commas.
    pub(super) fn validate(url: String, database: &DatabaseSettings) -> Result<Self, ConfigError> {
        let is_known = |url: &str| ["redis:", "rediss:", "unix:"].iter().any(|scheme| url.trim().starts_with(scheme));
        if !url.split(',').all(is_known) {
            return Err(invalid("redis_url", "must begin with redis:, rediss: or unix:, e.g. redis://host:6379"));
        }
        if database.url().starts_with("sqlite:") {
            return Err(invalid(
                "redis_url",
                "connects several nodes on one PostgreSQL, but the database is SQLite: set database_url, or remove it",
            ));
        }
        Ok(Self::new(url))
    }

    /// Exposes the URL to the code that connects.
    pub fn url(&self) -> &str {
        self.url.expose_secret()
    }
}
