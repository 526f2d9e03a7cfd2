//! A FHIR server that answers by script and remembers what it got.
//!
//! What it stores follows the rules of transactions (<https://hl7.org/fhir/R4/http.html#transaction>) as far as the
//! gateway uses them: create, conditional create, update by id and by condition. An update that changes nothing
//! makes no new version, as with the servers in use.

use std::{
    collections::{BTreeMap, BTreeSet},
    convert::Infallible,
    hash::{DefaultHasher, Hash, Hasher},
    net::SocketAddr,
    sync::{Arc, Mutex},
};

use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::{Response, body::Incoming, service::service_fn};
use hyper_util::rt::TokioIo;
use serde_json::{Value, json};
use tokio::{
    net::{TcpListener, TcpSocket},
    sync::{Semaphore, watch},
    task::JoinSet,
};

use super::eventually;

/// What the script may look at.
#[derive(Clone, Debug)]
pub struct Request {
    /// MSH-10 of the message, as the Bundle's Provenance has it; empty when only a part of a batch came again.
    pub control_id: String,
    /// Identifier of the first Patient.
    pub patient: String,
    /// How often this message was sent before.
    pub earlier: usize,
    /// The header `Authorization`.
    pub authorization: Option<String>,
    /// The Bundle.
    pub bundle: Arc<Value>,
    /// The bytes of the Bundle, hashed.
    pub hash: u64,
}

/// What the script answers.
#[derive(Clone, Debug)]
pub enum Answer {
    /// 200, and everything is stored.
    Store,
    /// Everything is stored, and the connection is cut before the answer.
    StoreAndCut,
    /// The connection is cut, nothing is stored.
    Cut,
    /// Nothing, until the client gives up.
    Hang,
    /// Nothing, until the semaphore has a permit; then stored.
    StoreAfter(Arc<Semaphore>),
    /// 200, and of a batch everything is stored but these entries, which have this status.
    StoreExcept { entries: Vec<usize>, status: u16 },
    /// Another status, with headers and an OperationOutcome of this code and text.
    Refuse {
        status: u16,
        headers: Vec<(&'static str, String)>,
        code: &'static str,
        diagnostics: String,
    },
}

impl Answer {
    /// A status with nothing to say about it.
    pub fn status(status: u16) -> Self {
        Self::Refuse {
            status,
            headers: Vec::new(),
            code: "processing",
            diagnostics: String::new(),
        }
    }

    /// A status with a header.
    pub fn with_header(status: u16, name: &'static str, value: &str) -> Self {
        Self::Refuse {
            status,
            headers: vec![(name, value.to_owned())],
            code: "processing",
            diagnostics: String::new(),
        }
    }
}

type Script = Arc<dyn Fn(&Request) -> Answer + Send + Sync>;

#[derive(Default)]
struct State {
    requests: Vec<Request>,
    seen: BTreeMap<String, usize>,
    effects: Vec<String>,
    resources: BTreeMap<String, Vec<Version>>,
    busy: BTreeSet<String>,
    overlaps: Vec<String>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Version {
    /// The message that made it.
    pub control_id: String,
    hash: u64,
}

struct Shared {
    state: Mutex<State>,
    script: Mutex<Script>,
    effects: watch::Sender<usize>,
    keep_bundles: bool,
    /// What `/metadata` answers; it is no part of the script, and not remembered.
    statement: Mutex<Arc<Value>>,
}

/// The server.
pub struct FhirServer {
    shared: Arc<Shared>,
    address: SocketAddr,
    serving: Mutex<Option<JoinSet<()>>>,
    reserved: Mutex<Option<TcpSocket>>,
}

impl FhirServer {
    /// A server that stores everything.
    pub async fn start() -> Self {
        let server = Self::away().await;
        server.come_back();
        server
    }

    /// A server that remembers which messages came, but not their Bundles.
    pub async fn forgetful() -> Self {
        let mut server = Self::away().await;
        Arc::get_mut(&mut server.shared).unwrap().keep_bundles = false;
        server.come_back();
        server
    }

