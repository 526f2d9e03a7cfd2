//! Prometheus metrics behind a small facade, so that the library below can be changed in this one file.
//!
//! Labels are bounded by construction: names from the configuration, enums of ours, message types from an
//! allow-list, segment names from the HL7 definitions. No label can hold a patient, a control id or an address.

use std::{
    collections::BTreeSet,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use prometheus::{
    Encoder, GaugeVec, Histogram, HistogramOpts, HistogramVec, IntCounterVec, Opts, Registry,
    TextEncoder, core::Collector,
};

mod process;

pub use prometheus::IntCounter as Counter;
pub use prometheus::IntGauge as Count;

/// Message types that are a label value of their own without configuration.
const MESSAGE_TYPES: [&str; 30] = [
    "ACK", "ADT_A01", "ADT_A03", "ADT_A04", "ADT_A05", "ADT_A06", "ADT_A08", "ADT_A11", "ADT_A13",
    "ADT_A28", "ADT_A31", "ADT_A34", "ADT_A39", "ADT_A40", "BAR_P01", "DFT_P03", "MDM_T02",
    "MFN_M02", "OMG_O19", "OML_O21", "OMP_O09", "ORM_O01", "ORU_R01", "ORU_R30", "QBP_Q11",
    "RDE_O11", "REF_I12", "RSP_K11", "SIU_S12", "VXU_V04",
];

/// Everything the gateway counts and measures.
pub struct Metrics {
    registry: Registry,
    message_types: BTreeSet<String>,
    pub(crate) mllp_connections: GaugeVec,
    pub(crate) mllp_connections_total: IntCounterVec,
    pub(crate) mllp_rejected: IntCounterVec,
    pub(crate) mllp_frame_errors: IntCounterVec,
    pub(crate) mllp_frame_warnings: IntCounterVec,
    pub(crate) mllp_tls_failures: IntCounterVec,
    pub(crate) last_message: GaugeVec,
    pub(crate) received: IntCounterVec,
    pub(crate) received_bytes: IntCounterVec,
    pub(crate) message_size: HistogramVec,
    pub(crate) acks: IntCounterVec,
    pub(crate) ack_undelivered: IntCounterVec,
    pub(crate) ack_latency: HistogramVec,
    pub(crate) duplicates: IntCounterVec,
    pub(crate) parse_errors: IntCounterVec,
    pub(crate) unrouted: IntCounterVec,
    pub(crate) amqp_consumers: GaugeVec,
    pub(crate) amqp_reconnects: IntCounterVec,
    pub(crate) filtered: IntCounterVec,
    pub(crate) mapping_duration: HistogramVec,
    pub(crate) mapping_errors: IntCounterVec,
    pub(crate) unmapped_segments: IntCounterVec,
    pub(crate) code_misses: IntCounterVec,
    pub(crate) terminology: IntCounterVec,
    pub(crate) validation_issues: IntCounterVec,
    pub(crate) end_to_end: HistogramVec,
    pub(crate) attempts: IntCounterVec,
    pub(crate) delivery_duration: HistogramVec,
    pub(crate) delivered: IntCounterVec,
    pub(crate) retries: IntCounterVec,
    pub(crate) dead_lettered: IntCounterVec,
    pub(crate) not_taken: IntCounterVec,
    pub(crate) mirrors: GaugeVec,
    pub(crate) events_dropped: Counter,
    pub(crate) mirror_failures: IntCounterVec,
    pub(crate) destination_state: GaugeVec,
    pub(crate) circuit_transitions: IntCounterVec,
    pub(crate) stale: IntCounterVec,
    pub(crate) capability_missing: GaugeVec,
    pub(crate) capability_checks: IntCounterVec,
    pub(crate) token_refresh: IntCounterVec,
    pub(crate) token_expiry: GaugeVec,
    pub(crate) queue_messages: GaugeVec,
    pub(crate) queue_bytes: GaugeVec,
    pub(crate) queue_oldest: GaugeVec,
    pub(crate) queue_parked_keys: GaugeVec,
    pub(crate) queue_disk_free: GaugeVec,
    pub(crate) charset_warnings: IntCounterVec,
    pub(crate) dead_letter_messages: GaugeVec,
    pub(crate) accounting_mismatch: GaugeVec,
    pub(crate) fsync: Histogram,
    pub(crate) corrupt_records: Counter,
    pub(crate) queue_refused: Counter,
    pub(crate) certificate_expiry: GaugeVec,
    pub(crate) package_info: GaugeVec,
    pub(crate) package_reloads: IntCounterVec,
    pub(crate) package_reload_ok: Count,
    pub(crate) package_reload_time: GaugeVec,
}

/// Makes and registers families; the first failure is kept (only a programming error can cause one).
struct Maker {
    registry: Registry,
    failure: Option<prometheus::Error>,
}

impl Maker {
    fn keep<C: Collector + Clone + 'static>(
        &mut self,
        made: Result<C, prometheus::Error>,
    ) -> Result<C, prometheus::Error> {
        let collector = made?;
        if let Err(error) = self.registry.register(Box::new(collector.clone())) {
            self.failure.get_or_insert(error);
        }
        Ok(collector)
    }

    fn counter(
        &mut self,
        name: &str,
        help: &str,
        labels: &[&str],
    ) -> Result<IntCounterVec, prometheus::Error> {
        self.keep(IntCounterVec::new(Opts::new(name, help), labels))
    }

    fn gauge(
        &mut self,
        name: &str,
        help: &str,
        labels: &[&str],
    ) -> Result<GaugeVec, prometheus::Error> {
        self.keep(GaugeVec::new(Opts::new(name, help), labels))
    }

    fn histogram(
        &mut self,
        name: &str,
        help: &str,
        labels: &[&str],
        buckets: &[f64],
    ) -> Result<HistogramVec, prometheus::Error> {
        self.keep(HistogramVec::new(
            HistogramOpts::new(name, help).buckets(buckets.to_vec()),
            labels,
        ))
    }
}

