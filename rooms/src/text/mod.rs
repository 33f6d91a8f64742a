//! Text from people, parsed once at the edge.
//!
//! [`Name`], [`Line`], [`Paragraph`] and [`Prose`] are texts that somebody has just sent: their parsers apply today's rules.
//! [`Text`] is a text as a log or a table holds it. Earlier versions had weaker rules, and what they stored stays readable.
//! So commands and request bodies use the first four types, and events, snapshots and rows use the last one.

mod character;
mod link;
mod rule;

use std::borrow::Cow;
use std::fmt;
use std::ops::Deref;
use std::str::FromStr;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Deserializer, Serialize, de};

use self::rule::Rule;

/// A stored text: 1 to `MAX` characters, trimmed, without control characters other than tab and line feed. In particular it
/// never contains NUL, which PostgreSQL cannot store.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(transparent)]
pub struct Text<const MAX: usize>(Box<str>);

/// Why a text is invalid. The sentence continues the name of a field, and never repeats the text, which may be patient data.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum TextError {
    #[error("must not be empty")]
    Empty,
    #[error("must contain a visible character")]
    Invisible,
    /// Counts Unicode code points, after normalization.
    #[error("must be at most {max} characters, not {len}")]
    TooLong { max: usize, len: usize },
    #[error("must not contain control characters")]
    Control,
    #[error("must be one line without invisible characters or changes of direction")]
    NotOneLine,
    #[error("must not contain a web address; write a space after a full stop")]
    Link,
}

/// What the message of a JSON error begins with if a text breaks a rule. [`crate::wire::parse_error`] recognizes it.
pub(crate) const JSON_ERROR_PREFIX: &str = "text ";

impl<const MAX: usize> Text<MAX> {
    /// Reads a text from a log or a table. For texts that somebody sends there are [`Name`], [`Line`], [`Paragraph`] and
    /// [`Prose`].
    pub fn stored(raw: &str) -> Result<Self, TextError> {
        let text = raw.trim();
        if text.is_empty() {
            return Err(TextError::Empty);
        }
        if text.chars().any(|c| c.is_control() && !matches!(c, '\n' | '\t')) {
            return Err(TextError::Control);
        }
        rule::check_length(text.chars().count(), MAX)?;
        Ok(Self(text.into()))
    }

    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl<const MAX: usize> FromStr for Text<MAX> {
    type Err = TextError;
    fn from_str(raw: &str) -> Result<Self, TextError> {
        Self::stored(raw)
    }
}

/// Shows only the length: text is patient data and must not leak into a log.
impl<const MAX: usize> fmt::Debug for Text<MAX> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Text({} bytes)", self.0.len())
    }
}

fn parse_json<'de, T, D: Deserializer<'de>>(
    deserializer: D,
    parse: impl FnOnce(&str) -> Result<T, TextError>,
) -> Result<T, D::Error> {
    let raw = Cow::<'de, str>::deserialize(deserializer)?;
    parse(&raw).map_err(|why| de::Error::custom(format_args!("{JSON_ERROR_PREFIX}{why}")))
}

impl<'de, const MAX: usize> Deserialize<'de> for Text<MAX> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        parse_json(deserializer, Self::stored)
    }
}

impl<const MAX: usize> JsonSchema for Text<MAX> {
    fn schema_name() -> Cow<'static, str> {
        format!("Text{MAX}").into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "type": "string",
            "minLength": 1,
            "maxLength": MAX,
            "description": format!("1 to {MAX} characters (Unicode code points), as stored"),
        })
    }
}

macro_rules! texts {
    ($($(#[doc = $doc:literal])* $name:ident: $max:literal, $rule:ident;)*) => {$(
        $(#[doc = $doc])*
        #[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
        #[serde(transparent)]
        pub struct $name(Text<$max>);

        impl $name {
            /// The most characters: Unicode code points, after normalization.
            pub const MAX_CHARS: usize = $max;

            /// Trims, normalizes to NFC and checks `raw`. Parsing the result again changes nothing.
            pub fn parse(raw: &str) -> Result<Self, TextError> {
                Rule::$rule.clean(raw, $max).map(|text| Self(Text(text)))
            }
        }

        impl Deref for $name {
            type Target = Text<$max>;
            fn deref(&self) -> &Text<$max> {
                &self.0
            }
        }

        impl From<$name> for Text<$max> {
            fn from(text: $name) -> Self {
                text.0
            }
        }

        impl FromStr for $name {
            type Err = TextError;
            fn from_str(raw: &str) -> Result<Self, TextError> {
                Self::parse(raw)
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.fmt(f)
            }
        }

        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                parse_json(deserializer, Self::parse)
            }
        }

        impl JsonSchema for $name {
            fn schema_name() -> Cow<'static, str> {
                stringify!($name).into()
            }

            fn json_schema(_: &mut SchemaGenerator) -> Schema {
                json_schema!({
                    "type": "string",
                    "minLength": 1,
                    "maxLength": $max,
                    "description": concat!($($doc),*).trim(),
                })
            }
        }
    )*};
}

texts! {
    /// The name of a person or an organization: a line of up to 200 characters without a web address, because letters from
    /// the clinic carry it.
    Name: 200, Name;
    /// One visible line of up to 200 characters (Unicode code points, trimmed, NFC), without control characters, invisible
    /// characters and changes of the writing direction.
    Line: 200, Line;
    /// Up to 400 characters (Unicode code points, trimmed, NFC), at least one of them visible, without control characters
    /// other than tab and line feed. CR LF is taken as a line feed.
    Paragraph: 400, Prose;
    /// Up to 4000 characters (Unicode code points, trimmed, NFC), at least one of them visible, without control characters
    /// other than tab and line feed. CR LF is taken as a line feed.
    Prose: 4000, Prose;
}
