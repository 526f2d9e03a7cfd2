//! What a package is compiled to: direct operations on the index of a message. No text is parsed and no name is looked
//! up any more when a message comes.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use crate::engine::Spread;
use fhir::primitive::Primitive;
use fhir::tree::{Fragment, Key};

/// Number of a map in [`Plan::maps`].
pub(crate) type MapId = usize;
/// Number of a table in [`Plan::tables`].
pub(crate) type TableId = usize;
/// Number of a probe in [`Plan::probes`].
pub(crate) type ProbeId = usize;
/// Number of a resource name in [`Plan::names`].
pub(crate) type BoundId = u32;
/// Number of a rule in [`Plan::origins`]; 0 is "no rule".
pub(crate) type OriginId = u32;

/// A compiled package.
#[derive(Debug, Default)]
pub(crate) struct Plan {
    pub messages: HashMap<String, MessageMap>,
    pub maps: Vec<Map>,
    pub tables: Vec<Table>,
    pub names: Vec<String>,
    pub policies: Vec<Policy>,
    /// All that conditions ask of policies: which one, and whether it has that value.
    pub switches: Vec<(usize, String)>,
    pub probes: Vec<Probe>,
    /// The inputs of rules whose elements are kept from message to message, by origin.
    pub kept: Vec<Option<crate::engine::memo::Inputs>>,
    pub origins: Vec<Origin>,
    /// Why fields are left out on purpose, each once; the place itself where nobody says why.
    pub reasons: Vec<Arc<str>>,
    /// Tables the engine itself asks: coding systems (HL7 table 0396) and assigning authorities.
    pub coding_systems: Option<TableId>,
    pub authorities: Option<TableId>,
    /// By the URI of a coding system all of its codes; systems that are not here are not known whole.
    pub known_codes: HashMap<String, HashSet<String, Spread>, Spread>,
    pub handlebars: handlebars::Handlebars<'static>,
    /// What the files say of the guide; nothing that a message needs.
    pub notes: crate::notes::Notes,
}

/// Where a rule stands.
#[derive(Debug, Clone)]
pub(crate) struct Origin {
    pub file: u16,
    pub line: u32,
    pub column: u32,
    pub length: u32,
}

#[derive(Debug)]
pub(crate) struct Policy {
    pub name: String,
    pub default: String,
    pub values: Vec<String>,
    pub about: String,
}

/// A message map: which segments of which groups become what.
#[derive(Debug)]
pub(crate) struct MessageMap {
    pub name: String,
    pub root: Group,
    pub entries: Vec<Entry>,
    pub links: Vec<Link>,
    /// Walk the message as one flat list (`any.yaml`).
    pub flat: bool,
}

#[derive(Debug, Default)]
pub(crate) struct Group {
    /// Position of this group among all groups of the map.
    pub id: u32,
    pub name: String,
    /// Entry numbers by segment.
    pub entries: Vec<([u8; 3], Vec<usize>)>,
    pub groups: Vec<Group>,
}

/// One line of a message map.
#[derive(Debug)]
pub(crate) struct Entry {
    pub segment: [u8; 3],
    pub after: Option<[u8; 3]>,
    /// The other anchors of the same segment in this group: the nearest of all decides.
    pub anchors: Vec<[u8; 3]>,
    pub map: MapId,
    pub bind: Bind,
    pub when: Option<Condition>,
    pub set: Vec<Set>,
    pub write: Option<WriteMode>,
    /// Instead of the map's own.
    pub key: Option<Identity>,
    /// What other segments call the resource by, who are not in its group.
    pub called: Vec<Identity>,
    pub origin: OriginId,
}

#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum Bind {
    Nothing,
    As(BoundId),
    Into(BoundId),
}

/// `set: { report.result: observation }`.
#[derive(Debug)]
pub(crate) struct Set {
    /// The resource that gets the element; `None` is the one just made.
    pub target: Option<BoundId>,
    pub fields: Vec<Field>,
}

/// `link: { header.focus: [patient, each report] }`.
#[derive(Debug)]
pub(crate) struct Link {
    pub target: BoundId,
    pub path: Vec<Key>,
    pub array: bool,
    pub sources: Vec<LinkSource>,
    pub targets: Vec<String>,
    pub origin: OriginId,
}

#[derive(Debug, Clone, Copy)]
pub(crate) enum LinkSource {
    First(BoundId),
    Each(BoundId),
    Everything,
}

/// How a resource is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum WriteMode {
    Update,
    Create,
}

