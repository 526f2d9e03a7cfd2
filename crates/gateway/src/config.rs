//! The configuration: one YAML file, environment overrides on top, validated before anything starts.
//!
//! Loading has two stages. The raw tree (`source`) keeps the place of every key; reading it key by key
//! (`section`) makes the types below and collects all problems, each with file, line, column and advice.
//! Defaults stand in `defaults` only. `config/fhirway.yaml` in the repository documents every key and is
//! embedded as what runs when no file is named.

use std::{
    collections::BTreeMap,
    net::SocketAddr,
    path::{Path, PathBuf},
    time::Duration,
};

use serde::Serialize;

pub mod announce;
mod auth;
mod defaults;
pub mod destination;
pub mod exchange;
pub mod listener;
pub mod mapping;
pub mod mirror;
mod overrides;
pub mod problem;
pub mod route;
pub mod secret;
mod section;
mod show;
mod source;
pub mod takes;
pub mod terminology;
mod units;
mod writing;

pub use destination::Destination;
pub use listener::Listener;
pub use problem::{Kind, Problem, Severity};
pub use route::Route;
pub use units::{bytes as parse_bytes, duration as parse_duration, show_bytes, show_duration};

use section::{Problems, Section};
use show::{as_duration, as_option_bytes, as_option_duration};

/// The configuration that runs when no file is named.
pub const EMBEDDED: &str = include_str!("../../../config/fhirway.yaml");

/// Name of the mapping package inside the binary.
pub const SHIPPED_PACKAGE: &str = "shipped";

/// Everything the gateway needs to know, validated.
#[derive(Clone, Debug, Serialize)]
pub struct Config {
    /// Folder of everything durable that has no path of its own.
    pub data_dir: PathBuf,
    /// Base of the identifiers that are made here.
    pub naming_base: String,
    /// Time each of the two steps of a drain may take, listeners and then deliveries, before what is left is
    /// cut off (and done again at the next start).
    #[serde(serialize_with = "as_duration")]
    pub drain_timeout: Duration,
    /// Logging.
    pub log: Log,
    /// Metrics and health.
    pub admin: Admin,
    /// The queue.
    pub queue: Queue,
    /// The embedded repository.
    pub repository: Repository,
    /// Mapping packages by name; the shipped one is `shipped`.
    pub packages: BTreeMap<String, PackageSource>,
    /// When packages are read again, and what one message may cost.
    pub mapping: mapping::Mapping,
    /// Where messages come in.
    pub listeners: Vec<Listener>,
    /// Which messages go where, in order.
    pub routes: Vec<Route>,
    /// Where Bundles go.
    pub destinations: Vec<Destination>,
    /// Where it is told what becomes of records.
    pub events: Option<announce::Announce>,
}

/// Where a mapping package comes from.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum PackageSource {
    /// Inside the binary.
    Embedded,
    /// A folder.
    Folder(PathBuf),
}

/// Logging.
#[derive(Clone, Debug, Serialize)]
pub struct Log {
    /// How lines look.
    pub format: LogFormat,
    /// What is logged: a level, or the filter notation of tracing (`info,gateway=debug`).
    pub level: String,
}

/// How log lines look.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum LogFormat {
    /// Pretty on a terminal, JSON otherwise.
    Auto,
    /// For people.
    Pretty,
    /// One JSON object per line.
    Json,
}

/// Metrics and health.
#[derive(Clone, Debug, Serialize)]
pub struct Admin {
    /// Whether to serve them.
    pub enabled: bool,
    /// Where.
    pub bind: SocketAddr,
    /// Message types that get a label value of their own (`ORU_R01`); others are `other`.
    pub message_types: Vec<String>,
}

/// The queue.
#[derive(Clone, Debug, Serialize)]
pub struct Queue {
    /// Folder of its database.
    pub path: PathBuf,
    /// How long a control id is remembered.
    #[serde(serialize_with = "as_duration")]
    pub dedup_window: Duration,
    /// What happens to a message with a known control id and other bytes.
    pub reused_control_id: ReusedControlId,
    /// How long delivered and filtered messages are kept; `None` is for ever.
    #[serde(serialize_with = "as_option_duration")]
    pub keep_delivered: Option<Duration>,
    /// How long dead letters are kept; `None` is for ever.
    #[serde(serialize_with = "as_option_duration")]
    pub keep_dead: Option<Duration>,
    /// Size from which on the oldest delivered and filtered messages go early; `None` is no limit.
    #[serde(serialize_with = "as_option_bytes")]
    pub keep_bytes: Option<u64>,
    /// Size at which new messages are refused; `None` is no limit.
    #[serde(serialize_with = "as_option_bytes")]
    pub max_bytes: Option<u64>,
    /// What must stay free on its disk: below it, new messages are refused, and deliveries go on.
    #[serde(serialize_with = "as_option_bytes")]
    pub min_free: Option<u64>,
    /// Encryption of what is stored.
    pub encryption: Encryption,
}

