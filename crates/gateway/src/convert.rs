//! From bytes to a Bundle: parse, map, validate, write. Used by the way out and by `fhirway convert`.
//!
//! Nothing that happens to one message gets out of here but its result: a panic is caught, the converter
//! that it happened in is thrown away, and the message is reported.

use std::{
    panic::{AssertUnwindSafe, catch_unwind},
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};

use fhir::{
    bundle::{self, BundleOptions, Entry},
    outcome::{Issue, IssueType, Severity},
    tree::Tree,
};
use hl7v2::ParseOptions;
use mapping::{CodeMiss, Context, ConvertError, Converter, Package, Report};

use crate::config::route::Validation;

/// Converts with one package. Shared between threads; each takes a converter of its own from a pool.
pub struct Engine {
    package: Arc<Package>,
    pool: Mutex<Vec<Converter>>,
}

/// How one message is to be converted.
pub struct Settings<'a> {
    /// How to read it.
    pub parse: &'a ParseOptions,
    /// What the mapping may know beside the message.
    pub context: &'a Context,
    /// How to write the Bundle.
    pub bundle: BundleOptions<'a>,
    /// What to do about a Bundle that breaks the specification.
    pub validation: Validation,
    /// Decides at last what is done with each resource, when somebody does.
    pub decide: Option<&'a Decide<'a>>,
}

/// Changes what is done with each resource ([`fhir::bundle::Write`]).
pub type Decide<'a> = dyn Fn(&hl7v2::Message<'_>, &Tree, &mut [Entry<'_>]) + 'a;

/// A message that became a Bundle. Patient data: it has no `Debug`.
pub struct Converted {
    /// The Bundle as JSON.
    pub bundle: Vec<u8>,
    /// How many entries it has.
    pub resources: usize,
    /// What the mapping has to tell.
    pub report: Report,
    /// Whether a person should look before it is sent: a code table says so.
    pub park: bool,
    /// What the validator found.
    pub findings: Vec<Issue>,
    /// What the parser found.
    pub parse_issues: Vec<hl7v2::Issue>,
    /// How long it took.
    pub timings: Timings,
}

/// How long each step took.
#[derive(Clone, Copy, Debug, Default)]
pub struct Timings {
    /// Parsing.
    pub parse: Duration,
    /// Mapping.
    pub map: Duration,
    /// Validating.
    pub validate: Duration,
    /// Writing JSON.
    pub write: Duration,
}

/// Why a message did not become a Bundle. Nothing of its content.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ConvertFailure {
    /// It is no message.
    #[error("not a message: {0}")]
    Parse(String),
    /// The mapping gave up.
    #[error("{0}")]
    Mapping(String),
    /// A table that must list all codes does not.
    #[error("{why}")]
    CodeMiss {
        /// Which table, and where the code stands.
        why: String,
        /// All codes of the message that tables did not list.
        misses: Vec<CodeMiss>,
    },
    /// The Bundle breaks the specification.
    #[error("the bundle breaks the fhir specification in {} places", .0.len())]
    Invalid(Vec<Issue>),
    /// The Bundle cannot be written.
    #[error("the bundle cannot be written: {0}")]
    Write(String),
    /// A mistake in the gateway itself.
    #[error("internal error while converting")]
    Panicked,
}

impl ConvertFailure {
    /// A short code: the reason of a dead letter, and a metric label.
    pub fn reason(&self) -> &'static str {
        match self {
            Self::Parse(_) => "parse",
            Self::Mapping(_) | Self::Panicked => "mapping",
            Self::CodeMiss { .. } => "code-miss",
            Self::Invalid(_) => "validation",
            Self::Write(_) => "bundle",
        }
    }

    /// What is wrong, as issues of an OperationOutcome.
    pub fn issues(&self) -> Vec<Issue> {
        let issue = |code, message: String| {
            vec![Issue {
                severity: Severity::Fatal,
                code,
                expression: String::new(),
                message: message.into(),
            }]
        };
        match self {
            Self::Parse(_) => issue(IssueType::Structure, self.to_string()),
            Self::Mapping(_) | Self::CodeMiss { .. } | Self::Write(_) => {
                issue(IssueType::Processing, self.to_string())
            }
            Self::Invalid(issues) => issues.clone(),
            Self::Panicked => issue(IssueType::Exception, self.to_string()),
        }
    }
}

