//! Pages of a listing: at most so many rows, and where the next page begins.

use rooms::time::Timestamp;
use uuid::Uuid;

/// Which page is wanted.
#[derive(Clone, Copy, Debug)]
pub struct PageRequest {
    /// The key of the last row of the page before; `None` for the first page.
    pub after: Option<Uuid>,
    /// 1 to 200.
    pub limit: u32,
}

/// A page.
#[derive(Clone, Debug)]
pub struct Page<T> {
    pub items: Vec<T>,
    /// The key to ask for the next page with; `None` at the end.
    pub next: Option<Uuid>,
}

impl PageRequest {
    /// Rows to ask the database for: one more, which tells whether there is a next page.
    pub(super) fn rows(self) -> i64 {
        i64::from(self.limit) + 1
    }

    /// Where an ascending listing goes on.
    pub(super) fn above(self) -> Uuid {
        self.after.unwrap_or_default()
    }

    /// Where a descending listing goes on.
    pub(super) fn below(self) -> Uuid {
        self.after.unwrap_or(Uuid::max())
    }

    /// Makes a page of the rows that came.
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

/// From a column.
pub(super) fn instant(micros: i64) -> Timestamp {
    Timestamp::from_micros(micros)
}
