//! Tends one queue of a destination while this node has claimed it: consumes it, and keeps its window moving.

use std::{
    sync::{Arc, atomic::Ordering},
    time::{Duration, Instant},
};

use futures_util::StreamExt;
use lapin::{
    Channel, Consumer,
    message::Delivery,
    options::{BasicConsumeOptions, BasicQosOptions},
    types::FieldTable,
};
use tokio::{sync::watch, time};

use super::{
    Shared,
    feed::{Feed, acknowledge},
    link::unavailable,
    message::Message,
    publish::{DeadLetter, confirm, confirming, publish},
};
use crate::{
    error::Result,
    home::{Change, Settled},
    record::State,
};

/// How often the window is looked after.
const TICK: Duration = Duration::from_millis(250);
/// First and longest wait before the queue is consumed again after its channel was lost.
const AGAIN: (Duration, Duration) = (Duration::from_millis(200), Duration::from_secs(5));
/// A message that has waited so long goes back to its place in the queue and comes again: a broker closes channels
/// that keep one for 30 minutes.
const REFRESH: Duration = Duration::from_secs(15 * 60);
/// How long what is leased may take when the queue is let go of.
const DRAIN: Duration = Duration::from_secs(30);

/// Tends a queue until told to stop.
pub(crate) struct Tender {
    pub(crate) shared: Arc<Shared>,
    pub(crate) feed: Arc<Feed>,
    pub(crate) part: u16,
}

// === impl Tender ===

impl Tender {
    fn number(&self) -> usize {
        usize::from(self.part)
    }

    /// Runs until `stop` says true; then nothing of the queue is in this node's hands any more.
    pub(crate) async fn run(self, mut stop: watch::Receiver<bool>) {
        let mut wait = AGAIN.0;
        while !*stop.borrow() {
            match self.session(&mut stop).await {
                Ok(()) => wait = AGAIN.0,
                Err(error) => {
                    tracing::warn!(
                        destination = self.feed.destination, part = self.part, %error,
                        "queue is not consumed at present"
                    );
                    tokio::select! {
                        () = time::sleep(wait) => {}
                        _ = stop.wait_for(|stop| *stop) => {}
                    }
                    wait = (wait * 2).min(AGAIN.1);
                }
            }
        }
        self.feed.deactivate(self.number());
    }

    /// Consumes over one channel; `Ok` when told to stop, or to begin again at once.
    async fn session(&self, stop: &mut watch::Receiver<bool>) -> Result<()> {
        let held = self
            .feed
            .home
            .held(&self.feed.destination, i64::from(self.part))
            .await?;
        let (channel, mut consumer) = self.consume().await?;
        self.feed.activate(self.number(), held);
        let mut ticks = time::interval(TICK);
        ticks.set_missed_tick_behavior(time::MissedTickBehavior::Delay);
        let ended = loop {
            tokio::select! {
                () = told(stop) => {
                    self.drain().await;
                    break Ok(());
                }
                delivery = consumer.next() => match delivery {
                    Some(Ok(delivery)) => self.take(delivery).await,
                    Some(Err(error)) => break Err(unavailable(error)),
                    None => break Err(unavailable(gone().into())),
                },
                _ = ticks.tick() => {
                    if let Err(error) = self.look_after().await {
                        tracing::warn!(%error, "the window is looked after later");
                    }
                    if self.is_stale() {
                        break Ok(());
                    }
                }
            }
        };
        self.feed.with(self.number(), |part| part.window.lose());
        // All that is unacknowledged goes back to its place.
        let closing = channel.close(200, "done".into());
        let _gone_anyway = time::timeout(self.shared.options.patience, closing).await;
        ended
    }

    async fn consume(&self) -> Result<(Channel, Consumer)> {
        let channel = self.shared.consumers.channel().await?;
        channel
            .basic_qos(self.shared.options.window, BasicQosOptions::default())
            .await
            .map_err(unavailable)?;
        let queue = self.shared.names.queue(&self.feed.destination, self.part);
        let tag = format!("{queue}@{}", self.shared.node);
        let consumer = channel
            .basic_consume(
                queue.as_str().into(),
                tag.as_str().into(),
                BasicConsumeOptions::default(),
                FieldTable::default(),
            )
            .await
            .map_err(unavailable)?;
        Ok((channel, consumer))
    }

