//! Calls on one node: signalling, WebRTC, the TURN relay, and the echo call.

mod echo;
mod signaling;
mod turn;
mod turn_limits;
mod turn_protocol;
mod webrtc;
