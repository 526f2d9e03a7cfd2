//! One test: convert its message, and compare.

use std::{
    fs,
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use fhir::{
    outcome::Issue,
    tree::{self, Limits},
};
use hl7v2::ParseOptions;
use mapping::testing::{Assertions, Difference, Mismatch, Subject, differences};

use super::{discover::Case, shown};
use crate::{
    cli::files,
    config::route::Validation,
    convert::{ConvertFailure, Converted, Engine, Settings, is_error},
};

/// A test that has been run.
#[derive(Debug)]
pub(super) struct Ran {
    pub(super) name: String,
    pub(super) problems: Vec<Problem>,
    /// The Bundle that was written anew.
    pub(super) updated: Option<PathBuf>,
    pub(super) took: Duration,
}

/// Why a test failed.
#[derive(Debug)]
pub(super) enum Problem {
    /// It could not be run as it stands.
    Broken(String),
    /// Its assertion file has mistakes; each with its line.
    Unreadable(String),
    /// An assertion does not hold.
    Mismatch(Mismatch),
    /// The Bundle is another one.
    Differs(PathBuf, Vec<Difference>),
    /// The Bundle breaks the FHIR specification.
    Invalid(Vec<Issue>),
}

pub(super) fn run(case: &Case, engine: &Engine, update: bool) -> Ran {
    let started = Instant::now();
    let mut updated = None;
    let problems = match judge(case, engine, update, &mut updated) {
        Ok(problems) => problems,
        Err(problem) => vec![problem],
    };
    Ran {
        name: case.name.clone(),
        problems,
        updated,
        took: started.elapsed(),
    }
}

fn judge(
    case: &Case,
    engine: &Engine,
    update: bool,
    updated: &mut Option<PathBuf>,
) -> Result<Vec<Problem>, Problem> {
    if let Some(stray) = &case.stray {
        return Err(Problem::Broken(stray.clone()));
    }
    let Some(message) = &case.message else {
        let why = format!("there is no {}.hl7", case.name);
        return Err(Problem::Broken(why));
    };
    let assertions = assertions(case)?;
    known_policies(&assertions, engine)?;
    let result = convert(message, &assertions, engine)?;

    let mut problems = Vec::new();
    match result {
        Ok(converted) => {
            let invalid: Vec<Issue> = converted
                .findings
                .iter()
                .filter(|found| is_error(found))
                .cloned()
                .collect();
            let valid = invalid.is_empty();
            if !valid {
                problems.push(Problem::Invalid(invalid));
            }
            problems.extend(asserted(&assertions, &converted)?);
            problems.extend(golden(
                case,
                &assertions,
                &converted,
                update && valid,
                updated,
            )?);
        }
        Err(failure) => {
            let why = failure.to_string();
            let subject = Subject::Failed(&why);
            problems.extend(
                assertions
                    .check(&subject)
                    .into_iter()
                    .map(Problem::Mismatch),
            );
        }
    }
    Ok(problems)
}

/// The test's own assertions over those of its folders.
fn assertions(case: &Case) -> Result<Assertions, Problem> {
    let mut merged = Assertions::default();
    for path in case.defaults.iter().rev().chain(&case.assertions) {
        merged = read_assertions(path)?.over(&merged);
    }
    Ok(merged)
}

fn read_assertions(path: &Path) -> Result<Assertions, Problem> {
    let text = fs::read_to_string(path).map_err(|error| unreadable(path, &error))?;
    Assertions::read(&shown(path), &text).map_err(|findings| {
        let rendered = findings
            .iter()
            .map(|finding| finding.render(&text, false) + "\n")
            .collect::<String>();
        Problem::Unreadable(rendered)
    })
}

fn known_policies(assertions: &Assertions, engine: &Engine) -> Result<(), Problem> {
    for (name, value) in assertions.settings().policies() {
        if let Some(why) = engine.package().refuses_policy(name, value) {
            return Err(Problem::Broken(format!("context.policies.{name}: {why}")));
        }
    }
    Ok(())
}

fn convert(
    path: &Path,
    assertions: &Assertions,
    engine: &Engine,
) -> Result<Result<Converted, ConvertFailure>, Problem> {
    let bytes = fs::read(path).map_err(|error| unreadable(path, &error))?;
    let ranges = files::messages(&bytes);
    let [range] = ranges.as_slice() else {
        return Err(Problem::Broken(format!(
            "{} holds {} messages; a test has one",
            shown(path),
            ranges.len()
        )));
    };
    let settings = Settings {
        parse: &ParseOptions::default(),
        context: &assertions.settings().context(),
        bundle: assertions.settings().bundle(),
        validation: Validation::Warn,
        decide: None,
    };
    let message = bytes.get(range.clone()).unwrap_or_default();
    Ok(engine.convert(message, &settings))
}

/// What the assertions say about the Bundle as it is written.
fn asserted(assertions: &Assertions, converted: &Converted) -> Result<Vec<Problem>, Problem> {
    let (tree, bundle) = tree::read(&converted.bundle, &Limits::default())
        .map_err(|error| Problem::Broken(format!("the bundle cannot be read: {error}")))?;
    let subject = Subject::Converted {
        tree: &tree,
        bundle,
        report: &converted.report,
        parse_issues: &converted.parse_issues,
        parked: converted.park,
    };
    let wrong = assertions.check(&subject);
    Ok(wrong.into_iter().map(Problem::Mismatch).collect())
}

/// Compares with the golden Bundle, or writes it.
fn golden(
    case: &Case,
    assertions: &Assertions,
    converted: &Converted,
    update: bool,
    updated: &mut Option<PathBuf>,
) -> Result<Option<Problem>, Problem> {
    let path = &case.bundle;
    let exists = path.exists();
    if assertions.must_fail() || (!exists && case.assertions.is_some()) {
        return Ok(None);
    }
    // As `fhirway convert` prints it: the Bundle and a line break.
    let mut made = converted.bundle.clone();
    made.push(b'\n');
    let known = match exists {
        true => Some(fs::read(path).map_err(|error| unreadable(path, &error))?),
        false => None,
    };
    if known.as_ref() == Some(&made) {
        return Ok(None);
    }
    if update {
        fs::write(path, &made)
            .map_err(|error| Problem::Broken(format!("cannot write {}: {error}", shown(path))))?;
        *updated = Some(path.clone());
        return Ok(None);
    }
    let Some(known) = known else {
        return Err(Problem::Broken(format!(
            "there is neither {} nor an assertion file: --update writes the Bundle",
            shown(path)
        )));
    };
    let read = |bytes: &[u8]| tree::read(bytes, &Limits::default());
    let (old, old_root) =
        read(&known).map_err(|error| Problem::Broken(format!("{}: {error}", shown(path))))?;
    let (new, new_root) = read(&made)
        .map_err(|error| Problem::Broken(format!("the bundle cannot be read: {error}")))?;
    let found = differences((&old, old_root), (&new, new_root));
    Ok((!found.is_empty()).then(|| Problem::Differs(path.clone(), found)))
}

fn unreadable(path: &Path, error: &std::io::Error) -> Problem {
    Problem::Broken(format!("cannot read {}: {error}", shown(path)))
}