    /// A server that is not there yet: connections are refused.
    pub async fn away() -> Self {
        let socket = reserve("127.0.0.1:0".parse().unwrap()).unwrap();
        let store: Script = Arc::new(|_| Answer::Store);
        Self {
            shared: Arc::new(Shared {
                state: Mutex::default(),
                script: Mutex::new(store),
                effects: watch::Sender::new(0),
                keep_bundles: true,
                statement: Mutex::new(Arc::new(statement())),
            }),
            address: socket.local_addr().unwrap(),
            serving: Mutex::new(None),
            reserved: Mutex::new(Some(socket)),
        }
    }

    /// What it says it can do, from now on.
    pub fn says(&self, statement: Value) {
        *self.shared.statement.lock().unwrap() = Arc::new(statement);
    }

    /// From now on connections are accepted.
    pub fn come_back(&self) {
        let socket = self.reserved.lock().unwrap().take().expect("it is there");
        let listener = socket.listen(1024).unwrap();
        let mut tasks = JoinSet::new();
        tasks.spawn(accept(listener, Arc::clone(&self.shared)));
        *self.serving.lock().unwrap() = Some(tasks);
    }

    /// From now on connections are refused, and those that are open are cut.
    pub async fn go_away(&self) {
        let tasks = self.serving.lock().unwrap().take();
        tasks.expect("it is away").shutdown().await;
        let socket = eventually("the port can be reserved", async || {
            reserve(self.address).ok()
        })
        .await;
        *self.reserved.lock().unwrap() = Some(socket);
    }

    /// What it answers from now on.
    pub fn answer(&self, script: impl Fn(&Request) -> Answer + Send + Sync + 'static) {
        *self.shared.script.lock().unwrap() = Arc::new(script);
    }

    pub fn base_url(&self) -> String {
        format!("http://{}/fhir", self.address)
    }

    /// All requests so far.
    pub fn requests(&self) -> Vec<Request> {
        self.shared.state.lock().unwrap().requests.clone()
    }

    /// How many requests so far.
    pub fn request_count(&self) -> usize {
        self.shared.state.lock().unwrap().requests.len()
    }

    /// Control ids in the order in which their Bundles were stored, repetitions included.
    pub fn effects(&self) -> Vec<String> {
        self.shared.state.lock().unwrap().effects.clone()
    }

    /// The same without repetitions.
    pub fn stored(&self) -> BTreeSet<String> {
        self.effects().into_iter().collect()
    }

    /// How many Bundles were stored, repetitions included.
    pub fn watch_effects(&self) -> watch::Receiver<usize> {
        self.shared.effects.subscribe()
    }

    /// Every resource with its versions; the name is `Type/id` or `Type?identifier=...`.
    pub fn resources(&self) -> BTreeMap<String, Vec<Version>> {
        self.shared.state.lock().unwrap().resources.clone()
    }

    /// Patients about whom a message came while another one was not answered: must be none.
    pub fn overlaps(&self) -> Vec<String> {
        self.shared.state.lock().unwrap().overlaps.clone()
    }

