//! `routes`: which messages go through which mapping to which destinations.

use std::collections::BTreeMap;

use serde::Serialize;

use super::{
    problem::Problem,
    section::{Problems, Section, nearest},
    source::Origin,
};

/// One route. The first route in the file that takes a message gets it.
#[derive(Clone, Debug, Serialize)]
pub struct Route {
    /// Its name: a metric label, and what records remember.
    pub name: String,
    /// Listeners it takes messages from; empty takes from all.
    pub listeners: Vec<String>,
    /// Content predicate in the condition notation of the mapping files; `None` takes all.
    pub when: Option<String>,
    /// Mapping packages in layers, the first is the base.
    pub packages: Vec<String>,
    /// Policy switches of the mapping.
    pub policies: BTreeMap<String, String>,
    /// Where the Bundles go; empty filters the messages out, visibly.
    pub destinations: Vec<String>,
    /// What must stay in order.
    pub ordering: Ordering,
    /// What happens to a Bundle that breaks the FHIR specification.
    pub validation: Validation,
    /// What happens behind a message that can never be delivered.
    pub on_poison: OnPoison,
    #[serde(skip)]
    places: Places,
}

/// Where the references of a route stand, for checks across sections.
#[derive(Clone, Debug, Default)]
struct Places {
    listeners: Vec<Origin>,
    packages: Vec<Origin>,
    destinations: Vec<Origin>,
    when: Option<Origin>,
}

/// What must stay in order on the way to a destination.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Ordering {
    /// Messages about the same patient.
    Patient,
    /// All messages of a listener.
    Listener,
    /// Nothing.
    None,
}

/// What happens to a Bundle that breaks the FHIR specification.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Validation {
    /// Not checked.
    Off,
    /// Checked, counted, delivered.
    Warn,
    /// Dead-lettered with reason `validation`.
    Enforce,
}

/// What happens behind a message that can never be delivered.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum OnPoison {
    /// It is dead-lettered, the next message of the patient goes on.
    DeadLetterAndContinue,
    /// Its ordering key waits until a person releases it.
    ParkKey,
    /// The whole destination waits until a person resumes it.
    StopDestination,
}

/// Reads all routes in the order of the file.
pub fn read(root: &Section<'_>) -> Vec<Route> {
    root.named_sections("routes")
        .into_iter()
        .map(|(name, section)| one(name, section))
        .collect()
}

fn one(name: String, section: Section<'_>) -> Route {
    let split = |key| -> (Vec<String>, Vec<Origin>) {
        section.texts(key).unwrap_or_default().into_iter().unzip()
    };
    let (listeners, listener_places) = split("listeners");
    let (mut packages, package_places) = split("packages");
    let (destinations, destination_places) = split("destinations");
    if packages.is_empty() {
        packages.push(super::SHIPPED_PACKAGE.to_owned());
    }
    let route = Route {
        name,
        listeners,
        when: section.text("when"),
        packages,
        policies: section
            .text_map("policies")
            .into_iter()
            .map(|(key, value, _)| (key, value))
            .collect(),
        destinations,
        ordering: section
            .choice(
                "ordering",
                &[
                    ("patient", Ordering::Patient),
                    ("listener", Ordering::Listener),
                    ("none", Ordering::None),
                ],
            )
            .unwrap_or(Ordering::Patient),
        validation: section
            .choice(
                "validation",
                &[
                    ("off", Validation::Off),
                    ("warn", Validation::Warn),
                    ("enforce", Validation::Enforce),
                ],
            )
            .unwrap_or(Validation::Enforce),
        on_poison: section
            .choice(
                "on_poison",
                &[
                    ("dead_letter_and_continue", OnPoison::DeadLetterAndContinue),
                    ("park_key", OnPoison::ParkKey),
                    ("stop_destination", OnPoison::StopDestination),
                ],
            )
            .unwrap_or(OnPoison::DeadLetterAndContinue),
        places: Places {
            listeners: listener_places,
            packages: package_places,
            destinations: destination_places,
            when: section.node("when").map(|node| node.origin.clone()),
        },
    };
    if section.node("destinations").is_none() {
        section.error_with_help(
            section.origin(),
            format!("{} is missing", section.path_of("destinations")),
            "name at least one destination, or write `destinations: []` to filter these messages out",
        );
    }
    section.finish();
    route
}

/// Names that exist, to check references against.
pub struct Known<'a> {
    /// Names of listeners.
    pub listeners: Vec<&'a str>,
    /// Names of destinations.
    pub destinations: Vec<&'a str>,
    /// Names of mapping packages.
    pub packages: Vec<&'a str>,
}

/// Reports references to what does not exist, and conditions that cannot be read.
pub fn check(routes: &[Route], known: &Known<'_>, problems: &Problems) {
    for route in routes {
        let references = [
            (
                "listener",
                &route.listeners,
                &route.places.listeners,
                &known.listeners,
            ),
            (
                "package",
                &route.packages,
                &route.places.packages,
                &known.packages,
            ),
            (
                "destination",
                &route.destinations,
                &route.places.destinations,
                &known.destinations,
            ),
        ];
        for (what, names, places, exist) in references {
            for (name, place) in names.iter().zip(places) {
                if exist.contains(&name.as_str()) {
                    continue;
                }
                let problem = Problem::error(
                    place.clone(),
                    format!("routes.{}: there is no {what} `{name}`", route.name),
                );
                problems.push(match nearest(name, exist.iter().copied()) {
                    Some(near) => problem.with_help(format!("did you mean `{near}`?")),
                    None => problem.with_help(format!("known: {}", exist.join(", "))),
                });
            }
        }
        if let (Some(when), Some(place)) = (&route.when, &route.places.when)
            && let Err(why) = crate::predicate::Predicate::compile(when)
        {
            problems.push(Problem::error(
                place.clone(),
                format!("routes.{}.when: {why}", route.name),
            ));
        }
    }
}
