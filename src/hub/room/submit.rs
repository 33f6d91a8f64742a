//! How a room takes a command: decided, sealed, committed, told.

use std::sync::Arc;
use std::time::Duration;

use rooms::command::{Command, Context, Facts};
use rooms::event::Event;
use rooms::permission::View;
use rooms::record::{Hash, Record, chain};
use rooms::refusal::Refusal;
use rooms::role::Role;
use rooms::wire::server::{ErrorFrame, ServerFrame};
use tokio::time::{Instant, timeout};

use super::{Answered, ReplyTo, RoomTask};
use crate::hub::feeds::{FeedKey, concerned};
use crate::hub::nodes::message::What;
use crate::hub::{Committed, Submission, SubmitError, command_hash};
use crate::store::StoreError;
use crate::store::events::{Append, Appended, Sealed};
use crate::telemetry::COMMAND_TRACE;
use crate::telemetry::metrics::METRICS;

/// How long a commit may take before its outcome counts as unknown.
const COMMIT_TIMEOUT: Duration = Duration::from_secs(10);
/// How often a command is decided again after another node was faster.
const MAX_CONFLICTS: usize = 100;
/// Answered commands that are remembered here; older ones are looked up in the store.
const RECENT: usize = 32;

impl RoomTask {
    pub(super) async fn submit(&mut self, submission: &Submission) -> Result<Committed, SubmitError> {
        let hash = command_hash(&submission.command);
        if let Some(done) = self.answered(submission, &hash) {
            return done;
        }
        self.load().await?;
        let facts = self.hub.facts(submission.command.needs()).await?;
        for _ in 0..MAX_CONFLICTS {
            let decided = self.decide(submission, &facts);
            let changes = decided.as_ref().is_ok_and(|events| !events.is_empty());
            // Nothing is compared with the store when nothing is appended; another node may have changed what this
            // follows from.
            if !changes && self.hub.bus.is_shared() && self.refresh().await? {
                continue;
            }
            let events = match decided {
                Ok(events) => events,
                Err(refusal) => return self.earlier(submission, &hash).await?.unwrap_or(Err(refusal)),
            };
            if events.is_empty() {
                let head = self.room()?.head();
                return Ok(Committed { first: head, last: head });
            }
            let append = self.seal(submission, hash, events)?;
            let records = append.records.clone();
            match self.commit(append).await? {
                Appended::Committed => return Ok(self.committed(submission, hash, &records)),
                Appended::Conflict { since } => self.overtaken(since).await?,
                Appended::Duplicate { first, last, same_body } => {
                    // Sent again after a restart, it is behind the head; from another node, it may be ahead.
                    if last > self.room()?.head() {
                        self.catch_up().await?;
                    }
                    return if same_body { Ok(Committed { first, last }) } else { Err(SubmitError::IdConflict) };
                }
                Appended::SlotTaken => return Err(Refusal::SlotTaken.into()),
                Appended::Rejected => return Err(SubmitError::Unavailable),
            }
        }
        Err(SubmitError::Unavailable)
    }

    /// The answer this command got before, as far as it is remembered here.
    fn answered(&self, submission: &Submission, hash: &Hash) -> Option<Result<Committed, SubmitError>> {
        let sender = submission.actor.user()?;
        let known = self.recent.iter().find(|known| known.id == submission.id && known.sender == sender)?;
        Some(if known.hash == *hash { Ok(known.done) } else { Err(SubmitError::IdConflict) })
    }

    /// The answer this command got before, as the log knows it: a repeated command may be refused now just because it
    /// has taken effect.
    async fn earlier(
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
        let room = self.room()?;
        let now = self.hub.clock.now();
        let opens = matches!(submission.command, Command::Request(_));
        let outside = !matches!(submission.actor.role(), Role::System | Role::Admin);
        let stranger = outside && room.view_of(&submission.actor, now).is_none();
        // Whether a room exists is nobody's business who has no part in it.
        if !opens && (room.head() == 0 || stranger) {
            return Err(SubmitError::NotFound);
        }
        let clock = self.hub.clock.clone();
        let mut fresh = || clock.fresh_id();
        let mut context = Context {
            now,
            actor: &submission.actor,
            facts,
            policy: &self.hub.policy,
            expect: submission.expect,
            fresh: &mut fresh,
        };
        Ok(room.decide(&submission.command, &mut context)?)
    }