    /// Waits until so many different messages are stored.
    pub async fn has_stored(&self, count: usize) {
        eventually(&format!("{count} messages are stored"), async || {
            (self.stored().len() >= count).then_some(())
        })
        .await;
    }
}

/// The statement of a server that can do everything with every resource type.
pub fn statement() -> Value {
    let definitions = fhir::definitions::r4();
    let interactions =
        ["read", "create", "update", "search-type"].map(|code| json!({ "code": code }));
    let resources: Vec<Value> = definitions
        .types()
        .map(|id| definitions.type_name(id))
        .filter(|name| definitions.resource(name).is_some())
        .map(|name| {
            json!({
                "type": name,
                "interaction": interactions,
                "versioning": "versioned",
                "updateCreate": true,
                "conditionalCreate": true,
                "conditionalUpdate": true,
            })
        })
        .collect();
    json!({
        "resourceType": "CapabilityStatement",
        "status": "active",
        "fhirVersion": "4.0.1",
        "format": ["json", "xml"],
        "rest": [{
            "mode": "server",
            "interaction": [{ "code": "transaction" }, { "code": "batch" }],
            "resource": resources,
        }],
    })
}

/// A port that is ours, and refuses connections.
fn reserve(address: SocketAddr) -> std::io::Result<TcpSocket> {
    let socket = TcpSocket::new_v4()?;
    socket.set_reuseaddr(true)?;
    socket.bind(address)?;
    Ok(socket)
}

async fn accept(listener: TcpListener, shared: Arc<Shared>) {
    let mut connections = JoinSet::new();
    loop {
        tokio::select! {
            accepted = listener.accept() => {
                let (stream, _) = accepted.unwrap();
                let shared = Arc::clone(&shared);
                connections.spawn(async move {
                    let service = service_fn(|request| handle(request, &shared));
                    // An error is what the script asked for, or a gateway that was killed.
                    let _ = hyper::server::conn::http1::Builder::new()
                        .serve_connection(TokioIo::new(stream), service)
                        .await;
                });
            }
            Some(_) = connections.join_next() => {}
        }
    }
}

/// An error cuts the connection.
#[derive(Debug, thiserror::Error)]
#[error("cut")]
struct Cut;

async fn handle(
    request: hyper::Request<Incoming>,
    shared: &Shared,
) -> Result<Response<Full<Bytes>>, Cut> {
    let authorization = request
        .headers()
        .get("authorization")
        .map(|value| value.to_str().unwrap().to_owned());
    if request.method() == hyper::Method::GET && request.uri().path() == "/fhir/metadata" {
        let statement = shared.statement.lock().unwrap().to_string();
        return Ok(Response::builder()
            .header("content-type", "application/fhir+json")
            .body(statement.into())
            .unwrap());
    }
    if request.method() == hyper::Method::GET {
        return Ok(Response::builder()
            .status(404)
            .body(Full::default())
            .unwrap());
    }
    // Which resources have an identifier: none that the gateway asks for here.
    if request.uri().path().ends_with("/_search") {
        let found = json!({ "resourceType": "Bundle", "type": "searchset", "total": 0 });
        return Ok(Response::builder()
            .header("content-type", "application/fhir+json")
            .body(found.to_string().into())
            .unwrap());
    }
    let Ok(body) = request.into_body().collect().await else {
        return Err(Cut);
    };
    let body = body.to_bytes();
    let bundle: Value = serde_json::from_slice(&body).expect("a Bundle is JSON");
    let (answer, request) = shared.remember(&body, bundle, authorization);
    let busy = Busy::new(shared, &request.patient);
    let response = match answer {
        Answer::Store => Ok(shared.store(&request, &[], 0)),
        Answer::StoreExcept { entries, status } => Ok(shared.store(&request, &entries, status)),
        Answer::StoreAndCut => {
            shared.store(&request, &[], 0);
            Err(Cut)
        }
        Answer::Cut => Err(Cut),
        Answer::Hang => std::future::pending().await,
        Answer::StoreAfter(permits) => {
            permits.acquire().await.unwrap().forget();
            Ok(shared.store(&request, &[], 0))
        }
        Answer::Refuse {
            status,
            headers,
            code,
            diagnostics,
        } => {
            let outcome = json!({ "resourceType": "OperationOutcome", "issue": [
                { "severity": "error", "code": code, "diagnostics": diagnostics },
            ] });
            let mut response = Response::builder()
                .status(status)
                .header("content-type", "application/fhir+json");
            for (name, value) in headers {
                response = response.header(name, value);
            }
            Ok(response.body(outcome.to_string().into()).unwrap())
        }
    };
    drop(busy);
    response
}

/// A patient about whom a request is being worked on.
struct Busy<'a> {
    shared: &'a Shared,
    patient: String,
}

impl<'a> Busy<'a> {
    fn new(shared: &'a Shared, patient: &str) -> Self {
        let mut state = shared.state.lock().unwrap();
        if !state.busy.insert(patient.to_owned()) {
            state.overlaps.push(patient.to_owned());
        }
        drop(state);
        Self {
            shared,
            patient: patient.to_owned(),
        }
    }
}

impl Drop for Busy<'_> {
    fn drop(&mut self) {
        self.shared.state.lock().unwrap().busy.remove(&self.patient);
    }
}

