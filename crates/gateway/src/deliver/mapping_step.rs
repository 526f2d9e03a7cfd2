//! A leased record becomes the request for one destination.

use std::{collections::BTreeMap, fmt::Write as _, sync::Arc, time::Instant};

use arc_swap::ArcSwap;
use bytes::Bytes;
use fhir::{
    bundle::{BundleKind, BundleOptions, Entry, Ids},
    tree::Tree,
};
use hl7v2::{Message, ParseOptions};
use jiff::tz::TimeZone;
use mapping::{CodeMiss, Context, Deadline, MessagePredicate, Package};
use queue::{Lease, RecordId};
use upstream::Request;

use super::stale::{Judge, Judged};
use crate::{
    config::{
        self, Config, Destination, listener::Content, mapping::MessageLimits, route::OnPoison,
    },
    convert::{ConvertFailure, Converted, Engine, Settings, is_error},
    events::{Events, RouteEvents},
    misses::Misses,
    newest::Newest,
    packages::Packages,
    receive,
    terminology::{Asked, Terminology, Unavailable},
};

/// Why the mapping step cannot be set up; a checked configuration rules it out.
#[derive(Debug, thiserror::Error)]
pub enum Setup {
    /// Its layers were not compiled.
    #[error("route `{0}` has no mapping package")]
    Package(String),
    /// Its terminology server.
    #[error("the terminology server of route `{0}` cannot be used")]
    Terminology(String, #[source] upstream::ConfigError),
}

/// Maps records of all routes.
pub struct MappingStep {
    /// Replaced as a whole; who maps a message keeps what was there when it began.
    engines: ArcSwap<Engines>,
    limits: MessageLimits,
    routes: BTreeMap<String, RouteStep>,
    listeners: BTreeMap<String, ListenerStep>,
    naming_base: String,
    misses: Arc<Misses>,
    newest: Arc<Newest>,
}

/// An engine for each combination of layers.
type Engines = BTreeMap<Vec<String>, Arc<Engine>>;

struct RouteStep {
    config: config::Route,
    overlays: Vec<OverlayStep>,
    mirror: Option<MirrorStep>,
    terminology: Option<Arc<Terminology>>,
    events: Arc<RouteEvents>,
}

/// How messages are mapped for the test server that gets a share of them.
struct MirrorStep {
    to: String,
    /// Instead of the route's, where they are given.
    layers: Vec<String>,
    policies: BTreeMap<String, String>,
    /// Counted apart: the route's own figures are about its own destinations.
    events: Arc<RouteEvents>,
}

/// What is used instead for some messages of a route.
struct OverlayStep {
    senders: Vec<String>,
    when: Option<MessagePredicate>,
    layers: Vec<String>,
    policies: BTreeMap<String, String>,
}

struct ListenerStep {
    parse: ParseOptions,
    zone: Option<TimeZone>,
}

/// A record as a request.
pub(super) struct Mapped {
    body: Bytes,
    kind: config::destination::BundleKind,
    judged: Judged,
}

/// Why a record is no request.
pub(super) enum MapFailure {
    /// Its route is no longer configured.
    NoRoute,
    /// It could not be converted.
    Convert(ConvertFailure),
    /// A code table says that a person must look first.
    Park(String),
    /// The terminology server does not answer, and the route waits for it.
    Terminology(Unavailable),
}

impl MappingStep {
    /// The routes and listeners of a configuration.
    ///
    /// # Errors
    /// [`Setup`].
    pub fn new(
        config: &Config,
        packages: &Packages,
        events: &Events,
        misses: Arc<Misses>,
        newest: Arc<Newest>,
    ) -> Result<Self, Setup> {
        let mut routes = BTreeMap::new();
        for route in &config.routes {
            let setup = || Setup::Package(route.name.clone());
            for layers in route.layerings() {
                packages.get(&layers).ok_or_else(setup)?;
            }
            let mut overlays = Vec::new();
            for overlay in &route.overlays {
                let when = overlay.when.as_deref().map(MessagePredicate::compile);
                let mut policies = route.policies.clone();
                policies.extend(overlay.policies.clone());
                overlays.push(OverlayStep {
                    senders: overlay.senders.clone(),
                    when: when.transpose().map_err(|_| setup())?,
                    layers: route.layers_with(overlay),
                    policies,
                });
            }
            let terminology = route.terminology.as_ref().map(|config| {
                let server = Terminology::new(config, events.terminology(&route.name));
                let failed = |error| Setup::Terminology(route.name.clone(), error);
                server.map(Arc::new).map_err(failed)
            });
            routes.insert(
                route.name.clone(),
                RouteStep {
                    config: route.clone(),
                    terminology: terminology.transpose()?,
                    mirror: route.mirror.as_ref().map(|mirror| MirrorStep {
                        to: mirror.to.clone(),
                        layers: mirror.packages.clone(),
                        policies: mirror.policies.clone(),
                        events: Arc::new(events.route(&format!("{}/mirror", route.name))),
                    }),
                    overlays,
                    events: Arc::new(events.route(&route.name)),
                },
            );
        }
        let listener = |content: &Content| ListenerStep {
            parse: receive::parse_options(content),
            zone: content
                .zone
                .as_deref()
                .and_then(|zone| TimeZone::get(zone).ok()),
        };
        let listeners = config
            .listeners
            .iter()
            .map(|each| (each.name.clone(), listener(&each.content)))
            .collect();
        Ok(Self {
            engines: ArcSwap::from_pointee(engines(packages)),
            limits: config.mapping.limits,
            routes,
            listeners,
            naming_base: config.naming_base.clone(),
            misses,
            newest,
        })
    }

