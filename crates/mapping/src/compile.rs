//! From files to a plan: reads every file of every layer, checks both sides of every rule, and reports all it finds in one run.

mod address;
mod arguments;
mod constant;
mod decided;
mod element;
mod fits;
mod identity;
mod layers;
mod logic;
pub(crate) mod lower;
mod message;
mod needs;
mod overlay;
mod package_file;
mod parts;
mod profile;
mod reach;
mod required;
mod rows;
mod rule;
mod scope;
mod table;
pub(crate) mod v2;

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};

use fhir::definitions::{Definitions, r4};

use crate::diagnostic::{Code, Diagnostic, closest};
use crate::plan::{BoundId, Makes, MapId, Origin, OriginId, Plan, TableId};
use crate::syntax::SyntaxError;
use crate::vocabulary::Vocabulary;
use crate::yaml::{Node, Span};

pub(crate) use layers::{Documents, Files};

/// Compiles the files; without an error among the findings there is a plan.
pub(crate) fn compile(files: &Files) -> (Option<Plan>, Vec<Diagnostic>) {
    let mut compiler = Compiler::new();
    compiler.plan.origins.push(Origin {
        file: 0,
        line: 0,
        column: 0,
        length: 0,
    });
    compiler
        .plan
        .handlebars
        .register_escape_fn(handlebars::no_escape);
    crate::engine::helpers::register(&mut compiler.plan.handlebars);
    compiler.run(files);
    let diagnostics = sorted(compiler.diagnostics, files);
    let failed = diagnostics
        .iter()
        .any(|d| d.severity == crate::diagnostic::Severity::Error);
    ((!failed).then_some(compiler.plan), diagnostics)
}

/// Reads the files and merges the layers, without looking at what the rules mean.
pub(crate) fn merge(files: &Files) -> (Documents, Vec<Diagnostic>) {
    let mut compiler = Compiler::new();
    let documents = compiler.documents(files);
    (documents, sorted(compiler.diagnostics, files))
}

/// In the order of the files, each with the name of its file.
fn sorted(mut diagnostics: Vec<Diagnostic>, files: &Files) -> Vec<Diagnostic> {
    for diagnostic in &mut diagnostics {
        if let Some(part) = diagnostic.part.take() {
            let source = files.text(diagnostic.span.file);
            diagnostic.span = crate::yaml::within(source, diagnostic.span, &part);
        }
        diagnostic.file = files.path(diagnostic.span.file).to_owned();
    }
    diagnostics.sort_by(|a, b| {
        (&a.file, a.span.line, a.span.column).cmp(&(&b.file, b.span.line, b.span.column))
    });
    // A line of a part is read once for every message that uses it; what is wrong in it is told once.
    let mut told = HashSet::new();
    diagnostics.retain(|found| {
        let Span {
            file, line, column, ..
        } = found.span;
        told.insert((file, line, column, found.code, found.message.clone()))
    });
    diagnostics
}

/// What is known of a map before its rules are read.
#[derive(Clone)]
pub(crate) struct MapHeader {
    pub name: String,
    pub segment: Option<[u8; 3]>,
    pub data_type: Option<String>,
    pub makes: Makes,
    /// The FHIR type it makes.
    pub type_name: &'static str,
    pub span: Span,
}

pub(crate) struct Compiler {
    r4: &'static Definitions,
    plan: Plan,
    diagnostics: Vec<Diagnostic>,
    map_ids: HashMap<String, MapId>,
    maps: Vec<MapHeader>,
    table_ids: BTreeMap<String, TableId>,
    /// Resource names of all message maps.
    bound: HashMap<String, BoundId>,
    /// Which resource type a name stands for in the message map being compiled.
    bound_types: HashMap<BoundId, &'static str>,
    /// Which map uses which, for circles.
    uses: Vec<(MapId, MapId, Span)>,
    user: Option<MapId>,
    /// Files of parts, whose lines serve structures that have not all their segments.
    part_files: BTreeSet<u16>,
    /// The data type of each value that some rule maps; the first stands for none.
    values: Vec<String>,
    /// What must hold for the rule being compiled to be asked at all.
    given: Vec<logic::Asked>,
    /// The message map being compiled, when it is no map.
    message: Option<String>,
    /// What rules name, to be looked for in the messages that they are for.
    noted: Vec<reach::Use>,
    /// Maps that rules of a message map use.
    message_uses: Vec<(String, MapId)>,
    /// The versions that the package, its message maps and its maps are for, where they say so.
    versions: Vec<hl7v2::Version>,
    message_versions: HashMap<String, Vec<hl7v2::Version>>,
    map_versions: HashMap<MapId, Vec<hl7v2::Version>>,
}

