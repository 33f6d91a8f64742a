//! The settings as they are written: one shape for file and environment.

use std::num::NonZeroU32;
use std::path::PathBuf;

use serde::Deserialize;
use toml::{Table, Value};

use super::{ConfigError, LogFormat};

#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Settings {
    pub listen: Option<String>,
    pub public_url: Option<String>,
    pub data_dir: Option<PathBuf>,
    pub database_url: Option<String>,
    pub database_read_url: Option<String>,
    pub database_connections: Option<u32>,
    pub redis_url: Option<String>,
    pub allowed_origins: Option<Vec<String>>,
    pub cookie_domain: Option<String>,
    pub behind_proxy: Option<bool>,
    #[serde(default)]
    pub policy: PolicySettings,
    #[serde(default)]
    pub tokens: Tokens,
    #[serde(default)]
    pub limits: LimitSettings,
    #[serde(default)]
    pub turn: Turn,
    #[serde(default)]
    pub payment: Payment,
    #[serde(default)]
    pub courier: Courier,
    #[serde(default)]
    pub mail: Mail,
    #[serde(default)]
    pub push: Push,
    #[serde(default)]
    pub webhooks: Webhooks,
    #[serde(default)]
    pub metrics: Metrics,
    #[serde(default)]
    pub log: Log,
}

#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PolicySettings {
    pub consent: Option<String>,
    pub hold_s: Option<u32>,
    pub ring_s: Option<u32>,
    pub rings: Option<u32>,
    pub doctor_grace_s: Option<u32>,
    pub patient_grace_s: Option<u32>,
    pub interrupted_s: Option<u32>,
    pub prescription_valid_s: Option<u32>,
    pub max_days: Option<u16>,
    pub review: Option<bool>,
    pub relay_only: Option<bool>,
    pub price: Option<u64>,
    pub currency: Option<String>,
}

#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Tokens {
    pub issuer: Option<String>,
    pub audience: Option<String>,
    pub access_s: Option<u64>,
    pub patient_session_s: Option<u64>,
    pub staff_session_s: Option<u64>,
}

#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LimitSettings {
    pub connections: Option<usize>,
    pub arrivals_per_second: Option<NonZeroU32>,
    pub outbox_bytes: Option<usize>,
    pub body_bytes: Option<usize>,
    pub requests_per_second: Option<u32>,
    pub sign_ins_per_minute: Option<u32>,
    pub anonymous_per_minute: Option<u32>,
}

#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Metrics {
    pub token: Option<String>,
}

#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Turn {
    pub listen: Option<String>,
    pub public_address: Option<String>,
    pub relay_ports: Option<String>,
    pub private_peers: Option<bool>,
    pub kilobits_per_second: Option<u32>,
    pub urls: Option<Vec<String>>,
    pub secret: Option<String>,
}

#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Payment {
    pub provider: Option<String>,
    pub url: Option<String>,
    pub key: Option<String>,
    pub webhook_secret: Option<String>,
    pub checkout_url: Option<String>,
}

#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Courier {
    pub provider: Option<String>,
    pub url: Option<String>,
    pub key: Option<String>,
    pub webhook_secret: Option<String>,
    pub name: Option<String>,
    pub assign: Option<bool>,
}

#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Mail {
    pub provider: Option<String>,
    pub url: Option<String>,
    pub from: Option<String>,
    pub offset_minutes: Option<i32>,
}

#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Webhooks {
    pub private: Option<bool>,
}

#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Push {
    pub subject: Option<String>,
    pub key: Option<String>,
    pub services: Option<Vec<String>>,
}

#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Log {
    pub filter: Option<String>,
    pub format: Option<LogFormat>,
}

/// How a setting is written in the environment.
#[derive(Clone, Copy)]
enum Kind {
    Text,
    Number,
    Flag,
    /// Separated by commas.
    List,
}

