//! Packages in memory, invented messages, and what they become. Everything goes through the public API.

use std::path::Path;
use std::sync::Arc;

use fhir::bundle::BundleOptions;
use mapping::{Context, Diagnostic, Disposition, Layer, Package, Report, SourceFile};
use serde_json::Value;

/// Path inside the package, and text.
pub type File<'t> = (&'t str, &'t str);

pub fn layer(name: &str, files: &[File<'_>]) -> Layer {
    let files = files
        .iter()
        .map(|(path, text)| SourceFile {
            path: (*path).to_owned(),
            text: (*text).to_owned(),
        })
        .collect();
    Layer {
        name: name.to_owned(),
        files,
    }
}

/// Compiles layers that must be free of errors.
pub fn package(layers: &[Layer]) -> Arc<Package> {
    let (package, diagnostics) = Package::compile(layers);
    let Some(package) = package else {
        panic!("{}", rendered(layers, &diagnostics));
    };
    Arc::new(package)
}

pub fn rendered(layers: &[Layer], diagnostics: &[Diagnostic]) -> String {
    diagnostics
        .iter()
        .map(|found| {
            let source = Package::source(layers, &found.file).unwrap_or_default();
            format!("{}\n", found.render(source, false))
        })
        .collect()
}

/// What one message became.
#[derive(Debug)]
pub struct Converted {
    pub json: String,
    pub bundle: Value,
    pub report: Report,
    pub disposition: Disposition,
}

pub fn convert(package: &Arc<Package>, message: &str) -> Converted {
    convert_with(package, message, &Context::default())
}

pub fn convert_with(package: &Arc<Package>, message: &str, context: &Context) -> Converted {
    let (parsed, _) = hl7v2::parse(message.as_bytes()).unwrap();
    let mut converter = package.converter();
    let conversion = converter.convert(&parsed, context).unwrap();
    let mut out = Vec::new();
    let options = BundleOptions {
        pretty: true,
        ..BundleOptions::default()
    };
    conversion.write_bundle(&options, &mut out).unwrap();
    let json = String::from_utf8(out).unwrap();
    let bundle = if conversion.resource_count() == 0 {
        Value::Null
    } else {
        serde_json::from_str(&json).unwrap()
    };
    Converted {
        json,
        bundle,
        report: conversion.report().clone(),
        disposition: conversion.disposition(),
    }
}

impl Converted {
    pub fn entries(&self) -> &[Value] {
        self.bundle["entry"].as_array().map_or(&[], Vec::as_slice)
    }

    pub fn all<'b>(&'b self, resource: &'b str) -> Vec<&'b Value> {
        self.entries()
            .iter()
            .map(|entry| &entry["resource"])
            .filter(|found| found["resourceType"] == resource)
            .collect()
    }

    /// The only resource of that type.
    pub fn only(&self, resource: &str) -> &Value {
        let mut found = self
            .entries()
            .iter()
            .map(|entry| &entry["resource"])
            .filter(|found| found["resourceType"] == resource);
        match (found.next(), found.next()) {
            (Some(one), None) => one,
            (one, _) => panic!(
                "{} {resource} in {}",
                one.map_or("no", |_| "two"),
                self.json
            ),
        }
    }

    /// The entry of the only resource of that type.
    pub fn entry(&self, resource: &str) -> &Value {
        self.only(resource);
        self.entries()
            .iter()
            .find(|entry| entry["resource"]["resourceType"] == resource)
            .unwrap()
    }

    /// `urn:uuid` of the only resource of that type.
    pub fn url(&self, resource: &str) -> &str {
        self.entry(resource)["fullUrl"].as_str().unwrap()
    }

    pub fn urls<'b>(&'b self, resource: &str) -> Vec<&'b str> {
        self.entries()
            .iter()
            .filter(|entry| entry["resource"]["resourceType"] == resource)
            .map(|entry| entry["fullUrl"].as_str().unwrap())
            .collect()
    }

    /// The resource that a reference points to.
    pub fn target(&self, reference: &Value) -> &Value {
        let url = reference["reference"].as_str().unwrap();
        let entry = self.entries().iter().find(|entry| entry["fullUrl"] == url);
        &entry.unwrap()["resource"]
    }

    pub fn codes(&self) -> Vec<String> {
        let code = |issue: &mapping::ReportIssue| {
            let place = issue.place.map(|place| place.to_string());
            format!("{} {}", issue.code, place.unwrap_or_default())
        };
        self.report.issues.iter().map(code).collect()
    }

    pub fn unmapped(&self) -> Vec<String> {
        self.report
            .unmapped
            .iter()
            .map(ToString::to_string)
            .collect()
    }
}

/// A message of that type with these segments after its MSH.
pub fn message(kind: &str, segments: &[&str]) -> String {
    numbered("M1", kind, segments)
}

/// The same with a control id.
pub fn numbered(control: &str, kind: &str, segments: &[&str]) -> String {
    let mut text =
        format!("MSH|^~\\&|APP|NORTH|FHIR|SOUTH|20240301101530+0100||{kind}|{control}|P|2.5.1\r");
    for segment in segments {
        text.push_str(segment);
        text.push('\r');
    }
    text
}

pub const ADMIT: &str = "ADT^A01^ADT_A01";
pub const RESULT: &str = "ORU^R01^ORU_R01";

/// The mapping package of this repository.
pub fn shipped_files() -> Vec<SourceFile> {
    fn walk(folder: &Path, base: &Path, files: &mut Vec<SourceFile>) {
        let mut paths: Vec<_> = std::fs::read_dir(folder)
            .unwrap()
            .map(|entry| entry.unwrap().path())
            .collect();
        paths.sort();
        for path in paths {
            if path.is_dir() {
                walk(&path, base, files);
            } else if path.extension().is_some_and(|found| found == "yaml") {
                let inside = path.strip_prefix(base).unwrap();
                files.push(SourceFile {
                    path: inside.to_string_lossy().replace('\\', "/"),
                    text: std::fs::read_to_string(&path).unwrap(),
                });
            }
        }
    }
    let base = shipped_folder();
    let mut files = Vec::new();
    walk(&base, &base, &mut files);
    files
}

pub fn shipped_folder() -> std::path::PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../mappings")
}

pub fn shipped_layer() -> Layer {
    Layer {
        name: "mappings".to_owned(),
        files: shipped_files(),
    }
}