    /// From now on messages are mapped with these packages; those being mapped finish with what they began with.
    pub fn replace(&self, packages: &Packages) {
        self.engines.store(Arc::new(engines(packages)));
    }

    /// What the newest message said of each resource.
    pub(super) fn newest(&self) -> &Newest {
        &self.newest
    }

    /// The fingerprints of what is in force, by the layers.
    pub fn hashes(&self) -> BTreeMap<Vec<String>, String> {
        let engines = self.engines.load();
        let hash = |engine: &Engine| engine.package().hash().to_owned();
        engines
            .iter()
            .map(|(names, engine)| (names.clone(), hash(engine)))
            .collect()
    }

    /// Events of a route that is still configured.
    pub(super) fn events(&self, route: &str) -> Option<&RouteEvents> {
        self.routes.get(route).map(|step| step.events.as_ref())
    }

    /// What a poisonous message of the route means for what is behind it.
    pub(super) fn on_poison(&self, route: &str) -> OnPoison {
        // A route that is gone: keep the messages in order until somebody decides.
        self.routes
            .get(route)
            .map_or(OnPoison::ParkKey, |step| step.config.on_poison)
    }

    /// Maps one record, away from the threads that talk to the network.
    pub(super) async fn map(
        self: &Arc<Self>,
        lease: &Lease,
        destination: &Destination,
    ) -> Result<Mapped, MapFailure> {
        let attempt = async || {
            let (step, lease, destination) = (Arc::clone(self), lease.clone(), destination.clone());
            let mapping = tokio::task::spawn_blocking(move || step.convert(&lease, &destination));
            mapping
                .await
                .unwrap_or(Err(MapFailure::Convert(ConvertFailure::Panicked)))
        };
        let mut attempted = attempt().await?;
        let server = self
            .routes
            .get(&lease.route)
            .and_then(|route| route.terminology.as_ref());
        if let Some(server) = server {
            match server.ask(&attempted.package, attempted.misses()).await {
                Asked::Nothing => {}
                Asked::Again => attempted = attempt().await?,
                Asked::Park(why) => return Err(MapFailure::Terminology(why)),
            }
        }
        self.finish(lease, destination, attempted)
    }

