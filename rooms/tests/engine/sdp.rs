//! Session descriptions and candidates: browsers' output parses, malformed input does not, and relayed copies contain no
//! addresses.

use std::time::{Duration, Instant};

use proptest::prelude::*;
use rooms::sdp::{Candidate, MAX_CANDIDATE_BYTES, MAX_SDP_BYTES, Sdp, SdpError};
use rooms::wire::client::ClientFrame;
use rooms::wire::code::Code;
use rooms::wire::parse_error::{ParseError, frame_error};

const FINGERPRINT: &str = "a=fingerprint:sha-256 6B:8B:F0:65:5F:78:E2:51:3B:AC:6F:F3:3F:46:1B:35:DC:B8:5F:64:1A:24:C2:43:F0:A1:58:D0:A1:2C:19:08";

/// A shortened description from Chromium.
fn chromium() -> String {
    [
        "v=0",
        "o=- 4611731400430051336 2 IN IP4 203.0.113.5",
        "s=-",
        "t=0 0",
        "a=group:BUNDLE 0 1",
        "a=extmap-allow-mixed",
        "a=msid-semantic: WMS 7f1c",
        "m=audio 54400 UDP/TLS/RTP/SAVPF 111 63",
        "c=IN IP4 203.0.113.5",
        "a=rtcp:54401 IN IP4 203.0.113.5",
        "a=candidate:1 1 udp 2122260223 203.0.113.5 54400 typ host generation 0 network-id 1",
        "a=candidate:2 1 udp 2122260223 0f0a7d5c-7c1e-4e7b-9a0c-1a2b3c4d5e6f.local 54401 typ host",
        "a=candidate:3 1 udp 41885439 198.51.100.9 60000 typ relay raddr 203.0.113.5 rport 54400 generation 0",
        "a=candidate:4 1 tcp 1518280447 2001:db8::5 9 typ host tcptype active",
        "a=ice-ufrag:EsAw",
        "a=ice-pwd:P2uYro0UCOQ4zxjKXaWCBui1",
        "a=ice-options:trickle",
        FINGERPRINT,
        "a=setup:actpass",
        "a=mid:0",
        "a=rtpmap:111 opus/48000/2",
        "a=fmtp:111 minptime=10;useinbandfec=1",
        "m=video 9 UDP/TLS/RTP/SAVPF 96",
        "c=IN IP4 0.0.0.0",
        "a=rtpmap:96 VP8/90000",
        "a=ssrc:1001 cname:4TOk42mSjXCkVIa6",
        "",
    ]
    .join("\r\n")
}

const RELAY: &str = "candidate:3 1 udp 41885439 198.51.100.9 60000 typ relay raddr 203.0.113.5 rport 54400 ufrag EsAw";

#[test]
fn browser_descriptions_and_candidates_parse_unchanged() {
    assert_eq!(Sdp::parse(&chromium()).unwrap().as_str(), chromium());
    let unix = chromium().replace("\r\n", "\n");
    assert!(Sdp::parse(&unix).is_ok());
    for candidate in [
        "",
        RELAY,
        "candidate:842163049 1 udp 1677729535 203.0.113.5 46154 typ srflx raddr 0.0.0.0 rport 0 generation 0 ufrag s network-cost 999",
        "candidate:0 1 UDP 2122252543 2001:db8::1%eth0 51000 typ host",
        "candidate:1 2 TCP 2105524479 203.0.113.5 9 typ host tcptype active",
    ] {
        assert_eq!(Candidate::parse(candidate).unwrap().as_str(), candidate);
    }
}

#[test]
fn each_violation_yields_its_own_error() {
    let sdp = chromium();
    let without =
        |line: &str| sdp.lines().filter(|it| !it.starts_with(line)).map(|it| format!("{it}\r\n")).collect::<String>();
    let cases = [
        (String::new(), SdpError::Media),
        ("v=0\r\n".repeat(2_000), SdpError::TooLarge),
        (format!("{sdp}a=x:{}\r\n", "y".repeat(3_000)), SdpError::TooLarge),
        (format!("{sdp}{}", "a=x:yyyyyyyyyyyyyyyyyyyyyyyyyyyyyy\r\n".repeat(1_100)), SdpError::TooLarge),
        ("hello".to_owned(), SdpError::Line),
        (format!("{sdp}a=tab\there\r\n"), SdpError::Line),
        (format!("{sdp}a=caf\u{e9}\r\n"), SdpError::Line),
        (format!("{sdp}\r\n"), SdpError::Line),
        (format!("{sdp}A=x\r\n"), SdpError::Line),
        (without("v="), SdpError::Header),
        (without("o="), SdpError::Header),
        (without("t="), SdpError::Header),
        (without("m="), SdpError::Media),
        (format!("{sdp}{}", "m=audio 9 X 0\r\n".repeat(20)), SdpError::Media),
        (format!("{sdp}m=image 9 udptl t38\r\n"), SdpError::Media),
        (without("a=ice-ufrag"), SdpError::Transport),
        (without("a=ice-pwd"), SdpError::Transport),
        (without("a=fingerprint"), SdpError::Transport),
        (sdp.replace("sha-256", "sha-1"), SdpError::Transport),
        (sdp.replace("6B:8B", "6B:8"), SdpError::Transport),
        (format!("{sdp}a=candidate:nonsense\r\n"), SdpError::Candidate),
    ];
    for (text, why) in cases {
        assert_eq!(Sdp::parse(&text), Err(why), "{}", &text[..text.len().min(60)]);
    }
    for text in [
        "candidate:",
        "candidate:1 1 udp 1 203.0.113.5 54400 typ",
        "candidate:1 1 sctp 1 203.0.113.5 54400 typ host",
        "candidate:1 1 udp 99999999999 203.0.113.5 54400 typ host",
        "candidate:1 1 udp 1 203.0.113.5 70000 typ host",
        "candidate:1 1 udp 1 <script> 54400 typ host",
        "candidate:1 1 udp 1 203.0.113.5 54400 typ host raddr",
        "candidate:1 1 udp 1 203.0.113.5 54400 typ home",
        "candidate:1 1 udp 1 203.0.113.5 54400 typ host\r\na=evil",
    ] {
        assert_eq!(Candidate::parse(text), Err(SdpError::Candidate), "{text}");
    }
    assert!(Candidate::parse(&format!("{RELAY} x {}", "y".repeat(MAX_CANDIDATE_BYTES))).is_err());
}

