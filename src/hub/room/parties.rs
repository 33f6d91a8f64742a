//! Who is here, and what it means for the case when a side of it is gone or back.

use rooms::command::{Command, PresenceChange};
use rooms::id::{CommandId, UserId};
use rooms::party::Party;
use rooms::role::Actor;
use rooms::room::Room;
use rooms::signal::Presence;
use rooms::state::ConsultationState;
use rooms::wire::server::ServerFrame;
use tokio::time::Instant;
use uuid::Uuid;

use super::RoomTask;
use crate::bus::BusState;
use crate::hub::Submission;
use crate::hub::presence::GRACE;

impl RoomTask {
    pub(super) fn relay_presence(&self, user: UserId, here: bool, except: Option<Uuid>) {
        let frame = ServerFrame::Presence { room: self.id, presence: Presence { user, here } };
        self.members.relay(&frame, except, |_| true);
    }

    /// Tells the others about those whose grace time is over.
    pub(super) async fn drop_absent(&mut self) {
        let now = Instant::now();
        if self.hub.bus.state() == BusState::Degraded {
            // They may be connected to a node that cannot be heard.
            self.presences.hold(now);
        }
        for user in self.presences.lapse(now) {
            self.leave(user);
        }
        for user in self.presences.gone(now) {
            self.relay_presence(user, false, None);
            self.party_changed(user, false).await;
        }
    }

    /// After a restart of the hub during a talk, both sides are expected back within the grace time.
    pub(super) fn expect_parties(&mut self) {
        let Some(loaded) = &self.loaded else { return };
        if loaded.room.head() == 0 {
            return;
        }
        let Some(talk) = Talk::of(&loaded.room) else { return };
        if talk.state == ConsultationState::InProgress {
            // Other nodes are asked, and answer or say it by themselves.
            let within = if self.hub.bus.is_shared() { 2 * GRACE } else { GRACE };
            for user in [talk.patient, talk.doctor] {
                self.presences.expect(user, Instant::now(), within);
            }
        }
    }

    /// Tells the case that a side of a running talk is gone or back.
    pub(super) async fn party_changed(&mut self, user: UserId, here: bool) {
        let Some(loaded) = &self.loaded else { return };
        let Some(talk) = Talk::of(&loaded.room) else { return };
        let Some(party) = talk.party(user) else { return };
        let matters = match talk.state {
            ConsultationState::InProgress => !here,
            ConsultationState::Interrupted => here,
            _ => false,
        };
        if matters {
            self.system(Command::Presence(PresenceChange { party, here })).await;
        }
    }

    /// Submits a command of the hub itself; a refusal means that the case has moved on meanwhile.
    async fn system(&mut self, command: Command) {
        let submission = Submission {
            room: self.id,
            actor: Actor::System,
            id: CommandId(self.hub.clock.fresh_id()),
            command,
            expect: None,
        };
        if let Err(error) = Box::pin(self.submit(&submission)).await {
            tracing::debug!(room = %self.id, code = error.code().as_str(), "a command of the hub itself was not taken");
        }
    }
}

/// The two sides of a consultation, and where it stands.
struct Talk {
    patient: UserId,
    doctor: UserId,
    state: ConsultationState,
}

impl Talk {
    fn of(room: &Room) -> Option<Self> {
        let (patient, doctor) = room.parties()?;
        Some(Self { patient, doctor, state: room.consultation_state()? })
    }

    fn party(&self, user: UserId) -> Option<Party> {
        if user == self.patient { Some(Party::Patient) } else { (user == self.doctor).then_some(Party::Doctor) }
    }
}