    /// What the engine makes of a record, with what is known of its codes so far.
    fn convert(&self, lease: &Lease, destination: &Destination) -> Result<Attempt, MapFailure> {
        let route = self.routes.get(&lease.route).ok_or(MapFailure::NoRoute)?;
        let (started, time) = (Instant::now(), self.limits.time);
        let listener = self.listeners.get(&lease.listener);
        let default = ParseOptions::default();
        let parse = listener.map_or(&default, |listener| &listener.parse);
        let sender = lease
            .attributes
            .get(receive::SENDER)
            .cloned()
            .unwrap_or_default();
        let mirror = route.mirror(&destination.name);
        let (mut layers, mut policies) = route.choose(&sender, &lease.payload, parse);
        if let Some(mirror) = mirror.filter(|mirror| !mirror.layers.is_empty()) {
            layers = &mirror.layers;
        }
        if let Some(mirror) = mirror.filter(|mirror| !mirror.policies.is_empty()) {
            policies = &mirror.policies;
        }
        let engine = self.engines.load().get(layers).cloned();
        let engine = engine.ok_or(MapFailure::NoRoute)?;
        let context = Context {
            sender,
            zone: listener.and_then(|listener| listener.zone.clone()),
            naming_base: self.naming_base.clone(),
            policies: policies.clone(),
            translations: route
                .terminology
                .as_ref()
                .map(|server| server.known())
                .unwrap_or_default(),
            limits: self.limits.engine(),
            deadline: Deadline::new(move || started.elapsed() >= time),
        };
        let judge = Judge::new(&self.newest, destination, lease, context.zone.as_ref());
        let decide = |message: &Message<'_>, tree: &Tree, entries: &mut [Entry<'_>]| {
            judge.decide(message, tree, entries);
        };
        let settings = Settings {
            parse,
            context: &context,
            bundle: bundle_options(destination),
            validation: route.config.validation,
            decide: Some(&decide),
        };
        let result = engine.convert(&lease.payload, &settings);
        let judged = judge.into_judged();
        Ok(Attempt {
            package: Arc::clone(engine.package()),
            sender: context.sender,
            started,
            judged,
            result,
        })
    }

    /// Counts and reports what became of a record.
    fn finish(
        &self,
        lease: &Lease,
        destination: &Destination,
        attempt: Attempt,
    ) -> Result<Mapped, MapFailure> {
        let route = self.routes.get(&lease.route).ok_or(MapFailure::NoRoute)?;
        let mirror = route.mirror(&destination.name);
        let events = mirror.map_or(&route.events, |mirror| &mirror.events);
        let (started, sender) = (attempt.started, attempt.sender);
        match attempt.result {
            Ok(converted) => {
                let missed = &converted.report.code_misses;
                if mirror.is_none() {
                    self.misses.count_record(lease.record, &sender, missed);
                }
                report(events, lease.record, &converted, started);
                if converted.park {
                    return Err(MapFailure::Park(told(missed)));
                }
                Ok(Mapped {
                    body: converted.bundle.into(),
                    kind: destination.bundle,
                    judged: attempt.judged,
                })
            }
            Err(failure) => {
                if let ConvertFailure::CodeMiss { misses, .. } = &failure {
                    if mirror.is_none() {
                        self.misses.count_record(lease.record, &sender, misses);
                    }
                    count_misses(events, misses);
                }
                events.mapping_failed(lease.record, failure.reason());
                for issue in failure.issues() {
                    events.validation_issue(issue.severity.as_str());
                }
                Err(MapFailure::Convert(failure))
            }
        }
    }
}

/// What the engine made of a record.
struct Attempt {
    package: Arc<Package>,
    sender: String,
    started: Instant,
    result: Result<Converted, ConvertFailure>,
    judged: Judged,
}

impl Attempt {
    /// The codes that tables do not list.
    fn misses(&self) -> &[CodeMiss] {
        match &self.result {
            Ok(converted) => &converted.report.code_misses,
            Err(ConvertFailure::CodeMiss { misses, .. }) => misses,
            Err(_) => &[],
        }
    }
}

impl RouteStep {
    /// How it is mapped for this destination, if that is the route's mirror.
    fn mirror(&self, destination: &str) -> Option<&MirrorStep> {
        self.mirror
            .as_ref()
            .filter(|mirror| mirror.to == destination)
    }

    /// Layers and policies for a message: those of the first overlay that is for it, else the route's.
    fn choose(
        &self,
        sender: &str,
        payload: &[u8],
        parse: &ParseOptions,
    ) -> (&Vec<String>, &BTreeMap<String, String>) {
        let mut message = None;
        let fits = |overlay: &&OverlayStep| {
            if !overlay.senders.is_empty() && !overlay.senders.iter().any(|name| name == sender) {
                return false;
            }
            let Some(when) = &overlay.when else {
                return true;
            };
            // Only routes that ask the content pay for reading it here.
            let message = message.get_or_insert_with(|| {
                hl7v2::parse_with(payload, parse, hl7v2::Index::default()).ok()
            });
            message
                .as_ref()
                .is_some_and(|(message, _)| when.matches(message))
        };
        match self.overlays.iter().find(fits) {
            Some(overlay) => (&overlay.layers, &overlay.policies),
            None => (&self.config.packages, &self.config.policies),
        }
    }
}

