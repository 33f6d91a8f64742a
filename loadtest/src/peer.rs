//! A person in a call, without a browser: signalling through the hub and media by a WebRTC stack of its own.
//!
//! It speaks the protocol of `docs/protocol.md` and knows nothing of the server, so that a call between it and a browser
//! shows that the protocol is enough.

mod media;
mod relayed;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use rooms::command::{CallRef, Command, LeaveCall, StartCall};
use rooms::id::{CallId, RoomId, UserId};
use rooms::media::Media;
use rooms::reason::LeaveReason;
use rooms::sdp::Candidate;
use rooms::text::Text;
use rooms::time::Timestamp;
use rooms::wire::call::{Attach, Attached, CallNotice, CallSignal, Held, IceCandidate, SendCandidate, SendDescription};
use rooms::wire::client::ClientFrame;
use rooms::wire::server::ServerFrame;
use tokio::sync::mpsc;
use tokio::time::timeout_at;
use uuid::Uuid;

use self::media::{Event, Line, Told};
pub use self::relayed::Relayed;
use crate::client::{Answer, Client, ClientError};

/// Why a call did not come about.
#[derive(Debug, thiserror::Error)]
pub enum PeerError {
    #[error(transparent)]
    Client(#[from] ClientError),
    #[error("the peer connection failed: {0}")]
    Media(#[from] webrtc::error::Error),
    #[error("the hub refused: {0}")]
    Refused(String),
    #[error("not within {0:?}")]
    Late(Duration),
}

/// How far a call got, as this side sees it.
#[derive(Clone, Debug, Default)]
pub struct Progress {
    /// When the connection that stands now, or the last one, came about.
    pub connected: Option<Instant>,
    /// Connections that were built, one after the other.
    pub connections: u32,
    /// Packets of media that arrived.
    pub packets: u64,
    /// What the other side said last of its microphone and camera.
    pub state: Option<State>,
    /// What else it said on the channel.
    pub heard: Vec<String>,
    /// Whether another session of the same person took over.
    pub taken: bool,
}

/// What one side says of itself on the channel.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Deserialize)]
pub struct State {
    pub microphone: bool,
    pub camera: bool,
}

/// One side of a call.
pub struct Peer {
    client: Client,
    me: UserId,
    room: RoomId,
    call: CallId,
    device: Uuid,
    attached: Option<Attached>,
    /// The other side, and how far its messages were taken.
    other: Option<(UserId, u64)>,
    line: Option<Line>,
    tell: mpsc::UnboundedSender<Told>,
    told: mpsc::UnboundedReceiver<Told>,
    packets: Arc<AtomicU64>,
    progress: Progress,
    relayed: Option<Relayed>,
    /// Messages to the other side in this epoch.
    sent: u64,
    /// The own offer, if its answer has not come.
    offer: Option<Offer>,
}

/// An offer that waits for its answer.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Offer {
    Open,
    /// There is a reason for another one since, which must wait: an answer does not say which offer it is to.
    Outdated,
}

impl Peer {
    /// Rings from a room that `client` has joined.
    pub async fn ring(mut client: Client, room: RoomId, media: Media) -> Result<Self, PeerError> {
        done(client.command(room, Command::StartCall(StartCall { media })).await?)?;
        let call = started(&mut client, room).await?;
        Self::attach(client, room, call).await
    }

    /// Waits for a call in a room that `client` has joined, and answers it.
    pub async fn answer(mut client: Client, room: RoomId) -> Result<Self, PeerError> {
        let call = started(&mut client, room).await?;
        done(client.command(room, Command::JoinCall(CallRef { call })).await?)?;
        Self::attach(client, room, call).await
    }

    async fn attach(client: Client, room: RoomId, call: CallId) -> Result<Self, PeerError> {
        let (tell, told) = mpsc::unbounded_channel();
        let mut peer = Self {
            me: client.user().ok_or(ClientError::NotConnected)?,
            client,
            room,
            call,
            device: Uuid::now_v7(),
            attached: None,
            other: None,
            line: None,
            tell,
            told,
            packets: Arc::default(),
            progress: Progress::default(),
            relayed: None,
            sent: 0,
            offer: None,
        };
        peer.say_attach().await?;
        Ok(peer)
    }