/// Encryption of the queue at rest.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Encryption {
    /// The first encrypts, all decrypt. Empty: nothing is encrypted.
    pub keys: Vec<secret::Secret>,
}

impl Queue {
    /// How the queue is to be opened, as far as the configuration says.
    pub fn options(&self) -> queue::Options {
        queue::Options {
            dedup: queue::Dedup {
                window: self.dedup_window,
                on_conflict: match self.reused_control_id {
                    ReusedControlId::Process => queue::OnConflict::Process,
                    ReusedControlId::Reject => queue::OnConflict::Reject,
                },
                ..queue::Dedup::default()
            },
            max_bytes: self.max_bytes,
            min_free_bytes: self.min_free.unwrap_or(0),
            keys: self
                .encryption
                .keys
                .iter()
                // A key that cannot be read is an error of the configuration, which is then not used.
                .filter_map(|key| queue::EncryptionKey::from_text(key.expose()).ok())
                .collect(),
            ..queue::Options::default()
        }
    }
}

/// What happens to other bytes under a control id that was seen before.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum ReusedControlId {
    /// A new message: many senders count from 1 every day.
    Process,
    /// Refused with error 205 (duplicate key).
    Reject,
}

/// The embedded repository, for trying out and for tests.
#[derive(Clone, Debug, Serialize)]
pub struct Repository {
    /// Where it listens; it runs only when a destination is `embedded`.
    pub bind: SocketAddr,
    /// Path of its database.
    pub path: PathBuf,
}

/// A configuration that was loaded, with what to know about it.
pub struct Loaded {
    /// The configuration, when nothing is wrong with it.
    pub config: Option<Config>,
    /// All problems, errors and warnings, in the order of the file.
    pub problems: Vec<Problem>,
    /// What the file is called in messages.
    pub file: String,
    /// Its text, to show lines of it.
    pub text: String,
}

impl Loaded {
    /// The problems as a person reads them.
    pub fn render(&self) -> String {
        problem::render(&self.problems, &self.file, &self.text)
    }
}

/// Loads `path`, or the embedded default, with the overrides of the process environment.
///
/// # Errors
/// The file cannot be read.
pub fn load(path: Option<&Path>) -> std::io::Result<Loaded> {
    let (file, text) = match path {
        Some(path) => (path.display().to_string(), std::fs::read_to_string(path)?),
        None => ("(embedded default)".to_owned(), EMBEDDED.to_owned()),
    };
    Ok(load_text(file, text, std::env::vars()))
}

/// Where the data is, whatever else is right or wrong with the configuration: who asks the gateway need not have
/// its secrets.
///
/// # Errors
/// The file cannot be read.
pub fn data_folder(path: Option<&Path>) -> std::io::Result<PathBuf> {
    let tree = tree(path)?;
    let problems = Problems::default();
    Ok(data_dir(&Section::new(String::new(), &tree, &problems)))
}

/// Where the data is and how the queue is kept, whatever else is right or wrong with the configuration.
///
/// # Errors
/// The file cannot be read, or what it says about the queue is wrong.
pub fn kept_queue(path: Option<&Path>) -> std::io::Result<(PathBuf, Queue)> {
    let tree = tree(path)?;
    let problems = Problems::default();
    let root = Section::new(String::new(), &tree, &problems);
    let data_dir = data_dir(&root);
    let queue = queue(&root, &data_dir);
    let wrong = problems
        .into_vec()
        .into_iter()
        .find(|problem| problem.severity == Severity::Error);
    match wrong {
        Some(problem) => Err(invalid(problem)),
        None => Ok((data_dir, queue)),
    }
}

fn tree(path: Option<&Path>) -> std::io::Result<source::Node> {
    let text = match path {
        Some(path) => std::fs::read_to_string(path)?,
        None => EMBEDDED.to_owned(),
    };
    let mut tree = source::read(&text).map_err(invalid)?;
    overrides::apply(&mut tree, std::env::vars(), &mut Vec::new());
    Ok(tree)
}

fn invalid(problem: Problem) -> std::io::Error {
    std::io::Error::new(std::io::ErrorKind::InvalidData, problem.message)
}