/// A segment map or a datatype map.
#[derive(Debug)]
pub(crate) struct Map {
    pub makes: Makes,
    pub when: Option<Condition>,
    pub key: Option<Identity>,
    pub write: WriteMode,
    /// Fields deliberately not mapped.
    pub ignore: Vec<Ignore>,
    pub fields: Vec<Field>,
    /// For a map that makes a primitive.
    pub result: Vec<Rule>,
    pub origin: OriginId,
}

#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Makes {
    Resource(&'static str),
    Complex,
    Primitive,
}

/// A field or a part of one that is left out on purpose, always or under a condition.
#[derive(Debug)]
pub(crate) struct Ignore {
    /// A field of the segment that is mapped, in all of its repetitions, or a part of the value that is mapped.
    pub access: Access,
    pub when: Option<Condition>,
    /// Number in [`Plan::reasons`].
    pub why: u16,
}

/// How an identity is made, see `key:` in the language's reference.
#[derive(Debug, Clone)]
pub(crate) struct Identity {
    pub parts: Vec<Part>,
}

#[derive(Debug, Clone)]
pub(crate) enum Part {
    /// The first of these that has a value.
    Value(Vec<(Access, Canonical)>),
    /// The first of these names that is bound.
    Bound(Vec<BoundId>),
    Sender,
    Message,
    Repeat,
    Text(String),
    /// A text made of the message.
    Template(Template),
}

/// Which components of a composite identify it.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum Canonical {
    /// CX: value and assigning authority.
    Cx,
    /// EI: value and authority.
    Ei,
    /// XCN, CN: id and authority, else the name.
    Xcn,
    /// XON: organization identifier and authority, else the name.
    Xon,
    /// CE, CWE, CNE: code and system, else the text.
    Code,
    /// HD: all.
    Hd,
    /// Everything that is written.
    Whole,
}

/// The rules of one element.
#[derive(Debug)]
pub(crate) struct Field {
    pub key: Key,
    pub array: bool,
    pub shape: Shape,
    /// One variant of a choice type, of which only one may be there.
    pub choice: bool,
    pub rules: Vec<Rule>,
    /// What a `set` writes replaces what a map wrote.
    pub replace: bool,
    /// Equal members of the list say nothing more: identifiers, codes, references and the like.
    pub distinct: bool,
    /// What none of its rules can do without.
    pub needs: Needs,
    /// The place whose text the element is, and whose rule that is, when its rules say no more.
    pub place: Option<(Access, Primitive, OriginId)>,
}

/// What an element takes.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum Shape {
    Primitive(Primitive),
    Coding,
    CodeableConcept,
    /// Its end is never before its start.
    Period,
    Complex,
    Reference,
}

/// One rule.
#[derive(Debug)]
pub(crate) struct Rule {
    pub when: Option<Condition>,
    pub select: Select,
    pub body: Body,
    pub set: Vec<Field>,
    pub needs: Needs,
    /// Nothing in it depends on the message.
    pub constant: bool,
    pub origin: OriginId,
}

/// What must be present for a rule to do anything. Most fields of most messages are empty, so this is the question that
/// ends most rules.
#[derive(Debug, Default)]
pub(crate) struct Needs {
    /// One of these; none when nothing is known.
    pub places: Vec<Access>,
    /// When all of them are fields of one segment, or parts of the value being mapped: of which,
    pub of: Of,
    /// and the bits of their numbers.
    pub bits: u64,
    /// Nothing inside of them is asked for, so the bits say it all.
    pub whole: bool,
    /// A comparison that must hold.
    pub asked: Option<Asked>,
}

/// What the bits of [`Needs`] are about, as a number: there is no faster question, and it is the one asked most.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Of(u32);

impl Of {
    /// That is not known, or not one thing only.
    pub const UNKNOWN: Of = Of(0);
    /// The value being mapped.
    pub const CURRENT: Of = Of(1);

    /// A segment by its name, whose letters make the number larger than the others.
    pub fn segment([a, b, c]: [u8; 3]) -> Of {
        Of(u32::from_be_bytes([1, a, b, c]))
    }
}

impl From<Root> for Of {
    fn from(root: Root) -> Of {
        match root {
            Root::Current => Of::CURRENT,
            Root::Segment(name) => Of::segment(name),
        }
    }
}

/// A place that conditions compare with texts. It is read once for a segment, however many comparisons there are.
#[derive(Debug)]
pub(crate) struct Probe {
    /// Of a segment, never of the value being mapped.
    pub access: Access,
    /// All texts that it is compared with, at most 63.
    pub texts: Vec<String>,
    /// The same by [`short`]; the longer ones stand there as [`LONG`].
    pub shorts: Vec<u64>,
}

/// No short text: it would be longer.
pub(crate) const LONG: u64 = u64::MAX;

