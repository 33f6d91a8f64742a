//! A client of the hub. It joins rooms with cursors, retries commands until they are answered, survives disconnects,
//! and keeps a [`DeliveryCheck`] for every room.
//!
//! A client outlives its connections. [`Client::connect`] opens the next connection, rejoins all rooms at their
//! cursors, and resends unanswered commands; this is the protocol's whole resume. The client never reconnects by
//! itself: the test decides when and how often.

mod on_frame;

use std::collections::{BTreeMap, VecDeque};
use std::future::poll_fn;
use std::pin::Pin;
use std::time::Duration;

use futures_util::{Sink, SinkExt, StreamExt};
use rooms::command::Command;
use rooms::id::{CommandId, RoomId, UserId};
use rooms::text::Text;
use rooms::wire::client::{ClientFrame, Token};
use rooms::wire::close::Close;
use rooms::wire::server::{ErrorFrame, Welcome};
use tokio::time::{Instant, timeout_at};
use tokio_tungstenite::tungstenite::{Error as WsError, Message, Utf8Bytes};
use uuid::Uuid;

use crate::delivery_check::{DeliveryCheck, EventOrder};
use crate::frame::{FrameError, FrameSummary};
use crate::socket::{Socket, open};
use crate::target::Target;

/// Time limit of every method that waits for a specific frame.
pub const WAIT_TIMEOUT: Duration = Duration::from_secs(30);

/// One client of one user.
pub struct Client {
    target: Target,
    token: Token,
    small_receive_buffer: bool,
    socket: Option<Socket>,
    user: Option<UserId>,
    connection: Option<Text<64>>,
    rooms: BTreeMap<RoomId, JoinedRoom>,
    unanswered: VecDeque<(CommandId, Utf8Bytes)>,
    outgoing: VecDeque<Utf8Bytes>,
    received: VecDeque<ReceivedFrame>,
    closing: Option<(u16, String)>,
}

/// The state of a room that this client has joined.
#[derive(Default)]
struct JoinedRoom {
    check: DeliveryCheck,
    /// Whether all events up to the hub's head have arrived on this connection.
    live: bool,
    /// A `join` is in flight because of a gap. Further gaps until its replay say nothing new.
    replaying: bool,
}

/// A received frame, partially parsed, with its meaning for the order of its room.
#[derive(Clone, Debug)]
pub struct ReceivedFrame {
    /// The frame as received; parse it with `serde_json` into a `ServerFrame`.
    pub text: Utf8Bytes,
    pub summary: FrameSummary,
    /// Set for events only.
    pub order: Option<EventOrder>,
    /// The command to which this frame is the first final answer.
    pub answers: Option<CommandId>,
}

/// The final answer to a command.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Answer {
    Done { first: u64, last: u64 },
    Refused(Box<ErrorFrame>),
}

/// An open connection that nobody reads or writes, as the hub sees a client whose network is gone. Dropping it resets
/// the connection.
pub struct Stalled(Socket);

