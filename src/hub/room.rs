//! One room at work: a task that takes requests one after the other, so that a room needs no lock and has one order.

mod call;

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::time::Duration;

use rooms::case::consultation::ConsultationState;
use rooms::command::{Command, Context, Facts, Nothing, PresenceChange};
use rooms::event::{Event, Party, Thread};
use rooms::id::{CallId, CommandId, RoomId, UserId};
use rooms::permission::View;
use rooms::record::{GENESIS, Hash, Record, chain};
use rooms::refusal::Refusal;
use rooms::role::{Actor, Role};
use rooms::signal::{Mark, Presence, Signal};
use rooms::wire::call::CallSignal;
use rooms::wire::server::{ErrorFrame, ServerFrame};
use rooms::wire::snapshot::Snapshot;
use tokio::sync::{mpsc, oneshot};
use tokio::time::{Instant, timeout};
use uuid::Uuid;

use super::connection::Connection;
use super::desk::Desk;
use super::members::{Members, Sent};
use super::outbox::Out;
use super::presence::Presences;
use super::{Done, Inner, Submission, SubmitError, command_hash};
use crate::store::StoreError;
use crate::store::events::{Append, Appended, Sealed};

/// Requests that may wait for one room. A full inbox answers `unavailable`.
pub const INBOX: usize = 256;
/// How long a room without listeners stays in memory.
const IDLE: Duration = Duration::from_secs(30);
/// How often the right of readers to be here is looked at when it can end by the clock alone.
const RECHECK: Duration = Duration::from_millis(500);
/// How long a commit may take before its outcome counts as unknown.
const COMMIT_TIMEOUT: Duration = Duration::from_secs(10);
/// How often a command is decided again after another node was faster.
const MAX_CONFLICTS: usize = 100;
/// Answered commands that are remembered here; older ones are looked up in the store.
const RECENT: usize = 32;
/// Events read from the store at a time.
const PAGE: u32 = 512;

/// Where the answer to a command goes.
pub enum ReplyTo {
    Caller(oneshot::Sender<Result<Done, SubmitError>>),
    /// As an `ack` or `error` frame, behind the command's own events.
    Connection(Arc<Connection>),
    /// Nobody waits: the hub's own commands.
    Nobody,
}

/// What can be asked of a room's task.
pub enum Request {
    Submit { submission: Submission, reply: ReplyTo },
    Look { actor: Actor, reply: oneshot::Sender<Result<Look, SubmitError>> },
    Attach { connection: Arc<Connection>, cursor: u64, reply: oneshot::Sender<Result<Attach, SubmitError>> },
    Detach { connection: Uuid },
    Signal { actor: Actor, from: Option<Uuid>, signal: Signal },
    Call { connection: Arc<Connection>, call: CallId, signal: Box<CallSignal> },
    Mark { actor: Actor, from: Option<Uuid>, mark: Mark },
}

/// A room as one actor sees it.
#[derive(Debug)]
pub struct Look {
    pub view: View,
    /// The last event visible to that view.
    pub head: u64,
    pub snapshot: Snapshot,
}

/// The answer to a reader who wants to listen.
#[derive(Debug)]
pub enum Attach {
    /// The reader is listening. `missing` is what lies between its cursor and now.
    Live { look: Box<Look>, missing: Vec<Sent>, head: Arc<AtomicU64> },
    /// The reader must read the store up to `look.head` first, then ask again.
    Behind { look: Box<Look> },
}

struct Answered {
    sender: UserId,
    id: CommandId,
    hash: Hash,
    done: Done,
}

struct Loaded {
    room: rooms::room::Room,
    hash: Hash,
}

/// The task's own data.
pub struct RoomTask {
    id: RoomId,
    hub: Arc<Inner>,
    /// Absent before the first request, and after a commit whose outcome is unknown.
    loaded: Option<Loaded>,
    recent: VecDeque<Answered>,
    members: Members,
    presences: Presences,
    marks: BTreeMap<UserId, Mark>,
    /// Who is attached to the call that goes on.
    desk: Option<Box<Desk>>,
    /// Whether an administrator listens, whose right to do so ends by the clock.
    is_opened: bool,
}

