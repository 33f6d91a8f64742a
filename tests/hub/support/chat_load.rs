//! Chat load while something fails: each room has two writers and one reader, each on a different node at first. They
//! record all they send and receive, and at the end their records must agree with the store.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use futures_util::future::join_all;
use loadtest::client::{Client, ClientError, ReceivedFrame};
use loadtest::delivery_check::EventOrder;
use loadtest::frame::FrameSummary;
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
const SEND_INTERVAL: Duration = Duration::from_millis(100);
/// The text of every message.
const MESSAGE_TEXT: &str = "How are you today?";
/// A writer pauses once this many commands are unanswered.
const MAX_UNANSWERED: usize = 40;
/// The same where nothing may be refused: the slower the machine, the fewer messages.
const MAX_UNANSWERED_CALM: usize = 2;
/// How long all outstanding answers and events may take once nothing fails any more.
const SETTLE_TIMEOUT: Duration = Duration::from_secs(60);

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
    Write,
    /// Keep writing; members that are not on their home node move there. Counted, so that it can be sent repeatedly.
    ReturnHome(u32),
    Finish,
}

struct Member {
    client: Client,
    shared: Arc<Shared>,
    room: RoomId,
    /// Never writes: no command of its own makes its node read what others wrote.
    reads_only: bool,
    /// Pauses at this many unanswered commands.
    max_unanswered: usize,
    home: usize,
    node: usize,
    /// Events in order of sequence number, each received once.
    log: BTreeMap<u64, Value>,
    sent: Vec<CommandId>,
    /// When each unanswered command was sent.
    sent_at: BTreeMap<CommandId, Instant>,
    /// Retries and their due times: a command, or a join when `None`.
    retries: Vec<(Instant, Option<CommandId>)>,
    /// The delay that the hub asked for before reconnecting, in milliseconds.
    reconnect_delay_ms: Option<u64>,
    report: LoadReport,
}

/// What all members experienced.
#[derive(Debug, Default)]
pub struct LoadReport {
    /// Each command's sequence number, and when its sender received the acknowledgement.
    pub acked: BTreeMap<CommandId, (u64, Instant)>,
    /// From each broken connection to the moment the next one has caught up with the head.
    pub reconnects: Vec<(Instant, Instant)>,
    /// When each command was sent, and how long its answer took.
    pub answer_times: Vec<(Instant, Duration)>,
    /// When a member received a message of somebody else.
    pub deliveries: Vec<(CommandId, Instant)>,
    /// Retryable errors in answer to commands, by code.
    pub retryable_errors: BTreeMap<Code, usize>,
    /// Final errors; there should be none.
    pub final_errors: Vec<String>,
    /// Close codes of connections that this side did not cut.
    pub close_codes: BTreeMap<u16, usize>,
    /// Failed attempts to connect.
    pub failed_connects: usize,
    /// The reconnect delays that the hub asked for, in milliseconds.
    pub reconnect_delays: Vec<u64>,
}

impl ChatLoad {
    /// Starts the load in this many rooms.
    pub async fn start(server: &TestServer, nodes: &[SocketAddr], rooms: usize) -> Self {
        Self::start_with(server, nodes, rooms, MAX_UNANSWERED).await
    }

    /// The same, with writers that wait for answers before they continue, so that no machine is overloaded.
    pub async fn start_calm(server: &TestServer, nodes: &[SocketAddr], rooms: usize) -> Self {
        Self::start_with(server, nodes, rooms, MAX_UNANSWERED_CALM).await
    }

