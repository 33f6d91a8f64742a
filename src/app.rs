//! Puts the parts together: the one place where implementations are chosen.

use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use rooms::wire::close::Close;
use tokio::net::TcpListener;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use crate::auth::{Auth, Revocation};
use crate::bus::Bus;
use crate::clock::Clock;
use crate::config::Config;
use crate::echo::Echo;
use crate::egress::Egress;
use crate::http;
use crate::hub::Hub;
use crate::hub::admission::AdmissionQueue;
use crate::hub::appender::Appender;
use crate::integrations::Integrations;
use crate::integrations::push::adapter::PushAdapter;
use crate::jobs;
use crate::lifecycle::{SPARE_CONNECTIONS, Server};
use crate::outbound;
use crate::outbound::dispatcher::Dispatcher;
use crate::outbound::lane::Destinations;
use crate::store::Store;
use crate::store::history::History;
use crate::turn::Relay;
use crate::web::AppState;

/// A hub that is ready to serve.
pub struct App {
    pub state: AppState,
    stop: CancellationToken,
}

impl App {
    /// Opens the store, reads or makes the keys, and starts what runs in the background.
    pub async fn build(config: Config) -> anyhow::Result<Self> {
        // An error says that one is installed already, by another hub in this process.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let clock = Clock::system();
        std::fs::create_dir_all(&config.data_dir)
            .with_context(|| format!("cannot make the data folder {}", config.data_dir.display()))?;
        let store =
            Store::connect(&config.database).await.context("cannot open the database (WARDROOM_DATABASE_URL)")?;
        let (bus, inbox) =
            Bus::open(config.redis.as_ref()).context("cannot use the Redis server (WARDROOM_REDIS_URL)")?;
        if bus.is_shared() {
            // Before anything is made by this clock.
            jobs::time::run(&store, &clock).await.context("cannot read the database's clock")?;
        }
        let auth =
            Auth::open(&config, store.clone(), bus.clone(), clock.clone()).await.context("cannot prepare sign-in")?;
        let relay =
            Arc::new(Relay::start(&config.turn, clock.clone()).await.context("cannot start the relay for calls")?);
        let (outbox_batches, committed) = mpsc::channel(outbound::outbox::QUEUE_CAPACITY);
        let appender = Appender::start(store.clone(), clock.clone(), outbox_batches);
        let hub = Hub::new(store.clone(), appender, bus, clock.clone(), config.policy.clone(), {
            let relay = relay.clone();
            Arc::new(move |session| relay.servers(session))
        });
        let stop = CancellationToken::new();
        hub.follow_bus(inbox);
        jobs::start(&hub, &clock, &stop);
        let egress = Egress::new().context("cannot make calls: the system's TLS certificates cannot be read")?;
        let push = PushAdapter::open(&config.push, store.clone(), clock.clone(), egress.clone())
            .context("cannot sign notifications")?;
        let integrations = Integrations::open(&config, hub.clone(), push, egress, clock.clone())
            .await
            .context("cannot prepare the partners")?;
        let destinations = Destinations::default();
        let dispatcher =
            Dispatcher::start(store.clone(), clock.clone(), integrations.clone(), destinations.clone(), stop.clone());
        jobs::sandbox::start(integrations.clone(), stop.clone());
        outbound::outbox::start(
            store.clone(),
            clock.clone(),
            integrations.clone(),
            dispatcher,
            committed,
            stop.clone(),
        );
        follow_revocations(&auth, &hub);
        if hub.bus().is_shared() {
            share_revocations(&auth, &hub, &stop);
        }
        let (listen, public) = config.media_address();
        let echo = Echo::new(relay.clone(), listen, public);
        let (integrations, admission) =
            (Arc::new(integrations), AdmissionQueue::new(config.limits.arrivals_per_second));
        let history =
            History::open(store.clone(), &config.database).context("cannot use WARDROOM_DATABASE_READ_URL")?;
        let state = AppState {
            store,
            history,
            auth,
            hub,
            integrations,
            destinations,
            relay,
            echo,
            config: Arc::new(config),
            clock,
            admission,
            documents: http::documents(),
        };
        Ok(Self { state, stop })
    }

    /// Ends the hub when cancelled.
    pub fn stop_token(&self) -> CancellationToken {
        self.stop.clone()
    }

    /// Serves on `listener` until stopped.
    pub async fn run(self, listener: TcpListener) {
        let connections = self.state.config.limits.connections + SPARE_CONNECTIONS;
        let hub = self.state.hub.clone();
        Server::new(http::router(self.state), hub, connections, self.stop).run(listener).await;
    }
}

/// How often the store is asked for what was revoked on other nodes, should the bus not say it.
const LEARN: Duration = Duration::from_secs(2);

/// Tells the other nodes what was revoked here, and learns what was revoked there.
fn share_revocations(auth: &Auth, hub: &Hub, stop: &CancellationToken) {
    let (told, teller) = (auth.clone(), hub.clone());
    tokio::spawn(stop.clone().run_until_cancelled_owned(async move {
        loop {
            told.local_revocation().await;
            teller.publish_rights_change();
        }
    }));
    let (auth, hub) = (auth.clone(), hub.clone());
    tokio::spawn(stop.clone().run_until_cancelled_owned(async move {
        loop {
            // An error says that the time is over.
            let _ = tokio::time::timeout(LEARN, hub.remote_rights_change()).await;
            if let Err(error) = auth.load_revocations().await {
                tracing::warn!(%error, "what was revoked on other nodes could not be read; it is tried again");
            }
        }
    }));
}

/// Ends open connections when their sign-in ends or their rights change.
fn follow_revocations(auth: &Auth, hub: &Hub) {
    use tokio::sync::broadcast::error::RecvError;
    let (mut revocations, hub) = (auth.revocations(), hub.clone());
    tokio::spawn(async move {
        loop {
            let connections = hub.connections();
            match revocations.recv().await {
                Ok(Revocation::Session(session)) => connections.close(Close::Revoked, |it| it.session == session),
                Ok(Revocation::User(user)) => connections.close(Close::Revoked, |it| it.user == user),
                Ok(Revocation::RightsChanged(user)) => connections.close(Close::TokenExpired, |it| it.user == user),
                // Too many at once to follow: everybody proves anew who they are, which loses nothing.
                Err(RecvError::Lagged(_)) => connections.close(Close::TokenExpired, |_| true),
                Err(RecvError::Closed) => return,
            }
        }
    });
}
