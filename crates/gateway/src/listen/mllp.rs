//! MLLP: a frame in, an ACK frame out.

use std::{convert::Infallible, io, path::PathBuf, sync::Arc, time::Duration};

use futures_util::future::BoxFuture;
use mllp::{
    ClientAuth, ClientCertFacts, Drained, Frame, Limits, Refusal, Reply, Server, ServerTls,
    ServerTlsFiles, TlsError, Tolerance, Tolerances,
};

use crate::{
    config::listener::{AckProfile, ClientCertificate, Mllp},
    events::ListenerEvents,
    receive::{Answer, Fault, Received, Receiver},
};

/// Why an MLLP listener cannot start.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum MllpError {
    /// The address is taken or not ours.
    #[error("listener `{name}` cannot bind {address}")]
    Bind {
        /// Name of the listener.
        name: String,
        /// Where it should listen.
        address: std::net::SocketAddr,
        /// What the system says.
        #[source]
        source: io::Error,
    },
    /// Certificate or key cannot be used.
    #[error("listener `{0}` cannot use its tls files")]
    Tls(String, #[source] TlsError),
}

/// A bound listener; nothing is accepted yet.
pub struct MllpListener {
    server: Server,
    service: Service,
    /// Reads changed TLS files; never ends.
    fresh: Option<BoxFuture<'static, ()>>,
}

/// Turns frames into answers.
#[derive(Clone)]
struct Service {
    receiver: Arc<Receiver>,
    close_on_failure: bool,
    commit_bytes: bool,
}

impl MllpListener {
    /// Binds the listener `name`.
    ///
    /// # Errors
    /// [`MllpError`].
    pub async fn bind(
        name: &str,
        config: &Mllp,
        profile: AckProfile,
        drain_time: Duration,
        receiver: Arc<Receiver>,
        events: Arc<ListenerEvents>,
    ) -> Result<Self, MllpError> {
        let mut builder = Server::builder()
            .limits(limits(config))
            .tolerances(tolerances(config))
            .release_2(config.commit_bytes)
            .drain_time(drain_time)
            .observer(Arc::clone(&events) as Arc<dyn mllp::Observer>);
        if !config.allow.is_empty() {
            let allow = config.allow.clone();
            builder = builder.allow(move |peer| allow.iter().any(|net| net.contains(&peer)));
        }
        let mut fresh = None;
        if let Some(tls) = &config.tls {
            let loaded = ServerTls::load(ServerTlsFiles {
                certificate: tls.certificate.clone(),
                key: tls.key.clone(),
                client_auth: match tls.client_certificate {
                    ClientCertificate::None => ClientAuth::None,
                    ClientCertificate::Want => ClientAuth::Want,
                    ClientCertificate::Need => ClientAuth::Need,
                },
                client_ca: tls.client_ca.clone(),
                client_crls: tls.client_crls.clone(),
            });
            let loaded = loaded.map_err(|error| MllpError::Tls(name.to_owned(), error))?;
            if let Some(end) = loaded.not_after() {
                events.certificate_ends(end);
            }
            if let Some(every) = tls.reload {
                let files = [&tls.certificate, &tls.key]
                    .into_iter()
                    .chain(&tls.client_ca)
                    .chain(&tls.client_crls)
                    .cloned()
                    .collect();
                fresh = Some((Arc::clone(&loaded), files, every));
            }
            builder = builder.tls(loaded);
        }
        let server = builder
            .bind(config.bind)
            .await
            .map_err(|source| MllpError::Bind {
                name: name.to_owned(),
                address: config.bind,
                source,
            })?;
        let service = Service {
            receiver,
            close_on_failure: profile == AckProfile::CloseWithoutAck,
            commit_bytes: config.commit_bytes,
        };
        let fresh = fresh.map(|(tls, files, every)| keep_fresh(tls, files, every, events));
        Ok(Self {
            server,
            service,
            fresh: fresh.map(|task| Box::pin(task) as _),
        })
    }