#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    #[error("not connected")]
    NotConnected,
    /// The hub closed with this code, or the connection broke (1006).
    #[error("closed with code {code} {reason}")]
    Closed { code: u16, reason: String },
    #[error("cannot connect: {0}")]
    Open(Box<WsError>),
    #[error(transparent)]
    Frame(#[from] FrameError),
    #[error("the hub violated the protocol: {0}")]
    Protocol(&'static str),
    #[error("the hub refused: {}", .0.message)]
    Refused(Box<ErrorFrame>),
    #[error("timed out waiting for {0}")]
    Timeout(&'static str),
}

impl ClientError {
    /// Returns the close code, if the hub sent one.
    pub fn close(&self) -> Option<Close> {
        match self {
            Self::Closed { code, .. } => Close::ALL.iter().copied().find(|close| close.code() == *code),
            _ => None,
        }
    }
}

impl Client {
    /// Creates a client that is not yet connected.
    pub fn new(target: Target, token: Token) -> Self {
        Self {
            target,
            token,
            small_receive_buffer: false,
            socket: None,
            user: None,
            connection: None,
            rooms: BTreeMap::new(),
            unanswered: VecDeque::new(),
            outgoing: VecDeque::new(),
            received: VecDeque::new(),
            closing: None,
        }
    }

    /// Makes later connections use the smallest receive buffer that the kernel allows.
    pub fn use_small_receive_buffer(&mut self) {
        self.small_receive_buffer = true;
    }

    /// Makes later connections go to another hub: a restarted one, or another node.
    pub fn retarget(&mut self, target: Target) {
        self.target = target;
    }

    /// Returns the user as which the hub authenticated this client; `None` before the first `welcome`.
    pub fn user(&self) -> Option<UserId> {
        self.user
    }

    pub fn is_connected(&self) -> bool {
        self.socket.is_some()
    }

    /// Connects and sends `hello`. Then rejoins every room at its cursor and resends every unanswered command.
    ///
    /// Returns once the hub has sent `welcome`; [`Client::next`] yields the replay.
    pub async fn connect(&mut self) -> Result<Welcome, ClientError> {
        self.disconnect();
        self.socket =
            Some(open(self.target, self.small_receive_buffer).await.map_err(|e| ClientError::Open(Box::new(e)))?);
        self.queue(&ClientFrame::Hello { token: Some(self.token.clone()), replaces: self.connection.clone() });
        let frame = self
            .within("welcome", async |client| client.read_frame().await)
            .await
            .inspect_err(|_| self.disconnect())?;
        let FrameSummary::Welcome(welcome) = frame.summary else {
            self.disconnect();
            return Err(match frame.summary {
                FrameSummary::Error(error) => ClientError::Refused(error),
                _ => ClientError::Protocol("a frame before welcome"),
            });
        };
        self.user = Some(welcome.user);
        self.connection = Text::stored(&welcome.connection).ok();
        let joins: Vec<_> = self.rooms.iter().map(|(room, joined)| (*room, joined.check.cursor())).collect();
        for (room, after) in joins {
            self.queue(&ClientFrame::Join { room, after });
        }
        self.outgoing.extend(self.unanswered.iter().map(|(_, text)| text.clone()));
        self.flush().await?;
        Ok(*welcome)
    }

    /// Joins a room, or requests its state again, and waits for the end of the replay. Returns the room's head.
    pub async fn join(&mut self, room: RoomId) -> Result<u64, ClientError> {
        self.request_join(room);
        self.until("the end of a replay", |frame| match &frame.summary {
            FrameSummary::Live { room: live, head } if *live == room => Some(Ok(*head)),
            FrameSummary::Error(error) if error.room == Some(room) && error.id.is_none() => {
                Some(Err(ClientError::Refused(error.clone())))
            }
            _ => None,
        })
        .await?
    }

    /// Like [`Client::join`], but without waiting: [`Client::next`] yields the answer.
    pub fn request_join(&mut self, room: RoomId) {
        let joined = self.rooms.entry(room).or_default();
        joined.live = false;
        joined.replaying = true;
        let after = joined.check.cursor();
        self.queue(&ClientFrame::Join { room, after });
    }

    /// Waits until every room of this client is live.
    pub async fn until_live(&mut self) -> Result<(), ClientError> {
        self.within("rooms to become live", async |client| {
            while client.rooms.values().any(|joined| !joined.live) {
                let frame = client.read_frame().await?;
                client.received.push_back(frame);
            }
            Ok(())
        })
        .await
    }

    /// Sends a command under a new id. Every new connection resends it until it is answered.
    pub fn send(&mut self, room: RoomId, command: Command) -> CommandId {
        let id = CommandId(Uuid::now_v7());
        self.send_as(id, room, None, command);
        id
    }

    /// Like [`Client::send`], with a given id and the version that the sender saw.
    pub fn send_as(&mut self, id: CommandId, room: RoomId, expect: Option<u64>, command: Command) {
        let text = encode(&ClientFrame::Command { id, room, expect, command });
        self.unanswered.push_back((id, text.clone()));
        self.outgoing.push_back(text);
    }

    /// Sends a command and waits for its answer. [`Client::next`] later yields the frames that arrive before the answer.
    pub async fn command(&mut self, room: RoomId, command: Command) -> Result<Answer, ClientError> {
        let id = self.send(room, command);
        self.answer(id).await
    }

    /// Waits for the answer to a command. [`Client::next`] later yields the frames that arrive before it.
    pub async fn answer(&mut self, id: CommandId) -> Result<Answer, ClientError> {
        self.until("an answer", |frame| match &frame.summary {
            FrameSummary::Ack { id: acked, first, last, .. } if *acked == id => {
                Some(Answer::Done { first: *first, last: *last })
            }
            FrameSummary::Error(error) if error.id == Some(id) => Some(Answer::Refused(error.clone())),
            _ => None,
        })
        .await
    }

    /// Resends an unanswered command. Returns `false` if it has been answered.
    pub fn send_again(&mut self, id: CommandId) -> bool {
        let text = self.unanswered.iter().find(|(known, _)| *known == id).map(|(_, text)| text.clone());
        let found = text.is_some();
        self.outgoing.extend(text);
        found
    }

    /// Returns the unanswered commands, oldest first.
    pub fn unanswered(&self) -> impl ExactSizeIterator<Item = CommandId> {
        self.unanswered.iter().map(|(id, _)| *id)
    }

    /// Queues a frame for which this client has no method.
    pub fn queue(&mut self, frame: &ClientFrame) {
        self.outgoing.push_back(encode(frame));
    }

    /// Queues any text as a frame, well formed or not.
    pub fn queue_text(&mut self, text: impl Into<Utf8Bytes>) {
        self.outgoing.push_back(text.into());
    }

    /// Sets a new token: sends it on the open connection and uses it for later ones.
    pub fn set_token(&mut self, token: Token) {
        if self.is_connected() {
            self.queue(&ClientFrame::Auth { token: token.clone() });
        }
        self.token = token;
    }

    /// Returns the next frame. Sends queued frames, answers beats, and rejoins a room on a gap. Cancel-safe: dropping
    /// the future loses no frame.
    pub async fn next(&mut self) -> Result<ReceivedFrame, ClientError> {
        match self.received.pop_front() {
            Some(frame) => Ok(frame),
            None => self.read_frame().await,
        }
    }

    /// Waits until the room's events up to `seq` have arrived.
    pub async fn until_seq(&mut self, room: RoomId, seq: u64) -> Result<(), ClientError> {
        self.within("an event", async |client| {
            while client.rooms.get(&room).is_none_or(|joined| joined.check.cursor() < seq) {
                let frame = client.read_frame().await?;
                client.received.push_back(frame);
            }
            Ok(())
        })
        .await
    }

    /// Returns the delivery check of a room.
    pub fn delivery_check(&self, room: RoomId) -> Option<&DeliveryCheck> {
        self.rooms.get(&room).map(|joined| &joined.check)
    }

    /// Cuts the connection without a close frame. The next connection resends unsent commands.
    pub fn cut(&mut self) {
        if let Some(socket) = &self.socket {
            // Without zero linger the kernel would still deliver its buffer, and the hub would see an orderly end.
            let _ = socket.get_ref().set_zero_linger();
        }
        self.disconnect();
    }

    /// Stops reading and writing but keeps the connection open. The client counts as disconnected.
    pub fn half_open(&mut self) -> Option<Stalled> {
        let stalled = self.socket.take().map(Stalled);
        self.disconnect();
        stalled
    }

    /// Closes the connection with a close frame.
    pub async fn close(&mut self) {
        if let Some(mut socket) = self.socket.take() {
            let _ = timeout_at(Instant::now() + Duration::from_secs(1), socket.close(None)).await;
        }
        self.disconnect();
    }

    /// Sends queued frames without waiting for an answer.
    pub async fn flush(&mut self) -> Result<(), ClientError> {
        let Some(socket) = &mut self.socket else { return Err(ClientError::NotConnected) };
        let sent = async {
            while !self.outgoing.is_empty() {
                // In two steps, so that a frame leaves the queue only once the socket has it: this future may be
                // dropped at any await.
                poll_fn(|cx| Pin::new(&mut *socket).poll_ready(cx)).await?;
                if let Some(text) = self.outgoing.pop_front() {
                    Pin::new(&mut *socket).start_send(Message::Text(text))?;
                }
            }
            socket.flush().await
        };
        // An error may hide the hub's close frame, which is still readable. Reading it reveals why the connection
        // ended.
        match sent.await {
            Ok(()) | Err(WsError::Io(_)) => Ok(()),
            Err(WsError::ConnectionClosed | WsError::AlreadyClosed) => Ok(()),
            Err(WsError::Protocol(_)) => Ok(()),
            Err(_) => Err(ClientError::Protocol("a frame could not be sent")),
        }
    }

    fn disconnect(&mut self) {
        self.socket = None;
        self.outgoing.clear();
        self.closing = None;
        for joined in self.rooms.values_mut() {
            joined.live = false;
            joined.replaying = false;
            joined.check.reconnected();
        }
    }

    async fn until<T>(
        &mut self,
        what: &'static str,
        mut wanted: impl FnMut(&ReceivedFrame) -> Option<T>,
    ) -> Result<T, ClientError> {
        self.within(what, async |client| {
            loop {
                let frame = client.read_frame().await?;
                let found = wanted(&frame);
                client.received.push_back(frame);
                if let Some(found) = found {
                    return Ok(found);
                }
            }
        })
        .await
    }

    async fn within<T>(
        &mut self,
        what: &'static str,
        wait: impl AsyncFnOnce(&mut Self) -> Result<T, ClientError>,
    ) -> Result<T, ClientError> {
        timeout_at(Instant::now() + WAIT_TIMEOUT, wait(self)).await.map_err(|_| ClientError::Timeout(what))?
    }

    async fn read_frame(&mut self) -> Result<ReceivedFrame, ClientError> {
        loop {
            if !self.outgoing.is_empty() {
                self.flush().await?;
            }
            let Some(socket) = &mut self.socket else { return Err(ClientError::NotConnected) };
            match socket.next().await {
                Some(Ok(Message::Text(text))) => return self.on_frame(text),
                Some(Ok(Message::Close(frame))) => {
                    self.closing = frame.map(|frame| (frame.code.into(), frame.reason.as_str().to_owned()));
                }
                Some(Ok(Message::Binary(_))) => return Err(ClientError::Protocol("a binary frame")),
                Some(Ok(_)) => {}
                Some(Err(_)) | None => {
                    let (code, reason) = self.closing.take().unwrap_or((1006, String::new()));
                    self.disconnect();
                    return Err(ClientError::Closed { code, reason });
                }
            }
        }
    }
}

impl Drop for Stalled {
    fn drop(&mut self) {
        let _ = self.0.get_ref().set_zero_linger();
    }
}

fn encode(frame: &ClientFrame) -> Utf8Bytes {
    serde_json::to_string(frame).expect("a frame has string keys and no map of its own").into()
}
