//! The gateway as a whole: everything a configuration asks for, started, run and drained.
//!
//! Starting opens the queue, compiles the mapping and binds every port before anything is accepted; whatever
//! is wrong is told then, and nothing has happened yet. Draining goes with the stream: listeners first, then
//! deliveries, the repository and the metrics last.

use std::{
    collections::BTreeMap, future::Future, io, net::SocketAddr, path::PathBuf, sync::Arc,
    time::Duration,
};

use queue::{EmbeddedQueue, Options, Queue, QueueError, Retention};
use tokio::{
    net::{TcpListener, UnixListener},
    sync::watch,
    task::JoinSet,
    time,
};
use tracing::{error, info};

use crate::{
    amqp::RabbitMqError,
    announce::{self, Announcements},
    config::{Config, Destination, destination::Address, listener::Carrier},
    control::{self, ControlError},
    deliver::{
        DestinationObserver, Dispatcher, MappingStep, Publisher, Setup, Way,
        capability::{self, CapabilityWatch},
        stack_config,
    },
    events::Events,
    health::{Health, Phase},
    listen::{
        mllp::{MllpError, MllpListener},
        rabbitmq::RabbitMqListener,
    },
    metrics::Metrics,
    misses::Misses,
    newest::{Newest, OpenError},
    packages::{PackageError, Packages},
    receive::{Receiver, Receivers},
    reload::Reloader,
    repository::Repository,
    routes::Routes,
};

/// How often the counts of missing codes are written to their file.
const MISSES_EVERY: Duration = Duration::from_secs(60);
/// How often old records are removed.
const RETENTION_EVERY: Duration = Duration::from_secs(600);

