//! What the routes need of a server, and looking now and then whether it offers that.

use std::{sync::Arc, time::Duration};

use tokio::{sync::watch, time};
use upstream::{Capability, CapabilityError, Finding, Interaction, Needs, Stack, Verdict};

use crate::{
    config::{
        Config, Destination,
        destination::{Address, BundleKind, CapabilityCheck, Ids, Versions},
    },
    events::DestinationEvents,
    packages::Packages,
};

/// Wait before asking again a server that could not be asked.
const FIRST_RETRY: Duration = Duration::from_secs(60);

/// Looks at one server's `/metadata`, again and again.
pub(crate) struct CapabilityWatch {
    every: Duration,
    check: CapabilityCheck,
    embedded: bool,
    needs: Needs,
    stack: Stack,
    events: Arc<DestinationEvents>,
    /// What was missing the last time, and whether the server could not be asked: only changes are logged.
    last: Option<String>,
    unknown: bool,
}

/// Everything that the routes need of a destination's server.
pub(crate) fn needs(config: &Config, packages: &Packages, destination: &Destination) -> Needs {
    let mut needs = Needs {
        bundle: match destination.bundle {
            BundleKind::Transaction => Some(upstream::Kind::Transaction),
            BundleKind::Batch => Some(upstream::Kind::Batch),
            BundleKind::Single => None,
        },
        format: super::stack_config::format(destination.writing.format),
        versions: destination.writing.versions == Versions::IfMatch,
        ..Needs::default()
    };
    let routes = config.routes.iter().filter(|route| {
        let mirrored = route.mirror.as_ref().map(|mirror| &mirror.to);
        route.destinations.contains(&destination.name) || mirrored == Some(&destination.name)
    });
    for route in routes {
        for package in route.layerings().filter_map(|names| packages.get(&names)) {
            for makeable in package.makeable() {
                let interaction = match (destination.ids, makeable.by_identifier, makeable.replaces)
                {
                    (Ids::Client, ..) | (Ids::Conditional, false, _) => Interaction::UpdateCreate,
                    (Ids::Conditional, true, true) => Interaction::ConditionalUpdate,
                    (Ids::Conditional, true, false) => Interaction::ConditionalCreate,
                };
                needs.add(makeable.type_name, interaction, &route.name);
                // Which version there is, is asked by identifier.
                if needs.versions && interaction == Interaction::ConditionalUpdate {
                    needs.add(makeable.type_name, Interaction::Search, &route.name);
                }
            }
        }
    }
    needs
}

/// What the server says of itself. The embedded repository is known without asking: at the start it does not answer yet.
pub(crate) async fn offered(
    destination: &Destination,
    stack: &Stack,
) -> Result<Capability, CapabilityError> {
    match destination.address {
        Address::Embedded => Capability::read(crate::repository::statement().as_bytes()),
        Address::Url(_) | Address::Exchange(_) => stack.metadata().await,
    }
}

/// The findings that something is missing in, in one line.
pub(crate) fn missing(findings: &[Finding]) -> (usize, String) {
    let missing: Vec<String> = findings
        .iter()
        .filter(|finding| finding.verdict == Verdict::Missing)
        .map(|finding| format!("{}: {}", finding.of, finding.needed))
        .collect();
    (missing.len(), missing.join("; "))
}

// === impl CapabilityWatch ===

impl CapabilityWatch {
    pub(crate) fn new(
        destination: &Destination,
        needs: Needs,
        stack: Stack,
        events: DestinationEvents,
    ) -> Self {
        Self {
            every: destination.capability.every,
            check: destination.capability.check,
            embedded: matches!(destination.address, Address::Embedded),
            needs,
            stack,
            events: Arc::new(events),
            last: None,
            unknown: false,
        }
    }

    /// For a strict start.
    ///
    /// # Errors
    /// What is missing, or why that is not known.
    pub(crate) async fn insist(&mut self) -> Result<(), String> {
        if self.check != CapabilityCheck::Strict {
            return Ok(());
        }
        match self.look().await {
            Ok(0) => Ok(()),
            Ok(_) => Err(format!(
                "it does not offer {}",
                self.last.as_deref().unwrap_or_default()
            )),
            Err(error) => Err(format!("its /metadata cannot be read: {error}")),
        }
    }

    /// Looks at the start (unless [`CapabilityWatch::insist`] just has) and then every so often, until `stop` says true.
    pub(crate) async fn run(mut self, mut stop: watch::Receiver<bool>) {
        if self.check == CapabilityCheck::Off || self.embedded {
            return;
        }
        let mut wait = match self.last {
            Some(_) => self.every,
            None => Duration::ZERO,
        };
        let mut retry = FIRST_RETRY;
        loop {
            tokio::select! {
                _ = stop.wait_for(|stop| *stop) => return,
                () = time::sleep(wait) => {}
            }
            wait = match self.look().await {
                Ok(_) => {
                    retry = FIRST_RETRY;
                    self.every
                }
                Err(_) => {
                    let wait = retry.min(self.every);
                    retry = retry.saturating_mul(2);
                    wait
                }
            };
        }
    }

    async fn look(&mut self) -> Result<usize, CapabilityError> {
        let answer = if self.embedded {
            Capability::read(crate::repository::statement().as_bytes())
        } else {
            self.stack.metadata().await
        };
        match answer {
            Ok(offered) => {
                let (count, what) = missing(&self.needs.compare(&offered));
                let news = self.last.as_ref() != Some(&what) || self.unknown;
                self.events.capabilities(count, news.then_some(&*what));
                self.last = Some(what);
                self.unknown = false;
                Ok(count)
            }
            Err(error) => {
                self.events
                    .capabilities_unknown(&crate::cli::chain(&error), !self.unknown);
                self.unknown = true;
                Err(error)
            }
        }
    }
}
