//! The way out, with a real queue, the shipped mapping, and a FHIR server that answers what it is told to.

use std::{
    collections::VecDeque,
    sync::{Arc, Mutex},
    time::Duration,
};

use axum::{
    Router, extract::State as AxumState, http::StatusCode, response::IntoResponse, routing::post,
};
use bytes::Bytes;
use queue::{EmbeddedQueue, Filter, Options, Queue, RecordSummary, State};
use tokio::{net::TcpListener, sync::watch, task::JoinHandle, time};

use super::*;
use crate::{
    config,
    events::Events,
    metrics::Metrics,
    packages::Packages,
    receive::{Received, Receiver},
    routes::Routes,
};

/// A FHIR server with a script: the next status for each request, 200 when the script has ended.
#[derive(Clone, Default)]
struct Server {
    script: Arc<Mutex<VecDeque<u16>>>,
    bodies: Arc<Mutex<Vec<String>>>,
}

impl Server {
    async fn start(script: &[u16]) -> (Self, String) {
        let server = Self {
            script: Arc::new(Mutex::new(script.iter().copied().collect())),
            ..Self::default()
        };
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}/fhir", listener.local_addr().unwrap());
        let router = Router::new()
            .route("/fhir", post(answer))
            .with_state(server.clone());
        tokio::spawn(async move { axum::serve(listener, router).await.unwrap() });
        (server, url)
    }

    /// Numbers of the patients that were sent, in order.
    fn patients(&self) -> Vec<String> {
        let bodies = self.bodies.lock().unwrap();
        bodies
            .iter()
            .map(|body| body.split("\"value\":\"MRN").nth(1).unwrap_or("?")[..2].to_owned())
            .collect()
    }
}

async fn answer(AxumState(server): AxumState<Server>, body: String) -> impl IntoResponse {
    server.bodies.lock().unwrap().push(body);
    let status = server.script.lock().unwrap().pop_front().unwrap_or(200);
    let body = match status {
        200 => r#"{"resourceType":"Bundle","type":"transaction-response"}"#,
        _ => {
            r#"{"resourceType":"OperationOutcome","issue":[{"severity":"error","code":"processing"}]}"#
        }
    };
    (
        StatusCode::from_u16(status).unwrap(),
        [("content-type", "application/fhir+json")],
        body,
    )
}

/// A receiver and a dispatcher around one queue.
struct House {
    receiver: Receiver,
    queue: Arc<dyn Queue>,
    stop: watch::Sender<bool>,
    dispatcher: JoinHandle<()>,
    _folder: tempfile::TempDir,
}

impl House {
    async fn open(url: &str, route: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let text = format!(
            "listeners: {{lab: {{type: mllp}}}}\nroutes: {{lab: {{destinations: [fhir], {route}}}}}\n\
             destinations: {{fhir: {{url: '{url}', retry: {{initial: 10ms, max: 20ms}}}}}}\n"
        );
        let loaded = config::load_text("test".into(), text, std::iter::empty());
        let config = loaded
            .config
            .as_ref()
            .cloned()
            .unwrap_or_else(|| panic!("{}", loaded.render()));
        let queue: Arc<dyn Queue> =
            Arc::new(EmbeddedQueue::open(folder.path(), Options::default()).unwrap());
        let events = Events::new(Arc::new(Metrics::new(&[]).unwrap()));
        let receiver = Receiver::new(
            &config.listeners[0],
            Routes::compile(&config.routes).unwrap(),
            Arc::clone(&queue),
            Arc::new(events.listener("lab")),
        );
        let mapping = Arc::new(
            MappingStep::new(
                &config,
                &Packages::load(&config).unwrap(),
                &events,
                Arc::default(),
                crate::newest::Newest::open(folder.path()).unwrap(),
            )
            .unwrap(),
        );
        let mut upstream = upstream::Config::new(url);
        upstream.retry.short_attempts = 1;
        upstream.retry.first_wait = Duration::from_millis(10);
        upstream.breaker.first_pause = Duration::from_millis(20);
        let stack = upstream::stack(
            &upstream,
            Arc::new(DestinationObserver::new(&events, "fhir")),
        )
        .unwrap();
        let dispatcher = Dispatcher::new(
            config.destinations[0].clone(),
            mapping,
            Way::Server(Box::new(stack)),
            Arc::clone(&queue),
            &events,
        );
        let (stop, stopped) = watch::channel(false);
        let dispatcher = tokio::spawn(Arc::new(dispatcher).run(stopped, Duration::from_secs(5)));
        Self {
            receiver,
            queue,
            stop,
            dispatcher,
            _folder: folder,
        }
    }

    async fn receive(&self, id: &str, patient: &str) {
        let text = format!(
            "MSH|^~\\&|ADT|NORTH|FW|FW|20260101120000+0000||ADT^A08^ADT_A01|{id}|P|2.5.1\rEVN|A08|20260101120000+0000\r\
             PID|1||MRN{patient}^^^NORTH&2.999.1&ISO^MR||Marple^Jane||19300101|F\rPV1|1|O\r"
        );
        let answer = self
            .receiver
            .receive(Bytes::from(text), SystemTime::now(), &[])
            .await;
        assert_eq!(answer.result, Received::Stored);
    }

