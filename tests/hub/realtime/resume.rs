//! Whatever breaks, each member ends with every event once and in order, and each acknowledged command is in the log
//! exactly once.
//!
//! Many clients break their connections at random while all of them write, and the hub is killed now and then. The seed
//! is printed; `WARDROOM_TEST_SEED` repeats its choices, though not the machine's timing.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use loadtest::client::{Client, ClientError, Stalled};
use loadtest::fixture::{Fixture, FixtureMember, FixtureRoom};
use loadtest::frame::Brief;
use loadtest::tally::Order;
use loadtest::target::Target;
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use rooms::command::{Chat, Command};
use rooms::event::Thread;
use rooms::id::{CommandId, RoomId};
use rooms::permission::{View, sees};
use rooms::record::Record;
use rooms::role::{Actor, Role};
use rooms::text::{Line, Prose};
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

/// Breaks of one member's connection, over all members; more on a machine so slow that there are too few commands yet.
const CYCLES: usize = 1_000;
/// Commands that are given meanwhile, over all members; more on a quick machine.
const COMMANDS: usize = CYCLES / 2 + 1;
/// Of these, so many are the hub's own end, which breaks everybody's.
const KILLS: usize = 15;
const ROOMS: usize = 6;
/// Unanswered commands of one member beyond which it writes no more.
const IN_FLIGHT: usize = 8;
/// How long to be silent before sending again what the hub asked for.
const RETRY: Duration = Duration::from_secs(1);
/// How long all of it may take.
const LIMIT: Duration = Duration::from_secs(240);

/// What all members share.
struct Scene {
    auth: Auth,
    /// Cycles that are over.
    cycles: AtomicUsize,
    /// Commands that were given.
    commands: AtomicUsize,
    progress: Notify,
    /// Which life of the hub this is; odd while it is down.
    life: watch::Receiver<u64>,
}

/// One member, and what came of its commands.
struct Member {
    room: FixtureRoom,
    who: FixtureMember,
    client: Client,
    random: StdRng,
    /// The connection that the hub still takes for alive.
    stalled: Option<Stalled>,
    /// What was delivered, in the order of its coming.
    delivered: Vec<u64>,
    /// The replay is over on this connection; and how many events came after that, as they happened.
    is_live: bool,
    live_events: usize,
    sent: Vec<CommandId>,
    acked: BTreeMap<CommandId, (u64, u64)>,
    /// What the hub asked to send again.
    again: Vec<CommandId>,
}

impl Member {
    fn note(&mut self, heard: &loadtest::client::Heard) {
        match &heard.brief {
            Brief::Live { .. } => self.is_live = true,
            Brief::Event { seq, .. } if heard.order == Some(Order::Next) => {
                self.delivered.push(*seq);
                self.live_events += usize::from(self.is_live);
            }
            Brief::Ack { id, first, last, .. } => {
                let before = self.acked.insert(*id, (*first, *last));
                assert!(before.is_none_or(|before| before == (*first, *last)), "a second ack says the same");
            }
            Brief::Error(error) => match error.id {
                Some(id) if error.retryable => self.again.push(id),
                _ => panic!("{}", heard.text),
            },
            _ => {}
        }
    }

    /// Connects as soon as the hub is there.
    async fn connect(&mut self, scene: &Scene) {
        let mut life = scene.life.clone();
        self.is_live = false;
        loop {
            let now = *life.wait_for(|life| life % 2 == 0).await.expect("the test goes on");
            match self.client.connect().await {
                Ok(_) => return,
                Err(error @ (ClientError::Frame(_) | ClientError::Protocol(_) | ClientError::Refused(_))) => {
                    panic!("{error}")
                }
                // Killed between the look and the connection.
                Err(_) => {
                    let _ = timeout(Duration::from_millis(200), life.wait_for(|life| *life != now)).await;
                }
            }
        }
    }

    /// Reads for a while; ends early with the connection.
    async fn listen(&mut self, while_: Duration) {
        let end = Instant::now() + while_;
        while let Ok(heard) = timeout_at(end, self.client.next()).await {
            match heard {
                Ok(heard) => self.note(&heard),
                Err(ClientError::Closed { .. } | ClientError::NotConnected | ClientError::Open(_)) => return,
                Err(error) => panic!("{error}"),
            }
        }
    }