    /// Tells `relayed` when it sends and gets what the hub relays; before the first message.
    pub fn timed(mut self, relayed: &Relayed) -> Self {
        self.relayed = Some(relayed.clone());
        self
    }

    /// Notes a message that goes out.
    fn count(&mut self, to: UserId, epoch: u64) {
        self.sent += 1;
        if let Some(relayed) = &self.relayed {
            relayed.sent(self.call, to, epoch, self.sent);
        }
    }

    async fn say_attach(&mut self) -> Result<(), PeerError> {
        let held = self.line.iter().zip(self.other).map(|(line, (peer, got))| Held { peer, epoch: line.epoch, got });
        let attach = Attach { device: self.device, take: false, held: held.collect() };
        self.signal(CallSignal::Attach(attach)).await
    }

    async fn signal(&mut self, signal: CallSignal) -> Result<(), PeerError> {
        self.client.queue(&ClientFrame::Call { room: self.room, call: self.call, signal });
        Ok(self.client.flush().await?)
    }

    /// What has happened so far.
    pub fn progress(&self) -> Progress {
        Progress { packets: self.packets.load(Ordering::Relaxed), ..self.progress.clone() }
    }

    /// Says something on the channel between the two.
    pub async fn say(&self, text: &str) -> Result<(), PeerError> {
        match &self.line {
            Some(line) => Ok(line.say(text).await?),
            None => Err(PeerError::Media(webrtc::error::Error::ErrConnectionClosed)),
        }
    }

    /// Looks for another way to the other side.
    pub async fn restart(&mut self) -> Result<(), PeerError> {
        let Some(line) = &self.line else { return Ok(()) };
        if self.offer.is_some() {
            self.offer = Some(Offer::Outdated);
            return Ok(());
        }
        let description = line.restart().await?;
        self.offer = Some(Offer::Open);
        self.describe(description).await
    }

    /// Breaks the connection to the hub, comes back and goes on; media is not asked.
    pub async fn reconnect(&mut self) -> Result<(), PeerError> {
        self.client.cut();
        self.client.connect().await?;
        self.client.until_live().await?;
        self.say_attach().await
    }

    /// Takes part until `enough`, at most for `limit`.
    pub async fn until(&mut self, limit: Duration, enough: impl Fn(&Progress) -> bool) -> Result<Progress, PeerError> {
        let end = tokio::time::Instant::now() + limit;
        loop {
            let progress = self.progress();
            if enough(&progress) {
                return Ok(progress);
            }
            // Packets are counted without a word: they are looked at now and then.
            let soon = end.min(tokio::time::Instant::now() + Duration::from_millis(20));
            let step = async {
                tokio::select! {
                    heard = self.client.next() => Ok::<_, PeerError>((Some(heard?), None)),
                    told = self.told.recv() => Ok((None, told)),
                }
            };
            match timeout_at(soon, step).await {
                Ok(Ok((Some(heard), _))) => self.hear(&heard.text).await?,
                Ok(Ok((_, Some(told)))) => self.happened(told).await?,
                Ok(Ok((None, None))) => {}
                Ok(Err(error)) => return Err(error),
                Err(_) if tokio::time::Instant::now() >= end => return Err(PeerError::Late(limit)),
                Err(_) => {}
            }
        }
    }

    /// Hangs up.
    pub async fn leave(mut self) -> Result<(), PeerError> {
        if let Some(line) = self.line.take() {
            line.close().await;
        }
        let leave = LeaveCall { call: self.call, why: LeaveReason::Hangup };
        done(self.client.command(self.room, Command::LeaveCall(leave)).await?)
    }

    async fn hear(&mut self, text: &str) -> Result<(), PeerError> {
        match serde_json::from_str(text) {
            Ok(ServerFrame::Call { call, signal, .. }) if call == self.call => self.notice(signal).await,
            Ok(ServerFrame::Error(error)) => Err(PeerError::Refused(error.message)),
            _ => Ok(()),
        }
    }

