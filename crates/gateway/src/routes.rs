//! Which route takes a message: the first in the order of the configuration.

use std::sync::Arc;

use hl7v2::Message;
use mapping::MessagePredicate;

use crate::{
    config::{self, route::Ordering},
    receive::sha256,
};

/// All routes, ready to be asked.
#[derive(Clone)]
pub struct Routes(Arc<[Route]>);

/// One route with its condition compiled.
pub struct Route {
    /// As configured.
    pub config: config::Route,
    when: Option<MessagePredicate>,
    urgent: Option<MessagePredicate>,
}

impl Routes {
    /// Compiles the conditions.
    ///
    /// # Errors
    /// A sentence about a condition that cannot be read; a checked configuration has none.
    pub fn compile(routes: &[config::Route]) -> Result<Self, String> {
        let compiled = routes
            .iter()
            .map(|route| {
                let compile = |when: &Option<String>, key: &str| {
                    let compiled = when.as_deref().map(MessagePredicate::compile).transpose();
                    compiled.map_err(|why| format!("routes.{}.{key}: {why}", route.name))
                };
                Ok(Route {
                    config: route.clone(),
                    when: compile(&route.when, "when")?,
                    urgent: compile(&route.priority.when, "priority.when")?,
                })
            })
            .collect::<Result<Vec<_>, String>>()?;
        Ok(Self(compiled.into()))
    }

    /// The route of a message that came in at `listener`.
    pub fn find(&self, listener: &str, message: &Message<'_>) -> Option<&Route> {
        self.0.iter().find(|route| route.takes(listener, message))
    }

    /// The route of that name.
    pub fn named(&self, name: &str) -> Option<&Route> {
        self.0.iter().find(|route| route.config.name == name)
    }

    /// All of them, in order.
    pub fn iter(&self) -> impl Iterator<Item = &Route> {
        self.0.iter()
    }
}

impl Route {
    fn takes(&self, listener: &str, message: &Message<'_>) -> bool {
        let listens = self.config.listeners.is_empty()
            || self.config.listeners.iter().any(|name| name == listener);
        listens && self.when.as_ref().is_none_or(|when| when.matches(message))
    }

    /// Where a message goes: to the route's destinations and, for a share of the patients, to its mirror. `patient` are
    /// the ordering keys of its patients; what is about nobody is chosen by `control_id`.
    pub fn destinations(&self, patient: &[String], control_id: &str) -> Vec<String> {
        let mut destinations = self.config.destinations.clone();
        if let Some(mirror) = &self.config.mirror {
            let mut keys: Vec<&str> = patient.iter().map(String::as_str).collect();
            if keys.is_empty() {
                keys.push(control_id);
            }
            // A merge of two patients goes with either of them.
            if keys.iter().any(|key| mirror.share.takes(hash(key))) {
                destinations.push(mirror.to.clone());
            }
        }
        destinations
    }

    /// Whether a message goes before others.
    pub fn is_urgent(&self, message: &Message<'_>) -> bool {
        self.urgent
            .as_ref()
            .is_some_and(|when| when.matches(message))
    }

    /// What must stay in order.
    pub fn ordering(&self) -> Ordering {
        self.config.ordering
    }
}

/// The same in every process and version: a patient stays in the share.
fn hash(key: &str) -> u64 {
    let [a, b, c, d, e, f, g, h, ..] = sha256(key.as_bytes());
    u64::from_be_bytes([a, b, c, d, e, f, g, h])
}
