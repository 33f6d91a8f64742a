//! Chat load while something fails: each room has two writers and one reader, each on a different node at first. They
//! record all they send and receive, and at the end their records must agree with the store.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use futures_util::future::join_all;
use loadtest::client::{Client, ClientError, Heard};
use loadtest::frame::Brief;
use loadtest::tally::Order;
use loadtest::target::Target;
use rooms::id::{CommandId, RoomId};
use rooms::wire::close::Close;
use rooms::wire::code::Code;
use serde_json::Value;
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::{Instant, MissedTickBehavior, interval, sleep, timeout};
use wardroom::store::Store;

use super::chat::chat_command;
use super::stall_detector::running_time;
use super::test_server::{Case, TestServer};

/// How often each writer sends a message.
const PACE: Duration = Duration::from_millis(100);
/// The text of every message.
const SAID: &str = "How are you today?";
/// A writer pauses once this many commands are unanswered.
const UNANSWERED: usize = 40;
/// The same where nothing may be refused: the slower the machine, the fewer messages.
const UNANSWERED_CALM: usize = 2;
/// How long all outstanding answers and events may take once nothing fails any more.
const SETTLED: Duration = Duration::from_secs(60);

/// The running load.
pub struct ChatLoad {
    shared: Arc<Shared>,
    cases: Vec<Case>,
    members: Vec<JoinHandle<Member>>,
}

struct Shared {
    /// Each node's address while it serves.
    nodes: Mutex<Vec<Option<SocketAddr>>>,
    phase: watch::Sender<Phase>,
}

#[derive(Clone, Copy, PartialEq)]
enum Phase {
    Talk,
    /// Keep writing; members that are not on their home node move there. Counted, so that it can be sent repeatedly.
    Home(u32),
    End,
}

struct Member {
    client: Client,
    shared: Arc<Shared>,
    room: RoomId,
    /// Never writes: no command of its own makes its node read what others wrote.
    listens: bool,
    /// Pauses at this many unanswered commands.
    most: usize,
    home: usize,
    node: usize,
    /// Events in order of sequence number, each received once.
    log: BTreeMap<u64, Value>,
    sent: Vec<CommandId>,
    /// When each unanswered command was sent.
    since: BTreeMap<CommandId, Instant>,
    /// Retries and their due times: a command, or a join when `None`.
    again: Vec<(Instant, Option<CommandId>)>,
    /// The delay that the hub asked for before reconnecting, in milliseconds.
    told: Option<u64>,
    book: LoadReport,
}

/// What all members experienced.
#[derive(Debug, Default)]
pub struct LoadReport {
    /// Each command's sequence number, and when its sender received the acknowledgement.
    pub acked: BTreeMap<CommandId, (u64, Instant)>,
    /// From each broken connection to the moment the next one has caught up with the head.
    pub back: Vec<(Instant, Instant)>,
    /// When each command was sent, and how long its answer took.
    pub took: Vec<(Instant, Duration)>,
    /// When a member received a message of somebody else.
    pub heard: Vec<(CommandId, Instant)>,
    /// Retryable errors in answer to commands, by code.
    pub retried: BTreeMap<Code, usize>,
    /// Final errors; there should be none.
    pub refused: Vec<String>,
    /// Close codes of connections that this side did not cut.
    pub closed: BTreeMap<u16, usize>,
    /// Failed attempts to connect.
    pub not_opened: usize,
    /// The reconnect delays that the hub asked for, in milliseconds.
    pub told: Vec<u64>,
}

impl ChatLoad {
    /// Starts the load in this many rooms.
    pub async fn start(server: &TestServer, nodes: &[SocketAddr], rooms: usize) -> Self {
        Self::talk(server, nodes, rooms, UNANSWERED).await
    }

    /// The same, with writers that wait for answers before they continue, so that no machine is overloaded.
    pub async fn start_calm(server: &TestServer, nodes: &[SocketAddr], rooms: usize) -> Self {
        Self::talk(server, nodes, rooms, UNANSWERED_CALM).await
    }

    async fn talk(server: &TestServer, nodes: &[SocketAddr], rooms: usize, most: usize) -> Self {
        let shared = Arc::new(Shared {
            nodes: Mutex::new(nodes.iter().copied().map(Some).collect()),
            phase: watch::Sender::new(Phase::Talk),
        });
        let (mut cases, mut members) = (Vec::new(), Vec::new());
        for room in 0..rooms {
            let case = server.case().await;
            for (at, who) in [&case.patient, &case.doctor, &case.patient].into_iter().enumerate() {
                let home = (room + at) % nodes.len();
                let mut client = Client::new(Target::new(nodes[home]).expect("loopback"), server.token(who));
                client.connect().await.expect("the hub welcomes the client");
                client.join(case.room).await.expect("a member may join");
                let member = Member {
                    client,
                    shared: shared.clone(),
                    room: case.room,
                    listens: at == 2,
                    most,
                    home,
                    node: home,
                    log: BTreeMap::new(),
                    sent: Vec::new(),
                    since: BTreeMap::new(),
                    again: Vec::new(),
                    told: None,
                    book: LoadReport::default(),
                };
                members.push(tokio::spawn(member.run()));
            }
            cases.push(case);
        }
        Self { shared, cases, members }
    }

