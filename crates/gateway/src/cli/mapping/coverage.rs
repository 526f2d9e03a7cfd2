//! `fhirway mapping coverage`: how much of HL7's "Version 2 to FHIR" guide a package implements.

use std::path::PathBuf;

use clap::ValueEnum;
use mapping::{Coverage, CoverageCounts, GuideKind, MapCoverage, Outcome, Package, RowCoverage};
use serde_json::{Value, json};

use crate::cli::{Failure, Outcome as CommandOutcome, Verdict, chain, output};
use crate::packages;

/// Show which rows of HL7's Version 2 to FHIR guide the maps implement, and which not.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  fhirway mapping coverage                       the shipped package, by kind and map
  fhirway mapping coverage --missing             the rows that nothing does
  fhirway mapping coverage --conditions          the rows whose condition the rules do not ask
  fhirway mapping coverage --map 'PID[Patient]'  one map row by row, with the rule of each
  fhirway mapping coverage mappings site         a base folder and an overlay
  fhirway mapping coverage --format markdown     the tables of mappings/COVERAGE.md
  fhirway mapping coverage --format json | jq '.counts.segment'

implemented  a rule reads the row's source and writes its element, found in the compiled rules
corrected    the same at another element, since the guide's is wrong (`rows: as ELEMENT`)
claimed      a file says that a map does it, which reads the source (`rows: by MAP`)
policy       a policy decides, which is off by default
deviates     done otherwise; the file says why
missing      nothing does it

Exit code: 0; 1 when rows are missing and --missing asks for them; 2 for wrong usage.")]
pub(crate) struct Args {
    /// Folders in layers: the base first, overlays after it [default: the shipped package]
    folders: Vec<PathBuf>,
    /// Only the rows that nothing does
    #[arg(long)]
    missing: bool,
    /// Only the rows that are done, and whose condition asks about a place that no rule asks about
    ///
    /// Whether it asks the same is for a person to see.
    #[arg(long, conflicts_with = "missing")]
    conditions: bool,
    /// One map of the guide, row by row
    #[arg(long, value_name = "MAP", conflicts_with_all = ["missing", "conditions"])]
    map: Option<String>,
    /// How to print
    #[arg(long, value_enum, default_value_t)]
    format: Format,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
enum Format {
    /// For people.
    #[default]
    Text,
    /// One JSON document.
    Json,
    /// Tables for a page.
    Markdown,
}

pub(crate) fn run(args: &Args) -> CommandOutcome {
    let layers = if args.folders.is_empty() {
        vec![packages::shipped()]
    } else {
        args.folders
            .iter()
            .map(|path| packages::folder(path))
            .collect::<Result<Vec<_>, _>>()
            .map_err(|error| Failure::Usage(chain(&error)))?
    };
    let (package, diagnostics) = Package::compile(&layers);
    let Some(package) = package else {
        output::error_text(&packages::render(&layers, &diagnostics, output::lively()));
        output::error_text("the package has errors: `fhirway mapping check` lists them all\n");
        return Ok(Verdict::Bad);
    };
    let coverage = package.coverage();
    if let Some(name) = &args.map {
        return one(&coverage, name, args.format);
    }
    match args.format {
        Format::Json => output::print_json(&all(&coverage, args))?,
        Format::Markdown => output::print(&coverage.markdown())?,
        Format::Text if args.missing => output::print(&coverage.missing())?,
        Format::Text if args.conditions => output::print(&coverage.conditions())?,
        Format::Text => output::print(&coverage.text())?,
    }
    let missing = args.missing && coverage.counts(None).missing > 0;
    Ok(if missing { Verdict::Bad } else { Verdict::Good })
}

fn one(coverage: &Coverage, name: &str, format: Format) -> CommandOutcome {
    let Some(map) = coverage.map(name) else {
        return Err(Failure::Usage(format!(
            "the guide has no map {name} with mapped rows: `fhirway mapping coverage` lists its maps"
        )));
    };
    match format {
        Format::Json => output::print_json(&map_json(map, |_| true))?,
        Format::Text | Format::Markdown => output::print(&map.text())?,
    }
    Ok(Verdict::Good)
}

fn all(coverage: &Coverage, args: &Args) -> Value {
    let kinds = [
        ("message", GuideKind::Message),
        ("segment", GuideKind::Segment),
        ("datatype", GuideKind::DataType),
        ("code", GuideKind::Code),
    ];
    let mut counts: serde_json::Map<String, Value> = kinds
        .into_iter()
        .map(|(name, kind)| (name.to_owned(), counts_json(&coverage.counts(Some(kind)))))
        .collect();
    counts.insert("all".to_owned(), counts_json(&coverage.counts(None)));
    let wanted = |row: &RowCoverage| {
        (!args.missing || matches!(row.outcome, Outcome::Missing { .. }))
            && (!args.conditions || !row.unasked.is_empty())
    };
    let maps = coverage.maps.iter().map(|map| map_json(map, wanted));
    json!({ "counts": counts, "maps": maps.collect::<Vec<_>>() })
}

fn counts_json(counts: &CoverageCounts) -> Value {
    let mut value = json!(counts);
    if let Some(object) = value.as_object_mut() {
        object.insert("accounted".to_owned(), json!(counts.accounted()));
        object.insert("inSubstance".to_owned(), json!(counts.in_substance()));
    }
    value
}

fn map_json(map: &MapCoverage, wanted: impl Fn(&RowCoverage) -> bool) -> Value {
    let rows = map.rows.iter().filter(|row| wanted(row));
    json!({
        "kind": map.kind,
        "map": map.map,
        "files": map.files,
        "counts": counts_json(&map.counts()),
        "rows": rows.collect::<Vec<_>>(),
    })
}