/// A text of at most seven bytes and its length as a number, which is compared at once; `None` for a longer one.
#[inline]
pub(crate) fn short(text: &str) -> Option<u64> {
    let mut word = u64::try_from(text.len())
        .ok()
        .filter(|length| *length < 8)?;
    for byte in text.bytes() {
        word = word << 8 | u64::from(byte);
    }
    Some(word)
}

/// That the text at a probe's place is one of these: bit `n` stands for text `n` of the probe, counted from 1, and bit 0 for
/// any other text.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Asked {
    pub probe: ProbeId,
    pub texts: u64,
}

#[derive(Debug, Clone, Copy)]
pub(crate) enum Select {
    Here,
    From(Access),
    Each(Access),
}

#[derive(Debug)]
pub(crate) enum Body {
    /// The current value as it is.
    Value,
    /// A text that is one place: what a [`Body::Text`] of a single hole is lowered to.
    Place(Access),
    /// An element in which nothing depends on the message.
    Fixed(Box<Fixed>),
    Text(Template),
    Texts(Vec<Template>),
    Object(Vec<Field>),
    Map(MapId),
    Table(TableId, Option<Miss>, Option<MapId>),
    Ref(BoundId),
    /// The resource of that name which a message map's `called:` gave this key.
    Called(BoundId, Identity),
    Make(Box<Make>),
}

#[derive(Debug)]
pub(crate) struct Fixed {
    /// What is made each time,
    pub fragment: Fragment,
    /// and how, where it is added to an element that is there already.
    pub otherwise: Body,
}

#[derive(Debug)]
pub(crate) struct Make {
    pub type_name: &'static str,
    pub key: Option<Identity>,
    pub write: WriteMode,
    pub fields: Vec<Field>,
}

/// A place in the message, relative to where the engine stands.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Access {
    pub root: Root,
    pub field: u16,
    pub repetition: u16,
    pub component: u16,
    pub subcomponent: u16,
}

impl Access {
    /// What holds all repetitions of the place, for whoever reads more than the first.
    pub fn all_repetitions(self) -> Access {
        match self.repetition {
            0 => Access {
                component: 0,
                subcomponent: 0,
                ..self
            },
            _ => self,
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum Root {
    /// The value being mapped.
    Current,
    /// A segment by name: the one being mapped, or the nearest of that name.
    Segment([u8; 3]),
}

#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Condition<P = Access> {
    All(Vec<Condition<P>>),
    Any(Vec<Condition<P>>),
    Not(Box<Condition<P>>),
    Valued(P),
    Null(P),
    Equals(P, String),
    In(P, Vec<String>),
    /// What the comparisons of a segment's place are lowered to.
    OneOf(Asked),
    Count(P, Comparison, usize),
    Is(P, Form),
    StartsWith(P, String),
    Contains(P, String),
    Same(P, P),
    Policy(usize, String),
    /// What `Policy` is lowered to: one of [`Plan::switches`].
    Switch(usize),
    Bound(BoundId),
}

#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum Comparison {
    Equal,
    NotEqual,
    Less,
    LessOrEqual,
    Greater,
    GreaterOrEqual,
}

/// What a text can look like.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum Form {
    Number,
    Quantity,
    Ratio,
    Range,
    Integer,
    Date,
    Time,
    Oid,
    Uri,
}

/// A text with holes.
#[derive(Debug, Clone)]
pub(crate) struct Template {
    pub pieces: Vec<Piece>,
}

#[derive(Debug, Clone)]
pub(crate) enum Piece {
    Text(String),
    Value(Access),
    Call(Call),
    If {
        test: Test,
        then: Vec<Piece>,
        otherwise: Vec<Piece>,
    },
    /// What can't be lowered: a registered template, and the fields it reads.
    Handlebars {
        name: String,
        reads: Vec<(Vec<String>, Access, bool)>,
        /// How many `each` stand inside each other.
        loops: u32,
    },
}

#[derive(Debug, Clone)]
pub(crate) struct Call {
    pub helper: Helper,
    pub arguments: Vec<Argument>,
}

#[derive(Debug, Clone)]
pub(crate) enum Argument {
    Value(Access),
    Text(String),
    Call(Call),
}

