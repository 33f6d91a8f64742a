//! Advances the parcels of the simulated courier.

use std::time::Duration;

use tokio_util::sync::CancellationToken;

use crate::integrations::Integrations;
use crate::integrations::courier::CourierClient;
use crate::telemetry::panics::TaskGuard;

/// How late a simulated step may be.
const POLL_INTERVAL: Duration = Duration::from_secs(1);

/// Starts the job if the configured courier is the sandbox; it ends with `stop`.
pub fn start(integrations: Integrations, stop: CancellationToken) {
    if !matches!(integrations.courier().map(|courier| courier.client()), Some(CourierClient::Sandbox(_))) {
        return;
    }
    tokio::spawn(async move {
        let mut guard = TaskGuard::new("sandbox courier");
        loop {
            tokio::select! {
                () = stop.cancelled() => return,
                () = tokio::time::sleep(POLL_INTERVAL) => {}
            }
            guard.run(report_due_steps(&integrations)).await;
        }
    });
}

async fn report_due_steps(integrations: &Integrations) {
    let Some(courier) = integrations.courier() else { return };
    let CourierClient::Sandbox(sandbox) = courier.client() else { return };
    let due = match sandbox.due().await {
        Ok(due) => due,
        Err(error) => return tracing::warn!(%error, "sandbox courier steps not read; retrying"),
    };
    for step in &due {
        if let Err(error) = courier.receive_from_sandbox(step).await {
            tracing::debug!(%error, "sandbox courier step not accepted; retrying");
        }
    }
}
