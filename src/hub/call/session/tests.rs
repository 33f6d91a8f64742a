//! Promises of the signalling state, with two or three people and their devices.

use super::*;
use rooms::sdp::{Candidate, Sdp};
use rooms::wire::call::DescriptionKind;

const SDP: &str = "v=0\r\no=- 1 2 IN IP4 192.0.2.1\r\ns=-\r\nt=0 0\r\nm=audio 9 UDP/TLS/RTP/SAVPF 111\r\nc=IN IP4 192.0.2.1\r\n\
    a=ice-ufrag:abcd\r\na=ice-pwd:0123456789abcdef0123456789\r\na=fingerprint:sha-256 00:11:22:33:44:55:66:77:88:99:AA:BB:\
    CC:DD:EE:FF:00:11:22:33:44:55:66:77:88:99:AA:BB:CC:DD:EE:FF\r\n";
const HOST: &str = "candidate:1 1 udp 2122260223 192.0.2.7 54400 typ host";
const RELAY: &str = "candidate:2 1 udp 41885439 198.51.100.9 60000 typ relay raddr 192.0.2.7 rport 54400";

fn id(n: u128) -> Uuid {
    Uuid::from_u128(n)
}

fn user(n: u128) -> UserId {
    UserId(id(n))
}

/// Attaches person `n` by connection `100 n + attempt`.
fn attach(signaling: &mut CallSignaling, n: u128, attempt: u128, attach: Attach) -> Result<Vec<OutgoingNotice>, Code> {
    signaling.attach(user(n), id(n * 100 + attempt), &attach, Instant::now(), 1_000)
}

fn device(n: u128) -> Attach {
    Attach { device: id(n), take: false, held: Vec::new() }
}

fn holding(n: u128, peer: u128, epoch: u64, got: u64) -> Attach {
    Attach { held: vec![Held { peer: user(peer), epoch, got }], ..device(n) }
}

fn peers(outgoing: &[OutgoingNotice]) -> Vec<(Uuid, Peer)> {
    let peer = |(to, notice): &OutgoingNotice| match notice {
        CallNotice::Peer(peer) => Some((*to, peer.clone())),
        _ => None,
    };
    outgoing.iter().filter_map(peer).collect()
}

fn description(to: u128, epoch: u64) -> SendDescription {
    let description = Description { kind: DescriptionKind::Offer, sdp: Sdp::parse(SDP).unwrap() };
    SendDescription { to: user(to), epoch, description }
}

fn candidate(to: u128, epoch: u64, raw: &str) -> SendCandidate {
    let candidate = Candidate::parse(raw).unwrap();
    let candidate = IceCandidate { candidate, sdp_mid: None, sdp_m_line_index: Some(0), username_fragment: None };
    SendCandidate { to: user(to), epoch, candidate }
}

/// A call with persons 1 and 2 attached, and their epoch.
fn attached_pair(relay_only: bool) -> (CallSignaling, u64) {
    let mut signaling = CallSignaling::new(CallId(id(7)), relay_only);
    assert_eq!(attach(&mut signaling, 1, 0, device(11)).unwrap(), []);
    let outgoing = attach(&mut signaling, 2, 0, device(22)).unwrap();
    (signaling, peers(&outgoing)[0].1.epoch)
}

#[test]
fn attached_peers_learn_of_each_other_and_exactly_one_is_polite() {
    let mut signaling = CallSignaling::new(CallId(id(7)), false);
    attach(&mut signaling, 1, 0, device(11)).unwrap();
    let outgoing = peers(&attach(&mut signaling, 2, 0, device(22)).unwrap());
    let to = |connection| outgoing.iter().find(|(to, _)| *to == id(connection)).unwrap().1.clone();
    let (one, two) = (to(100), to(200));
    assert_eq!((one.user, two.user, one.epoch), (user(2), user(1), two.epoch));
    assert!(one.polite != two.polite && !one.resumed && !two.resumed);
}

#[test]
fn messages_reach_the_peer_with_consecutive_numbers() {
    let (mut signaling, epoch) = attached_pair(false);
    for n in 1..=3 {
        let (to, notice) =
            signaling.candidate(id(100), candidate(2, epoch, HOST)).unwrap().expect("the peer is connected");
        assert_eq!(to, id(200));
        assert!(matches!(notice, CallNotice::Candidate { from, n: number, .. } if from == user(1) && number == n));
    }
    assert!(matches!(signaling.description(id(200), description(1, epoch)), Ok(Some((to, _))) if to == id(100)));
}

