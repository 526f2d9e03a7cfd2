//! A record as a message of the broker: the payload is the body, all else is in headers.
//!
//! Nothing that could name a patient is in a routing key or in the name of a queue: the key is a hash of the
//! ordering key, cut to 16 bits so that it cannot be turned back.

use std::collections::BTreeMap;

use bytes::Bytes;
use lapin::{
    BasicProperties,
    types::{AMQPValue, FieldTable, ShortString},
};

use crate::{embedded::lanes, record::NewRecord};

/// A record on its way, or a barrier that stands for one.
#[derive(Clone, Default, PartialEq, Eq)]
pub(crate) struct Message {
    pub(crate) record: i64,
    /// `None` where the bytes are not at hand.
    pub(crate) payload: Option<Bytes>,
    pub(crate) received_at_ms: i64,
    pub(crate) listener: String,
    pub(crate) route: String,
    pub(crate) ordering_keys: Vec<String>,
    pub(crate) attributes: BTreeMap<String, String>,
    pub(crate) replay_of: Option<i64>,
    /// It goes before others, as far as its lane allows.
    pub(crate) urgent: bool,
    /// The bytes do not fit their checksum.
    pub(crate) damaged: bool,
    /// Only holds up this lane until the record, which comes on another one, has been settled.
    pub(crate) barrier: Option<i64>,
    /// How many barriers must be first on their lanes before the record may go.
    pub(crate) barriers: usize,
}

// === impl Message ===

impl Message {
    pub(crate) fn new(record: i64, new: &NewRecord, replay_of: Option<i64>) -> Self {
        Self {
            record,
            payload: Some(new.payload.clone()),
            received_at_ms: new.received_at_ms,
            listener: new.listener.clone(),
            route: new.route.clone(),
            ordering_keys: new.ordering_keys.clone(),
            attributes: new.attributes.clone(),
            replay_of,
            urgent: new.urgent,
            damaged: false,
            barrier: None,
            barriers: lanes(&new.ordering_keys).len().saturating_sub(1),
        }
    }

    /// The lanes on which it stands itself. Of several keys it is one; barriers stand on the others.
    pub(crate) fn own_lanes(&self) -> Vec<i64> {
        match self.barrier {
            Some(lane) => vec![lane],
            // Without a key, a lane of its own: a copy of it must wait for it.
            None if self.ordering_keys.is_empty() => lanes(&[format!("\0{}", self.record)]),
            None => lanes(&self.ordering_keys).into_iter().take(1).collect(),
        }
    }

    /// What must be published before it, so that it can wait for all its keys and hold them all up.
    pub(crate) fn barriers(&self) -> Vec<Self> {
        let others = lanes(&self.ordering_keys).into_iter().skip(1);
        others
            .map(|lane| Self {
                record: self.record,
                payload: Some(Bytes::new()),
                barrier: Some(lane),
                ..Self::default()
            })
            .collect()
    }

    /// Decides over the queue it goes to. Without a key any will do.
    pub(crate) fn routing_key(&self) -> ShortString {
        let lane = self.own_lanes().first().copied().unwrap_or_default();
        ShortString::from((lane & 0xffff).to_string())
    }

