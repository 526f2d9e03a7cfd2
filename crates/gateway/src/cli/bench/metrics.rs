//! What the gateway says of itself on `/metrics`.

use bytes::Bytes;
use http::{Request, header::HOST};
use http_body_util::{BodyExt, Empty};
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;

use super::super::Failure;

/// Deliveries in these states are done; all others still wait.
const DONE: [&str; 3] = ["delivered", "dead", "filtered"];

/// The numbers of one look.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(super) struct Look {
    /// Messages delivered so far, to all destinations.
    pub(super) delivered: u64,
    /// Messages given up so far.
    pub(super) dead: u64,
    /// Messages that wait for a destination.
    pub(super) backlog: u64,
    /// Resident memory in bytes.
    pub(super) memory: Option<u64>,
    /// Seconds on a processor so far.
    pub(super) cpu: Option<f64>,
}

/// Reads `http://ADDRESS/metrics`.
pub(super) async fn look(address: &str) -> Result<Look, Failure> {
    let text = get(address)
        .await
        .map_err(|why| Failure::Run(format!("cannot read http://{address}/metrics: {why}")))?;
    Ok(read(&text))
}

async fn get(address: &str) -> Result<String, Box<dyn std::error::Error + Send + Sync>> {
    let stream = TcpStream::connect(address).await?;
    let (mut sender, connection) =
        hyper::client::conn::http1::handshake(TokioIo::new(stream)).await?;
    tokio::spawn(connection);
    let request = Request::get("/metrics")
        .header(HOST, address)
        .body(Empty::<Bytes>::new())?;
    let response = sender.send_request(request).await?;
    if !response.status().is_success() {
        return Err(format!("it answers {}", response.status()).into());
    }
    let body = response.into_body().collect().await?.to_bytes();
    Ok(String::from_utf8_lossy(&body).into_owned())
}

fn read(text: &str) -> Look {
    let mut look = Look::default();
    for line in text.lines().filter(|line| !line.starts_with('#')) {
        let Some((name, value)) = line.rsplit_once(' ') else {
            continue;
        };
        let Ok(value) = value.parse::<f64>() else {
            continue;
        };
        #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)] // counts and bytes
        let whole = value as u64;
        match name.split('{').next().unwrap_or_default() {
            "process_resident_memory_bytes" => look.memory = Some(whole),
            "process_cpu_seconds_total" => look.cpu = Some(value),
            "fhirway_queue_messages" => {
                let is = |state: &&str| name.contains(&format!("state=\"{state}\""));
                match DONE.iter().find(|state| is(state)) {
                    Some(&"delivered") => look.delivered += whole,
                    Some(&"dead") => look.dead += whole,
                    Some(_) => {}
                    None => look.backlog += whole,
                }
            }
            _ => {}
        }
    }
    look
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_waits_is_told_from_what_is_done() {
        let text = "# HELP fhirway_queue_messages Deliveries by state\n\
            fhirway_queue_messages{destination=\"a\",state=\"queued\"} 5\n\
            fhirway_queue_messages{destination=\"a\",state=\"leased\"} 2\n\
            fhirway_queue_messages{destination=\"b\",state=\"retrying\"} 1\n\
            fhirway_queue_messages{destination=\"a\",state=\"delivered\"} 70\n\
            fhirway_queue_messages{destination=\"b\",state=\"dead\"} 3\n\
            process_resident_memory_bytes 52428800\n\
            process_cpu_seconds_total 1.25\n";
        let expected = Look {
            delivered: 70,
            dead: 3,
            backlog: 8,
            memory: Some(52_428_800),
            cpu: Some(1.25),
        };
        assert_eq!(read(text), expected);
        assert_eq!(read(""), Look::default());
    }
}
