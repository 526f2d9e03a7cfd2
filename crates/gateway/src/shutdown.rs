//! SIGTERM and Ctrl-C: the first asks for a drain, the second ends the process at once. SIGHUP asks to read again.

use std::process;

use tokio::signal::unix::{Signal, SignalKind, signal};
use tracing::warn;

/// Ready at the first signal. From then on a second one ends the process: what is in flight is in the queue
/// and is done again at the next start.
pub async fn requested() {
    let (mut terminate, mut interrupt) = (
        listen(SignalKind::terminate()),
        listen(SignalKind::interrupt()),
    );
    next(&mut terminate, &mut interrupt).await;
    tokio::spawn(async move {
        next(&mut terminate, &mut interrupt).await;
        warn!(event = "stopped_at_once");
        process::exit(130);
    });
}

/// Calls `ask` for each SIGHUP, for ever.
pub async fn hangups<F: Future<Output = ()>>(ask: impl Fn() -> F) {
    let mut hangup = listen(SignalKind::hangup());
    loop {
        one(&mut hangup).await;
        ask().await;
    }
}

fn listen(kind: SignalKind) -> Option<Signal> {
    signal(kind).ok()
}

async fn next(terminate: &mut Option<Signal>, interrupt: &mut Option<Signal>) {
    tokio::select! {
        () = one(terminate) => {}
        () = one(interrupt) => {}
    }
}

/// The next signal of one kind; never, when the system does not let us listen.
async fn one(signal: &mut Option<Signal>) {
    match signal {
        Some(signal) => drop(signal.recv().await),
        None => std::future::pending().await,
    }
}
