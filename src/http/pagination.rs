//! Pagination of lists by cursors.

use std::borrow::Cow;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use rooms::wire::code::Code;
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::store::page::{Page, PageRequest};
use crate::web::Problem;

/// Items per page if the caller sets no limit.
const DEFAULT_ITEMS: u32 = 50;
/// The most items per page.
const MAX_ITEMS: u32 = 200;

/// One page of a list.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
#[schemars(rename = "ListOf{T}")]
pub struct List<T> {
    pub items: Vec<T>,
    /// The `cursor` of the next page; absent on the last page. Clients must not interpret it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next: Option<String>,
}

impl<T> List<T> {
    /// Returns a list on a single page.
    pub fn whole(items: Vec<T>) -> Self {
        Self { items, next: None }
    }

    pub fn of<R>(page: Page<R>, make: impl FnMut(R) -> T) -> Self {
        let next = page.next.map(|key| encode_cursor(key.as_bytes()));
        Self { items: page.items.into_iter().map(make).collect(), next }
    }
}

/// Encodes the key of the next page.
pub fn encode_cursor(key: &[u8]) -> String {
    URL_SAFE_NO_PAD.encode(key)
}

/// Decodes the key of a page.
pub fn decode_cursor<const LENGTH: usize>(cursor: &str) -> Result<[u8; LENGTH], Problem> {
    let key = URL_SAFE_NO_PAD.decode(cursor).ok().and_then(|bytes| bytes.try_into().ok());
    let malformed = || Problem::invalid("cursor", "must be the next of the previous page").with_code(Code::Malformed);
    key.ok_or_else(malformed)
}

/// Checks and decodes `cursor` and `limit`.
pub fn page_request(cursor: Option<&str>, limit: Option<u32>) -> Result<PageRequest, Problem> {
    let limit = limit.unwrap_or(DEFAULT_ITEMS);
    if !(1..=MAX_ITEMS).contains(&limit) {
        return Err(Problem::invalid("limit", "must be between 1 and 200"));
    }
    let after = cursor.map(decode_cursor).transpose()?.map(Uuid::from_bytes);
    Ok(PageRequest { after, limit })
}

/// The query of lists without further parameters.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct PageQuery {
    /// `next` of the previous page.
    pub cursor: Option<String>,
    /// Items per page, 1 to 200; 50 if absent.
    #[schemars(range(min = 1, max = 200))]
    pub limit: Option<u32>,
}

impl PageQuery {
    pub fn request(&self) -> Result<PageRequest, Problem> {
        page_request(self.cursor.as_deref(), self.limit)
    }
}

/// The longest text to search for, in characters.
const MAX_SEARCH_CHARS: usize = 200;

/// A text to search for; empty if the parameter is absent.
#[derive(Debug, Default, Deserialize)]
#[serde(try_from = "String")]
pub struct SearchText(String);

impl SearchText {
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl TryFrom<String> for SearchText {
    type Error = &'static str;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        let is_short = text.chars().count() <= MAX_SEARCH_CHARS;
        if is_short { Ok(Self(text)) } else { Err("the text to search for must have at most 200 characters") }
    }
}

impl JsonSchema for SearchText {
    fn schema_name() -> Cow<'static, str> {
        "SearchText".into()
    }

    fn inline_schema() -> bool {
        true
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({"type": "string", "maxLength": MAX_SEARCH_CHARS})
    }
}