    async fn take(&self, delivery: Delivery) {
        let Delivery {
            data,
            acker,
            properties,
            ..
        } = delivery;
        match Message::read(data.clone(), &properties) {
            Some(message) => {
                self.feed.with(self.number(), |part| {
                    part.window.push(message, Some(acker));
                });
                self.feed.wake();
            }
            None => {
                // Somebody else's message must not stop the queue, and must not get lost either.
                let stray = Message {
                    payload: Some(data.into()),
                    ..Message::default()
                };
                match self.bury(&stray, 0, "foreign", None).await {
                    Ok(()) => acknowledge(&acker).await,
                    Err(error) => {
                        tracing::warn!(%error, "a foreign message cannot be dead-lettered")
                    }
                }
            }
        }
    }

    async fn bury(
        &self,
        message: &Message,
        attempts: u32,
        reason: &str,
        detail: Option<&str>,
    ) -> Result<()> {
        let letter = DeadLetter {
            message,
            destination: &self.feed.destination,
            attempts,
            reason,
            detail,
            keep: self.shared.options.dead_for,
        };
        self.shared.bury(&letter).await
    }

    /// Nothing new is leased; waits for what is.
    async fn drain(&self) {
        self.feed.with(self.number(), |part| part.draining = true);
        let end = Instant::now() + DRAIN;
        while self.feed.in_hands(self.number()) > 0
            && Instant::now() < end
            && !self.shared.gone.load(Ordering::Relaxed)
        {
            time::sleep(Duration::from_millis(20)).await;
        }
    }

    /// Whether messages have waited so long that the broker would lose its patience.
    fn is_stale(&self) -> bool {
        self.feed.with(self.number(), |part| {
            part.window
                .oldest()
                .is_some_and(|oldest| oldest.elapsed() > REFRESH)
        })
    }

    async fn look_after(&self) -> Result<()> {
        self.relieve().await?;
        self.meet().await?;
        let lanes: Vec<i64> = self.feed.with(self.number(), |part| {
            part.window.held.iter().copied().collect()
        });
        if !lanes.is_empty() {
            let part = i64::from(self.part);
            self.feed
                .home
                .tend_barriers(&self.feed.destination, part)
                .await?;
            self.feed.clear_lanes(self.number(), &lanes).await;
            self.feed.wake();
        }
        Ok(())
    }

    /// A window that is full of messages behind something held would keep all others out: they come home, in
    /// order, behind what they wait for.
    async fn relieve(&self) -> Result<()> {
        let full = usize::from(self.shared.options.window) * 3 / 4;
        let number = self.number();
        let (mut places, mut epoch) = (Vec::new(), 0);
        let (records, barriers): (Vec<Change>, Vec<Change>) = self
            .feed
            .with(number, |part| {
                let blocked = part.window.blocked();
                if part.window.len() < full || blocked.len() < full / 2 {
                    return Vec::new();
                }
                epoch = part.window.epoch;
                let mut changes = Vec::new();
                for place in blocked {
                    part.window.take(place, true);
                    part.last_seq += 1;
                    let seq = part.last_seq;
                    if let Some(entry) = part.window.get(place) {
                        places.push(place);
                        changes.push(Change {
                            message: Arc::clone(&entry.message),
                            destination: self.feed.destination.clone(),
                            part: i64::from(self.part),
                            seq,
                            lanes: entry.lanes.clone(),
                            state: State::Waiting,
                            attempts: 0,
                            not_before: 0,
                            reason: None,
                            detail: None,
                            stale: false,
                        });
                    }
                }
                changes
            })
            .into_iter()
            .partition(|change| change.message.barrier.is_none());
        if places.is_empty() {
            return Ok(());
        }
        tracing::info!(
            destination = self.feed.destination,
            part = self.part,
            records = places.len(),
            "the window is full of records behind held ones: they are moved aside"
        );
        let moved = async {
            self.feed.home.hold_barriers(&barriers).await?;
            let settled: Vec<Settled> = self.feed.home.settle(&records).await?;
            Result::Ok(settled)
        }
        .await;
        let ackers = self.feed.with(number, |part| {
            if part.window.epoch != epoch {
                for change in records.iter().chain(&barriers) {
                    part.window.unbusy(&change.lanes);
                }
                return Vec::new();
            }
            let mut ackers = Vec::new();
            for place in places {
                if moved.is_ok() {
                    ackers.extend(part.window.remove(place).and_then(|entry| entry.acker));
                } else {
                    part.window.take(place, false);
                }
            }
            ackers
        });
        for acker in ackers {
            acknowledge(&acker).await;
        }
        moved.map(drop)
    }

