//! `listeners`: where messages come in.

use std::{
    collections::BTreeMap,
    net::{IpAddr, SocketAddr},
    path::PathBuf,
    time::Duration,
};

use ipnet::IpNet;

use serde::Serialize;

use super::{
    defaults,
    problem::Kind,
    secret::Secret,
    section::Section,
    show::{as_duration, as_option_duration},
};

/// One place where messages come in.
#[derive(Clone, Debug, Serialize)]
pub struct Listener {
    /// Its name: a metric label, part of the dedup key, and what routes refer to.
    pub name: String,
    /// How to read and answer the messages, whatever carried them.
    #[serde(flatten)]
    pub content: Content,
    /// What carries the messages.
    #[serde(flatten)]
    pub carrier: Carrier,
}

/// What carries messages to a listener.
#[derive(Clone, Debug, Serialize)]
#[serde(tag = "type", rename_all = "lowercase")]
pub enum Carrier {
    /// MLLP over TCP or TLS.
    Mllp(Box<Mllp>),
    /// Queues of a RabbitMQ broker.
    Rabbitmq(Box<RabbitMq>),
}

/// How the messages of one listener are read and acknowledged.
#[derive(Clone, Debug, Serialize)]
pub struct Content {
    /// Salt for identifiers that are only unique at the sender. `None`: MSH-4, else MSH-3 of each message.
    pub sender: Option<String>,
    /// Time zone of times without an offset (IANA name).
    pub zone: Option<String>,
    /// Character set for messages without MSH-18 that are not UTF-8 (WHATWG label).
    pub charset_fallback: Option<String>,
    /// Character set to use whatever MSH-18 says.
    pub charset_override: Option<String>,
    /// A line that is no segment continues the field before it: senders write raw CRs into text.
    pub join_raw_cr: bool,
    /// A LF ends a segment too where a segment name follows it: senders mix CR and LF.
    pub split_line_feeds: bool,
    /// How to acknowledge.
    pub ack: Ack,
    /// What happens to a message that no route takes.
    pub unrouted: Unrouted,
    /// Who may send as whom, by client certificate. Empty: nobody is asked.
    pub senders: Vec<Sender>,
}

/// For whom the owner of a certificate may speak. An empty list allows every value.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Sender {
    /// A common name or DNS name of its certificate.
    pub certificate: String,
    /// Values of MSH-3.1.
    pub applications: Vec<String>,
    /// Values of MSH-4.1.
    pub facilities: Vec<String>,
}

/// Acknowledgement settings (v2 chapter 2.9).
#[derive(Clone, Debug, Serialize)]
pub struct Ack {
    /// Which acknowledgement mode to use.
    pub mode: AckMode,
    /// Send an ACK even where MSH-15 asks for none; most senders wait for one.
    pub always_answer: bool,
    /// What becomes of the second, application ACK of enhanced mode.
    pub application: ApplicationAck,
    /// How this sender reads AE and AR.
    pub profile: AckProfile,
}

/// Original or enhanced acknowledgement mode.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum AckMode {
    /// As MSH-15 and MSH-16 ask.
    Auto,
    /// AA, AE, AR whatever the message asks.
    Original,
    /// CA, CE, CR whatever the message asks.
    Enhanced,
}

/// The application ACK that MSH-16 asks for beside the accept ACK of MSH-15.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum ApplicationAck {
    /// Not sent: many senders that ask for both read one answer, and would take the second for that of their next message.
    None,
    /// Sent behind the accept ACK, on the same connection or to the same reply queue.
    SameConnection,
}

/// What AE and AR mean to the sender: there is no agreement in the field.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum AckProfile {
    /// AE may be sent again, AR may not.
    Interop,
    /// AR may be sent again, AE may not.
    Intersystems,
    /// A failure is answered by closing the connection.
    CloseWithoutAck,
}

/// What happens to a message that no route takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Unrouted {
    /// Stored, acknowledged, counted as filtered.
    Store,
    /// Answered with a rejection.
    Reject,
}

/// An MLLP server.
#[derive(Clone, Debug, Serialize)]
pub struct Mllp {
    /// Address and port.
    pub bind: SocketAddr,
    /// Networks that may connect; empty: all.
    pub allow: Vec<IpNet>,
    /// Open connections in total.
    pub connections: usize,
    /// Open connections from one address.
    pub connections_per_address: usize,
    /// Largest frame in bytes.
    pub frame_bytes: u64,
    /// Time from the first byte of a frame to its last.
    #[serde(serialize_with = "as_duration")]
    pub frame_timeout: Duration,
    /// Time a connection may stay silent; `None` is for ever.
    #[serde(serialize_with = "as_option_duration")]
    pub idle_timeout: Option<Duration>,
    /// Time the peer may take to read an ACK.
    #[serde(serialize_with = "as_duration")]
    pub ack_timeout: Duration,
    /// TCP keepalive probes begin after this silence; `None` turns them off.
    #[serde(serialize_with = "as_option_duration")]
    pub keepalive: Option<Duration>,
    /// Frames of one connection that may be worked on at once; answers keep their order.
    pub in_flight: usize,
    /// MLLP release 2 commit bytes before the ACK.
    pub commit_bytes: bool,
    /// Deviations from the framing by name ([`mllp::Tolerance`]): whether they are read, with a counted warning.
    pub tolerate: BTreeMap<&'static str, bool>,
    /// TLS, when on.
    pub tls: Option<ServerTls>,
}

