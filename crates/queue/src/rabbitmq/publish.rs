//! The way in: admitted at the home, published with confirms, and only then answered.
//!
//! One task takes all requests that came while it was busy, admits them in one transaction and publishes them in
//! order, without waiting; another waits for their confirmations while the next group is admitted. A record is
//! published to the exchange of each of its destinations, and all must confirm it. Anything else than a
//! confirmation (a nack, a return, a lost connection, no answer in time) is an error for whoever appended: the
//! record keeps its number, so that it takes effect once when it is sent again.

use std::{
    collections::{HashMap, HashSet, hash_map::Entry},
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use futures_util::future::join_all;
use lapin::{
    BasicProperties, Channel, Confirmation, PublisherConfirm,
    options::{BasicPublishOptions, ConfirmSelectOptions},
    types::AMQPValue,
};
use tokio::{
    sync::{Semaphore, mpsc, oneshot},
    time,
};

use super::{
    link::{Link, too_late, unavailable},
    message::Message,
    options::RabbitOptions,
    topology::{self, Names},
};
use crate::{
    error::{QueueError, Result},
    home::{Admission, Admitted, Confirmed, Home},
    observer::Commit,
    record::{Appended, RecordId},
};

/// Records in one group.
const GROUP: usize = 512;
/// Groups that wait for confirmations at once.
const GROUPS: usize = 16;
/// Confirmations are booked with the next group, or after this time.
const BOOK_AFTER: Duration = Duration::from_millis(20);

/// A request to append.
pub(crate) struct Append {
    pub(crate) admissions: Vec<Admission>,
    pub(crate) answer: oneshot::Sender<Result<Vec<Appended>>>,
}

/// Publishes what is appended.
pub(crate) struct Publisher {
    pub(crate) home: Arc<Home>,
    pub(crate) link: Link,
    pub(crate) names: Names,
    pub(crate) options: RabbitOptions,
    pub(crate) declared: HashSet<String>,
    pub(crate) channel: Option<Channel>,
    pub(crate) confirmed: Arc<Mutex<Vec<Confirmed>>>,
}

/// One record of a group.
enum Step {
    /// Answered already.
    Known(Appended),
    /// Answered like this when all confirmations are there.
    Published {
        id: i64,
        appended: Appended,
        confirmed: Confirmed,
    },
}

type Confirms = HashMap<i64, Result<Vec<PublisherConfirm>>>;

// === impl Publisher ===

impl Publisher {
    /// Works until nobody can ask any more.
    pub(crate) async fn run(mut self, mut requests: mpsc::Receiver<Append>) {
        let groups = Arc::new(Semaphore::new(GROUPS));
        let mut group = Vec::new();
        loop {
            let waiting = !lock(&self.confirmed).is_empty();
            tokio::select! {
                first = requests.recv() => match first {
                    Some(first) => group.push(first),
                    None => break,
                },
                () = time::sleep(BOOK_AFTER), if waiting => {
                    self.book().await;
                    continue;
                }
            }
            let mut records = group
                .iter()
                .map(|one: &Append| one.admissions.len())
                .sum::<usize>();
            while records < GROUP
                && let Ok(next) = requests.try_recv()
            {
                records += next.admissions.len();
                group.push(next);
            }
            let Ok(permit) = Arc::clone(&groups).acquire_owned().await else {
                break;
            };
            if let Some(rest) = self.group(std::mem::take(&mut group)).await {
                tokio::spawn(async move {
                    rest.await;
                    drop(permit);
                });
            }
        }
        // What was published is waited for and booked before the home is let go of.
        let _all = groups
            .acquire_many(u32::try_from(GROUPS).unwrap_or(1))
            .await;
        self.book().await;
        self.link.close().await;
    }

    async fn book(&self) {
        let confirmed = std::mem::take(&mut *lock(&self.confirmed));
        if let Err(error) = self.home.confirm(&confirmed).await {
            tracing::warn!(%error, "confirmed records are booked later");
            lock(&self.confirmed).extend(confirmed);
            time::sleep(BOOK_AFTER).await;
        }
    }

    /// Admits and publishes one group; what is left is to wait for the confirmations.
    async fn group(&mut self, group: Vec<Append>) -> Option<impl Future<Output = ()> + use<>> {
        let started = std::time::Instant::now();
        let requests = group.len();
        let (mut admissions, mut answers) = (Vec::new(), Vec::new());
        for one in group {
            answers.push((one.admissions.len(), one.answer));
            admissions.extend(one.admissions);
        }
        let booked = std::mem::take(&mut *lock(&self.confirmed));
        let admitted = self
            .home
            .admit(&admissions, &booked, &self.options.dedup)
            .await;
        let admitted = match admitted {
            Ok(admitted) => admitted,
            Err(error) => {
                lock(&self.confirmed).extend(booked);
                for (_, answer) in answers {
                    let _gone = answer.send(Err(error.clone()));
                }
                return None;
            }
        };
        let mut commit = Commit {
            requests,
            work: started.elapsed(),
            ..Commit::default()
        };
        let mut confirms: Confirms = HashMap::new();
        let mut steps = Vec::with_capacity(admissions.len());
        for (admission, admitted) in admissions.into_iter().zip(admitted) {
            steps.push(
                self.step(admission, admitted, &mut confirms, &mut commit)
                    .await,
            );
        }
        if confirms.values().any(Result::is_err) {
            self.channel = None;
            self.declared.clear();
        }
        let (patience, booked) = (self.options.patience, Arc::clone(&self.confirmed));
        let observer = self.options.observer.clone();
        Some(async move {
            let outcomes = wait(confirms, patience).await;
            let mut good: HashMap<i64, Confirmed> = HashMap::new();
            let mut steps = steps.into_iter();
            let mut replies = Vec::with_capacity(answers.len());
            for (count, answer) in answers {
                let mut appended = Ok(Vec::with_capacity(count));
                for step in steps.by_ref().take(count) {
                    let (id, confirmed, one) = match step {
                        Step::Known(one) => {
                            if let Ok(all) = &mut appended {
                                all.push(one)
                            }
                            continue;
                        }
                        Step::Published {
                            id,
                            appended,
                            confirmed,
                        } => (id, confirmed, appended),
                    };
                    match outcomes.get(&id) {
                        Some(Ok(())) => {
                            good.insert(id, confirmed);
                            if let Ok(all) = &mut appended {
                                all.push(one)
                            }
                        }
                        Some(Err(error)) => appended = Err(error.clone()),
                        None => appended = Err(too_late()),
                    }
                }
                replies.push((answer, appended));
            }
            lock(&booked).extend(good.into_values());
            for (answer, appended) in replies {
                let _gone = answer.send(appended);
            }
            if let Some(observer) = observer {
                commit.commit = started.elapsed().saturating_sub(commit.work);
                observer.committed(&commit);
            }
        })
    }

    /// Publishes one record, if it has to be.
    async fn step(
        &mut self,
        admission: Admission,
        admitted: Admitted,
        confirms: &mut Confirms,
        commit: &mut Commit,
    ) -> Step {
        let record = &admission.record;
        let (id, appended) = match admitted {
            Admitted::Duplicate { of, ack } => {
                commit.duplicates += 1;
                return Step::Known(Appended::Duplicate {
                    of: RecordId(of),
                    ack,
                });
            }
            Admitted::Refused { of } => {
                return Step::Known(Appended::Conflict {
                    of: RecordId(of),
                    stored: None,
                });
            }
            Admitted::New {
                id,
                conflict_of: None,
            } => (id, Appended::Stored(RecordId(id))),
            Admitted::New {
                id,
                conflict_of: Some(of),
            } => {
                let stored = Some(RecordId(id));
                (
                    id,
                    Appended::Conflict {
                        of: RecordId(of),
                        stored,
                    },
                )
            }
            Admitted::Again { id, ack } => {
                commit.duplicates += 1;
                (
                    id,
                    Appended::Duplicate {
                        of: RecordId(id),
                        ack,
                    },
                )
            }
        };
        if matches!(appended, Appended::Stored(_) | Appended::Conflict { .. }) {
            commit.records += 1;
            commit.bytes += record.payload.len() as u64;
        }
        if record.destinations.is_empty() {
            return Step::Known(appended);
        }
        let confirmed = Confirmed {
            id,
            destinations: record.destinations.clone(),
            size: i64::try_from(record.payload.len()).unwrap_or(i64::MAX),
        };
        // A copy in the same group shares the confirmation of the first.
        if let Entry::Vacant(vacant) = confirms.entry(id) {
            let message = Message::new(id, record, admission.replay_of);
            let sent = self.publish(&message, &record.destinations).await;
            if sent.is_err() {
                self.channel = None;
                self.declared.clear();
            }
            vacant.insert(sent);
        }
        Step::Published {
            id,
            appended,
            confirmed,
        }
    }

    async fn publish(
        &mut self,
        message: &Message,
        destinations: &[String],
    ) -> Result<Vec<PublisherConfirm>> {
        for destination in destinations {
            if !self.declared.contains(destination) {
                topology::declare(&self.link, &self.options, destination).await?;
                self.declared.insert(destination.clone());
            }
        }
        let channel = self.channel().await?;
        if message.barriers == 0 {
            return self.send(&channel, message, destinations).await;
        }
        // Barriers first, then what they stand for, and nobody else's in between: so records with several keys stand
        // in the same order on all lanes, and none ever waits for one that waits for it.
        let _alone = self.home.exclusive().await?;
        for barrier in message.barriers() {
            let sent = self.send(&channel, &barrier, destinations).await?;
            confirm(sent, self.options.patience).await?;
        }
        let sent = self.send(&channel, message, destinations).await?;
        confirm(sent, self.options.patience).await?;
        Ok(Vec::new())
    }

    async fn send(
        &self,
        channel: &Channel,
        message: &Message,
        destinations: &[String],
    ) -> Result<Vec<PublisherConfirm>> {
        let mut sent = Vec::with_capacity(destinations.len());
        let key = message.routing_key();
        for destination in destinations {
            let exchange = self.names.exchange(destination);
            let publishing = publish(
                channel,
                &exchange,
                key.as_str(),
                message.payload.as_deref().unwrap_or_default(),
                message.properties(),
            );
            sent.push(publishing.await?);
        }
        Ok(sent)
    }

    async fn channel(&mut self) -> Result<Channel> {
        if let Some(channel) = &self.channel
            && channel.status().connected()
        {
            return Ok(channel.clone());
        }
        let channel = confirming(&self.link).await?;
        self.channel = Some(channel.clone());
        Ok(channel)
    }
}

/// A channel on which publishes are confirmed.
pub(crate) async fn confirming(link: &Link) -> Result<Channel> {
    let channel = link.channel().await?;
    channel
        .confirm_select(ConfirmSelectOptions::default())
        .await
        .map_err(unavailable)?;
    Ok(channel)
}

/// Publishes a persistent message that must find a queue.
pub(crate) async fn publish(
    channel: &Channel,
    exchange: &str,
    key: &str,
    payload: &[u8],
    properties: BasicProperties,
) -> Result<PublisherConfirm> {
    let options = BasicPublishOptions {
        mandatory: true,
        ..BasicPublishOptions::default()
    };
    channel
        .basic_publish(exchange.into(), key.into(), options, payload, properties)
        .await
        .map_err(unavailable)
}

/// Waits until all of them are confirmed.
pub(crate) async fn confirm(sent: Vec<PublisherConfirm>, patience: Duration) -> Result<()> {
    let all = time::timeout(patience, join_all(sent))
        .await
        .map_err(|_late| too_late())?;
    for one in all {
        judge(one)?;
    }
    Ok(())
}

fn judge(confirmation: Result<Confirmation, lapin::Error>) -> Result<()> {
    let why = match confirmation.map_err(unavailable)? {
        Confirmation::Ack(None) => return Ok(()),
        Confirmation::Ack(Some(_)) | Confirmation::Nack(Some(_)) => {
            "no queue took what was published: is one of them deleted?"
        }
        Confirmation::Nack(None) => "the broker refused what was published",
        Confirmation::NotRequested => "the broker does not confirm",
    };
    Err(QueueError::Unavailable(
        "RabbitMQ",
        Arc::new(std::io::Error::other(why)),
    ))
}

/// What became of each record of a group.
async fn wait(confirms: Confirms, patience: Duration) -> HashMap<i64, Result<()>> {
    let end = time::Instant::now() + patience;
    let mut outcomes = HashMap::with_capacity(confirms.len());
    for (id, sent) in confirms {
        let outcome = match sent {
            Ok(sent) => confirm(sent, end.saturating_duration_since(time::Instant::now())).await,
            Err(error) => Err(error),
        };
        outcomes.insert(id, outcome);
    }
    outcomes
}

/// A dead letter for others to look at: the message as it was, with headers that say why.
pub(crate) struct DeadLetter<'a> {
    pub(crate) message: &'a Message,
    pub(crate) destination: &'a str,
    pub(crate) attempts: u32,
    pub(crate) reason: &'a str,
    pub(crate) detail: Option<&'a str>,
    /// It goes by itself after this time.
    pub(crate) keep: Option<Duration>,
}

// === impl DeadLetter ===

impl DeadLetter<'_> {
    pub(crate) fn properties(&self) -> BasicProperties {
        let properties = self.message.properties();
        let mut headers = properties.headers().clone().unwrap_or_default();
        let mut add = |name: &'static str, value: &str| {
            headers.insert(name.into(), AMQPValue::LongString(value.into()));
        };
        add("fhirway-destination", self.destination);
        add("fhirway-reason", self.reason);
        if let Some(detail) = self.detail {
            add("fhirway-detail", detail);
        }
        add("fhirway-attempts", &self.attempts.to_string());
        let properties = properties.with_headers(headers);
        match self.keep {
            Some(keep) => properties.with_expiration(keep.as_millis().to_string().as_str().into()),
            None => properties,
        }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
