//! The media side of a WebRTC peer: one connection in one epoch, with a data channel and an audio track.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use bytes::Bytes;
use rooms::wire::call::{Description, DescriptionKind, IceCandidate, IceServer};
use rtc::interceptor::Registry;
use rtc::media_stream::MediaStreamTrack;
use rtc::peer_connection::configuration::interceptor_registry::register_default_interceptors;
use rtc::peer_connection::configuration::media_engine::{MIME_TYPE_OPUS, MediaEngine};
use rtc::peer_connection::configuration::{RTCConfigurationBuilder, RTCIceTransportPolicy};
use rtc::peer_connection::sdp::RTCSessionDescription;
use rtc::peer_connection::transport::{RTCIceCandidateInit, RTCIceServer};
use rtc::rtp_transceiver::rtp_sender::{RTCRtpCodec, RTCRtpCodingParameters, RTCRtpEncodingParameters, RtpCodecKind};
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use webrtc::data_channel::{DataChannel, DataChannelEvent, RTCDataChannelInit};
use webrtc::error::Error;
use webrtc::media_stream::Track;
use webrtc::media_stream::track_local::TrackLocal;
use webrtc::media_stream::track_local::static_rtp::TrackLocalStaticRTP;
use webrtc::media_stream::track_remote::{TrackRemote, TrackRemoteEvent};
use webrtc::peer_connection::{
    PeerConnection, PeerConnectionBuilder, PeerConnectionEventHandler, RTCIceGatheringState, RTCPeerConnectionIceEvent,
    RTCPeerConnectionState,
};

/// The negotiated channel id, as in Wardroom's pages.
const STATE_CHANNEL_ID: u16 = 0;
/// Length of audio in one packet.
const AUDIO_PACKET_INTERVAL: Duration = Duration::from_millis(20);
/// An Opus frame of silence.
const OPUS_SILENCE: [u8; 3] = [0xf8, 0xff, 0xfe];

/// The peer's state on the data channel: audio without video.
const MEDIA_STATE_JSON: &str = r#"{"microphone":true,"camera":false}"#;

/// An event of a media connection.
#[derive(Debug)]
pub enum MediaEvent {
    /// A local candidate to send; an empty one at the end.
    Candidate(RTCIceCandidateInit),
    Connected,
    /// The connection failed and does not recover by itself.
    Failed,
    /// A text on the data channel.
    Text(String),
}

/// An event with the epoch of its connection.
pub type EpochEvent = (u64, MediaEvent);

/// One peer connection.
pub struct MediaConnection {
    pub epoch: u64,
    pc: Arc<dyn PeerConnection>,
    channel: Arc<dyn DataChannel>,
    tasks: Vec<JoinHandle<()>>,
}

struct MediaEventHandler {
    epoch: u64,
    events: mpsc::UnboundedSender<EpochEvent>,
    packets: Arc<AtomicU64>,
}

impl MediaEventHandler {
    fn emit(&self, event: MediaEvent) {
        // The receiver is gone once the peer is dropped.
        let _ = self.events.send((self.epoch, event));
    }
}

#[async_trait::async_trait]
impl PeerConnectionEventHandler for MediaEventHandler {
    async fn on_ice_candidate(&self, event: RTCPeerConnectionIceEvent) {
        if let Ok(candidate) = event.candidate.to_json() {
            self.emit(MediaEvent::Candidate(candidate));
        }
    }

    async fn on_ice_gathering_state_change(&self, state: RTCIceGatheringState) {
        if state == RTCIceGatheringState::Complete {
            self.emit(MediaEvent::Candidate(RTCIceCandidateInit { sdp_mline_index: Some(0), ..Default::default() }));
        }
    }

    async fn on_connection_state_change(&self, state: RTCPeerConnectionState) {
        match state {
            RTCPeerConnectionState::Connected => self.emit(MediaEvent::Connected),
            RTCPeerConnectionState::Failed => self.emit(MediaEvent::Failed),
            _ => {}
        }
    }

    async fn on_track(&self, track: Arc<dyn TrackRemote>) {
        let packets = self.packets.clone();
        tokio::spawn(async move {
            while let Some(event) = track.poll().await {
                if let TrackRemoteEvent::OnRtpPacket(_) = event {
                    packets.fetch_add(1, Ordering::Relaxed);
                }
            }
        });
    }
}

impl MediaConnection {
    /// Creates a connection that has not yet negotiated. It binds to loopback only.
    pub async fn open(
        epoch: u64,
        servers: &[IceServer],
        relay_only: bool,
        events: mpsc::UnboundedSender<EpochEvent>,
        packets: Arc<AtomicU64>,
    ) -> Result<Self, Error> {
        let mut media = MediaEngine::default();
        media.register_default_codecs()?;
        let interceptors = register_default_interceptors(Registry::new(), &mut media)?;
        let servers = servers.iter().map(|server| RTCIceServer {
            urls: server.urls.clone(),
            username: server.username.clone().unwrap_or_default(),
            credential: server.credential.clone().unwrap_or_default(),
        });
        let policy = if relay_only { RTCIceTransportPolicy::Relay } else { RTCIceTransportPolicy::All };
        let configuration = RTCConfigurationBuilder::new()
            .with_ice_servers(servers.collect())
            .with_ice_transport_policy(policy)
            .build();
        let handler = MediaEventHandler { epoch, events: events.clone(), packets };
        let pc = PeerConnectionBuilder::new()
            .with_configuration(configuration)
            .with_media_engine(media)
            .with_interceptor_registry(interceptors)
            .with_handler(Arc::new(handler))
            .with_udp_addrs(vec!["127.0.0.1:0"])
            .build()
            .await?;
        let pc: Arc<dyn PeerConnection> = Arc::new(pc);
        let track = Arc::new(silent_track());
        pc.add_track(track.clone()).await?;
        let init = RTCDataChannelInit { negotiated: Some(STATE_CHANNEL_ID), ..RTCDataChannelInit::default() };
        let channel = pc.create_data_channel("state", Some(init)).await?;
        let tasks =
            vec![tokio::spawn(run_state_channel(epoch, channel.clone(), events)), tokio::spawn(send_silence(track))];
        Ok(Self { epoch, pc, channel, tasks })
    }

