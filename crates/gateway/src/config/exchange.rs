//! A destination of `type: rabbitmq`: an exchange that Bundles or messages are published to.

use hl7v2::{Message, Path};
use serde::{Serialize, Serializer};

use super::{secret::Secret, section::Section};

/// The keys that such a destination has; the others are about FHIR servers.
const KEYS: [&str; 15] = [
    "type",
    "url",
    "exchange",
    "routing_key",
    "content",
    "processing",
    "when",
    "rate",
    "ids",
    "bundle",
    "concurrency",
    "connect_timeout",
    "timeout",
    "retry",
    "tls",
];
/// AMQP 0-9-1: a routing key is a short string.
const MAX_KEY: usize = 255;

/// An exchange of a RabbitMQ broker.
#[derive(Clone, Debug, Serialize)]
pub struct Exchange {
    /// `amqp://` or `amqps://` URL; may hold a password, so it is a secret.
    pub url: Secret,
    /// Its name; empty is the default exchange, where the routing key is the name of a queue.
    pub exchange: String,
    /// How the routing key is made from the message.
    pub routing_key: RoutingKey,
    /// What is published.
    pub content: Content,
}

/// What is published.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Content {
    /// The mapped Bundle as JSON.
    Bundle,
    /// The message as it came in.
    Message,
}

/// A routing key with fields of the message in braces: `lab.{MSH-4}.{MSH-9.1}`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RoutingKey {
    text: String,
    parts: Vec<Part>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Part {
    Text(String),
    Field(Path),
}

/// Reads it from the section of a destination.
pub(super) fn read(section: &Section<'_>) -> Exchange {
    section.only(&KEYS, "a destination of type rabbitmq");
    Exchange {
        url: url(section),
        exchange: section.required_text("exchange"),
        routing_key: section
            .parsed("routing_key", RoutingKey::parse)
            .unwrap_or_default(),
        content: section
            .choice(
                "content",
                &[("bundle", Content::Bundle), ("message", Content::Message)],
            )
            .unwrap_or(Content::Bundle),
    }
}

/// The key `url`: where the broker is.
pub(super) fn url(section: &Section<'_>) -> Secret {
    let url = section.secret("url").unwrap_or_else(|| {
        if section.node("url").is_none() {
            section.error(
                section.origin(),
                format!("{} is missing", section.path_of("url")),
            );
        }
        Secret::unset()
    });
    if section.node("url").is_some()
        && url.is_set()
        && !(url.expose().starts_with("amqp://") || url.expose().starts_with("amqps://"))
    {
        section.error(
            &section.origin_of("url"),
            format!(
                "{} must begin with amqp:// or amqps://",
                section.path_of("url")
            ),
        );
    }
    url
}

// === impl RoutingKey ===

impl RoutingKey {
    /// Reads `{MSH-4}.{MSH-9.1}.{MSH-9.2}`.
    fn parse(text: &str) -> Result<Self, String> {
        let mut parts = Vec::new();
        let mut rest = text;
        while !rest.is_empty() {
            let (before, behind) = rest.split_once('{').unwrap_or((rest, ""));
            if before.contains('}') || !before.is_ascii() {
                return Err(format!("`{before}` cannot stand in a routing key"));
            }
            if !before.is_empty() {
                parts.push(Part::Text(before.to_owned()));
            }
            if before.len() == rest.len() {
                break;
            }
            let (field, after) = behind
                .split_once('}')
                .ok_or_else(|| format!("`{text}`: a brace is not closed"))?;
            match field.parse::<Path>() {
                Ok(path) if path.field.is_some() && field == field.to_ascii_uppercase() => {
                    parts.push(Part::Field(path))
                }
                _ => return Err(format!("`{field}` is not a path such as MSH-9.1")),
            }
            rest = after;
        }
        Ok(Self {
            text: text.to_owned(),
            parts,
        })
    }

    /// The key of one message. A value becomes one word: what is no letter, digit, `-` or `_` becomes `_`, and so does
    /// nothing.
    pub fn of(&self, message: &Message<'_>) -> String {
        let mut key = String::new();
        for part in &self.parts {
            match part {
                Part::Text(text) => key.push_str(text),
                Part::Field(path) => {
                    let text = message
                        .get(path)
                        .filter(|node| node.is_valued())
                        .map(|node| node.text().trim().to_owned())
                        .unwrap_or_default();
                    if text.is_empty() {
                        key.push('_');
                    }
                    key.extend(text.chars().map(|c| match c {
                        '-' | '_' => c,
                        c if c.is_ascii_alphanumeric() => c,
                        _ => '_',
                    }));
                }
            }
        }
        // All of it is ASCII.
        key.truncate(MAX_KEY);
        key
    }
}

impl Default for RoutingKey {
    fn default() -> Self {
        Self::parse("{MSH-4}.{MSH-9.1}.{MSH-9.2}").unwrap_or(Self {
            text: String::new(),
            parts: Vec::new(),
        })
    }
}

impl Serialize for RoutingKey {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(template: &str) -> String {
        let bytes =
            b"MSH|^~\\&|LAB ONE|NORTH.LAB^1.2^ISO|||20260101||ORU^R01|1|P|2.5\rPID|1||\"\"\r";
        let (message, _) = hl7v2::parse(bytes).unwrap();
        RoutingKey::parse(template).unwrap().of(&message)
    }

    #[test]
    fn the_key_is_made_of_clean_words() {
        assert_eq!(key("{MSH-4}.{MSH-9.1}.{MSH-9.2}"), "NORTH_LAB.ORU.R01");
        assert_eq!(key("lab.{MSH-3}.{MSH-11}x"), "lab.LAB_ONE.Px");
        assert_eq!(key("{PID-3}.{PV1-2}"), "_._", "nothing is a word too");
        assert_eq!(key("plain"), "plain");
        assert_eq!(key(""), "");
        assert_eq!(key(&"{MSH-4}".repeat(90)).len(), MAX_KEY);
        assert_eq!(
            serde_json::to_value(RoutingKey::default()).unwrap(),
            "{MSH-4}.{MSH-9.1}.{MSH-9.2}"
        );
    }

    #[test]
    fn mistakes_are_refused() {
        for text in ["{MSH-4", "MSH-4}", "{msh-4}", "{MSH}", "{}", "{MSH-4}.ä"] {
            assert!(RoutingKey::parse(text).is_err(), "{text}");
        }
    }
}
