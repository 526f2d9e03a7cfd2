//! Log lines: pretty on a terminal, JSON otherwise. Lowercase, no full stop, data in fields, no payload ever.

use std::io::{self, IsTerminal};

use tracing_subscriber::{
    EnvFilter, Layer, Registry, layer::SubscriberExt, util::SubscriberInitExt,
};

use crate::config::{Log, LogFormat};

/// Libraries whose traces could hold payload bytes or flood the log; they are capped whatever the filter says.
/// What lapin reports is told by our own events.
const CAPPED: [&str; 6] = [
    "hyper=info",
    "hyper_util=info",
    "lapin=off",
    "rustls=info",
    "h2=info",
    "tower=info",
];

/// Starts logging to standard error. A second call changes nothing.
///
/// `RUST_LOG` wins over the configured level; below `info` only the gateway's own crates become more talkative.
pub fn init(log: &Log) {
    let wanted = std::env::var("RUST_LOG").unwrap_or_else(|_| log.level.clone());
    let mut filter = EnvFilter::try_new(&wanted).unwrap_or_else(|_| EnvFilter::new("info"));
    for cap in CAPPED {
        if let Ok(directive) = cap.parse() {
            filter = filter.add_directive(directive);
        }
    }
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
