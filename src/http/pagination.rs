//! Lists, a page at a time.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use rooms::wire::code::Code;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::store::page::{Page, PageRequest};
use crate::web::Problem;

/// Items of a page, unless the caller wants fewer or more.
const LIMIT: u32 = 50;
/// Most items of a page.
const MAX_LIMIT: u32 = 200;

/// One page of a list.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
#[schemars(rename = "ListOf{T}")]
pub struct List<T> {
    pub items: Vec<T>,
    /// What to give as `cursor` for the next page; absent at the end. It means nothing to anybody else.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next: Option<String>,
}

impl<T> List<T> {
    /// Everything on one page.
    pub fn whole(items: Vec<T>) -> Self {
        Self { items, next: None }
    }

    pub fn of<R>(page: Page<R>, make: impl FnMut(R) -> T) -> Self {
        let next = page.next.map(|key| URL_SAFE_NO_PAD.encode(key.as_bytes()));
        Self { items: page.items.into_iter().map(make).collect(), next }
    }
}

/// Reads `cursor` and `limit`.
pub fn page_request(cursor: Option<&str>, limit: Option<u32>) -> Result<PageRequest, Problem> {
    let limit = limit.unwrap_or(LIMIT);
    if !(1..=MAX_LIMIT).contains(&limit) {
        return Err(Problem::invalid("limit", "must be between 1 and 200"));
    }
    let after = match cursor {
        None => None,
        Some(text) => {
            let key = URL_SAFE_NO_PAD.decode(text).ok().and_then(|bytes| Uuid::from_slice(&bytes).ok());
            Some(key.ok_or_else(|| Problem::new(Code::Malformed, "cursor must be what the page before gave as next"))?)
        }
    };
    Ok(PageRequest { after, limit })
}

/// Which page is wanted, for lists that have nothing else to ask for.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct PageQuery {
    /// `next` of the page before.
    pub cursor: Option<String>,
    /// Items of a page, 1 to 200; 50 if absent.
    #[schemars(range(min = 1, max = 200))]
    pub limit: Option<u32>,
}

impl PageQuery {
    pub fn request(&self) -> Result<PageRequest, Problem> {
        page_request(self.cursor.as_deref(), self.limit)
    }
}