fn engines(packages: &Packages) -> Engines {
    packages
        .iter()
        .map(|(names, package)| (names.clone(), Arc::new(Engine::new(Arc::clone(package)))))
        .collect()
}

fn report(events: &RouteEvents, record: RecordId, converted: &Converted, started: Instant) {
    events.mapped(
        record,
        started.elapsed(),
        converted.resources,
        converted.report.issues.len(),
    );
    for (segment, count) in &converted.report.unmapped_segments {
        events.unmapped(segment, u64::from(*count));
    }
    count_misses(events, &converted.report.code_misses);
    for finding in &converted.findings {
        events.validation_issue(finding.severity.as_str());
    }
}

fn count_misses(events: &RouteEvents, misses: &[CodeMiss]) {
    for miss in misses {
        events.code_miss(&miss.table);
    }
}

/// Which tables miss a code, and where it stands.
fn told(misses: &[CodeMiss]) -> String {
    let misses = misses
        .iter()
        .map(|miss| format!("table {} at {}", miss.table, miss.place));
    misses.collect::<Vec<_>>().join(", ")
}

fn bundle_options(destination: &Destination) -> BundleOptions<'_> {
    BundleOptions {
        kind: match destination.bundle {
            // One by one: the stack looks into references, which are those of a transaction.
            config::destination::BundleKind::Transaction
            | config::destination::BundleKind::Single => BundleKind::Transaction,
            config::destination::BundleKind::Batch => BundleKind::Batch,
        },
        ids: match destination.ids {
            config::destination::Ids::Conditional => Ids::Conditional,
            config::destination::Ids::Client => Ids::Client,
        },
        pretty: false,
        base_url: match &destination.address {
            config::destination::Address::Url(url) => Some(url),
            config::destination::Address::Embedded | config::destination::Address::Exchange(_) => {
                None
            }
        },
    }
}

impl Mapped {
    /// The Bundle.
    pub(super) fn body(&self) -> &Bytes {
        &self.body
    }

    /// What was decided about each resource.
    pub(super) fn judged(&self) -> &Judged {
        &self.judged
    }

    /// The request, with the number of attempts before it and an id of ours for both logs.
    pub(super) fn request(self, lease: &Lease) -> Request {
        let mut request = match self.kind {
            config::destination::BundleKind::Transaction => Request::transaction(self.body),
            config::destination::BundleKind::Batch => Request::batch(self.body),
            config::destination::BundleKind::Single => Request::singles(self.body),
        };
        request.attempt = lease.attempts;
        request.request_id = Some(format!("fhirway-{}-{}", lease.record, lease.attempts));
        request
    }
}

impl MapFailure {
    /// The reason of the dead letter.
    pub(super) fn reason(&self) -> &'static str {
        match self {
            Self::NoRoute => "no-route",
            Self::Park(_) => "code-miss",
            Self::Terminology(_) => "terminology",
            Self::Convert(failure) => failure.reason(),
        }
    }

    /// What a person needs to know: codes and element paths, no content.
    pub(super) fn detail(&self) -> String {
        match self {
            Self::NoRoute => "the route of this record is no longer configured".to_owned(),
            Self::Convert(ConvertFailure::Invalid(issues)) => {
                let mut text = String::new();
                let errors: Vec<_> = issues.iter().filter(|issue| is_error(issue)).collect();
                for issue in errors.iter().take(20) {
                    let _ = writeln!(
                        text,
                        "{} {}: {}",
                        issue.code.as_str(),
                        issue.expression,
                        issue.message
                    );
                }
                if errors.len() > 20 {
                    let _ = writeln!(text, "and {} more", errors.len() - 20);
                }
                text.trim_end().to_owned()
            }
            Self::Convert(failure) => failure.to_string(),
            Self::Park(detail) => detail.clone(),
            Self::Terminology(why) => why.to_string(),
        }
    }
}
