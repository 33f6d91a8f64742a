//! The hub's side of one echo.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use rooms::sdp::Sdp;
use rooms::wire::call::IceServer;
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

/// How long the own candidates are looked for; those found by then are told.
const GATHER: Duration = Duration::from_secs(2);

/// Where the hub sends from, and where others reach that.
#[derive(Clone, Copy, Debug)]
pub struct Address {
    pub listen: IpAddr,
    pub public: IpAddr,
}

/// One connection to somebody who listens to themselves.
pub struct Peer {
    pc: Box<dyn PeerConnection>,
    stage: watch::Receiver<Stage>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Stage {
    New,
    Gathered,
    Connected,
    Ended,
}

struct Handler {
    stage: watch::Sender<Stage>,
    sound: Arc<TrackLocalStaticRTP>,
    picture: Arc<TrackLocalStaticRTP>,
}

impl Handler {
    /// Stages are only gone forward.
    fn reach(&self, stage: Stage) {
        self.stage.send_if_modified(|now| {
            let on = stage > *now;
            *now = stage.max(*now);
            on
        });
    }
}

#[async_trait::async_trait]
impl PeerConnectionEventHandler for Handler {
    async fn on_ice_gathering_state_change(&self, state: RTCIceGatheringState) {
        if state == RTCIceGatheringState::Complete {
            self.reach(Stage::Gathered);
        }
    }

    async fn on_connection_state_change(&self, state: RTCPeerConnectionState) {
        use RTCPeerConnectionState::{Closed, Connected, Disconnected, Failed};
        match state {
            Connected => self.reach(Stage::Connected),
            Disconnected | Failed | Closed => self.reach(Stage::Ended),
            _ => {}
        }
    }

    async fn on_track(&self, track: Arc<dyn TrackRemote>) {
        let back = match track.kind().await {
            RtpCodecKind::Video => self.picture.clone(),
            _ => self.sound.clone(),
        };
        tokio::spawn(play_back(track, back));
    }
}

impl Peer {
    /// Answers an offer that has its candidates; the answer has all of its own.
    pub async fn answer(address: Address, servers: &[IceServer], offer: &Sdp) -> Result<(Self, Sdp), EchoError> {
        let (pc, stage) = build(address, servers).await.map_err(|error| {
            tracing::warn!(%error, "an echo could not be set up");
            EchoError::Unavailable
        })?;
        let mut peer = Self { pc, stage };
        match peer.negotiate(offer).await {
            Ok(answer) => Ok((peer, answer)),
            Err(error) => {
                tracing::debug!(%error, "an offer could not be answered by an echo");
                peer.close().await;
                Err(EchoError::Offer)
            }
        }
    }

    async fn negotiate(&mut self, offer: &Sdp) -> Result<Sdp, Error> {
        self.pc.set_remote_description(RTCSessionDescription::offer(offer.as_str().to_owned())?).await?;
        let answer = self.pc.create_answer(None).await?;
        self.pc.set_local_description(answer).await?;
        // With what was found until then; a relay that does not answer must not hold up the others.
        let _ = timeout(GATHER, self.stage.wait_for(|stage| *stage >= Stage::Gathered)).await;
        let local = self.pc.local_description().await.ok_or(Error::ErrConnectionClosed)?;
        Sdp::parse(&local.sdp).map_err(|error| Error::Other(error.to_string()))
    }

    /// Waits until media can flow, or never will.
    pub async fn connected(&self) {
        self.reaches(Stage::Connected).await;
    }

    /// Waits until the other side is gone.
    pub async fn ended(&self) {
        self.reaches(Stage::Ended).await;
    }

    async fn reaches(&self, stage: Stage) {
        // An error says that the connection is gone.
        let _ = self.stage.clone().wait_for(|now| *now >= stage).await;
    }

    pub async fn close(self) {
        // The other side may have closed it.
        let _ = self.pc.close().await;
    }
}

async fn build(
    address: Address,
    servers: &[IceServer],
) -> Result<(Box<dyn PeerConnection>, watch::Receiver<Stage>), Error> {
    let mut media = MediaEngine::default();
    media.register_codec(opus(), RtpCodecKind::Audio)?;
    media.register_codec(vp8(), RtpCodecKind::Video)?;
    let interceptors = register_default_interceptors(Registry::new(), &mut media)?;
    let servers = servers.iter().map(|server| RTCIceServer {
        // The stack relays by UDP only.
        urls: server.urls.iter().filter(|url| !url.contains("transport=tcp")).cloned().collect(),
        username: server.username.clone().unwrap_or_default(),
        credential: server.credential.clone().unwrap_or_default(),
    });
    let mut engine = SettingEngineBuilder::new();
    if address.public != address.listen && !address.listen.is_unspecified() {
        engine = engine.with_nat_1to1_ips(vec![address.public.to_string()], RTCIceCandidateType::Host);
    }
    let (sender, stage) = watch::channel(Stage::New);
    let sound = Arc::new(track("sound", RtpCodecKind::Audio, opus().rtp_codec));
    let picture = Arc::new(track("picture", RtpCodecKind::Video, vp8().rtp_codec));
    let handler = Handler { stage: sender, sound: sound.clone(), picture: picture.clone() };
    let pc = PeerConnectionBuilder::new()
        .with_configuration(RTCConfigurationBuilder::new().with_ice_servers(servers.collect()).build())
        .with_media_engine(media)
        .with_interceptor_registry(interceptors)
        .with_setting_engine(engine.build())
        .with_handler(Arc::new(handler))
        .with_udp_addrs(vec![(address.listen, 0)])
        .build()
        .await?;
    pc.add_track(sound).await?;
    pc.add_track(picture).await?;
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
