//! Statements of many rows: a list is cut into pieces of few sizes, so that few statement texts exist and all stay prepared.

use super::{Store, Tx};

/// Up to so many rows each number has a text of its own: most commits are that small, and are to be one statement.
pub(super) const FEW: usize = 16;
/// Above [`FEW`], pieces are powers of two up to this.
const MAX_ROWS: usize = 128;

/// How a statement names its parameter of this number, from 1 on.
pub(super) type Parameter = fn(usize) -> String;

/// SQLite looks for the name of each parameter that has one, which takes long when there are many.
pub(super) const UNNAMED: Parameter = |_| "?".to_owned();
/// PostgreSQL's way.
pub(super) const NUMBERED: Parameter = |number| format!("${number}");

/// Rows of so many parameters: `(?, ?), (?, ?)`.
pub(super) fn values(rows: usize, columns: usize, parameter: Parameter) -> String {
    let row = |row: usize| {
        let parameters: Vec<String> = (row * columns + 1..=(row + 1) * columns).map(parameter).collect();
        format!("({})", parameters.join(", "))
    };
    (0..rows).map(row).collect::<Vec<_>>().join(", ")
}

/// The same statement for each size of a piece.
pub(super) struct Texts {
    sqlite: Vec<String>,
    postgres: Vec<String>,
}

/// Cuts a list into pieces that [`Texts`] has statements for.
pub(super) fn pieces<T>(mut rest: &[T]) -> impl Iterator<Item = &[T]> {
    std::iter::from_fn(move || {
        let rows = match rest.len() {
            0 => return None,
            few @ 1..=FEW => few,
            more => 1 << more.min(MAX_ROWS).ilog2(),
        };
        let (now, later) = rest.split_at(rows);
        rest = later;
        Some(now)
    })
}

/// The sizes of pieces, in the order of their texts.
fn sizes() -> impl Iterator<Item = usize> {
    (1..=FEW).chain((FEW.ilog2() + 1..=MAX_ROWS.ilog2()).map(|power| 1 << power))
}

/// Where the text for so many rows stands.
fn place(rows: usize) -> usize {
    if rows <= FEW { rows - 1 } else { FEW - 1 + (rows.ilog2() - FEW.ilog2()) as usize }
}

impl Texts {
    /// `make` puts rows of so many parameters into the statement: `(?, ?), (?, ?)`.
    pub(super) fn new(columns: usize, make: impl Fn(&str) -> String) -> Self {
        let all = |parameter: Parameter| sizes().map(|rows| make(&values(rows, columns, parameter))).collect();
        Self { sqlite: all(UNNAMED), postgres: all(NUMBERED) }
    }

    /// The statement for a piece of so many rows.
    pub(super) fn get(&'static self, tx: &Tx, rows: usize) -> &'static str {
        let texts = match tx {
            Tx::Sqlite(_) => &self.sqlite,
            Tx::Postgres(_) => &self.postgres,
        };
        &texts[place(rows)]
    }

    /// The same for what is read outside a transaction.
    pub(super) fn of(&'static self, store: &Store, rows: usize) -> &'static str {
        let texts = match store {
            Store::Sqlite { .. } => &self.sqlite,
            Store::Postgres(_) => &self.postgres,
        };
        &texts[place(rows)]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_piece_has_the_text_of_its_size_and_nothing_is_left_out() {
        let texts = Texts::new(2, |rows| rows.to_owned());
        for length in 0..=600 {
            let list: Vec<usize> = (0..length).collect();
            let cut: Vec<&[usize]> = pieces(&list).collect();
            assert_eq!(cut.concat(), list);
            for piece in cut {
                let text = &texts.postgres[place(piece.len())];
                assert_eq!(text.matches('(').count(), piece.len());
                assert!(text.ends_with(&format!("${})", 2 * piece.len())), "{text}");
                assert_eq!(texts.sqlite[place(piece.len())].matches('?').count(), 2 * piece.len());
            }
            assert!(pieces(&list).count() <= 4 + length / MAX_ROWS, "{length}");
        }
    }
}
