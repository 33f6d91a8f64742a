//! Multi-row statements. A list is cut into chunks of few sizes, so that few statement texts exist and all stay prepared.

use super::Dialect;

/// Up to this many rows each number has a statement of its own: most commits are that small and need only one statement.
pub(super) const MAX_EXACT_ROWS: usize = 16;
/// Above [`MAX_EXACT_ROWS`], chunk sizes are powers of two up to this.
const MAX_ROWS: usize = 128;

/// Names a statement's parameter by its number, from 1 on.
pub(super) type Parameter = fn(usize) -> String;

/// SQLite's parameters: it looks up each named one, which is slow for many.
pub(super) const UNNAMED: Parameter = |_| "?".to_owned();
/// PostgreSQL's parameters.
pub(super) const NUMBERED: Parameter = |number| format!("${number}");

/// Renders `rows` rows of `columns` parameters: `(?, ?), (?, ?)`.
pub(super) fn values(rows: usize, columns: usize, parameter: Parameter) -> String {
    let row = |row: usize| {
        let parameters: Vec<String> = (row * columns + 1..=(row + 1) * columns).map(parameter).collect();
        format!("({})", parameters.join(", "))
    };
    (0..rows).map(row).collect::<Vec<_>>().join(", ")
}

/// One statement for each chunk size and database.
pub(super) struct BatchSql {
    sqlite: Vec<String>,
    postgres: Vec<String>,
}

/// Cuts a list into chunks that [`BatchSql`] has statements for.
pub(super) fn chunks<T>(mut rest: &[T]) -> impl Iterator<Item = &[T]> {
    std::iter::from_fn(move || {
        let rows = match rest.len() {
            0 => return None,
            few @ 1..=MAX_EXACT_ROWS => few,
            more => 1 << more.min(MAX_ROWS).ilog2(),
        };
        let (chunk, others) = rest.split_at(rows);
        rest = others;
        Some(chunk)
    })
}

/// The chunk sizes, in the order of their statements.
fn sizes() -> impl Iterator<Item = usize> {
    (1..=MAX_EXACT_ROWS).chain((MAX_EXACT_ROWS.ilog2() + 1..=MAX_ROWS.ilog2()).map(|power| 1 << power))
}

/// The index of the statement for `rows` rows.
fn index(rows: usize) -> usize {
    if rows <= MAX_EXACT_ROWS {
        rows - 1
    } else {
        MAX_EXACT_ROWS - 1 + (rows.ilog2() - MAX_EXACT_ROWS.ilog2()) as usize
    }
}

impl BatchSql {
    /// Builds the statements; `make` inserts the rendered rows, such as `(?, ?), (?, ?)`.
    pub(super) fn new(columns: usize, make: impl Fn(&str) -> String) -> Self {
        let all = |parameter: Parameter| sizes().map(|rows| make(&values(rows, columns, parameter))).collect();
        Self { sqlite: all(UNNAMED), postgres: all(NUMBERED) }
    }

    /// The statement for a chunk of `rows` rows.
    pub(super) fn get(&'static self, database: &impl Dialect, rows: usize) -> &'static str {
        let statements = if database.is_sqlite() { &self.sqlite } else { &self.postgres };
        &statements[index(rows)]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_chunk_has_a_statement_of_its_size_and_nothing_is_left_out() {
        let sql = BatchSql::new(2, |rows| rows.to_owned());
        for length in 0..=600 {
            let list: Vec<usize> = (0..length).collect();
            let cut: Vec<&[usize]> = chunks(&list).collect();
            assert_eq!(cut.concat(), list);
            for chunk in cut {
                let text = &sql.postgres[index(chunk.len())];
                assert_eq!(text.matches('(').count(), chunk.len());
                assert!(text.ends_with(&format!("${})", 2 * chunk.len())), "{text}");
                assert_eq!(sql.sqlite[index(chunk.len())].matches('?').count(), 2 * chunk.len());
            }
            assert!(chunks(&list).count() <= 4 + length / MAX_ROWS, "{length}");
        }
    }
}
