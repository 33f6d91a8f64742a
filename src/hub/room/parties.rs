//! What presence means for the case: a consultation is interrupted while patient or doctor is absent.

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

use super::presence::GRACE_PERIOD;
use super::task::RoomTask;
use crate::bus::BusState;
use crate::hub::submission::Submission;

impl RoomTask {
    pub(super) fn relay_presence(&self, user: UserId, here: bool, except: Option<Uuid>) {
        let frame = ServerFrame::Presence { room: self.id, presence: Presence { user, here } };
        self.subscribers.relay(&frame, except, |_| true);
    }

    /// Declares those absent whose grace period has ended.
    pub(super) async fn expire_presence(&mut self) {
        let now = Instant::now();
        if self.hub.bus.state() == BusState::Degraded {
            // They may be connected to a node whose reports cannot arrive.
            self.presence.freeze(now);
        }
        for user in self.presence.expire_remote(now) {
            self.start_grace_period(user);
        }
        for user in self.presence.expire(now) {
            self.relay_presence(user, false, None);
            self.party_presence_changed(user, false).await;
        }
    }

    /// Expects both parties of a running consultation to reconnect within the grace period, as after a restart of the
    /// hub.
    pub(super) fn expect_parties(&mut self) {
        let Some(room) = self.state.loaded().filter(|room| room.head() > 0) else { return };
        let Some(parties) = Parties::of(room) else { return };
        if parties.state == ConsultationState::InProgress {
            // Reports of other nodes take time to arrive.
            let within = if self.hub.bus.is_shared() { 2 * GRACE_PERIOD } else { GRACE_PERIOD };
            for user in [parties.patient, parties.doctor] {
                self.presence.expect(user, Instant::now(), within);
            }
        }
    }

    /// Submits that a party of a running consultation is absent or back.
    pub(super) async fn party_presence_changed(&mut self, user: UserId, here: bool) {
        let Some(parties) = self.state.loaded().and_then(Parties::of) else { return };
        let Some(party) = parties.party(user) else { return };
        let matters = match parties.state {
            ConsultationState::InProgress => !here,
            ConsultationState::Interrupted => here,
            _ => false,
        };
        if matters {
            self.submit_as_system(Command::Presence(PresenceChange { party, here })).await;
        }
    }

    /// Submits a command of the hub itself. A refusal means that the case has moved on.
    async fn submit_as_system(&mut self, command: Command) {
        let submission = Submission {
            room: self.id,
            actor: Actor::System,
            id: CommandId(self.hub.clock.fresh_id()),
            command,
            expect: None,
        };
        if let Err(error) = Box::pin(self.submit(&submission)).await {
            tracing::debug!(room = %self.id, code = error.code().as_str(), "system command rejected");
        }
    }
}

/// The two parties of a consultation, and its state.
struct Parties {
    patient: UserId,
    doctor: UserId,
    state: ConsultationState,
}

impl Parties {
    fn of(room: &Room) -> Option<Self> {
        let (patient, doctor) = room.parties()?;
        Some(Self { patient, doctor, state: room.consultation_state()? })
    }

    fn party(&self, user: UserId) -> Option<Party> {
        if user == self.patient { Some(Party::Patient) } else { (user == self.doctor).then_some(Party::Doctor) }
    }
}