impl Shared {
    fn remember(
        &self,
        body: &[u8],
        bundle: Value,
        authorization: Option<String>,
    ) -> (Answer, Request) {
        let control_id = control_id(&bundle);
        let request = {
            let mut state = self.state.lock().unwrap();
            let seen = state.seen.entry(control_id.clone()).or_default();
            let earlier = std::mem::replace(seen, *seen + 1);
            let request = Request {
                control_id,
                patient: patient(&bundle),
                earlier,
                authorization,
                bundle: Arc::new(bundle),
                hash: hash(body),
            };
            let kept = Request {
                bundle: if self.keep_bundles {
                    Arc::clone(&request.bundle)
                } else {
                    Arc::default()
                },
                ..request.clone()
            };
            state.requests.push(kept);
            request
        };
        let script = Arc::clone(&self.script.lock().unwrap());
        (script(&request), request)
    }

    fn store(&self, request: &Request, except: &[usize], status: u16) -> Response<Full<Bytes>> {
        let mut state = self.state.lock().unwrap();
        let mut answers = Vec::new();
        for (place, entry) in (0..).zip(request.bundle["entry"].as_array().unwrap()) {
            if except.contains(&place) {
                answers.push(json!({ "response": { "status": status.to_string() } }));
                continue;
            }
            let (key, only_new) = identity(entry, state.resources.len());
            let versions = state.resources.entry(key.clone()).or_default();
            let version = Version {
                control_id: request.control_id.clone(),
                hash: hash(entry["resource"].to_string().as_bytes()),
            };
            let status = if versions.is_empty() {
                "201 Created"
            } else {
                "200 OK"
            };
            let changed = versions.last().is_none_or(|last| last.hash != version.hash);
            if versions.is_empty() || (changed && !only_new) {
                versions.push(version);
            }
            answers.push(json!({ "response": { "status": status, "location": key } }));
        }
        if except.is_empty() {
            state.effects.push(request.control_id.clone());
            self.effects.send_replace(state.effects.len());
        }
        drop(state);
        let kind = request.bundle["type"].as_str().unwrap();
        let body = json!({
            "resourceType": "Bundle",
            "type": format!("{kind}-response"),
            "entry": answers,
        });
        Response::builder()
            .header("content-type", "application/fhir+json")
            .body(body.to_string().into())
            .unwrap()
    }
}

/// What an entry writes to, and whether it must leave alone what exists.
fn identity(entry: &Value, number: usize) -> (String, bool) {
    let request = &entry["request"];
    let url = request["url"].as_str().expect("an entry has a url");
    match (request["method"].as_str(), request["ifNoneExist"].as_str()) {
        (Some("POST"), Some(condition)) => (format!("{url}?{condition}"), true),
        (Some("POST"), None) => (format!("{url}/made-{number}"), false),
        (Some("PUT"), _) => (url.to_owned(), request["ifNoneMatch"].is_string()),
        _ => panic!("unknown request: {request}"),
    }
}

fn resources<'a>(bundle: &'a Value, type_name: &'a str) -> impl Iterator<Item = &'a Value> {
    let entries = bundle["entry"].as_array().expect("a Bundle has entries");
    entries
        .iter()
        .map(|entry| &entry["resource"])
        .filter(move |resource| resource["resourceType"] == type_name)
}

fn control_id(bundle: &Value) -> String {
    resources(bundle, "Provenance")
        .find_map(|found| found["entity"][0]["what"]["identifier"]["value"].as_str())
        .unwrap_or_default()
        .to_owned()
}

fn patient(bundle: &Value) -> String {
    resources(bundle, "Patient")
        .find_map(|found| found["identifier"][0]["value"].as_str())
        .unwrap_or_default()
        .to_owned()
}

fn hash(bytes: &[u8]) -> u64 {
    let mut hasher = DefaultHasher::new();
    bytes.hash(&mut hasher);
    hasher.finish()
}