/// Why the gateway does not start. Each says what to change.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StartError {
    /// The data folder cannot be made.
    #[error("cannot make the data folder {}", .0.display())]
    DataFolder(PathBuf, #[source] io::Error),
    /// The queue cannot be opened.
    #[error("cannot open the queue in {}", .0.display())]
    Queue(PathBuf, #[source] QueueError),
    /// The mapping cannot be used.
    #[error(transparent)]
    Mapping(#[from] PackageError),
    /// A route without a package.
    #[error(transparent)]
    Route(#[from] Setup),
    /// A condition that cannot be read.
    #[error("{0}")]
    Condition(String),
    /// A port is taken.
    #[error("cannot bind {what} to {address}")]
    Bind {
        /// Which server.
        what: &'static str,
        /// Where.
        address: SocketAddr,
        /// What the system says.
        #[source]
        source: io::Error,
    },
    /// An MLLP listener cannot start.
    #[error(transparent)]
    Mllp(#[from] MllpError),
    /// A listener or destination on RabbitMQ cannot start.
    #[error(transparent)]
    RabbitMq(#[from] RabbitMqError),
    /// A destination cannot be used.
    #[error("destination `{0}` cannot be used")]
    Destination(String, #[source] upstream::ConfigError),
    /// A server lacks what the routes need, and the configuration insists on it.
    #[error(
        "destination `{destination}`: {why}; `fhirway upstream check {destination}` shows all, `capability.check: warn` starts all the same"
    )]
    Capability {
        /// The destination.
        destination: String,
        /// What is missing, or why that is not known.
        why: String,
    },
    /// A key that signs for us cannot be used.
    #[error("the signing keys cannot be used")]
    Keys(#[source] upstream::ConfigError),
    /// The embedded repository cannot be opened.
    #[error("cannot open the embedded repository: {0}")]
    Repository(String),
    /// The memory of what was delivered cannot be opened.
    #[error("cannot open the memory of what was delivered")]
    Newest(#[source] OpenError),
    /// The control socket cannot be made.
    #[error(transparent)]
    Control(#[from] ControlError),
    /// The metrics contradict each other.
    #[error("cannot set up the metrics: {0}")]
    Metrics(String),
}

/// Everything is open and bound; nothing is accepted yet.
pub struct Gateway {
    config: Config,
    queue: Arc<dyn Queue>,
    misses: Arc<Misses>,
    health: Health,
    mllp: Vec<(String, MllpListener)>,
    rabbitmq: Vec<Arc<RabbitMqListener>>,
    dispatchers: Vec<Arc<Dispatcher>>,
    capabilities: Vec<CapabilityWatch>,
    announcements: Option<Announcements>,
    packages: Arc<Reloader>,
    receivers: Receivers,
    admin: Option<TcpListener>,
    public_keys: serde_json::Value,
    repository: Option<(TcpListener, axum::Router)>,
    control: UnixListener,
    addresses: Addresses,
}

/// Where everything listens.
#[derive(Clone, Debug, Default)]
pub struct Addresses {
    /// Name and address of each MLLP listener.
    pub mllp: Vec<(String, SocketAddr)>,
    /// `/metrics`, `/livez`, `/readyz`.
    pub admin: Option<SocketAddr>,
    /// The embedded repository; its base URL is `http://ADDRESS/fhir`.
    pub repository: Option<SocketAddr>,
}

impl Gateway {
    /// Opens and binds everything.
    ///
    /// # Errors
    /// [`StartError`]; then nothing is left open.
    pub async fn start(config: Config) -> Result<Self, StartError> {
        std::fs::create_dir_all(&config.data_dir)
            .map_err(|error| StartError::DataFolder(config.data_dir.clone(), error))?;
        let metrics = Metrics::new(&config.admin.message_types)
            .map_err(|error| StartError::Metrics(error.to_string()))?;
        let mut announcements = None;
        let mut events = Events::new(Arc::new(metrics));
        if let Some(to) = &config.events {
            let dropped = events.metrics().events_dropped.clone();
            let (announcer, publishing) = announce::announcements(to, dropped)?;
            events = events.announced(announcer);
            announcements = Some(publishing);
        }
        let packages = Packages::load(&config)?;
        let routes = Routes::compile(&config.routes).map_err(StartError::Condition)?;
        let queue = open_queue(&config, &events)?;
        let health = Health::new(Arc::clone(&queue), Arc::clone(events.metrics()));
        let misses = Arc::new(Misses::open(&config.data_dir));
        let mut addresses = Addresses::default();

        let admin = if config.admin.enabled {
            Some(bind("the admin port", config.admin.bind).await?)
        } else {
            None
        };
        addresses.admin = admin
            .as_ref()
            .and_then(|listener| listener.local_addr().ok());
        let repository = repository(&config).await?;
        addresses.repository = repository
            .as_ref()
            .and_then(|(listener, _)| listener.local_addr().ok());
        let (mllp, rabbitmq, receivers) = listeners(&config, &routes, &queue, &events).await?;
        for (name, listener) in &mllp {
            addresses.mllp.extend(
                listener
                    .local_addr()
                    .ok()
                    .map(|address| (name.clone(), address)),
            );
        }
        let newest = Newest::open(&config.data_dir).map_err(StartError::Newest)?;
        let mapping = MappingStep::new(
            &config,
            &packages,
            &events,
            Arc::clone(&misses),
            Arc::clone(&newest),
        )?;
        let mapping = Arc::new(mapping);
        let ways = ways(&config, &events, addresses.repository)?;
        let capabilities = capabilities(&config, &packages, &ways, &events).await?;
        let dispatchers = dispatchers(&config, ways, &mapping, &queue, &events);
        let packages = Arc::new(Reloader::new(config.clone(), mapping, events.packages()));
        let public_keys = public_keys(&config.destinations)?;
        let control = control::listen(&control::socket_path(&config.data_dir))?;
        Ok(Self {
            config,
            queue,
            misses,
            health,
            mllp,
            rabbitmq,
            dispatchers,
            capabilities,
            announcements,
            packages,
            receivers,
            admin,
            public_keys,
            repository,
            control,
            addresses,
        })
    }

    /// Where everything listens.
    pub fn addresses(&self) -> &Addresses {
        &self.addresses
    }

    /// The queue, for whoever shows it.
    pub fn queue(&self) -> Arc<dyn Queue> {
        Arc::clone(&self.queue)
    }

    /// The mapping packages, for whoever has them read again.
    pub fn packages(&self) -> Arc<Reloader> {
        Arc::clone(&self.packages)
    }

    /// Runs until `shutdown` is ready, then drains.
    pub async fn run(self, shutdown: impl Future<Output = ()>) {
        let drain = self.config.drain_timeout;
        let (stop_listening, listening) = watch::channel(false);
        let (stop_delivering, delivering) = watch::channel(false);
        let (stop_serving, serving) = watch::channel(false);

        let mut servers = JoinSet::new();
        servers.spawn(serve(
            self.control,
            control::router(control::Reach {
                queue: Arc::clone(&self.queue),
                packages: Arc::clone(&self.packages),
                misses: Arc::clone(&self.misses),
                receivers: self.receivers,
            }),
            serving.clone(),
        ));
        if self.config.mapping.watch {
            servers.spawn(self.packages.watch(serving.clone()));
        }
        if let Some(listener) = self.admin {
            servers.spawn(serve(
                listener,
                self.health
                    .clone()
                    .router()
                    .merge(crate::keys::router(self.public_keys)),
                serving.clone(),
            ));
        }
        if let Some((listener, router)) = self.repository {
            servers.spawn(serve(listener, router, serving.clone()));
        }
        servers.spawn(save_misses(Arc::clone(&self.misses), serving.clone()));
        if let Some(announcements) = self.announcements {
            servers.spawn(announcements.run(serving.clone()));
        }
        for watch in self.capabilities {
            servers.spawn(watch.run(serving.clone()));
        }
        servers.spawn(retention(
            Arc::clone(&self.queue),
            retention_policy(&self.config),
            serving,
        ));

        let mut dispatchers = JoinSet::new();
        for dispatcher in self.dispatchers {
            dispatchers.spawn(dispatcher.run(delivering.clone(), drain));
        }
        let mut listeners = JoinSet::new();
        for (_, listener) in self.mllp {
            let mut stop = listening.clone();
            listeners.spawn(async move {
                listener
                    .serve(async move { drop(stop.wait_for(|stop| *stop).await) })
                    .await;
            });
        }
        for listener in self.rabbitmq {
            listeners.spawn(listener.run(listening.clone()));
        }

        self.health.enter(Phase::Serving);
        log_started(&self.addresses);
        shutdown.await;

        info!(event = "draining", timeout_s = drain.as_secs());
        self.health.enter(Phase::Draining);
        stop_listening.send_replace(true);
        join(listeners, "listeners", drain).await;
        stop_delivering.send_replace(true);
        join(dispatchers, "deliveries", drain).await;
        stop_serving.send_replace(true);
        join(servers, "servers", Duration::from_secs(2)).await;
        let _ = std::fs::remove_file(control::socket_path(&self.config.data_dir));
        info!(event = "stopped");
    }
}

fn log_started(addresses: &Addresses) {
    for (listener, address) in &addresses.mllp {
        info!(event = "listening", %listener, %address);
    }
    if let Some(address) = addresses.admin {
        info!(event = "listening", listener = "admin", %address);
    }
    if let Some(address) = addresses.repository {
        info!(event = "listening", listener = "repository", %address);
    }
    info!(event = "ready", version = env!("CARGO_PKG_VERSION"));
}

/// Waits for tasks, and cuts off what does not end in time. A task that panicked is reported.
async fn join(mut tasks: JoinSet<()>, what: &'static str, within: Duration) {
    // A little more than the tasks allow themselves, so that they report on their own.
    let all = async {
        while let Some(ended) = tasks.join_next().await {
            if ended.is_err() {
                error!(event = "internal_error", what, why = "a task panicked");
            }
        }
    };
    if time::timeout(within + Duration::from_secs(1), all)
        .await
        .is_err()
    {
        error!(event = "drain_timeout", what);
    }
}

async fn serve<L>(listener: L, router: axum::Router, mut stop: watch::Receiver<bool>)
where
    L: axum::serve::Listener,
    L::Addr: std::fmt::Debug,
{
    let served = axum::serve(listener, router)
        .with_graceful_shutdown(async move { drop(stop.wait_for(|stop| *stop).await) })
        .await;
    if let Err(error) = served {
        error!(event = "internal_error", what = "server", why = %error);
    }
}

async fn bind(what: &'static str, address: SocketAddr) -> Result<TcpListener, StartError> {
    TcpListener::bind(address)
        .await
        .map_err(|source| StartError::Bind {
            what,
            address,
            source,
        })
}

fn open_queue(config: &Config, events: &Events) -> Result<Arc<dyn Queue>, StartError> {
    let options = Options {
        observer: Some(Arc::new(events.queue())),
        ..config.queue.options()
    };
    let queue = EmbeddedQueue::open(&config.queue.path, options)
        .map_err(|error| StartError::Queue(config.queue.path.clone(), error))?;
    Ok(Arc::new(queue))
}

async fn repository(config: &Config) -> Result<Option<(TcpListener, axum::Router)>, StartError> {
    if !config.uses_repository() {
        return Ok(None);
    }
    let repository = Repository::open(Some(&config.repository.path))
        .map_err(|error| StartError::Repository(error.to_string()))?;
    let listener = bind("the embedded repository", config.repository.bind).await?;
    let router = axum::Router::new().nest("/fhir", crate::repository::router(Arc::new(repository)));
    Ok(Some((listener, router)))
}

type Listeners = (
    Vec<(String, MllpListener)>,
    Vec<Arc<RabbitMqListener>>,
    Receivers,
);

async fn listeners(
    config: &Config,
    routes: &Routes,
    queue: &Arc<dyn Queue>,
    events: &Events,
) -> Result<Listeners, StartError> {
    let (mut mllp, mut rabbitmq) = (Vec::new(), Vec::new());
    let mut receivers = BTreeMap::new();
    for listener in &config.listeners {
        let told = Arc::new(events.listener(&listener.name));
        let receiver = Arc::new(Receiver::new(
            listener,
            routes.clone(),
            Arc::clone(queue),
            Arc::clone(&told),
        ));
        receivers.insert(listener.name.clone(), Arc::clone(&receiver));
        match &listener.carrier {
            Carrier::Mllp(carrier) => {
                let profile = listener.content.ack.profile;
                let bound = MllpListener::bind(
                    &listener.name,
                    carrier,
                    profile,
                    config.drain_timeout,
                    receiver,
                    told,
                )
                .await?;
                mllp.push((listener.name.clone(), bound));
            }
            Carrier::Rabbitmq(carrier) => {
                rabbitmq.push(Arc::new(RabbitMqListener::new(
                    &listener.name,
                    carrier,
                    receiver,
                    told,
                )?));
            }
        }
    }
    Ok((mllp, rabbitmq, Receivers::new(receivers)))
}

/// What the servers that trust our signatures may see.
fn public_keys(destinations: &[Destination]) -> Result<serde_json::Value, StartError> {
    crate::keys::public_keys(destinations).map_err(StartError::Keys)
}

/// What sends to each destination.
fn ways(
    config: &Config,
    events: &Events,
    repository: Option<SocketAddr>,
) -> Result<Vec<(Destination, Way)>, StartError> {
    config
        .destinations
        .iter()
        .map(|destination| {
            let way = match &destination.address {
                Address::Exchange(exchange) => {
                    let events = Arc::new(events.destination(&destination.name));
                    Way::Exchange(Box::new(Publisher::new(destination, exchange, events)?))
                }
                Address::Embedded | Address::Url(_) => {
                    let observer = Arc::new(DestinationObserver::new(events, &destination.name));
                    let stack = stack_config(destination, repository)
                        .and_then(|config| upstream::stack(&config, observer));
                    Way::Server(Box::new(stack.map_err(|error| {
                        StartError::Destination(destination.name.clone(), error)
                    })?))
                }
            };
            Ok((destination.clone(), way))
        })
        .collect()
}

/// Who looks at what the servers can do. Where that is insisted on, all servers are asked now, at once.
async fn capabilities(
    config: &Config,
    packages: &Packages,
    ways: &[(Destination, Way)],
    events: &Events,
) -> Result<Vec<CapabilityWatch>, StartError> {
    let servers = ways.iter().filter_map(|(destination, way)| match way {
        Way::Server(stack) => Some((destination, stack)),
        Way::Exchange(_) => None,
    });
    let watches = servers.map(|(destination, stack)| async {
        let needs = capability::needs(config, packages, destination);
        let events = events.destination(&destination.name);
        let mut watch = CapabilityWatch::new(destination, needs, stack.as_ref().clone(), events);
        match watch.insist().await {
            Ok(()) => Ok(watch),
            Err(why) => Err(StartError::Capability {
                destination: destination.name.clone(),
                why,
            }),
        }
    });
    futures_util::future::try_join_all(watches).await
}

fn dispatchers(
    config: &Config,
    ways: Vec<(Destination, Way)>,
    mapping: &Arc<MappingStep>,
    queue: &Arc<dyn Queue>,
    events: &Events,
) -> Vec<Arc<Dispatcher>> {
    let dispatcher = |(destination, way): (Destination, Way)| {
        let max_age = config.mirror_age(&destination.name);
        let (mapping, queue) = (Arc::clone(mapping), Arc::clone(queue));
        let dispatcher = Dispatcher::new(destination, mapping, way, queue, events);
        Arc::new(match max_age {
            Some(max_age) => dispatcher.mirrors(max_age),
            None => dispatcher,
        })
    };
    ways.into_iter().map(dispatcher).collect()
}

fn retention_policy(config: &Config) -> Retention {
    Retention {
        done_for: config.queue.keep_delivered,
        dead_for: config.queue.keep_dead,
        max_bytes: config.queue.keep_bytes,
    }
}

/// Writes the counts of missing codes now and then, and at the end.
async fn save_misses(misses: Arc<Misses>, mut stop: watch::Receiver<bool>) {
    loop {
        let ended = tokio::select! {
            _ = stop.wait_for(|stop| *stop) => true,
            () = time::sleep(MISSES_EVERY) => false,
        };
        let saving = Arc::clone(&misses);
        let saved = tokio::task::spawn_blocking(move || saving.save()).await;
        if let Ok(Err(error)) = saved {
            error!(event = "internal_error", what = "misses.json", why = %error);
        }
        if ended {
            return;
        }
    }
}

/// Removes old records now and then.
async fn retention(queue: Arc<dyn Queue>, policy: Retention, mut stop: watch::Receiver<bool>) {
    loop {
        tokio::select! {
            _ = stop.wait_for(|stop| *stop) => return,
            () = time::sleep(RETENTION_EVERY) => {}
        }
        match queue.retain(policy).await {
            Ok(removed) if removed.by_age + removed.by_size > 0 => {
                info!(
                    event = "records_removed",
                    by_age = removed.by_age,
                    by_size = removed.by_size
                );
            }
            Ok(_) => {}
            Err(error) => error!(event = "retention_failed", %error),
        }
    }
}
