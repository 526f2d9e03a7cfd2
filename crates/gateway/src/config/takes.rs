//! What a destination takes of what its routes send there, and how fast: `processing`, `when`, `rate`.

use std::time::Duration;

use mapping::BundlePredicate;
use serde::{Serialize, Serializer};

use super::{defaults, section::Section, units};

/// What a destination takes. The rest is filtered there, and counted.
#[derive(Clone, Debug, Serialize)]
pub struct Takes {
    /// Values of MSH-11.1 (table 0103): production, training, debugging. An empty MSH-11.1 counts as `P`.
    pub processing: Vec<String>,
    /// Condition on the mapped Bundle; `None` takes all.
    pub when: Option<String>,
    /// How many messages it gets at a time; `None` is no limit.
    #[serde(serialize_with = "as_option_rate")]
    pub rate: Option<Rate>,
}

/// So many in such a time, `50/s`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rate {
    /// How many, at least 1.
    pub count: u32,
    /// In which time.
    pub per: Duration,
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
    Takes {
        processing,
        when,
        rate: section
            .parsed("rate", |text| match text {
                "off" => Ok(None),
                _ => rate(text).map(Some),
            })
            .flatten(),
    }
}

/// Reads `50/s`, `600/m`, `1000/h`, `10/5s`.
fn rate(text: &str) -> Result<Rate, String> {
    let why = || format!("`{text}` is not a rate such as 50/s, 600/m or 1000/h");
    let (count, per) = text.split_once('/').ok_or_else(why)?;
    let count = count.trim().parse().map_err(|_| why())?;
    let per = per.trim();
    let per = if per.starts_with(|first: char| first.is_ascii_digit()) {
        units::duration(per)
    } else {
        units::duration(&format!("1{per}"))
    };
    match per {
        Ok(per) if count > 0 && !per.is_zero() => Ok(Rate { count, per }),
        _ => Err(why()),
    }
}

fn as_option_rate<S: Serializer>(rate: &Option<Rate>, serializer: S) -> Result<S::Ok, S::Error> {
    match rate {
        Some(rate) => {
            let per = units::show_duration(rate.per);
            let per = per
                .strip_prefix('1')
                .filter(|unit| !unit.starts_with(|c: char| c.is_ascii_digit()))
                .unwrap_or(&per);
            serializer.serialize_str(&format!("{}/{per}", rate.count))
        }
        None => serializer.serialize_str("off"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rates_are_read_and_written() {
        for text in ["50/s", "600/m", "1000/h", "10/5s", "3/15m"] {
            let read = Takes {
                processing: Vec::new(),
                when: None,
                rate: Some(rate(text).unwrap()),
            };
            assert_eq!(serde_json::to_value(read).unwrap()["rate"], text);
        }
        for text in ["50", "0/s", "50/", "/s", "50/0s", "-1/s", "50/week"] {
            assert!(rate(text).is_err(), "{text}");
        }
    }
}
