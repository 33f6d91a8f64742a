//! Commands: decided, hashed, committed, published. A command that loses the race for its number is decided again.

use std::time::Duration;

use rooms::command::{Command, Context, Facts};
use rooms::event::Event;
use rooms::permission::View;
use rooms::record::Hash;
use rooms::refusal::Refusal;
use rooms::role::Role;
use rooms::wire::server::{ErrorFrame, ServerFrame};
use tokio::time::{Instant, timeout};

use super::ReplyTo;
use super::task::RoomTask;
use crate::hub::cluster::message::ClusterEventKind;
use crate::hub::feeds::{FeedKey, affected_feeds};
use crate::hub::submission::{Committed, Submission, SubmitError, command_hash};
use crate::store::StoreError;
use crate::store::record::{Append, Appended, HashedRecord};
use crate::telemetry::COMMAND_TRACE;
use crate::telemetry::metrics::METRICS;

/// How long a commit may take before its outcome counts as unknown.
const COMMIT_TIMEOUT: Duration = Duration::from_secs(10);
/// How often a command is decided again after another node appended first.
const MAX_CONFLICTS: usize = 100;

impl RoomTask {
    /// Commits a command and publishes its events.
    pub(super) async fn submit(&mut self, submission: &Submission) -> Result<Committed, SubmitError> {
        let hash = command_hash(&submission.command);
        let repeated = submission.actor.user().and_then(|user| self.answered.find(user, submission.id, &hash));
        if let Some(answer) = repeated {
            return answer;
        }
        self.load().await?;
        let facts = self.hub.facts(submission.command.needs()).await?;
        for _ in 0..MAX_CONFLICTS {
            let decided = self.decide(submission, &facts);
            let changes = decided.as_ref().is_ok_and(|events| !events.is_empty());
            // Only an append is checked against the store. Without one, the decision may follow from a state that
            // another node has changed.
            if !changes && self.hub.bus.is_shared() && self.refresh().await? {
                continue;
            }
            let events = match decided {
                Ok(events) => events,
                Err(refusal) => return self.find_answer(submission, &hash).await?.unwrap_or(Err(refusal)),
            };
            if events.is_empty() {
                let head = self.state.room()?.head();
                return Ok(Committed { first: head, last: head });
            }
            let mut append = self.state.hash_chain(submission, hash, events, self.hub.clock.now())?;
            append.booking_limits = Some(self.hub.limits);
            let records = append.records.clone();
            match self.commit(append).await? {
                Appended::Committed => return Ok(self.committed(submission, hash, &records)),
                Appended::Conflict { since } => self.append_lost_race(since).await?,
                Appended::Duplicate { first, last, same_body } => {
                    // A duplicate from another node may be ahead of the room in memory.
                    if last > self.state.room()?.head() {
                        self.catch_up().await?;
                    }
                    return if same_body { Ok(Committed { first, last }) } else { Err(SubmitError::IdConflict) };
                }
                Appended::LimitReached(refusal) => return Err(refusal.into()),
                Appended::SlotTaken => return Err(Refusal::SlotTaken.into()),
                Appended::Rejected => return Err(SubmitError::Unavailable),
            }
        }
        Err(SubmitError::Unavailable)
    }

    /// Finds the first answer to this command in the log: a repeated command may be refused only because it has taken
    /// effect.
    async fn find_answer(
        &self,
        submission: &Submission,
        hash: &Hash,
    ) -> Result<Option<Result<Committed, SubmitError>>, SubmitError> {
        let Some(sender) = submission.actor.user() else { return Ok(None) };
        let found = self.hub.store.find_command(self.id, sender, submission.id).await?;
        Ok(found.map(|found| {
            if found.hash == *hash {
                Ok(Committed { first: found.first, last: found.last })
            } else {
                Err(SubmitError::IdConflict)
            }
        }))
    }

    fn decide(&self, submission: &Submission, facts: &Facts) -> Result<Vec<Event>, SubmitError> {
        let room = self.state.room()?;
        let now = self.hub.clock.now();
        let opens = matches!(submission.command, Command::Request(_));
        let is_person = !matches!(submission.actor.role(), Role::System | Role::Admin);
        let is_stranger = is_person && room.view_of(&submission.actor, now).is_none();
        // Strangers must not learn whether a room exists.
        if !opens && (room.head() == 0 || is_stranger) {
            return Err(SubmitError::NotFound);
        }
        let clock = self.hub.clock.clone();
        let mut fresh = || clock.fresh_id();
        let mut context = Context {
            now,
            actor: &submission.actor,
            facts,
            policy: &self.hub.policy,
            limits: &self.hub.limits,
            expect: submission.expect,
            fresh: &mut fresh,
        };
        Ok(room.decide(&submission.command, &mut context)?)
    }

    async fn commit(&mut self, append: Append) -> Result<Appended, SubmitError> {
        match timeout(COMMIT_TIMEOUT, self.hub.appender.append(append)).await {
            Ok(Ok(appended)) => Ok(appended),
            Ok(Err(StoreError::Full(_))) => Err(SubmitError::StorageFull),
            Ok(Err(_)) | Err(_) => {
                // The outcome is unknown, so the room in memory may be behind the log.
                self.state.set_stale(true);
                Err(SubmitError::Unavailable)
            }
        }
    }

    fn committed(&mut self, submission: &Submission, hash: Hash, records: &[HashedRecord]) -> Committed {
        let started = Instant::now();
        tracing::debug!(
            target: COMMAND_TRACE, command = %submission.id.0, room = %self.id, events = records.len(), "committed"
        );
        self.publish_commit(records);
        for record in records {
            self.apply_committed(record);
        }
        METRICS.fan_out.observe_since(started);
        let committed = Committed {
            first: records.first().map_or(0, |record| record.seq),
            last: records.last().map_or(0, |record| record.seq),
        };
        if let Some(sender) = submission.actor.user() {
            self.answered.remember(sender, submission.id, hash, committed);
        }
        if records.iter().any(|record| !matches!(record.record.event, Event::ChatSent(_))) {
            let feeds = self.invalidate_feeds();
            self.hub.broadcast(ClusterEventKind::FeedsChanged(feeds));
            self.evict_unauthorized();
            self.retain_call_members();
        }
        committed
    }

    /// Invalidates the feeds that show this room, and returns their keys.
    pub(super) fn invalidate_feeds(&self) -> Vec<FeedKey> {
        let Some(room) = self.state.loaded() else { return Vec::new() };
        let keys = affected_feeds(&room.snapshot(&View::Care, self.hub.clock.now()));
        self.hub.feeds.invalidate(&keys);
        keys
    }
}

/// Sends the result of a command to its submitter.
pub(super) fn reply(submission: &Submission, reply: ReplyTo, result: Result<Committed, SubmitError>) {
    match reply {
        ReplyTo::Caller(caller) => {
            // An error means that the caller has given up; the events stay.
            let _ = caller.send(result);
        }
        ReplyTo::Connection(connection) => {
            connection.end_command();
            connection.send(&match result {
                Ok(Committed { first, last }) => {
                    ServerFrame::Ack { id: submission.id, room: submission.room, first, last }
                }
                Err(error) => ServerFrame::Error(ErrorFrame {
                    id: Some(submission.id),
                    room: Some(submission.room),
                    ..error.frame()
                }),
            });
        }
        ReplyTo::Nobody => {}
    }
}