impl Compiler {
    fn new() -> Compiler {
        Compiler {
            r4: r4(),
            plan: Plan::default(),
            diagnostics: Vec::new(),
            map_ids: HashMap::new(),
            maps: Vec::new(),
            table_ids: BTreeMap::new(),
            bound: HashMap::new(),
            bound_types: HashMap::new(),
            uses: Vec::new(),
            user: None,
            part_files: BTreeSet::new(),
            values: vec![String::new()],
            given: Vec::new(),
            message: None,
            noted: Vec::new(),
            message_uses: Vec::new(),
            versions: hl7v2::Version::ALL.into(),
            message_versions: HashMap::new(),
            map_versions: HashMap::new(),
        }
    }

    /// The files of all layers, merged.
    fn documents(&mut self, files: &Files) -> Documents {
        let mut documents = self.read(files);
        self.parts(&mut documents);
        if !documents.message_changes.is_empty() {
            self.message_changes(&mut documents);
            // The lines that came new may use parts too.
            self.parts(&mut documents);
        }
        documents
    }

    fn run(&mut self, files: &Files) {
        let documents = self.documents(files);
        self.package_files(&documents);
        self.table_headers(&documents);
        self.map_headers(&documents);
        self.bound_names(&documents);
        self.tables(&documents);
        self.compile_maps(&documents);
        self.required_of_datatypes();
        self.circles();
        self.messages(&documents);
        self.out_of_reach();
        self.profiles(&documents.profiles);
        needs::note(&mut self.plan);
        lower::lower(&mut self.plan);
        self.plan.coding_systems = self.table_ids.get("CodingSystem").copied();
        self.plan.authorities = self.table_ids.get("AssigningAuthority").copied();
        let known = self.table_ids.get("KnownCodes");
        if let Some(table) = known.and_then(|table| self.plan.tables.get(*table)) {
            self.plan.known_codes = crate::engine::known_codes(&self.plan, table);
        }
    }

    // === what every part of the compiler uses ===

    pub(crate) fn error(
        &mut self,
        code: Code,
        span: Span,
        message: impl Into<String>,
        help: impl Into<String>,
    ) {
        self.diagnostics
            .push(Diagnostic::error(code, span, message).help(help));
    }

    pub(crate) fn warn(
        &mut self,
        code: Code,
        span: Span,
        message: impl Into<String>,
        help: impl Into<String>,
    ) {
        self.diagnostics
            .push(Diagnostic::warning(code, span, message).help(help));
    }

    /// A mistake inside a text: its place is the node's, moved by where in the text it is.
    pub(crate) fn syntax_error(&mut self, node: &Node, error: SyntaxError) {
        let text = node.text().unwrap_or_default();
        let rest = text.get(error.at..).unwrap_or_default();
        let length = match &error.word {
            Some(word) => word.chars().count(),
            None if rest.starts_with('"') => rest
                .char_indices()
                .skip(1)
                .find(|(_, c)| *c == '"')
                .map_or(1, |(end, _)| end + 1),
            None => rest
                .chars()
                .take_while(|c| !c.is_whitespace() && !matches!(c, '(' | ')' | ','))
                .count()
                .max(1),
        };
        let mut diagnostic = Diagnostic::error(error.code, node.span, error.message);
        diagnostic.help = error.help;
        if error.at > 0 || error.word.is_some() {
            diagnostic = diagnostic.part_of(node, error.at, length);
        }
        self.diagnostics.push(diagnostic);
    }

    /// A key must be one of the language's.
    pub(crate) fn known_key(&mut self, key: &Node, name: &str, vocabulary: &Vocabulary) {
        if !vocabulary.has(name) {
            let message = format!("{} has no key `{name}`", vocabulary.owner);
            self.error(Code::UnknownKey, key.span, message, vocabulary.help(name));
        }
    }