/// Loads a configuration from text, with overrides from `variables`.
pub fn load_text(
    file: String,
    text: String,
    variables: impl Iterator<Item = (String, String)>,
) -> Loaded {
    let mut early = Vec::new();
    let mut tree = match source::read(&text) {
        Ok(tree) => tree,
        Err(problem) => {
            return Loaded {
                config: None,
                problems: vec![problem],
                file,
                text,
            };
        }
    };
    overrides::apply(&mut tree, variables, &mut early);
    let problems = Problems::default();
    early.into_iter().for_each(|problem| problems.push(problem));
    let config = read(&Section::new(String::new(), &tree, &problems), &problems);
    let mut problems = problems.into_vec();
    problems.sort_by_key(|problem| match &problem.origin {
        source::Origin::Environment(_) => (0, 0),
        source::Origin::File { line, column } => (*line, *column),
    });
    let usable = problems
        .iter()
        .all(|problem| problem.severity == Severity::Warning);
    Loaded {
        config: usable.then_some(config),
        problems,
        file,
        text,
    }
}

fn read(root: &Section<'_>, problems: &Problems) -> Config {
    let data_dir = data_dir(root);
    let config = Config {
        naming_base: root
            .text("naming_base")
            .unwrap_or_else(|| defaults::NAMING_BASE.to_owned()),
        drain_timeout: root
            .duration("drain_timeout")
            .unwrap_or(defaults::DRAIN_TIMEOUT),
        log: log(root),
        admin: admin(root),
        queue: queue(root, &data_dir),
        repository: repository(root, &data_dir),
        packages: packages(root),
        mapping: mapping::read(root),
        listeners: listener::read(root),
        routes: route::read(root),
        destinations: destination::read(root),
        events: announce::read(root),
        data_dir,
    };
    root.report_unknown();
    for (key, empty) in [
        ("listeners", config.listeners.is_empty()),
        ("routes", config.routes.is_empty()),
        ("destinations", config.destinations.is_empty()),
    ] {
        if empty && root.given_empty(key) {
            root.error_of(
                Kind::Missing,
                &root.origin_of(key),
                format!("{key}: there must be at least one"),
            );
        }
    }
    route::check(
        &config.routes,
        &route::Known {
            listeners: config
                .listeners
                .iter()
                .map(|listener| listener.name.as_str())
                .collect(),
            destinations: config
                .destinations
                .iter()
                .map(|destination| destination.name.as_str())
                .collect(),
            packages: config.packages.keys().map(String::as_str).collect(),
        },
        problems,
    );
    check_ports(&config, root);
    config
}

fn data_dir(root: &Section<'_>) -> PathBuf {
    root.path("data_dir")
        .unwrap_or_else(|| PathBuf::from(defaults::DATA_DIR))
}

fn log(root: &Section<'_>) -> Log {
    let section = root.section_or_empty("log");
    let log = Log {
        format: section
            .choice(
                "format",
                &[
                    ("auto", LogFormat::Auto),
                    ("pretty", LogFormat::Pretty),
                    ("json", LogFormat::Json),
                ],
            )
            .unwrap_or(LogFormat::Auto),
        level: section.text("level").unwrap_or_else(|| "info".to_owned()),
    };
    if let Err(why) = log.level.parse::<tracing_subscriber::EnvFilter>() {
        section.error(
            &section.origin_of("level"),
            format!("{}: {why}", section.path_of("level")),
        );
    }
    section.finish();
    log
}

fn admin(root: &Section<'_>) -> Admin {
    let section = root.section_or_empty("admin");
    let admin = Admin {
        enabled: section.boolean("enabled").unwrap_or(true),
        bind: section.address("bind").unwrap_or(defaults::ADMIN_BIND),
        message_types: section
            .texts("message_types")
            .map(|types| types.into_iter().map(|(name, _)| name).collect())
            .unwrap_or_default(),
    };
    if admin.enabled && !admin.bind.ip().is_loopback() {
        section.warn_of(
            Kind::Exposed,
            &section.origin_of("bind"),
            format!("{} is not a loopback address", section.path_of("bind")),
            "it has no authentication: keep it inside a protected network",
        );
    }
    section.finish();
    admin
}

