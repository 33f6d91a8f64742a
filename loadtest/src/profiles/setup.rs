//! Setup shared by the profiles: fixture, meters, and the plan from the common options.

use anyhow::Context;
use loadtest::competitors;
use loadtest::fixture::{Fixture, FixtureRoom};
use loadtest::load::plan::LoadPlan;
use loadtest::load::script::LoadKind;
use loadtest::meter::Meters;
use loadtest::run::Run;
use rooms::time::Timestamp;

use crate::cli::CommonArgs;

/// The rooms that a competitor offers: as many as `--rooms` allows.
const MAX_COMPETITOR_ROOMS: usize = 6_000;

pub fn connect(plan: LoadPlan, common: &CommonArgs) -> anyhow::Result<Run> {
    Run::connect(plan, meters(common)?, common.quiet)
}

pub fn meters(common: &CommonArgs) -> anyhow::Result<Meters> {
    Meters::of(&common.hub_pids).context("cannot read the process of --hub-pid")
}

pub fn fixture(common: &CommonArgs) -> anyhow::Result<Fixture> {
    if common.targets.iter().any(|target| target.competitor().is_some()) {
        return Ok(competitors::fixture(MAX_COMPETITOR_ROOMS));
    }
    let path = common.fixture.as_ref().context("set --fixture to the file that `wardroom seed` wrote")?;
    Ok(Fixture::read(path, Timestamp::new(std::time::SystemTime::now().into()))?)
}

pub fn plan(common: &CommonArgs, rooms: Vec<FixtureRoom>, kind: Option<LoadKind>) -> LoadPlan {
    let workers = common.workers as usize;
    LoadPlan {
        targets: common.targets.clone(),
        rooms,
        devices: 1,
        workers,
        kind,
        bytes: 1,
        copies: 1,
        slow: 0.0,
        seed: common.seed,
    }
}
