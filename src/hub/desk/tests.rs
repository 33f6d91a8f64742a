//! Two people, their devices and connections, and a desk between them.

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

/// Person `n`, whose device and connection are named after it; `times` tells later ones apart.
fn attach(desk: &mut Desk, n: u128, times: u128, attach: Attach) -> Result<Vec<Post>, Code> {
    desk.attach(user(n), id(n * 100 + times), &attach, Instant::now(), 1_000)
}

fn device(n: u128) -> Attach {
    Attach { device: id(n), take: false, held: Vec::new() }
}

fn holding(n: u128, peer: u128, epoch: u64, got: u64) -> Attach {
    Attach { held: vec![Held { peer: user(peer), epoch, got }], ..device(n) }
}

fn peers(posts: &[Post]) -> Vec<(Uuid, Peer)> {
    let peer = |(to, notice): &Post| match notice {
        CallNotice::Peer(peer) => Some((*to, peer.clone())),
        _ => None,
    };
    posts.iter().filter_map(peer).collect()
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

/// A desk with persons 1 and 2, and their epoch.
fn two(relay_only: bool) -> (Desk, u64) {
    let mut desk = Desk::new(CallId(id(7)), relay_only);
    assert_eq!(attach(&mut desk, 1, 0, device(11)).unwrap(), []);
    let posts = attach(&mut desk, 2, 0, device(22)).unwrap();
    (desk, peers(&posts)[0].1.epoch)
}

#[test]
fn two_who_attach_are_told_of_each_other_and_only_one_is_polite() {
    let mut desk = Desk::new(CallId(id(7)), false);
    attach(&mut desk, 1, 0, device(11)).unwrap();
    let posts = peers(&attach(&mut desk, 2, 0, device(22)).unwrap());
    let to = |connection| posts.iter().find(|(to, _)| *to == id(connection)).unwrap().1.clone();
    let (one, two) = (to(100), to(200));
    assert_eq!((one.user, two.user, one.epoch), (user(2), user(1), two.epoch));
    assert!(one.polite != two.polite && !one.resumed && !two.resumed);
}

#[test]
fn messages_reach_the_other_side_numbered() {
    let (mut desk, epoch) = two(false);
    for n in 1..=3 {
        let (to, notice) = desk.candidate(id(100), candidate(2, epoch, HOST)).unwrap().expect("there is somebody");
        assert_eq!(to, id(200));
        assert!(matches!(notice, CallNotice::Candidate { from, n: told, .. } if from == user(1) && told == n));
    }
    assert!(matches!(desk.description(id(200), description(1, epoch)), Ok(Some((to, _))) if to == id(100)));
}

#[test]
fn what_is_stale_foreign_or_for_nobody_goes_nowhere() {
    let (mut desk, epoch) = two(false);
    assert_eq!(desk.description(id(100), description(2, epoch - 1)), Ok(None));
    assert_eq!(desk.description(id(100), description(3, epoch)), Ok(None));
    assert_eq!(desk.description(id(100), description(1, epoch)), Ok(None), "nobody talks with themselves");
    assert_eq!(desk.description(id(101), description(2, epoch)), Err(Code::NotInCall));
    assert_eq!(desk.candidate(id(999), candidate(2, epoch, HOST)), Err(Code::NotInCall));
}

#[test]
fn a_second_device_needs_to_take_over_and_the_first_one_is_told() {
    let (mut desk, epoch) = two(false);
    assert_eq!(attach(&mut desk, 1, 1, device(12)), Err(Code::MediaTaken));
    let posts = attach(&mut desk, 1, 1, Attach { take: true, ..device(12) }).unwrap();
    assert!(matches!(posts[0], (to, CallNotice::Taken(_)) if to == id(100)));
    let told = peers(&posts);
    assert!(told.iter().all(|(_, peer)| !peer.resumed && peer.epoch > epoch), "both build a new connection: {told:?}");
    assert_eq!(desk.description(id(100), description(2, epoch)), Err(Code::NotInCall));
    assert_eq!(desk.description(id(101), description(2, epoch)), Ok(None), "the former epoch is over");
}

#[test]
fn who_comes_back_goes_on_and_gets_what_it_missed_once() {
    let (mut desk, epoch) = two(false);
    desk.description(id(200), description(1, epoch)).unwrap();
    desk.candidate(id(200), candidate(1, epoch, HOST)).unwrap();
    let away = desk.lost(id(100), Instant::now());
    assert_eq!(away, [(id(200), CallNotice::Away { user: user(1) })]);
    assert_eq!(desk.candidate(id(200), candidate(1, epoch, RELAY)), Ok(None), "kept until it is back");
    let posts = attach(&mut desk, 1, 1, holding(11, 2, epoch, 2)).unwrap();
    assert!(peers(&posts).iter().all(|(_, peer)| peer.resumed && peer.epoch == epoch));
    let again: Vec<_> = posts.iter().filter(|(to, _)| *to == id(101)).collect();
    assert_eq!(again.len(), 2, "the peer and one message: {again:?}");
    assert!(matches!(again[1].1, CallNotice::Candidate { n: 3, .. }));
}

#[test]
fn a_page_that_was_reloaded_starts_anew() {
    let (mut desk, epoch) = two(false);
    desk.lost(id(100), Instant::now());
    assert_eq!(attach(&mut desk, 1, 1, device(12)), Err(Code::MediaTaken), "the lease runs");
    let later = Instant::now() + LEASE;
    let posts = desk.attach(user(1), id(101), &device(12), later, 1_000).unwrap();
    assert!(peers(&posts).iter().all(|(_, peer)| !peer.resumed && peer.epoch > epoch));
}

#[test]
fn after_a_restart_of_the_hub_two_who_hold_each_other_go_on() {
    let mut desk = Desk::new(CallId(id(7)), false);
    attach(&mut desk, 1, 5, holding(11, 2, 900, 40)).unwrap();
    let posts = attach(&mut desk, 2, 5, holding(22, 1, 900, 30)).unwrap();
    assert!(peers(&posts).iter().all(|(_, peer)| peer.resumed && peer.epoch == 900));
    let sent = desk.candidate(id(105), candidate(2, 900, HOST)).unwrap();
    assert!(matches!(sent, Some((_, CallNotice::Candidate { n: 31, .. }))), "numbers go on: {sent:?}");
    let sent = desk.candidate(id(205), candidate(1, 900, HOST)).unwrap();
    assert!(matches!(sent, Some((_, CallNotice::Candidate { n: 41, .. }))), "numbers go on: {sent:?}");
}

#[test]
fn who_holds_another_epoch_than_the_other_starts_anew_and_later_than_any_before() {
    let mut desk = Desk::new(CallId(id(7)), false);
    attach(&mut desk, 1, 5, holding(11, 2, 900, 40)).unwrap();
    let posts = attach(&mut desk, 2, 5, holding(22, 1, 901, 30)).unwrap();
    assert!(peers(&posts).iter().all(|(_, peer)| !peer.resumed && peer.epoch == 1_000));
}

#[test]
fn who_comes_back_with_an_epoch_from_before_starts_anew() {
    let (mut desk, old) = two(false);
    let posts = attach(&mut desk, 1, 1, device(11)).unwrap();
    let epoch = peers(&posts)[0].1.epoch;
    assert!(epoch > old);
    let posts = attach(&mut desk, 2, 1, holding(22, 1, old, 0)).unwrap();
    assert!(peers(&posts).iter().all(|(_, peer)| !peer.resumed && peer.epoch > epoch), "{posts:?}");
}

#[test]
fn one_who_comes_with_a_new_device_while_the_other_is_away_is_not_taken_for_the_old_one() {
    let (mut desk, epoch) = two(false);
    desk.lost(id(200), Instant::now());
    attach(&mut desk, 1, 1, Attach { take: true, ..device(12) }).unwrap();
    let posts = attach(&mut desk, 2, 1, holding(22, 1, epoch, 0)).unwrap();
    assert!(peers(&posts).iter().all(|(_, peer)| !peer.resumed && peer.epoch > epoch));
}

#[test]
fn in_a_relayed_call_no_address_of_a_person_passes() {
    let (mut desk, epoch) = two(true);
    assert_eq!(desk.candidate(id(100), candidate(2, epoch, HOST)), Ok(None));
    let Ok(Some((_, CallNotice::Candidate { candidate: passed, .. }))) =
        desk.candidate(id(100), candidate(2, epoch, RELAY))
    else {
        panic!("a relay's passes")
    };
    assert!(!passed.candidate.as_str().contains("192.0.2.7"), "{}", passed.candidate.as_str());
    let Ok(Some((_, CallNotice::Description { description, .. }))) = desk.description(id(100), description(2, epoch))
    else {
        panic!("a description passes")
    };
    assert!(!description.sdp.as_str().contains("192.0.2."), "{}", description.sdp.as_str());
    assert_eq!(desk.candidate(id(999), candidate(2, epoch, HOST)), Err(Code::NotInCall));
}

#[test]
fn candidates_are_bounded_until_the_next_description() {
    let (mut desk, epoch) = two(false);
    desk.description(id(100), description(2, epoch)).unwrap();
    for _ in 0..MAX_CANDIDATES {
        desk.candidate(id(100), candidate(2, epoch, HOST)).unwrap();
    }
    assert_eq!(desk.candidate(id(100), candidate(2, epoch, HOST)), Err(Code::RateLimited));
    desk.description(id(100), description(2, epoch)).unwrap();
    assert!(desk.candidate(id(100), candidate(2, epoch, HOST)).unwrap().is_some());
    assert_eq!(
        attach(&mut desk, 1, 1, Attach { held: vec![Held { peer: user(2), epoch, got: 0 }; 4], ..device(11) }),
        Err(Code::Invalid)
    );
}

#[test]
fn who_is_not_in_the_call_any_more_leaves_the_desk() {
    let (mut desk, epoch) = two(false);
    desk.keep(|it| it == user(1));
    assert!(desk.has(id(100)) && !desk.has(id(200)));
    assert_eq!(desk.description(id(100), description(2, epoch)), Ok(None));
    assert_eq!(desk.detach(id(100)), []);
    assert!(!desk.has(id(100)));
}

#[test]
fn three_meet_in_pairs() {
    let (mut desk, epoch) = two(false);
    let posts = peers(&attach(&mut desk, 3, 0, device(33)).unwrap());
    assert_eq!(posts.len(), 4, "two pairs, told to both sides: {posts:?}");
    assert!(posts.iter().all(|(_, peer)| peer.epoch > epoch));
    assert!(desk.description(id(100), description(2, epoch)).unwrap().is_some(), "the first pair is as it was");
}