    pub(crate) fn properties(&self) -> BasicProperties {
        let mut headers = FieldTable::default();
        let mut add = |name: &'static str, value: String| {
            headers.insert(name.into(), AMQPValue::LongString(value.into()));
        };
        let payload = self.payload.as_deref().unwrap_or_default();
        add("fhirway-checksum", crc32c::crc32c(payload).to_string());
        if let Some(lane) = self.barrier {
            add("fhirway-barrier", lane.to_string());
        } else {
            add("fhirway-received-at", self.received_at_ms.to_string());
            add("fhirway-listener", self.listener.clone());
            add("fhirway-route", self.route.clone());
            add("fhirway-keys", json(&self.ordering_keys));
            add("fhirway-attributes", json(&self.attributes));
            if self.urgent {
                add("fhirway-urgent", "1".to_owned());
            }
            if let Some(original) = self.replay_of {
                add("fhirway-replay-of", original.to_string());
            }
        }
        BasicProperties::default()
            .with_delivery_mode(2)
            .with_message_id(self.record.to_string().as_str().into())
            .with_headers(headers)
    }

    /// Reads a delivery; `None`: nobody of ours has published that.
    pub(crate) fn read(body: Vec<u8>, properties: &BasicProperties) -> Option<Self> {
        let headers = properties.headers().as_ref()?;
        let text = |name: &str| match headers.inner().get(name)? {
            AMQPValue::LongString(text) => {
                Some(String::from_utf8_lossy(text.as_bytes()).into_owned())
            }
            _ => None,
        };
        let record = properties.message_id().as_ref()?.as_str().parse().ok()?;
        let checksum: u32 = text("fhirway-checksum")?.parse().ok()?;
        let damaged = crc32c::crc32c(&body) != checksum;
        let payload = Some(Bytes::from(body));
        if let Some(lane) = text("fhirway-barrier") {
            return Some(Self {
                record,
                payload,
                damaged,
                barrier: Some(lane.parse().ok()?),
                ..Self::default()
            });
        }
        let ordering_keys: Vec<String> = serde_json::from_str(&text("fhirway-keys")?).ok()?;
        Some(Self {
            record,
            payload,
            damaged,
            received_at_ms: text("fhirway-received-at")?.parse().ok()?,
            listener: text("fhirway-listener")?,
            route: text("fhirway-route")?,
            attributes: serde_json::from_str(&text("fhirway-attributes")?).ok()?,
            replay_of: text("fhirway-replay-of").and_then(|text| text.parse().ok()),
            urgent: text("fhirway-urgent").is_some(),
            barrier: None,
            barriers: lanes(&ordering_keys).len().saturating_sub(1),
            ordering_keys,
        })
    }
}

impl std::fmt::Debug for Message {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        // Payload and keys may hold patient data.
        f.debug_struct("Message")
            .field("record", &self.record)
            .field("payload_bytes", &self.payload.as_ref().map(Bytes::len))
            .field("barrier", &self.barrier.is_some())
            .finish_non_exhaustive()
    }
}

/// Lists and maps of texts as JSON; these can always be written.
fn json(value: &impl serde::Serialize) -> String {
    serde_json::to_string(value).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn merge() -> Message {
        let new = NewRecord {
            payload: Bytes::from_static(b"MSH"),
            ordering_keys: vec!["a".to_owned(), "b".to_owned()],
            attributes: BTreeMap::from([("message_type".to_owned(), "ADT^A40".to_owned())]),
            ..NewRecord::default()
        };
        Message::new(7, &new, Some(3))
    }

    #[test]
    fn what_is_written_is_read() {
        let message = merge();
        let body = message.payload.clone().unwrap().to_vec();
        assert_eq!(Message::read(body, &message.properties()), Some(message));
    }

    #[test]
    fn other_bytes_are_damaged_and_other_peoples_messages_are_none() {
        let message = merge();
        let read = Message::read(b"MSX".to_vec(), &message.properties()).unwrap();
        assert!(read.damaged);
        assert_eq!(
            Message::read(b"MSH".to_vec(), &BasicProperties::default()),
            None
        );
    }

    #[test]
    fn a_record_with_two_keys_stands_on_one_lane_and_a_barrier_on_the_other() {
        let message = merge();
        let barriers = message.barriers();
        assert_eq!((message.barriers, barriers.len()), (1, 1));
        let mut all = message.own_lanes();
        all.extend(barriers[0].own_lanes());
        assert_eq!(all, lanes(&message.ordering_keys));
        let body = Vec::new();
        let read = Message::read(body, &barriers[0].properties()).unwrap();
        assert_eq!(read, barriers[0]);
    }

    #[test]
    fn a_routing_key_is_short_whatever_the_ordering_key_says() {
        let key = merge().routing_key();
        assert!(key.as_str().parse::<u16>().is_ok(), "{key}");
    }
}