/// TLS of a server.
#[derive(Clone, Debug, Serialize)]
pub struct ServerTls {
    /// Certificate chain, PEM.
    pub certificate: PathBuf,
    /// Private key, PEM.
    pub key: PathBuf,
    /// Authorities that sign client certificates, PEM.
    pub client_ca: Option<PathBuf>,
    /// Lists of revoked client certificates, PEM.
    pub client_crls: Vec<PathBuf>,
    /// Whether clients must show a certificate.
    pub client_certificate: ClientCertificate,
    /// How often the files are looked at; changed ones are read again. `None`: never.
    #[serde(serialize_with = "as_option_duration")]
    pub reload: Option<Duration>,
}

/// Whether clients must show a certificate.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum ClientCertificate {
    /// Not asked for.
    None,
    /// Asked for, checked when shown.
    Want,
    /// Required.
    Need,
}

/// A consumer of RabbitMQ queues.
#[derive(Clone, Debug, Serialize)]
pub struct RabbitMq {
    /// `amqp://` or `amqps://` URL; may hold a password, so it is a secret.
    pub url: Secret,
    /// Queues to consume.
    pub queues: Vec<String>,
    /// Unacknowledged deliveries per queue.
    pub prefetch: u16,
    /// Authorities to trust instead of the system's, PEM.
    pub ca: Option<PathBuf>,
    /// Client certificate chain, PEM.
    pub certificate: Option<PathBuf>,
    /// Client private key, PEM.
    pub key: Option<PathBuf>,
    /// What becomes of a delivery that cannot be a message.
    pub reject: RabbitReject,
    /// Where such deliveries are published when `reject` is `publish`: exchange and routing key.
    pub reject_exchange: String,
    /// Routing key of rejected deliveries.
    pub reject_key: String,
    /// Where ACK messages go; `None` sends them only when a delivery has `reply_to`.
    pub reply_queue: Option<String>,
    /// Whether to publish ACK messages at all.
    pub reply: bool,
    /// First and longest wait before connecting again.
    #[serde(serialize_with = "as_duration")]
    pub reconnect_initial: Duration,
    /// Longest wait before connecting again.
    #[serde(serialize_with = "as_duration")]
    pub reconnect_max: Duration,
}

/// What becomes of a delivery that cannot be a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum RabbitReject {
    /// Negative acknowledgement without requeue: the queue's dead-letter exchange takes it.
    DeadLetter,
    /// Published to `reject_exchange` with `reject_key`, then acknowledged.
    Publish,
}

/// Reads all listeners.
pub fn read(root: &Section<'_>) -> Vec<Listener> {
    root.named_sections("listeners")
        .into_iter()
        .filter_map(|(name, section)| one(name, section))
        .collect()
}

fn one(name: String, section: Section<'_>) -> Option<Listener> {
    let kind = section.choice("type", &[("mllp", true), ("rabbitmq", false)]);
    if kind.is_none() && section.node("type").is_none() {
        section.missing("type", "write `type: mllp` or `type: rabbitmq`");
    }
    let content = content(&section);
    // Without a type nobody can say which keys belong here: reporting them all would bury the cause.
    let carrier = if kind? {
        mllp_server(&section)
    } else {
        rabbitmq(&section)
    };
    let proven = matches!(&carrier, Carrier::Mllp(mllp) if mllp.tls.as_ref()
        .is_some_and(|tls| tls.client_certificate == ClientCertificate::Need));
    if !content.senders.is_empty() && !proven {
        section.error_with_help(
            &section.origin_of("senders"),
            format!("{} needs client certificates", section.path_of("senders")),
            "set `tls.client_ca` and `tls.client_certificate: need` of an MLLP listener",
        );
    }
    section.finish();
    Some(Listener {
        name,
        content,
        carrier,
    })
}