    /// Reads until what happens comes as it happens; ends early with the connection.
    async fn listen_until_live(&mut self) {
        let end = Instant::now() + LIMIT;
        while !self.is_live && Instant::now() < end && self.client.is_connected() {
            self.listen(Duration::from_millis(10)).await;
        }
    }

    /// Gives some commands, and how many.
    fn write(&mut self) -> usize {
        for id in std::mem::take(&mut self.again) {
            self.client.send_again(id);
        }
        // As pages do: a connection that breaks all the time must not pile up what it repeats each time.
        if self.client.unanswered().len() >= IN_FLIGHT {
            return 0;
        }
        let count = self.random.random_range(0..4);
        for _ in 0..count {
            let care = self.who.role != Role::Pharmacist && self.random.random_bool(0.5);
            let thread = if care { Thread::Care } else { Thread::Pharmacy(self.room.pharmacy) };
            let text = Prose::parse(&format!("{} {}", self.who.role.as_str(), self.sent.len())).unwrap();
            let id = self.client.send(self.room.room, Command::Chat(Chat { text, thread }));
            self.sent.push(id);
            // The client itself may send twice, too.
            if self.random.random_bool(0.1) {
                self.client.send_again(id);
            }
        }
        count
    }

    fn actor(&self) -> Actor {
        let pharmacy = (self.who.role == Role::Pharmacist).then_some(self.room.pharmacy);
        Actor::Person { id: self.who.user, role: self.who.role, name: Line::parse("X").unwrap(), pharmacy }
    }

    /// One break, with commands in flight.
    async fn cycle(&mut self, scene: &Scene) {
        scene.commands.fetch_add(self.write(), Ordering::Relaxed);
        match self.random.random_range(0..4) {
            // Cut in the middle of whatever is going on: of a replay, or of what happens live.
            0 => {
                if self.random.random_bool(0.5) {
                    self.listen_until_live().await;
                }
                let a_while = Duration::from_millis(self.random.random_range(0..600));
                self.listen(a_while).await;
                self.client.cut();
            }
            // The network is gone, and the hub does not know.
            1 => {
                let a_while = Duration::from_millis(self.random.random_range(0..600));
                self.listen(a_while).await;
                self.stalled = self.client.half_open();
            }
            // A connection on which nothing is read but the welcome.
            2 => {
                self.client.cut();
                self.connect(scene).await;
                self.client.cut();
            }
            // Another token on the open socket.
            _ => {
                let token = scene.auth.token_for_test(&self.actor(), Duration::from_secs(1800));
                self.client.set_token(Token(token));
                self.listen_until_live().await;
                let a_while = Duration::from_millis(self.random.random_range(20..600));
                self.listen(a_while).await;
            }
        }
        if !self.client.is_connected() {
            self.connect(scene).await;
        }
    }

    /// Breaks its share of connections until all members together have made enough.
    async fn live(mut self, scene: Arc<Scene>) -> Self {
        self.connect(&scene).await;
        self.client.ask(self.room.room);
        self.listen(Duration::from_millis(50)).await;
        while scene.cycles.load(Ordering::Relaxed) < CYCLES || scene.commands.load(Ordering::Relaxed) < COMMANDS {
            self.cycle(&scene).await;
            scene.cycles.fetch_add(1, Ordering::Relaxed);
            scene.progress.notify_one();
        }
        self
    }

    /// Listens on one connection that stays, until something has come true.
    async fn listen_until(&mut self, is_done: impl Fn(&Self) -> bool) {
        while !is_done(self) {
            match timeout(RETRY, self.client.next()).await {
                Ok(heard) => self.note(&heard.expect("the hub stays")),
                Err(_) => {
                    for id in std::mem::take(&mut self.again) {
                        self.client.send_again(id);
                    }
                }
            }
        }
    }
}

