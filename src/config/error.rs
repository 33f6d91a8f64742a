//! Why a configuration is rejected. Each error names the setting and the remedy.

/// Why a configuration is rejected: which setting, and what to do about it.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    #[error("cannot read the settings file {path}: {why}; name another file with --config, or remove the option")]
    File { path: String, why: std::io::Error },
    #[error("the settings file is not valid TOML: {0}")]
    Toml(String),
    #[error("{0}; docs/operations.md explains every setting")]
    Shape(String),
    #[error("there is no setting {name}{}; correct its name or remove it", hint.map(|known| format!(", did you mean {known}?")).unwrap_or_default())]
    Unknown { name: String, hint: Option<&'static str> },
    #[error("{setting} (WARDROOM_{}) {why}", setting.to_uppercase().replace('.', "_"))]
    Value { setting: &'static str, why: String },
}

/// Returns the error of a setting with an invalid value. `why` continues a sentence that starts with the setting's name.
pub fn invalid(setting: &'static str, why: impl Into<String>) -> ConfigError {
    ConfigError::Value { setting, why: why.into() }
}

/// Returns `given` or `default`, and rejects a value outside `min..=max`.
pub fn within<T>(setting: &'static str, given: Option<T>, default: T, min: T, max: T) -> Result<T, ConfigError>
where
    T: PartialOrd + std::fmt::Display,
{
    let chosen = given.unwrap_or(default);
    if chosen < min || chosen > max {
        return Err(invalid(setting, format!("is {chosen}, but must be between {min} and {max}")));
    }
    Ok(chosen)
}
