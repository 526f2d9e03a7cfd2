//! Looking into the queue and putting things right, also while the gateway runs.
//!
//! One process owns the queue. So `fhirway queue ...` asks the running gateway over a socket file in the
//! data folder, which only the owner of the folder can open; without a running gateway the command opens
//! the queue itself. Both ways end in [`execute`].

use std::{
    io,
    path::{Path, PathBuf},
    sync::Arc,
};

use axum::{
    Json, Router,
    extract::{DefaultBodyLimit, State},
    http::StatusCode,
    routing::post,
};
use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper_util::rt::TokioIo;
use queue::{Filter, HoldId, NewHold, Queue, QueueError, RecordId, Release, Replay};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use tokio::net::{UnixListener, UnixStream};

mod execute;

pub use execute::{execute, whoami};

use crate::{
    misses::Misses,
    receive::Receivers,
    reload::{Reloader, Trigger},
};

/// What can be asked.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(tag = "op", rename_all = "snake_case")]
pub enum Command {
    /// Where everything stands.
    Status,
    /// Deliveries that match.
    List {
        /// Which.
        filter: Filter,
    },
    /// Everything about one record; with `payload`, its bytes too (they are patient data).
    Show {
        /// Which.
        record: RecordId,
        /// Whether to add the message.
        payload: bool,
    },
    /// Deliver again.
    Replay {
        /// What and where.
        replay: Replay,
    },
    /// Let parked or retrying deliveries go on, or give them up.
    Release {
        /// Which.
        filter: Filter,
        /// Go on or give up.
        release: Release,
    },
    /// Deliver nothing to a destination until it is resumed.
    Pause {
        /// Which.
        destination: String,
        /// Why, for whoever looks next.
        reason: String,
    },
    /// Deliver again.
    Resume {
        /// Which.
        destination: String,
    },
    /// Read the mapping packages again; only a running gateway can.
    Reload,
    /// Have matching deliveries wait from now on.
    Hold {
        /// Which.
        hold: NewHold,
    },
    /// Take a hold away.
    Unhold {
        /// Which.
        hold: HoldId,
    },
    /// Let the first open deliveries go, though they are held or their destination is paused.
    Pass {
        /// Which.
        filter: Filter,
        /// How many.
        count: usize,
    },
    /// Store what a person made of a record, to be delivered.
    Edit {
        /// Which.
        record: RecordId,
        /// The corrected message, base64.
        payload: String,
        /// Where to, instead of the destinations of its route.
        to: Vec<String>,
    },
    /// Take messages as if they had just come in.
    Import {
        /// Where they come in; without it, the only listener there is.
        listener: Option<String>,
        /// The messages.
        messages: Vec<Brought>,
    },
    /// Whole records (they are patient data), one for each record that has a delivery that matches.
    Export {
        /// Which.
        filter: Filter,
    },
    /// What people did.
    Audit {
        /// Only entries with a greater number.
        after: i64,
        /// At most so many.
        limit: usize,
    },
    /// Copy the queue into a file.
    Backup {
        /// Its path, absolute.
        path: PathBuf,
    },
    /// Encrypt with the first key everything that is not.
    Reencrypt,
    /// Recount everything.
    Check {
        /// Also verify every checksum.
        payloads: bool,
    },
    /// Codes that no table lists, as counted by the running gateway.
    Misses {
        /// Start counting anew.
        clear: bool,
    },
}

/// One message that a person brings.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Brought {
    /// Its bytes, base64.
    pub payload: String,
    /// When it arrived first, milliseconds since 1970 UTC; without it, now.
    pub received_at_ms: Option<i64>,
}

/// A command, and who gives it.
#[derive(Clone, Debug, Serialize, Deserialize)]
struct Asked {
    #[serde(default)]
    by: String,
    #[serde(flatten)]
    command: Command,
}

