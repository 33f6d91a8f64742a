//! `wardroom doctor`: whether the settings are right for what they are meant for, and whether all they name answers.
//!
//! It changes nothing: no table is brought up to date and no key is made. What is wrong comes with its remedy.

mod here;
mod partners;
mod probe;

use std::process::ExitCode;

use crate::config::Config;

/// How a check went.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Grade {
    Ok,
    /// It works, but not as people would expect of a hub that others use.
    Warn,
    /// Something will not work.
    Bad,
}

/// What a check found.
#[derive(Debug)]
pub struct Finding {
    pub grade: Grade,
    /// The setting, or what the check is about.
    pub about: &'static str,
    /// What there is, and what to do about it.
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

/// Checks and prints, one line each. Fails if anything is bad.
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
    println!("\n{} checks: {} bad, {} to think about.", findings.len(), count(Grade::Bad), count(Grade::Warn));
    if count(Grade::Bad) == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

/// All checks; those that wait for somebody run side by side.
pub async fn check(config: &Config) -> Vec<Finding> {
    let (database, bus, relay, push, partners) = tokio::join!(
        here::database(config),
        here::bus(config),
        probe::relay(config),
        partners::push(config),
        partners::partners(config),
    );
    let mut findings = vec![here::data_dir(config), database];
    findings.extend(here::address(config));
    findings.push(here::descriptors(config));
    findings.push(bus);
    findings.extend(relay);
    findings.extend(push);
    findings.extend(partners);
    findings
}
