//! Resumption: whatever breaks, each member ends with every event once and in order, and each acknowledged command is
//! in the log exactly once.
//!
//! Many clients break their connections at random while all of them write, and the hub is killed now and then. The
//! seed is printed; `WARDROOM_TEST_SEED` repeats its choices, though not the machine's timing.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use loadtest::client::{Client, ClientError, Stalled};
use loadtest::delivery_check::EventOrder;
use loadtest::fixture::{Fixture, FixtureMember, FixtureRoom};
use loadtest::frame::FrameSummary;
use loadtest::target::Target;
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use rooms::command::{Chat, Command};
use rooms::id::{CommandId, RoomId};
use rooms::party::Thread;
use rooms::permission::{View, sees};
use rooms::record::Record;
use rooms::role::{Actor, Role};
use rooms::text::{Prose, Text};
use rooms::wire::client::Token;
use tokio::sync::{Notify, watch};
use tokio::task::JoinSet;
use tokio::time::{Instant, timeout, timeout_at};
use wardroom::auth::Auth;
use wardroom::bus::Bus;
use wardroom::clock::Clock;
use wardroom::config::DatabaseSettings;
use wardroom::store::Store;

use crate::support::both;
use crate::support::hub_process::HubProcess;

/// Connection breaks over all members; more if a slow machine has produced too few commands by then.
const CYCLE_COUNT: usize = 1_000;
/// Commands sent during the breaks over all members; more on a fast machine.
const MIN_COMMANDS: usize = CYCLE_COUNT / 2 + 1;
/// How many of the breaks are kills of the hub, which disconnect everybody.
const KILL_COUNT: usize = 15;
const ROOM_COUNT: usize = 6;
/// A member pauses at this many unanswered commands.
const MAX_IN_FLIGHT: usize = 8;
/// How long to wait before repeating commands with a retryable error.
const RETRY_DELAY: Duration = Duration::from_secs(1);
/// How long the whole test may take.
const TEST_TIMEOUT: Duration = Duration::from_secs(240);

/// State shared by all members.
struct SharedState {
    auth: Auth,
    /// Completed cycles.
    cycles: AtomicUsize,
    /// Commands sent.
    commands: AtomicUsize,
    progress: Notify,
    /// The generation of the hub; odd while it is down.
    generation: watch::Receiver<u64>,
}

/// One member and the results of its commands.
struct Member {
    room: FixtureRoom,
    who: FixtureMember,
    client: Client,
    random: StdRng,
    /// A connection that the hub still considers alive.
    stalled: Option<Stalled>,
    /// Delivered events in order of arrival.
    delivered: Vec<u64>,
    /// Whether the replay on this connection is complete.
    is_live: bool,
    live_events: usize,
    sent: Vec<CommandId>,
    acked: BTreeMap<CommandId, (u64, u64)>,
    /// Commands with a retryable error.
    retries: Vec<CommandId>,
}

impl Member {
    fn record(&mut self, heard: &loadtest::client::ReceivedFrame) {
        match &heard.summary {
            FrameSummary::Live { .. } => self.is_live = true,
            FrameSummary::Event { seq, .. } if heard.order == Some(EventOrder::Next) => {
                self.delivered.push(*seq);
                self.live_events += usize::from(self.is_live);
            }
            FrameSummary::Ack { id, first, last, .. } => {
                let before = self.acked.insert(*id, (*first, *last));
                assert!(
                    before.is_none_or(|before| before == (*first, *last)),
                    "a repeated acknowledgement is the same"
                );
            }
            FrameSummary::Error(error) => match error.id {
                Some(id) if error.retryable => self.retries.push(id),
                _ => panic!("{}", heard.text),
            },
            _ => {}
        }
    }

    /// Connects once the hub is up.
    async fn connect(&mut self, shared: &SharedState) {
        let mut generation = shared.generation.clone();
        self.is_live = false;
        loop {
            let now = *generation.wait_for(|generation| generation % 2 == 0).await.expect("the test is still running");
            match self.client.connect().await {
                Ok(_) => return,
                Err(error @ (ClientError::Frame(_) | ClientError::Protocol(_) | ClientError::Refused(_))) => {
                    panic!("{error}")
                }
                // The hub was killed between the check and the connection.
                Err(_) => {
                    let _ =
                        timeout(Duration::from_millis(200), generation.wait_for(|generation| *generation != now)).await;
                }
            }
        }
    }

    /// Reads for a while, or until the connection ends.
    async fn read_for(&mut self, period: Duration) {
        let end = Instant::now() + period;
        while let Ok(heard) = timeout_at(end, self.client.next()).await {
            match heard {
                Ok(heard) => self.record(&heard),
                Err(ClientError::Closed { .. } | ClientError::NotConnected | ClientError::Open(_)) => return,
                Err(error) => panic!("{error}"),
            }
        }
    }

