//! Options that all commands share that convert messages: which package, what it may know, what kind of Bundle.

use std::{path::PathBuf, sync::Arc};

use clap::ValueEnum;
use fhir::bundle::{BundleKind, BundleOptions, Ids};
use jiff::tz::TimeZone;
use mapping::{Context, Layer, Package};

use super::{Failure, chain};
use crate::packages;

/// Which mapping package.
#[derive(Debug, clap::Args)]
pub(crate) struct PackageOptions {
    /// Mapping folder; the first is the base, further ones are overlays [default: the shipped package]
    #[arg(long, value_name = "FOLDER")]
    package: Vec<PathBuf>,
    /// Overlay on top of the packages; may be given several times
    #[arg(long, value_name = "FOLDER")]
    overlay: Vec<PathBuf>,
}

/// What the mapping may know beside the message.
#[derive(Debug, clap::Args)]
pub(crate) struct ContextOptions {
    /// Policy of the mapping, NAME=VALUE
    #[arg(long, value_name = "NAME=VALUE", value_parser = policy)]
    policy: Vec<(String, String)>,
    /// Salt for ids that are only unique at the sender [default: MSH-4 of each message]
    #[arg(long, value_name = "NAME")]
    sender: Option<String>,
    /// Zone of times without an offset, such as Europe/Vienna
    #[arg(long, value_name = "ZONE")]
    zone: Option<String>,
}

/// What the Bundle looks like.
#[derive(Clone, Copy, Debug, clap::Args)]
pub(crate) struct BundleForm {
    /// What kind of Bundle
    #[arg(long, value_enum, default_value_t)]
    bundle: Kind,
    /// How resources are identified
    #[arg(long, value_enum, default_value_t)]
    ids: IdMode,
}

#[derive(Clone, Copy, Debug, Default, ValueEnum)]
enum Kind {
    /// All or nothing
    #[default]
    Transaction,
    /// Each entry on its own
    Batch,
    /// Resources without requests
    Collection,
}

#[derive(Clone, Copy, Debug, Default, ValueEnum)]
enum IdMode {
    /// Conditional create and update by identifier
    #[default]
    Conditional,
    /// PUT Type/id
    Client,
}

fn policy(text: &str) -> Result<(String, String), String> {
    match text.split_once('=') {
        Some((name, value)) if !name.is_empty() => Ok((name.to_owned(), value.to_owned())),
        _ => Err("write NAME=VALUE".to_owned()),
    }
}

/// The base, or the shipped package, and overlays on top.
///
/// # Errors
/// A folder that cannot be read.
pub(crate) fn layers(packages: &[PathBuf], overlays: &[PathBuf]) -> Result<Vec<Layer>, Failure> {
    let mut layers = Vec::new();
    if packages.is_empty() {
        layers.push(packages::shipped());
    }
    for folder in packages.iter().chain(overlays) {
        layers.push(packages::folder(folder).map_err(|error| Failure::Usage(chain(&error)))?);
    }
    Ok(layers)
}

/// Compiles layers that must be free of errors.
///
/// # Errors
/// All mistakes of the package.
pub(crate) fn compile(layers: &[Layer]) -> Result<Arc<Package>, Failure> {
    let compiled = packages::compile(layers);
    let (package, _) = compiled.map_err(|error| Failure::Usage(chain(&error)))?;
    Ok(package)
}

impl PackageOptions {
    /// The package of these folders.
    ///
    /// # Errors
    /// A folder that cannot be read, or mistakes in it.
    pub(crate) fn compile(&self) -> Result<Arc<Package>, Failure> {
        compile(&self.layers()?)
    }

    /// The folders, the base first.
    pub(crate) fn folders(&self) -> impl Iterator<Item = &PathBuf> {
        self.package.iter().chain(&self.overlay)
    }

    /// The layers, the base first.
    ///
    /// # Errors
    /// A folder that cannot be read.
    pub(crate) fn layers(&self) -> Result<Vec<Layer>, Failure> {
        layers(&self.package, &self.overlay)
    }
}

impl ContextOptions {
    /// The context of all messages, for maps of one of these packages: of two that are compared, one may be without a
    /// policy of the other.
    ///
    /// # Errors
    /// A zone that does not exist, a policy that no package has, or a value that it never has.
    pub(crate) fn context(&self, packages: &[&Package]) -> Result<Context, Failure> {
        for (name, value) in &self.policy {
            let refused = packages
                .iter()
                .map(|package| package.refuses_policy(name, value))
                .collect::<Option<Vec<_>>>();
            if let Some(why) = refused.and_then(|refused| refused.into_iter().next()) {
                return Err(Failure::Usage(format!("--policy {name}={value}: {why}")));
            }
        }
        let zone = self.zone.as_deref().map(TimeZone::get).transpose();
        Ok(Context {
            sender: self.sender.clone().unwrap_or_default(),
            zone: zone.map_err(|_| Failure::Usage("--zone: no such time zone".to_owned()))?,
            policies: self.policy.iter().cloned().collect(),
            ..Context::default()
        })
    }
}

impl BundleForm {
    /// How to write the Bundle; `pretty` for people.
    pub(crate) fn options(self, pretty: bool) -> BundleOptions<'static> {
        BundleOptions {
            kind: match self.bundle {
                Kind::Transaction => BundleKind::Transaction,
                Kind::Batch => BundleKind::Batch,
                Kind::Collection => BundleKind::Collection,
            },
            ids: match self.ids {
                IdMode::Conditional => Ids::Conditional,
                IdMode::Client => Ids::Client,
            },
            pretty,
            base_url: None,
        }
    }
}
