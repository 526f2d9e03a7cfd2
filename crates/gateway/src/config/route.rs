//! `routes`: which messages go through which mapping to which destinations.

use std::collections::BTreeMap;

use serde::Serialize;

use super::{
    mirror::{self, Mirror},
    problem::{Kind, Problem},
    section::{Problems, Section, nearest},
    source::Origin,
    terminology::{self, Terminology},
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
    /// Further layers for some of its messages; the first that fits a message is used.
    pub overlays: Vec<Overlay>,
    /// Where the Bundles go; empty filters the messages out, visibly.
    pub destinations: Vec<String>,
    /// A share of its messages for a test server.
    pub mirror: Option<Mirror>,
    /// A server that is asked for codes that tables with `translate:` do not list.
    pub terminology: Option<Terminology>,
    /// What must stay in order.
    pub ordering: Ordering,
    /// Which messages go before others.
    pub priority: Priority,
    /// What happens to a Bundle that breaks the FHIR specification.
    pub validation: Validation,
    /// What happens behind a message that can never be delivered.
    pub on_poison: OnPoison,
    #[serde(skip)]
    places: Places,
}

/// Further layers and policies for some messages of a route.
#[derive(Clone, Debug, Serialize)]
pub struct Overlay {
    /// Its name, for people.
    pub name: String,
    /// Senders it is for: the listener's `sender`, else MSH-4, else MSH-3 of the message. Empty is for all.
    pub senders: Vec<String>,
    /// Content predicate; `None` is for all.
    pub when: Option<String>,
    /// Layers on top of the route's.
    pub packages: Vec<String>,
    /// Policy switches instead of the route's.
    pub policies: BTreeMap<String, String>,
    #[serde(skip)]
    places: (Vec<Origin>, Option<Origin>),
}

/// Where the references of a route stand, for checks across sections.
#[derive(Clone, Debug, Default)]
struct Places {
    listeners: Vec<Origin>,
    packages: Vec<Origin>,
    destinations: Vec<Origin>,
    when: Option<Origin>,
    priority: Option<Origin>,
}

/// Which messages go before others, with all they have to wait for; the order of a patient's messages holds.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Priority {
    /// Content predicate of urgent messages; `None`: none is.
    pub when: Option<String>,
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
    let urgent = section.section_or_empty("priority");
    let priority_place = urgent.node("when").map(|node| node.origin.clone());
    let priority = Priority {
        when: urgent.text("when"),
    };
    urgent.finish();
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
        overlays: section
            .named_sections("overlays")
            .into_iter()
            .map(|(name, section)| overlay(name, section))
            .collect(),
        destinations,
        mirror: mirror::read(&section),
        terminology: terminology::read(&section),
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
        priority,
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
            priority: priority_place,
        },
    };
    if section.node("destinations").is_none() {
        section.missing(
            "destinations",
            "name at least one destination, or write `destinations: []` to filter these messages out",
        );
    }
    section.finish();
    route
}

fn overlay(name: String, section: Section<'_>) -> Overlay {
    let texts = |key| section.texts(key).unwrap_or_default();
    let (packages, package_places) = texts("packages").into_iter().unzip();
    let overlay = Overlay {
        name,
        senders: texts("sender").into_iter().map(|(name, _)| name).collect(),
        when: section.text("when"),
        packages,
        policies: section
            .text_map("policies")
            .into_iter()
            .map(|(key, value, _)| (key, value))
            .collect(),
        places: (
            package_places,
            section.node("when").map(|node| node.origin.clone()),
        ),
    };
    if overlay.senders.is_empty() && overlay.when.is_none() {
        section.missing(
            "sender",
            "say for which messages it is: `sender: NORTH`, or `when: MSH-3 = LAB`",
        );
    }
    if overlay.packages.is_empty() && overlay.policies.is_empty() {
        section.missing("packages", "name the packages that go on top, or policies");
    }
    section.finish();
    overlay
}

impl Route {
    /// Every combination of layers that its messages may need.
    pub fn layerings(&self) -> impl Iterator<Item = Vec<String>> {
        let overlaid = self
            .overlays
            .iter()
            .map(|overlay| self.layers_with(overlay));
        let mirrored = self.mirror.as_ref().map(|mirror| mirror.packages.clone());
        std::iter::once(self.packages.clone())
            .chain(overlaid)
            .chain(mirrored.filter(|packages| !packages.is_empty()))
    }

    /// The route's layers with those of an overlay on top.
    pub fn layers_with(&self, overlay: &Overlay) -> Vec<String> {
        [self.packages.as_slice(), &overlay.packages].concat()
    }
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
        let overlaid = route.overlays.iter().map(|overlay| {
            (
                "package",
                &overlay.packages,
                &overlay.places.0,
                &known.packages,
            )
        });
        let mirrored = route.mirror.iter().map(|mirror| {
            (
                "package",
                &mirror.packages,
                &mirror.places.1,
                &known.packages,
            )
        });
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
        let references = references.into_iter().chain(overlaid).chain(mirrored);
        for (what, names, places, exist) in references {
            for (name, place) in names.iter().zip(places) {
                if exist.contains(&name.as_str()) {
                    continue;
                }
                let problem = Problem::error(
                    place.clone(),
                    format!("routes.{}: there is no {what} `{name}`", route.name),
                )
                .of(Kind::Reference);
                problems.push(match nearest(name, exist.iter().copied()) {
                    Some(near) => problem.with_help(format!("did you mean `{near}`?")),
                    None => problem.with_help(format!("known: {}", exist.join(", "))),
                });
            }
        }
        if let Some(mirror) = &route.mirror {
            check_mirror(route, mirror, routes, known, problems);
        }
        let own = (String::new(), &route.when, &route.places.when);
        let overlaid = route.overlays.iter().map(|overlay| {
            let path = format!(".overlays.{}", overlay.name);
            (path, &overlay.when, &overlay.places.1)
        });
        let urgent = (
            ".priority".to_owned(),
            &route.priority.when,
            &route.places.priority,
        );
        for (path, when, place) in [own, urgent].into_iter().chain(overlaid) {
            if let (Some(when), Some(place)) = (when, place)
                && let Err(why) = mapping::MessagePredicate::compile(when)
            {
                let message = format!("routes.{}{path}.when: {why}", route.name);
                problems.push(Problem::error(place.clone(), message).of(Kind::Condition));
            }
        }
    }
}

/// A mirror goes to a destination of its own: what fails there must not be taken for a failure of the feed.
fn check_mirror(
    route: &Route,
    mirror: &Mirror,
    routes: &[Route],
    known: &Known<'_>,
    problems: &Problems,
) {
    let wrong = |what: String, help: String| {
        let message = format!("routes.{}.mirror.to: {what}", route.name);
        problems.push(Problem::error(mirror.places.0.clone(), message).with_help(help));
    };
    if !known.destinations.contains(&mirror.to.as_str()) {
        wrong(
            format!("there is no destination `{}`", mirror.to),
            format!("known: {}", known.destinations.join(", ")),
        );
    }
    let owner = routes
        .iter()
        .find(|other| other.destinations.contains(&mirror.to));
    if let Some(owner) = owner {
        wrong(
            format!(
                "`{}` is a destination of routes.{} too",
                mirror.to, owner.name
            ),
            "give the mirror a destination of its own, with the same url if need be".to_owned(),
        );
    }
}