#[test]
fn messages_of_a_stale_epoch_or_without_a_receiver_are_dropped() {
    let (mut signaling, epoch) = attached_pair(false);
    assert_eq!(signaling.description(id(100), description(2, epoch - 1)), Ok(None));
    assert_eq!(signaling.description(id(100), description(3, epoch)), Ok(None));
    assert_eq!(
        signaling.description(id(100), description(1, epoch)),
        Ok(None),
        "a person has no peer connection to themselves"
    );
    assert_eq!(signaling.description(id(101), description(2, epoch)), Err(Code::NotInCall));
    assert_eq!(signaling.candidate(id(999), candidate(2, epoch, HOST)), Err(Code::NotInCall));
}

#[test]
fn second_device_must_take_over_and_the_first_is_notified() {
    let (mut signaling, epoch) = attached_pair(false);
    assert_eq!(attach(&mut signaling, 1, 1, device(12)), Err(Code::MediaTaken));
    let outgoing = attach(&mut signaling, 1, 1, Attach { take: true, ..device(12) }).unwrap();
    assert!(matches!(outgoing[0], (to, CallNotice::Taken(_)) if to == id(100)));
    let notified = peers(&outgoing);
    assert!(
        notified.iter().all(|(_, peer)| !peer.resumed && peer.epoch > epoch),
        "both sides start a new epoch: {notified:?}"
    );
    assert_eq!(signaling.description(id(100), description(2, epoch)), Err(Code::NotInCall));
    assert_eq!(signaling.description(id(101), description(2, epoch)), Ok(None), "the former epoch has ended");
}

#[test]
fn reattached_session_resumes_and_receives_each_missed_message_once() {
    let (mut signaling, epoch) = attached_pair(false);
    signaling.description(id(200), description(1, epoch)).unwrap();
    signaling.candidate(id(200), candidate(1, epoch, HOST)).unwrap();
    let away = signaling.disconnected(id(100), Instant::now());
    assert_eq!(away, [(id(200), CallNotice::Away { user: user(1) })]);
    assert_eq!(signaling.candidate(id(200), candidate(1, epoch, RELAY)), Ok(None), "kept for replay");
    let outgoing = attach(&mut signaling, 1, 1, holding(11, 2, epoch, 2)).unwrap();
    assert!(peers(&outgoing).iter().all(|(_, peer)| peer.resumed && peer.epoch == epoch));
    let replayed: Vec<_> = outgoing.iter().filter(|(to, _)| *to == id(101)).collect();
    assert_eq!(replayed.len(), 2, "the peer and one message: {replayed:?}");
    assert!(matches!(replayed[1].1, CallNotice::Candidate { n: 3, .. }));
}

#[test]
fn reloaded_page_starts_a_new_epoch_after_the_grace_period() {
    let (mut signaling, epoch) = attached_pair(false);
    signaling.disconnected(id(100), Instant::now());
    assert_eq!(attach(&mut signaling, 1, 1, device(12)), Err(Code::MediaTaken), "the grace period has not ended");
    let later = Instant::now() + MEDIA_OWNER_GRACE;
    let outgoing = signaling.attach(user(1), id(101), &device(12), later, 1_000).unwrap();
    assert!(peers(&outgoing).iter().all(|(_, peer)| !peer.resumed && peer.epoch > epoch));
}

#[test]
fn peers_that_hold_the_same_epoch_resume_after_a_restart() {
    let mut signaling = CallSignaling::new(CallId(id(7)), false);
    attach(&mut signaling, 1, 5, holding(11, 2, 900, 40)).unwrap();
    let outgoing = attach(&mut signaling, 2, 5, holding(22, 1, 900, 30)).unwrap();
    assert!(peers(&outgoing).iter().all(|(_, peer)| peer.resumed && peer.epoch == 900));
    let sent = signaling.candidate(id(105), candidate(2, 900, HOST)).unwrap();
    assert!(matches!(sent, Some((_, CallNotice::Candidate { n: 31, .. }))), "numbers continue: {sent:?}");
    let sent = signaling.candidate(id(205), candidate(1, 900, HOST)).unwrap();
    assert!(matches!(sent, Some((_, CallNotice::Candidate { n: 41, .. }))), "numbers continue: {sent:?}");
}

