//! What can be set, where it comes from, and what is refused at start.
//!
//! A setting comes from the environment (`WARDROOM_…`), else from the file `wardroom.toml`, else it has a default. Every
//! error names the setting and what to do about it; a setting that nobody knows is an error too, since a misspelt one
//! would otherwise be silently off.

mod address;
mod partners;
mod push;
mod sources;
mod turn;

use std::net::{IpAddr, SocketAddr};
use std::num::NonZeroU32;
use std::path::{Path, PathBuf};
use std::time::Duration;

use rooms::party::Policy;
use rooms::text::Line;
use secrecy::{ExposeSecret, SecretString};
use serde::Deserialize;

pub use self::address::{BaseUrl, Origin, is_loopback_host, split_port};
pub use self::partners::{
    CourierProvider, CourierSettings, MailProvider, MailSettings, PaymentProvider, PaymentSettings,
};
pub use self::push::{PushKey, PushService, PushSettings};
use self::sources::Settings;
pub use self::turn::{EmbeddedTurn, TurnSecret, TurnSettings};

/// A checked configuration.
#[derive(Clone, Debug)]
pub struct Config {
    /// Where to listen, in plain HTTP.
    pub listen: SocketAddr,
    /// Where people reach this hub, when that is not `listen`.
    pub public_url: Option<BaseUrl>,
    /// Keys, secrets and the embedded database.
    pub data_dir: PathBuf,
    pub database: DatabaseSettings,
    /// What connects the nodes that serve one database; absent for a hub that is alone.
    pub redis: Option<RedisSettings>,
    /// Origins besides the own one whose pages may use this hub.
    pub allowed_origins: Vec<Origin>,
    /// The parent domain that cookies are for, so that sibling services get the access token too.
    pub cookie_domain: Option<String>,
    /// Whether a proxy in front speaks TLS and says who the client is.
    pub behind_proxy: bool,
    /// Demo mode: demo people, and links that sign them in.
    pub demo: bool,
    /// The rules for rooms that open from now on.
    pub policy: Policy,
    pub tokens: TokenSettings,
    pub limits: Limits,
    pub turn: TurnSettings,
    pub payment: PaymentSettings,
    pub courier: CourierSettings,
    pub mail: MailSettings,
    pub push: PushSettings,
    /// Whether integrators' endpoints may be in private networks, without TLS.
    pub private_webhooks: bool,
    /// What a reader of `/metrics` must send; without one it is for this machine alone.
    pub metrics_token: Option<SecretString>,
    pub log: LogSettings,
}

/// What the store connects to. The address may hold a password, so it is not printed.
#[derive(Clone, Debug)]
pub struct DatabaseSettings {
    pub url: SecretString,
    /// A replica of it that may be read, of PostgreSQL only.
    pub read_url: Option<SecretString>,
    /// Connections kept to PostgreSQL and to its replica each, and readers of SQLite.
    pub connections: u32,
}

impl DatabaseSettings {
    pub fn new(url: impl Into<String>) -> Self {
        Self { url: SecretString::from(url.into()), read_url: None, connections: 8 }
    }

    /// The replica, as a database of its own.
    pub fn replica(&self) -> Option<Self> {
        Some(Self { url: self.read_url.clone()?, read_url: None, connections: self.connections })
    }

    /// The replica's address, for the one who connects.
    pub fn read_url(&self) -> Option<&str> {
        self.read_url.as_ref().map(ExposeSecret::expose_secret)
    }

    /// The address, for the one who connects.
    pub fn url(&self) -> &str {
        self.url.expose_secret()
    }
}

/// The Redis server between the nodes. The address may hold a password, so it is not printed.
#[derive(Clone, Debug)]
pub struct RedisSettings {
    pub url: SecretString,
}

impl RedisSettings {
    pub fn new(url: impl Into<String>) -> Self {
        Self { url: SecretString::from(url.into()) }
    }

    /// The address, for the one who connects.
    pub fn url(&self) -> &str {
        self.url.expose_secret()
    }
}

#[derive(Clone, Debug)]
pub struct TokenSettings {
    /// `iss` of access tokens.
    pub issuer: String,
    /// `aud` of access tokens.
    pub audience: String,
    /// How long an access token lasts.
    pub access: Duration,
    /// How long a sign-in of a patient lasts, whatever is done with it.
    pub patient_session: Duration,
    /// How long a sign-in of everybody else lasts.
    pub staff_session: Duration,
}

