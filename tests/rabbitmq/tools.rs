//! Waiting, and ports.

use std::{
    net::TcpListener,
    time::{Duration, Instant},
};

/// Asks again and again until there is an answer; fails with `what` when there is none in time.
pub async fn until<T>(what: &str, within: Duration, mut ask: impl AsyncFnMut() -> Option<T>) -> T {
    let end = Instant::now() + within;
    loop {
        if let Some(answer) = ask().await {
            return answer;
        }
        assert!(Instant::now() < end, "not within {within:?}: {what}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

/// A port of the loopback address that nobody uses at present.
pub fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0")
        .and_then(|listener| listener.local_addr())
        .expect("there are free ports")
        .port()
}