/// Every setting by its name in the file; in the environment it is `WARDROOM_` and the same in capitals, `.` as `_`.
const SETTINGS: &[(&str, Kind)] = &[
    ("listen", Kind::Text),
    ("public_url", Kind::Text),
    ("data_dir", Kind::Text),
    ("database_url", Kind::Text),
    ("database_read_url", Kind::Text),
    ("database_connections", Kind::Number),
    ("redis_url", Kind::Text),
    ("allowed_origins", Kind::List),
    ("cookie_domain", Kind::Text),
    ("behind_proxy", Kind::Flag),
    ("policy.consent", Kind::Text),
    ("policy.hold_s", Kind::Number),
    ("policy.ring_s", Kind::Number),
    ("policy.rings", Kind::Number),
    ("policy.doctor_grace_s", Kind::Number),
    ("policy.patient_grace_s", Kind::Number),
    ("policy.interrupted_s", Kind::Number),
    ("policy.prescription_valid_s", Kind::Number),
    ("policy.max_days", Kind::Number),
    ("policy.review", Kind::Flag),
    ("policy.relay_only", Kind::Flag),
    ("policy.price", Kind::Number),
    ("policy.currency", Kind::Text),
    ("tokens.issuer", Kind::Text),
    ("tokens.audience", Kind::Text),
    ("tokens.access_s", Kind::Number),
    ("tokens.patient_session_s", Kind::Number),
    ("tokens.staff_session_s", Kind::Number),
    ("limits.connections", Kind::Number),
    ("limits.arrivals_per_second", Kind::Number),
    ("limits.outbox_bytes", Kind::Number),
    ("limits.body_bytes", Kind::Number),
    ("limits.requests_per_second", Kind::Number),
    ("limits.sign_ins_per_minute", Kind::Number),
    ("limits.anonymous_per_minute", Kind::Number),
    ("turn.listen", Kind::Text),
    ("turn.public_address", Kind::Text),
    ("turn.relay_ports", Kind::Text),
    ("turn.private_peers", Kind::Flag),
    ("turn.kilobits_per_second", Kind::Number),
    ("turn.urls", Kind::List),
    ("turn.secret", Kind::Text),
    ("payment.provider", Kind::Text),
    ("payment.url", Kind::Text),
    ("payment.key", Kind::Text),
    ("payment.webhook_secret", Kind::Text),
    ("payment.checkout_url", Kind::Text),
    ("courier.provider", Kind::Text),
    ("courier.url", Kind::Text),
    ("courier.key", Kind::Text),
    ("courier.webhook_secret", Kind::Text),
    ("courier.name", Kind::Text),
    ("courier.assign", Kind::Flag),
    ("mail.provider", Kind::Text),
    ("mail.url", Kind::Text),
    ("mail.from", Kind::Text),
    ("mail.offset_minutes", Kind::Number),
    ("push.subject", Kind::Text),
    ("push.key", Kind::Text),
    ("push.services", Kind::List),
    ("webhooks.private", Kind::Flag),
    ("metrics.token", Kind::Text),
    ("log.filter", Kind::Text),
    ("log.format", Kind::Text),
];

/// Names that begin like settings and are none: the command line's and the test suite's.
const OTHERS: &[&str] = &["WARDROOM_CONFIG", "WARDROOM_TEST_"];

/// The file's settings, overridden by the environment's.
pub fn read(file: &str, environment: impl IntoIterator<Item = (String, String)>) -> Result<Settings, ConfigError> {
    let mut table: Table =
        file.parse().map_err(|error: toml::de::Error| ConfigError::Toml(where_only(&error, file)))?;
    for (name, text) in environment {
        let Some(rest) = name.strip_prefix("WARDROOM_") else { continue };
        if OTHERS.iter().any(|other| name.starts_with(other)) {
            continue;
        }
        let wanted = rest.to_lowercase();
        let Some((setting, kind)) = SETTINGS.iter().find(|(setting, _)| setting.replace('.', "_") == wanted) else {
            let hint = nearest(&wanted);
            return Err(ConfigError::Unknown { name, hint });
        };
        put(&mut table, setting, parse(setting, *kind, &text)?);
    }
    // The message names the setting and its type; a value of the wrong type is quoted by it only if it is not a text.
    table.try_into().map_err(|error: toml::de::Error| ConfigError::Shape(error.to_string().trim().replace('\n', " ")))
}

fn parse(setting: &'static str, kind: Kind, text: &str) -> Result<Value, ConfigError> {
    let bad = |why: &str| ConfigError::Value { setting, why: why.to_owned() };
    Ok(match kind {
        Kind::Text => Value::String(text.to_owned()),
        Kind::Number => Value::Integer(text.trim().parse().map_err(|_| bad("must be a whole number"))?),
        Kind::Flag => match text.trim() {
            "true" | "1" => Value::Boolean(true),
            "false" | "0" => Value::Boolean(false),
            _ => return Err(bad("must be true or false")),
        },
        Kind::List => Value::Array(
            text.split(',').map(str::trim).filter(|it| !it.is_empty()).map(|it| Value::String(it.to_owned())).collect(),
        ),
    })
}

fn put(table: &mut Table, setting: &str, value: Value) {
    match setting.split_once('.') {
        None => {
            table.insert(setting.to_owned(), value);
        }
        Some((section, name)) => {
            let section = table.entry(section).or_insert_with(|| Value::Table(Table::new()));
            // A section that is not a table in the file is refused by its type, below.
            if let Value::Table(section) = section {
                section.insert(name.to_owned(), value);
            }
        }
    }
}

/// Where TOML went wrong, without the line itself: it may hold a password.
fn where_only(error: &toml::de::Error, file: &str) -> String {
    let line = error.span().map_or(1, |span| file[..span.start.min(file.len())].matches('\n').count() + 1);
    format!("{} in line {line}", error.message())
}

/// A setting whose name is close to `wanted`.
fn nearest(wanted: &str) -> Option<&'static str> {
    SETTINGS
        .iter()
        .map(|(setting, _)| (distance(wanted, &setting.replace('.', "_")), *setting))
        .min()
        .filter(|(distance, _)| *distance <= 3)
        .map(|(_, setting)| setting)
}

/// How many letters must be changed, added or left out to make one word of the other.
fn distance(one: &str, other: &str) -> usize {
    let other: Vec<char> = other.chars().collect();
    let mut row: Vec<usize> = (0..=other.len()).collect();
    for (i, a) in one.chars().enumerate() {
        let mut before = std::mem::replace(&mut row[0], i + 1);
        for (j, b) in other.iter().enumerate() {
            let changed = before + usize::from(a != *b);
            before = row[j + 1];
            row[j + 1] = changed.min(before + 1).min(row[j] + 1);
        }
    }
    row[other.len()]
}
