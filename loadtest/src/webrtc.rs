//! A person in a call, without a browser: signalling through the hub, and media from its own WebRTC stack.
//!
//! It implements `docs/protocol.md` and knows nothing of the server. A call between it and a browser shows that the
//! protocol is sufficient.

mod media;
mod relay_times;

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

use self::media::{EpochEvent, MediaConnection, MediaEvent};
pub use self::relay_times::RelayTimes;
use crate::client::{Answer, Client, ClientError};

/// Why a call failed.
#[derive(Debug, thiserror::Error)]
pub enum WebRtcError {
    #[error(transparent)]
    Client(#[from] ClientError),
    #[error("peer connection failed: {0}")]
    Media(#[from] webrtc::error::Error),
    #[error("the hub refused: {0}")]
    Refused(String),
    #[error("timed out after {0:?}")]
    Timeout(Duration),
}

/// The progress of a call, as this side sees it.
#[derive(Clone, Debug, Default)]
pub struct CallProgress {
    /// When the current or latest connection was established.
    pub connected: Option<Instant>,
    /// Connections built, one after the other.
    pub connections: u32,
    /// Media packets received.
    pub packets: u64,
    /// The other side's latest state of microphone and camera.
    pub state: Option<MediaState>,
    /// Other texts received on the data channel.
    pub received: Vec<String>,
    /// Whether another session of the same person took over.
    pub taken: bool,
}

/// The state of one side's devices, as sent on the data channel.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Deserialize)]
pub struct MediaState {
    pub microphone: bool,
    pub camera: bool,
}

/// One side of a call.
pub struct WebRtcPeer {
    client: Client,
    me: UserId,
    room: RoomId,
    call: CallId,
    device: Uuid,
    attached: Option<Attached>,
    /// The other side, and the number of its last accepted signal.
    other: Option<(UserId, u64)>,
    connection: Option<MediaConnection>,
    events: mpsc::UnboundedSender<EpochEvent>,
    media_events: mpsc::UnboundedReceiver<EpochEvent>,
    packets: Arc<AtomicU64>,
    progress: CallProgress,
    relay_times: Option<RelayTimes>,
    /// Signals sent to the other side in this epoch.
    sent: u64,
    /// The own offer, until its answer arrives.
    offer: Option<PendingOffer>,
}

/// An offer without an answer yet.
#[derive(Clone, Copy, PartialEq, Eq)]
enum PendingOffer {
    Open,
    /// A newer offer is needed but must wait: an answer does not say to which offer it belongs.
    Outdated,
}

impl WebRtcPeer {
    /// Starts a call in a room that `client` has joined.
    pub async fn ring(mut client: Client, room: RoomId, media: Media) -> Result<Self, WebRtcError> {
        require_done(client.command(room, Command::StartCall(StartCall { media })).await?)?;
        let call = await_call_start(&mut client, room).await?;
        Self::attach(client, room, call).await
    }

    /// Waits for a call in a room that `client` has joined, and answers it.
    pub async fn answer(mut client: Client, room: RoomId) -> Result<Self, WebRtcError> {
        let call = await_call_start(&mut client, room).await?;
        require_done(client.command(room, Command::JoinCall(CallRef { call })).await?)?;
        Self::attach(client, room, call).await
    }

    async fn attach(client: Client, room: RoomId, call: CallId) -> Result<Self, WebRtcError> {
        let (events, media_events) = mpsc::unbounded_channel();
        let mut peer = Self {
            me: client.user().ok_or(ClientError::NotConnected)?,
            client,
            room,
            call,
            device: Uuid::now_v7(),
            attached: None,
            other: None,
            connection: None,
            events,
            media_events,
            packets: Arc::default(),
            progress: CallProgress::default(),
            relay_times: None,
            sent: 0,
            offer: None,
        };
        peer.send_attach().await?;
        Ok(peer)
    }

    /// Measures relayed signals with `relay_times`. Call it before the first signal.
    pub fn with_relay_times(mut self, relay_times: &RelayTimes) -> Self {
        self.relay_times = Some(relay_times.clone());
        self
    }

    /// Records an outgoing signal.
    fn record_sent(&mut self, to: UserId, epoch: u64) {
        self.sent += 1;
        if let Some(relay_times) = &self.relay_times {
            relay_times.sent(self.call, to, epoch, self.sent);
        }
    }

    async fn send_attach(&mut self) -> Result<(), WebRtcError> {
        let held = self.connection.iter().zip(self.other).map(|(connection, (peer, got))| Held {
            peer,
            epoch: connection.epoch,
            got,
        });
        let attach = Attach { device: self.device, take: false, held: held.collect() };
        self.signal(CallSignal::Attach(attach)).await
    }

    async fn signal(&mut self, signal: CallSignal) -> Result<(), WebRtcError> {
        self.client.queue(&ClientFrame::Call { room: self.room, call: self.call, signal });
        Ok(self.client.flush().await?)
    }

    /// Returns the progress so far.
    pub fn progress(&self) -> CallProgress {
        CallProgress { packets: self.packets.load(Ordering::Relaxed), ..self.progress.clone() }
    }

    /// Sends a text on the data channel.
    pub async fn send_text(&self, text: &str) -> Result<(), WebRtcError> {
        match &self.connection {
            Some(connection) => Ok(connection.send_text(text).await?),
            None => Err(WebRtcError::Media(webrtc::error::Error::ErrConnectionClosed)),
        }
    }

    /// Restarts ICE.
    pub async fn restart(&mut self) -> Result<(), WebRtcError> {
        let Some(connection) = &self.connection else { return Ok(()) };
        if self.offer.is_some() {
            self.offer = Some(PendingOffer::Outdated);
            return Ok(());
        }
        let description = connection.restart_ice().await?;
        self.offer = Some(PendingOffer::Open);
        self.send_description(description).await
    }

    /// Cuts the connection to the hub, reconnects, and attaches again. Media is not affected.
    pub async fn reconnect(&mut self) -> Result<(), WebRtcError> {
        self.client.cut();
        self.client.connect().await?;
        self.client.until_live().await?;
        self.send_attach().await
    }

    /// Takes part in the call until `enough` holds, for at most `limit`.
    pub async fn run_until(
        &mut self,
        limit: Duration,
        enough: impl Fn(&CallProgress) -> bool,
    ) -> Result<CallProgress, WebRtcError> {
        let end = tokio::time::Instant::now() + limit;
        loop {
            let progress = self.progress();
            if enough(&progress) {
                return Ok(progress);
            }
            // Media packets cause no event here, so the loop polls their count.
            let soon = end.min(tokio::time::Instant::now() + Duration::from_millis(20));
            let step = async {
                tokio::select! {
                    received = self.client.next() => Ok::<_, WebRtcError>((Some(received?), None)),
                    media_events = self.media_events.recv() => Ok((None, media_events)),
                }
            };
            match timeout_at(soon, step).await {
                Ok(Ok((Some(received), _))) => self.on_frame(&received.text).await?,
                Ok(Ok((_, Some(media_events)))) => self.on_media_event(media_events).await?,
                Ok(Ok((None, None))) => {}
                Ok(Err(error)) => return Err(error),
                Err(_) if tokio::time::Instant::now() >= end => return Err(WebRtcError::Timeout(limit)),
                Err(_) => {}
            }
        }
    }

    /// Hangs up.
    pub async fn leave(mut self) -> Result<(), WebRtcError> {
        if let Some(connection) = self.connection.take() {
            connection.close().await;
        }
        let leave = LeaveCall { call: self.call, why: LeaveReason::Hangup };
        require_done(self.client.command(self.room, Command::LeaveCall(leave)).await?)
    }

    async fn on_frame(&mut self, text: &str) -> Result<(), WebRtcError> {
        match serde_json::from_str(text) {
            Ok(ServerFrame::Call { call, signal, .. }) if call == self.call => self.on_notice(signal).await,
            Ok(ServerFrame::Error(error)) => Err(WebRtcError::Refused(error.message)),
            _ => Ok(()),
        }
    }

    async fn on_notice(&mut self, notice: CallNotice) -> Result<(), WebRtcError> {
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
                if let Some(former) = self.connection.take() {
                    former.close().await;
                }
                self.other = Some((peer.user, 0));
                self.sent = 0;
                let (relay_only, servers) = match &self.attached {
                    Some(attached) => (attached.relay_only, attached.servers.ice_servers.as_slice()),
                    None => (false, [].as_slice()),
                };
                let connection =
                    MediaConnection::open(peer.epoch, servers, relay_only, self.events.clone(), self.packets.clone())
                        .await?;
                let offer = if peer.polite { None } else { Some(connection.offer().await?) };
                self.offer = offer.as_ref().map(|_| PendingOffer::Open);
                self.connection = Some(connection);
                self.progress.connections += 1;
                if let Some(offer) = offer {
                    self.send_description(offer).await?;
                }
            }
            CallNotice::Description { from, epoch, n, description } if self.accepts(from, epoch, n) => {
                let answer = match &self.connection {
                    Some(connection) => connection.apply_description(&description).await?,
                    None => None,
                };
                if let Some(answer) = answer {
                    self.send_description(answer).await?;
                } else if self.offer.take() == Some(PendingOffer::Outdated) {
                    self.restart().await?;
                }
            }
            CallNotice::Candidate { from, epoch, n, candidate } if self.accepts(from, epoch, n) => {
                if let Some(connection) = &self.connection {
                    connection.add_candidate(&candidate).await?;
                }
            }
            CallNotice::Taken(_) => {
                self.progress.taken = true;
                if let Some(connection) = self.connection.take() {
                    connection.close().await;
                }
            }
            CallNotice::Away { .. } | CallNotice::Description { .. } | CallNotice::Candidate { .. } => {}
        }
        Ok(())
    }