    /// Waits until every delivery is in one of these states, and returns them in the order of arrival.
    async fn settled(&self, states: &[State]) -> Vec<RecordSummary> {
        for _ in 0..1000 {
            let list = self.queue.list(&Filter::default()).await.unwrap();
            if !list.is_empty() && list.iter().all(|line| states.contains(&line.state)) {
                return list;
            }
            time::sleep(Duration::from_millis(10)).await;
        }
        panic!(
            "not settled: {:?}",
            self.queue.list(&Filter::default()).await.unwrap()
        );
    }

    async fn close(self) {
        self.stop.send_replace(true);
        self.dispatcher.await.unwrap();
    }
}

#[tokio::test]
async fn one_patients_messages_arrive_in_order_and_are_settled() {
    let (server, url) = Server::start(&[]).await;
    let house = House::open(&url, "").await;
    for (id, patient) in [("1", "01"), ("2", "01"), ("3", "01")] {
        house.receive(id, patient).await;
    }
    house.settled(&[State::Delivered]).await;
    assert_eq!(server.patients(), ["01", "01", "01"]);
    assert!(house.queue.status().await.unwrap().total.mismatch() == 0);
    house.close().await;
}

#[tokio::test]
async fn what_the_server_refuses_is_a_dead_letter_and_the_patient_goes_on() {
    let (_, url) = Server::start(&[422]).await;
    let house = House::open(&url, "").await;
    house.receive("1", "01").await;
    house.receive("2", "01").await;
    let lines = house.settled(&[State::Delivered, State::Dead]).await;
    assert_eq!(
        (lines[0].state, lines[1].state),
        (State::Dead, State::Delivered)
    );
    assert_eq!(lines[0].reason.as_deref(), Some("permanent"));
    let detail = house.queue.show(lines[0].record).await.unwrap().deliveries[0]
        .detail
        .clone()
        .unwrap();
    assert!(
        detail.contains("error processing") && !detail.contains("Marple"),
        "{detail}"
    );
    house.close().await;
}

#[tokio::test]
async fn a_parked_patient_waits_for_a_person_and_others_do_not() {
    let (server, url) = Server::start(&[400]).await;
    let house = House::open(&url, "on_poison: park_key").await;
    house.receive("1", "01").await;
    house.settled(&[State::Parked]).await;
    house.receive("2", "01").await;
    house.receive("3", "02").await;
    let lines = house
        .settled(&[
            State::Parked,
            State::Queued,
            State::Waiting,
            State::Delivered,
        ])
        .await;
    assert_eq!(lines[0].state, State::Parked);
    time::sleep(Duration::from_millis(100)).await;
    assert_eq!(server.patients(), ["01", "02"]);
    let released = house.queue.release(
        Filter {
            records: vec![lines[0].record],
            ..Filter::default()
        },
        queue::Release::Retry,
    );
    assert_eq!(released.await.unwrap(), 1);
    house.settled(&[State::Delivered]).await;
    assert_eq!(server.patients(), ["01", "02", "01", "01"]);
    house.close().await;
}

#[tokio::test]
async fn a_poisonous_message_can_stop_the_destination() {
    let (server, url) = Server::start(&[400]).await;
    let house = House::open(&url, "on_poison: stop_destination").await;
    house.receive("1", "01").await;
    house.settled(&[State::Parked]).await;
    for _ in 0..100 {
        if house.queue.status().await.unwrap().destinations["fhir"]
            .paused
            .is_some()
        {
            break;
        }
        time::sleep(Duration::from_millis(10)).await;
    }
    house.receive("2", "02").await;
    time::sleep(Duration::from_millis(100)).await;
    assert_eq!(server.patients(), ["01"]);
    house.close().await;
}

#[tokio::test]
async fn a_server_that_is_down_for_a_while_loses_nothing() {
    let (server, url) = Server::start(&[503, 500, 503, 502, 503]).await;
    let house = House::open(&url, "").await;
    house.receive("1", "01").await;
    house.receive("2", "01").await;
    let lines = house.settled(&[State::Delivered]).await;
    assert_eq!(server.patients().len(), 7);
    assert_eq!(lines[0].attempts, 5);
    house.close().await;
}

#[tokio::test]
async fn what_cannot_be_mapped_is_a_dead_letter_of_its_own_reason() {
    let (server, url) = Server::start(&[]).await;
    let house = House::open(&url, "").await;
    let record = queue::NewRecord {
        payload: Bytes::from_static(b"no message at all"),
        listener: "lab".into(),
        route: "lab".into(),
        destinations: vec!["fhir".into()],
        ..queue::NewRecord::default()
    };
    house.queue.append(vec![record.clone()]).await.unwrap();
    house
        .queue
        .append(vec![queue::NewRecord {
            route: "gone".into(),
            ..record
        }])
        .await
        .unwrap();
    let lines = house.settled(&[State::Dead, State::Parked]).await;
    assert_eq!(
        (lines[0].state, lines[0].reason.as_deref()),
        (State::Dead, Some("parse"))
    );
    assert_eq!(
        (lines[1].state, lines[1].reason.as_deref()),
        (State::Parked, Some("no-route"))
    );
    assert!(server.patients().is_empty());
    house.close().await;
}