    /// Where it listens.
    ///
    /// # Errors
    /// The system does not say.
    pub fn local_addr(&self) -> io::Result<std::net::SocketAddr> {
        self.server.local_addr()
    }

    /// Serves until `shutdown`, then drains.
    pub async fn serve(self, shutdown: impl Future<Output = ()>) -> Drained {
        let service = self.service;
        let frames = tower::service_fn(move |frame: Frame| {
            let service = service.clone();
            async move { Ok::<_, Infallible>(service.frame(frame).await) }
        });
        let serving = self.server.serve(frames, shutdown);
        match self.fresh {
            None => serving.await,
            Some(fresh) => tokio::select! {
                drained = serving => drained,
                () = fresh => Drained { aborted: 0 },
            },
        }
    }
}

impl Service {
    async fn frame(&self, frame: Frame) -> Reply {
        let answer = match (frame.must_refuse(), &frame.oversized) {
            (Some(Refusal::Oversized), Some(prefix)) => {
                self.receiver.refuse(prefix, Fault::Oversized)
            }
            (Some(_), _) => self.receiver.refuse(&frame.payload, Fault::Truncated),
            (None, _) => {
                let certificate = frame.peer.tls.as_deref();
                let names: Vec<&str> = certificate.map(names).unwrap_or_default();
                self.receiver
                    .receive(frame.payload, frame.received_at, &names)
                    .await
            }
        };
        self.reply(answer)
    }

    fn reply(&self, answer: Answer) -> Reply {
        let stored = answer.result == Received::Stored;
        let acks: Vec<_> = answer.ack.into_iter().chain(answer.later).collect();
        match acks.is_empty() {
            _ if !stored && self.close_on_failure => Reply::Close,
            _ if !stored && self.commit_bytes => Reply::CommitNak,
            true if self.commit_bytes => Reply::CommitAck,
            true => Reply::None,
            false if self.commit_bytes => Reply::CommitAckThen(acks),
            false => Reply::Frames(acks),
        }
    }
}

/// What a certificate calls its owner.
fn names(certificate: &ClientCertFacts) -> Vec<&str> {
    let names = certificate.common_name.iter().chain(&certificate.dns_names);
    names.map(String::as_str).collect()
}

/// Reads TLS files again when one of them has changed; what cannot be used changes nothing.
async fn keep_fresh(
    tls: Arc<ServerTls>,
    files: Vec<PathBuf>,
    every: Duration,
    events: Arc<ListenerEvents>,
) {
    let stamp = || {
        let modified = |file: &PathBuf| std::fs::metadata(file).and_then(|meta| meta.modified());
        files
            .iter()
            .map(|file| modified(file).ok())
            .collect::<Vec<_>>()
    };
    let mut seen = stamp();
    loop {
        tokio::time::sleep(every).await;
        let now = stamp();
        if now == seen {
            continue;
        }
        match tls.reload() {
            Ok(()) => {
                seen = now;
                events.certificate_reloaded(tls.not_after());
            }
            Err(error) => events.certificate_unusable(&error),
        }
    }
}

fn limits(config: &Mllp) -> Limits {
    Limits {
        connections: config.connections,
        connections_per_peer: config.connections_per_address,
        frame_bytes: usize::try_from(config.frame_bytes).unwrap_or(usize::MAX),
        frame_time: config.frame_timeout,
        idle_time: config.idle_timeout,
        write_time: config.ack_timeout,
        in_flight: config.in_flight,
        keepalive: config.keepalive,
        ..Limits::default()
    }
}

fn tolerances(config: &Mllp) -> Tolerances {
    config
        .tolerate
        .iter()
        .filter(|(_, on)| **on)
        .fold(Tolerances::strict(), |set, (name, _)| {
            Tolerance::from_name(name).map_or(set, |tolerance| set.with(tolerance))
        })
}
