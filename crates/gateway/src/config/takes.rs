//! What a destination takes of what its routes send there: `processing`, `when`.

use mapping::BundlePredicate;
use serde::Serialize;

use super::{defaults, section::Section};

/// What a destination takes. The rest is filtered there, and counted.
#[derive(Clone, Debug, Serialize)]
pub struct Takes {
    /// Values of MSH-11.1 (table 0103): production, training, debugging. An empty MSH-11.1 counts as `P`.
    pub processing: Vec<String>,
    /// Condition on the mapped Bundle; `None` takes all.
    pub when: Option<String>,
}

/// Reads it from the section of a destination; a trial is one that holds no data of patients.
pub(super) fn read(section: &Section<'_>, trial: bool) -> Takes {
    let default: &[&str] = if trial {
        &defaults::PROCESSING_OF_TRIALS
    } else {
        &defaults::PROCESSING
    };
    let processing = match section.texts("processing") {
        None => default.iter().map(|code| (*code).to_owned()).collect(),
        Some(texts) => {
            if texts.is_empty() {
                section.error_with_help(
                    &section.origin_of("processing"),
                    format!("{} takes nothing", section.path_of("processing")),
                    "name values of MSH-11.1: P (production), T (training), D (debugging)",
                );
            }
            texts
                .into_iter()
                .map(|(code, _)| code.trim().to_ascii_uppercase())
                .collect()
        }
    };
    let when = section.text("when");
    if let Some(Err(why)) = when.as_deref().map(BundlePredicate::compile) {
        section.error_with_help(
            &section.origin_of("when"),
            format!("{}: {why}", section.path_of("when")),
            "it is asked of the Bundle: Observation.exists(status = 'final'); conditions on the message stand in routes",
        );
    }
    Takes { processing, when }
}
