//! The room's part in a call: it lets sessions of members attach, and passes on what they tell each other.

use std::sync::Arc;

use rooms::id::CallId;
use rooms::refusal::Detail;
use rooms::wire::call::{Attach, Attached, CallNotice, CallSignal, Servers};
use rooms::wire::code::Code;
use rooms::wire::server::{ErrorFrame, ServerFrame};
use tokio::time::Instant;
use uuid::Uuid;

use super::RoomTask;
use super::desks::Asker;
use crate::bus::BusError;
use crate::hub::connection::Connection;
use crate::hub::desk::{Desk, Post};

impl RoomTask {
    /// Takes what a session of this node sends about a call; what is wrong with it is answered to that session alone.
    pub(super) async fn call_signal(&mut self, connection: &Arc<Connection>, call: CallId, signal: CallSignal) {
        let listens = self.members.connections().any(|member| member.id == connection.id);
        let taken = match self.desk_elsewhere(call).await {
            _ if !listens => Err(Code::NotInCall),
            Ok(None) => {
                let asker = Asker { connection: connection.id, user: connection.user, node: None };
                self.at_desk(asker, call, signal).await
            }
            Ok(Some(node)) => self.ask_desk(node, connection, call, signal).await,
            Err(BusError) => Err(Code::Unavailable),
        };
        if let Err(code) = taken {
            self.complain_about_call(connection, code);
        }
    }

    /// Takes it at the desk, which is here.
    pub(super) async fn at_desk(&mut self, asker: Asker, call: CallId, signal: CallSignal) -> Result<(), Code> {
        self.load().await.map_err(|_| Code::Unavailable)?;
        let id = asker.connection;
        let posts = match signal {
            CallSignal::Attach(attach) => self.attach_to_call(asker, call, &attach).await?,
            CallSignal::Detach(_) => {
                let posts = self.desk_of(id, call)?.detach(id);
                self.unseat(id);
                posts
            }
            CallSignal::Description(sent) => self.desk_of(id, call)?.description(id, sent)?.into_iter().collect(),
            CallSignal::Candidate(sent) => self.desk_of(id, call)?.candidate(id, sent)?.into_iter().collect(),
            CallSignal::Servers(_) => {
                self.desk_of(id, call)?;
                vec![(id, CallNotice::Servers(Servers::default()))]
            }
        };
        self.post(call, posts);
        Ok(())
    }

    async fn attach_to_call(&mut self, asker: Asker, call: CallId, attach: &Attach) -> Result<Vec<Post>, Code> {
        let member = |task: &Self| {
            let room = task.loaded.as_ref().map(|loaded| &loaded.room);
            room.and_then(|room| room.call()).is_some_and(|it| it.id == call && it.has_present(asker.user))
        };
        // Whoever joined the call on another node may be here before the news of it.
        let is_member = member(self)
            || self.hub.bus.is_shared() && self.refresh().await.map_err(|_| Code::Unavailable)? && member(self);
        let Ok(room) = self.room() else { return Err(Code::Unavailable) };
        if !is_member {
            return Err(Code::NotInCall);
        }
        let relay_only = room.relay_only();
        let clock_ms = u64::try_from(self.hub.clock.now().micros() / 1_000).unwrap_or(0);
        let desk = match &mut self.desk {
            Some(desk) if desk.call == call => desk,
            desk => desk.insert(Box::new(Desk::new(call, relay_only))),
        };
        let peers = desk.attach(asker.user, asker.connection, attach, Instant::now(), clock_ms)?;
        self.seat(asker);
        let attached = Attached { relay_only, servers: Servers::default() };
        Ok(std::iter::once((asker.connection, CallNotice::Attached(attached))).chain(peers).collect())
    }

    fn desk_of(&mut self, connection: Uuid, call: CallId) -> Result<&mut Desk, Code> {
        let desk = self.desk.as_deref_mut().filter(|desk| desk.call == call && desk.has(connection));
        desk.ok_or(Code::NotInCall)
    }

    /// Tells the others at the desk that a connection broke.
    pub(super) fn leave_desk(&mut self, connection: Uuid) {
        if let Some(desk) = &mut self.desk {
            let (call, posts) = (desk.call, desk.lost(connection, Instant::now()));
            self.post(call, posts);
        }
        self.unseat(connection);
    }

    /// After the case moved on: only who is in the call stays at the desk.
    pub(super) fn tidy_desk(&mut self) {
        let call = self.loaded.as_ref().and_then(|loaded| loaded.room.call());
        if call.is_none() {
            self.place = None;
        }
        let Some(desk) = &mut self.desk else { return };
        match call.filter(|call| call.id == desk.call) {
            Some(call) => desk.keep(|user| call.has_present(user)),
            None => self.desk = None,
        }
    }

    fn post(&mut self, call: CallId, posts: Vec<Post>) {
        for (to, notice) in posts {
            self.notify(to, call, notice);
        }
    }

    pub(super) fn complain_about_call(&self, connection: &Connection, code: Code) {
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
