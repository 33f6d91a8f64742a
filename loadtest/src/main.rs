//! The command `loadtest`: runs a profile, prints its report, and ends with 0 when the bounds were kept, 1 when one was
//! broken, 2 when the run could not be made.

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
