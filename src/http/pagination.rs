//! Pagination of lists by cursors.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use rooms::wire::code::Code;
use schemars::JsonSchema;
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
        let next = page.next.map(|key| URL_SAFE_NO_PAD.encode(key.as_bytes()));
        Self { items: page.items.into_iter().map(make).collect(), next }
    }
}

/// Checks and decodes `cursor` and `limit`.
pub fn page_request(cursor: Option<&str>, limit: Option<u32>) -> Result<PageRequest, Problem> {
    let limit = limit.unwrap_or(DEFAULT_ITEMS);
    if !(1..=MAX_ITEMS).contains(&limit) {
        return Err(Problem::invalid("limit", "must be between 1 and 200"));
    }
    let after = match cursor {
        None => None,
        Some(text) => {
            let key = URL_SAFE_NO_PAD.decode(text).ok().and_then(|bytes| Uuid::from_slice(&bytes).ok());
            Some(key.ok_or_else(|| Problem::new(Code::Malformed, "cursor must be the next of the previous page"))?)
        }
    };
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
