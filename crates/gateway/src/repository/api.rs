//! The RESTful API over HTTP (<https://hl7.org/fhir/R4/http.html>), on axum.

use std::io::Read;
use std::sync::Arc;

use axum::Router;
use axum::body::{Body, Bytes, to_bytes};
use axum::extract::{NestedPath, Request, State};
use axum::http::{HeaderMap, HeaderValue, Method, StatusCode, header};
use axum::response::Response;

use super::bundle::version_of;
use super::content::instant;
use super::fault::Fault;
use super::interaction::{self, Conditions, Stored, Written};
use super::query::Query;
use super::{BODY_LIMIT, Repository, capability};

const FHIR_JSON: HeaderValue = HeaderValue::from_static("application/fhir+json; charset=utf-8");

/// A request, read.
struct Call {
    method: Method,
    /// The path's parts.
    path: Vec<String>,
    query: String,
    headers: HeaderMap,
    body: Bytes,
    /// Where the router is nested.
    prefix: String,
}

/// An answer to be.
#[derive(Default)]
struct Answer {
    status: StatusCode,
    body: String,
    location: Option<String>,
    version: Option<(i64, i64)>,
}

/// The routes. The repository is the base: `POST /` takes a Bundle, `GET /Patient/1` reads. It may be nested; links in
/// answers then start with the nest's path.
///
/// There is no access control: bind to loopback only.
pub fn router(repository: Arc<Repository>) -> Router {
    // One handler for all: paths are data here (any resource type), and every error must be an OperationOutcome.
    Router::new().fallback(handle).with_state(repository)
}

async fn handle(State(repository): State<Arc<Repository>>, request: Request) -> Response {
    let call = match Call::read(request).await {
        Ok(call) => call,
        Err(fault) => return refusal(&fault),
    };
    // SQLite blocks, so it runs where blocking is allowed.
    let done = tokio::task::spawn_blocking(move || {
        call.acceptable()
            .and_then(|()| call.carry_out(&repository))
            .map_or_else(|fault| refusal(&fault), Answer::into_response)
    });
    done.await.unwrap_or_else(|_| {
        let mut response = Response::new(Body::empty());
        *response.status_mut() = StatusCode::INTERNAL_SERVER_ERROR;
        response
    })
}

/// A compressed body, as long as it is not too large when it is unpacked.
fn unpacked(body: &[u8]) -> Result<Bytes, Fault> {
    let most = u64::try_from(BODY_LIMIT).unwrap_or(u64::MAX);
    let mut out = Vec::new();
    flate2::read::MultiGzDecoder::new(body)
        .take(most.saturating_add(1))
        .read_to_end(&mut out)
        .map_err(|_| Fault::Invalid("body is not gzip".into()))?;
    if out.len() > BODY_LIMIT {
        return Err(Fault::TooLarge);
    }
    Ok(out.into())
}

// === impl Call ===

impl Call {
    async fn read(request: Request) -> Result<Self, Fault> {
        let (head, body) = request.into_parts();
        // axum's own limit would answer in plain text.
        let body = to_bytes(body, BODY_LIMIT)
            .await
            .map_err(|_| Fault::TooLarge)?;
        let body = match head.headers.get(header::CONTENT_ENCODING) {
            None => body,
            Some(coding) if coding == "identity" => body,
            Some(coding) if coding == "gzip" => unpacked(&body)?,
            Some(_) => return Err(Fault::MediaType),
        };
        let path = head
            .uri
            .path()
            .split('/')
            .filter(|part| !part.is_empty())
            .map(str::to_owned)
            .collect();
        Ok(Self {
            method: head.method,
            path,
            prefix: head
                .extensions
                .get::<NestedPath>()
                .map_or("", NestedPath::as_str)
                .trim_end_matches('/')
                .to_owned(),
            query: head.uri.query().unwrap_or_default().to_owned(),
            headers: head.headers,
            body,
        })
    }

    fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name)?.to_str().ok()
    }

    fn acceptable(&self) -> Result<(), Fault> {
        let accepted = self.header("accept").unwrap_or("*/*");
        if ["json", "*/*", "application/*"]
            .iter()
            .any(|known| accepted.contains(known))
            || accepted.contains("text/html")
        {
            return Ok(());
        }
        Err(Fault::NotAcceptable)
    }

    /// The body, where it says that it is JSON.
    fn json(&self) -> Result<&[u8], Fault> {
        match self.header("content-type") {
            Some(media_type) if media_type.to_ascii_lowercase().contains("json") => Ok(&self.body),
            _ => Err(Fault::MediaType),
        }
    }

    fn conditions(&self) -> Result<Conditions, Fault> {
        Ok(Conditions {
            if_match: self.header("if-match").map(version_of).transpose()?,
            only_new: self.header("if-none-match") == Some("*"),
        })
    }

    /// `Prefer: return=…`.
    fn prefers(&self, what: &str) -> bool {
        self.headers
            .get_all("prefer")
            .iter()
            .filter_map(|value| value.to_str().ok())
            .flat_map(|value| value.split([',', ';']))
            .any(|part| part.trim().strip_prefix("return=") == Some(what))
    }

    /// The address of the repository as the client sees it.
    fn base(&self) -> String {
        let host = self.header("host").unwrap_or("localhost");
        format!("http://{host}{}", self.prefix)
    }

    fn carry_out(&self, repository: &Repository) -> Result<Answer, Fault> {
        let path: Vec<&str> = self.path.iter().map(String::as_str).collect();
        let get = self.method == Method::GET || self.method == Method::HEAD;
        match (self.method.as_str(), path.as_slice()) {
            ("POST", []) => {
                let json = repository.bundle(self.json()?, self.prefers("representation"))?;
                Ok(Answer::ok(json))
            }
            (_, ["metadata"]) if get => Ok(Answer::ok(capability::statement().to_owned())),
            (_, ["ConceptMap", "$translate"]) if get => {
                repository.translate(&self.query).map(Answer::ok)
            }
            (_, [type_name]) if get => self.search(repository, type_name, &self.query),
            ("POST", [type_name, "_search"]) => {
                let form = std::str::from_utf8(&self.body)
                    .map_err(|_| Fault::Invalid("form is not utf-8".into()))?;
                self.search(repository, type_name, &format!("{}&{form}", self.query))
            }
            ("POST", [type_name]) => {
                let none_exist = self.header("if-none-exist");
                let written = repository.create(type_name, self.json()?, none_exist)?;
                self.written(repository, written)
            }
            ("PUT", [type_name]) => {
                let written = repository.update_where(
                    type_name,
                    &self.query,
                    self.json()?,
                    &self.conditions()?,
                )?;
                self.written(repository, written)
            }
            (_, [type_name, id]) if get => {
                let stored = repository.read(type_name, id)?;
                let known = self.header("if-none-match").map(version_of);
                if matches!(known, Some(Ok(version)) if version == stored.version) {
                    return Ok(Answer {
                        status: StatusCode::NOT_MODIFIED,
                        version: Some((stored.version, stored.updated_ms)),
                        ..Answer::default()
                    });
                }
                Ok(Answer::stored(stored))
            }
            ("PUT", [type_name, id]) => {
                let written =
                    repository.update(type_name, id, self.json()?, &self.conditions()?)?;
                self.written(repository, written)
            }
            ("DELETE", [type_name, id]) => {
                repository.delete(type_name, id, &self.conditions()?)?;
                Ok(Answer {
                    status: StatusCode::NO_CONTENT,
                    ..Answer::default()
                })
            }
            (_, [type_name, id, "_history"]) if get => repository
                .history(type_name, id, &self.base())
                .map(Answer::ok),
            (_, [type_name, id, "_history", version]) if get => {
                let version = version.parse().map_err(|_| Fault::NotFound)?;
                repository
                    .read_version(type_name, id, version)
                    .map(Answer::stored)
            }
            (_, [] | [_] | [_, _] | [_, _, "_history"] | [_, _, "_history", _]) => {
                Err(Fault::Method)
            }
            _ => Err(Fault::NotFound),
        }
    }

    fn written(&self, repository: &Repository, written: Written) -> Result<Answer, Fault> {
        let Written {
            status,
            type_name,
            id,
            version,
            updated_ms,
        } = written;
        let body = if self.prefers("minimal") {
            String::new()
        } else {
            repository.read_version(&type_name, &id, version)?.json
        };
        Ok(Answer {
            status: StatusCode::from_u16(status).unwrap_or(StatusCode::OK),
            body,
            location: Some(format!(
                "{}/{type_name}/{id}/_history/{version}",
                self.base()
            )),
            version: Some((version, updated_ms)),
        })
    }

    fn search(
        &self,
        repository: &Repository,
        type_name: &str,
        text: &str,
    ) -> Result<Answer, Fault> {
        let query = Query::parse(text)?;
        let page = interaction::search(&repository.lock(), type_name, &query)?;
        let base = self.base();
        let link = |relation: &str, offset: u64| {
            let kept = text
                .split('&')
                .filter(|pair| !pair.is_empty() && !pair.starts_with("_offset="));
            let pairs: Vec<String> = kept
                .map(str::to_owned)
                .chain((offset > 0).then(|| format!("_offset={offset}")))
                .collect();
            let url = format!("{base}/{type_name}?{}", pairs.join("&"));
            serde_json::json!({"relation": relation, "url": url.trim_end_matches('?')}).to_string()
        };
        let mut links = vec![link("self", query.offset)];
        let shown = u64::try_from(page.resources.len()).unwrap_or(u64::MAX);
        let next = query.offset.saturating_add(shown);
        if shown > 0 && next < page.total {
            links.push(link("next", next));
        }
        let entries: Vec<String> = page
            .resources
            .iter()
            .map(|stored| {
                format!(
                    r#"{{"fullUrl":"{base}/{type_name}/{}","resource":{},"search":{{"mode":"match"}}}}"#,
                    stored.id, stored.json
                )
            })
            .collect();
        // FHIR has no empty arrays.
        let entries = match entries.as_slice() {
            [] => String::new(),
            entries => format!(r#","entry":[{}]"#, entries.join(",")),
        };
        Ok(Answer::ok(format!(
            r#"{{"resourceType":"Bundle","type":"searchset","total":{},"link":[{}]{entries}}}"#,
            page.total,
            links.join(",")
        )))
    }
}

