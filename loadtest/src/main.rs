//! The `loadtest` command: runs a profile and prints its report.
//!
//! The exit code is 0 when every bound holds, 1 when one is broken, and 2 when the run cannot be carried out.

#![allow(clippy::disallowed_methods, reason = "a client has its own clock")]

mod cli;
mod profiles;

use std::process::ExitCode;

use clap::Parser;

use crate::cli::Cli;

fn main() -> ExitCode {
    let cli = Cli::parse();
    match profiles::run(&cli.profile) {
        Ok(report) if report.passes() => ExitCode::SUCCESS,
        Ok(_) => ExitCode::from(1),
        Err(error) => {
            eprintln!("loadtest: {error:#}");
            ExitCode::from(2)
        }
    }
}