fn content(section: &Section<'_>) -> Content {
    let ack = section.section_or_empty("ack");
    let content = Content {
        sender: section.text("sender"),
        zone: section.text("zone"),
        charset_fallback: section.text("charset_fallback"),
        charset_override: section.text("charset_override"),
        join_raw_cr: section.boolean("join_raw_cr").unwrap_or(false),
        split_line_feeds: section.boolean("split_line_feeds").unwrap_or(false),
        ack: Ack {
            mode: ack
                .choice(
                    "mode",
                    &[
                        ("auto", AckMode::Auto),
                        ("original", AckMode::Original),
                        ("enhanced", AckMode::Enhanced),
                    ],
                )
                .unwrap_or(AckMode::Auto),
            always_answer: ack
                .boolean("always_answer")
                .unwrap_or(defaults::ALWAYS_ANSWER),
            application: ack
                .choice(
                    "application",
                    &[
                        ("none", ApplicationAck::None),
                        ("same_connection", ApplicationAck::SameConnection),
                    ],
                )
                .unwrap_or(ApplicationAck::None),
            profile: ack
                .choice(
                    "profile",
                    &[
                        ("interop", AckProfile::Interop),
                        ("intersystems", AckProfile::Intersystems),
                        ("close_without_ack", AckProfile::CloseWithoutAck),
                    ],
                )
                .unwrap_or(AckProfile::Interop),
        },
        senders: senders(section),
        unrouted: section
            .choice(
                "unrouted",
                &[("store", Unrouted::Store), ("reject", Unrouted::Reject)],
            )
            .unwrap_or(Unrouted::Store),
    };
    ack.finish();
    if let Some(zone) = &content.zone
        && jiff::tz::TimeZone::get(zone).is_err()
    {
        section.error_with_help(
            &section.origin_of("zone"),
            format!(
                "{}: no time zone is called `{zone}`",
                section.path_of("zone")
            ),
            "write an IANA name such as Europe/Vienna or America/New_York",
        );
    }
    for (key, label) in [
        ("charset_fallback", &content.charset_fallback),
        ("charset_override", &content.charset_override),
    ] {
        if let Some(label) = label
            && encoding_rs::Encoding::for_label(label.as_bytes()).is_none()
        {
            section.error_with_help(
                &section.origin_of(key),
                format!(
                    "{}: no character set is called `{label}`",
                    section.path_of(key)
                ),
                "write a label such as utf-8, windows-1252, iso-8859-2 or gb18030",
            );
        }
    }
    content
}

fn mllp_server(section: &Section<'_>) -> Carrier {
    let tolerate = section.section_or_empty("tolerate");
    let mllp = Mllp {
        bind: section.address("bind").unwrap_or(defaults::MLLP_BIND),
        allow: networks(section),
        connections: section
            .number("connections", 1)
            .unwrap_or(defaults::CONNECTIONS),
        connections_per_address: section
            .number("connections_per_address", 1)
            .unwrap_or(defaults::CONNECTIONS_PER_ADDRESS),
        frame_bytes: section
            .bytes("frame_bytes")
            .unwrap_or(defaults::FRAME_BYTES),
        frame_timeout: section
            .duration("frame_timeout")
            .unwrap_or(defaults::FRAME_TIMEOUT),
        idle_timeout: section
            .duration_or_off("idle_timeout")
            .unwrap_or(defaults::IDLE_TIMEOUT),
        ack_timeout: section
            .duration("ack_timeout")
            .unwrap_or(defaults::ACK_TIMEOUT),
        keepalive: section
            .duration_or_off("keepalive")
            .unwrap_or(defaults::KEEPALIVE),
        in_flight: section
            .number("in_flight", 1)
            .unwrap_or(defaults::IN_FLIGHT),
        commit_bytes: section.boolean("commit_bytes").unwrap_or(false),
        tolerate: mllp::Tolerance::ALL
            .into_iter()
            .map(|tolerance| {
                let name = tolerance.as_str();
                let default = mllp::Tolerances::default().allow(tolerance);
                (name, tolerate.boolean(name).unwrap_or(default))
            })
            .collect(),
        tls: section.section("tls").map(server_tls),
    };
    tolerate.finish();
    if !mllp.bind.ip().is_loopback() && mllp.tls.is_none() {
        section.warn_of(
            Kind::Exposed,
            &section.origin_of("bind"),
            format!(
                "{} is not a loopback address and has no tls",
                section.path_of("bind")
            ),
            "messages hold patient data: set `tls`, or keep the port inside a protected network",
        );
    }
    Carrier::Mllp(Box::new(mllp))
}

/// Networks and single addresses that may connect.
fn networks(section: &Section<'_>) -> Vec<IpNet> {
    let texts = section.texts("allow").unwrap_or_default();
    let read = texts.into_iter().filter_map(|(text, origin)| {
        let address = || text.parse::<IpAddr>().map(IpNet::from);
        let network = text.parse::<IpNet>().or_else(|_| address());
        if network.is_err() {
            section.error_with_help(
                &origin,
                format!(
                    "{}: `{text}` is neither an address nor a network",
                    section.path_of("allow")
                ),
                "write 10.1.2.3, 10.1.0.0/16 or fd00::/8",
            );
        }
        network.ok()
    });
    read.collect()
}