async fn every_event_comes_once_and_in_order_whatever_breaks(database: DatabaseSettings) {
    let seed = std::env::var("WARDROOM_TEST_SEED").ok().and_then(|text| text.parse().ok());
    let seed: u64 = seed.unwrap_or_else(|| rand::rng().random());
    eprintln!("WARDROOM_TEST_SEED={seed}");
    let mut random = StdRng::seed_from_u64(seed);

    let mut hub = HubProcess::new("serve", &database);
    let file = hub.data().join("fixture.json");
    let (seeded, said) = hub.run(&["seed", "--rooms", &ROOMS.to_string(), "--out", file.to_str().unwrap()]);
    assert!(seeded, "{said}");
    let clock = Clock::system();
    let fixture = Fixture::read(&file, clock.now()).unwrap().take(ROOMS, 3).unwrap();
    let store = Store::connect(&database).await.unwrap();
    let auth = Auth::open(&hub.config(), store.clone(), Bus::Local, clock).await.unwrap();
    let target = Target::new(hub.start()).unwrap();

    let (life, receiver) = watch::channel(0);
    let scene = Arc::new(Scene {
        auth,
        cycles: AtomicUsize::new(0),
        commands: AtomicUsize::new(0),
        progress: Notify::new(),
        life: receiver,
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
                again: Vec::new(),
            };
            members.spawn(member.live(Arc::clone(&scene)));
        }
    }
    let begun = Instant::now();
    for kill in 1..=KILLS {
        let due = kill * CYCLES / (KILLS + 1);
        let reached = async {
            while scene.cycles.load(Ordering::Relaxed) < due {
                scene.progress.notified().await;
            }
        };
        tokio::select! {
            () = reached => {}
            Some(ended) = members.join_next() => panic!("a member ended early: {:?}", ended.err()),
            () = tokio::time::sleep(LIMIT) => panic!("no progress"),
        }
        life.send_modify(|life| *life += 1);
        hub.kill();
        tokio::task::block_in_place(|| hub.start());
        life.send_modify(|life| *life += 1);
    }
    let all = timeout(LIMIT, members.join_all()).await.expect("the members come to an end");
    let after = begun.elapsed();

    // First everybody's commands arrive, then nothing changes any more and everybody has to have all of it.
    let mut answered = JoinSet::new();
    for mut member in all {
        let scene = Arc::clone(&scene);
        answered.spawn(async move {
            member.connect(&scene).await;
            member.listen_until(|it| it.client.unanswered().len() == 0).await;
            member
        });
    }
    let all = timeout(LIMIT, answered.join_all()).await.expect("every command is answered");
    let (mut events, mut live_events, mut commands) = (0, 0, 0);
    for mut member in all {
        let records = log(&store, member.room.room).await;
        let view = match member.who.role {
            Role::Pharmacist => View::Pharmacy(member.room.pharmacy),
            _ => View::Care,
        };
        let visible: Vec<u64> = records.iter().filter(|it| sees(&view, it.seq, &it.event)).map(|it| it.seq).collect();
        let head = *visible.last().expect("a room has events");
        let all_came = member.listen_until(|it| it.delivered.last() == Some(&head));
        timeout(LIMIT, all_came).await.expect("every event arrives");
        assert_eq!(member.delivered, visible, "each event once, in order, and nothing left out");
        let tally = member.client.tally(member.room.room).unwrap();
        assert_eq!((tally.repeated(), tally.out_of_order(), tally.gaps()), (0, 0, 0));
        assert_eq!(member.acked.len(), member.sent.len(), "every command is acknowledged");
        for id in &member.sent {
            let places: Vec<u64> = records.iter().filter(|it| it.command == Some(*id)).map(|it| it.seq).collect();
            let (first, last) = member.acked[id];
            assert_eq!((places.as_slice(), first), ([last].as_slice(), last), "an acknowledged command is there once");
        }
        events += visible.len();
        live_events += member.live_events;
        commands += member.sent.len();
    }
    assert!(commands >= COMMANDS, "commands were in flight");
    assert!(
        live_events > events / 4 && live_events < events * 9 / 10,
        "{live_events} of {events} came live, the others by replay"
    );
    let (whole, said) = hub.run(&["verify", "--database"]);
    assert!(whole, "{said}");
    eprintln!(
        "{CYCLES} cycles, {KILLS} kills, {commands} commands, {events} events read, {live_events} of them live, {after:.1?}"
    );
}

async fn log(store: &Store, room: RoomId) -> Vec<Record> {
    let stored = store.events_after(room, 0, 20_000).await.unwrap();
    stored.iter().map(|it| serde_json::from_str(&it.canonical).expect("a record")).collect()
}

both! { every_event_comes_once_and_in_order_whatever_breaks }