/// Why a command could not be carried out.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ControlError {
    /// The queue says no.
    #[error(transparent)]
    Queue(#[from] QueueError),
    /// The running gateway could not be asked.
    #[error("the running gateway does not answer on {}", .0.display())]
    Unreachable(PathBuf, #[source] io::Error),
    /// The running gateway answered with an error.
    #[error("{0}")]
    Refused(String),
    /// The socket could not be made.
    #[error("cannot make the control socket {}", .0.display())]
    Socket(PathBuf, #[source] io::Error),
    /// An answer that cannot be written or read as JSON.
    #[error("the answer is not readable")]
    Json(#[from] serde_json::Error),
}

/// Where the control socket of a data folder is.
pub fn socket_path(data_dir: &Path) -> PathBuf {
    data_dir.join("control.sock")
}

/// Opens the control socket. A socket left by a killed process is replaced: the caller owns the queue's
/// lock, so nobody else can be using it.
///
/// # Errors
/// [`ControlError::Socket`].
pub fn listen(path: &Path) -> Result<UnixListener, ControlError> {
    let failed = |error| ControlError::Socket(path.to_owned(), error);
    match std::fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(failed(error)),
        _ => {}
    }
    let listener = UnixListener::bind(path).map_err(failed)?;
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt;
        std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o600)).map_err(failed)?;
    }
    Ok(listener)
}

/// What the control socket can reach.
#[derive(Clone)]
pub struct Reach {
    /// The queue.
    pub queue: Arc<dyn Queue>,
    /// The mapping packages.
    pub packages: Arc<Reloader>,
    /// Codes that no table lists.
    pub misses: Arc<Misses>,
    /// Where messages come in.
    pub receivers: Receivers,
}

/// The service behind the control socket.
pub fn router(reach: Reach) -> Router {
    Router::new()
        .route("/", post(answer))
        // Whoever may open the socket may bring as much as the listeners would take.
        .layer(DefaultBodyLimit::disable())
        .with_state(reach)
}

async fn answer(
    State(reach): State<Reach>,
    Json(asked): Json<Asked>,
) -> Result<Json<Value>, (StatusCode, String)> {
    let Asked { by, command } = asked;
    let answer = match command {
        Command::Reload => match reach.packages.reload(Trigger::Command).await {
            Ok(in_force) => serde_json::to_value(in_force).map_err(ControlError::from),
            Err(error) => Err(ControlError::Refused(format!(
                "the old maps stay in force: {}",
                crate::cli::chain(&error)
            ))),
        },
        Command::Misses { clear } => {
            let list = reach.misses.list();
            if clear {
                reach.misses.clear();
            }
            serde_json::to_value(list).map_err(ControlError::from)
        }
        command => execute(reach.queue.as_ref(), &reach.receivers, &by, command).await,
    };
    answer
        .map(Json)
        .map_err(|error| (StatusCode::UNPROCESSABLE_ENTITY, error.to_string()))
}

/// Asks the gateway that runs on `socket`.
///
/// # Errors
/// [`ControlError::Unreachable`] when nobody answers, [`ControlError::Refused`] with its reason.
pub async fn ask(socket: &Path, command: &Command) -> Result<Value, ControlError> {
    let unreachable = |error: Box<dyn std::error::Error + Send + Sync>| {
        ControlError::Unreachable(socket.to_owned(), io::Error::other(error))
    };
    let stream = UnixStream::connect(socket)
        .await
        .map_err(|error| ControlError::Unreachable(socket.to_owned(), error))?;
    let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream))
        .await
        .map_err(|error| unreachable(error.into()))?;
    tokio::spawn(connection);
    let asked = Asked {
        by: whoami(),
        command: command.clone(),
    };
    let request = http::Request::post("/")
        .header(http::header::HOST, "fhirway")
        .header(http::header::CONTENT_TYPE, "application/json")
        .body(Full::new(Bytes::from(serde_json::to_vec(&asked)?)))
        .map_err(|error| unreachable(error.into()))?;
    let response = sender
        .send_request(request)
        .await
        .map_err(|error| unreachable(error.into()))?;
    let status = response.status();
    let body = response
        .into_body()
        .collect()
        .await
        .map_err(|error| unreachable(error.into()))?
        .to_bytes();
    if !status.is_success() {
        return Err(ControlError::Refused(
            String::from_utf8_lossy(&body).into_owned(),
        ));
    }
    Ok(serde_json::from_slice(&body)?)
}

