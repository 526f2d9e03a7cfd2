//! A terminology server that is asked for codes that no table lists: `ConceptMap/$translate`, many in one batch, with a
//! deadline, a circuit breaker, and a memory for what it said and for what it does not know.
//!
//! It never stops a feed unless asked: when it cannot be reached the message is mapped as if there were none.

use std::{
    collections::HashMap,
    fmt::Write as _,
    sync::{Arc, Mutex, PoisonError},
    time::Instant,
};

use arc_swap::ArcSwap;
use bytes::Bytes;
use mapping::{CodeMiss, Package, Question, Translation, Translations};
use serde_json::{Value, json};
use upstream::{Class, ConfigError, Request, Stack};

use crate::{
    config::terminology::{OnFailure, Terminology as Config},
    events::TerminologyEvents,
};

/// Most questions of one request.
const BATCH: usize = 100;

/// A terminology server and what it said.
pub struct Terminology {
    stack: Stack,
    config: Config,
    events: Arc<TerminologyEvents>,
    /// Every answer, with the time until which it holds.
    known: Mutex<HashMap<Question, Answer>>,
    /// The answers with a target, as the mapping takes them.
    translations: ArcSwap<Translations>,
    /// The last reason why it did not answer.
    trouble: Mutex<Option<String>>,
}

#[derive(Clone)]
struct Answer {
    found: Vec<Translation>,
    until: Instant,
}

/// Why there is no answer, in fixed words.
#[derive(Debug, thiserror::Error)]
#[error("the terminology server does not answer: {0}")]
pub struct Unavailable(String);

/// What became of the codes that a message misses.
pub enum Asked {
    /// The server was not needed, or knows nothing: the message stays as it is.
    Nothing,
    /// Map the message again.
    Again,
    /// A person must look.
    Park(Unavailable),
}

impl Terminology {
    /// A client of the server. Opens no connection.
    ///
    /// # Errors
    /// [`ConfigError`].
    pub fn new(config: &Config, events: TerminologyEvents) -> Result<Self, ConfigError> {
        let mut upstream = upstream::Config::new(config.url.clone());
        upstream.auth = crate::deliver::credential(&config.auth)?;
        upstream.tls = crate::deliver::client_tls(&config.tls);
        upstream.allow_plaintext_credentials = config.allow_plaintext_credentials;
        upstream.headers = config
            .headers
            .iter()
            .map(|(name, value)| (name.clone(), value.expose().into()))
            .collect();
        upstream.connect_timeout = config.deadline;
        upstream.deadline = config.deadline;
        // A short retry would send only what failed, and the answer would tell of that alone.
        upstream.retry.short_attempts = 1;
        let events = Arc::new(events);
        let stack = upstream::stack(&upstream, Arc::clone(&events) as _)?;
        Ok(Self {
            stack,
            config: config.clone(),
            events,
            known: Mutex::default(),
            translations: ArcSwap::default(),
            trouble: Mutex::default(),
        })
    }

    /// The answers so far, to map a message with.
    pub fn known(&self) -> Translations {
        Translations::clone(&self.translations.load())
    }

    /// Why it last did not answer; `None` when it always has.
    pub fn trouble(&self) -> Option<Unavailable> {
        let trouble = self.trouble.lock().unwrap_or_else(PoisonError::into_inner);
        trouble.clone().map(Unavailable)
    }

    fn unavailable(&self, why: String) -> Unavailable {
        self.events.unavailable(&why);
        let mut trouble = self.trouble.lock().unwrap_or_else(PoisonError::into_inner);
        *trouble = Some(why.clone());
        Unavailable(why)
    }

    /// Asks for what tables with `translate:` miss and nobody has asked yet.
    pub async fn ask(&self, package: &Package, misses: &[CodeMiss]) -> Asked {
        let questions = package.questions(misses);
        if questions.is_empty() {
            return Asked::Nothing;
        }
        let now = Instant::now();
        let (mut open, mut helps) = (Vec::new(), false);
        {
            let known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
            for question in questions {
                match known.get(&question).filter(|answer| answer.until > now) {
                    // It came in while this message was being mapped.
                    Some(answer) => helps |= !answer.found.is_empty(),
                    None => open.push(question),
                }
            }
        }
        if open.is_empty() {
            self.events.remembered();
        }
        for questions in open.chunks(BATCH) {
            match self.request(questions).await {
                Ok(answers) => helps |= self.remember(questions, answers),
                Err(why) if self.config.on_failure == OnFailure::Park => {
                    return Asked::Park(why);
                }
                // As if there were no server; asked again with the next message that misses the code.
                Err(_) => break,
            }
        }
        if helps { Asked::Again } else { Asked::Nothing }
    }

    /// Keeps answers; whether one of them has a target.
    fn remember(&self, questions: &[Question], answers: Vec<Option<Vec<Translation>>>) -> bool {
        let now = Instant::now();
        let mut helps = false;
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        known.retain(|_, answer| answer.until > now);
        for (question, answer) in questions.iter().zip(answers) {
            let Some(found) = answer else { continue };
            helps |= !found.is_empty();
            let keep = if found.is_empty() {
                self.config.cache_missing
            } else {
                self.config.cache
            };
            // When it is full, everything starts anew.
            if known.len() >= self.config.cache_entries {
                known.clear();
            }
            let until = now + keep;
            known.insert(question.clone(), Answer { found, until });
        }
        let all = known.iter();
        let all = all.map(|(question, answer)| (question.clone(), answer.found.clone()));
        self.translations.store(Arc::new(Translations::new(all)));
        helps
    }