    async fn start_with(server: &TestServer, nodes: &[SocketAddr], rooms: usize, max_unanswered: usize) -> Self {
        let shared = Arc::new(Shared {
            nodes: Mutex::new(nodes.iter().copied().map(Some).collect()),
            phase: watch::Sender::new(Phase::Write),
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
                    reads_only: at == 2,
                    max_unanswered,
                    home,
                    node: home,
                    log: BTreeMap::new(),
                    sent: Vec::new(),
                    sent_at: BTreeMap::new(),
                    retries: Vec::new(),
                    reconnect_delay_ms: None,
                    report: LoadReport::default(),
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
    pub fn return_home(&self) {
        self.shared
            .phase
            .send_modify(|phase| *phase = Phase::ReturnHome(if let Phase::ReturnHome(n) = phase { *n + 1 } else { 0 }));
    }

    /// Lets every member finish and compares their records with the store: nothing lost, repeated, or out of order,
    /// nothing acknowledged that is not stored, and the same log for everybody.
    pub async fn finish(self, store: &Store) -> LoadReport {
        self.shared.phase.send_replace(Phase::Finish);
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
        let mut report = LoadReport::default();
        for mut member in members {
            let log = &logs[&member.room];
            let head = *log.last_key_value().expect("a room has events").0;
            timeout(SETTLE_TIMEOUT, member.read_until(head)).await.expect("every member catches up");
            let check = member.client.delivery_check(member.room).expect("the client has joined the room");
            assert_eq!((check.gaps(), check.repeated(), check.out_of_order()), (0, 0, 0), "{:?}", member.report);
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
            for (id, (seq, _)) in &member.report.acked {
                assert_eq!(
                    log[seq]["command"],
                    serde_json::to_value(id).unwrap(),
                    "each acknowledged command is stored at its number"
                );
            }
            assert_eq!(member.report.acked.len(), member.sent.len(), "every command was acknowledged in the end");
            report.add(member.report);
        }
        assert!(report.final_errors.is_empty(), "{:?}", report.final_errors);
        report
    }
}

impl LoadReport {
    fn add(&mut self, other: Self) {
        self.acked.extend(other.acked);
        self.reconnects.extend(other.reconnects);
        self.answer_times.extend(other.answer_times);
        self.deliveries.extend(other.deliveries);
        self.final_errors.extend(other.final_errors);
        self.failed_connects += other.failed_connects;
        self.reconnect_delays.extend(other.reconnect_delays);
        for (code, times) in other.retryable_errors {
            *self.retryable_errors.entry(code).or_default() += times;
        }
        for (code, times) in other.close_codes {
            *self.close_codes.entry(code).or_default() += times;
        }
    }

    /// Returns the longest delay in this interval from an acknowledgement to its delivery to somebody else. The
    /// commit comes before and does not count.
    pub fn max_delay(&self, from: Instant, to: Instant) -> Duration {
        self.delays(from, to).into_iter().max().unwrap_or_default()
    }

    /// Returns the 75th percentile of these delays.
    pub fn p75_delay(&self, from: Instant, to: Instant) -> Duration {
        let mut delays = self.delays(from, to);
        delays.sort_unstable();
        delays.get(delays.len() * 3 / 4).copied().unwrap_or_default()
    }

    fn delays(&self, from: Instant, to: Instant) -> Vec<Duration> {
        let after = |(id, when): &(CommandId, Instant)| {
            let acked = self.acked[id].1;
            (acked >= from && acked < to).then(|| running_time(acked, *when))
        };
        self.deliveries.iter().filter_map(after).collect()
    }

    /// Returns the 99th percentile of the time to reconnect and catch up.
    pub fn reconnect_p99(&self) -> Duration {
        p99(self.reconnects.iter().map(|(cut, live)| running_time(*cut, *live)))
    }

    /// Returns the 99th percentile of the answer times of commands sent in this interval.
    pub fn answer_p99(&self, from: Instant, to: Instant) -> Duration {
        p99(self.answer_times.iter().filter(|(sent, _)| *sent >= from && *sent < to).map(|(_, took)| *took))
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
        let mut pace = interval(SEND_INTERVAL);
        pace.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut deadline = None;
        loop {
            tokio::select! {
                frame = self.client.next() => self.on_result(frame).await,
                _ = pace.tick() => {
                    self.send_retries();
                    match deadline {
                        None if !self.reads_only && self.client.unanswered().len() < self.max_unanswered => self.send_chat(),
                        None => {}
                        Some(_) if self.client.unanswered().len() == 0 => return self,
                        Some(end) => assert!(Instant::now() < end, "some commands were never answered: {:?}", self.report),
                    }
                }
                Ok(()) = phases.changed() => {
                    let phase = *phases.borrow_and_update();
                    match phase {
                        Phase::Write => {}
                        Phase::Finish => deadline = Some(Instant::now() + SETTLE_TIMEOUT),
                        Phase::ReturnHome(_) if self.node == self.home => {}
                        Phase::ReturnHome(_) => {
                            self.node = self.home;
                            self.client.cut();
                            self.reconnect().await;
                        }
                    }
                }
            }
        }
    }

    fn send_chat(&mut self) {
        let id = self.client.send(self.room, chat_command(MESSAGE_TEXT));
        self.sent.push(id);
        self.sent_at.insert(id, Instant::now());
    }

    /// Sends the retries that are due.
    fn send_retries(&mut self) {
        let now = Instant::now();
        let (due, later): (Vec<_>, Vec<_>) = self.retries.drain(..).partition(|(when, _)| *when <= now);
        self.retries = later;
        for (_, what) in due {
            match what {
                Some(id) => _ = self.client.send_again(id),
                None => self.client.request_join(self.room),
            }
        }
    }

    async fn on_result(&mut self, frame: Result<ReceivedFrame, ClientError>) {
        match frame {
            Ok(frame) => self.on_frame(&frame),
            Err(ClientError::Closed { code, .. }) => {
                *self.report.close_codes.entry(code).or_default() += 1;
                let begin = Instant::now();
                if let Some(after) = self.reconnect_delay_ms.take() {
                    assert_eq!(code, Close::Restart.code(), "the close code matches the announced reconnect");
                    self.report.reconnect_delays.push(after);
                    sleep(Duration::from_millis(after)).await;
                }
                self.node += 1;
                self.reconnect().await;
                self.report.reconnects.push((begin, Instant::now()));
            }
            Err(error) => panic!("{error}"),
        }
    }

    fn on_frame(&mut self, frame: &ReceivedFrame) {
        match &frame.summary {
            FrameSummary::Event { seq, command, .. } if frame.order == Some(EventOrder::Next) => {
                self.record(*seq, &frame.text);
                if let Some(id) = command.filter(|id| frame.text.contains(MESSAGE_TEXT) && !self.sent.contains(id)) {
                    self.report.deliveries.push((id, Instant::now()));
                }
            }
            FrameSummary::Ack { id, last, .. } => {
                let now = Instant::now();
                self.report.acked.insert(*id, (*last, now));
                self.report.answer_times.extend(self.sent_at.remove(id).map(|sent_at| (sent_at, now - sent_at)));
            }
            FrameSummary::Error(error) if error.retryable => {
                *self.report.retryable_errors.entry(error.code).or_default() += 1;
                let after = error.detail.retry_after_ms.expect("a retryable error names its delay");
                self.retries.push((Instant::now() + Duration::from_millis(after), error.id));
            }
            FrameSummary::Error(error) => self.report.final_errors.push(error.message.clone()),
            FrameSummary::Reconnect { after_ms } => self.reconnect_delay_ms = Some(*after_ms),
            _ => {}
        }
    }

    fn record(&mut self, seq: u64, text: &str) {
        let event = serde_json::from_str::<Value>(text).expect("a frame is JSON")["event"].take();
        assert!(self.log.insert(seq, event).is_none(), "event {seq} arrives once");
    }

    /// Reconnects, trying the nodes in turn from the current one, until the client has caught up with the head.
    async fn reconnect(&mut self) {
        loop {
            let address = {
                let nodes = self.shared.nodes.lock().unwrap();
                self.node %= nodes.len();
                nodes[self.node]
            };
            if let Some(address) = address {
                self.client.retarget(Target::new(address).expect("loopback"));
                self.retries.clear();
                if timeout(SETTLE_TIMEOUT, self.resume()).await.is_ok_and(|resumed| resumed.is_ok()) {
                    return;
                }
                self.report.failed_connects += 1;
                self.client.cut();
                sleep(Duration::from_millis(50)).await;
            }
            self.node += 1;
        }
    }

    async fn resume(&mut self) -> Result<(), ClientError> {
        self.client.connect().await?;
        loop {
            let frame = self.client.next().await?;
            self.on_frame(&frame);
            if matches!(frame.summary, FrameSummary::Live { .. }) {
                return Ok(());
            }
            self.send_retries();
        }
    }

    async fn read_until(&mut self, head: u64) {
        while self.log.last_key_value().is_none_or(|(seq, _)| *seq < head) {
            let frame = self.client.next().await;
            self.on_result(frame).await;
        }
    }
}