impl RoomTask {
    pub fn new(id: RoomId, hub: Arc<Inner>) -> Self {
        Self {
            id,
            hub,
            loaded: None,
            recent: VecDeque::new(),
            members: Members::default(),
            presences: Presences::default(),
            marks: BTreeMap::new(),
            desk: None,
            is_opened: false,
        }
    }

    /// Works until nobody listens, nobody is expected back and nothing was asked for a while.
    pub async fn run(mut self, mut inbox: mpsc::Receiver<Request>) {
        loop {
            let idle = Instant::now() + if self.is_opened { RECHECK } else { IDLE };
            let wake = self.presences.next().map_or(idle, |next| next.min(idle));
            tokio::select! {
                request = inbox.recv() => match request {
                    Some(request) => self.handle(request).await,
                    None => return,
                },
                () = tokio::time::sleep_until(wake) => {
                    self.drop_absent().await;
                    self.put_out_unfit();
                    if self.members.is_empty() && self.presences.is_empty() && self.hub.retire(self.id, &inbox) {
                        return;
                    }
                }
            }
        }
    }

    async fn handle(&mut self, request: Request) {
        match request {
            Request::Submit { submission, reply } => {
                let result = self.submit(&submission).await;
                answer(&submission, reply, result);
            }
            Request::Look { actor, reply } => {
                let result = self.look(&actor).await;
                // Whoever asked may have gone; then nobody needs the answer.
                let _ = reply.send(result);
            }
            Request::Attach { connection, cursor, reply } => {
                let result = self.attach(&connection, cursor).await;
                if let Err(Ok(Attach::Live { .. })) = reply.send(result) {
                    self.detach(connection.id);
                }
            }
            Request::Detach { connection } => self.detach(connection),
            Request::Signal { actor, from, signal } => self.signal(&actor, from, signal),
            Request::Call { connection, call, signal } => self.call_signal(&connection, call, *signal).await,
            Request::Mark { actor, from, mark } => self.mark(&actor, from, mark),
        }
    }

    // --- commands ---

    async fn submit(&mut self, submission: &Submission) -> Result<Done, SubmitError> {
        let hash = command_hash(&submission.command);
        if let Some(done) = self.answered(submission, &hash) {
            return done;
        }
        self.load().await?;
        let facts = self.hub.facts(submission.command.needs()).await?;
        for _ in 0..MAX_CONFLICTS {
            let events = match self.decide(submission, &facts) {
                Ok(events) => events,
                Err(refusal) => return self.earlier(submission, &hash).await?.unwrap_or(Err(refusal)),
            };
            if events.is_empty() {
                let head = self.room()?.head();
                return Ok(Done { first: head, last: head });
            }
            let append = self.seal(submission, hash, events)?;
            let records = append.records.clone();
            match self.commit(append).await? {
                Appended::Committed => return Ok(self.committed(submission, hash, &records)),
                Appended::Conflict => self.catch_up().await?,
                Appended::Duplicate { first, last, same_body } => {
                    // Sent again after a restart, it is behind the head; from another node, it may be ahead.
                    if last > self.room()?.head() {
                        self.catch_up().await?;
                    }
                    return if same_body { Ok(Done { first, last }) } else { Err(SubmitError::IdConflict) };
                }
                Appended::SlotTaken => return Err(Refusal::SlotTaken.into()),
                Appended::Rejected => return Err(SubmitError::Unavailable),
            }
        }
        Err(SubmitError::Unavailable)
    }

