//! Secrets come from a file or the environment, are read once at load, and are never shown.

use std::{fmt, path::PathBuf};

use secrecy::{ExposeSecret, SecretString};
use serde::{Serialize, Serializer};

/// Where a secret comes from.
#[derive(Clone)]
pub enum SecretSource {
    /// A file whose content, without the last line break, is the secret.
    File(PathBuf),
    /// An environment variable.
    Environment(String),
    /// Plain text in the configuration.
    Literal(String),
}

/// A secret that was read. `Debug` and JSON show only where it came from.
#[derive(Clone)]
pub struct Secret {
    source: String,
    value: SecretString,
}

impl Secret {
    /// Reads the secret.
    ///
    /// # Errors
    /// A sentence for the user: the file or variable is missing, empty or not text.
    pub fn load(source: SecretSource) -> Result<Self, String> {
        let (shown, value) = match source {
            SecretSource::File(path) => {
                let text = std::fs::read_to_string(&path).map_err(|error| {
                    format!("cannot read the secret file {}: {error}", path.display())
                })?;
                let text = text.strip_suffix('\n').unwrap_or(&text);
                let text = text.strip_suffix('\r').unwrap_or(text);
                (format!("file {}", path.display()), text.to_owned())
            }
            SecretSource::Environment(name) => {
                let text = std::env::var(&name).map_err(|_| {
                    format!("the environment variable {name} is not set (or not text)")
                })?;
                (format!("environment variable {name}"), text)
            }
            SecretSource::Literal(text) => ("plain text".to_owned(), text),
        };
        if value.is_empty() {
            return Err(format!("the secret from {shown} is empty"));
        }
        Ok(Self {
            source: shown,
            value: value.into(),
        })
    }

    /// What stands in for a secret that could not be read, so that the other problems are found too.
    /// A configuration that holds one is never used.
    pub(super) fn unset() -> Self {
        Self {
            source: "nowhere".to_owned(),
            value: String::new().into(),
        }
    }

    /// Whether it is more than a stand-in.
    pub(super) fn is_set(&self) -> bool {
        !self.expose().is_empty()
    }

    /// The secret itself; call it where it is handed to what needs it, and nowhere else.
    pub fn expose(&self) -> &str {
        self.value.expose_secret()
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "*** (from {})", self.source)
    }
}

impl Serialize for Secret {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(&format_args!("*** (from {})", self.source))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_secret_file_loses_its_last_line_break_and_is_never_shown() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("token");
        std::fs::write(&path, "correct horse\n").unwrap();
        let secret = Secret::load(SecretSource::File(path)).unwrap();
        assert_eq!(secret.expose(), "correct horse");
        assert!(!format!("{secret:?}").contains("horse"));
        assert!(!serde_json::to_string(&secret).unwrap().contains("horse"));
    }

    #[test]
    fn missing_and_empty_secrets_are_errors() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("empty");
        assert!(Secret::load(SecretSource::File(path.clone())).is_err());
        std::fs::write(&path, "\n").unwrap();
        assert!(Secret::load(SecretSource::File(path)).is_err());
        assert!(
            Secret::load(SecretSource::Environment("FHIRWAY_NO_SUCH_VARIABLE".into())).is_err()
        );
    }
}
