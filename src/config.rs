//! Reads and validates the settings at start.
//!
//! A setting comes from the environment (`WARDROOM_…`), from the file `wardroom.toml`, or from its default, in this order.
//! Every error names the setting and the remedy. An unknown setting is an error, too, because a misspelt one would
//! otherwise have no effect without notice.

mod address;
mod clinic;
mod database;
pub mod edge;
mod error;
mod limits;
mod log;
mod partners;
pub mod payment_units;
mod policy;
mod push;
mod raw;
mod sources;
mod tokens;
mod turn;

use std::net::{IpAddr, SocketAddr};
use std::path::{Path, PathBuf};

use rooms::party::Policy;
use secrecy::SecretString;

pub use self::address::{BaseUrl, Origin, is_loopback_host, split_port};
pub use self::clinic::ClinicSettings;
pub use self::database::{DatabaseSettings, RedisSettings};
pub use self::error::ConfigError;
use self::error::{invalid, within};
pub use self::limits::Limits;
pub use self::log::{LogFormat, LogSettings};
pub use self::partners::{
    CourierProvider, CourierSettings, MailProvider, MailSettings, PaymentProvider, PaymentSettings,
};
pub use self::push::{PushKeySource, PushService, PushSettings};
use self::raw::RawSettings;
pub use self::tokens::TokenSettings;
pub use self::turn::{EmbeddedTurn, TurnSecretSource, TurnSettings};

/// The fewest bytes of a secret that somebody chooses.
const MIN_SECRET_BYTES: usize = 16;

/// A validated configuration.
#[derive(Clone, Debug)]
pub struct Config {
    /// Where the hub listens, by plain HTTP.
    pub listen: SocketAddr,
    /// Where people reach this hub, if that is not `listen`.
    pub public_url: Option<BaseUrl>,
    /// The folder for keys, secrets, and the embedded database.
    pub data_dir: PathBuf,
    pub database: DatabaseSettings,
    /// Connects the nodes that serve one database; absent for a single node.
    pub redis: Option<RedisSettings>,
    /// Other origins whose pages may use this hub.
    pub allowed_origins: Vec<Origin>,
    /// The parent domain for cookies, so that sibling services receive the access token, too.
    pub cookie_domain: Option<String>,
    /// Whether a proxy in front terminates TLS and forwards the client's address.
    pub behind_proxy: bool,
    /// Whether demo people exist, with links that sign them in.
    pub demo: bool,
    /// The policy for rooms that open from now on.
    pub policy: Policy,
    pub tokens: TokenSettings,
    pub limits: Limits,
    pub turn: TurnSettings,
    pub payment: PaymentSettings,
    pub courier: CourierSettings,
    pub mail: MailSettings,
    pub clinic: ClinicSettings,
    pub push: PushSettings,
    /// Whether webhook endpoints may be in private networks and without TLS.
    pub private_webhooks: bool,
    /// The token for `/metrics`; without one, only this machine may read it.
    pub metrics_token: Option<SecretString>,
    pub log: LogSettings,
}

impl Config {
    /// Reads the environment and `file`. Without `file`, reads `wardroom.toml` in the working directory if it exists.
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

    /// Does the same as [`load`](Self::load), with the file's text and the environment as arguments.
    pub fn from_parts(
        file: &str,
        environment: impl IntoIterator<Item = (String, String)>,
        demo: bool,
    ) -> Result<Self, ConfigError> {
        Self::validate(sources::read(file, environment)?, demo)
    }

    /// Returns the defaults, with database and keys in `data_dir`, listening on a free loopback port.
    pub fn for_test(data_dir: &Path) -> Self {
        let settings = RawSettings {
            listen: Some("127.0.0.1:0".to_owned()),
            data_dir: Some(data_dir.to_owned()),
            ..RawSettings::default()
        };
        Self::validate(settings, false).expect("the defaults are valid")
    }

    fn validate(settings: RawSettings, demo: bool) -> Result<Self, ConfigError> {
        let behind_proxy = settings.behind_proxy.unwrap_or(false);
        let listen = listen_address(settings.listen.as_deref(), behind_proxy, demo)?;
        let public_url = public_url(settings.public_url.as_deref(), behind_proxy, demo)?;
        let data_dir = settings.data_dir.unwrap_or_else(|| PathBuf::from("data"));
        let url = settings.database_url.unwrap_or_else(|| format!("sqlite:{}/wardroom.db", data_dir.display()));
        let database = DatabaseSettings::validate(url, settings.database_read_url)?;
        let redis = settings.redis_url.map(|url| RedisSettings::validate(url, &database)).transpose()?;
        let allowed_origins = settings
            .allowed_origins
            .unwrap_or_default()
            .iter()
            .map(|text| Origin::parse(text).map_err(|why| invalid("allowed_origins", why)))
            .collect::<Result<_, _>>()?;
        if let Some(domain) = &settings.cookie_domain {
            check_cookie_domain(domain, public_url.as_ref())?;
        }
        let policy = settings.policy.validate()?;
        let is_local = listen.ip().is_loopback() && !behind_proxy;
        let default_connections = database::DEFAULT_CONNECTIONS;
        let connections = within("database_connections", settings.database_connections, default_connections, 1, 500)?;
        Ok(Self {
            listen,
            turn: settings.turn.validate(listen, &data_dir, demo)?,
            push: settings.push.validate(public_url.as_ref(), &data_dir)?,
            private_webhooks: settings.webhooks.private.unwrap_or(false),
            data_dir,
            database: DatabaseSettings { connections, ..database },
            redis,
            allowed_origins,
            cookie_domain: settings.cookie_domain,
            behind_proxy,
            demo,
            payment: settings.payment.validate(is_local, &policy)?,
            courier: settings.courier.validate(is_local)?,
            mail: settings.mail.validate(is_local)?,
            clinic: settings.clinic.validate()?,
            policy,
            tokens: settings.tokens.validate(public_url.as_ref())?,
            limits: settings.limits.validate(demo)?,
            metrics_token: metrics_token(settings.metrics.token)?,
            log: LogSettings::new(settings.log.filter, settings.log.format),
            public_url,
        })
    }

