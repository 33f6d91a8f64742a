//! Assembles the hub: the one place that chooses implementations.

use std::ops::ControlFlow;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use rooms::id::{RoomId, SessionId, UserId};
use rooms::wire::call::Servers;
use rooms::wire::close::Close;
use tokio::net::TcpListener;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use crate::auth::{Auth, Revocation};
use crate::bus::Bus;
use crate::clock::Clock;
use crate::config::Config;
use crate::echo::{Echo, MediaAddress};
use crate::egress::{AddressPolicy, Egress};
use crate::http;
use crate::hub::admission::AdmissionQueue;
use crate::hub::appender::Appender;
use crate::hub::{Hub, HubSettings, MediaRelays};
use crate::integrations::Integrations;
use crate::integrations::push::adapter::PushAdapter;
use crate::jobs;
use crate::keyfile;
use crate::lifecycle::{self, Server};
use crate::outbound;
use crate::outbound::dispatcher::Dispatcher;
use crate::outbound::lane::Destinations;
use crate::store::Store;
use crate::store::history::History;
use crate::telemetry::panics::TaskGuard;
use crate::turn::{Relay, RelayUser};
use crate::web::AppState;
use crate::web::client_address::ClientAddresses;

/// A hub that is ready to serve.
pub struct App {
    pub state: AppState,
    stop: CancellationToken,
}

impl App {
    /// Opens the store, reads or creates the keys, and starts the background tasks.
    pub async fn build(config: Config) -> anyhow::Result<Self> {
        // An error means that another hub in this process has installed one already.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let clock = Clock::system();
        keyfile::create_folder(&config.data_dir).context("cannot create the data folder (WARDROOM_DATA_DIR)")?;
        keyfile::restrict(&config.data_dir)
            .context("cannot restrict the data folder to its owner; make the user who runs the hub its owner")?;
        let store =
            Store::connect(&config.database).await.context("cannot open the database (WARDROOM_DATABASE_URL)")?;
        let (bus, inbox) =
            Bus::open(config.redis.as_ref()).context("cannot use the Redis server (WARDROOM_REDIS_URL)")?;
        if bus.is_shared() {
            // Before anything uses this clock.
            jobs::time::run(&store, &clock).await.context("cannot read the database's clock")?;
        }
        let auth =
            Auth::open(&config, store.clone(), bus.clone(), clock.clone()).await.context("cannot prepare sign-in")?;
        let relay =
            Arc::new(Relay::start(&config.turn, clock.clone()).await.context("cannot start the relay for calls")?);
        let (outbox_batches, committed) = mpsc::channel(outbound::outbox::QUEUE_CAPACITY);
        let appender = Appender::start(store.clone(), clock.clone(), outbox_batches);
        let settings = HubSettings {
            policy: config.policy.clone(),
            limits: config.limits.business,
            max_connections: config.limits.connections,
        };
        let relays = Arc::new(NodeRelays(relay.clone()));
        let hub = Hub::new(store.clone(), appender, bus, clock.clone(), settings, relays);
        let stop = CancellationToken::new();
        hub.follow_bus(inbox);
        jobs::start(&hub, &clock, &stop);
        let egress = Egress::new().context("cannot send requests: the system's TLS certificates cannot be read")?;
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
        follow_revocations(&auth, &hub, &relay);
        if hub.bus().is_shared() {
            share_revocations(&auth, &hub, &stop);
        }
        let (listen, public, private_peers) = config.media_address();
        let policy = AddressPolicy::for_media(private_peers);
        let echo = Echo::new(relay.clone(), MediaAddress { listen, public, policy });
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
            client_addresses: Arc::new(ClientAddresses::new(config.behind_proxy)),
            config: Arc::new(config),
            clock,
            admission,
            documents: http::generate_documents(),
        };
        Ok(Self { state, stop })
    }

    /// Ends the hub when cancelled.
    pub fn stop_token(&self) -> CancellationToken {
        self.stop.clone()
    }

    /// Serves on `listener` until stopped.
    pub async fn run(self, listener: TcpListener) {
        let connections = lifecycle::max_tcp_connections(self.state.config.limits.connections);
        let hub = self.state.hub.clone();
        Server::new(http::router(self.state), hub, connections, self.stop).run(listener).await;
    }
}

/// The node's relay, as its rooms use it.
struct NodeRelays(Arc<Relay>);

impl MediaRelays for NodeRelays {
    fn servers(&self, session: SessionId, user: UserId, room: Option<RoomId>) -> Servers {
        self.0.servers(RelayUser { session, user, room })
    }

    fn end_call(&self, room: RoomId) {
        self.0.end_call(room);
    }

    fn dismiss_guest(&self, guest: UserId) {
        self.0.dismiss_guest(guest);
    }
}

/// Interval between two reads of the store for revocations of other nodes, in case the bus does not announce them.
const REVOCATION_POLL_INTERVAL: Duration = Duration::from_secs(2);

/// Announces this node's revocations to the other nodes, and loads theirs.
fn share_revocations(auth: &Auth, hub: &Hub, stop: &CancellationToken) {
    let (announced, announcer) = (auth.clone(), hub.clone());
    tokio::spawn(stop.clone().run_until_cancelled_owned(async move {
        let mut guard = TaskGuard::new("revocation publisher");
        loop {
            let publish = async {
                announced.local_revocation().await;
                announcer.publish_rights_change();
            };
            guard.run(publish).await;
        }
    }));
    let (auth, hub) = (auth.clone(), hub.clone());
    tokio::spawn(stop.clone().run_until_cancelled_owned(async move {
        let mut guard = TaskGuard::new("revocation reader");
        loop {
            // A timeout is an error here, and only means that it is time to poll.
            let _ = tokio::time::timeout(REVOCATION_POLL_INTERVAL, hub.remote_rights_change()).await;
            if let Some(Err(error)) = guard.run(auth.load_revocations()).await {
                tracing::warn!(%error, "reading revocations failed; retrying");
            }
        }
    }));
}

/// Ends open connections and relayed media when their sign-in ends or their rights change.
fn follow_revocations(auth: &Auth, hub: &Hub, relay: &Arc<Relay>) {
    use tokio::sync::broadcast::error::RecvError;
    let (mut revocations, hub, relay) = (auth.revocations(), hub.clone(), relay.clone());
    tokio::spawn(async move {
        let mut guard = TaskGuard::new("revocations");
        loop {
            let connections = hub.connections();
            let follow = async {
                match revocations.recv().await {
                    Ok(Revocation::Session(session)) => {
                        connections.close(Close::Revoked, |it| it.session == session);
                        relay.end_session(session);
                    }
                    Ok(Revocation::User(user)) => {
                        connections.close(Close::Revoked, |it| it.user == user);
                        relay.end_person(user);
                    }
                    Ok(Revocation::RightsChanged(user)) => connections.close(Close::TokenExpired, |it| it.user == user),
                    // Some announcements are lost: every client must authenticate again, which loses nothing.
                    Err(RecvError::Lagged(_)) => {
                        connections.close(Close::TokenExpired, |_| true);
                        relay.end_all();
                    }
                    Err(RecvError::Closed) => return ControlFlow::Break(()),
                }
                ControlFlow::Continue(())
            };
            if guard.run(follow).await == Some(ControlFlow::Break(())) {
                return;
            }
        }
    });
}