fn queue(root: &Section<'_>, data_dir: &Path) -> Queue {
    let section = root.section_or_empty("queue");
    let queue = Queue {
        path: section
            .path("path")
            .unwrap_or_else(|| data_dir.join("queue")),
        dedup_window: section
            .duration("dedup_window")
            .unwrap_or(defaults::DEDUP_WINDOW),
        reused_control_id: section
            .choice(
                "reused_control_id",
                &[
                    ("process", ReusedControlId::Process),
                    ("reject", ReusedControlId::Reject),
                ],
            )
            .unwrap_or(ReusedControlId::Process),
        keep_delivered: section
            .duration_or_off("keep_delivered")
            .unwrap_or(defaults::KEEP_DELIVERED),
        keep_dead: section
            .duration_or_off("keep_dead")
            .unwrap_or(defaults::KEEP_DEAD),
        max_bytes: section
            .bytes_or_off("max_bytes")
            .unwrap_or(defaults::QUEUE_BYTES),
        keep_bytes: section
            .bytes_or_off("keep_bytes")
            .unwrap_or(defaults::QUEUE_KEEP_BYTES),
        min_free: section
            .bytes_or_off("min_free")
            .unwrap_or(defaults::QUEUE_MIN_FREE),
        encryption: encryption(section.section_or_empty("encryption")),
    };
    section.finish();
    queue
}

fn encryption(section: Section<'_>) -> Encryption {
    let keys = section.secrets("keys");
    for (key, origin) in &keys {
        if let Err(why) = queue::EncryptionKey::from_text(key.expose()) {
            section.error_with_help(
                origin,
                format!("{}: {why}", section.path_of("keys")),
                "make one with `openssl rand -base64 32 > queue.key`, and name it as {file: queue.key}",
            );
        }
    }
    section.finish();
    Encryption {
        keys: keys.into_iter().map(|(key, _)| key).collect(),
    }
}

fn repository(root: &Section<'_>, data_dir: &Path) -> Repository {
    let section = root.section_or_empty("repository");
    let repository = Repository {
        bind: section.address("bind").unwrap_or(defaults::REPOSITORY_BIND),
        path: section
            .path("path")
            .unwrap_or_else(|| data_dir.join("repository.db")),
    };
    if !repository.bind.ip().is_loopback() {
        section.warn_of(
            Kind::Exposed,
            &section.origin_of("bind"),
            format!("{} is not a loopback address", section.path_of("bind")),
            "the embedded repository has no authentication and is not for production",
        );
    }
    section.finish();
    repository
}

fn packages(root: &Section<'_>) -> BTreeMap<String, PackageSource> {
    let mut packages = BTreeMap::from([(SHIPPED_PACKAGE.to_owned(), PackageSource::Embedded)]);
    for (name, path, origin) in root.text_map("packages") {
        let folder = PathBuf::from(&path);
        if !folder.is_dir() {
            root.error(
                &origin,
                format!("packages.{name}: `{path}` is not a folder"),
            );
        }
        packages.insert(name, PackageSource::Folder(folder));
    }
    packages
}

/// Two servers cannot share an address; said here it has a place, said by the system it has none.
fn check_ports(config: &Config, root: &Section<'_>) {
    let mut taken: Vec<(SocketAddr, String)> = Vec::new();
    if config.admin.enabled {
        taken.push((config.admin.bind, "admin".to_owned()));
    }
    if config.uses_repository() {
        taken.push((config.repository.bind, "repository".to_owned()));
    }
    for listener in &config.listeners {
        if let listener::Carrier::Mllp(mllp) = &listener.carrier {
            taken.push((mllp.bind, format!("listeners.{}", listener.name)));
        }
    }
    for (index, (address, name)) in taken.iter().enumerate() {
        let same = taken
            .iter()
            .take(index)
            .find(|(other, _)| other == address && other.port() != 0);
        if let Some((_, first)) = same {
            root.error_of(
                Kind::Conflict,
                &root.origin_of("listeners"),
                format!("{name} and {first} both bind {address}"),
            );
        }
    }
}

impl Config {
    /// Whether some destination is the embedded repository.
    pub fn uses_repository(&self) -> bool {
        self.destinations
            .iter()
            .any(|destination| matches!(destination.address, destination::Address::Embedded))
    }

    /// How long messages wait for a destination that is the mirror of a route; `None` for one that is not.
    pub fn mirror_age(&self, destination: &str) -> Option<Duration> {
        self.routes
            .iter()
            .filter_map(|route| route.mirror.as_ref())
            .filter(|mirror| mirror.to == destination)
            .map(|mirror| mirror.max_age)
            .max()
    }

    /// The configuration as YAML with every default filled in and every secret masked.
    pub fn show(&self) -> String {
        serde_json::to_value(self)
            .map(|value| show::as_yaml(&value))
            .unwrap_or_default()
    }
}

#[cfg(test)]
mod tests;