    /// Returns whether a signal belongs to the current epoch, and records it.
    fn accepts(&mut self, from: UserId, epoch: u64, n: u64) -> bool {
        let is_present = self.connection.as_ref().is_some_and(|connection| connection.epoch == epoch);
        match &mut self.other {
            Some((user, got)) if *user == from && is_present => {
                *got = n;
                if let Some(relay_times) = &self.relay_times {
                    relay_times.arrived(self.call, self.me, epoch, n);
                }
                true
            }
            _ => false,
        }
    }

    async fn send_description(&mut self, description: rooms::wire::call::Description) -> Result<(), WebRtcError> {
        let (Some(connection), Some((to, _))) = (&self.connection, self.other) else { return Ok(()) };
        let epoch = connection.epoch;
        self.record_sent(to, epoch);
        self.signal(CallSignal::Description(SendDescription { to, epoch, description })).await
    }

    async fn on_media_event(&mut self, (epoch, event): EpochEvent) -> Result<(), WebRtcError> {
        if self.connection.as_ref().is_none_or(|connection| connection.epoch != epoch) {
            return Ok(());
        }
        match event {
            MediaEvent::Candidate(init) => {
                let (Some((to, _)), Ok(candidate)) = (self.other, Candidate::parse(&init.candidate)) else {
                    return Ok(());
                };
                let candidate = IceCandidate {
                    candidate,
                    sdp_mid: init.sdp_mid.as_deref().and_then(|text| Text::stored(text).ok()),
                    sdp_m_line_index: init.sdp_mline_index,
                    username_fragment: None,
                };
                self.record_sent(to, epoch);
                self.signal(CallSignal::Candidate(SendCandidate { to, epoch, candidate })).await?;
            }
            MediaEvent::Connected => {
                self.progress.connected = Some(Instant::now());
            }
            MediaEvent::Failed => self.progress.connected = None,
            MediaEvent::Text(text) => match serde_json::from_str(&text) {
                Ok(state) => self.progress.state = Some(state),
                Err(_) => self.progress.received.push(text),
            },
        }
        Ok(())
    }
}

fn require_done(answer: Answer) -> Result<(), WebRtcError> {
    match answer {
        Answer::Done { .. } => Ok(()),
        Answer::Refused(error) => Err(WebRtcError::Refused(error.message)),
    }
}

/// Waits for the event of a ringing call. Events of earlier calls have expired.
async fn await_call_start(client: &mut Client, room: RoomId) -> Result<CallId, WebRtcError> {
    use rooms::event::Event as RoomEvent;
    loop {
        let received = client.next().await?;
        if let Ok(ServerFrame::Event { room: of, event, .. }) = serde_json::from_str(&received.text)
            && of == room
            && let RoomEvent::CallStarted(started) = event.event
            && started.until > Timestamp::new(std::time::SystemTime::now().into())
        {
            return Ok(started.call);
        }
    }
}
