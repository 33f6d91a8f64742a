//! Merges the settings file and the environment into [`RawSettings`].

use toml::{Table, Value};

use super::error::{ConfigError, invalid};
use super::raw::RawSettings;

/// The form of a setting's value in the environment.
#[derive(Clone, Copy)]
enum ValueKind {
    Text,
    Number,
    Flag,
    /// Separated by commas.
    List,
}

/// Every setting by its name in the file. In the environment, the name is in upper case after `WARDROOM_`, with `_` for `.`.
const SETTINGS: &[(&str, ValueKind)] = &[
    ("listen", ValueKind::Text),
    ("public_url", ValueKind::Text),
    ("data_dir", ValueKind::Text),
    ("database_url", ValueKind::Text),
    ("database_read_url", ValueKind::Text),
    ("database_connections", ValueKind::Number),
    ("redis_url", ValueKind::Text),
    ("allowed_origins", ValueKind::List),
    ("cookie_domain", ValueKind::Text),
    ("behind_proxy", ValueKind::Flag),
    ("clinic.zone", ValueKind::Text),
    ("policy.consent", ValueKind::Text),
    ("policy.hold_s", ValueKind::Number),
    ("policy.ring_s", ValueKind::Number),
    ("policy.rings", ValueKind::Number),
    ("policy.doctor_grace_s", ValueKind::Number),
    ("policy.patient_grace_s", ValueKind::Number),
    ("policy.check_in_s", ValueKind::Number),
    ("policy.interrupted_s", ValueKind::Number),
    ("policy.prescription_valid_s", ValueKind::Number),
    ("policy.max_days", ValueKind::Number),
    ("policy.review", ValueKind::Flag),
    ("policy.relay_only", ValueKind::Flag),
    ("policy.price", ValueKind::Number),
    ("policy.currency", ValueKind::Text),
    ("tokens.issuer", ValueKind::Text),
    ("tokens.audience", ValueKind::Text),
    ("tokens.access_s", ValueKind::Number),
    ("tokens.patient_session_s", ValueKind::Number),
    ("tokens.staff_session_s", ValueKind::Number),
    ("limits.connections", ValueKind::Number),
    ("limits.arrivals_per_second", ValueKind::Number),
    ("limits.outbox_bytes", ValueKind::Number),
    ("limits.body_bytes", ValueKind::Number),
    ("limits.requests_per_second", ValueKind::Number),
    ("limits.sign_ins_per_minute", ValueKind::Number),
    ("limits.anonymous_per_minute", ValueKind::Number),
    ("limits.person_events", ValueKind::Number),
    ("limits.person_bytes", ValueKind::Number),
    ("limits.open_holds", ValueKind::Number),
    ("limits.open_bookings", ValueKind::Number),
    ("limits.waiting_walk_ins", ValueKind::Number),
    ("limits.walk_ins_need_doctor", ValueKind::Flag),
    ("turn.listen", ValueKind::Text),
    ("turn.public_address", ValueKind::Text),
    ("turn.relay_ports", ValueKind::Text),
    ("turn.private_peers", ValueKind::Flag),
    ("turn.kilobits_per_second", ValueKind::Number),
    ("turn.urls", ValueKind::List),
    ("turn.secret", ValueKind::Text),
    ("payment.provider", ValueKind::Text),
    ("payment.url", ValueKind::Text),
    ("payment.key", ValueKind::Text),
    ("payment.webhook_secret", ValueKind::Text),
    ("payment.checkout_url", ValueKind::Text),
    ("courier.provider", ValueKind::Text),
    ("courier.url", ValueKind::Text),
    ("courier.key", ValueKind::Text),
    ("courier.webhook_secret", ValueKind::Text),
    ("courier.name", ValueKind::Text),
    ("courier.assign", ValueKind::Flag),
    ("mail.provider", ValueKind::Text),
    ("mail.url", ValueKind::Text),
    ("mail.from", ValueKind::Text),
    ("push.subject", ValueKind::Text),
    ("push.key", ValueKind::Text),
    ("push.services", ValueKind::List),
    ("webhooks.private", ValueKind::Flag),
    ("metrics.token", ValueKind::Text),
    ("log.filter", ValueKind::Text),
    ("log.format", ValueKind::Text),
];

