//! `fhirway mapping table`: code tables in and out, as YAML, CSV and FHIR ConceptMaps.

use std::{
    fs,
    io::Read as _,
    path::{Path, PathBuf},
};

use clap::{Subcommand, ValueEnum};
use mapping::{
    Severity,
    tables::{self, CodeTable, CodingSystems},
};
use serde_json::Value;

use super::super::{Failure, Outcome, Verdict, options::layers, output};
use crate::packages;

/// Code tables as YAML, CSV and FHIR ConceptMaps.
#[derive(Debug, Subcommand)]
#[command(after_help = "\
Examples:
  fhirway mapping table import units.json --into site     a ConceptMap becomes site/tables/NAME.yaml
  fhirway mapping table export MaritalStatus              a table as a ConceptMap")]
pub(crate) enum Command {
    Import(Import),
    Export(Export),
}

/// Turn a FHIR R4 ConceptMap into a code table.
///
/// The table is printed, or written into the folder of a package. Its name is that of the ConceptMap unless one is
/// given. Coding systems get the names that messages give them, from the package's table CodingSystem.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  fhirway mapping table import units.json                       see what it becomes
  fhirway mapping table import units.json --into site           write site/tables/NAME.yaml
  fhirway mapping table import units.json --name Units/Lab --format csv --into site
  curl -s https://fhir.example.org/ConceptMap/units | fhirway mapping table import -

Exit code: 0, 1 when the file is no ConceptMap that a table can hold, 2 for wrong usage.")]
pub(crate) struct Import {
    /// ConceptMap as JSON, or - for standard input
    #[arg(value_name = "FILE")]
    file: PathBuf,
    /// Name of the table [default: title, name or id of the ConceptMap]
    #[arg(long, value_name = "NAME")]
    name: Option<String>,
    /// Folder of the package to write it into
    #[arg(long, value_name = "FOLDER")]
    into: Option<PathBuf>,
    /// Replace a file that is there
    #[arg(long, requires = "into")]
    overwrite: bool,
    /// How to write it
    #[arg(long, value_enum, default_value_t)]
    format: FileForm,
    /// Mapping folder whose names of coding systems are used [default: the shipped package]
    #[arg(long, value_name = "FOLDER")]
    package: Vec<PathBuf>,
}

/// Print a code table, as all layers make it, for other tools.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  fhirway mapping table export MaritalStatus                    a FHIR R4 ConceptMap
  fhirway mapping table export MaritalStatus --overlay site     with a site's codes
  fhirway mapping table export PatientClass/EncounterClass --format csv > class.csv

Exit code: 0, 1 when the layers cannot be merged, 2 for wrong usage.")]
pub(crate) struct Export {
    /// The table
    #[arg(value_name = "NAME")]
    name: String,
    /// Mapping folder; the first is the base, further ones are overlays [default: the shipped package]
    #[arg(long, value_name = "FOLDER")]
    package: Vec<PathBuf>,
    /// Overlay on top of the packages; may be given several times
    #[arg(long, value_name = "FOLDER")]
    overlay: Vec<PathBuf>,
    /// How to write it
    #[arg(long, value_enum, default_value_t)]
    format: Form,
}

#[derive(Clone, Copy, Debug, Default, ValueEnum)]
enum FileForm {
    /// A table of a package, in YAML
    #[default]
    Yaml,
    /// A table of a package, in CSV
    Csv,
}

#[derive(Clone, Copy, Debug, Default, ValueEnum)]
enum Form {
    /// A FHIR R4 ConceptMap in JSON
    #[default]
    Conceptmap,
    /// A table of a package, in YAML
    Yaml,
    /// A table of a package, in CSV
    Csv,
}

pub(crate) fn run(command: &Command) -> Outcome {
    match command {
        Command::Import(args) => import(args),
        Command::Export(args) => export(args),
    }
}

fn import(args: &Import) -> Outcome {
    let systems = CodingSystems::of(&layers(&args.package, &[])?);
    let shown = args.file.display();
    let text = read(&args.file)
        .map_err(|error| Failure::Usage(format!("cannot read {shown}: {error}")))?;
    let map: Value = serde_json::from_str(&text)
        .map_err(|error| Failure::Run(format!("{shown} is not JSON: {error}")))?;
    let table = CodeTable::of_concept_map(&map, args.name.as_deref(), &systems)
        .map_err(|error| Failure::Run(format!("{shown}: {error}")))?;
    let (text, extension) = match args.format {
        FileForm::Yaml => (table.to_yaml(), "yaml"),
        FileForm::Csv => (table.to_csv(), "csv"),
    };
    let Some(folder) = &args.into else {
        output::print(&text)?;
        return Ok(Verdict::Good);
    };
    let stem = folder.join("tables").join(&table.name);
    let path = |extension: &str| PathBuf::from(format!("{}.{extension}", stem.display()));
    for other in ["yaml", "csv"].map(path) {
        if other.exists() && !(args.overwrite && other == path(extension)) {
            let why = format!(
                "{} is there already: say --overwrite, or another --name",
                other.display()
            );
            return Err(Failure::Usage(why));
        }
    }
    let target = path(extension);
    write(&target, &text)
        .map_err(|error| Failure::Run(format!("cannot write {}: {error}", target.display())))?;
    let codes: usize = table.groups.iter().map(|group| group.codes.len()).sum();
    output::print(&format!("{}: {codes} codes\n", target.display()))?;
    Ok(Verdict::Good)
}

fn read(path: &Path) -> std::io::Result<String> {
    if path.as_os_str() != "-" {
        return fs::read_to_string(path);
    }
    let mut text = String::new();
    std::io::stdin().lock().read_to_string(&mut text)?;
    Ok(text)
}

fn write(path: &Path, text: &str) -> std::io::Result<()> {
    if let Some(folder) = path.parent() {
        fs::create_dir_all(folder)?;
    }
    fs::write(path, text)
}

fn export(args: &Export) -> Outcome {
    let layers = layers(&args.package, &args.overlay)?;
    let (found, diagnostics) = tables::table(&layers, &args.name);
    output::error_text(&packages::render(&layers, &diagnostics, output::lively()));
    let (table, systems) = found.map_err(|error| Failure::Usage(error.to_string()))?;
    match args.format {
        Form::Conceptmap => {
            let map = table.to_concept_map(&systems);
            let text = serde_json::to_string_pretty(&map).map_err(|error| Failure::run(&error))?;
            output::print(&(text + "\n"))?;
        }
        Form::Yaml => output::print(&table.to_yaml())?,
        Form::Csv => output::print(&table.to_csv())?,
    }
    let errors = diagnostics
        .iter()
        .any(|found| found.severity == Severity::Error);
    Ok(if errors { Verdict::Bad } else { Verdict::Good })
}
