//! Resources one by one, each after those that it refers to.

use tokio::time::sleep;

use super::look::Look;
use super::{Delivery, VERSION_ATTEMPTS};
use crate::bundle::{self, Asked, Bundle};
use crate::failure::{Class, Failure};
use crate::request::Call;

impl Delivery<'_> {
    /// One resource as a request of its own.
    pub(super) async fn send_single(&mut self, place: usize, again: bool) -> Result<(), Failure> {
        let mut attempt = 0;
        loop {
            let Some((mut asked, body)) = self.single(place, again).await? else {
                return Ok(());
            };
            let versions = self.versions(&[place]).await?;
            if let (Some(version), "PUT") = (versions.get(&place), &*asked.method) {
                asked.if_match = Some(version.clone().into());
            }
            let request = self.derived(body.into(), Some(Call::of(&asked)));
            let failure = match self.stack.once(request).await {
                Ok(delivered) => {
                    self.status = delivered.status;
                    let answer = delivered.entries.into_iter().next();
                    self.learn(place, answer.unwrap_or_default());
                    return self.insist_on_name(place).await;
                }
                Err(failure) => failure,
            };
            attempt += 1;
            match failure.class {
                Class::Precondition => {
                    if let Some(text) = self.blame(&[place]).await {
                        return Err(failure.because(text));
                    }
                    if versions.is_empty() || attempt >= VERSION_ATTEMPTS {
                        return Err(failure);
                    }
                }
                Class::Conflict if !versions.is_empty() && attempt < VERSION_ATTEMPTS => {}
                Class::Gone if attempt == 1 && self.stack.settings().recreate => {
                    if !self.recreate(&[place]).await {
                        return Err(failure);
                    }
                }
                _ => return Err(failure),
            }
            sleep(self.moment(attempt)).await;
        }
    }

    /// What is to be asked for one resource, and the resource; `None` when there is nothing (more) to be done.
    async fn single(
        &mut self,
        place: usize,
        again: bool,
    ) -> Result<Option<(Asked<'static>, String)>, Failure> {
        if !again {
            self.look_ahead(place).await?;
        }
        let Some(entry) = self.bundle.entry.get(place) else {
            return Ok(None);
        };
        let whole = self.resource(place);
        if again {
            let known = self.names.get(&*entry.full_url);
            return Ok(known
                .filter(|_| self.unfinished.contains(&place))
                .map(|known| {
                    let asked = Asked {
                        method: "PUT".into(),
                        url: known.clone().into(),
                        ..Asked::default()
                    };
                    (asked, with_id(&whole, known))
                }));
        }
        let asked = entry.request.clone().into_owned();
        let part = bundle::logical(&whole, |name| self.waits(place, name)).into_owned();
        if part != whole {
            self.unfinished.insert(place);
        }
        Ok(Some((asked, part)))
    }

    /// The type of an entry that a reference means, if the reference cannot be sent yet.
    fn waits(&self, place: usize, name: &str) -> Option<&str> {
        let target = self
            .bundle
            .entry
            .iter()
            .enumerate()
            .find(|(other, entry)| *other != place && entry.full_url == name)?;
        // A client's id needs no answer of the server.
        (target.1.request.id().is_none()).then(|| target.1.request.type_name())
    }

    /// What an entry refers to and has not been sent (a circle) may be on the server from an earlier time.
    async fn look_ahead(&mut self, place: usize) -> Result<(), Failure> {
        let Some(entry) = self.bundle.entry.get(place) else {
            return Ok(());
        };
        let mut waiting = Vec::new();
        for (other, target) in self.bundle.entry.iter().enumerate() {
            let is_meant = !target.full_url.is_empty()
                && other != place
                && entry.resource.0.contains(&*target.full_url)
                && !self.names.contains_key(&*target.full_url);
            if is_meant {
                waiting.push(other);
            }
        }
        for other in waiting {
            let Some(target) = self.bundle.entry.get(other) else {
                continue;
            };
            let full_url = target.full_url.to_string();
            if target.request.id().is_some() {
                let url = target.request.url.to_string();
                self.names.insert(full_url, url);
            } else if let Look::One { id, .. } = self.look(other).await? {
                let name = format!("{}/{id}", target_type(&self.bundle, other));
                self.names.insert(full_url, name);
            }
        }
        Ok(())
    }

    /// After a single resource was sent, others must be able to refer to it.
    async fn insist_on_name(&mut self, place: usize) -> Result<(), Failure> {
        let Some(entry) = self.bundle.entry.get(place) else {
            return Ok(());
        };
        let full_url = entry.full_url.to_string();
        let is_meant = !full_url.is_empty()
            && self
                .bundle
                .entry
                .iter()
                .enumerate()
                .any(|(other, entry)| other != place && entry.resource.0.contains(&full_url));
        if !is_meant || self.names.contains_key(&full_url) {
            return Ok(());
        }
        match self.look(place).await? {
            Look::One { id, .. } => {
                let name = format!("{}/{id}", target_type(&self.bundle, place));
                self.names.insert(full_url, name);
                Ok(())
            }
            _ => Err(Failure::new(
                Class::Transient,
                format!("the server does not say which id entry {place} has"),
            )),
        }
    }
}

fn target_type(bundle: &Bundle<'_>, place: usize) -> String {
    bundle
        .entry
        .get(place)
        .map(|entry| entry.request.type_name().to_owned())
        .unwrap_or_default()
}

/// The resource with the id that the server gave it, as an update by id wants it.
fn with_id(resource: &str, name: &str) -> String {
    let id = name.rsplit('/').next().unwrap_or_default();
    let member = format!(r#""id":"{id}","#);
    // Behind the type where that stands first, as it does in what is made here.
    let start = match resource.strip_prefix(r#"{"resourceType":""#) {
        Some(rest) => rest
            .find(r#"","#)
            .map_or(1, |end| resource.len() - rest.len() + end + 2),
        None => 1,
    };
    match resource.split_at_checked(start) {
        Some((head, rest)) if !rest.starts_with(&member) => format!("{head}{member}{rest}"),
        _ => resource.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_is_put_behind_the_type() {
        assert_eq!(
            with_id(r#"{"resourceType":"Group","actual":true}"#, "Group/7"),
            r#"{"resourceType":"Group","id":"7","actual":true}"#
        );
        assert_eq!(
            with_id(r#"{"actual":true,"resourceType":"Group"}"#, "Group/7"),
            r#"{"id":"7","actual":true,"resourceType":"Group"}"#
        );
        let same = r#"{"resourceType":"Group","id":"7","actual":true}"#;
        assert_eq!(with_id(same, "Group/7"), same);
    }
}