/// Settings that no longer exist, each with the remedy. An operator who upgrades must learn what replaced them.
const RETIRED_SETTINGS: &[(&str, &str)] = &[(
    "mail.offset_minutes",
    "is replaced by clinic.zone, which knows daylight saving: set it to the clinic's time zone, e.g. Europe/Berlin",
)];

/// Prefixes of variables that are no settings: those of the command line and the test suite.
const RESERVED_PREFIXES: &[&str] = &["WARDROOM_CONFIG", "WARDROOM_TEST_"];

/// Reads the settings of the file, overridden by those of the environment.
pub fn read(file: &str, environment: impl IntoIterator<Item = (String, String)>) -> Result<RawSettings, ConfigError> {
    let mut table: Table =
        file.parse().map_err(|error: toml::de::Error| ConfigError::Toml(error_without_values(&error, file)))?;
    for (setting, remedy) in RETIRED_SETTINGS {
        let is_set = setting.split('.').try_fold(&table, |table, part| match table.get(part) {
            Some(Value::Table(section)) => Ok(section),
            Some(_) => Err(true),
            None => Err(false),
        });
        if is_set == Err(true) {
            return Err(invalid(setting, *remedy));
        }
    }
    for (name, text) in environment {
        let Some(rest) = name.strip_prefix("WARDROOM_") else { continue };
        if RESERVED_PREFIXES.iter().any(|prefix| name.starts_with(prefix)) {
            continue;
        }
        let wanted = rest.to_lowercase();
        if let Some((setting, remedy)) = RETIRED_SETTINGS.iter().find(|(name, _)| name.replace('.', "_") == wanted) {
            return Err(invalid(setting, *remedy));
        }
        let Some((setting, kind)) = SETTINGS.iter().find(|(setting, _)| setting.replace('.', "_") == wanted) else {
            let hint = nearest(&wanted);
            return Err(ConfigError::Unknown { name, hint });
        };
        insert(&mut table, setting, parse(setting, *kind, &text)?);
    }
    // The message names the setting and the expected type. It quotes a value of the wrong type only if that is no text.
    table.try_into().map_err(|error: toml::de::Error| ConfigError::Shape(error.to_string().trim().replace('\n', " ")))
}

fn parse(setting: &'static str, kind: ValueKind, text: &str) -> Result<Value, ConfigError> {
    Ok(match kind {
        ValueKind::Text => Value::String(text.to_owned()),
        ValueKind::Number => {
            Value::Integer(text.trim().parse().map_err(|_| invalid(setting, "must be a whole number"))?)
        }
        ValueKind::Flag => match text.trim() {
            "true" | "1" => Value::Boolean(true),
            "false" | "0" => Value::Boolean(false),
            _ => return Err(invalid(setting, "must be true or false")),
        },
        ValueKind::List => Value::Array(
            text.split(',').map(str::trim).filter(|it| !it.is_empty()).map(|it| Value::String(it.to_owned())).collect(),
        ),
    })
}

fn insert(table: &mut Table, setting: &str, value: Value) {
    match setting.split_once('.') {
        None => {
            table.insert(setting.to_owned(), value);
        }
        Some((section, name)) => {
            let section = table.entry(section).or_insert_with(|| Value::Table(Table::new()));
            // If the file has something else than a table here, the conversion to `RawSettings` rejects it.
            if let Value::Table(section) = section {
                section.insert(name.to_owned(), value);
            }
        }
    }
}

/// Describes a syntax error by its line number, without the line itself, which may contain a password.
fn error_without_values(error: &toml::de::Error, file: &str) -> String {
    let line = error.span().map_or(1, |span| file[..span.start.min(file.len())].matches('\n').count() + 1);
    format!("{} in line {line}", error.message())
}

/// Returns the setting whose name is closest to `wanted`, if any is close.
fn nearest(wanted: &str) -> Option<&'static str> {
    SETTINGS
        .iter()
        .map(|(setting, _)| (edit_distance(wanted, &setting.replace('.', "_")), *setting))
        .min()
        .filter(|(distance, _)| *distance <= 3)
        .map(|(_, setting)| setting)
}

/// Computes the Levenshtein distance of two words.
fn edit_distance(one: &str, other: &str) -> usize {
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
