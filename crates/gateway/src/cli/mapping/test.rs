//! `fhirway mapping test`: the tests of a package, from its own `tests/` folder.

use std::{
    path::{Path, PathBuf},
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
    thread,
    time::Instant,
};

use mapping::Layer;

use crate::{
    cli::{Failure, Format, Outcome, Verdict, chain, output, watch},
    convert::Engine,
    packages,
};

mod case;
mod discover;
mod junit;
mod show;

use case::Ran;

/// Endings of maps and of the files of tests.
const WATCHED: &[&str] = &["yaml", "yml", "csv", "hl7", "json"];

/// Run the tests of a mapping package.
///
/// A test is a message in the package's tests/ folder, NAME.hl7, with the Bundle it must become,
/// NAME.bundle.json, or with assertions about it, NAME.assert.yaml, or with both. The tests of an overlay
/// run with the layers up to it. Every Bundle must also be valid FHIR.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  fhirway mapping test                        the package in this folder, or in ./mappings
  fhirway mapping test mappings site          a base folder and an overlay, each with its own tests
  fhirway mapping test --overlay site         an overlay on the shipped package
  fhirway mapping test --filter oru mappings  only tests with `oru` in their path
  fhirway mapping test --update mappings      write the Bundles anew; look at the difference before you keep it
  fhirway mapping test --watch mappings       again after each change, until Ctrl-C
  fhirway mapping test --junit report.xml     for a CI server

Exit code: 0 when all tests passed, 1 when one failed or the package has mistakes, 2 for wrong usage.")]
pub(crate) struct Args {
    /// Folders in layers: the base first, overlays after it [default: . or ./mappings]
    folders: Vec<PathBuf>,
    /// Overlay on top of the folders, or of the shipped package if none is named; may be given several times
    #[arg(long, value_name = "FOLDER")]
    overlay: Vec<PathBuf>,
    /// Only tests with this text in their path
    #[arg(long, value_name = "TEXT")]
    filter: Option<String>,
    /// Write the Bundles of NAME.bundle.json anew, and say which changed
    #[arg(long)]
    update: bool,
    /// Also write the results as JUnit XML
    #[arg(long, value_name = "FILE")]
    junit: Option<PathBuf>,
    /// Run again whenever a map or a test changes
    #[arg(long)]
    watch: bool,
    /// How to print
    #[arg(long, value_enum, default_value_t)]
    format: Format,
    /// Threads [default: one per core]
    #[arg(long, short, value_name = "N")]
    jobs: Option<usize>,
}

pub(crate) fn run(args: &Args) -> Outcome {
    let folders = sources(args)?;
    if args.watch {
        let paths = folders.iter().flatten().cloned().collect();
        return watch::repeat(paths, WATCHED, || once(args, &folders));
    }
    once(args, &folders)
}

/// The layers, the base first; `None` is the shipped package, whose tests are not in the program. Without any that was
/// named it is the package that is where the command is run.
fn sources(args: &Args) -> Result<Vec<Option<PathBuf>>, Failure> {
    let named = args.folders.iter().chain(&args.overlay).cloned().map(Some);
    let shipped = (args.folders.is_empty() && !args.overlay.is_empty()).then_some(None);
    let sources: Vec<_> = shipped.into_iter().chain(named).collect();
    if !sources.is_empty() {
        return Ok(sources);
    }
    [".", "mappings"]
        .into_iter()
        .map(PathBuf::from)
        .find(|folder| folder.join("package.yaml").is_file())
        .map(|folder| vec![Some(folder)])
        .ok_or_else(|| {
            Failure::Usage(
                "there is no package.yaml here or in ./mappings: name the folder of the package"
                    .to_owned(),
            )
        })
}

