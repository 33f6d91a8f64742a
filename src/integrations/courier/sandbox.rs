//! A simulated courier. Its parcels advance by themselves every few seconds, or when an administrator moves them.

use std::time::Duration;

use rooms::command::NewProof;
use rooms::party::ProofKind;
use rooms::state::DeliveryState;
use rooms::text::{Line, Prose};
use rooms::time::Timestamp;
use uuid::Uuid;

use super::{CourierEvent, CourierOrder, DeliveryReport, MOVED_EVENT};
use crate::clock::Clock;
use crate::integrations::partner::PartnerError;
use crate::store::sandbox::SandboxParcel;
use crate::store::{Store, StoreError};

/// The time between two simulated steps.
pub const STEP_INTERVAL: Duration = Duration::from_secs(8);
/// How long a node may take to report a step before another node reports it.
const STEP_LEASE: Duration = Duration::from_secs(30);

/// The simulated partner.
#[derive(Clone, Debug)]
pub struct SandboxCourier {
    store: Store,
    clock: Clock,
}

/// A simulated step of a parcel.
#[derive(Clone, Debug)]
pub struct SimulatedStep {
    parcel: Uuid,
    /// Whether the step happened before the parcel's last one, so that its report arrives late.
    is_late: bool,
    pub event: CourierEvent,
}

impl SandboxCourier {
    pub fn new(store: Store, clock: Clock) -> Self {
        Self { store, clock }
    }

    pub async fn order(&self, order: &CourierOrder) -> Result<String, PartnerError> {
        let (id, now) = (self.clock.fresh_id(), self.clock.now());
        let id = self.store.start_sandbox_parcel(id, order.room, order.delivery, now.plus(STEP_INTERVAL), now).await?;
        Ok(id.to_string())
    }

    pub async fn cancel(&self, reference: &str) -> Result<(), PartnerError> {
        let not_found = || PartnerError::Refused("the sandbox has no such order".to_owned());
        let id: Uuid = reference.parse().map_err(|_| not_found())?;
        let parcel = self.store.sandbox_parcel(id).await?.ok_or_else(not_found)?;
        let cancelled = DeliveryState::Cancelled.as_str();
        Ok(self.store.move_sandbox_parcel(parcel.id, cancelled, None, self.clock.now()).await?)
    }

    /// Leases the parcels that are due and returns their next steps.
    pub async fn due(&self) -> Result<Vec<SimulatedStep>, StoreError> {
        let now = self.clock.now();
        let parcels = self.store.lease_due_sandbox_parcels(now, now.plus(STEP_LEASE)).await?;
        Ok(parcels.iter().filter_map(|parcel| Self::step(parcel, next_step(&parcel.state)?, now)).collect())
    }

    /// Returns the parcels, the last moved first.
    pub async fn parcels(&self) -> Result<Vec<SandboxParcel>, StoreError> {
        self.store.recent_sandbox_parcels().await
    }

    /// Returns a step that an administrator requests. `at`: when it happened, if not now.
    pub async fn advance(
        &self,
        id: Uuid,
        to: DeliveryState,
        at: Option<Timestamp>,
    ) -> Result<Option<SimulatedStep>, StoreError> {
        let parcel = self.store.sandbox_parcel(id).await?;
        let step = |parcel: SandboxParcel| {
            let is_late = at.is_some_and(|at| at < parcel.updated_at);
            let step = Self::step(&parcel, to, at.unwrap_or_else(|| self.clock.now()))?;
            Some(SimulatedStep { is_late, ..step })
        };
        Ok(parcel.and_then(step))
    }

    /// Builds the report of a step; `None` for a step that no courier makes.
    fn step(parcel: &SandboxParcel, to: DeliveryState, at: Timestamp) -> Option<SimulatedStep> {
        use DeliveryState::*;
        if matches!(to, Requested | Assigned | Cancelled | Restocked | Disposed) {
            return None;
        }
        let proof = NewProof { kind: ProofKind::Code, reference: Line::parse("0000").expect("digits are a line") };
        let reason = Prose::parse("nobody opened").expect("two words are prose");
        let report = DeliveryReport {
            delivery: parcel.delivery,
            status: to,
            reason: matches!(to, AttemptFailed | Lost | Damaged).then_some(reason),
            proof: (to == Delivered).then_some(proof),
            window: (to == Rescheduled).then(|| at.plus(Duration::from_secs(3600))),
        };
        // The id is stable, so that a report repeated after a crash is a duplicate.
        let step = format!("{} {}", to.as_str(), parcel.updated_at);
        let id = Uuid::new_v5(&parcel.id, step.as_bytes()).to_string();
        let event = CourierEvent { id, kind: MOVED_EVENT.to_owned(), occurred_at: at, data: report };
        Some(SimulatedStep { parcel: parcel.id, is_late: false, event })
    }

    /// Records that a step was reported, and schedules the next one, if any.
    pub async fn confirm(&self, step: &SimulatedStep) -> Result<(), StoreError> {
        // A late report does not change the present state.
        if step.is_late {
            return Ok(());
        }
        let now = self.clock.now();
        let state = step.event.data.status.as_str();
        let next_at = next_step(state).map(|_| now.plus(STEP_INTERVAL));
        self.store.move_sandbox_parcel(step.parcel, state, next_at, now).await
    }
}

/// Returns the step that follows a state without an administrator.
fn next_step(state: &str) -> Option<DeliveryState> {
    use DeliveryState::*;
    let order = [Assigned, PickedUp, InTransit, OutForDelivery, Delivered];
    let back = [AttemptFailed, Rescheduled, OutForDelivery];
    let home = [Returning, Returned];
    [&order[..], &back[..], &home[..]]
        .iter()
        .find_map(|steps| steps.windows(2).find(|pair| pair[0].as_str() == state).map(|pair| pair[1]))
}
