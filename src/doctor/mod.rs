//! `wardroom doctor`: checks the settings, and that everything they name responds.
//!
//! It changes nothing: it runs no migration and creates no key. Each problem comes with its remedy.

mod local;
mod partners;
mod probe;

use std::process::ExitCode;

use crate::config::Config;

/// The severity of a finding.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Grade {
    Ok,
    /// It works, but not well enough for a hub that others use.
    Warn,
    /// Something will not work.
    Bad,
}

/// The result of a check.
#[derive(Debug)]
pub struct Finding {
    pub grade: Grade,
    /// The setting or resource that the check covers.
    pub about: &'static str,
    /// The state, and the remedy if there is a problem.
    pub text: String,
}

impl Finding {
    fn ok(about: &'static str, text: impl Into<String>) -> Self {
        Self { grade: Grade::Ok, about, text: text.into() }
    }

    fn warn(about: &'static str, text: impl Into<String>) -> Self {
        Self { grade: Grade::Warn, about, text: text.into() }
    }

    fn bad(about: &'static str, text: impl Into<String>) -> Self {
        Self { grade: Grade::Bad, about, text: text.into() }
    }
}

/// Runs all checks and prints one line for each. Fails if any finding is bad.
pub async fn run(config: &Config) -> ExitCode {
    let findings = check(config).await;
    for Finding { grade, about, text } in &findings {
        let sign = match grade {
            Grade::Ok => "ok  ",
            Grade::Warn => "warn",
            Grade::Bad => "BAD ",
        };
        println!("{sign}  {about:<20} {text}");
    }
    let count = |grade| findings.iter().filter(|it| it.grade == grade).count();
    println!("\n{} checks: {} bad, {} warnings.", findings.len(), count(Grade::Bad), count(Grade::Warn));
    if count(Grade::Bad) == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

/// Runs all checks; those over the network run concurrently.
pub async fn check(config: &Config) -> Vec<Finding> {
    let (database, forwarded_for, bus, relay, push, partners) = tokio::join!(
        local::database(config),
        probe::forwarded_for(config),
        local::bus(config),
        probe::relay(config),
        partners::push(config),
        partners::partners(config),
    );
    let mut findings = vec![local::data_dir(config), database];
    findings.extend(local::address(config));
    findings.extend(forwarded_for);
    findings.push(local::descriptors(config));
    findings.push(bus);
    findings.extend(relay);
    findings.extend(push);
    findings.extend(partners);
    findings
}
