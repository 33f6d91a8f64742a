//! The room's part in a call: it lets sessions of members attach, and passes on what they tell each other.

use std::sync::Arc;

use rooms::id::CallId;
use rooms::refusal::Detail;
use rooms::wire::call::{Attach, Attached, CallNotice, CallSignal};
use rooms::wire::code::Code;
use rooms::wire::server::{ErrorFrame, ServerFrame};
use tokio::time::Instant;

use super::RoomTask;
use crate::hub::connection::Connection;
use crate::hub::desk::{Desk, Post};

impl RoomTask {
    /// Takes what a session sends about a call; what is wrong with it is answered to that session alone.
    pub(super) async fn call_signal(&mut self, connection: &Arc<Connection>, call: CallId, signal: CallSignal) {
        if self.load().await.is_err() {
            return self.complain_about_call(connection, Code::Unavailable);
        }
        let taken = match signal {
            CallSignal::Attach(attach) => self.attach_to_call(connection, call, &attach),
            CallSignal::Detach(_) => self.desk_of(connection, call).map(|desk| desk.detach(connection.id)),
            CallSignal::Description(sent) => self
                .desk_of(connection, call)
                .and_then(|desk| desk.description(connection.id, sent))
                .map(|post| post.into_iter().collect()),
            CallSignal::Candidate(sent) => self
                .desk_of(connection, call)
                .and_then(|desk| desk.candidate(connection.id, sent))
                .map(|post| post.into_iter().collect()),
            CallSignal::Servers(_) => self
                .desk_of(connection, call)
                .map(|_| ())
                .map(|()| vec![(connection.id, CallNotice::Servers((self.hub.ice)(connection.session)))]),
        };
        match taken {
            Ok(posts) => self.post(call, posts),
            Err(code) => self.complain_about_call(connection, code),
        }
    }

    fn attach_to_call(
        &mut self,
        connection: &Arc<Connection>,
        call: CallId,
        attach: &Attach,
    ) -> Result<Vec<Post>, Code> {
        let listens = self.members.connections().any(|member| member.id == connection.id);
        let room = self.loaded.as_ref().map(|loaded| &loaded.room);
        let is_member =
            |room: &rooms::room::Room| room.call().is_some_and(|it| it.id == call && it.has(connection.user));
        let Some(room) = room.filter(|room| listens && is_member(room)) else { return Err(Code::NotInCall) };
        let relay_only = room.relay_only();
        let desk = match &mut self.desk {
            Some(desk) if desk.call == call => desk,
            desk => desk.insert(Box::new(Desk::new(call, relay_only))),
        };
        let clock_ms = u64::try_from(self.hub.clock.now().micros() / 1_000).unwrap_or(0);
        let peers = desk.attach(connection.user, connection.id, attach, Instant::now(), clock_ms)?;
        let servers = (self.hub.ice)(connection.session);
        let attached = (connection.id, CallNotice::Attached(Attached { relay_only, servers }));
        Ok(std::iter::once(attached).chain(peers).collect())
    }

    fn desk_of(&mut self, connection: &Connection, call: CallId) -> Result<&mut Desk, Code> {
        let desk = self.desk.as_deref_mut().filter(|desk| desk.call == call && desk.has(connection.id));
        desk.ok_or(Code::NotInCall)
    }

    /// Tells the others at the desk that a connection broke.
    pub(super) fn leave_desk(&mut self, connection: uuid::Uuid) {
        if let Some(desk) = &mut self.desk {
            let (call, posts) = (desk.call, desk.lost(connection, Instant::now()));
            self.post(call, posts);
        }
    }

    /// After the case moved on: only who is in the call stays at the desk.
    pub(super) fn tidy_desk(&mut self) {
        let Some(desk) = &mut self.desk else { return };
        let call = self.loaded.as_ref().and_then(|loaded| loaded.room.call());
        match call.filter(|call| call.id == desk.call) {
            Some(call) => desk.keep(|user| call.has(user)),
            None => self.desk = None,
        }
    }

    fn post(&self, call: CallId, posts: Vec<Post>) {
        for (to, signal) in posts {
            if let Some(connection) = self.members.connections().find(|member| member.id == to) {
                connection.send(&ServerFrame::Call { room: self.id, call, signal });
            }
        }
    }

    fn complain_about_call(&self, connection: &Connection, code: Code) {
        let message = match code {
            Code::MediaTaken => "another session of yours owns camera and microphone; attach with take to take over",
            Code::RateLimited => "too many candidates for one description",
            Code::Unavailable => "the hub cannot do this now; send it again",
            Code::Invalid => "held: names more peers than a call has",
            _ => "this session is not attached to that call; join the call, then attach",
        };
        let error = ErrorFrame {
            id: None,
            room: Some(self.id),
            code,
            message: message.to_owned(),
            retryable: code.retryable(),
            detail: Detail::default(),
        };
        connection.send(&ServerFrame::Error(error));
    }
}