#[cfg(test)]
mod tests {
    use queue::{EmbeddedQueue, NewRecord, Options};

    use super::*;
    use crate::{deliver::MappingStep, events::Events, metrics::Metrics, packages::Packages};

    /// The packages of the embedded configuration.
    fn packages() -> Arc<Reloader> {
        let text = crate::config::EMBEDDED.to_owned();
        let loaded = crate::config::load_text("test".into(), text, std::iter::empty());
        let config = loaded.config.unwrap();
        let events = Events::new(Arc::new(Metrics::new(&[]).unwrap()));
        let packages = Packages::load(&config).unwrap();
        let mapping = Arc::new(
            MappingStep::new(
                &config,
                &packages,
                &events,
                Arc::default(),
                crate::newest::Newest::open(tempfile::tempdir().unwrap().path()).unwrap(),
            )
            .unwrap(),
        );
        Arc::new(Reloader::new(config, mapping, events.packages()))
    }

    #[tokio::test]
    async fn the_socket_answers_like_the_queue_itself_and_only_its_owner_may_ask() {
        use std::os::unix::fs::PermissionsExt;

        let folder = tempfile::tempdir().unwrap();
        let socket = socket_path(folder.path());
        // What a killed process left behind is in nobody's way.
        std::fs::write(&socket, "").unwrap();
        let queue: Arc<dyn Queue> =
            Arc::new(EmbeddedQueue::open(folder.path().join("queue"), Options::default()).unwrap());
        let listener = listen(&socket).unwrap();
        assert_eq!(
            std::fs::metadata(&socket).unwrap().permissions().mode() & 0o777,
            0o600
        );
        let reach = Reach {
            queue: Arc::clone(&queue),
            packages: packages(),
            misses: Arc::default(),
            receivers: Receivers::default(),
        };
        tokio::spawn(axum::serve(listener, router(reach)).into_future());

        let record = NewRecord {
            payload: Bytes::from_static(b"MSH"),
            destinations: vec!["fhir".into()],
            ..NewRecord::default()
        };
        queue.append(vec![record]).await.unwrap();
        for command in [
            Command::Status,
            Command::List {
                filter: Filter::default(),
            },
            Command::Show {
                record: RecordId(1),
                payload: true,
            },
        ] {
            let direct = execute(queue.as_ref(), &Receivers::default(), "", command.clone())
                .await
                .unwrap();
            let mut asked = ask(&socket, &command).await.unwrap();
            // The age has grown between the two.
            if let (Some(of_total), Some(direct)) = (
                asked.pointer_mut("/total/oldest_age_ms"),
                direct.pointer("/total/oldest_age_ms"),
            ) {
                *of_total = direct.clone();
                *asked
                    .pointer_mut("/destinations/fhir/oldest_age_ms")
                    .unwrap() = direct.clone();
            }
            assert_eq!(asked, direct);
        }
        let in_force = ask(&socket, &Command::Reload).await.unwrap();
        assert_eq!(in_force[0]["packages"][0], "shipped");
        assert_eq!(in_force[0]["changed"], false);
        let nobody = execute(queue.as_ref(), &Receivers::default(), "", Command::Reload).await;
        assert!(matches!(nobody, Err(ControlError::Refused(why)) if why.contains("no gateway")));
        let refused = ask(
            &socket,
            &Command::Show {
                record: RecordId(9),
                payload: false,
            },
        )
        .await;
        assert!(matches!(refused, Err(ControlError::Refused(why)) if why == "no such record"));
    }

    #[tokio::test]
    async fn without_a_gateway_nobody_answers() {
        let folder = tempfile::tempdir().unwrap();
        let answer = ask(&socket_path(folder.path()), &Command::Status).await;
        assert!(matches!(answer, Err(ControlError::Unreachable(..))));
    }
}
