//! Settles in groups: all outcomes that came while the home was writing are written in one transaction.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::{
    sync::{mpsc, oneshot},
    task::JoinHandle,
};

use crate::{
    error::{QueueError, Result},
    home::{Change, Home, Settled},
};

/// Outcomes in one transaction.
const GROUP: usize = 256;

/// One outcome to write.
pub(crate) struct Settle {
    change: Change,
    answer: oneshot::Sender<Result<Settled>>,
}

/// Where outcomes are handed in.
pub(crate) struct Settler {
    sender: Mutex<Option<mpsc::Sender<Settle>>>,
    task: Mutex<Option<JoinHandle<()>>>,
}

// === impl Settler ===

impl Settler {
    /// Starts the task that writes.
    pub(crate) fn start(home: Arc<Home>) -> Self {
        let (sender, receiver) = mpsc::channel(GROUP * 2);
        let task = tokio::spawn(work(home, receiver));
        Self {
            sender: Mutex::new(Some(sender)),
            task: Mutex::new(Some(task)),
        }
    }

    /// Returns when it is written.
    pub(crate) async fn settle(&self, change: Change) -> Result<Settled> {
        let (answer, answered) = oneshot::channel();
        let sender = lock(&self.sender).clone();
        sender
            .ok_or(QueueError::Closed)?
            .send(Settle { change, answer })
            .await
            .map_err(|_ended| QueueError::Closed)?;
        answered.await.unwrap_or(Err(QueueError::Closed))
    }

    /// Writes what was handed in, and takes nothing more.
    pub(crate) async fn close(&self) {
        lock(&self.sender).take();
        let task = lock(&self.task).take();
        if let Some(task) = task
            && task.await.is_err()
        {
            tracing::error!("the task that settles ended by a panic");
        }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

async fn work(home: Arc<Home>, mut receiver: mpsc::Receiver<Settle>) {
    let mut group = Vec::with_capacity(GROUP);
    while receiver.recv_many(&mut group, GROUP).await > 0 {
        let (changes, answers): (Vec<Change>, Vec<_>) = group
            .drain(..)
            .map(|settle| (settle.change, settle.answer))
            .unzip();
        match home.settle(&changes).await {
            Ok(settled) => {
                for (answer, settled) in answers.into_iter().zip(settled) {
                    let _gone = answer.send(Ok(settled));
                }
            }
            Err(error) => {
                for answer in answers {
                    let _gone = answer.send(Err(error.clone()));
                }
            }
        }
    }
}