impl Engine {
    /// An engine for a package.
    pub fn new(package: Arc<Package>) -> Self {
        Self {
            package,
            pool: Mutex::default(),
        }
    }

    /// The package.
    pub fn package(&self) -> &Arc<Package> {
        &self.package
    }

    /// Converts one message.
    ///
    /// # Errors
    /// [`ConvertFailure`]; with `enforce` also for a Bundle that breaks the specification.
    pub fn convert(
        &self,
        bytes: &[u8],
        settings: &Settings<'_>,
    ) -> Result<Converted, ConvertFailure> {
        let mut converter = self.take();
        // What the panic leaves half-done is the converter, which is not used again.
        let result = catch_unwind(AssertUnwindSafe(|| {
            convert(&mut converter, bytes, settings)
        }));
        match result {
            Ok(result) => {
                self.pool
                    .lock()
                    .unwrap_or_else(PoisonError::into_inner)
                    .push(converter);
                result
            }
            Err(_) => Err(ConvertFailure::Panicked),
        }
    }

    fn take(&self) -> Converter {
        let pooled = self
            .pool
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .pop();
        pooled.unwrap_or_else(|| self.package.converter())
    }
}

fn convert(
    converter: &mut Converter,
    bytes: &[u8],
    settings: &Settings<'_>,
) -> Result<Converted, ConvertFailure> {
    let mut timings = Timings::default();
    let mut clock = Instant::now();
    let mut lap = || std::mem::replace(&mut clock, Instant::now()).elapsed();

    let (message, parse_issues) = hl7v2::parse_with(bytes, settings.parse, hl7v2::Index::default())
        .map_err(|error| ConvertFailure::Parse(error.to_string()))?;
    timings.parse = lap();

    let failed = |error: &ConvertError, misses: &[CodeMiss]| match error {
        ConvertError::CodeMiss { .. } => ConvertFailure::CodeMiss {
            why: error.to_string(),
            misses: misses.to_vec(),
        },
        _ => ConvertFailure::Mapping(error.to_string()),
    };
    if let Err(error) = converter.convert(&message, settings.context).map(drop) {
        return Err(failed(&error, converter.code_misses()));
    }
    let conversion = converter.last();
    timings.map = lap();

    let entries = conversion.entries();
    let findings = match settings.validation {
        Validation::Off => Vec::new(),
        Validation::Warn | Validation::Enforce => {
            fhir::validate::entries(conversion.tree(), &entries, fhir::definitions::r4())
        }
    };
    timings.validate = lap();
    if settings.validation == Validation::Enforce && findings.iter().any(is_error) {
        return Err(ConvertFailure::Invalid(findings));
    }

    let mut entries = entries;
    if let Some(decide) = settings.decide {
        decide(&message, conversion.tree(), &mut entries);
    }
    let mut out = Vec::with_capacity(16 * 1024);
    bundle::write(conversion.tree(), &entries, &settings.bundle, &mut out)
        .map_err(|error| ConvertFailure::Write(error.to_string()))?;
    timings.write = lap();
    Ok(Converted {
        bundle: out,
        resources: entries.len(),
        report: conversion.report().clone(),
        park: conversion.disposition() == mapping::Disposition::Park,
        findings,
        parse_issues,
        timings,
    })
}

/// Whether a finding means that a strict server would refuse the Bundle.
pub fn is_error(issue: &Issue) -> bool {
    matches!(issue.severity, Severity::Error | Severity::Fatal)
}
