//! Plays received media playback after a delay. Without one, the speaker's own voice would mask the echo, and browsers
//! would cancel it.

use std::sync::Arc;
use std::time::Duration;

use rtc::rtcp::payload_feedbacks::picture_loss_indication::PictureLossIndication;
use rtc::rtp::Packet;
use rtc::rtp_transceiver::rtp_sender::RtpCodecKind;
use tokio::sync::mpsc;
use tokio::time::{Instant, MissedTickBehavior, interval, sleep_until};
use webrtc::media_stream::Track;
use webrtc::media_stream::track_local::TrackLocal;
use webrtc::media_stream::track_local::static_rtp::TrackLocalStaticRTP;
use webrtc::media_stream::track_remote::{TrackRemote, TrackRemoteEvent};

/// How long media is held playback.
const PLAYBACK_DELAY: Duration = Duration::from_millis(1_200);
/// Packets that may await playback. It exceeds what any page sends within the delay, and further packets are dropped
/// as on any network.
const MAX_DELAYED_PACKETS: usize = 1_024;
/// How often the hub requests a key frame, without which the video of an echo cannot start.
const KEY_FRAME_INTERVAL: Duration = Duration::from_secs(2);

/// Sends all packets from `track` playback on `playback`, until the track ends.
pub async fn play_back(track: Arc<dyn TrackRemote>, playback: Arc<TrackLocalStaticRTP>) {
    let (Some(own_ssrc), Some(media_ssrc)) =
        (playback.ssrcs().await.first().copied(), track.ssrcs().await.first().copied())
    else {
        return;
    };
    let (sender, delayed) = mpsc::channel(MAX_DELAYED_PACKETS);
    tokio::spawn(send_when_due(delayed, playback));
    let is_video = track.kind().await == RtpCodecKind::Video;
    let mut key_frame_requests = interval(KEY_FRAME_INTERVAL);
    key_frame_requests.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            event = track.poll() => match event {
                Some(TrackRemoteEvent::OnRtpPacket(mut packet)) => {
                    packet.header.ssrc = own_ssrc;
                    // Extensions have a meaning between the client and the hub only.
                    packet.header.extension = false;
                    packet.header.extensions.clear();
                    // A full queue means that the client sends more than any page does.
                    let _ = sender.try_send((Instant::now() + PLAYBACK_DELAY, packet));
                }
                Some(TrackRemoteEvent::OnEnded) | None => return,
                Some(_) => {}
            },
            _ = key_frame_requests.tick(), if is_video => {
                let request = PictureLossIndication { sender_ssrc: 0, media_ssrc };
                if track.write_rtcp(vec![Box::new(request)]).await.is_err() {
                    return;
                }
            }
        }
    }
}

async fn send_when_due(mut delayed: mpsc::Receiver<(Instant, Packet)>, playback: Arc<TrackLocalStaticRTP>) {
    while let Some((at, packet)) = delayed.recv().await {
        sleep_until(at).await;
        if playback.write_rtp(packet).await.is_err() {
            return;
        }
    }
}
