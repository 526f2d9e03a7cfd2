//! What everything that talks to a RabbitMQ broker shares: TLS, connecting, publishing with a confirmation.

use std::{path::PathBuf, time::Duration};

use lapin::{
    BasicProperties, Channel, Confirmation, Connection, ConnectionProperties,
    options::BasicPublishOptions,
    tcp::{OwnedIdentity, OwnedTLSConfig},
};
use tokio::time;

/// Time to connect, for a confirmation, and to end in order.
pub const PATIENCE: Duration = Duration::from_secs(15);

/// Why a broker cannot be used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RabbitMqError {
    /// A certificate or key file cannot be read.
    #[error("cannot read {}", .0.display())]
    File(PathBuf, #[source] std::io::Error),
}

/// Why nobody can say that a message is with the broker.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NotPublished {
    /// No queue takes what is published there.
    #[error("no queue takes what is published with the key `{0}`")]
    Unroutable(String),
    /// The broker does not take it, a queue that is full for instance.
    #[error("the broker refused what is published with the key `{0}`")]
    Refused(String),
    /// The connection was lost, or there was no confirmation in time: it may be there or not.
    #[error("{0}")]
    Lost(String),
}

/// Reads the PEM files of a connection: authorities, own certificate, own key.
///
/// # Errors
/// [`RabbitMqError::File`].
pub fn tls(
    ca: Option<&PathBuf>,
    certificate: Option<&PathBuf>,
    key: Option<&PathBuf>,
) -> Result<OwnedTLSConfig, RabbitMqError> {
    let read = |path: &PathBuf| {
        std::fs::read(path).map_err(|error| RabbitMqError::File(path.clone(), error))
    };
    let cert_chain = ca
        .map(read)
        .transpose()?
        .map(|pem| String::from_utf8_lossy(&pem).into_owned());
    let identity = match (certificate, key) {
        (Some(certificate), Some(key)) => Some(OwnedIdentity::PKCS8 {
            pem: read(certificate)?,
            key: read(key)?,
        }),
        _ => None,
    };
    Ok(OwnedTLSConfig {
        identity,
        cert_chain,
    })
}

/// Connects; `name` is what the broker's own tools call the connection.
///
/// # Errors
/// What the library says.
pub async fn connect(
    url: &str,
    name: &str,
    tls: &OwnedTLSConfig,
) -> Result<Connection, lapin::Error> {
    let properties = ConnectionProperties::default().with_connection_name(name.into());
    Connection::connect_with_config(
        url,
        properties,
        tls.clone(),
        lapin::runtime::default_runtime()?,
    )
    .await
}

/// Publishes to a channel that confirms, and waits until the broker has it. Where a return must be told from that of another
/// message, nothing else may be under way on the channel.
///
/// # Errors
/// [`NotPublished`].
pub async fn publish(
    channel: &Channel,
    exchange: &str,
    key: &str,
    payload: &[u8],
    properties: BasicProperties,
) -> Result<(), NotPublished> {
    let options = BasicPublishOptions {
        mandatory: true,
        ..BasicPublishOptions::default()
    };
    let publishing = async {
        channel
            .basic_publish(exchange.into(), key.into(), options, payload, properties)
            .await?
            .await
    };
    match time::timeout(PATIENCE, publishing).await {
        Ok(Ok(Confirmation::Ack(None) | Confirmation::NotRequested)) => Ok(()),
        Ok(Ok(Confirmation::Ack(Some(_)))) => Err(NotPublished::Unroutable(key.to_owned())),
        Ok(Ok(Confirmation::Nack(_))) => Err(NotPublished::Refused(key.to_owned())),
        Ok(Err(error)) => Err(NotPublished::Lost(error.to_string())),
        Err(_) => Err(NotPublished::Lost(
            "no confirmation from the broker in time".to_owned(),
        )),
    }
}

/// Between half of `wait` and all of it, so that many gateways do not come back at one moment.
pub fn jittered(wait: Duration) -> Duration {
    let (high, _) = uuid::Uuid::new_v4().as_u64_pair();
    let random = f64::from(u16::try_from(high >> 48).unwrap_or(0));
    wait.mul_f64(0.5 + random / f64::from(u16::MAX) / 2.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_wait_is_jittered_within_bounds() {
        for _ in 0..1000 {
            let wait = jittered(Duration::from_secs(10));
            assert!(
                (Duration::from_secs(5)..=Duration::from_secs(10)).contains(&wait),
                "{wait:?}"
            );
        }
    }
}