    /// Reads until the replay is complete, or until the connection ends.
    async fn read_until_live(&mut self) {
        let end = Instant::now() + TEST_TIMEOUT;
        while !self.is_live && Instant::now() < end && self.client.is_connected() {
            self.read_for(Duration::from_millis(10)).await;
        }
    }

    /// Sends some commands and returns how many.
    fn send_commands(&mut self) -> usize {
        for id in std::mem::take(&mut self.retries) {
            self.client.send_again(id);
        }
        // Pages do the same: a connection that breaks constantly must not pile up repeats.
        if self.client.unanswered().len() >= MAX_IN_FLIGHT {
            return 0;
        }
        let count = self.random.random_range(0..4);
        for _ in 0..count {
            let care = self.who.role != Role::Pharmacist && self.random.random_bool(0.5);
            let thread = if care { Thread::Care } else { Thread::Pharmacy(self.room.pharmacy) };
            let text = Prose::parse(&format!("{} {}", self.who.role.as_str(), self.sent.len())).unwrap();
            let id = self.client.send(self.room.room, Command::Chat(Chat { text, thread }));
            self.sent.push(id);
            // The client may send a command twice, too.
            if self.random.random_bool(0.1) {
                self.client.send_again(id);
            }
        }
        count
    }

    fn actor(&self) -> Actor {
        let pharmacy = (self.who.role == Role::Pharmacist).then_some(self.room.pharmacy);
        Actor::Person { id: self.who.user, role: self.who.role, name: Text::stored("X").unwrap(), pharmacy }
    }

    /// Breaks the connection once, with commands in flight.
    async fn cycle(&mut self, shared: &SharedState) {
        shared.commands.fetch_add(self.send_commands(), Ordering::Relaxed);
        match self.random.random_range(0..4) {
            // Cut at an arbitrary moment, in a replay or in live delivery.
            0 => {
                if self.random.random_bool(0.5) {
                    self.read_until_live().await;
                }
                let a_while = Duration::from_millis(self.random.random_range(0..600));
                self.read_for(a_while).await;
                self.client.cut();
            }
            // The network fails, and the hub does not notice.
            1 => {
                let a_while = Duration::from_millis(self.random.random_range(0..600));
                self.read_for(a_while).await;
                self.stalled = self.client.half_open();
            }
            // A connection on which the client reads nothing but the welcome.
            2 => {
                self.client.cut();
                self.connect(shared).await;
                self.client.cut();
            }
            // Renew the token on the open socket.
            _ => {
                let token = shared.auth.token_for_test(&self.actor(), Duration::from_secs(1800));
                self.client.set_token(Token(token));
                self.read_until_live().await;
                let a_while = Duration::from_millis(self.random.random_range(20..600));
                self.read_for(a_while).await;
            }
        }
        if !self.client.is_connected() {
            self.connect(shared).await;
        }
    }

    /// Breaks its share of connections until all members together have made enough.
    async fn run(mut self, shared: Arc<SharedState>) -> Self {
        self.connect(&shared).await;
        self.client.request_join(self.room.room);
        self.read_for(Duration::from_millis(50)).await;
        while shared.cycles.load(Ordering::Relaxed) < CYCLE_COUNT
            || shared.commands.load(Ordering::Relaxed) < MIN_COMMANDS
        {
            self.cycle(&shared).await;
            shared.cycles.fetch_add(1, Ordering::Relaxed);
            shared.progress.notify_one();
        }
        self
    }

    /// Reads from one stable connection until a condition holds.
    async fn read_until(&mut self, is_done: impl Fn(&Self) -> bool) {
        while !is_done(self) {
            match timeout(RETRY_DELAY, self.client.next()).await {
                Ok(heard) => self.record(&heard.expect("the hub process is kept")),
                Err(_) => {
                    for id in std::mem::take(&mut self.retries) {
                        self.client.send_again(id);
                    }
                }
            }
        }
    }
}

