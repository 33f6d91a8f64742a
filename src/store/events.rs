//! The log: compare-and-append of many rooms in one transaction, and reading it back.