/// 10 us to 1 s.
const FAST: [f64; 11] = [
    1e-5, 2.5e-5, 5e-5, 1e-4, 2.5e-4, 1e-3, 5e-3, 2.5e-2, 0.1, 0.5, 1.0,
];
/// 1 ms to 10 s: around the target of 250 ms for an ACK.
const ACKS: [f64; 13] = [
    0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0,
];
/// 10 ms to 1 h: an outage must be visible as what it is.
const LONG: [f64; 14] = [
    0.01, 0.05, 0.1, 0.25, 0.5, 1.0, 5.0, 15.0, 60.0, 300.0, 900.0, 1800.0, 3600.0, 7200.0,
];
/// 256 B to 16 MiB.
const SIZES: [f64; 9] = [
    256.0,
    1024.0,
    4096.0,
    16384.0,
    65536.0,
    262_144.0,
    1_048_576.0,
    4_194_304.0,
    16_777_216.0,
];

impl Metrics {
    /// All families, registered; `message_types` are further values of the label of that name.
    ///
    /// # Errors
    /// Only when two families have one name, which a test rules out.
    pub fn new(message_types: &[String]) -> Result<Self, prometheus::Error> {
        let mut make = Maker {
            registry: Registry::new(),
            failure: None,
        };
        let metrics = Self {
            mllp_connections: make.gauge(
                "fhirway_mllp_connections",
                "Open MLLP connections",
                &["listener"],
            )?,
            mllp_connections_total: make.counter(
                "fhirway_mllp_connections_total",
                "MLLP connections opened",
                &["listener"],
            )?,
            mllp_rejected: make.counter(
                "fhirway_mllp_connections_rejected_total",
                "Connections closed before they were opened",
                &["listener", "reason"],
            )?,
            mllp_frame_errors: make.counter(
                "fhirway_mllp_frame_errors_total",
                "Framing errors, each ends a connection",
                &["listener", "reason"],
            )?,
            mllp_frame_warnings: make.counter(
                "fhirway_mllp_frame_warnings_total",
                "Framing deviations that were tolerated",
                &["listener", "warning"],
            )?,
            mllp_tls_failures: make.counter(
                "fhirway_mllp_tls_failures_total",
                "TLS handshakes that failed",
                &["listener", "reason"],
            )?,
            last_message: make.gauge(
                "fhirway_mllp_last_message_timestamp_seconds",
                "When the last message came in",
                &["listener"],
            )?,
            received: make.counter(
                "fhirway_messages_received_total",
                "Messages received, whatever became of them",
                &["listener", "message_type"],
            )?,
            received_bytes: make.counter(
                "fhirway_received_bytes_total",
                "Bytes of the messages received",
                &["listener"],
            )?,
            message_size: make.histogram(
                "fhirway_message_size_bytes",
                "Size of the messages received",
                &["listener"],
                &SIZES,
            )?,
            acks: make.counter(
                "fhirway_acks_total",
                "Acknowledgements by code",
                &["listener", "ack_code"],
            )?,
            ack_undelivered: make.counter(
                "fhirway_ack_undelivered_total",
                "Acknowledgements that the sender did not get",
                &["listener"],
            )?,
            ack_latency: make.histogram(
                "fhirway_ack_latency_seconds",
                "From a whole frame to its acknowledgement",
                &["listener"],
                &ACKS,
            )?,
            duplicates: make.counter(
                "fhirway_duplicates_total",
                "Messages seen before, by what was done",
                &["listener", "action"],
            )?,
            parse_errors: make.counter(
                "fhirway_parse_errors_total",
                "What came in and cannot be a message",
                &["listener", "reason"],
            )?,
            unrouted: make.counter(
                "fhirway_messages_unrouted_total",
                "Messages that no route takes",
                &["listener"],
            )?,
            amqp_consumers: make.gauge(
                "fhirway_amqp_consumers",
                "Queues that are being consumed",
                &["listener"],
            )?,
            amqp_reconnects: make.counter(
                "fhirway_amqp_reconnects_total",
                "Connections to the broker that were lost or refused",
                &["listener"],
            )?,
            filtered: make.counter(
                "fhirway_messages_filtered_total",
                "Messages of routes without a destination",
                &["route"],
            )?,
            mapping_duration: make.histogram(
                "fhirway_mapping_duration_seconds",
                "Parse, map and write one message",
                &["route"],
                &FAST,
            )?,
            mapping_errors: make.counter(
                "fhirway_mapping_errors_total",
                "Messages that could not be mapped",
                &["route", "reason"],
            )?,
            unmapped_segments: make.counter(
                "fhirway_unmapped_segments_total",
                "Segments with content that no rule took",
                &["segment"],
            )?,
            code_misses: make.counter(
                "fhirway_code_lookup_misses_total",
                "Codes that a table does not have",
                &["table"],
            )?,
            terminology: make.counter(
                "fhirway_terminology_lookups_total",
                "Codes that a terminology server was asked for: translated, unknown, failed, remembered",
                &["route", "outcome"],
            )?,
            validation_issues: make.counter(
                "fhirway_validation_issues_total",
                "Findings of the FHIR validator",
                &["route", "severity"],
            )?,
            end_to_end: make.histogram(
                "fhirway_end_to_end_latency_seconds",
                "From received to stored at the destination",
                &["route"],
                &LONG,
            )?,
            attempts: make.counter(
                "fhirway_delivery_attempts_total",
                "Requests to a destination by result",
                &["destination", "code_class"],
            )?,
            delivery_duration: make.histogram(
                "fhirway_delivery_duration_seconds",
                "One delivery, short retries included",
                &["destination"],
                &LONG,
            )?,
            delivered: make.counter(
                "fhirway_delivered_total",
                "Messages delivered",
                &["destination"],
            )?,
            retries: make.counter(
                "fhirway_delivery_retries_total",
                "Deliveries put off",
                &["destination", "reason"],
            )?,
            dead_lettered: make.counter(
                "fhirway_dead_lettered_total",
                "Messages given up",
                &["destination", "reason"],
            )?,
            not_taken: make.counter(
                "fhirway_not_taken_total",
                "Messages that a destination does not take, by reason: processing (MSH-11), condition, mirror-failed, mirror-late",
                &["destination", "reason"],
            )?,
            events_dropped: make.keep(Counter::new(
                "fhirway_events_dropped_total",
                "Events that nobody was told because the broker is away and the buffer full",
            ))?,
            mirrors: make.gauge(
                "fhirway_destination_mirror",
                "1 for a test server that gets a share of the traffic",
                &["destination"],
            )?,
            mirror_failures: make.counter(
                "fhirway_mirror_failures_total",
                "Messages that a test server or its maps refused",
                &["destination", "reason"],
            )?,
            destination_state: make.gauge(
                "fhirway_destination_state",
                "1 for the state a destination is in",
                &["destination", "state"],
            )?,
            stale: make.counter(
                "fhirway_stale_resources_total",
                "Resources of older messages that were left as a newer one had delivered them",
                &["destination"],
            )?,
            capability_missing: make.gauge(
                "fhirway_capability_missing",
                "What the routes need of a server and it does not offer, by its /metadata",
                &["destination"],
            )?,
            capability_checks: make.counter(
                "fhirway_capability_checks_total",
                "Readings of /metadata, by result: ok, missing, failed",
                &["destination", "result"],
            )?,
            token_refresh: make.counter(
                "fhirway_oauth_token_refresh_total",
                "Access tokens asked for, by result: ok, failed",
                &["destination", "result"],
            )?,
            token_expiry: make.gauge(
                "fhirway_oauth_token_expiry_timestamp_seconds",
                "When the access token in use ends",
                &["destination"],
            )?,
            circuit_transitions: make.counter(
                "fhirway_circuit_transitions_total",
                "Changes of a destination's state",
                &["destination", "state"],
            )?,
            queue_messages: make.gauge(
                "fhirway_queue_messages",
                "Deliveries by state",
                &["destination", "state"],
            )?,
            queue_bytes: make.gauge(
                "fhirway_queue_bytes",
                "Bytes still to be delivered",
                &["destination"],
            )?,
            queue_parked_keys: make.gauge(
                "fhirway_queue_parked_keys",
                "Ordering keys that wait for a person",
                &["destination"],
            )?,
            queue_disk_free: make.gauge(
                "fhirway_queue_disk_free_bytes",
                "Bytes that the file system of the queue has left",
                &[],
            )?,
            charset_warnings: make.counter(
                "fhirway_charset_warnings_total",
                "Messages whose bytes do not fit MSH-18",
                &["listener"],
            )?,
            queue_oldest: make.gauge(
                "fhirway_queue_oldest_age_seconds",
                "Age of the oldest delivery that is open",
                &["destination"],
            )?,
            dead_letter_messages: make.gauge(
                "fhirway_dead_letter_messages",
                "Dead letters that are kept",
                &["destination"],
            )?,
            accounting_mismatch: make.gauge(
                "fhirway_accounting_mismatch",
                "Accepted minus all states; anything but 0 is a fault",
                &[],
            )?,
            fsync: make.keep(Histogram::with_opts(
                HistogramOpts::new(
                    "fhirway_queue_fsync_duration_seconds",
                    "Durable commit of a group",
                )
                .buckets(ACKS.to_vec()),
            ))?,
            corrupt_records: make.keep(Counter::new(
                "fhirway_queue_corrupt_records_total",
                "Records whose checksum did not fit",
            ))?,
            queue_refused: make.keep(Counter::new(
                "fhirway_queue_refused_total",
                "Messages refused because the queue is full",
            ))?,
            certificate_expiry: make.gauge(
                "fhirway_tls_cert_expiry_timestamp_seconds",
                "When a certificate ends",
                &["cert"],
            )?,
            package_info: make.gauge(
                "fhirway_mapping_package_info",
                "1 for the mapping in force: its layers, and the fingerprint of its files",
                &["packages", "hash"],
            )?,
            package_reloads: make.counter(
                "fhirway_mapping_reloads_total",
                "Times that the mapping packages were read again, by outcome",
                &["outcome"],
            )?,
            package_reload_ok: make.keep(Count::new(
                "fhirway_mapping_last_reload_successful",
                "1 when the packages were right the last time they were read; 0: older ones are in force",
            ))?,
            package_reload_time: make.gauge(
                "fhirway_mapping_last_reload_success_timestamp_seconds",
                "When the packages in force were read",
                &[],
            )?,
            message_types: MESSAGE_TYPES
                .iter()
                .map(|name| (*name).to_owned())
                .chain(message_types.iter().cloned())
                .collect(),
            registry: make.registry.clone(),
        };
        let build = make.gauge("fhirway_build_info", "1, with the version", &["version"])?;
        build
            .with_label_values(&[env!("CARGO_PKG_VERSION")])
            .set(1.0);
        let start = make.gauge(
            "fhirway_start_time_seconds",
            "When the process started",
            &[],
        )?;
        start.with_label_values(&[] as &[&str]).set(unix_seconds());
        match make.failure {
            Some(error) => Err(error),
            None => Ok(metrics),
        }
    }

