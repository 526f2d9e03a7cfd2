//! `fhirway mapping lsp`: the language server of mapping files, over standard input and output.
//!
//! What it knows is in [`mapping::Editor`] and in the compiler; here are the protocol, the buffers of the editor and the files
//! below them. Every change is compiled together with the rest of its package, when no more input is waiting.
//! <https://microsoft.github.io/language-server-protocol/specifications/lsp/3.17/specification/>

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::time::Duration;

use lsp_server::{Connection, ErrorCode, Message, Notification, Request, Response};
use mapping::{Editor, ItemKind, Layer, Package, Severity, SourceFile, Spot};
use serde_json::{Value, json};

use super::super::{Failure, Outcome, Verdict, chain};
use crate::packages;

/// Serve editors: findings as people type, completion, documentation, go to definition.
///
/// It is started by an editor and speaks the Language Server Protocol on standard input and output. A file belongs to the folder
/// above it that has package.yaml or a folder of maps; a folder that is no package of its own is an overlay on the folders given
/// here, or on the shipped package.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  fhirway mapping lsp                        as an editor starts it
  fhirway mapping lsp mappings               the base below the overlays that are edited

How VS Code, Neovim and Helix are told of it: mappings/EDITORS.md")]
pub(crate) struct Args {
    /// Base folders, in layers [default: the shipped package]
    folders: Vec<PathBuf>,
}

pub(crate) fn run(args: &Args) -> Outcome {
    let (connection, threads) = Connection::stdio();
    let mut server = Server {
        base: args.folders.clone(),
        buffers: BTreeMap::new(),
        told: BTreeMap::new(),
        changed: BTreeSet::new(),
    };
    let ended = server.serve(&connection);
    // The writer ends when nobody can send to it any more.
    drop(connection);
    ended?;
    threads
        .join()
        .map_err(|error| Failure::Run(format!("the editor's messages can't be read: {error}")))?;
    Ok(Verdict::Good)
}

/// A pause in typing after which a text is checked.
const QUIET: Duration = Duration::from_millis(120);

/// What the editor has open, and what it was told.
struct Server {
    base: Vec<PathBuf>,
    /// Text of each open file.
    buffers: BTreeMap<PathBuf, String>,
    /// Files with findings, by the root of their package.
    told: BTreeMap<PathBuf, BTreeSet<PathBuf>>,
    /// Packages to be checked again.
    changed: BTreeSet<PathBuf>,
}

/// What a request could not be answered for.
struct Refused(ErrorCode, String);

impl Server {
    fn serve(&mut self, connection: &Connection) -> Result<(), Failure> {
        let gone = |error: &dyn std::error::Error| {
            Failure::Run(format!("the editor is gone: {}", chain(error)))
        };
        let capabilities = json!({
            "textDocumentSync": { "openClose": true, "change": 1, "save": true },
            "completionProvider": { "triggerCharacters": [".", "-", "/", "{", " ", ":"] },
            "hoverProvider": true,
            "definitionProvider": true,
        });
        let (id, _) = match connection.initialize_start() {
            Ok(start) => start,
            // Closed before anything was said: nothing to do.
            Err(error) if error.channel_is_disconnected() => return Ok(()),
            Err(error) => return Err(gone(&error)),
        };
        let about = json!({
            "capabilities": capabilities,
            "serverInfo": { "name": "fhirway", "version": env!("CARGO_PKG_VERSION") },
        });
        match connection.initialize_finish(id, about) {
            Ok(()) => {}
            Err(error) if error.channel_is_disconnected() => return Ok(()),
            Err(error) => return Err(gone(&error)),
        }
        loop {
            // While somebody types, a check would tell of a text that is gone already.
            let next = if self.changed.is_empty() {
                connection.receiver.recv().ok()
            } else {
                match connection.receiver.recv_timeout(QUIET) {
                    Ok(message) => Some(message),
                    Err(error) if error.is_timeout() => {
                        for note in self.check() {
                            if connection.sender.send(Message::Notification(note)).is_err() {
                                return Ok(());
                            }
                        }
                        continue;
                    }
                    Err(_) => None,
                }
            };
            let Some(message) = next else {
                return Ok(());
            };
            match message {
                Message::Request(request) => {
                    if connection
                        .handle_shutdown(&request)
                        .map_err(|error| gone(&error))?
                    {
                        return Ok(());
                    }
                    let response = self.answer(&request);
                    if connection.sender.send(Message::Response(response)).is_err() {
                        return Ok(());
                    }
                }
                Message::Notification(note) if note.method == "exit" => {
                    return Err(Failure::Run(
                        "the editor ended without a shutdown".to_owned(),
                    ));
                }
                Message::Notification(note) => self.note(&note),
                Message::Response(_) => {}
            }
        }
    }

