//! A delivery that takes more than one request: resources one by one, a Bundle cut where it is too large, versions read
//! before they are replaced, and a refused condition looked into.
//!
//! A part is sent when all that its entries refer to has been sent, or goes with it. What the server answered for earlier
//! parts stands in the references of later ones. Every entry says itself which resource it is (by identifier or by id), so
//! a delivery that is cut off between two parts is simply made again from the start: the server finds what it has.
//!
//! What is given up by that is all-or-nothing: of a Bundle that is cut, the first part may be stored and the second not.

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet, HashMap, VecDeque};
use std::time::Duration;

use bytes::Bytes;
use tokio::time::{Instant, sleep};

use crate::answer::Summary;
use crate::backoff;
use crate::bundle::{self, Bundle, Resource};
use crate::config::Split;
use crate::failure::{Class, EntryFailure, Failure};
use crate::request::{Call, Delivered, Entry, Kind, Request};
use crate::stack::Stack;

mod attachment;
mod look;
mod pack;
mod single;
mod trouble;

use attachment::Attachment;

/// Times that versions are read again after somebody else was faster.
const VERSION_ATTEMPTS: u32 = 5;
/// Deadlines of single requests that one delivery may take together.
const DEADLINES: u32 = 8;

/// What is sent at once.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Part {
    /// These entries, as a Bundle or (one) as a resource.
    Entries(Vec<usize>),
    /// One half of a circle once more, now that the other half has its id.
    Again(usize),
    /// Bytes that were taken out of an entry.
    Attachment(Attachment),
}

/// A delivery under way.
struct Delivery<'a> {
    stack: &'a Stack,
    request: &'a Request,
    bundle: Bundle<'a>,
    /// What a reference is to say instead: what the server answered.
    names: HashMap<String, String>,
    /// Answers by the entry's place.
    answers: BTreeMap<usize, Entry>,
    /// Entries of a batch that were refused for good.
    refused: Vec<EntryFailure>,
    /// Entries that need not be sent: the server has them, and they were to be made only if it had not.
    left_out: BTreeSet<usize>,
    /// Entries of a circle that were sent without some of their references.
    unfinished: BTreeSet<usize>,
    /// What became of the request in one piece, until it is looked into.
    failed: Option<Failure>,
    status: u16,
    ends: Instant,
}

/// Whether a request needs more than being posted.
pub(crate) fn is_needed(stack: &Stack, request: &Request) -> bool {
    let split = &stack.settings().split;
    request.call.is_none()
        && (request.kind == Kind::Single
            || stack.settings().versions
            || split
                .max_bytes
                .is_some_and(|most| request.body.len() > most)
            || split.max_entries.is_some())
}

/// Whether a failed request is worth looking into.
pub(crate) fn may_help(stack: &Stack, request: &Request, failure: &Failure) -> bool {
    if request.call.is_some() {
        return false;
    }
    match failure.class {
        Class::TooLarge | Class::Precondition => true,
        Class::Gone => stack.settings().recreate,
        _ => false,
    }
}

/// Delivers a request in as many parts as it needs. `failed` is what became of it in one piece.
pub(crate) async fn deliver(
    stack: &Stack,
    request: &Request,
    failed: Option<Failure>,
) -> Result<Delivered, Failure> {
    let Ok(bundle) = Bundle::read(&request.body) else {
        // Entries without resources or requests: nothing that is made here. As it is, or not at all.
        return match failed {
            Some(failure) => Err(failure),
            None if request.kind == Kind::Single => Err(Failure::new(
                Class::Permanent,
                "not a Bundle of resources with requests",
            )),
            None => stack.once(request.clone()).await,
        };
    };
    let mut delivery = Delivery {
        stack,
        request,
        bundle,
        names: HashMap::new(),
        answers: BTreeMap::new(),
        refused: request.refused.clone(),
        left_out: BTreeSet::new(),
        unfinished: BTreeSet::new(),
        failed,
        status: 200,
        ends: Instant::now() + stack.settings().deadline.saturating_mul(DEADLINES),
    };
    delivery.run().await
}

