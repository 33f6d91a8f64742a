//! Decisions about access to the record: exports and break-glass.

use std::time::Duration;

use super::Case;
use super::subject::Asker;
use crate::command::{Context, Purpose, Reason};
use crate::event::{Event, Exported, RecordOpened};
use crate::refusal::Refusal;
use crate::role::Role;

/// How long break-glass access lasts.
pub const BREAK_GLASS_DURATION: Duration = Duration::from_secs(15 * 60);

impl Case {
    pub(super) fn export(export: &Purpose, asker: &Asker) -> Result<Vec<Event>, Refusal> {
        if asker.role == Role::Admin && export.purpose.is_none() {
            return Err(Refusal::Invalid { field: "purpose", why: "is required of administrators" });
        }
        Ok(vec![Event::Exported(Exported { purpose: export.purpose.clone().map(Into::into) })])
    }

    pub(super) fn open_record(why: &Reason, context: &Context<'_>) -> Result<Vec<Event>, Refusal> {
        let by = context.actor.user().ok_or(Refusal::Forbidden)?;
        let until = context.now.plus(BREAK_GLASS_DURATION);
        Ok(vec![Event::RecordOpened(RecordOpened { by, reason: why.reason.clone().into(), until })])
    }
}
