//! The room: decide, apply, snapshot.
