//! A courier that is only played: its parcels move along by themselves every few seconds, or by a person's buttons.

use std::time::Duration;

use rooms::party::{Proof, ProofKind};
use rooms::state::DeliveryState;
use rooms::text::{Line, Prose};
use rooms::time::Timestamp;
use uuid::Uuid;

use super::{Event, MOVED, Order, Report};
use crate::clock::Clock;
use crate::gateway::partner::Failure;
use crate::store::sandbox::PlayedParcel;
use crate::store::{Store, StoreError};

/// How long a played courier takes for a step.
pub const STEP: Duration = Duration::from_secs(8);
/// How long a node may take to tell of a step until another one does.
const LEASE: Duration = Duration::from_secs(30);

/// The partner.
#[derive(Clone, Debug)]
pub struct Sandbox {
    store: Store,
    clock: Clock,
}

/// A step that a played courier makes.
#[derive(Clone, Debug)]
pub struct Played {
    parcel: Uuid,
    /// A report of what was before the parcel's last step.
    late: bool,
    pub event: Event,
}

impl Sandbox {
    pub fn new(store: Store, clock: Clock) -> Self {
        Self { store, clock }
    }

    pub async fn order(&self, order: &Order) -> Result<String, Failure> {
        let (id, now) = (self.clock.fresh_id(), self.clock.now());
        let id = self.store.play_parcel(id, order.room, order.delivery, now.plus(STEP), now).await?;
        Ok(id.to_string())
    }

    pub async fn cancel(&self, reference: &str) -> Result<(), Failure> {
        let none = || Failure::Refused("the sandbox knows no such order".to_owned());
        let id: Uuid = reference.parse().map_err(|_| none())?;
        let parcel = self.store.played_parcel(id).await?.ok_or_else(none)?;
        let cancelled = DeliveryState::Cancelled.as_str();
        Ok(self.store.move_played_parcel(parcel.id, cancelled, None, self.clock.now()).await?)
    }

    /// The steps whose time has come.
    pub async fn due(&self) -> Result<Vec<Played>, StoreError> {
        let now = self.clock.now();
        let parcels = self.store.take_parcels(now, now.plus(LEASE)).await?;
        Ok(parcels.iter().filter_map(|parcel| self.step(parcel, next(&parcel.state)?, now)).collect())
    }

    /// The parcels that were last moved.
    pub async fn parcels(&self) -> Result<Vec<PlayedParcel>, StoreError> {
        self.store.played_parcels().await
    }

    /// A step by a person's button; `at`: when it happened, if that is not now.
    pub async fn push(&self, id: Uuid, to: DeliveryState, at: Option<Timestamp>) -> Result<Option<Played>, StoreError> {
        let parcel = self.store.played_parcel(id).await?;
        let played = |parcel: PlayedParcel| {
            let late = at.is_some_and(|at| at < parcel.updated_at);
            let step = self.step(&parcel, to, at.unwrap_or_else(|| self.clock.now()))?;
            Some(Played { late, ..step })
        };
        Ok(parcel.and_then(played))
    }

    /// What the courier would say of a step; nothing for steps that no courier makes.
    fn step(&self, parcel: &PlayedParcel, to: DeliveryState, at: Timestamp) -> Option<Played> {
        use DeliveryState::*;
        if matches!(to, Requested | Assigned | Cancelled | Restocked | Disposed) {
            return None;
        }
        let proof = Proof { kind: ProofKind::Code, reference: Line::parse("0000").expect("digits are a line") };
        let why = Prose::parse("nobody opened").expect("two words are prose");
        let report = Report {
            delivery: parcel.delivery,
            status: to,
            reason: matches!(to, AttemptFailed | Lost | Damaged).then_some(why),
            proof: (to == Delivered).then_some(proof),
            window: (to == Rescheduled).then(|| at.plus(Duration::from_secs(3600))),
        };
        // Told again after the hub has died, it is the same message.
        let name = format!("{} {}", to.as_str(), parcel.updated_at);
        let id = Uuid::new_v5(&parcel.id, name.as_bytes()).to_string();
        let event = Event { id, kind: MOVED.to_owned(), occurred_at: at, data: report };
        Some(Played { parcel: parcel.id, late: false, event })
    }

    /// A step was told of: the next one follows after a while, if one does.
    pub async fn told(&self, played: &Played) -> Result<(), StoreError> {
        // It changes nothing of what is.
        if played.late {
            return Ok(());
        }
        let now = self.clock.now();
        let state = played.event.data.status.as_str();
        let next_at = next(state).map(|_| now.plus(STEP));
        self.store.move_played_parcel(played.parcel, state, next_at, now).await
    }
}

/// What a courier does after this by itself.
fn next(state: &str) -> Option<DeliveryState> {
    use DeliveryState::*;
    let order = [Assigned, PickedUp, InTransit, OutForDelivery, Delivered];
    let back = [AttemptFailed, Rescheduled, OutForDelivery];
    let home = [Returning, Returned];
    [&order[..], &back[..], &home[..]]
        .iter()
        .find_map(|steps| steps.windows(2).find(|pair| pair[0].as_str() == state).map(|pair| pair[1]))
}