async fn resume_delivers_each_missed_event_once_and_in_order(database: DatabaseSettings) {
    let seed = std::env::var("WARDROOM_TEST_SEED").ok().and_then(|text| text.parse().ok());
    let seed: u64 = seed.unwrap_or_else(|| rand::rng().random());
    eprintln!("WARDROOM_TEST_SEED={seed}");
    let mut random = StdRng::seed_from_u64(seed);

    let mut hub = HubProcess::new("serve", &database);
    let file = hub.data().join("fixture.json");
    let (seeded, said) = hub.run(&["seed", "--rooms", &ROOM_COUNT.to_string(), "--out", file.to_str().unwrap()]);
    assert!(seeded, "{said}");
    let clock = Clock::system();
    let fixture = Fixture::read(&file, clock.now()).unwrap().take(ROOM_COUNT, 3).unwrap();
    let store = Store::connect(&database).await.unwrap();
    let auth = Auth::open(&hub.config(), store.clone(), Bus::Local, clock).await.unwrap();
    let target = Target::new(hub.start()).unwrap();

    let (generation, receiver) = watch::channel(0);
    let shared = Arc::new(SharedState {
        auth,
        cycles: AtomicUsize::new(0),
        commands: AtomicUsize::new(0),
        progress: Notify::new(),
        generation: receiver,
    });
    let mut members = JoinSet::new();
    for room in fixture {
        for who in room.members.clone() {
            let member = Member {
                client: Client::new(target, who.token.clone()),
                random: StdRng::seed_from_u64(random.random()),
                room: room.clone(),
                who,
                stalled: None,
                delivered: Vec::new(),
                is_live: false,
                live_events: 0,
                sent: Vec::new(),
                acked: BTreeMap::new(),
                retries: Vec::new(),
            };
            members.spawn(member.run(Arc::clone(&shared)));
        }
    }
    let started = Instant::now();
    for kill in 1..=KILL_COUNT {
        let due = kill * CYCLE_COUNT / (KILL_COUNT + 1);
        let reached = async {
            while shared.cycles.load(Ordering::Relaxed) < due {
                shared.progress.notified().await;
            }
        };
        tokio::select! {
            () = reached => {}
            Some(ended) = members.join_next() => panic!("a member ended early: {:?}", ended.err()),
            () = tokio::time::sleep(TEST_TIMEOUT) => panic!("no progress"),
        }
        generation.send_modify(|generation| *generation += 1);
        hub.kill();
        tokio::task::block_in_place(|| hub.start());
        generation.send_modify(|generation| *generation += 1);
    }
    let all = timeout(TEST_TIMEOUT, members.join_all()).await.expect("all members finish");
    let after = started.elapsed();

    // First all commands take effect; then everybody must have received all events.
    let mut answered = JoinSet::new();
    for mut member in all {
        let shared = Arc::clone(&shared);
        answered.spawn(async move {
            member.connect(&shared).await;
            member.read_until(|it| it.client.unanswered().len() == 0).await;
            member
        });
    }
    let all = timeout(TEST_TIMEOUT, answered.join_all()).await.expect("every command is answered");
    let (mut events, mut live_events, mut commands) = (0, 0, 0);
    for mut member in all {
        let records = log(&store, member.room.room).await;
        let view = match member.who.role {
            Role::Pharmacist => View::Pharmacy(member.room.pharmacy),
            _ => View::Care,
        };
        let visible: Vec<u64> = records.iter().filter(|it| sees(&view, it.seq, &it.event)).map(|it| it.seq).collect();
        let head = *visible.last().expect("a room has events");
        let all_came = member.read_until(|it| it.delivered.last() == Some(&head));
        timeout(TEST_TIMEOUT, all_came).await.expect("every event arrives");
        assert_eq!(member.delivered, visible, "each event once, in order, without gaps");
        let check = member.client.delivery_check(member.room.room).unwrap();
        assert_eq!((check.repeated(), check.out_of_order(), check.gaps()), (0, 0, 0));
        assert_eq!(member.acked.len(), member.sent.len(), "every command is acknowledged");
        for id in &member.sent {
            let places: Vec<u64> = records.iter().filter(|it| it.command == Some(*id)).map(|it| it.seq).collect();
            let (first, last) = member.acked[id];
            assert_eq!(
                (places.as_slice(), first),
                ([last].as_slice(), last),
                "an acknowledged command is in the log once"
            );
        }
        events += visible.len();
        live_events += member.live_events;
        commands += member.sent.len();
    }
    assert!(commands >= MIN_COMMANDS, "commands were in flight");
    assert!(
        live_events > events / 4 && live_events < events * 9 / 10,
        "{live_events} of {events} events arrived live, the others by replay"
    );
    let (whole, said) = hub.run(&["verify", "--database"]);
    assert!(whole, "{said}");
    eprintln!(
        "{CYCLE_COUNT} cycles, {KILL_COUNT} kills, {commands} commands, {events} events read, {live_events} of them live, {after:.1?}"
    );
}

async fn log(store: &Store, room: RoomId) -> Vec<Record> {
    let stored = store.events_after(room, 0, 20_000).await.unwrap();
    stored.iter().map(|it| serde_json::from_str(&it.canonical).expect("a record")).collect()
}

both! { resume_delivers_each_missed_event_once_and_in_order }