    // === what the editor tells ===

    fn note(&mut self, note: &Notification) {
        let text_of = |pointer: &str| note.params.pointer(pointer).and_then(Value::as_str);
        let Some(path) = text_of("/textDocument/uri").and_then(path_of) else {
            return;
        };
        match note.method.as_str() {
            "textDocument/didOpen" => {
                if let Some(text) = text_of("/textDocument/text") {
                    self.buffers.insert(path.clone(), text.to_owned());
                }
            }
            "textDocument/didChange" => {
                // Whole texts only, as was agreed on.
                let last = note
                    .params
                    .get("contentChanges")
                    .and_then(Value::as_array)
                    .and_then(|all| all.last());
                if let Some(text) = last
                    .and_then(|change| change.get("text"))
                    .and_then(Value::as_str)
                {
                    self.buffers.insert(path.clone(), text.to_owned());
                }
            }
            "textDocument/didClose" => {
                self.buffers.remove(&path);
            }
            "textDocument/didSave" => {}
            _ => return,
        }
        if let Some(root) = root_of(&path) {
            self.changed.insert(root);
        }
    }

    // === what the editor asks ===

    fn answer(&self, request: &Request) -> Response {
        let answered = match request.method.as_str() {
            "textDocument/completion" => self.at(request, completion),
            "textDocument/hover" => self.at(request, hover),
            "textDocument/definition" => self.at(request, definition),
            other => Err(Refused(
                ErrorCode::MethodNotFound,
                format!("`{other}` is not served here"),
            )),
        };
        match answered {
            Ok(value) => Response::new_ok(request.id.clone(), value),
            Err(Refused(code, why)) => Response::new_err(request.id.clone(), code as i32, why),
        }
    }

