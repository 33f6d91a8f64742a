//! Lets the played courier go on.

use std::time::Duration;

use tokio_util::sync::CancellationToken;

use crate::gateway::Gateway;
use crate::gateway::courier::Couriers;

/// How late a played step may be.
const EVERY: Duration = Duration::from_secs(1);

/// Starts it, if the courier is only played; it ends with `stop`.
pub fn start(gateway: Gateway, stop: CancellationToken) {
    if !matches!(gateway.courier().map(|courier| courier.couriers()), Some(Couriers::Sandbox(_))) {
        return;
    }
    tokio::spawn(async move {
        loop {
            tokio::select! {
                () = stop.cancelled() => return,
                () = tokio::time::sleep(EVERY) => {}
            }
            round(&gateway).await;
        }
    });
}

async fn round(gateway: &Gateway) {
    let Some(desk) = gateway.courier() else { return };
    let Couriers::Sandbox(sandbox) = desk.couriers() else { return };
    let due = match sandbox.due().await {
        Ok(due) => due,
        Err(error) => return tracing::warn!(%error, "the played courier stands still; it is tried again"),
    };
    for played in &due {
        if let Err(error) = desk.hear_sandbox(played).await {
            tracing::debug!(%error, "a played step was not taken; it is tried again");
        }
    }
}