impl Delivery<'_> {
    async fn run(&mut self) -> Result<Delivered, Failure> {
        let mut parts = self.plan()?;
        let mut sent = 0_usize;
        while let Some(part) = parts.pop_front() {
            if sent > 0 && Instant::now() > self.ends {
                let text = format!("time is up after part {sent} of {}", sent + 1 + parts.len());
                return Err(self.incomplete(Failure::new(Class::Transient, text), &part, &parts));
            }
            let result = self.send(&part).await;
            let failure = match result {
                Ok(()) => {
                    sent += 1;
                    continue;
                }
                Err(failure) => failure,
            };
            match self.smaller(&part, &failure)? {
                Some(smaller) => smaller
                    .into_iter()
                    .rev()
                    .for_each(|part| parts.push_front(part)),
                None => return Err(self.explained(failure, &part, sent, &parts)),
            }
        }
        self.done()
    }

    fn split(&self) -> Split {
        self.stack.settings().split
    }

    /// The places to send, in the Bundle's order.
    fn places(&self) -> Vec<usize> {
        match &self.request.entries {
            Some(places) => {
                let count = self.bundle.entry.len();
                places.iter().copied().filter(|one| *one < count).collect()
            }
            None => (0..self.bundle.entry.len()).collect(),
        }
    }

    /// All parts, in the order in which they are sent.
    fn plan(&self) -> Result<VecDeque<Part>, Failure> {
        let places = self.places();
        let chosen: BTreeSet<usize> = places.iter().copied().collect();
        let groups = bundle::components(&self.bundle.links())
            .into_iter()
            .map(|group| {
                group
                    .into_iter()
                    .filter(|one| chosen.contains(one))
                    .collect()
            })
            .filter(|group: &Vec<usize>| !group.is_empty());
        if self.request.kind == Kind::Single {
            let mut parts = VecDeque::new();
            for group in groups {
                let circle = group.len() > 1;
                parts.extend(group.iter().map(|place| Part::Entries(vec![*place])));
                if circle {
                    parts.extend(group.into_iter().map(Part::Again));
                }
            }
            return Ok(parts);
        }
        let split = self.split();
        let fits = split.max_entries.is_none_or(|most| places.len() <= most)
            && split
                .max_bytes
                .is_none_or(|most| self.request.body.len() <= most || places.len() == 1);
        if fits || self.failed.is_some() {
            return Ok(VecDeque::from([Part::Entries(places)]));
        }
        let size = |place: usize| self.bundle.entry.get(place).map_or(0, bundle::Entry::size);
        pack::pack(groups, size, split)
            .map(|packed| packed.into_iter().map(Part::Entries).collect())
            .map_err(|text| Failure::new(Class::TooLarge, text))
    }

    /// Sends one part and remembers what came of it.
    async fn send(&mut self, part: &Part) -> Result<(), Failure> {
        match part {
            Part::Entries(places) if self.request.kind == Kind::Single => match places.first() {
                Some(place) => self.send_single(*place, false).await,
                None => Ok(()),
            },
            Part::Entries(places) => self.send_bundle(places).await,
            Part::Again(place) => self.send_single(*place, true).await,
            Part::Attachment(attachment) => {
                let call = attachment.call();
                let request = self.derived(attachment.bytes.clone(), Some(call));
                self.stack.once(request).await.map(drop).map_err(|failure| {
                    if failure.class != Class::TooLarge {
                        return failure;
                    }
                    let text = format!(
                        "an attachment of {} bytes is too large for the server, as a Binary too",
                        attachment.bytes.len()
                    );
                    failure.because(text)
                })
            }
        }
    }

    fn derived(&self, body: Bytes, call: Option<Box<Call>>) -> Request {
        Request {
            body,
            kind: match call {
                Some(_) => Kind::Single,
                None => self.request.kind,
            },
            attempt: self.request.attempt,
            entries: None,
            request_id: self.request.request_id.clone(),
            refused: Vec::new(),
            call,
        }
    }

    /// A Bundle of some entries. Where versions count they are read first, and again when somebody was faster.
    async fn send_bundle(&mut self, places: &[usize]) -> Result<(), Failure> {
        let mut attempt = 0;
        loop {
            let versions = self.versions(places).await?;
            let kept: Vec<usize> = places
                .iter()
                .copied()
                .filter(|place| !self.left_out.contains(place))
                .collect();
            if kept.is_empty() {
                return Ok(());
            }
            let body = self.body(&kept, &versions);
            // What is known to fail is not sent to fail again.
            let result = match self.failed.take() {
                Some(failure) => Err(failure),
                None => self.stack.once(self.derived(body, None)).await,
            };
            let failure = match result {
                Ok(delivered) => {
                    self.status = delivered.status;
                    // A server may say nothing of the entries; references must be resolved all the same.
                    let mut answers = delivered.entries.into_iter();
                    for place in &kept {
                        self.learn(*place, answers.next().unwrap_or_default());
                    }
                    return Ok(());
                }
                Err(failure) => failure,
            };
            attempt += 1;
            match failure.class {
                Class::Mixed => return self.mixed(failure, &kept),
                Class::Precondition => {
                    let before = self.left_out.len();
                    if let Some(text) = self.blame(&kept).await {
                        return Err(failure.because(text));
                    }
                    let is_news = self.left_out.len() > before;
                    if !is_news && (versions.is_empty() || attempt >= VERSION_ATTEMPTS) {
                        return Err(failure);
                    }
                }
                Class::Conflict if !versions.is_empty() && attempt < VERSION_ATTEMPTS => {}
                Class::Gone if attempt == 1 && self.stack.settings().recreate => {
                    if !self.recreate(&kept).await {
                        return Err(failure);
                    }
                }
                _ => return Err(failure),
            }
            sleep(self.moment(attempt)).await;
        }
    }

    /// The whole Bundle byte for byte where nothing is to be changed.
    fn body(&self, places: &[usize], versions: &HashMap<usize, String>) -> Bytes {
        let is_changed = !versions.is_empty() || !self.names.is_empty();
        if !is_changed && places.len() == self.bundle.entry.len() {
            return self.request.body.clone();
        }
        let entries: Vec<_> = places
            .iter()
            .filter_map(|place| {
                let entry = self.bundle.entry.get(*place)?;
                let mut entry = entry.clone();
                entry.resource = Resource(Cow::Owned(self.resource(*place)));
                if let Some(version) = versions.get(place) {
                    entry.request.if_match = Some(version.clone().into());
                }
                Some(entry)
            })
            .collect();
        let kind = match self.request.kind {
            Kind::Batch => "batch",
            _ => "transaction",
        };
        bundle::write(kind, &entries).into()
    }

    /// The resource of an entry with the references that are known by now.
    fn resource(&self, place: usize) -> String {
        let Some(entry) = self.bundle.entry.get(place) else {
            return String::new();
        };
        bundle::replace(&entry.resource.0, |reference| {
            self.names.get(reference).map(String::as_str)
        })
        .into_owned()
    }

    /// Remembers an answer, and what references to the entry are to say from now on.
    fn learn(&mut self, place: usize, answer: Entry) {
        if let Some(entry) = self.bundle.entry.get(place) {
            let told = answer
                .location
                .as_deref()
                .and_then(|location| name_of(location, entry.request.type_name()));
            let own = entry.request.id().map(|_| entry.request.url.to_string());
            let name = told.or(own).or_else(|| {
                // A transaction may refer to it by what the server can find it by.
                let condition = entry.request.condition()?;
                (self.request.kind != Kind::Single)
                    .then(|| format!("{}?{condition}", entry.request.type_name()))
            });
            if let Some(name) = name
                && !entry.full_url.is_empty()
            {
                // What was made anew under another id was called by its old one.
                for meant in self.names.values_mut() {
                    if *meant == *entry.full_url {
                        meant.clone_from(&name);
                    }
                }
                self.names.insert(entry.full_url.to_string(), name);
            }
        }
        self.answers.insert(place, answer);
    }

    fn done(&mut self) -> Result<Delivered, Failure> {
        if !self.refused.is_empty() {
            return Err(Failure {
                status: Some(self.status),
                entries: std::mem::take(&mut self.refused),
                ..Failure::new(Class::Mixed, "")
            });
        }
        let count = self.bundle.entry.len();
        let answers = std::mem::take(&mut self.answers);
        let entries = (0..count)
            .map(|place| answers.get(&place).cloned().unwrap_or_default())
            .collect();
        Ok(Delivered {
            status: self.status,
            entries,
            summary: Summary::default(),
            body: Bytes::new(),
            truncated: false,
        })
    }

    fn moment(&self, attempt: u32) -> Duration {
        let wait = self.stack.settings().retry.short_wait;
        backoff::jittered(
            backoff::ceiling(wait, wait.saturating_mul(4), attempt),
            backoff::draw(),
        )
    }
}

/// `Patient/77` from `https://host/r4/Patient/77/_history/2`.
fn name_of(location: &str, type_name: &str) -> Option<String> {
    let location = location
        .split_once("/_history")
        .map_or(location, |(location, _)| location);
    let mut parts = location.trim_end_matches('/').rsplit('/');
    let (id, found) = (parts.next()?, parts.next()?);
    let is_id = (1..=64).contains(&id.len())
        && id
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'.');
    (found == type_name && is_id).then(|| format!("{type_name}/{id}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_from_locations() {
        let name = |location| name_of(location, "Patient");
        for location in [
            "Patient/77",
            "Patient/77/_history/2",
            "https://fhir.example/r4/Patient/77/_history/2",
            "/r4/Patient/77/",
        ] {
            assert_eq!(name(location).as_deref(), Some("Patient/77"), "{location}");
        }
        for location in [
            "",
            "77",
            "Group/77",
            "Patient/",
            "Patient/a\"b",
            "Patient/a b",
        ] {
            assert_eq!(name(location), None, "{location}");
        }
    }
}
