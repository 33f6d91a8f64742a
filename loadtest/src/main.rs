//! The command `loadtest`.

fn main() {}