/// One run over all tests.
fn once(args: &Args, sources: &[Option<PathBuf>]) -> Outcome {
    let started = Instant::now();
    let mut cases = Vec::new();
    for (layer, folder) in sources.iter().enumerate() {
        if let Some(folder) = folder {
            cases.extend(discover::cases(&folder.join("tests"), layer)?);
        }
    }
    if cases.is_empty() {
        let tried: Vec<String> = sources
            .iter()
            .flatten()
            .map(|path| shown(&path.join("tests")))
            .collect();
        return Err(Failure::Usage(format!(
            "there is no test in {}: put NAME.hl7 there and run with --update",
            tried.join(" and ")
        )));
    }
    let total = cases.len();
    if let Some(text) = &args.filter {
        cases.retain(|case| case.name.contains(text.as_str()));
        if cases.is_empty() {
            let why = format!("none of the {total} tests has `{text}` in its path");
            return Err(Failure::Usage(why));
        }
    }
    let Some(engines) = engines(sources, &cases)? else {
        return Ok(Verdict::Bad);
    };
    let results = all(&cases, &engines, args);
    let summary = show::Summary::new(&results, started.elapsed());
    match args.format {
        Format::Json => output::print_json(&show::json(&results, &summary))?,
        Format::Text => output::print(&show::text(&results, &summary, output::colourful()))?,
    }
    if let Some(path) = &args.junit {
        std::fs::write(path, junit::report(&results, started.elapsed()))
            .map_err(|error| Failure::Usage(format!("cannot write {}: {error}", path.display())))?;
    }
    Ok(match summary.failed {
        0 => Verdict::Good,
        _ => Verdict::Bad,
    })
}

/// The package of each layer that has tests, made of the layers up to it; `None` after showing its mistakes.
fn engines(
    sources: &[Option<PathBuf>],
    cases: &[discover::Case],
) -> Result<Option<Vec<Option<Engine>>>, Failure> {
    let layers = sources
        .iter()
        .map(|folder| match folder {
            Some(folder) => packages::folder(folder),
            None => Ok(packages::shipped()),
        })
        .collect::<Result<Vec<Layer>, _>>()
        .map_err(|error| Failure::Usage(chain(&error)))?;
    let mut engines = Vec::new();
    for top in 0..layers.len() {
        if !cases.iter().any(|case| case.layer == top) {
            engines.push(None);
            continue;
        }
        let layers = layers.get(..=top).unwrap_or_default();
        let (package, diagnostics) = mapping::Package::compile(layers);
        let Some(package) = package else {
            output::error_text(&packages::render(layers, &diagnostics, output::lively()));
            let errors = diagnostics
                .iter()
                .filter(|found| found.severity == mapping::Severity::Error)
                .count();
            output::complain(&format!(
                "the package has {errors} errors, so no test was run"
            ));
            return Ok(None);
        };
        engines.push(Some(Engine::new(std::sync::Arc::new(package))));
    }
    Ok(Some(engines))
}

/// Runs the cases on several threads; the results stand in the order of the cases.
fn all(cases: &[discover::Case], engines: &[Option<Engine>], args: &Args) -> Vec<Ran> {
    let jobs = args
        .jobs
        .unwrap_or_else(|| thread::available_parallelism().map_or(1, usize::from))
        .clamp(1, cases.len().max(1));
    let next = AtomicUsize::new(0);
    let done = Mutex::new(Vec::with_capacity(cases.len()));
    thread::scope(|scope| {
        for _ in 0..jobs {
            scope.spawn(|| {
                loop {
                    let number = next.fetch_add(1, Ordering::Relaxed);
                    let Some(case) = cases.get(number) else {
                        return;
                    };
                    let Some(Some(engine)) = engines.get(case.layer) else {
                        return;
                    };
                    let ran = case::run(case, engine, args.update);
                    let mut done = done.lock().unwrap_or_else(PoisonError::into_inner);
                    done.push((number, ran));
                }
            });
        }
    });
    let mut done = done.into_inner().unwrap_or_else(PoisonError::into_inner);
    done.sort_by_key(|(number, _)| *number);
    done.into_iter().map(|(_, ran)| ran).collect()
}

/// A path as it was named, without a `./` in front.
fn shown(path: &Path) -> String {
    let path = path.strip_prefix(".").unwrap_or(path);
    path.display().to_string()
}