/// `senders`: for whom the owners of certificates may speak.
fn senders(section: &Section<'_>) -> Vec<Sender> {
    let one = |(_, section): (String, Section<'_>)| {
        let list = |key| -> Vec<String> {
            let texts = section.texts(key).unwrap_or_default();
            texts.into_iter().map(|(text, _)| text).collect()
        };
        let sender = Sender {
            certificate: section.required_text("certificate"),
            applications: list("applications"),
            facilities: list("facilities"),
        };
        section.finish();
        sender
    };
    section
        .named_sections("senders")
        .into_iter()
        .map(one)
        .collect()
}

fn server_tls(section: Section<'_>) -> ServerTls {
    let tls = ServerTls {
        certificate: PathBuf::from(section.required_text("certificate")),
        key: PathBuf::from(section.required_text("key")),
        client_ca: section.path("client_ca"),
        client_crls: section
            .texts("client_crls")
            .unwrap_or_default()
            .into_iter()
            .map(|(file, _)| PathBuf::from(file))
            .collect(),
        reload: section
            .duration_or_off("reload")
            .unwrap_or(defaults::TLS_RELOAD),
        client_certificate: section
            .choice(
                "client_certificate",
                &[
                    ("none", ClientCertificate::None),
                    ("want", ClientCertificate::Want),
                    ("need", ClientCertificate::Need),
                ],
            )
            .unwrap_or(if section.node("client_ca").is_some() {
                ClientCertificate::Need
            } else {
                ClientCertificate::None
            }),
    };
    if tls.client_certificate != ClientCertificate::None && tls.client_ca.is_none() {
        section.error_of(
            Kind::Conflict,
            &section.origin_of("client_certificate"),
            format!("{} needs client_ca", section.path_of("client_certificate")),
        );
    }
    section.finish();
    tls
}

fn rabbitmq(section: &Section<'_>) -> Carrier {
    let url = section.secret("url").unwrap_or_else(|| {
        if section.node("url").is_none() {
            section.error_of(
                Kind::Missing,
                section.origin(),
                format!("{} is missing", section.path_of("url")),
            );
        }
        Secret::unset()
    });
    if section.node("url").is_some()
        && url.is_set()
        && !(url.expose().starts_with("amqp://") || url.expose().starts_with("amqps://"))
    {
        section.error(
            &section.origin_of("url"),
            format!(
                "{} must begin with amqp:// or amqps://",
                section.path_of("url")
            ),
        );
    }
    let queues: Vec<String> = section
        .texts("queues")
        .unwrap_or_default()
        .into_iter()
        .map(|(queue, _)| queue)
        .collect();
    if queues.is_empty() {
        section.error(
            &section.origin_of("queues"),
            format!("{} names no queue", section.path_of("queues")),
        );
    }
    let tls = section.section_or_empty("tls");
    let (ca, certificate, key) = (tls.path("ca"), tls.path("certificate"), tls.path("key"));
    if certificate.is_some() != key.is_some() {
        tls.error_of(
            Kind::Conflict,
            tls.origin(),
            format!(
                "{} needs both certificate and key, or neither",
                section.path_of("tls")
            ),
        );
    }
    tls.finish();
    let reject = section
        .choice(
            "reject",
            &[
                ("dead_letter", RabbitReject::DeadLetter),
                ("publish", RabbitReject::Publish),
            ],
        )
        .unwrap_or(RabbitReject::DeadLetter);
    let reject_key = section.text("reject_key").unwrap_or_default();
    if reject == RabbitReject::Publish && reject_key.is_empty() {
        section.error_of(
            Kind::Conflict,
            &section.origin_of("reject"),
            format!("{} `publish` needs reject_key", section.path_of("reject")),
        );
    }
    Carrier::Rabbitmq(Box::new(RabbitMq {
        url,
        queues,
        prefetch: section.number("prefetch", 1).unwrap_or(defaults::PREFETCH),
        ca,
        certificate,
        key,
        reject,
        reject_exchange: section.text("reject_exchange").unwrap_or_default(),
        reject_key,
        reply_queue: section.text("reply_queue"),
        reply: section.boolean("reply").unwrap_or(true),
        reconnect_initial: section
            .duration("reconnect_initial")
            .unwrap_or(defaults::RECONNECT_INITIAL),
        reconnect_max: section
            .duration("reconnect_max")
            .unwrap_or(defaults::RECONNECT_MAX),
    }))
}