    /// The answer this command got before, as far as it is remembered here.
    fn answered(&self, submission: &Submission, hash: &Hash) -> Option<Result<Done, SubmitError>> {
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
    ) -> Result<Option<Result<Done, SubmitError>>, SubmitError> {
        let Some(sender) = submission.actor.user() else { return Ok(None) };
        let found = self.hub.store.find_command(self.id, sender, submission.id).await?;
        Ok(found.map(|found| {
            if found.hash == *hash {
                Ok(Done { first: found.first, last: found.last })
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
        let (after, wake_at) = if projects {
            let mut room = loaded.room.clone();
            for sealed in &records {
                room.apply(&sealed.record);
            }
            (Some(Box::new(room.snapshot(&View::Care))), room.wake_at())
        } else {
            (None, None)
        };
        Ok(Append {
            room: self.id,
            records,
            sender,
            command: sender.map(|_| submission.id),
            command_hash,
            after,
            wake_at,
        })
    }

    async fn commit(&mut self, append: Append) -> Result<Appended, SubmitError> {
        match timeout(COMMIT_TIMEOUT, self.hub.appender.append(append)).await {
            Ok(Ok(appended)) => Ok(appended),
            Ok(Err(_)) | Err(_) => {
                // The outcome is unknown: what is in memory may be behind the log, so it is read anew.
                self.loaded = None;
                Err(SubmitError::Unavailable)
            }
        }
    }

    fn committed(&mut self, submission: &Submission, hash: Hash, records: &[Sealed]) -> Done {
        for sealed in records {
            self.take_in(sealed);
        }
        let done = Done {
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
            self.touch_feeds();
            self.put_out_unfit();
            self.tidy_desk();
        }
        done
    }

    /// Ends the listening of those whose part in the case is over.
    fn put_out_unfit(&mut self) {
        let Some(loaded) = &self.loaded else { return };
        let now = self.hub.clock.now();
        for connection in self.members.unfit(|connection| loaded.room.view_of(&connection.actor, now)) {
            connection.outbox.push(Out::Left(self.id));
            self.detach(connection.id);
        }
        self.is_opened = self.members.connections().any(|connection| connection.actor.role() == Role::Admin);
    }

    /// Applies a committed event and tells everybody who listens.
    fn take_in(&mut self, sealed: &Sealed) {
        if let Some(loaded) = &mut self.loaded {
            loaded.room.apply(&sealed.record);
            loaded.hash = sealed.hash;
        }
        self.members.publish(self.id, sealed.seq, &sealed.record.event, &sealed.canonical);
    }

    fn touch_feeds(&self) {
        let Some(loaded) = &self.loaded else { return };
        self.hub.feeds.touch_room(&loaded.room.snapshot(&View::Care));
    }

    // --- state ---

    fn room(&self) -> Result<&rooms::room::Room, SubmitError> {
        self.loaded.as_ref().map(|loaded| &loaded.room).ok_or(SubmitError::Unavailable)
    }

    /// Reads the room from the store, if it is not in memory.
    async fn load(&mut self) -> Result<(), SubmitError> {
        if self.loaded.is_some() {
            return Ok(());
        }
        let mut loaded = Loaded { room: rooms::room::Room::new(self.id), hash: GENESIS };
        while self.read_on(&mut loaded, |_| {}).await? {}
        self.marks = self.hub.store.marks(self.id).await?;
        self.loaded = Some(loaded);
        self.expect_parties();
        Ok(())
    }

    /// Applies the next page of the store's log; false at its end.
    async fn read_on(&self, loaded: &mut Loaded, mut seen: impl FnMut(&Sealed)) -> Result<bool, SubmitError> {
        let page = self.hub.store.events_after(self.id, loaded.room.head(), PAGE).await?;
        let more = page.len() == PAGE as usize;
        for stored in page {
            let record: Record = serde_json::from_str(&stored.canonical).map_err(|error| {
                tracing::error!(room = %self.id, seq = stored.seq, kind = ?error.classify(), "a stored record cannot be read");
                SubmitError::Unavailable
            })?;
            let sealed = Sealed {
                seq: stored.seq,
                canonical: stored.canonical.into(),
                hash: stored.hash,
                record: Arc::new(record),
            };
            loaded.room.apply(&sealed.record);
            loaded.hash = sealed.hash;
            seen(&sealed);
        }
        Ok(more)
    }

    /// Takes in what another node appended.
    async fn catch_up(&mut self) -> Result<(), SubmitError> {
        let Some(mut loaded) = self.loaded.take() else { return self.load().await };
        let mut news = Vec::new();
        while self.read_on(&mut loaded, |sealed| news.push(sealed.clone())).await? {}
        if news.is_empty() {
            // Nobody was first, and yet there is no place behind the head: the store was put back to an older copy.
            tracing::error!(room = %self.id, head = loaded.room.head(), "the room in memory is not the stored one");
            return self.load().await;
        }
        self.loaded = Some(loaded);
        for sealed in &news {
            self.members.publish(self.id, sealed.seq, &sealed.record.event, &sealed.canonical);
        }
        self.put_out_unfit();
        self.tidy_desk();
        Ok(())
    }

    // --- readers ---

    async fn look(&mut self, actor: &Actor) -> Result<Look, SubmitError> {
        self.load().await?;
        let room = self.room()?;
        let view = match room.view_of(actor, self.hub.clock.now()) {
            Some(view) if room.head() > 0 => view,
            _ => return Err(SubmitError::NotFound),
        };
        let mut snapshot = room.snapshot(&view);
        snapshot.presence = self.presences.present().map(|user| Presence { user, here: true }).collect();
        snapshot.marks = match view {
            View::Care => self.marks.clone(),
            View::Pharmacy(_) | View::Courier(_) => {
                self.marks.iter().filter(|(user, _)| Some(**user) == actor.user()).map(|(u, m)| (*u, *m)).collect()
            }
        };
        Ok(Look { head: room.visible_head(&view), view, snapshot })
    }

    async fn attach(&mut self, connection: &Arc<Connection>, cursor: u64) -> Result<Attach, SubmitError> {
        let mut look = Box::new(self.look(&connection.actor).await?);
        if cursor > look.head {
            let why = "is beyond the room's last event; join with 0";
            return Err(Refusal::Invalid { field: "after", why }.into());
        }
        let Some((missing, head)) = self.members.attach(connection, look.view, look.head, cursor) else {
            return Ok(Attach::Behind { look });
        };
        if self.presences.came(connection.user) {
            look.snapshot.presence.push(Presence { user: connection.user, here: true });
            self.relay_presence(connection.user, true, Some(connection.id));
        }
        self.is_opened |= connection.actor.role() == Role::Admin;
        self.party_changed(connection.user, true).await;
        Ok(Attach::Live { look, missing, head })
    }

    fn detach(&mut self, connection: Uuid) {
        self.leave_desk(connection);
        let user = self.members.connections().find(|member| member.id == connection).map(|member| member.user);
        if self.members.detach(connection)
            && let Some(user) = user
        {
            self.leave(user);
        }
    }

    /// Starts the grace time, unless another connection of the person listens.
    fn leave(&mut self, user: UserId) {
        if !self.members.has(user) {
            self.presences.went(user, Instant::now());
        }
    }

    // --- signals ---

    fn signal(&mut self, actor: &Actor, from: Option<Uuid>, signal: Signal) {
        let (Ok(room), Some(user)) = (self.room(), actor.user()) else { return };
        let Some(view) = room.view_of(actor, self.hub.clock.now()) else { return };
        let Signal::Typing(typing) = &signal;
        let thread = typing.thread;
        if reads_thread(&view, thread) {
            let frame = ServerFrame::Signal { room: self.id, from: user, signal };
            self.members.relay(&frame, from, |view| reads_thread(view, thread));
        }
    }

    fn mark(&mut self, actor: &Actor, from: Option<Uuid>, mark: Mark) {
        let (Ok(room), Some(user)) = (self.room(), actor.user()) else { return };
        let Some(view) = room.view_of(actor, self.hub.clock.now()) else { return };
        let head = room.visible_head(&view);
        let old = self.marks.get(&user).copied().unwrap_or_default();
        let seen = old.seen.max(mark.seen.min(head));
        let new = Mark { delivered: old.delivered.max(mark.delivered.min(head)).max(seen), seen };
        if new != old {
            self.marks.insert(user, new);
            self.hub.marks.save(self.id, user, new);
            let frame = ServerFrame::Mark { room: self.id, user, mark: new };
            self.members.relay(&frame, from, |other| *other == View::Care || *other == view);
        }
    }

    fn relay_presence(&self, user: UserId, here: bool, except: Option<Uuid>) {
        let frame = ServerFrame::Presence { room: self.id, presence: Presence { user, here } };
        self.members.relay(&frame, except, |_| true);
    }

    /// Tells the others about those whose grace time is over.
    async fn drop_absent(&mut self) {
        for user in self.presences.gone(Instant::now()) {
            self.relay_presence(user, false, None);
            self.party_changed(user, false).await;
        }
    }

    /// After a restart of the hub during a talk, both sides are expected back within the grace time.
    fn expect_parties(&mut self) {
        let Some(loaded) = &self.loaded else { return };
        if loaded.room.head() == 0 {
            return;
        }
        let Some(talk) = Talk::of(&loaded.room) else { return };
        if talk.state == ConsultationState::InProgress {
            for user in [talk.patient, talk.doctor] {
                if !self.presences.present().any(|present| present == user) {
                    self.presences.went(user, Instant::now());
                }
            }
        }
    }

    /// Tells the case that a side of a running talk is gone or back.
    async fn party_changed(&mut self, user: UserId, here: bool) {
        let Some(loaded) = &self.loaded else { return };
        let Some(talk) = Talk::of(&loaded.room) else { return };
        let Some(party) = talk.party(user) else { return };
        let matters = match talk.state {
            ConsultationState::InProgress => !here,
            ConsultationState::Interrupted => here,
            _ => false,
        };
        if matters {
            self.system(Command::Presence(PresenceChange { party, here })).await;
        }
    }

    /// Submits a command of the hub itself; a refusal means that the case has moved on meanwhile.
    async fn system(&mut self, command: Command) {
        let submission = Submission {
            room: self.id,
            actor: Actor::System,
            id: CommandId(self.hub.clock.fresh_id()),
            command,
            expect: None,
        };
        if let Err(error) = Box::pin(self.submit(&submission)).await {
            tracing::debug!(room = %self.id, code = error.code().as_str(), "a command of the hub itself was not taken");
        }
    }
}

/// The two sides of a consultation, and where it stands.
struct Talk {
    patient: UserId,
    doctor: UserId,
    state: ConsultationState,
}

impl Talk {
    fn of(room: &rooms::room::Room) -> Option<Self> {
        let snapshot = room.snapshot(&View::Care);
        let state = snapshot.consultation?.state;
        Some(Self { patient: snapshot.patient.id, doctor: snapshot.doctor?.id, state })
    }

    fn party(&self, user: UserId) -> Option<Party> {
        if user == self.patient { Some(Party::Patient) } else { (user == self.doctor).then_some(Party::Doctor) }
    }
}

/// The command that the room's timer submits.
pub fn timer_command() -> Command {
    Command::Timer(Nothing {})
}

fn reads_thread(view: &View, thread: Thread) -> bool {
    match (view, thread) {
        (View::Care, _) => true,
        (View::Pharmacy(own), Thread::Pharmacy(of)) => *own == of,
        (View::Pharmacy(_), Thread::Care) | (View::Courier(_), _) => false,
    }
}

fn answer(submission: &Submission, reply: ReplyTo, result: Result<Done, SubmitError>) {
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

impl From<StoreError> for SubmitError {
    fn from(error: StoreError) -> Self {
        tracing::warn!(%error, "the store did not answer as expected");
        SubmitError::Unavailable
    }
}
