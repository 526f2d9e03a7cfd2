//! Log lines: pretty on a terminal, JSON otherwise. Lowercase, no full stop, data in fields, no payload ever.

use std::io::{self, IsTerminal};

use tracing::Level;
use tracing_subscriber::{
    EnvFilter, Layer, Registry,
    filter::{FilterExt, filter_fn},
    layer::SubscriberExt,
    util::SubscriberInitExt,
};

use crate::config::{Log, LogFormat};

/// The crates that keep to the rule that no event has a field for payload. Others may put anything into
/// their traces, so from them comes nothing below `info`.
const OURS: [&str; 8] = [
    "fhir", "fhirway", "gateway", "hl7v2", "mapping", "mllp", "queue", "upstream",
];

/// Starts logging to standard error. A second call changes nothing.
///
/// `RUST_LOG` wins over the configured level; below `info` only the gateway's own crates become more talkative.
pub fn init(log: &Log) {
    let wanted = std::env::var("RUST_LOG").unwrap_or_else(|_| log.level.clone());
    let filter = EnvFilter::try_new(&wanted).unwrap_or_else(|_| EnvFilter::new("info"));
    let filter = filter.and(filter_fn(|event| may_log(event.target(), *event.level())));
    let terminal = io::stderr().is_terminal();
    let json = match log.format {
        LogFormat::Auto => !terminal,
        LogFormat::Pretty => false,
        LogFormat::Json => true,
    };
    let layer: Box<dyn Layer<Registry> + Send + Sync> = if json {
        tracing_subscriber::fmt::layer()
            .json()
            .flatten_event(true)
            .with_current_span(false)
            .with_span_list(false)
            .with_writer(io::stderr)
            .with_filter(filter)
            .boxed()
    } else {
        tracing_subscriber::fmt::layer()
            .compact()
            .with_target(false)
            .with_ansi(
                terminal && std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty()),
            )
            .with_writer(io::stderr)
            .with_filter(filter)
            .boxed()
    };
    // Fails only when something else in the process logs already, as in a test.
    let _ = tracing_subscriber::registry().with(layer).try_init();
    hide_panic_texts();
}

fn may_log(target: &str, level: Level) -> bool {
    let library = target.split("::").next().unwrap_or_default();
    // What lapin has to tell is told by events of ours.
    OURS.contains(&library) || (level <= Level::INFO && library != "lapin")
}

/// A panic is told by its place alone: its text may quote what was being worked on.
fn hide_panic_texts() {
    std::panic::set_hook(Box::new(|panic| {
        let place = panic
            .location()
            .map(ToString::to_string)
            .unwrap_or_default();
        tracing::error!(event = "panic", %place);
    }));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_our_own_crates_may_say_more_than_info() {
        assert!(may_log("gateway::events::listener", Level::TRACE));
        assert!(may_log("hyper::client", Level::INFO));
        assert!(!may_log("hyper::client", Level::DEBUG));
        assert!(!may_log("handlebars", Level::TRACE));
        assert!(!may_log("lapin::channels", Level::ERROR));
    }
}