#[test]
fn relayed_description_contains_only_relay_addresses() {
    let sdp = Sdp::parse(&chromium()).unwrap().relayed();
    for address in ["203.0.113.5", "2001:db8", ".local", "54400", "54401"] {
        let told = sdp.as_str().lines().any(|line| line.contains(address) && !line.starts_with("m="));
        assert!(!told, "{address} in {}", sdp.as_str());
    }
    assert!(sdp.as_str().contains("198.51.100.9 60000 typ relay raddr 0.0.0.0 rport 0"));
    assert_eq!(Sdp::parse(sdp.as_str()).unwrap(), sdp, "it is still a description");
    assert!(Candidate::parse("candidate:1 1 udp 1 203.0.113.5 54400 typ host").unwrap().relayed().is_none());
    assert!(Candidate::parse("").unwrap().relayed().is_some(), "the end of candidates contains no address");
    assert!(!Candidate::parse(RELAY).unwrap().relayed().unwrap().as_str().contains("203.0.113.5"));
}

#[test]
fn invalid_description_has_its_own_code_and_is_not_quoted() {
    let nil = uuid::Uuid::nil();
    let frame = format!(
        r#"{{"type":"call","room":"{nil}","call":"{nil}","signal":{{"kind":"description","data":{{"to":"{nil}","epoch":1,"description":{{"type":"offer","sdp":"SECRET"}}}}}}}}"#
    );
    let error = serde_json::from_str::<ClientFrame>(&frame).unwrap_err();
    let ParseError { code, message, field } = frame_error(&frame, &error);
    assert_eq!((code, field.as_deref()), (Code::Invalid, Some("description.sdp")));
    assert!(message.starts_with("sdp must") && !message.contains("SECRET"), "{message}");
}

/// Mutates a text.
fn mutate(text: &mut Vec<u8>, (what, at, by): (u8, usize, u8)) {
    let at = at % text.len().max(1);
    match what % 6 {
        0 if !text.is_empty() => text[at] = by,
        1 => text.insert(at, by),
        2 if !text.is_empty() => drop(text.remove(at)),
        3 => text.truncate(at),
        4 => {
            let part = text[at..(at + usize::from(by)).min(text.len())].to_vec();
            text.extend(part);
        }
        _ => text.splice(at..at, b"\r\na=candidate:".iter().copied()).for_each(drop),
    }
}

/// Fuzzes the parsers with mutated descriptions and candidates for a bounded time.
#[test]
fn no_mutation_makes_the_parsers_panic_or_leak() {
    let mut runner = proptest::test_runner::TestRunner::deterministic();
    let mutations = prop::collection::vec((any::<u8>(), any::<usize>(), any::<u8>()), 1..12);
    let end = Instant::now() + Duration::from_secs(5);
    let (mut tried, mut accepted) = (0u32, 0u32);
    while Instant::now() < end && tried < 200_000 {
        use proptest::strategy::ValueTree;
        let mutations = mutations.new_tree(&mut runner).unwrap().current();
        for seed in [chromium(), RELAY.to_owned()] {
            let mut text = seed.into_bytes();
            mutations.iter().for_each(|mutation| mutate(&mut text, *mutation));
            let text = String::from_utf8_lossy(&text);
            tried += 1;
            if let Ok(sdp) = Sdp::parse(&text) {
                accepted += 1;
                assert!(sdp.as_str().len() <= MAX_SDP_BYTES);
                let relayed = sdp.relayed();
                let host = |line: &str| line.starts_with("a=candidate:") && line.contains("typ host");
                assert!(!relayed.as_str().lines().any(host), "{}", relayed.as_str());
                assert!(Sdp::parse(relayed.as_str()).is_ok(), "{}", relayed.as_str());
            }
            if let Ok(candidate) = Candidate::parse(&text) {
                accepted += 1;
                if let Some(relayed) = candidate.relayed() {
                    assert!(Candidate::parse(relayed.as_str()).is_ok());
                }
            }
        }
    }
    assert!(tried > 1_000 && accepted > 100, "{tried} tried, {accepted} accepted");
}

#[test]
fn only_udp_candidates_with_an_address_are_offered_to_the_filter() {
    let mut seen = Vec::new();
    let kept = Sdp::parse(&chromium()).unwrap().with_udp_candidates(|address| {
        seen.push(address.to_string());
        address.port() == 54_400
    });
    assert_eq!(seen, ["203.0.113.5:54400", "198.51.100.9:60000"]);
    assert_eq!(kept.as_str().matches("a=candidate:").count(), 1, "{}", kept.as_str());
    assert_eq!(kept.as_str().lines().count() + 3, chromium().lines().count(), "every other line stays");
}
