//! The hub's WebRTC peer of one echo.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use rooms::sdp::Sdp;
use rooms::wire::call::IceServer;
use rtc::ice::mdns::MulticastDnsMode;
use rtc::interceptor::Registry;
use rtc::media_stream::MediaStreamTrack;
use rtc::peer_connection::configuration::RTCConfigurationBuilder;
use rtc::peer_connection::configuration::interceptor_registry::register_default_interceptors;
use rtc::peer_connection::configuration::media_engine::{MIME_TYPE_OPUS, MIME_TYPE_VP8, MediaEngine};
use rtc::peer_connection::configuration::setting_engine::SettingEngineBuilder;
use rtc::peer_connection::sdp::RTCSessionDescription;
use rtc::peer_connection::transport::{RTCIceCandidateType, RTCIceServer};
use rtc::rtp_transceiver::rtp_sender::{
    RTCPFeedback, RTCRtpCodec, RTCRtpCodecParameters, RTCRtpCodingParameters, RTCRtpEncodingParameters, RtpCodecKind,
};
use tokio::sync::watch;
use tokio::time::timeout;
use webrtc::error::Error;
use webrtc::media_stream::track_local::static_rtp::TrackLocalStaticRTP;
use webrtc::media_stream::track_remote::TrackRemote;
use webrtc::peer_connection::{
    PeerConnection, PeerConnectionBuilder, PeerConnectionEventHandler, RTCIceGatheringState, RTCPeerConnectionState,
};

use super::EchoError;
use super::playback::play_back;
use crate::egress::AddressPolicy;

/// How long the hub gathers its own candidates; the answer has those found by then.
const GATHERING_TIMEOUT: Duration = Duration::from_secs(2);

/// The address that the hub sends media from, and the one where clients reach it.
#[derive(Clone, Copy, Debug)]
pub struct MediaAddress {
    pub listen: IpAddr,
    pub public: IpAddr,
    /// The clients' addresses that the hub sends to.
    pub policy: AddressPolicy,
}

/// The connection to one client that tests its media.
pub struct EchoPeer {
    pc: Box<dyn PeerConnection>,
    stage: watch::Receiver<ConnectionStage>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum ConnectionStage {
    New,
    Gathered,
    Connected,
    Ended,
}

struct PeerEvents {
    stage: watch::Sender<ConnectionStage>,
    audio: Arc<TrackLocalStaticRTP>,
    video: Arc<TrackLocalStaticRTP>,
}

impl PeerEvents {
    /// Moves on to a later stage; never moves back.
    fn reach(&self, stage: ConnectionStage) {
        self.stage.send_if_modified(|now| {
            let advances = stage > *now;
            *now = stage.max(*now);
            advances
        });
    }
}

#[async_trait::async_trait]
impl PeerConnectionEventHandler for PeerEvents {
    async fn on_ice_gathering_state_change(&self, state: RTCIceGatheringState) {
        if state == RTCIceGatheringState::Complete {
            self.reach(ConnectionStage::Gathered);
        }
    }

    async fn on_connection_state_change(&self, state: RTCPeerConnectionState) {
        use RTCPeerConnectionState::{Closed, Connected, Disconnected, Failed};
        match state {
            Connected => self.reach(ConnectionStage::Connected),
            Disconnected | Failed | Closed => self.reach(ConnectionStage::Ended),
            _ => {}
        }
    }

    async fn on_track(&self, track: Arc<dyn TrackRemote>) {
        let playback = match track.kind().await {
            RtpCodecKind::Video => self.video.clone(),
            _ => self.audio.clone(),
        };
        tokio::spawn(play_back(track, playback));
    }
}

impl EchoPeer {
    /// Answers an offer that includes its candidates. The answer includes those of the hub.
    pub async fn answer(address: MediaAddress, servers: &[IceServer], offer: &Sdp) -> Result<(Self, Sdp), EchoError> {
        let (pc, stage) = build(address, servers).await.map_err(|error| {
            tracing::warn!(%error, "echo setup failed");
            EchoError::Unavailable
        })?;
        let mut peer = Self { pc, stage };
        match peer.negotiate(offer).await {
            Ok(answer) => Ok((peer, answer)),
            Err(error) => {
                tracing::debug!(%error, "echo offer rejected");
                peer.close().await;
                Err(EchoError::UnsupportedOffer)
            }
        }
    }