    /// Sets the address of a node, or `None` while it does not serve.
    pub fn set_node(&self, node: usize, address: Option<SocketAddr>) {
        self.shared.nodes.lock().unwrap()[node] = address;
    }

    /// Sends every member back to its home node.
    pub fn go_home(&self) {
        self.shared
            .phase
            .send_modify(|phase| *phase = Phase::Home(if let Phase::Home(n) = phase { *n + 1 } else { 0 }));
    }

    /// Lets every member finish and compares their records with the store: nothing lost, repeated, or out of order,
    /// nothing acknowledged that is not stored, and the same log for everybody.
    pub async fn end(self, store: &Store) -> LoadReport {
        self.shared.phase.send_replace(Phase::End);
        let members: Vec<Member> =
            join_all(self.members).await.into_iter().map(|it| it.expect("no member panics")).collect();
        let mut logs = BTreeMap::new();
        for case in &self.cases {
            let mut log = BTreeMap::new();
            loop {
                let after = log.last_key_value().map_or(0, |(seq, _)| *seq);
                let page = store.events_after(case.room, after, 1_000).await.expect("the store answers again");
                if page.is_empty() {
                    break;
                }
                log.extend(page.into_iter().map(|it| (it.seq, serde_json::from_str::<Value>(&it.canonical).unwrap())));
            }
            assert!(log.keys().copied().eq(1..=log.len() as u64), "sequence numbers have no gaps");
            logs.insert(case.room, log);
        }
        let mut book = LoadReport::default();
        for mut member in members {
            let log = &logs[&member.room];
            let head = *log.last_key_value().expect("a room has events").0;
            timeout(SETTLED, member.read_until(head)).await.expect("every member catches up");
            let tally = member.client.tally(member.room).expect("the client has joined the room");
            assert_eq!((tally.gaps(), tally.repeated(), tally.out_of_order()), (0, 0, 0), "{:?}", member.book);
            assert!(member.log == *log, "each reader ends with the stored log");
            let commands: Vec<(u64, &Value)> = log.iter().map(|(seq, event)| (*seq, &event["command"])).collect();
            for id in &member.sent {
                let id = serde_json::to_value(id).unwrap();
                assert_eq!(
                    commands.iter().filter(|(_, command)| **command == id).count(),
                    1,
                    "each command took effect once"
                );
            }
            for (id, (seq, _)) in &member.book.acked {
                assert_eq!(
                    log[seq]["command"],
                    serde_json::to_value(id).unwrap(),
                    "each acknowledged command is stored at its number"
                );
            }
            assert_eq!(member.book.acked.len(), member.sent.len(), "every command was acknowledged in the end");
            book.add(member.book);
        }
        assert!(book.refused.is_empty(), "{:?}", book.refused);
        book
    }
}

impl LoadReport {
    fn add(&mut self, other: Self) {
        self.acked.extend(other.acked);
        self.back.extend(other.back);
        self.took.extend(other.took);
        self.heard.extend(other.heard);
        self.refused.extend(other.refused);
        self.not_opened += other.not_opened;
        self.told.extend(other.told);
        for (code, times) in other.retried {
            *self.retried.entry(code).or_default() += times;
        }
        for (code, times) in other.closed {
            *self.closed.entry(code).or_default() += times;
        }
    }

    /// Returns the longest delay in this interval from an acknowledgement to its delivery to somebody else. The
    /// commit comes before and does not count.
    pub fn slowest(&self, from: Instant, to: Instant) -> Duration {
        self.delays(from, to).into_iter().max().unwrap_or_default()
    }

    /// Returns the 75th percentile of these delays.
    pub fn mostly(&self, from: Instant, to: Instant) -> Duration {
        let mut delays = self.delays(from, to);
        delays.sort_unstable();
        delays.get(delays.len() * 3 / 4).copied().unwrap_or_default()
    }

    fn delays(&self, from: Instant, to: Instant) -> Vec<Duration> {
        let after = |(id, when): &(CommandId, Instant)| {
            let acked = self.acked[id].1;
            (acked >= from && acked < to).then(|| running_time(acked, *when))
        };
        self.heard.iter().filter_map(after).collect()
    }

    /// Returns the 99th percentile of the time to reconnect and catch up.
    pub fn back_p99(&self) -> Duration {
        p99(self.back.iter().map(|(cut, live)| running_time(*cut, *live)))
    }

    /// Returns the 99th percentile of the answer times of commands sent in this interval.
    pub fn took_p99(&self, from: Instant, to: Instant) -> Duration {
        p99(self.took.iter().filter(|(sent, _)| *sent >= from && *sent < to).map(|(_, took)| *took))
    }
}