    /// Records with several keys: a barrier that is first on its lane says so, a record goes when all of its
    /// barriers are first, and a barrier ends with its record.
    async fn meet(&self) -> Result<()> {
        let number = self.number();
        let found: Vec<(u64, Arc<Message>, Duration)> = self.feed.with(number, |part| {
            let places = part.window.meeting();
            places
                .into_iter()
                .filter_map(|place| {
                    let entry = part.window.get(place)?;
                    Some((place, Arc::clone(&entry.message), entry.since.elapsed()))
                })
                .collect()
        });
        if found.is_empty() {
            return Ok(());
        }
        let home = &self.feed.home;
        let destination = &self.feed.destination;
        let records: Vec<i64> = found.iter().map(|(_, message, _)| message.record).collect();
        let standing = home.standing(destination, &records).await?;
        let unpublished = home.unpublished(&records).await?;
        let (mut done, mut reached, mut waiting) = (Vec::new(), Vec::new(), Vec::new());
        for (place, message, age) in &found {
            let state = standing.get(&message.record);
            match message.barrier {
                Some(_) if state.is_some_and(|state| state.is_final()) => done.push(*place),
                // Its record was never published: whoever sent it got an error, and sends it again with new barriers.
                Some(_)
                    if unpublished.contains(&message.record)
                        && *age > self.shared.options.patience * 2 =>
                {
                    done.push(*place);
                }
                Some(lane) => reached.push((message.record, lane)),
                None if state.is_some() => done.push(*place),
                None => waiting.push((*place, message.record, message.barriers)),
            }
        }
        if !reached.is_empty() {
            home.reach(destination, &reached).await?;
        }
        let asked: Vec<i64> = waiting.iter().map(|(_, record, _)| *record).collect();
        let met = home.reached(destination, &asked).await?;
        let ackers = self.feed.with(number, |part| {
            for (place, record, barriers) in waiting {
                if met.get(&record).copied().unwrap_or(0) >= barriers {
                    part.window.make_ready(place);
                }
            }
            let removed = done
                .into_iter()
                .filter_map(|place| part.window.remove(place));
            removed.filter_map(|entry| entry.acker).collect::<Vec<_>>()
        });
        for acker in ackers {
            acknowledge(&acker).await;
        }
        self.feed.wake();
        Ok(())
    }
}

impl Shared {
    /// Publishes a dead letter and waits until the broker has it.
    pub(crate) async fn bury(&self, letter: &DeadLetter<'_>) -> Result<()> {
        let mut kept = self.burials.lock().await;
        let channel = match kept.take() {
            Some(channel) if channel.status().connected() => channel,
            _ => confirming(&self.consumers).await?,
        };
        let payload = letter.message.payload.as_deref().unwrap_or_default();
        let sent = publish(
            &channel,
            &self.names.dead(),
            "",
            payload,
            letter.properties(),
        )
        .await?;
        // One at a time: a return could be taken for another's. A channel on which one has failed is not used again.
        confirm(vec![sent], self.options.patience).await?;
        *kept = Some(channel);
        Ok(())
    }
}

async fn told(stop: &mut watch::Receiver<bool>) {
    // Whoever could tell is gone: that is a way of telling, too.
    let _either_way = stop.wait_for(|stop| *stop).await;
}

fn gone() -> std::io::Error {
    std::io::Error::other("the broker cancelled the consumer: is the queue deleted?")
}
