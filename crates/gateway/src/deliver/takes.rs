//! What a destination takes of what comes to it. The last gate before anything leaves: whatever a route, a replay or a
//! mirror sends, a message that is not meant for production does not get into it.

use std::sync::Arc;

use bytes::Bytes;
use mapping::BundlePredicate;
use tokio::task;

use crate::config;

/// Reason of a delivery that was kept out because of MSH-11.
pub(super) const PROCESSING: &str = "processing";
/// Reason of a delivery that was kept out because of the destination's condition.
pub(super) const CONDITION: &str = "condition";

/// What a destination takes.
pub(super) struct Takes {
    processing: Vec<String>,
    when: Option<Arc<BundlePredicate>>,
}

impl Takes {
    pub(super) fn new(config: &config::takes::Takes) -> Self {
        let when = config.when.as_deref().map(BundlePredicate::compile);
        Self {
            processing: config.processing.clone(),
            // A checked configuration has no condition that cannot be read.
            when: when.and_then(Result::ok).map(Arc::new),
        }
    }

    /// Whether a message may come here by its MSH-11.1. What is not a message is refused later, for that reason.
    pub(super) fn message(&self, payload: &[u8]) -> bool {
        match processing_id(payload) {
            Some(id) => self.processing.contains(&id),
            None => true,
        }
    }

    /// Whether that depends on the Bundle.
    pub(super) fn asks_the_bundle(&self) -> bool {
        self.when.is_some()
    }

    /// Whether the Bundle of a message is wanted here.
    pub(super) async fn bundle(&self, bundle: &Bytes) -> bool {
        let Some(when) = self.when.clone() else {
            return true;
        };
        let bundle = bundle.clone();
        // A Bundle may be large, and the threads that talk to the network must not wait for it.
        task::spawn_blocking(move || when.matches(&bundle))
            .await
            .unwrap_or(false)
    }
}

/// MSH-11.1 in capitals; `P` where the sender leaves it empty, `None` where there is no message.
fn processing_id(payload: &[u8]) -> Option<String> {
    // Nearly all messages begin with their header, and then only that is read.
    let text = payload.strip_prefix(b"\xEF\xBB\xBF").unwrap_or(payload);
    let text = text.trim_ascii_start();
    let end = text
        .iter()
        .position(|byte| matches!(byte, b'\r' | b'\n'))
        .unwrap_or(text.len());
    let header = text
        .get(..end)
        .filter(|header| header.starts_with(b"MSH"))
        .unwrap_or(payload);
    let (message, _) = hl7v2::parse(header).ok()?;
    let id = message.header().processing_id();
    let id = id.child(1);
    Some(if id.is_valued() {
        id.text().trim().to_ascii_uppercase()
    } else {
        "P".to_owned()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn takes(processing: &[&str], msh_11: &str) -> bool {
        let takes = Takes::new(&config::takes::Takes {
            processing: processing.iter().map(|code| (*code).to_owned()).collect(),
            when: None,
            rate: None,
        });
        let message =
            format!("MSH|^~\\&|A|B|||20260101||ADT^A08|1|{msh_11}|2.5\rPID|1||4711\rZZZ|MSH|T\r");
        takes.message(message.as_bytes())
    }

    #[test]
    fn what_is_not_production_does_not_get_into_it() {
        for allowed in ["P", "p", " P ", "P^T", "", "^T", "\"\""] {
            assert!(takes(&["P"], allowed), "{allowed}");
        }
        // What nobody has named is not known to be production.
        for kept_out in ["T", "D", "t", "T^A", "N", "PROD"] {
            assert!(!takes(&["P"], kept_out), "{kept_out}");
        }
        assert!(takes(&["T", "D"], "T") && !takes(&["T", "D"], "P"));
    }

    #[test]
    fn the_header_is_found_as_the_parser_finds_it() {
        let takes = Takes::new(&config::takes::Takes {
            processing: vec!["P".to_owned()],
            when: None,
            rate: None,
        });
        let message = |id: &str| format!("\u{feff}\nMSH#*!?%#A#B#C#D#E##ADT*A08#1#{id}#2.5\nPID#1");
        assert!(takes.message(message("P*I").as_bytes()));
        assert!(!takes.message(message("T*I").as_bytes()));
        assert!(!takes.message(b"left over\rMSH|^~\\&|A|B|||20260101||ADT^A08|1|T|2.5\r"));
        assert!(takes.message(b"no message"), "refused elsewhere");
    }
}