    /// The label value for a message type such as `ORU_R01`.
    pub fn message_type(&self, name: &str) -> &str {
        self.message_types.get(name).map_or("other", String::as_str)
    }

    /// The label value for a segment that nothing took: its name when HL7 defines it.
    pub fn segment<'a>(&self, name: &'a str) -> &'a str {
        if name.starts_with('Z') {
            "Z"
        } else if hl7v2::definitions::for_version(hl7v2::Version::NEWEST)
            .segment(name)
            .is_some()
        {
            name
        } else {
            "other"
        }
    }

    /// Sets the gauges that show the queue; called for each scrape, so that they are never old.
    pub fn show_queue(&self, status: &queue::Status) {
        self.accounting_mismatch
            .with_label_values(&[] as &[&str])
            .set(number(status.mismatch));
        if let Some(free) = status.disk_free_bytes {
            self.queue_disk_free
                .with_label_values(&[] as &[&str])
                .set(number(free));
        }
        for (name, at) in &status.destinations {
            // A parked delivery is the head of its key, so there is one for each.
            self.queue_parked_keys
                .with_label_values(&[name])
                .set(number(at.parked));
            let states = [
                ("queued", at.queued),
                ("waiting", at.waiting),
                ("leased", at.leased),
                ("retrying", at.retrying),
                ("parked", at.parked),
                ("delivered", at.delivered),
                ("dead", at.dead),
                ("filtered", at.filtered),
            ];
            for (state, count) in states {
                self.queue_messages
                    .with_label_values(&[name, state])
                    .set(number(count));
            }
            self.queue_bytes
                .with_label_values(&[name])
                .set(number(at.bytes));
            let oldest = at
                .oldest_age_ms
                .map_or(0.0, |age| Duration::from_millis(age).as_secs_f64());
            self.queue_oldest.with_label_values(&[name]).set(oldest);
            self.dead_letter_messages
                .with_label_values(&[name])
                .set(number(at.dead_kept));
        }
    }

    /// All metrics in the text format of Prometheus.
    pub fn render(&self) -> String {
        let mut out = Vec::new();
        // Encoding into memory fails only for a family without a name.
        let _ = TextEncoder::new().encode(&self.registry.gather(), &mut out);
        let mut text = String::from_utf8_lossy(&out).into_owned();
        text.push_str(&process::render());
        text
    }
}