    async fn notice(&mut self, notice: CallNotice) -> Result<(), PeerError> {
        match notice {
            CallNotice::Attached(attached) => self.attached = Some(attached),
            CallNotice::Servers(servers) => {
                if let Some(attached) = &mut self.attached {
                    attached.servers = servers;
                }
            }
            CallNotice::Peer(peer) if peer.resumed => {
                if !peer.polite {
                    self.restart().await?;
                }
            }
            CallNotice::Peer(peer) => {
                if let Some(former) = self.line.take() {
                    former.close().await;
                }
                self.other = Some((peer.user, 0));
                self.sent = 0;
                let (relay_only, servers) = match &self.attached {
                    Some(attached) => (attached.relay_only, attached.servers.ice_servers.as_slice()),
                    None => (false, [].as_slice()),
                };
                let line = Line::open(peer.epoch, servers, relay_only, self.tell.clone(), self.packets.clone()).await?;
                let offer = if peer.polite { None } else { Some(line.offer().await?) };
                self.offer = offer.as_ref().map(|_| Offer::Open);
                self.line = Some(line);
                self.progress.connections += 1;
                if let Some(offer) = offer {
                    self.describe(offer).await?;
                }
            }
            CallNotice::Description { from, epoch, n, description } if self.takes(from, epoch, n) => {
                let answer = match &self.line {
                    Some(line) => line.take(&description).await?,
                    None => None,
                };
                if let Some(answer) = answer {
                    self.describe(answer).await?;
                } else if self.offer.take() == Some(Offer::Outdated) {
                    self.restart().await?;
                }
            }
            CallNotice::Candidate { from, epoch, n, candidate } if self.takes(from, epoch, n) => {
                if let Some(line) = &self.line {
                    line.candidate(&candidate).await?;
                }
            }
            CallNotice::Taken(_) => {
                self.progress.taken = true;
                if let Some(line) = self.line.take() {
                    line.close().await;
                }
            }
            CallNotice::Away { .. } | CallNotice::Description { .. } | CallNotice::Candidate { .. } => {}
        }
        Ok(())
    }

    /// Whether a message is of the present epoch; it is remembered.
    fn takes(&mut self, from: UserId, epoch: u64, n: u64) -> bool {
        let is_present = self.line.as_ref().is_some_and(|line| line.epoch == epoch);
        match &mut self.other {
            Some((user, got)) if *user == from && is_present => {
                *got = n;
                if let Some(relayed) = &self.relayed {
                    relayed.arrived(self.call, self.me, epoch, n);
                }
                true
            }
            _ => false,
        }
    }

    async fn describe(&mut self, description: rooms::wire::call::Description) -> Result<(), PeerError> {
        let (Some(line), Some((to, _))) = (&self.line, self.other) else { return Ok(()) };
        let epoch = line.epoch;
        self.count(to, epoch);
        self.signal(CallSignal::Description(SendDescription { to, epoch, description })).await
    }

    async fn happened(&mut self, (epoch, event): Told) -> Result<(), PeerError> {
        if self.line.as_ref().is_none_or(|line| line.epoch != epoch) {
            return Ok(());
        }
        match event {
            Event::Candidate(init) => {
                let (Some((to, _)), Ok(candidate)) = (self.other, Candidate::parse(&init.candidate)) else {
                    return Ok(());
                };
                let candidate = IceCandidate {
                    candidate,
                    sdp_mid: init.sdp_mid.as_deref().and_then(|text| Text::parse(text).ok()),
                    sdp_m_line_index: init.sdp_mline_index,
                    username_fragment: None,
                };
                self.count(to, epoch);
                self.signal(CallSignal::Candidate(SendCandidate { to, epoch, candidate })).await?;
            }
            Event::Connected => {
                self.progress.connected = Some(Instant::now());
            }
            Event::Failed => self.progress.connected = None,
            Event::Text(text) => match serde_json::from_str(&text) {
                Ok(state) => self.progress.state = Some(state),
                Err(_) => self.progress.heard.push(text),
            },
        }
        Ok(())
    }
}

fn done(answer: Answer) -> Result<(), PeerError> {
    match answer {
        Answer::Done { .. } => Ok(()),
        Answer::Refused(error) => Err(PeerError::Refused(error.message)),
    }
}

/// The call that rings in the room: told by its event. Those of before have rung out.
async fn started(client: &mut Client, room: RoomId) -> Result<CallId, PeerError> {
    use rooms::event::Event as Happened;
    loop {
        let heard = client.next().await?;
        if let Ok(ServerFrame::Event { room: of, event, .. }) = serde_json::from_str(&heard.text)
            && of == room
            && let Happened::CallStarted(started) = event.event
            && started.until > Timestamp::new(std::time::SystemTime::now().into())
        {
            return Ok(started.call);
        }
    }
}