    /// Returns the address that the hub's own media is sent from, the one where clients reach it, and whether clients on
    /// loopback and in private networks are allowed. They are those of the embedded relay, if it runs.
    pub fn media_address(&self) -> (IpAddr, IpAddr, bool) {
        match &self.turn.embedded {
            Some(embedded) => (embedded.listen.ip(), embedded.public, embedded.private_peers),
            None => (self.listen.ip(), self.listen.ip(), false),
        }
    }

    /// Returns whether cookies require TLS. They always do, except for plain HTTP on this machine.
    pub fn secure_cookies(&self) -> bool {
        match &self.public_url {
            Some(url) => url.is_https(),
            None => !self.listen.ip().is_loopback(),
        }
    }
}

/// Rejects an address that would offer demo links or plain HTTP to other machines.
fn listen_address(text: Option<&str>, behind_proxy: bool, demo: bool) -> Result<SocketAddr, ConfigError> {
    let listen: SocketAddr = text
        .unwrap_or("127.0.0.1:8080")
        .parse()
        .map_err(|_| invalid("listen", "must be an IP address with a port, e.g. 127.0.0.1:8080"))?;
    let is_loopback = listen.ip().is_loopback();
    if demo && (!is_loopback || behind_proxy) {
        return Err(invalid(
            "listen",
            "must be on loopback in demo mode, which signs anybody in: listen on 127.0.0.1 without behind_proxy, \
             or use `serve`",
        ));
    }
    if !is_loopback && !behind_proxy {
        return Err(invalid(
            "listen",
            format!(
                "is {listen}, which other machines can reach, and Wardroom serves plain HTTP: put a proxy with TLS in \
                 front and set behind_proxy (WARDROOM_BEHIND_PROXY=true), or listen on 127.0.0.1"
            ),
        ));
    }
    Ok(listen)
}

fn public_url(text: Option<&str>, behind_proxy: bool, demo: bool) -> Result<Option<BaseUrl>, ConfigError> {
    let url = text.map(|text| BaseUrl::parse(text).map_err(|why| invalid("public_url", why))).transpose()?;
    match &url {
        None if behind_proxy => Err(invalid(
            "public_url",
            "must be set behind a proxy, to the address that people use, e.g. https://hub.example.org",
        )),
        Some(url) if url.is_https() && demo => Err(invalid(
            "public_url",
            "must not be https in demo mode, which signs anybody in: remove it, or use `serve` behind a proxy",
        )),
        Some(url) if url.is_https() && !behind_proxy => Err(invalid(
            "public_url",
            "is https, but Wardroom itself serves plain HTTP: put a proxy with TLS in front and set behind_proxy \
             (WARDROOM_BEHIND_PROXY=true), or remove public_url",
        )),
        Some(url) if !url.is_https() && !url.is_loopback() => {
            Err(invalid("public_url", "must begin with https:// unless it is on this machine"))
        }
        _ => Ok(url),
    }
}

fn check_cookie_domain(domain: &str, public_url: Option<&BaseUrl>) -> Result<(), ConfigError> {
    let host = public_url.map(BaseUrl::host).ok_or_else(|| {
        invalid("cookie_domain", "must be the parent domain of public_url, which is not set: set both or neither")
    })?;
    let is_name = domain.contains('.') && !domain.starts_with('.') && domain.parse::<IpAddr>().is_err();
    let is_parent = host == domain || host.strip_suffix(domain).is_some_and(|front| front.ends_with('.'));
    if !is_name || !is_parent {
        return Err(invalid(
            "cookie_domain",
            format!("must be the domain of public_url ({host}) or a parent of it, e.g. example.org"),
        ));
    }
    Ok(())
}

fn metrics_token(token: Option<String>) -> Result<Option<SecretString>, ConfigError> {
    match token {
        Some(token) if token.len() < MIN_SECRET_BYTES => {
            Err(invalid("metrics.token", "is too short; use 16 characters or more"))
        }
        token => Ok(token.map(SecretString::from)),
    }
}

#[cfg(test)]
mod tests;
