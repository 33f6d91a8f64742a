//! Pagination: pages of bounded size, continued after the key of the last row.

use uuid::Uuid;

/// A request for one page.
#[derive(Clone, Copy, Debug)]
pub struct PageRequest {
    /// The key of the previous page's last row; `None` for the first page.
    pub after: Option<Uuid>,
    /// The maximum number of items, 1 to 200.
    pub limit: u32,
}

/// One page of a listing.
#[derive(Clone, Debug)]
pub struct Page<T> {
    pub items: Vec<T>,
    /// The key after which the next page begins; `None` at the end.
    pub next: Option<Uuid>,
}

impl PageRequest {
    /// Returns the number of rows to query: one more than the limit shows whether there is a next page.
    pub(super) fn rows(self) -> i64 {
        i64::from(self.limit) + 1
    }

    /// Returns the key after which an ascending listing continues.
    pub(super) fn above(self) -> Uuid {
        self.after.unwrap_or_default()
    }

    /// Returns the key before which a descending listing continues.
    pub(super) fn below(self) -> Uuid {
        self.after.unwrap_or(Uuid::max())
    }

    /// Makes a page from the queried rows.
    pub(super) fn page<R, T>(self, rows: Vec<(Uuid, R)>, mut make: impl FnMut(R) -> T) -> Page<T> {
        let more = rows.len() > self.limit as usize;
        let mut next = None;
        let mut items = Vec::with_capacity(rows.len());
        for (key, row) in rows.into_iter().take(self.limit as usize) {
            next = Some(key);
            items.push(make(row));
        }
        Page { items, next: next.filter(|_| more) }
    }
}