    async fn negotiate(&mut self, offer: &Sdp) -> Result<Sdp, Error> {
        self.pc.set_remote_description(RTCSessionDescription::offer(offer.as_str().to_owned())?).await?;
        let answer = self.pc.create_answer(None).await?;
        self.pc.set_local_description(answer).await?;
        // Proceeds with the candidates found so far, so that an unresponsive relay does not delay the others.
        let _ = timeout(GATHERING_TIMEOUT, self.stage.wait_for(|stage| *stage >= ConnectionStage::Gathered)).await;
        let local = self.pc.local_description().await.ok_or(Error::ErrConnectionClosed)?;
        Sdp::parse(&local.sdp).map_err(|error| Error::Other(error.to_string()))
    }

    /// Waits until media can flow, or never will.
    pub async fn connected(&self) {
        self.wait_for_stage(ConnectionStage::Connected).await;
    }

    /// Waits until the client disconnects.
    pub async fn ended(&self) {
        self.wait_for_stage(ConnectionStage::Ended).await;
    }

    async fn wait_for_stage(&self, stage: ConnectionStage) {
        // An error means that the connection is closed.
        let _ = self.stage.clone().wait_for(|now| *now >= stage).await;
    }

    pub async fn close(self) {
        // An error means that the client closed it first.
        let _ = self.pc.close().await;
    }
}

async fn build(
    address: MediaAddress,
    servers: &[IceServer],
) -> Result<(Box<dyn PeerConnection>, watch::Receiver<ConnectionStage>), Error> {
    let mut media = MediaEngine::default();
    media.register_codec(opus(), RtpCodecKind::Audio)?;
    media.register_codec(vp8(), RtpCodecKind::Video)?;
    let interceptors = register_default_interceptors(Registry::new(), &mut media)?;
    let servers = servers.iter().map(|server| RTCIceServer {
        // The WebRTC stack reaches relays by UDP only.
        urls: server.urls.iter().filter(|url| !url.contains("transport=tcp")).cloned().collect(),
        username: server.username.clone().unwrap_or_default(),
        credential: server.credential.clone().unwrap_or_default(),
    });
    // Candidates with mDNS names are removed from offers. The socket for them cannot be opened on a machine without a
    // multicast route.
    let mut engine = SettingEngineBuilder::new().with_multicast_dns_mode(MulticastDnsMode::Disabled);
    if address.public != address.listen && !address.listen.is_unspecified() {
        engine = engine.with_nat_1to1_ips(vec![address.public.to_string()], RTCIceCandidateType::Host);
    }
    let (sender, stage) = watch::channel(ConnectionStage::New);
    let audio = Arc::new(track("sound", RtpCodecKind::Audio, opus().rtp_codec));
    let video = Arc::new(track("picture", RtpCodecKind::Video, vp8().rtp_codec));
    let handler = PeerEvents { stage: sender, audio: audio.clone(), video: video.clone() };
    let pc = PeerConnectionBuilder::new()
        .with_configuration(RTCConfigurationBuilder::new().with_ice_servers(servers.collect()).build())
        .with_media_engine(media)
        .with_interceptor_registry(interceptors)
        .with_setting_engine(engine.build())
        .with_handler(Arc::new(handler))
        .with_udp_addrs(vec![(address.listen, 0)])
        .build()
        .await?;
    pc.add_track(audio).await?;
    pc.add_track(video).await?;
    Ok((Box::new(pc), stage))
}

fn track(name: &str, kind: RtpCodecKind, codec: RTCRtpCodec) -> TrackLocalStaticRTP {
    let coding = RTCRtpCodingParameters { ssrc: Some(rand::random()), ..Default::default() };
    let encoding = RTCRtpEncodingParameters { rtp_coding_parameters: coding, codec, ..Default::default() };
    let stream = "echo".to_owned();
    TrackLocalStaticRTP::new(MediaStreamTrack::new(stream, name.to_owned(), name.to_owned(), kind, vec![encoding]))
}

fn opus() -> RTCRtpCodecParameters {
    RTCRtpCodecParameters {
        rtp_codec: RTCRtpCodec {
            mime_type: MIME_TYPE_OPUS.to_owned(),
            clock_rate: 48_000,
            channels: 2,
            sdp_fmtp_line: "minptime=10;useinbandfec=1".to_owned(),
            rtcp_feedback: vec![],
        },
        payload_type: 111,
    }
}

fn vp8() -> RTCRtpCodecParameters {
    let feedback = |kind: &str, parameter: &str| RTCPFeedback { typ: kind.to_owned(), parameter: parameter.to_owned() };
    RTCRtpCodecParameters {
        rtp_codec: RTCRtpCodec {
            mime_type: MIME_TYPE_VP8.to_owned(),
            clock_rate: 90_000,
            channels: 0,
            sdp_fmtp_line: String::new(),
            rtcp_feedback: vec![feedback("nack", ""), feedback("nack", "pli")],
        },
        payload_type: 96,
    }
}