    /// Answers a question about a place in an open file.
    fn at(&self, request: &Request, answer: fn(&Place<'_>) -> Value) -> Result<Value, Refused> {
        let invalid = || {
            Refused(
                ErrorCode::InvalidParams,
                "a document and a position are needed".to_owned(),
            )
        };
        let uri = request
            .params
            .pointer("/textDocument/uri")
            .and_then(Value::as_str)
            .ok_or_else(invalid)?;
        let path = path_of(uri).ok_or_else(invalid)?;
        let number = |name: &str| request.params.get("position")?.get(name)?.as_u64();
        let line = number("line").ok_or_else(invalid)?;
        let character = number("character").ok_or_else(invalid)?;
        let (Some(root), Some(text)) = (root_of(&path), self.buffers.get(&path)) else {
            return Ok(Value::Null);
        };
        let Ok(layers) = self.layers(&root) else {
            return Ok(Value::Null);
        };
        let shown = text
            .lines()
            .nth(usize::try_from(line).unwrap_or(usize::MAX))
            .unwrap_or_default();
        let spot = Spot {
            line: u32::try_from(line).unwrap_or(u32::MAX),
            column: column_of(shown, character),
        };
        let place = Place {
            editor: Editor::new(&layers),
            file: shown_name(&path),
            line: shown,
            spot,
        };
        Ok(answer(&place))
    }

    // === packages ===

    /// The base, and the package of a file on top of it, with the texts of the editor in place of those on disk.
    fn layers(&self, root: &Path) -> Result<Vec<Layer>, packages::PackageError> {
        let own = absolute(root);
        let mut layers = Vec::new();
        if !self.base.is_empty() {
            for folder in &self.base {
                let folder = absolute(folder);
                if folder != own {
                    layers.push(packages::folder(&folder)?);
                }
            }
        } else if !is_base(&own) {
            layers.push(Layer {
                // No folder: nothing there is opened or told of.
                name: SHIPPED.to_owned(),
                ..packages::shipped()
            });
        }
        // A base that is edited itself keeps its place.
        let at = self.base.iter().position(|folder| absolute(folder) == own);
        let layer = packages::folder(&own)?;
        match at {
            Some(at) => layers.insert(at.min(layers.len()), layer),
            None => layers.push(layer),
        }
        for layer in &mut layers {
            let folder = PathBuf::from(&layer.name);
            for (path, text) in &self.buffers {
                let Ok(inside) = path.strip_prefix(&folder) else {
                    continue;
                };
                let inside = inside.to_string_lossy().replace('\\', "/");
                match layer.files.iter_mut().find(|file| file.path == inside) {
                    Some(file) => file.text.clone_from(text),
                    None => layer.files.push(SourceFile {
                        path: inside,
                        text: text.clone(),
                    }),
                }
            }
        }
        Ok(layers)
    }

    /// Checks what has changed: findings of each file, and none for files that have none any more.
    fn check(&mut self) -> Vec<Notification> {
        let mut notes = Vec::new();
        for root in std::mem::take(&mut self.changed) {
            let Ok(layers) = self.layers(&root) else {
                continue;
            };
            let (_, found) = Package::compile(&layers);
            let mut files: BTreeMap<PathBuf, Vec<Value>> = BTreeMap::new();
            for diagnostic in &found {
                let path = PathBuf::from(&diagnostic.file);
                if !path.is_absolute() {
                    continue;
                }
                let source = Package::source(&layers, &diagnostic.file).unwrap_or_default();
                files
                    .entry(path)
                    .or_default()
                    .push(finding(diagnostic, source));
            }
            let mut before = self.told.remove(&root).unwrap_or_default();
            before.extend(
                self.buffers
                    .keys()
                    .filter(|path| path.starts_with(&root))
                    .cloned(),
            );
            self.told.insert(root, files.keys().cloned().collect());
            for path in before {
                files.entry(path).or_default();
            }
            notes.extend(files.into_iter().map(|(path, diagnostics)| {
                let params = json!({ "uri": uri_of(&path), "diagnostics": diagnostics });
                Notification::new("textDocument/publishDiagnostics".to_owned(), params)
            }));
        }
        notes
    }
}

/// A question about a place, with all that answers it.
struct Place<'p> {
    editor: Editor<'p>,
    file: String,
    line: &'p str,
    spot: Spot,
}

fn completion(place: &Place<'_>) -> Value {
    let found = place.editor.completions(&place.file, place.spot);
    let start = place.spot.column.saturating_sub(found.replaces);
    let range = range(place.line, place.spot.line, start, place.spot.column);
    let items = found.items.iter().enumerate().map(|(number, item)| {
        let kind = match item.kind {
            ItemKind::Element => 10,
            ItemKind::Keyword => 14,
            ItemKind::Field => 5,
            ItemKind::Helper => 3,
            ItemKind::File => 17,
            ItemKind::Name => 6,
            ItemKind::Value => 12,
        };
        json!({
            "label": item.label,
            "kind": kind,
            "detail": item.detail,
            "documentation": { "kind": "markdown", "value": item.about },
            "sortText": format!("{number:04}"),
            "filterText": item.label,
            "textEdit": { "range": range, "newText": item.label },
        })
    });
    json!({ "isIncomplete": true, "items": items.collect::<Vec<_>>() })
}

fn hover(place: &Place<'_>) -> Value {
    let Some(found) = place.editor.hover(&place.file, place.spot) else {
        return Value::Null;
    };
    let start = found.start.column;
    json!({
        "contents": { "kind": "markdown", "value": found.text },
        "range": range(place.line, found.start.line, start, start + found.length),
    })
}

fn definition(place: &Place<'_>) -> Value {
    let found = place.editor.definitions(&place.file, place.spot);
    let on_disk = found
        .iter()
        .filter(|found| Path::new(&found.file).is_absolute());
    on_disk
        .map(|found| {
            let (line, column) = (found.spot.line, found.spot.column);
            // Names stand behind plain text: characters and UTF-16 units agree but for rare comments.
            let at = json!({ "line": line, "character": column });
            json!({ "uri": uri_of(Path::new(&found.file)), "range": { "start": at, "end": at } })
        })
        .collect()
}

