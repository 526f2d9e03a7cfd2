//! Who waits for what: one signal per destination name.

use std::{
    collections::HashMap,
    sync::{Mutex, PoisonError},
    time::Instant,
};

use tokio::sync::watch;

/// All signals of a queue.
#[derive(Debug, Default)]
pub(crate) struct Signals {
    by_name: Mutex<HashMap<String, watch::Sender<Wake>>>,
}

/// Whether to try a lease now, and if not, when at the latest.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Wake {
    pub(crate) ready: bool,
    pub(crate) at: Option<Instant>,
}

// === impl Signals ===

impl Signals {
    pub(crate) fn set(&self, name: &str, wake: Wake) {
        let mut signals = self.by_name.lock().unwrap_or_else(PoisonError::into_inner);
        match signals.get(name) {
            Some(signal) => {
                signal.send_if_modified(|now| std::mem::replace(now, wake) != wake);
            }
            None => {
                signals.insert(name.to_owned(), watch::Sender::new(wake));
            }
        }
    }

    /// Returns when a lease is worth trying.
    pub(crate) async fn wait(&self, name: &str) {
        let mut signal = {
            let mut signals = self.by_name.lock().unwrap_or_else(PoisonError::into_inner);
            // Nobody has looked yet: a first lease is always worth trying.
            let first = || {
                watch::Sender::new(Wake {
                    ready: true,
                    at: None,
                })
            };
            signals
                .entry(name.to_owned())
                .or_insert_with(first)
                .subscribe()
        };
        loop {
            let wake = *signal.borrow_and_update();
            if wake.ready {
                return;
            }
            let changed = match wake.at {
                None => signal.changed().await,
                Some(at) => match tokio::time::timeout_at(at.into(), signal.changed()).await {
                    Ok(changed) => changed,
                    Err(_elapsed) => return,
                },
            };
            if changed.is_err() {
                // The queue is gone; the next lease says so.
                return;
            }
        }
    }
}