    /// Makes records of events: numbered, chained, in their canonical form.
    fn seal(&self, submission: &Submission, command_hash: Hash, events: Vec<Event>) -> Result<Append, SubmitError> {
        let loaded = self.loaded.as_ref().ok_or(SubmitError::Unavailable)?;
        let at = self.hub.clock.now();
        let by = submission.actor.by();
        let sender = submission.actor.user();
        let projects = events.iter().any(|event| !matches!(event, Event::ChatSent(_)));
        let mut hash = loaded.hash;
        let mut seq = loaded.room.head();
        let records: Vec<Sealed> = events
            .into_iter()
            .map(|event| {
                seq += 1;
                let command = sender.map(|_| submission.id);
                let record = Record { room: self.id, seq, at, actor: by.clone(), command, event };
                let canonical = record.canonical();
                hash = chain(&hash, &canonical);
                Sealed { seq, canonical: canonical.into(), hash, record: Arc::new(record) }
            })
            .collect();
        let (after, wake_at, parties) = if projects {
            let mut room = loaded.room.clone();
            for sealed in &records {
                room.apply(&sealed.record);
            }
            (Some(Box::new(room.snapshot(&View::Care))), room.wake_at(), room.parties())
        } else {
            (None, None, loaded.room.parties())
        };
        Ok(Append {
            room: self.id,
            records,
            before: loaded.hash,
            sender,
            command: sender.map(|_| submission.id),
            command_hash,
            after,
            wake_at,
            parties,
        })
    }

    async fn commit(&mut self, append: Append) -> Result<Appended, SubmitError> {
        match timeout(COMMIT_TIMEOUT, self.hub.appender.append(append)).await {
            Ok(Ok(appended)) => Ok(appended),
            Ok(Err(StoreError::Full(_))) => Err(SubmitError::StorageFull),
            Ok(Err(_)) | Err(_) => {
                // The outcome is unknown: what is in memory may be behind the log.
                self.stale = true;
                Err(SubmitError::Unavailable)
            }
        }
    }

    fn committed(&mut self, submission: &Submission, hash: Hash, records: &[Sealed]) -> Committed {
        let begin = Instant::now();
        tracing::debug!(target: COMMAND_TRACE, command = %submission.id.0, room = %self.id, events = records.len(), "committed");
        self.tell_events(records);
        for sealed in records {
            self.take_in(sealed);
        }
        METRICS.fan_out.observe_since(begin);
        let done = Committed {
            first: records.first().map_or(0, |sealed| sealed.seq),
            last: records.last().map_or(0, |sealed| sealed.seq),
        };
        if let Some(sender) = submission.actor.user() {
            if self.recent.len() == RECENT {
                self.recent.pop_front();
            }
            self.recent.push_back(Answered { sender, id: submission.id, hash, done });
        }
        if records.iter().any(|sealed| !matches!(sealed.record.event, Event::ChatSent(_))) {
            let feeds = self.touch_feeds();
            self.hub.tell_all(What::Feeds(feeds));
            self.put_out_unfit();
            self.tidy_desk();
        }
        done
    }

    /// Has the feeds read anew that show this room, and says which.
    pub(super) fn touch_feeds(&self) -> Vec<FeedKey> {
        let Some(loaded) = &self.loaded else { return Vec::new() };
        let keys = concerned(&loaded.room.snapshot(&View::Care));
        self.hub.feeds.touch(&keys);
        keys
    }
}

/// Sends the answer of a command where it is waited for.
pub(super) fn answer(submission: &Submission, reply: ReplyTo, result: Result<Committed, SubmitError>) {
    match reply {
        ReplyTo::Caller(caller) => {
            // Whoever asked may have gone; the command stands.
            let _ = caller.send(result);
        }
        ReplyTo::Connection(connection) => {
            connection.end_command();
            connection.send(&match result {
                Ok(done) => {
                    ServerFrame::Ack { id: submission.id, room: submission.room, first: done.first, last: done.last }
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