/// A finding as the protocol has it.
fn finding(diagnostic: &mapping::Diagnostic, source: &str) -> Value {
    let number = diagnostic.line().saturating_sub(1);
    let line = source.lines().nth(number as usize).unwrap_or_default();
    let start = diagnostic.column().saturating_sub(1);
    let message = match &diagnostic.help {
        Some(help) => format!("{}\n{help}", diagnostic.message),
        None => diagnostic.message.clone(),
    };
    json!({
        "range": range(line, number, start, start + diagnostic.length()),
        "severity": if diagnostic.severity == Severity::Error { 1 } else { 2 },
        "code": diagnostic.code.as_str(),
        "source": "fhirway",
        "message": message,
    })
}

// === places: characters here, UTF-16 units there ===

fn range(line: &str, number: u32, start: u32, end: u32) -> Value {
    let units = |column: u32| -> usize {
        line.chars()
            .take(column as usize)
            .map(char::len_utf16)
            .sum()
    };
    json!({
        "start": { "line": number, "character": units(start) },
        "end": { "line": number, "character": units(end) },
    })
}

/// The column in characters of a place in UTF-16 units.
fn column_of(line: &str, units: u64) -> u32 {
    let mut seen = 0;
    let mut column = 0;
    for c in line.chars() {
        if seen >= units {
            break;
        }
        seen += c.len_utf16() as u64;
        column += 1;
    }
    column
}

// === files ===

/// Name of the layer that is in the binary: no folder has it.
const SHIPPED: &str = "<shipped>";

/// The file of a `file:` address.
fn path_of(uri: &str) -> Option<PathBuf> {
    let encoded = uri.strip_prefix("file://")?;
    let decoded = percent_encoding::percent_decode_str(encoded)
        .decode_utf8()
        .ok()?;
    // `file:///C:/maps` is a drive's; a host is nobody's here.
    let path = match decoded.strip_prefix('/') {
        Some(rest) if rest.get(1..2) == Some(":") => rest,
        Some(_) => &decoded,
        None => return None,
    };
    Some(PathBuf::from(path))
}

fn uri_of(path: &Path) -> String {
    const KEPT: &percent_encoding::AsciiSet = &percent_encoding::NON_ALPHANUMERIC
        .remove(b'/')
        .remove(b'-')
        .remove(b'.')
        .remove(b'_')
        .remove(b'~');
    let text = path.to_string_lossy().replace('\\', "/");
    let slash = if text.starts_with('/') { "" } else { "/" };
    format!(
        "file://{slash}{}",
        percent_encoding::utf8_percent_encode(&text, KEPT)
    )
}

/// The folder of a file's package: the nearest with a package.yaml, else the one that holds its folder of maps.
fn root_of(path: &Path) -> Option<PathBuf> {
    let above = || path.ancestors().skip(1);
    if let Some(found) = above().find(|folder| folder.join("package.yaml").is_file()) {
        return Some(found.to_owned());
    }
    let is_kind = |folder: &&Path| {
        let name = folder.file_name().map(|name| name.to_string_lossy());
        name.is_some_and(|name| matches!(&*name, "segments" | "datatypes" | "tables" | "messages"))
    };
    above()
        .filter(is_kind)
        .last()
        .and_then(Path::parent)
        .map(Path::to_owned)
}

/// Whether a folder is a package of its own, and no overlay.
fn is_base(folder: &Path) -> bool {
    let text = std::fs::read_to_string(folder.join("package.yaml")).unwrap_or_default();
    let starts = |word: &str| text.lines().any(|line| line.starts_with(word));
    starts("package:") && !starts("extends:")
}

fn absolute(path: &Path) -> PathBuf {
    std::path::absolute(path).unwrap_or_else(|_| path.to_owned())
}

/// The name of a file in diagnostics: layers here are named by their absolute folder.
fn shown_name(path: &Path) -> String {
    absolute(path).display().to_string()
}
