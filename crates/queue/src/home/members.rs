//! Who delivers: nodes that show that they live, and which broker queue each of them tends.
//!
//! The broker lets one consumer of a queue be active; it does not spread queues over nodes that come later. So
//! nodes agree here: each computes the same fair share from the list of the living, claims what is its own and
//! free, and lets go of the rest. A claim ends by being let go of, or when its node no longer shows up.

use std::collections::BTreeMap;

use serde_json::{Value as Json, json};

use super::{Home, Value, transaction};
use crate::error::Result;

/// A queue of a destination, by number.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct Claim {
    pub(crate) destination: String,
    pub(crate) part: i64,
}

/// How the nodes stand.
#[derive(Clone, Debug, Default)]
pub(crate) struct Tended {
    /// For each destination everybody who lives and delivers to it, sorted.
    pub(crate) nodes: BTreeMap<String, Vec<String>>,
    /// Paused destinations, with why.
    pub(crate) paused: Vec<(String, String)>,
}

impl Home {
    /// Shows that `node` lives and delivers to `destinations`, forgets who has not for `patience_ms`, and tells how
    /// things stand.
    pub(crate) async fn beat(
        &self,
        node: &str,
        destinations: &[String],
        patience_ms: i64,
    ) -> Result<Tended> {
        self.set_clock().await?;
        let now = self.now_ms();
        let rows: Vec<Json> = destinations
            .iter()
            .map(|name| json!({ "d": name }))
            .collect();
        let rows = Value::Text(Json::Array(rows).to_string());
        let show = self.sql(
            "INSERT INTO nodes (node, destination, beat) SELECT CAST($2 AS TEXT), e.value->>'d', CAST($3 AS BIGINT) FROM {rows} WHERE true
             ON CONFLICT (node, destination) DO UPDATE SET beat = excluded.beat",
        );
        transaction!(self, tx => {
            tx.query(&show, &[rows.clone(), node.into(), now.into()]).await?;
            let late = now.saturating_sub(patience_ms);
            tx.query("DELETE FROM nodes WHERE beat < $1", &[late.into()]).await?;
            let mut nodes: BTreeMap<String, Vec<String>> = BTreeMap::new();
            let sql = "SELECT destination, node FROM nodes ORDER BY destination, node";
            for row in tx.query(sql, &[]).await? {
                nodes.entry(row.text(0)).or_default().push(row.text(1));
            }
            let paused = tx.query("SELECT destination, reason FROM paused", &[]).await?;
            Tended {
                nodes,
                paused: paused.iter().map(|row| (row.text(0), row.text(1))).collect(),
            }
        })
    }

    /// Nobody else uses this home: whoever left rows behind is gone.
    pub(crate) async fn forget_nodes(&self) -> Result<()> {
        transaction!(self, tx => {
            tx.query("DELETE FROM owners", &[]).await?;
            tx.query("DELETE FROM nodes", &[]).await?;
        })
    }

    /// Takes what is free of `wanted`; returns what `node` has of it now.
    pub(crate) async fn claim(&self, node: &str, wanted: &[Claim]) -> Result<Vec<Claim>> {
        if wanted.is_empty() {
            return Ok(Vec::new());
        }
        let sql = self.sql(
            "INSERT INTO owners (destination, part, node)
             SELECT e.value->>'d', CAST(e.value->>'p' AS BIGINT), CAST($2 AS TEXT) FROM {rows} WHERE true
             ON CONFLICT (destination, part) DO UPDATE SET node = excluded.node
                WHERE owners.node = excluded.node OR NOT EXISTS
                (SELECT 1 FROM nodes n WHERE n.node = owners.node AND n.destination = owners.destination)
             RETURNING destination, part",
        );
        let values = [claims(wanted), node.into()];
        let mine = transaction!(self, tx => tx.query(&sql, &values).await?)?;
        Ok(mine
            .iter()
            .map(|row| Claim {
                destination: row.text(0),
                part: row.integer(1),
            })
            .collect())
    }

    /// Lets go of queues.
    pub(crate) async fn let_go(&self, node: &str, claimed: &[Claim]) -> Result<()> {
        let sql = self.sql(
            "DELETE FROM owners WHERE node = $2 AND (destination, part) IN
             (SELECT e.value->>'d', CAST(e.value->>'p' AS BIGINT) FROM {rows})",
        );
        let values = [claims(claimed), node.into()];
        transaction!(self, tx => tx.query(&sql, &values).await.map(drop)?)
    }

    /// `node` is gone, in order.
    pub(crate) async fn leave_node(&self, node: &str) -> Result<()> {
        let values = [Value::from(node)];
        transaction!(self, tx => {
            tx.query("DELETE FROM owners WHERE node = $1", &values).await?;
            tx.query("DELETE FROM nodes WHERE node = $1", &values).await?;
        })
    }

    /// Pauses a destination, or resumes it.
    pub(crate) async fn pause(&self, destination: &str, reason: Option<&str>) -> Result<()> {
        transaction!(self, tx => match reason {
            Some(reason) => {
                let sql = "INSERT INTO paused (destination, reason) VALUES ($1, $2)
                     ON CONFLICT (destination) DO UPDATE SET reason = excluded.reason";
                tx.query(sql, &[destination.into(), reason.into()]).await?;
            }
            None => {
                let sql = "DELETE FROM paused WHERE destination = $1";
                tx.query(sql, &[destination.into()]).await?;
            }
        })
    }
}

fn claims(claims: &[Claim]) -> Value {
    let mut claims: Vec<&Claim> = claims.iter().collect();
    claims.sort();
    let rows = claims
        .iter()
        .map(|claim| json!({ "d": claim.destination, "p": claim.part }))
        .collect();
    Value::Text(Json::Array(rows).to_string())
}
