//! Promises of placement: which effects a signal has when its call spans two nodes.

use std::time::Duration;

use rooms::command::Nothing;
use rooms::id::RoomId;

use super::*;
use crate::bus::CALL_LEASE;

const HERE: NodeId = NodeId(Uuid::from_u128(1));
const THERE: NodeId = NodeId(Uuid::from_u128(2));
const CALL: CallId = CallId(Uuid::from_u128(7));
const LOCAL: Uuid = Uuid::from_u128(100);
const REMOTE: Uuid = Uuid::from_u128(200);

fn is_local(connection: Uuid) -> bool {
    connection == LOCAL
}

fn attach_signal() -> CallSignal {
    CallSignal::Attach(Attach { device: Uuid::from_u128(9), take: false, held: Vec::new() })
}

/// Attaches the local or the remote session, each of another person.
fn attach(calls: &mut RoomCalls, connection: Uuid) -> Result<Vec<Effect>, Code> {
    let node = (connection == REMOTE).then_some(THERE);
    let source = SignalSource { connection, user: UserId(connection), node };
    let admission = CallAdmission { relay_only: false, clock_ms: 1 };
    calls.apply(source, CALL, attach_signal(), Some(admission), Instant::now(), &is_local)
}

fn message(connection: Uuid, kind: CallMessageKind) -> CallMessage {
    CallMessage { room: RoomId(Uuid::nil()), connection, call: CALL, kind }
}

/// The calls of a node that owns the call, with one session here and one on the other node.
fn owned() -> RoomCalls {
    let mut calls = RoomCalls::new(HERE);
    assert_eq!(calls.placed(CALL, HERE, Instant::now()), []);
    attach(&mut calls, LOCAL).unwrap();
    attach(&mut calls, REMOTE).unwrap();
    calls
}

/// The calls of a node whose local session is attached to the other node's call.
fn forwarded() -> RoomCalls {
    let mut calls = RoomCalls::new(HERE);
    calls.placed(CALL, THERE, Instant::now());
    calls.forwarded(LOCAL, &attach_signal());
    calls
}

#[test]
fn notices_go_to_the_node_of_each_session() {
    let mut calls = RoomCalls::new(HERE);
    calls.placed(CALL, HERE, Instant::now());
    let effects = attach(&mut calls, LOCAL).unwrap();
    assert!(matches!(effects[..], [Effect::ToConnection { to: LOCAL, notice: CallNotice::Attached(_), .. }]));
    let effects = attach(&mut calls, REMOTE).unwrap();
    let to_here = effects.iter().filter(|it| matches!(it, Effect::ToConnection { to: LOCAL, .. })).count();
    let to_there =
        effects.iter().filter(|it| matches!(it, Effect::ToNode { node: THERE, connection: REMOTE, .. })).count();
    assert_eq!((to_here, to_there), (1, 2), "a peer for each, and the answer to the remote session: {effects:?}");
    assert!(calls.has_remote_sessions());
}

#[test]
fn session_without_admission_cannot_attach() {
    let source = SignalSource { connection: LOCAL, user: UserId(LOCAL), node: None };
    let result = RoomCalls::new(HERE).apply(source, CALL, attach_signal(), None, Instant::now(), &is_local);
    assert_eq!(result, Err(Code::NotInCall));
}

#[test]
fn move_to_another_node_closes_the_attached_sessions() {
    let mut calls = owned();
    assert_eq!(calls.placed(CALL, HERE, Instant::now()), [], "a renewal changes nothing");
    assert_eq!(calls.placed(CALL, THERE, Instant::now()), [Effect::Close { connection: LOCAL }]);
    assert_eq!(calls.owner(CALL), Some(THERE));
    assert!(!calls.has_remote_sessions());
}

#[test]
fn broken_connection_of_a_forwarded_session_is_reported_to_the_owner_once() {
    let mut calls = forwarded();
    let kind = CallMessageKind::Disconnected;
    let report = Effect::ToNode { node: THERE, connection: LOCAL, call: CALL, kind };
    assert_eq!(calls.disconnected(LOCAL, Instant::now(), &is_local), [report]);
    assert_eq!(calls.disconnected(LOCAL, Instant::now(), &is_local), []);
}

#[test]
fn only_the_owner_may_notify() {
    let mut calls = forwarded();
    let notify = || message(LOCAL, CallMessageKind::Notify(Box::new(CallNotice::Taken(Nothing {}))));
    let stranger = NodeId(Uuid::from_u128(3));
    assert_eq!(calls.receive(stranger, notify(), Instant::now(), &is_local), []);
    let effects = calls.receive(THERE, notify(), Instant::now(), &is_local);
    assert!(matches!(effects[..], [Effect::ToConnection { to: LOCAL, notice: CallNotice::Taken(_), .. }]));
    assert!(calls.start_renewal(Instant::now() + CALL_LEASE).is_none(), "nobody is attached any more");
}

#[test]
fn keepalives_keep_a_remote_session_and_unknown_ones_are_rejected() {
    let mut calls = owned();
    let later = Instant::now() + CALL_LEASE;
    assert_eq!(calls.receive(THERE, message(REMOTE, CallMessageKind::Keepalive), later, &is_local), []);
    assert_eq!(calls.disconnect_silent(later + CALL_LEASE, &is_local), []);
    let effects = calls.disconnect_silent(later + CALL_LEASE + Duration::from_millis(1), &is_local);
    assert!(matches!(effects[..], [Effect::ToConnection { to: LOCAL, notice: CallNotice::Away { .. }, .. }]));
    let effects = calls.receive(THERE, message(REMOTE, CallMessageKind::Keepalive), later, &is_local);
    let kind = CallMessageKind::Rejected(Code::Unavailable);
    assert_eq!(effects, [Effect::ToNode { node: THERE, connection: REMOTE, call: CALL, kind }]);
}

#[test]
fn resync_makes_sessions_on_both_sides_attach_again() {
    let kind = CallMessageKind::Rejected(Code::Unavailable);
    assert_eq!(owned().resync(), [Effect::ToNode { node: THERE, connection: REMOTE, call: CALL, kind }]);
    assert_eq!(forwarded().resync(), [Effect::Reject { to: LOCAL, code: Code::Unavailable }]);
}

#[test]
fn lease_is_renewed_only_while_somebody_is_attached() {
    let mut calls = owned();
    let due = calls.renew_at().unwrap();
    assert!(calls.start_renewal(due - Duration::from_millis(1)).is_none());
    let renewal = calls.start_renewal(due).expect("it is due");
    assert_eq!((renewal.call, renewal.owner, renewal.attached), (CALL, HERE, vec![LOCAL]));
    calls.retain_members(None, |_| false);
    assert!(calls.renew_at().is_none(), "the call has ended");
}