/// What one client, or all together, may use.
#[derive(Clone, Debug)]
pub struct Limits {
    /// Open sockets.
    pub connections: usize,
    /// Sockets that are let in a second, for long and at once.
    pub arrivals_per_second: NonZeroU32,
    /// Bytes that may wait for one socket.
    pub outbox_bytes: usize,
    /// Bytes of a request's body.
    pub body_bytes: usize,
    /// REST calls a second of one person, for long; four times that at once.
    pub requests_per_second: u32,
    /// Tries a minute to sign in to one account from one address.
    pub sign_ins_per_minute: u32,
    /// Calls a minute from one address that need no token: sign-in, registration, refresh.
    pub anonymous_per_minute: u32,
}

#[derive(Clone, Debug)]
pub struct LogSettings {
    /// As `tracing-subscriber` reads it, e.g. `info,wardroom=debug`.
    pub filter: String,
    pub format: LogFormat,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum LogFormat {
    Text,
    Json,
}

/// Why a configuration is not usable: which setting, and what to do.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    #[error("cannot read the settings file {path}: {why}; name another with --config, or remove the option")]
    File { path: String, why: std::io::Error },
    #[error("the settings file is not TOML: {0}")]
    Toml(String),
    #[error("{0}; see docs/operations.md for every setting")]
    Shape(String),
    #[error("there is no setting {name}{}; correct its name or remove it", hint.map(|known| format!(", did you mean {known}?")).unwrap_or_default())]
    Unknown { name: String, hint: Option<&'static str> },
    #[error("{setting} (WARDROOM_{}) {why}", setting.to_uppercase().replace('.', "_"))]
    Value { setting: &'static str, why: String },
}

fn value(setting: &'static str, why: impl Into<String>) -> ConfigError {
    ConfigError::Value { setting, why: why.into() }
}

impl Config {
    /// Reads the environment and `file`; without one, `wardroom.toml` in the working folder if it is there.
    pub fn load(file: Option<&Path>, demo: bool) -> Result<Self, ConfigError> {
        let (path, must_exist) = match file {
            Some(path) => (path, true),
            None => (Path::new("wardroom.toml"), false),
        };
        let text = match std::fs::read_to_string(path) {
            Ok(text) => text,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound && !must_exist => String::new(),
            Err(why) => return Err(ConfigError::File { path: path.display().to_string(), why }),
        };
        Self::from_parts(&text, std::env::vars(), demo)
    }

    /// Like [`load`](Self::load), from a file's text and an environment.
    pub fn from_parts(
        file: &str,
        environment: impl IntoIterator<Item = (String, String)>,
        demo: bool,
    ) -> Result<Self, ConfigError> {
        Self::check(sources::read(file, environment)?, demo)
    }

    /// Every default, with the embedded database and the keys in `data_dir`, listening on a free port of loopback.
    pub fn for_test(data_dir: &Path) -> Self {
        let settings = Settings {
            listen: Some("127.0.0.1:0".to_owned()),
            data_dir: Some(data_dir.to_owned()),
            ..Settings::default()
        };
        Self::check(settings, false).expect("the defaults are a usable configuration")
    }

    fn check(settings: Settings, demo: bool) -> Result<Self, ConfigError> {
        let listen: SocketAddr = settings
            .listen
            .as_deref()
            .unwrap_or("127.0.0.1:8080")
            .parse()
            .map_err(|_| value("listen", "is not an address with a port; write for example 127.0.0.1:8080"))?;
        let behind_proxy = settings.behind_proxy.unwrap_or(false);
        let loopback = listen.ip().is_loopback();
        if demo && (!loopback || behind_proxy) {
            return Err(value(
                "listen",
                "is not for demo mode, which signs anybody in: listen on 127.0.0.1 without behind_proxy, or use `serve`",
            ));
        }
        if !loopback && !behind_proxy {
            return Err(value(
                "listen",
                format!(
                    "is {listen}, which others can reach, and Wardroom speaks plain HTTP: put a proxy with TLS in front \
                     and set behind_proxy (WARDROOM_BEHIND_PROXY=true), or listen on 127.0.0.1"
                ),
            ));
        }
        let public_url = settings
            .public_url
            .map(|text| BaseUrl::parse(&text).map_err(|why| value("public_url", why)))
            .transpose()?;
        match &public_url {
            None if behind_proxy => {
                return Err(value(
                    "public_url",
                    "must be set behind a proxy, to the address people use, e.g. https://hub.example.org",
                ));
            }
            Some(url) if !url.is_https() && !url.is_loopback() => {
                return Err(value("public_url", "must begin with https:// unless it is on this machine"));
            }
            _ => {}
        }
        let data_dir = settings.data_dir.unwrap_or_else(|| PathBuf::from("data"));
        let url = settings.database_url.unwrap_or_else(|| format!("sqlite:{}/wardroom.db", data_dir.display()));
        if !["sqlite:", "postgres:", "postgresql:"].iter().any(|scheme| url.starts_with(scheme)) {
            return Err(value(
                "database_url",
                "must begin with sqlite: or postgres:, e.g. sqlite:data/wardroom.db or postgres://user@host/wardroom",
            ));
        }
        let read_url = settings.database_read_url.map(SecretString::from);
        let of_postgres = |url: &str| url.starts_with("postgres:") || url.starts_with("postgresql:");
        if read_url.as_ref().is_some_and(|replica| !of_postgres(replica.expose_secret()) || !of_postgres(&url)) {
            return Err(value(
                "database_read_url",
                "is for a replica of PostgreSQL: set database_url too, or remove it",
            ));
        }
        let redis = settings.redis_url.map(RedisSettings::new);
        if let Some(redis) = &redis {
            let known = |url: &str| ["redis:", "rediss:", "unix:"].iter().any(|scheme| url.trim().starts_with(scheme));
            if !redis.url().split(',').all(known) {
                return Err(value("redis_url", "must begin with redis:, rediss: or unix:, e.g. redis://host:6379"));
            }
            if url.starts_with("sqlite:") {
                return Err(value(
                    "redis_url",
                    "is for several nodes on one PostgreSQL: set database_url, or remove it",
                ));
            }
        }
        let allowed_origins = settings
            .allowed_origins
            .unwrap_or_default()
            .iter()
            .map(|text| Origin::parse(text).map_err(|why| value("allowed_origins", why)))
            .collect::<Result<_, _>>()?;
        if let Some(domain) = &settings.cookie_domain {
            check_cookie_domain(domain, public_url.as_ref())?;
        }
        let policy = settings.policy.apply()?;
        let local = loopback && !behind_proxy;
        let connections = within("database_connections", settings.database_connections, 8, 1, 500)?;
        Ok(Self {
            listen,
            turn: settings.turn.check(listen, &data_dir, demo)?,
            push: settings.push.check(public_url.as_ref(), &data_dir)?,
            private_webhooks: settings.webhooks.private.unwrap_or(false),
            data_dir,
            database: DatabaseSettings { url: SecretString::from(url), read_url, connections },
            redis,
            allowed_origins,
            cookie_domain: settings.cookie_domain,
            behind_proxy,
            demo,
            payment: settings.payment.check(policy.price, local)?,
            courier: settings.courier.check(local)?,
            mail: settings.mail.check(local)?,
            policy,
            tokens: settings.tokens.check(public_url.as_ref())?,
            limits: settings.limits.check()?,
            metrics_token: settings.metrics.check()?,
            log: LogSettings {
                // The WebRTC stack warns of what is ordinary on networks.
                filter: settings.log.filter.unwrap_or_else(|| "info,rtc=error,webrtc=error".to_owned()),
                format: settings.log.format.unwrap_or(LogFormat::Text),
            },
            public_url,
        })
    }

    /// Where the hub's own media is sent from, and where clients reach that: beside the relay, if there is one here.
    pub fn media_address(&self) -> (IpAddr, IpAddr) {
        match &self.turn.embedded {
            Some(embedded) => (embedded.listen.ip(), embedded.public),
            None => (self.listen.ip(), self.listen.ip()),
        }
    }

    /// Whether cookies may only travel over TLS: always, but for plain HTTP on this machine.
    pub fn secure_cookies(&self) -> bool {
        match &self.public_url {
            Some(url) => url.is_https(),
            None => !self.listen.ip().is_loopback(),
        }
    }
}

fn check_cookie_domain(domain: &str, public_url: Option<&BaseUrl>) -> Result<(), ConfigError> {
    let host = public_url.map(BaseUrl::host).ok_or_else(|| {
        value("cookie_domain", "needs public_url, whose parent domain it must be: set both or neither")
    })?;
    let is_name = domain.contains('.') && !domain.starts_with('.') && domain.parse::<std::net::IpAddr>().is_err();
    let is_parent = host == domain || host.strip_suffix(domain).is_some_and(|front| front.ends_with('.'));
    if !is_name || !is_parent {
        return Err(value(
            "cookie_domain",
            format!("must be the domain of public_url ({host}) or a parent of it, e.g. example.org"),
        ));
    }
    Ok(())
}

/// `given` or `default`, refused outside `min..=max`.
fn within<T>(setting: &'static str, given: Option<T>, default: T, min: T, max: T) -> Result<T, ConfigError>
where
    T: PartialOrd + std::fmt::Display,
{
    let chosen = given.unwrap_or(default);
    if chosen < min || chosen > max {
        return Err(value(setting, format!("is {chosen}; choose between {min} and {max}")));
    }
    Ok(chosen)
}

impl sources::Metrics {
    fn check(self) -> Result<Option<SecretString>, ConfigError> {
        match self.token {
            Some(token) if token.len() < 16 => Err(value("metrics.token", "is too short; use 16 characters or more")),
            token => Ok(token.map(SecretString::from)),
        }
    }
}

impl sources::Tokens {
    fn check(self, public_url: Option<&BaseUrl>) -> Result<TokenSettings, ConfigError> {
        let issuer = self.issuer.or_else(|| public_url.map(|url| url.as_str().to_owned()));
        let seconds =
            |setting, given, default, min, max| within(setting, given, default, min, max).map(Duration::from_secs);
        Ok(TokenSettings {
            issuer: issuer.unwrap_or_else(|| "wardroom".to_owned()),
            audience: self.audience.unwrap_or_else(|| "wardroom".to_owned()),
            access: seconds("tokens.access_s", self.access_s, 900, 60, 3600)?,
            patient_session: seconds(
                "tokens.patient_session_s",
                self.patient_session_s,
                30 * 86_400,
                300,
                365 * 86_400,
            )?,
            staff_session: seconds("tokens.staff_session_s", self.staff_session_s, 12 * 3600, 300, 30 * 86_400)?,
        })
    }
}

impl sources::LimitSettings {
    fn check(self) -> Result<Limits, ConfigError> {
        let [one, many, most] = [1, 5_000, 1_000_000].map(|number| NonZeroU32::new(number).expect("it is not zero"));
        Ok(Limits {
            connections: within("limits.connections", self.connections, 15_000, 1, 1_000_000)?,
            arrivals_per_second: within("limits.arrivals_per_second", self.arrivals_per_second, many, one, most)?,
            outbox_bytes: within("limits.outbox_bytes", self.outbox_bytes, 1 << 20, 128 << 10, 64 << 20)?,
            body_bytes: within("limits.body_bytes", self.body_bytes, 256 << 10, 16 << 10, 16 << 20)?,
            requests_per_second: within("limits.requests_per_second", self.requests_per_second, 50, 1, 100_000)?,
            sign_ins_per_minute: within("limits.sign_ins_per_minute", self.sign_ins_per_minute, 10, 1, 100_000)?,
            anonymous_per_minute: within("limits.anonymous_per_minute", self.anonymous_per_minute, 300, 1, 1_000_000)?,
        })
    }
}

impl sources::PolicySettings {
    /// The default policy with what was set.
    fn apply(self) -> Result<Policy, ConfigError> {
        let default = Policy::default();
        let line = |setting, given: Option<String>, default: Line| match given {
            Some(text) => Line::parse(&text).map_err(|why| value(setting, format!("is not usable: {why}"))),
            None => Ok(default),
        };
        let seconds = |setting, given, default| within(setting, given, default, 1, 365 * 86_400);
        Ok(Policy {
            consent: line("policy.consent", self.consent, default.consent)?,
            hold_s: seconds("policy.hold_s", self.hold_s, default.hold_s)?,
            ring_s: seconds("policy.ring_s", self.ring_s, default.ring_s)?,
            rings: within("policy.rings", self.rings, default.rings, 1, 100)?,
            doctor_grace_s: seconds("policy.doctor_grace_s", self.doctor_grace_s, default.doctor_grace_s)?,
            patient_grace_s: seconds("policy.patient_grace_s", self.patient_grace_s, default.patient_grace_s)?,
            interrupted_s: seconds("policy.interrupted_s", self.interrupted_s, default.interrupted_s)?,
            prescription_valid_s: seconds(
                "policy.prescription_valid_s",
                self.prescription_valid_s,
                default.prescription_valid_s,
            )?,
            max_days: within("policy.max_days", self.max_days, default.max_days, 1, 366)?,
            review: self.review.unwrap_or(default.review),
            relay_only: self.relay_only.unwrap_or(default.relay_only),
            price: self.price.unwrap_or(default.price),
            currency: line("policy.currency", self.currency, default.currency)?,
        })
    }
}

#[cfg(test)]
mod tests;
