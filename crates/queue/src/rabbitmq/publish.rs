//! The way in: admitted at the home, published with confirms, and only then answered.
//!
//! One task takes all requests that came while it was busy, admits them in one transaction and publishes them in
//! order, without waiting; another waits for their confirmations while the next group is admitted. A record is
//! published to the exchange of each of its destinations, and all must confirm it. Anything else than a
//! confirmation (a nack, a return, a lost connection, no answer in time) is an error for whoever appended: the
//! record keeps its number, so that it takes effect once when it is sent again.
//!
//! # Whose return it is
//!
//! The client library hands a returned message to whichever confirmation of the channel it completes next, so the one
//! that carries a return may be another's, and a message that no queue took may look confirmed. Therefore a group is
//! judged as a whole: the next one is published only when every confirmation of this one is there, and nothing of
//! a group with a return (or with a confirmation that is missing) is answered as stored. The channel is then closed
//! and the topology declared anew, which mends deleted queues and bindings. What of the group had reached its queue
//! is recognised by its number when it is sent again.

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
    sync::{mpsc, oneshot},
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
    pub(crate) link: Arc<Link>,
    pub(crate) names: Names,
    pub(crate) options: RabbitOptions,
    pub(crate) declared: HashSet<String>,
    pub(crate) channel: Option<Channel>,
    /// Says of the group before whether its channel can still be used.
    pub(crate) judged: Option<oneshot::Receiver<bool>>,
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
            if let Some(rest) = self.group(std::mem::take(&mut group)).await {
                let (tell, judged) = oneshot::channel();
                self.judged = Some(judged);
                tokio::spawn(async move {
                    let _closing = tell.send(rest.await);
                });
            }
        }
        // What was published is waited for and booked before the home is let go of.
        self.judgement().await;
        self.book().await;
        self.link.close().await;
    }

    /// Waits until the group before is judged; the channel is used again only if it has kept all its promises.
    async fn judgement(&mut self) {
        if let Some(judged) = self.judged.take()
            && !judged.await.unwrap_or(false)
        {
            self.start_over();
        }
    }

    /// Closes the channel, with all that may still come over it, and has the topology declared anew.
    fn start_over(&mut self) {
        self.declared.clear();
        if let Some(channel) = self.channel.take() {
            tokio::spawn(async move {
                // One that is lost already is as good.
                let _closed = channel.close(200, "starting over".into()).await;
            });
        }
    }

    async fn book(&self) {
        let confirmed = std::mem::take(&mut *lock(&self.confirmed));
        if let Err(error) = self.home.confirm(&confirmed).await {
            tracing::warn!(%error, "confirmed records are booked later");
            lock(&self.confirmed).extend(confirmed);
            time::sleep(BOOK_AFTER).await;
        }
    }

    /// Admits and publishes one group; what is left is to wait for the confirmations. That says whether the channel
    /// can still be used.
    async fn group(&mut self, group: Vec<Append>) -> Option<impl Future<Output = bool> + use<>> {
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
        self.judgement().await;
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
        let (patience, booked) = (self.options.patience, Arc::clone(&self.confirmed));
        let observer = self.options.observer.clone();
        Some(async move {
            let (outcomes, sound) = wait(confirms, patience).await;
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
            sound
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
                self.start_over();
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

/// Waits until all of them are confirmed. Nobody else's publish may be unconfirmed on their channel.
pub(crate) async fn confirm(sent: Vec<PublisherConfirm>, patience: Duration) -> Result<()> {
    let all = time::timeout(patience, join_all(sent))
        .await
        .map_err(|_late| too_late())?;
    for one in all {
        judge(one).map_err(|refused| refused.error)?;
    }
    Ok(())
}

/// Why something is not confirmed.
struct Refused {
    /// Some message was returned, and it is not known which.
    returned: bool,
    error: QueueError,
}

fn judge(confirmation: Result<Confirmation, lapin::Error>) -> Result<(), Refused> {
    let (returned, why) = match confirmation {
        Ok(Confirmation::Ack(None)) => return Ok(()),
        Ok(Confirmation::Ack(Some(_)) | Confirmation::Nack(Some(_))) => (
            true,
            "no queue took what was published: is one of them deleted?",
        ),
        Ok(Confirmation::Nack(None)) => (false, "the broker refused what was published"),
        Ok(Confirmation::NotRequested) => (false, "the broker does not confirm"),
        Err(error) => {
            return Err(Refused {
                returned: false,
                error: unavailable(error),
            });
        }
    };
    let error = QueueError::Unavailable("RabbitMQ", Arc::new(std::io::Error::other(why)));
    Err(Refused { returned, error })
}

/// What became of each record of a group, and whether their channel can still be used: nothing was returned and
/// nothing is outstanding. If not, no record of the group is taken as stored (see the module documentation).
async fn wait(confirms: Confirms, patience: Duration) -> (HashMap<i64, Result<()>>, bool) {
    let mut tainted: Option<QueueError> = None;
    let ids: Vec<i64> = confirms.keys().copied().collect();
    let (mut of, mut all) = (Vec::new(), Vec::new());
    for (id, sent) in confirms {
        match sent {
            // None for a record with barriers: that is confirmed already.
            Ok(sent) => {
                of.extend(std::iter::repeat_n(id, sent.len()));
                all.extend(sent);
            }
            // What of it has been published may be returned, or the channel was lost in between.
            Err(error) => tainted = Some(error),
        }
    }
    let mut outcomes: HashMap<i64, Result<()>> = ids.iter().map(|id| (*id, Ok(()))).collect();
    match time::timeout(patience, join_all(all)).await {
        Err(_late) => tainted = Some(too_late()),
        Ok(confirmed) => {
            for (id, confirmation) in of.into_iter().zip(confirmed) {
                if let Err(refused) = judge(confirmation) {
                    if refused.returned {
                        tainted = Some(refused.error.clone());
                    }
                    outcomes.insert(id, Err(refused.error));
                }
            }
        }
    }
    match tainted {
        None => (outcomes, true),
        Some(error) => {
            let none = ids.into_iter().map(|id| (id, Err(error.clone())));
            (none.collect(), false)
        }
    }
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