    pub(crate) fn origin(&mut self, span: Span) -> OriginId {
        let id = u32::try_from(self.plan.origins.len()).unwrap_or(0);
        self.plan.origins.push(Origin {
            file: span.file,
            line: span.line,
            column: span.column,
            length: span.length,
        });
        id
    }

    pub(crate) fn text_of<'n>(&mut self, node: &'n Node, what: &str) -> Option<&'n str> {
        let text = node.text();
        if text.is_none() {
            self.error(
                Code::Shape,
                node.span,
                format!("{what} is a text, not {}", node.kind()),
                "write it on one line behind the colon",
            );
        }
        text
    }

    pub(crate) fn map_id(&mut self, name: &str, span: Span) -> Option<MapId> {
        if let Some(id) = self.map_ids.get(name).copied() {
            match (self.user, &self.message) {
                (Some(user), _) => self.uses.push((user, id, span)),
                (None, Some(message)) => self.message_uses.push((message.clone(), id)),
                (None, None) => {}
            }
            return Some(id);
        }
        let near = closest(name, self.map_ids.keys().map(String::as_str)).map(str::to_owned);
        let help = match near {
            Some(near) => format!("did you mean `{near}`?"),
            None => format!("make the file datatypes/{name}.yaml or segments/{name}.yaml"),
        };
        self.error(
            Code::UnknownMap,
            span,
            format!("there is no map `{name}`"),
            help,
        );
        None
    }

    pub(crate) fn table_id(&mut self, name: &str, span: Span) -> Option<TableId> {
        if let Some(id) = self.table_ids.get(name) {
            return Some(*id);
        }
        let near = closest(name, self.table_ids.keys().map(String::as_str)).map(str::to_owned);
        let help = near.map_or_else(
            || format!("make the file tables/{name}.yaml"),
            |near| format!("did you mean `{near}`?"),
        );
        self.error(
            Code::UnknownTable,
            span,
            format!("there is no table `{name}`"),
            help,
        );
        None
    }

    pub(crate) fn bound_id(&mut self, name: &str) -> BoundId {
        if let Some(id) = self.bound.get(name) {
            return *id;
        }
        let id = u32::try_from(self.plan.names.len()).unwrap_or(u32::MAX);
        self.plan.names.push(name.to_owned());
        self.bound.insert(name.to_owned(), id);
        id
    }

    /// A name some message map binds; anything else is a mistake.
    pub(crate) fn known_bound(&mut self, name: &str, span: Span) -> Option<BoundId> {
        if let Some(id) = self.bound.get(name).copied() {
            self.note_name(id, span);
            return Some(id);
        }
        let near = closest(name, self.bound.keys().map(String::as_str)).map(str::to_owned);
        let help = match near {
            Some(near) => format!("did you mean `{near}`?"),
            None => "names are made in message maps: `PID: PID/Patient as patient`; a text is written in quotes with `is:`".to_owned(),
        };
        self.error(
            Code::UnknownName,
            span,
            format!("no message map binds a resource to the name `{name}`"),
            help,
        );
        None
    }

    fn circles(&mut self) {
        let count = self.maps.len();
        let mut state = vec![0u8; count];
        let uses = std::mem::take(&mut self.uses);
        let mut found = Vec::new();
        for start in 0..count {
            visit(start, &uses, &mut state, &mut found);
        }
        self.uses = uses;
        for (from, to, span) in found {
            let name = |id: MapId, maps: &[MapHeader]| {
                maps.get(id).map(|m| m.name.clone()).unwrap_or_default()
            };
            let (from, to) = (name(from, &self.maps), name(to, &self.maps));
            self.error(
                Code::Circle,
                span,
                format!("`{from}` uses `{to}`, which leads back to `{from}`"),
                "break the circle: a map can't apply itself to the value it is given",
            );
        }
    }
}

fn visit(
    map: MapId,
    uses: &[(MapId, MapId, Span)],
    state: &mut [u8],
    found: &mut Vec<(MapId, MapId, Span)>,
) {
    match state.get_mut(map) {
        Some(seen @ 0) => *seen = 1,
        _ => return,
    }
    for (from, to, span) in uses.iter().filter(|(from, _, _)| *from == map) {
        if state.get(*to) == Some(&1) {
            found.push((*from, *to, *span));
        } else {
            visit(*to, uses, state, found);
        }
    }
    if let Some(seen) = state.get_mut(map) {
        *seen = 2;
    }
}
