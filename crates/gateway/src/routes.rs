//! Which route takes a message: the first in the order of the configuration.

use std::sync::Arc;

use hl7v2::Message;
use mapping::MessagePredicate;

use crate::config::{self, route::Ordering};

/// All routes, ready to be asked.
#[derive(Clone)]
pub struct Routes(Arc<[Route]>);

/// One route with its condition compiled.
pub struct Route {
    /// As configured.
    pub config: config::Route,
    when: Option<MessagePredicate>,
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
                let when = route.when.as_deref().map(MessagePredicate::compile);
                when.transpose()
                    .map(|when| Route {
                        config: route.clone(),
                        when,
                    })
                    .map_err(|why| format!("routes.{}.when: {why}", route.name))
            })
            .collect::<Result<Vec<_>, _>>()?;
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

    /// What must stay in order.
    pub fn ordering(&self) -> Ordering {
        self.config.ordering
    }
}