    /// Creates an offer and sets it as the local description.
    pub async fn offer(&self) -> Result<Description, Error> {
        let offer = self.pc.create_offer(None).await?;
        self.pc.set_local_description(offer).await?;
        self.local_description(DescriptionKind::Offer).await
    }

    /// Applies the remote description. Returns the answer if it was an offer.
    pub async fn apply_description(&self, description: &Description) -> Result<Option<Description>, Error> {
        let sdp = description.sdp.as_str().to_owned();
        match description.kind {
            DescriptionKind::Offer => {
                self.pc.set_remote_description(RTCSessionDescription::offer(sdp)?).await?;
                let answer = self.pc.create_answer(None).await?;
                self.pc.set_local_description(answer).await?;
                Ok(Some(self.local_description(DescriptionKind::Answer).await?))
            }
            DescriptionKind::Answer => {
                self.pc.set_remote_description(RTCSessionDescription::answer(sdp)?).await?;
                Ok(None)
            }
        }
    }

    async fn local_description(&self, kind: DescriptionKind) -> Result<Description, Error> {
        let local = self.pc.local_description().await.ok_or(Error::ErrConnectionClosed)?;
        let sdp = rooms::sdp::Sdp::parse(&local.sdp).map_err(|error| Error::Other(error.to_string()))?;
        Ok(Description { kind, sdp })
    }

    /// Adds a remote candidate.
    pub async fn add_candidate(&self, candidate: &IceCandidate) -> Result<(), Error> {
        if candidate.candidate.as_str().is_empty() {
            return Ok(());
        }
        let init = RTCIceCandidateInit {
            candidate: candidate.candidate.as_str().to_owned(),
            sdp_mid: candidate.sdp_mid.as_ref().map(|text| text.as_str().to_owned()),
            sdp_mline_index: candidate.sdp_m_line_index,
            username_fragment: candidate.username_fragment.as_ref().map(|text| text.as_str().to_owned()),
            url: None,
        };
        self.pc.add_ice_candidate(init).await
    }

    /// Restarts ICE and returns the new offer.
    pub async fn restart_ice(&self) -> Result<Description, Error> {
        self.pc.restart_ice().await?;
        self.offer().await
    }

    /// Sends a text on the data channel.
    pub async fn send_text(&self, text: &str) -> Result<(), Error> {
        self.channel.send_text(text).await
    }

    pub async fn close(self) {
        self.tasks.iter().for_each(JoinHandle::abort);
        // The other side may have closed it already.
        let _ = self.pc.close().await;
    }
}

fn silent_track() -> TrackLocalStaticRTP {
    let codec = RTCRtpCodec {
        mime_type: MIME_TYPE_OPUS.to_owned(),
        clock_rate: 48_000,
        channels: 2,
        sdp_fmtp_line: "minptime=10;useinbandfec=1".to_owned(),
        rtcp_feedback: vec![],
    };
    let encoding = RTCRtpEncodingParameters {
        rtp_coding_parameters: RTCRtpCodingParameters { ssrc: Some(rand::random()), ..Default::default() },
        codec,
        ..Default::default()
    };
    let name = |what: &str| format!("peer-{what}");
    TrackLocalStaticRTP::new(MediaStreamTrack::new(
        name("stream"),
        name("track"),
        name("sound"),
        RtpCodecKind::Audio,
        vec![encoding],
    ))
}

/// Sends silence while the connection exists.
async fn send_silence(track: Arc<TrackLocalStaticRTP>) {
    let ssrc = track.ssrcs().await.first().copied().unwrap_or_default();
    let mut tick = tokio::time::interval(AUDIO_PACKET_INTERVAL);
    let (mut sequence, mut timestamp) = (0u16, 0u32);
    loop {
        tick.tick().await;
        let header = rtc::rtp::header::Header {
            version: 2,
            payload_type: 111,
            sequence_number: sequence,
            timestamp,
            ssrc,
            ..Default::default()
        };
        let packet = rtc::rtp::Packet { header, payload: Bytes::from_static(&OPUS_SILENCE) };
        // Before the connection is up nothing can be sent, and nothing is lost.
        let _ = track.write_rtp(packet).await;
        sequence = sequence.wrapping_add(1);
        timestamp = timestamp.wrapping_add(960);
    }
}

/// Sends the state when the channel opens and again on the first message received, because a text sent before the other
/// side is ready may be lost.
async fn run_state_channel(epoch: u64, channel: Arc<dyn DataChannel>, events: mpsc::UnboundedSender<EpochEvent>) {
    let mut is_heard = false;
    while let Some(event) = channel.poll().await {
        let (text, speak) = match event {
            DataChannelEvent::OnOpen => (None, true),
            DataChannelEvent::OnMessage(message) => {
                (String::from_utf8(message.data.to_vec()).ok(), !std::mem::replace(&mut is_heard, true))
            }
            _ => (None, false),
        };
        if speak {
            // The channel may be closed already.
            let _ = channel.send_text(MEDIA_STATE_JSON).await;
        }
        if let Some(text) = text
            && events.send((epoch, MediaEvent::Text(text))).is_err()
        {
            return;
        }
    }
}