/// The question of an `{{#if}}`.
#[derive(Debug, Clone)]
pub(crate) enum Test {
    Valued(Argument),
    Equal(Argument, Argument),
    NotEqual(Argument, Argument),
    And(Vec<Test>),
    Or(Vec<Test>),
    Not(Box<Test>),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Helper {
    Date,
    DateTime,
    Instant,
    Time,
    Upper,
    Lower,
    Trim,
    Digits,
    Number,
    Comparator,
    RangeLow,
    RangeHigh,
    Replace,
    Substring,
    Join,
    Default,
    Whole,
    System,
    Authority,
    Lookup(TableId),
    Sender,
    Later,
    Earlier,
    Minutes,
    Lines,
    Sections,
    Beside,
    Base64,
    List,
    Parts,
    Before,
    After,
}

/// A code table.
#[derive(Debug, Default)]
pub(crate) struct Table {
    pub name: String,
    /// The v2 tables it translates, such as `HL70001`.
    pub source: Vec<String>,
    pub target: String,
    /// By source code. The codes are the package's own, so no message can make them collide.
    pub codes: HashMap<String, Vec<Target>, Spread>,
    pub default: Option<Target>,
    /// Codes that are not listed stay what they are, in the target system.
    pub same_rest: bool,
    pub miss: Miss,
    /// The ConceptMap that a terminology server is asked for codes not listed, or `any`.
    pub translate: Option<String>,
    /// Further groups of codes, of other coding systems, and those of the table that is asked for the rest.
    pub more: Vec<Table>,
}

impl Table {
    /// This group of codes, and the further ones.
    pub fn groups(&self) -> impl Iterator<Item = &Table> {
        std::iter::once(self).chain(&self.more)
    }

    /// A copy without the further groups.
    pub fn alone(&self) -> Table {
        Table {
            name: self.name.clone(),
            source: self.source.clone(),
            target: self.target.clone(),
            codes: self.codes.clone(),
            default: self.default.clone(),
            same_rest: self.same_rest,
            miss: self.miss,
            translate: None,
            more: Vec::new(),
        }
    }

    /// What stands for codes that are not listed.
    pub fn fallback(&self) -> Option<&Target> {
        self.groups().find_map(|group| group.default.as_ref())
    }
}

#[derive(Debug, Clone, PartialEq, Default)]
pub(crate) struct Target {
    pub code: String,
    pub display: Option<String>,
    pub system: String,
}

/// What happens to a code that a table does not list.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) enum Miss {
    #[default]
    Keep,
    Drop,
    Park,
    Fail,
}

impl Helper {
    /// Name, and the least and most arguments it takes.
    pub(crate) fn find(name: &str) -> Option<(Helper, usize, usize)> {
        Some(match name {
            "date" => (Helper::Date, 1, 1),
            "dateTime" => (Helper::DateTime, 1, 1),
            "instant" => (Helper::Instant, 1, 1),
            "time" => (Helper::Time, 1, 1),
            "upper" => (Helper::Upper, 1, 1),
            "lower" => (Helper::Lower, 1, 1),
            "trim" => (Helper::Trim, 1, 1),
            "digits" => (Helper::Digits, 1, 1),
            "number" => (Helper::Number, 1, 1),
            "comparator" => (Helper::Comparator, 1, 1),
            "rangeLow" => (Helper::RangeLow, 1, 1),
            "rangeHigh" => (Helper::RangeHigh, 1, 1),
            "replace" => (Helper::Replace, 3, 3),
            "substring" => (Helper::Substring, 2, 3),
            "join" => (Helper::Join, 1, 2),
            "default" => (Helper::Default, 2, 4),
            "whole" => (Helper::Whole, 1, 1),
            "system" => (Helper::System, 1, 2),
            "authority" => (Helper::Authority, 1, 3),
            "lookup" => (Helper::Lookup(usize::MAX), 2, 2),
            "sender" => (Helper::Sender, 0, 0),
            "later" => (Helper::Later, 3, 3),
            "earlier" => (Helper::Earlier, 3, 3),
            "minutes" => (Helper::Minutes, 2, 2),
            "lines" => (Helper::Lines, 1, 12),
            "sections" => (Helper::Sections, 2, 13),
            "beside" => (Helper::Beside, 3, 4),
            "base64" => (Helper::Base64, 1, 1),
            "list" => (Helper::List, 2, 12),
            "parts" => (Helper::Parts, 2, 2),
            "before" => (Helper::Before, 2, 2),
            "after" => (Helper::After, 2, 2),
            _ => return None,
        })
    }

    /// All names, for suggestions.
    pub(crate) const NAMES: &'static [&'static str] = &[
        "date",
        "dateTime",
        "instant",
        "time",
        "upper",
        "lower",
        "trim",
        "digits",
        "number",
        "comparator",
        "rangeLow",
        "rangeHigh",
        "replace",
        "substring",
        "join",
        "default",
        "whole",
        "system",
        "authority",
        "lookup",
        "sender",
        "later",
        "earlier",
        "minutes",
        "lines",
        "sections",
        "beside",
        "base64",
        "list",
        "parts",
        "before",
        "after",
        "if",
        "unless",
    ];
}