// === impl Answer ===

impl Answer {
    fn ok(body: String) -> Self {
        Self {
            body,
            ..Self::default()
        }
    }

    fn stored(stored: Stored) -> Self {
        Self {
            version: Some((stored.version, stored.updated_ms)),
            ..Self::ok(stored.json)
        }
    }

    fn into_response(self) -> Response {
        let mut response = Response::new(Body::empty());
        *response.status_mut() = self.status;
        let headers = response.headers_mut();
        let mut put = |name, value: String| {
            if let Ok(value) = HeaderValue::from_str(&value) {
                headers.insert(name, value);
            }
        };
        if let Some(location) = self.location {
            put(header::LOCATION, location);
        }
        if let Some((version, updated_ms)) = self.version {
            put(header::ETAG, format!("W/\"{version}\""));
            put(header::LAST_MODIFIED, http_date(updated_ms));
        }
        if !self.body.is_empty() {
            headers.insert(header::CONTENT_TYPE, FHIR_JSON);
            *response.body_mut() = Body::from(self.body);
        }
        response
    }
}

fn refusal(fault: &Fault) -> Response {
    if fault.status() >= 500 {
        tracing::error!(error = %fault, "embedded fhir repository failed");
    }
    let answer = Answer {
        status: StatusCode::from_u16(fault.status()).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR),
        ..Answer::ok(fault.outcome().to_string())
    };
    answer.into_response()
}

/// Milliseconds since 1970 as an HTTP date.
fn http_date(ms: i64) -> String {
    jiff::Timestamp::from_millisecond(ms).map_or_else(
        |_| instant(ms),
        |timestamp| timestamp.strftime("%a, %d %b %Y %H:%M:%S GMT").to_string(),
    )
}