#[test]
fn peers_that_hold_different_epochs_start_a_later_one() {
    let mut signaling = CallSignaling::new(CallId(id(7)), false);
    attach(&mut signaling, 1, 5, holding(11, 2, 900, 40)).unwrap();
    let outgoing = attach(&mut signaling, 2, 5, holding(22, 1, 901, 30)).unwrap();
    assert!(peers(&outgoing).iter().all(|(_, peer)| !peer.resumed && peer.epoch == 1_000));
}

#[test]
fn session_with_a_stale_epoch_starts_a_new_one() {
    let (mut signaling, old) = attached_pair(false);
    let outgoing = attach(&mut signaling, 1, 1, device(11)).unwrap();
    let epoch = peers(&outgoing)[0].1.epoch;
    assert!(epoch > old);
    let outgoing = attach(&mut signaling, 2, 1, holding(22, 1, old, 0)).unwrap();
    assert!(peers(&outgoing).iter().all(|(_, peer)| !peer.resumed && peer.epoch > epoch), "{outgoing:?}");
}

#[test]
fn new_device_that_attaches_while_the_peer_is_away_does_not_resume() {
    let (mut signaling, epoch) = attached_pair(false);
    signaling.disconnected(id(200), Instant::now());
    attach(&mut signaling, 1, 1, Attach { take: true, ..device(12) }).unwrap();
    let outgoing = attach(&mut signaling, 2, 1, holding(22, 1, epoch, 0)).unwrap();
    assert!(peers(&outgoing).iter().all(|(_, peer)| !peer.resumed && peer.epoch > epoch));
}

#[test]
fn relayed_call_forwards_no_personal_address() {
    let (mut signaling, epoch) = attached_pair(true);
    assert_eq!(signaling.candidate(id(100), candidate(2, epoch, HOST)), Ok(None));
    let Ok(Some((_, CallNotice::Candidate { candidate: forwarded, .. }))) =
        signaling.candidate(id(100), candidate(2, epoch, RELAY))
    else {
        panic!("a relay candidate is forwarded")
    };
    assert!(!forwarded.candidate.as_str().contains("192.0.2.7"), "{}", forwarded.candidate.as_str());
    let Ok(Some((_, CallNotice::Description { description, .. }))) =
        signaling.description(id(100), description(2, epoch))
    else {
        panic!("a description is forwarded")
    };
    assert!(!description.sdp.as_str().contains("192.0.2."), "{}", description.sdp.as_str());
    assert_eq!(signaling.candidate(id(999), candidate(2, epoch, HOST)), Err(Code::NotInCall));
}

#[test]
fn candidates_are_limited_until_the_next_description() {
    let (mut signaling, epoch) = attached_pair(false);
    signaling.description(id(100), description(2, epoch)).unwrap();
    for _ in 0..MAX_CANDIDATES {
        signaling.candidate(id(100), candidate(2, epoch, HOST)).unwrap();
    }
    assert_eq!(signaling.candidate(id(100), candidate(2, epoch, HOST)), Err(Code::RateLimited));
    signaling.description(id(100), description(2, epoch)).unwrap();
    assert!(signaling.candidate(id(100), candidate(2, epoch, HOST)).unwrap().is_some());
    assert_eq!(
        attach(&mut signaling, 1, 1, Attach { held: vec![Held { peer: user(2), epoch, got: 0 }; 4], ..device(11) }),
        Err(Code::Invalid)
    );
}

#[test]
fn former_members_are_removed() {
    let (mut signaling, epoch) = attached_pair(false);
    signaling.retain_members(|it| it == user(1));
    assert!(signaling.is_attached(id(100)) && !signaling.is_attached(id(200)));
    assert_eq!(signaling.description(id(100), description(2, epoch)), Ok(None));
    assert_eq!(signaling.detach(id(100)), []);
    assert!(!signaling.is_attached(id(100)));
}

#[test]
fn three_members_form_three_pairs() {
    let (mut signaling, epoch) = attached_pair(false);
    let outgoing = peers(&attach(&mut signaling, 3, 0, device(33)).unwrap());
    assert_eq!(outgoing.len(), 4, "two new pairs, both sides notified: {outgoing:?}");
    assert!(outgoing.iter().all(|(_, peer)| peer.epoch > epoch));
    assert!(signaling.description(id(100), description(2, epoch)).unwrap().is_some(), "the first pair is unchanged");
}