    /// One answer per question; `None` where the server could not say this time.
    async fn request(
        &self,
        questions: &[Question],
    ) -> Result<Vec<Option<Vec<Translation>>>, Unavailable> {
        let request = Request::batch(Bytes::from(bundle(questions)));
        let body = match self.stack.deliver(request).await {
            Ok(delivered) => delivered.body,
            // Some questions are refused, most of them because the server has no such map.
            Err(failure) if failure.class == Class::Mixed => failure.body,
            Err(failure) => return Err(self.unavailable(failure.to_string())),
        };
        let Some(answers) = read(&body, questions.len()) else {
            return Err(self.unavailable("its answer is no batch-response".to_owned()));
        };
        for answer in &answers {
            self.events
                .answered(answer.as_ref().map(|found| !found.is_empty()));
        }
        Ok(answers)
    }
}

/// A batch of `GET ConceptMap/$translate`.
fn bundle(questions: &[Question]) -> Vec<u8> {
    let entries: Vec<Value> = questions
        .iter()
        .map(|question| {
            let mut url = String::from("ConceptMap/$translate?");
            parameter(&mut url, "code", &question.code);
            parameter(&mut url, "system", &question.system);
            if let Some(map) = &question.map {
                parameter(&mut url, "url", map);
            }
            if !question.target.is_empty() {
                parameter(&mut url, "targetsystem", &question.target);
            }
            json!({ "request": { "method": "GET", "url": url } })
        })
        .collect();
    let bundle = json!({ "resourceType": "Bundle", "type": "batch", "entry": entries });
    bundle.to_string().into_bytes()
}

fn parameter(url: &mut String, name: &str, value: &str) {
    if !url.ends_with('?') {
        url.push('&');
    }
    let value = percent_encoding::utf8_percent_encode(value, percent_encoding::NON_ALPHANUMERIC);
    let _ = write!(url, "{name}={value}");
}

/// The answers of a batch response; `None` when it is none.
fn read(body: &[u8], count: usize) -> Option<Vec<Option<Vec<Translation>>>> {
    let json: Value = serde_json::from_slice(body).ok()?;
    let entries = json.get("entry")?.as_array()?;
    let answer = |number: usize| {
        let entry = entries.get(number)?;
        let status = entry.pointer("/response/status")?.as_str()?;
        match status.get(..1)? {
            "2" => Some(translations(&entry["resource"])),
            // No such map, no such code: an answer that holds for a while.
            "4" if !status.starts_with("429") && !status.starts_with("408") => Some(Vec::new()),
            _ => None,
        }
    };
    Some((0..count).map(answer).collect())
}

/// The targets in the Parameters that `$translate` gives.
fn translations(parameters: &Value) -> Vec<Translation> {
    let all = |value: &Value| value.as_array().cloned().unwrap_or_default();
    let named = |part: &Value, name: &str| part["name"] == name;
    let mut found = Vec::new();
    for matched in &all(&parameters["parameter"]) {
        if !named(matched, "match") {
            continue;
        }
        let parts = all(&matched["part"]);
        let refused = parts.iter().any(|part| {
            named(part, "equivalence")
                && matches!(part["valueCode"].as_str(), Some("unmatched" | "disjoint"))
        });
        let concept = parts.iter().find(|part| named(part, "concept"));
        let Some(coding) = concept
            .map(|part| &part["valueCoding"])
            .filter(|_| !refused)
        else {
            continue;
        };
        let text = |key: &str| coding[key].as_str().map(str::to_owned);
        if let Some(code) = text("code") {
            found.push(Translation {
                system: text("system").unwrap_or_default(),
                code,
                display: text("display"),
            });
        }
    }
    found
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::indexing_slicing)]

    use super::*;

    #[test]
    fn parameters_of_all_kinds() {
        let answer = json!({ "resourceType": "Parameters", "parameter": [
            { "name": "result", "valueBoolean": true },
            { "name": "match", "part": [
                { "name": "equivalence", "valueCode": "equivalent" },
                { "name": "concept", "valueCoding": { "system": "http://loinc.org", "code": "2345-7", "display": "Glucose" } },
            ]},
            { "name": "match", "part": [
                { "name": "equivalence", "valueCode": "unmatched" },
                { "name": "concept", "valueCoding": { "code": "x" } },
            ]},
        ]});
        let found = translations(&answer);
        assert_eq!(found.len(), 1);
        assert_eq!(
            (found[0].system.as_str(), found[0].code.as_str()),
            ("http://loinc.org", "2345-7")
        );
        assert!(translations(&json!({ "resourceType": "OperationOutcome" })).is_empty());
    }

    #[test]
    fn a_refusal_is_an_answer_and_a_failure_is_none() {
        let body = json!({ "entry": [
            { "response": { "status": "404 Not Found" } },
            { "response": { "status": "500" } },
            { "response": { "status": "429" } },
            { "response": { "status": "200 OK" }, "resource": { "parameter": [] } },
        ]});
        let read = read(body.to_string().as_bytes(), 5).unwrap();
        let empty = Some(Vec::new());
        assert_eq!(read, [empty.clone(), None, None, empty, None]);
        assert_eq!(super::read(b"not json", 1), None);
    }
}
