//! What to do with each message of a payload, before anything is stored.

use std::collections::BTreeMap;

use bytes::Bytes;
use hl7v2::{Header, IssueCode, Message, ParseOptions};
use queue::{Appended, NewRecord};

use super::{
    ack::{Acknowledger, Positive},
    fault::Fault,
    hash, key,
};
use crate::{
    config::{
        Listener,
        listener::{Content, Unrouted},
    },
    events::ListenerEvents,
    routes::Routes,
};

/// Record attribute: type of the message, `ORU_R01` (MSH-9.1 and 9.2).
pub const MESSAGE_TYPE: &str = "message_type";
/// Record attribute: MSH-10.
pub const CONTROL_ID: &str = "control_id";
/// Record attribute: the sender that salts local identifiers.
pub const SENDER: &str = "sender";
/// Name of the route of messages that no route takes.
pub const NO_ROUTE: &str = "none";

/// One message of a payload.
pub(super) struct Member {
    pub(super) bytes: Bytes,
    pub(super) plan: Plan,
}

/// What to do with it.
pub(super) enum Plan {
    /// Store it and send this ACK.
    Store {
        record: Option<Box<NewRecord>>,
        route: String,
        positive: Positive,
        appended: Option<Appended>,
    },
    /// Do not store it.
    Refuse(Fault),
}

impl Member {
    pub(super) fn is_usable(&self) -> bool {
        matches!(self.plan, Plan::Store { .. })
    }

    pub(super) fn take_record(&mut self) -> Option<NewRecord> {
        match &mut self.plan {
            Plan::Store { record, .. } => record.take().map(|record| *record),
            Plan::Refuse(_) => None,
        }
    }

    pub(super) fn note(&mut self, answer: Appended) {
        match (&mut self.plan, answer) {
            (plan, Appended::Conflict { stored: None, .. }) => {
                *plan = Plan::Refuse(Fault::ControlIdReused)
            }
            (Plan::Store { appended, .. }, answer) => *appended = Some(answer),
            (Plan::Refuse(_), _) => {}
        }
    }

    pub(super) fn route(&self) -> &str {
        match &self.plan {
            Plan::Store { route, .. } => route,
            Plan::Refuse(_) => NO_ROUTE,
        }
    }
}

/// What came in.
pub(super) struct Arrival<'a> {
    pub(super) payload: &'a Bytes,
    pub(super) received_at_ms: i64,
    /// Names that the sender proved to have, by its certificate.
    pub(super) names: &'a [&'a str],
}

/// Makes plans for one listener.
pub(super) struct Planner {
    listener: String,
    content: Content,
    parse: ParseOptions,
    routes: Routes,
}

impl Planner {
    pub(super) fn new(listener: &Listener, routes: Routes) -> Self {
        Self {
            listener: listener.name.clone(),
            parse: parse_options(&listener.content),
            content: listener.content.clone(),
            routes,
        }
    }

    /// The names of all senders: a person who brings a message speaks for them.
    pub(super) fn trusted(&self) -> Vec<&str> {
        self.content
            .senders
            .iter()
            .map(|sender| sender.certificate.as_str())
            .collect()
    }

    /// Plans every message of the payload. A batch whose counts are wrong is refused whole.
    pub(super) fn plan(
        &self,
        arrival: &Arrival<'_>,
        acknowledger: &Acknowledger,
        events: &ListenerEvents,
    ) -> Vec<Member> {
        let payload = arrival.payload;
        let refuse = |fault: Fault| {
            events.unusable(fault.as_str(), payload.len());
            vec![Member {
                bytes: payload.clone(),
                plan: Plan::Refuse(fault),
            }]
        };
        let split = hl7v2::batch::split(payload);
        if split.messages.is_empty() {
            let blank = payload.iter().all(u8::is_ascii_whitespace);
            return refuse(if blank { Fault::Empty } else { Fault::NoHeader });
        }
        if split
            .issues
            .iter()
            .any(|issue| matches!(issue.code, IssueCode::BatchCount | IssueCode::FileCount))
        {
            return refuse(Fault::BatchCount);
        }
        let single = !split.is_batch();
        split
            .messages
            .iter()
            .map(|member| {
                // A lone message keeps every byte around it; what is stored is what came in.
                let range = if single {
                    0..payload.len()
                } else {
                    member.range.clone()
                };
                let bytes = payload.slice(range);
                let plan = self
                    .message(&bytes, arrival, acknowledger, events)
                    .unwrap_or_else(|fault| {
                        events.unusable(fault.as_str(), bytes.len());
                        Plan::Refuse(fault)
                    });
                Member { bytes, plan }
            })
            .collect()
    }

