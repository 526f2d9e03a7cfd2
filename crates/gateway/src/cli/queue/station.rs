//! Whom a command asks: the running gateway, or the queue itself when there is none.

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
    sync::Arc,
};

use queue::{EmbeddedQueue, Options, Queue};
use serde_json::Value;
use tokio::sync::OnceCell;

use super::Common;
use crate::{
    cli::Failure,
    config,
    control::{self, Command as Control},
    events::Events,
    metrics::Metrics,
    receive::{Receiver, Receivers},
    routes::Routes,
};

/// The place to ask.
pub(super) struct Station<'a> {
    common: &'a Common,
    data: PathBuf,
    folder: PathBuf,
    options: Options,
    /// The queue and who takes messages for it, once it turned out that no gateway runs.
    own: OnceCell<(Arc<dyn Queue>, Receivers)>,
}

impl<'a> Station<'a> {
    /// Finds the folders. Nothing is opened yet.
    pub(super) fn find(common: &'a Common) -> Result<Self, Failure> {
        let found = config::kept_queue(common.config.config.as_deref());
        let (data, folder, options) = match (&common.data, found) {
            (Some(data), found) => {
                let options = found.map(|(_, queue)| queue.options()).unwrap_or_default();
                (data.clone(), data.join("queue"), options)
            }
            (None, Ok((data, queue))) => (data, queue.path.clone(), queue.options()),
            (None, Err(error)) => {
                return Err(Failure::Usage(format!(
                    "cannot read the configuration: {error}"
                )));
            }
        };
        Ok(Self {
            common,
            data,
            folder,
            options,
            own: OnceCell::new(),
        })
    }

    /// The data folder.
    pub(super) fn data(&self) -> &Path {
        &self.data
    }

    /// Asks the running gateway, or opens the queue when there is none.
    pub(super) async fn ask(&self, request: Control) -> Result<Value, Failure> {
        if self.own.get().is_none() {
            match control::ask(&control::socket_path(&self.data), &request).await {
                Err(control::ControlError::Unreachable(..)) => {}
                answer => return answer.map_err(|error| Failure::run(&error)),
            }
        }
        let (queue, receivers) = self.own.get_or_try_init(|| self.open()).await?;
        let by = control::whoami();
        control::execute(queue.as_ref(), receivers, &by, request)
            .await
            .map_err(|error| Failure::run(&error))
    }

    async fn open(&self) -> Result<(Arc<dyn Queue>, Receivers), Failure> {
        if !self.folder.is_dir() {
            return Err(Failure::Usage(format!(
                "there is no queue in {}",
                self.folder.display()
            )));
        }
        let queue: Arc<dyn Queue> = Arc::new(
            EmbeddedQueue::open(&self.folder, self.options.clone())
                .map_err(|error| Failure::run(&error))?,
        );
        let receivers = self.receivers(&queue);
        Ok((queue, receivers))
    }

    /// Who takes messages as the configuration says; nobody where it cannot be used.
    fn receivers(&self, queue: &Arc<dyn Queue>) -> Receivers {
        let loaded = config::load(self.common.config.config.as_deref());
        let Some(config) = loaded.ok().and_then(|loaded| loaded.config) else {
            return Receivers::default();
        };
        let (Ok(routes), Ok(metrics)) = (
            Routes::compile(&config.routes),
            Metrics::new(&config.admin.message_types),
        ) else {
            return Receivers::default();
        };
        let events = Events::new(Arc::new(metrics));
        let receivers: BTreeMap<_, _> = config
            .listeners
            .iter()
            .map(|listener| {
                let told = Arc::new(events.listener(&listener.name));
                let receiver = Receiver::new(listener, routes.clone(), Arc::clone(queue), told);
                (listener.name.clone(), Arc::new(receiver))
            })
            .collect();
        Receivers::new(receivers)
    }
}