#[allow(clippy::cast_precision_loss)] // a metric of more than 2^53 messages may be off by one
fn number(count: u64) -> f64 {
    count as f64
}

/// Seconds since 1970 UTC.
pub(crate) fn unix_seconds() -> f64 {
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default()
        .as_secs_f64()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn families_register_and_labels_are_bounded() {
        let metrics = Metrics::new(&["ZRU_Z01".to_owned()]).unwrap();
        assert_eq!(metrics.message_type("ORU_R01"), "ORU_R01");
        assert_eq!(metrics.message_type("ZRU_Z01"), "ZRU_Z01");
        assert_eq!(metrics.message_type("DOE^JANE"), "other");
        assert_eq!(metrics.segment("PID"), "PID");
        assert_eq!(metrics.segment("ZPD"), "Z");
        assert_eq!(metrics.segment("Q1W"), "other");
        metrics.acks.with_label_values(&["lab", "AA"]).inc();
        let text = metrics.render();
        assert!(text.contains("fhirway_acks_total{ack_code=\"AA\",listener=\"lab\"} 1"));
        assert!(text.contains("fhirway_build_info"));
    }

    #[test]
    fn names_follow_the_conventions() {
        let metrics = Metrics::new(&[]).unwrap();
        metrics.acks.with_label_values(&["l", "AA"]).inc();
        for family in metrics.registry.gather() {
            let counter = family.get_field_type() == prometheus::proto::MetricType::COUNTER;
            assert!(family.name().starts_with("fhirway_"), "{}", family.name());
            assert_eq!(
                counter,
                family.name().ends_with("_total"),
                "{}",
                family.name()
            );
        }
    }
}