    fn message(
        &self,
        bytes: &Bytes,
        arrival: &Arrival<'_>,
        acknowledger: &Acknowledger,
        events: &ListenerEvents,
    ) -> Result<Plan, Fault> {
        let (message, issues) = hl7v2::parse_with(bytes, &self.parse, hl7v2::Index::default())
            .map_err(|_| Fault::NoHeader)?;
        if issues.iter().any(|issue| issue.code.is_about_charset()) {
            events.charset_doubtful();
        }
        let header = message.header();
        let message_type = message_type(&message);
        events.message_received(&message_type, bytes.len());
        if hl7v2::ack::is_acknowledgement(&header) {
            return Err(Fault::Acknowledgement);
        }
        if header.control_id().trim().is_empty() {
            return Err(Fault::NoControlId);
        }
        if !self.may_speak(&header, arrival.names) {
            return Err(Fault::ForeignSender);
        }
        let route = self.routes.find(&self.listener, &message);
        if route.is_none() {
            events.unrouted(&message_type);
            if self.content.unrouted == Unrouted::Reject {
                return Err(Fault::Unrouted);
            }
        }
        let sender = key::sender(&header, self.content.sender.as_deref());
        let positive = acknowledger.positive(&header);
        let (name, destinations, ordering_keys) = match route {
            Some(route) => {
                if route.config.destinations.is_empty() {
                    events.filtered(&route.config.name);
                }
                let keys = key::ordering_keys(&message, route.ordering(), &self.listener, &sender);
                let patients = key::patients(&message, &sender);
                (
                    route.config.name.clone(),
                    route.destinations(&patients, &header.control_id()),
                    keys,
                )
            }
            None => (NO_ROUTE.to_owned(), Vec::new(), Vec::new()),
        };
        let record = NewRecord {
            payload: bytes.clone(),
            received_at_ms: arrival.received_at_ms,
            listener: self.listener.clone(),
            route: name.clone(),
            ordering_keys,
            dedup_key: Some(self.dedup_key(&message)),
            content_hash: hash::sha256(bytes),
            ack: positive.ack.clone(),
            destinations,
            attributes: BTreeMap::from([
                (MESSAGE_TYPE.to_owned(), message_type),
                (CONTROL_ID.to_owned(), header.control_id().into_owned()),
                (SENDER.to_owned(), sender),
            ]),
            urgent: route.is_some_and(|route| route.is_urgent(&message)),
            ..NewRecord::default()
        };
        Ok(Plan::Store {
            record: Some(Box::new(record)),
            route: name,
            positive,
            appended: None,
        })
    }

    /// Whether one of the sender's names stands for MSH-3 and MSH-4.
    fn may_speak(&self, header: &Header<'_>, names: &[&str]) -> bool {
        let fits = |allowed: &[String], value: &str| {
            allowed.is_empty() || allowed.iter().any(|one| one == value)
        };
        let (application, facility) = (
            header.sending_application().text(),
            header.sending_facility().text(),
        );
        self.content.senders.is_empty()
            || self.content.senders.iter().any(|sender| {
                names.contains(&sender.certificate.as_str())
                    && fits(&sender.applications, &application)
                    && fits(&sender.facilities, &facility)
            })
    }

    /// Listener, MSH-3, MSH-4 and MSH-10: control ids alone are used again by every sender.
    fn dedup_key(&self, message: &Message<'_>) -> String {
        let header = message.header();
        [
            self.listener.as_str(),
            &header.sending_application().whole_text(),
            &header.sending_facility().whole_text(),
            &header.control_id(),
        ]
        .join("\u{1f}")
    }
}

/// How the listener's messages are to be read.
pub(crate) fn parse_options(content: &Content) -> ParseOptions {
    let charset = |label: &Option<String>| {
        label
            .as_deref()
            .and_then(|label| encoding_rs::Encoding::for_label(label.as_bytes()))
    };
    ParseOptions {
        fallback_charset: charset(&content.charset_fallback),
        charset_override: charset(&content.charset_override),
        join_raw_cr: content.join_raw_cr,
        split_line_feeds: content.split_line_feeds,
    }
}

/// `ORU_R01` from MSH-9.1 and MSH-9.2; the code alone when there is no event.
fn message_type(message: &Message<'_>) -> String {
    let header = message.header();
    let (code, event) = (header.code(), header.event());
    if event.is_empty() {
        code.into_owned()
    } else {
        format!("{code}_{event}")
    }
}
