//! Which queues this node tends: a fair share of them, agreed on through the home.

use std::{
    collections::{BTreeMap, HashMap},
    sync::Arc,
    time::Duration,
};

use tokio::{sync::watch, task::JoinHandle, time};

use super::{Shared, tender::Tender};
use crate::{error::Result, home::Claim};

/// How often a node shows that it lives.
const BEAT: Duration = Duration::from_millis(1_500);
/// A node that has not been seen for so long has no claims any more, milliseconds.
const PATIENCE_MS: i64 = 8_000;

/// Tends this node's share until told to stop.
pub(crate) struct Members {
    shared: Arc<Shared>,
    tended: HashMap<Claim, (watch::Sender<bool>, JoinHandle<()>)>,
}

// === impl Members ===

impl Members {
    pub(crate) fn new(shared: Arc<Shared>) -> Self {
        Self {
            shared,
            tended: HashMap::new(),
        }
    }

    /// Takes part until `stop` says true; then lets go of everything.
    pub(crate) async fn run(mut self, mut stop: watch::Receiver<bool>) {
        loop {
            tokio::select! {
                _ = stop.wait_for(|stop| *stop) => break,
                () = time::sleep(BEAT) => {}
            }
            if let Err(error) = self.beat().await {
                tracing::warn!(%error, "the shared home does not say who delivers what");
            }
        }
        let all: Vec<Claim> = self.tended.keys().cloned().collect();
        self.let_go(&all).await;
        if let Err(error) = self.shared.home.leave_node(&self.shared.node).await {
            tracing::warn!(%error, "others will take over when they miss this node");
        }
    }

    /// Shows that this node lives, and takes or lets go of queues.
    pub(crate) async fn beat(&mut self) -> Result<()> {
        let shared = Arc::clone(&self.shared);
        let destinations: Vec<String> = shared.feeds.keys().cloned().collect();
        let tended = shared
            .home
            .beat(&shared.node, &destinations, PATIENCE_MS)
            .await?;
        for (name, feed) in &shared.feeds {
            feed.set_paused(tended.paused.iter().any(|(paused, _)| paused == name));
            feed.look();
        }
        let share = share(&shared.node, &tended.nodes, shared.options.partitions);
        let too_many: Vec<Claim> = self
            .tended
            .keys()
            .filter(|claim| !share.contains(claim))
            .cloned()
            .collect();
        self.let_go(&too_many).await;
        let mine = shared.home.claim(&shared.node, &share).await?;
        // This node was thought dead, and somebody else has them now.
        let lost: Vec<Claim> = self
            .tended
            .keys()
            .filter(|claim| !mine.contains(claim))
            .cloned()
            .collect();
        self.let_go(&lost).await;
        for claim in mine {
            self.tend(claim);
        }
        Ok(())
    }

    fn tend(&mut self, claim: Claim) {
        if self.tended.contains_key(&claim) {
            return;
        }
        let (Some(feed), Ok(part)) = (
            self.shared.feeds.get(&claim.destination),
            u16::try_from(claim.part),
        ) else {
            return;
        };
        let tender = Tender {
            shared: Arc::clone(&self.shared),
            feed: Arc::clone(feed),
            part,
        };
        let (stop, stopped) = watch::channel(false);
        self.tended
            .insert(claim, (stop, tokio::spawn(tender.run(stopped))));
    }

    /// Stops tending these queues, all at once, and says so at the home when they are free.
    async fn let_go(&mut self, claims: &[Claim]) {
        let mut ending = Vec::new();
        for claim in claims {
            if let Some((stop, task)) = self.tended.remove(claim) {
                stop.send_replace(true);
                ending.push(task);
            }
        }
        for task in ending {
            if task.await.is_err() {
                tracing::error!("a task that tends a queue ended by a panic");
            }
        }
        if !claims.is_empty()
            && let Err(error) = self.shared.home.let_go(&self.shared.node, claims).await
        {
            tracing::warn!(%error, "claims are let go of later");
        }
    }
}

/// What `node` should tend when these nodes live: queues go round, beginning with another node for each destination.
fn share(node: &str, nodes: &BTreeMap<String, Vec<String>>, partitions: u16) -> Vec<Claim> {
    let mut share = Vec::new();
    for (number, (destination, nodes)) in nodes.iter().enumerate() {
        for part in 0..partitions {
            let turn = usize::from(part) + number;
            let whose = nodes.get(turn.checked_rem(nodes.len()).unwrap_or(0));
            if whose.is_some_and(|name| name == node) {
                share.push(Claim {
                    destination: destination.clone(),
                    part: i64::from(part),
                });
            }
        }
    }
    share
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shares_are_fair_and_cover_everything_once() {
        let all: Vec<String> = ["a", "b", "c"].map(str::to_owned).into();
        let nodes = BTreeMap::from([
            ("one".to_owned(), all.clone()),
            ("two".to_owned(), all.clone()),
        ]);
        let mut seen = Vec::new();
        for node in &all {
            let mine = share(node, &nodes, 8);
            assert!((5..=6).contains(&mine.len()), "{mine:?}");
            seen.extend(mine);
        }
        seen.sort();
        seen.dedup();
        assert_eq!(seen.len(), 16);
        assert!(share("stranger", &nodes, 8).is_empty());
    }
}
