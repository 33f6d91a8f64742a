//! What comes in goes back a moment later: at once it would drown in the speaker's own voice, and browsers cancel it.

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

/// How much later one hears oneself.
pub const DELAY: Duration = Duration::from_millis(1_200);
/// Packets that may wait: more than any page sends in that time, and what is beyond is lost as on any network.
const WAITING: usize = 1_024;
/// How often a whole picture is asked for; without one the echo of a picture cannot begin.
const WHOLE_PICTURE: Duration = Duration::from_secs(2);

/// Sends everything from `track` back on `back`, until it ends.
pub async fn play_back(track: Arc<dyn TrackRemote>, back: Arc<TrackLocalStaticRTP>) {
    let (Some(own), Some(media_ssrc)) = (back.ssrcs().await.first().copied(), track.ssrcs().await.first().copied())
    else {
        return;
    };
    let (waiting, due) = mpsc::channel(WAITING);
    tokio::spawn(speak(due, back));
    let is_picture = track.kind().await == RtpCodecKind::Video;
    let mut ask = interval(WHOLE_PICTURE);
    ask.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            event = track.poll() => match event {
                Some(TrackRemoteEvent::OnRtpPacket(mut packet)) => {
                    packet.header.ssrc = own;
                    // They mean something between the sender and the hub only.
                    packet.header.extension = false;
                    packet.header.extensions.clear();
                    // A full queue means more than anybody should send.
                    let _ = waiting.try_send((Instant::now() + DELAY, packet));
                }
                Some(TrackRemoteEvent::OnEnded) | None => return,
                Some(_) => {}
            },
            _ = ask.tick(), if is_picture => {
                let wish = PictureLossIndication { sender_ssrc: 0, media_ssrc };
                if track.write_rtcp(vec![Box::new(wish)]).await.is_err() {
                    return;
                }
            }
        }
    }
}

async fn speak(mut due: mpsc::Receiver<(Instant, Packet)>, back: Arc<TrackLocalStaticRTP>) {
    while let Some((at, packet)) = due.recv().await {
        sleep_until(at).await;
        if back.write_rtp(packet).await.is_err() {
            return;
        }
    }
}