/// Returns the 99th percentile, or zero if there are no samples.
pub fn p99(all: impl Iterator<Item = Duration>) -> Duration {
    let mut sorted: Vec<Duration> = all.collect();
    sorted.sort();
    sorted.get((sorted.len() * 99).div_ceil(100).saturating_sub(1)).copied().unwrap_or_default()
}

impl Member {
    async fn run(mut self) -> Self {
        let mut phases = self.shared.phase.subscribe();
        let mut pace = interval(PACE);
        pace.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut ends = None;
        loop {
            tokio::select! {
                heard = self.client.next() => self.take(heard).await,
                _ = pace.tick() => {
                    self.repeat();
                    match ends {
                        None if !self.listens && self.client.unanswered().len() < self.most => self.send_chat(),
                        None => {}
                        Some(_) if self.client.unanswered().len() == 0 => return self,
                        Some(end) => assert!(Instant::now() < end, "some commands were never answered: {:?}", self.book),
                    }
                }
                Ok(()) = phases.changed() => {
                    let phase = *phases.borrow_and_update();
                    match phase {
                        Phase::Talk => {}
                        Phase::End => ends = Some(Instant::now() + SETTLED),
                        Phase::Home(_) if self.node == self.home => {}
                        Phase::Home(_) => {
                            self.node = self.home;
                            self.client.cut();
                            self.come_back().await;
                        }
                    }
                }
            }
        }
    }

    fn send_chat(&mut self) {
        let id = self.client.send(self.room, chat_command(SAID));
        self.sent.push(id);
        self.since.insert(id, Instant::now());
    }

    /// Sends the retries that are due.
    fn repeat(&mut self) {
        let now = Instant::now();
        let (due, later): (Vec<_>, Vec<_>) = self.again.drain(..).partition(|(when, _)| *when <= now);
        self.again = later;
        for (_, what) in due {
            match what {
                Some(id) => _ = self.client.send_again(id),
                None => self.client.ask(self.room),
            }
        }
    }

    async fn take(&mut self, heard: Result<Heard, ClientError>) {
        match heard {
            Ok(heard) => self.hear(&heard),
            Err(ClientError::Closed { code, .. }) => {
                *self.book.closed.entry(code).or_default() += 1;
                let begin = Instant::now();
                if let Some(after) = self.told.take() {
                    assert_eq!(code, Close::Restart.code(), "the close code matches the announced reconnect");
                    self.book.told.push(after);
                    sleep(Duration::from_millis(after)).await;
                }
                self.node += 1;
                self.come_back().await;
                self.book.back.push((begin, Instant::now()));
            }
            Err(error) => panic!("{error}"),
        }
    }

    fn hear(&mut self, heard: &Heard) {
        match &heard.brief {
            Brief::Event { seq, command, .. } if heard.order == Some(Order::Next) => {
                self.note(*seq, &heard.text);
                if let Some(id) = command.filter(|id| heard.text.contains(SAID) && !self.sent.contains(id)) {
                    self.book.heard.push((id, Instant::now()));
                }
            }
            Brief::Ack { id, last, .. } => {
                let now = Instant::now();
                self.book.acked.insert(*id, (*last, now));
                self.book.took.extend(self.since.remove(id).map(|since| (since, now - since)));
            }
            Brief::Error(error) if error.retryable => {
                *self.book.retried.entry(error.code).or_default() += 1;
                let after = error.detail.retry_after_ms.expect("a retryable error names its delay");
                self.again.push((Instant::now() + Duration::from_millis(after), error.id));
            }
            Brief::Error(error) => self.book.refused.push(error.message.clone()),
            Brief::Reconnect { after_ms } => self.told = Some(*after_ms),
            _ => {}
        }
    }

    fn note(&mut self, seq: u64, text: &str) {
        let event = serde_json::from_str::<Value>(text).expect("a frame is JSON")["event"].take();
        assert!(self.log.insert(seq, event).is_none(), "event {seq} arrives once");
    }

    /// Reconnects, trying the nodes in turn from the current one, until the client has caught up with the head.
    async fn come_back(&mut self) {
        loop {
            let address = {
                let nodes = self.shared.nodes.lock().unwrap();
                self.node %= nodes.len();
                nodes[self.node]
            };
            if let Some(address) = address {
                self.client.retarget(Target::new(address).expect("loopback"));
                self.again.clear();
                if timeout(SETTLED, self.resume()).await.is_ok_and(|resumed| resumed.is_ok()) {
                    return;
                }
                self.book.not_opened += 1;
                self.client.cut();
                sleep(Duration::from_millis(50)).await;
            }
            self.node += 1;
        }
    }

    async fn resume(&mut self) -> Result<(), ClientError> {
        self.client.connect().await?;
        loop {
            let heard = self.client.next().await?;
            self.hear(&heard);
            if matches!(heard.brief, Brief::Live { .. }) {
                return Ok(());
            }
            self.repeat();
        }
    }

    async fn read_until(&mut self, head: u64) {
        while self.log.last_key_value().is_none_or(|(seq, _)| *seq < head) {
            let heard = self.client.next().await;
            self.take(heard).await;
        }
    }
}
