//! What a test assumes about route and destination: the `context:` of an assertion file.

use std::collections::BTreeMap;

use fhir::bundle::{BundleKind, BundleOptions, Ids};
use jiff::tz::TimeZone;

use super::assertions::Reader;
use crate::context::Context;
use crate::yaml::Node;

/// What a test assumes; what it does not say is as in `fhirway convert`.
#[derive(Clone, Debug, Default)]
pub struct TestSettings {
    sender: Option<String>,
    zone: Option<TimeZone>,
    naming_base: Option<String>,
    policies: BTreeMap<String, String>,
    kind: Option<BundleKind>,
    ids: Option<Ids>,
}

impl TestSettings {
    /// What the conversion may know beside the message.
    pub fn context(&self) -> Context {
        Context {
            sender: self.sender.clone().unwrap_or_default(),
            zone: self.zone.clone(),
            naming_base: self.naming_base.clone().unwrap_or_default(),
            policies: self.policies.clone(),
            ..Context::default()
        }
    }

    /// How the Bundle is written: as a golden file, for people to read.
    pub fn bundle(&self) -> BundleOptions<'static> {
        BundleOptions {
            kind: self.kind.unwrap_or_default(),
            ids: self.ids.unwrap_or_default(),
            pretty: true,
            base_url: None,
        }
    }

    /// The policies that are set, by name.
    pub fn policies(&self) -> impl Iterator<Item = (&str, &str)> {
        let policies = self.policies.iter();
        policies.map(|(name, value)| (name.as_str(), value.as_str()))
    }

    /// These settings, and those of `base` where they say nothing.
    pub(super) fn over(mut self, base: &TestSettings) -> TestSettings {
        self.sender = self.sender.or_else(|| base.sender.clone());
        self.zone = self.zone.or_else(|| base.zone.clone());
        self.naming_base = self.naming_base.or_else(|| base.naming_base.clone());
        self.kind = self.kind.or(base.kind);
        self.ids = self.ids.or(base.ids);
        for (name, value) in &base.policies {
            let name = name.clone();
            self.policies.entry(name).or_insert_with(|| value.clone());
        }
        self
    }

    pub(super) fn read(node: &Node, reader: &mut Reader) -> TestSettings {
        const KEYS: [&str; 6] = ["sender", "zone", "naming-base", "policies", "bundle", "ids"];
        let mut settings = TestSettings::default();
        for (key, value) in reader.pairs(node) {
            match key.text().unwrap_or_default() {
                "sender" => settings.sender = reader.text(value),
                "naming-base" => settings.naming_base = reader.text(value),
                "zone" => {
                    settings.zone = reader.text(value).and_then(|name| {
                        let zone = TimeZone::get(&name).ok();
                        if zone.is_none() {
                            reader.wrong(
                                value,
                                format!("there is no time zone `{name}`"),
                                "write its IANA name, such as Europe/Vienna",
                            );
                        }
                        zone
                    })
                }
                "policies" => {
                    for (name, value) in reader.pairs(value) {
                        if let (Some(name), Some(value)) = (name.text(), reader.text(value)) {
                            settings.policies.insert(name.to_owned(), value);
                        }
                    }
                }
                "bundle" => {
                    settings.kind = reader.one_of(
                        value,
                        &[
                            ("transaction", BundleKind::Transaction),
                            ("batch", BundleKind::Batch),
                            ("collection", BundleKind::Collection),
                        ],
                    );
                }
                "ids" => {
                    settings.ids = reader.one_of(
                        value,
                        &[("conditional", Ids::Conditional), ("client", Ids::Client)],
                    );
                }
                _ => reader.unknown(key, &KEYS),
            }
        }
        settings
    }
}
