//! The words of the language, once: which keys each kind of file and each rule takes, what stands behind them, what the helpers
//! do. The compiler refuses what is not here; the JSON Schema and the help of editors are made from it.

use crate::diagnostic::closest;

/// What stands behind a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Takes {
    /// For people.
    Prose,
    /// A text.
    Text,
    /// A text or a list of texts.
    Texts,
    /// `PID-3`, `CX.4`.
    Path,
    /// `PID-8 = F`.
    Condition,
    /// A text with holes, or a list of them.
    Templates,
    /// `CX/Identifier`.
    MapName,
    /// The name of a code table.
    TableName,
    /// The name of a part of message maps.
    PartName,
    /// A name that a message map binds.
    ResourceName,
    /// A FHIR resource or data type.
    TypeName,
    /// A FHIR resource.
    ResourceType,
    /// A path, or a list of parts.
    Identity,
    /// A key, or a list of keys that each are a list.
    Identities,
    /// `update` or `create`.
    Write,
    /// What happens to a code that a table does not list.
    Miss,
    /// FHIR elements and their rules.
    Elements,
    /// Rules of one value.
    Rules,
    /// Fields to leave out.
    Fields,
    /// Lines of a message map.
    Lines,
    /// References between resources: `header.focus: patient`.
    Links,
    /// Rows of the guide and what became of them.
    Rows,
    /// Codes and their targets.
    Codes,
    /// Codes and their displays.
    Displays,
    /// A target code.
    Target,
    /// How near a target is to its source.
    Equivalence,
    /// Groups of codes.
    Groups,
    /// Policies by name.
    Policies,
}

/// A key.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Key {
    pub name: &'static str,
    pub takes: Takes,
    /// One line for editors.
    pub about: &'static str,
}

/// The keys that may stand together.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Vocabulary {
    /// What has them: `a code table`.
    pub owner: &'static str,
    pub keys: &'static [Key],
}

const fn key(name: &'static str, takes: Takes, about: &'static str) -> Key {
    Key { name, takes, about }
}

const GUIDE: Key = key(
    "guide",
    Takes::Prose,
    "the map or row of HL7's v2-to-FHIR guide that this follows",
);
const DEVIATES: Key = key(
    "deviates",
    Takes::Prose,
    "why this does otherwise than the guide",
);
const ABOUT: Key = key("about", Takes::Prose, "a line for people");
const ROWS: Key = key(
    "rows",
    Takes::Rows,
    "what became of rows of the guide that the rules do not show: `PID-10: by PID/Observation-Race`",
);
const WHEN: Key = key(
    "when",
    Takes::Condition,
    "it counts only if this holds: `PID-8 = F and PID-7 valued`",
);
const KEY: Key = key(
    "key",
    Takes::Identity,
    "what makes it the same resource in the next message: `PID-3`, or a list of parts",
);
const WRITE: Key = key(
    "write",
    Takes::Write,
    "`update` makes or replaces the resource, `create` leaves one that exists alone",
);
const VERSIONS: Key = key(
    "versions",
    Takes::Text,
    "the versions of HL7 v2 that senders use: `2.3 to 2.5.1`, `from 2.5`, `to 2.4`; paths are checked against them",
);
const LINK: Key = key(
    "link",
    Takes::Links,
    "references set at the end of the message: `header.focus: [patient, each report]`",
);

/// Keywords of rules, beside FHIR elements.
pub(crate) const RULE: Vocabulary = Vocabulary {
    owner: "a rule",
    keys: &[
        key("from", Takes::Path, "makes that value the current one"),
        key(
            "each",
            Takes::Path,
            "one result for every repetition of that field",
        ),
        key(
            "map",
            Takes::MapName,
            "applies a datatype map to the current value; a resource it makes is referred to",
        ),
        key(
            "table",
            Takes::TableName,
            "translates the code of the current value",
        ),
        key(
            "miss",
            Takes::Miss,
            "what happens to a code that the table does not list, instead of what the table says",
        ),
        key(
            "is",
            Takes::Templates,
            "a text with modifiers beside it; a list of texts for an element that repeats",
        ),
        key(
            "ref",
            Takes::ResourceName,
            "a reference to the resource that the message map calls so, in a url or uri its address; nothing when there is none",
        ),
        key(
            "make",
            Takes::ResourceType,
            "on a reference, or on a url or uri: the elements beside it build a new resource of that type",
        ),
        KEY,
        WRITE,
        key(
            "set",
            Takes::Elements,
            "after `map:`, adds or replaces elements of what the map made",
        ),
        WHEN,
        GUIDE,
        DEVIATES,
    ],
};

/// Header keys of segment maps.
pub(crate) const SEGMENT: Vocabulary = Vocabulary {
    owner: "a segment map",
    keys: &[
        key(
            "segment",
            Takes::Text,
            "the segment that is mapped; repeats the folder",
        ),
        key("makes", Takes::TypeName, "the FHIR resource it makes"),
        KEY,
        WRITE,
        WHEN,
        key(
            "ignore",
            Takes::Fields,
            "fields and parts of fields left out on purpose: `[PID-1, { PID-12: PID-12 same as PID-11.9 }, { PID-5.3: the reason }]`",
        ),
        VERSIONS,
        ROWS,
        GUIDE,
        DEVIATES,
        ABOUT,
    ],
};

/// Header keys of datatype maps.
pub(crate) const DATATYPE: Vocabulary = Vocabulary {
    owner: "a datatype map",
    keys: &[
        key(
            "datatype",
            Takes::Text,
            "the data type that is mapped; repeats the folder",
        ),
        key(
            "makes",
            Takes::TypeName,
            "the FHIR data type or resource it makes",
        ),
        key(
            RESULT,
            Takes::Rules,
            "of a map to a primitive: one rule, or alternatives of which the first that gives something is taken",
        ),
        KEY,
        WRITE,
        WHEN,
        key(
            "ignore",
            Takes::Fields,
            "parts of the value left out on purpose: `{ CX.7: the reason }`",
        ),
        ROWS,
        GUIDE,
        DEVIATES,
        ABOUT,
    ],
};

/// Only in maps to a primitive: elsewhere it is an element, as in DiagnosticReport.
pub(crate) const RESULT: &str = "result";

const SOURCE: Key = key(
    "source",
    Takes::Texts,
    "v2 tables it translates, such as HL70001; a value with another coding system does not match",
);
const SYSTEM: Key = key("target", Takes::Text, "the system of the target codes");
const CODES: Key = key(
    "codes",
    Takes::Codes,
    "v2 code: target code, or `{ code, display, system }`, or a list of them",
);
const SAME: Key = key(
    "same",
    Takes::Displays,
    "codes that stay what they are, with their display; `all` for every code that is not listed",
);
const DEFAULT: Key = key("default", Takes::Target, "for codes not listed");

/// Keys of code tables.
pub(crate) const TABLE: Vocabulary = Vocabulary {
    owner: "a code table",
    keys: &[
        key(
            "table",
            Takes::Text,
            "the name of the table; repeats the file's place",
        ),
        SOURCE,
        SYSTEM,
        CODES,
        SAME,
        DEFAULT,
        key(
            "else",
            Takes::TableName,
            "the table that is asked for codes not listed",
        ),
        key(
            "groups",
            Takes::Groups,
            "further codes, each group with its own source and target",
        ),
        key(
            "miss",
            Takes::Miss,
            "for codes not listed when there is no default",
        ),
        key(
            "translate",
            Takes::Text,
            "the ConceptMap that the route's terminology server is asked for codes not listed: its URL, or `any`",
        ),
        ROWS,
        GUIDE,
        DEVIATES,
        ABOUT,
    ],
};

/// Keys of a group of codes, which a table has for its first group itself.
pub(crate) const GROUP: Vocabulary = Vocabulary {
    owner: "a group of codes",
    keys: &[SOURCE, SYSTEM, CODES, SAME, DEFAULT],
};

/// Keys of a target code.
pub(crate) const TARGET: Vocabulary = Vocabulary {
    owner: "a target code",
    keys: &[
        key("code", Takes::Text, "the code"),
        key("display", Takes::Text, "its display"),
        key(
            "system",
            Takes::Text,
            "its system, if it is not the table's",
        ),
        key(
            "equivalence",
            Takes::Equivalence,
            "how near the target is, as a ConceptMap says it",
        ),
        key(
            "name",
            Takes::Text,
            "the name of the source code, for people and ConceptMaps",
        ),
        key(
            "comment",
            Takes::Prose,
            "a remark, for people and ConceptMaps",
        ),
    ],
};

/// Keys of message maps.
pub(crate) const MESSAGE: Vocabulary = Vocabulary {
    owner: "a message map",
    keys: &[
        key(
            "message",
            Takes::Text,
            "the message structure (MSH-9.3); repeats the file's name",
        ),
        ABOUT,
        key("events", Takes::Texts, "the events that use the structure"),
        key(
            "map",
            Takes::Lines,
            "which segments of which groups become what",
        ),
        LINK,
        VERSIONS,
        ROWS,
        GUIDE,
        DEVIATES,
    ],
};

/// Keys of parts of message maps.
pub(crate) const PART: Vocabulary = Vocabulary {
    owner: "a part",
    keys: &[
        key(
            "part",
            Takes::Text,
            "the name of the part; repeats the file's name",
        ),
        ABOUT,
        key(
            "map",
            Takes::Lines,
            "lines that message maps take in with `use:`",
        ),
        LINK,
        ROWS,
        GUIDE,
        DEVIATES,
    ],
};

/// Keys of a line of a message map, beside its segment.
pub(crate) const LINE: Vocabulary = Vocabulary {
    owner: "a line of a message map",
    keys: &[
        WHEN,
        key(
            "set",
            Takes::Elements,
            "elements of the resource, or of another: `{ subject: patient, report.result: observation }`",
        ),
        KEY,
        key(
            "called",
            Takes::Identities,
            "what segments of other groups find the resource by, with `{ ref: NAME, key: [...] }`; several keys as a list of lists",
        ),
        WRITE,
        key(
            "use",
            Takes::PartName,
            "alone on its line: the lines of messages/parts/NAME.yaml stand here",
        ),
        GUIDE,
        DEVIATES,
    ],
};

/// Keys of package.yaml.
pub(crate) const PACKAGE: Vocabulary = Vocabulary {
    owner: "package.yaml",
    keys: &[
        key("package", Takes::Text, "the name of the package"),
        key("version", Takes::Text, "its version"),
        ABOUT,
        key("extends", Takes::Text, "`below` in an overlay"),
        VERSIONS,
        key(
            "policies",
            Takes::Policies,
            "decisions that maps ask for with `when: policy NAME = VALUE`; a bare value changes a default",
        ),
    ],
};

/// Keys of a policy in package.yaml.
pub(crate) const POLICY: Vocabulary = Vocabulary {
    owner: "a policy",
    keys: &[
        key("default", Takes::Text, "its value when nobody sets another"),
        key(
            "values",
            Takes::Texts,
            "all its values; `on` and `off` when not said",
        ),
        ABOUT,
    ],
};

/// What happens to codes that a table does not list.
pub(crate) const MISSES: &[(&str, &str)] = &[
    (
        "keep",
        "the source coding stays as it is; nothing for a code",
    ),
    ("drop", "the code is left out"),
    ("park", "the message is held for a person"),
    ("fail", "the message is refused"),
];

/// How a resource is written.
pub(crate) const WRITES: &[(&str, &str)] = &[
    ("update", "makes or replaces the resource"),
    ("create", "leaves one that exists alone"),
];

/// The tests of conditions, as they are written behind a path or alone.
pub(crate) const TESTS: &[(&str, &str)] = &[
    ("valued", "it has a value"),
    ("not valued", "it has none"),
    ("is null", "it is the v2 `\"\"`, which asks to delete"),
    ("= X", "its text is X"),
    ("!= X", "its text is something else, or nothing"),
    ("in (A, B)", "its text is one of these"),
    ("not in (A, B)", "its text is none of these"),
    ("starts with X", "its text starts so"),
    ("contains X", "X is in its text"),
    ("same as PATH", "both say the same"),
    (
        "is number",
        "also: quantity, ratio, range, integer, date, time, oid, uri",
    ),
];

/// The helpers of templates: name, how it is written, what it gives.
pub(crate) const HELPERS: &[(&str, &str, &str)] = &[
    (
        "date",
        "date PATH",
        "the FHIR date, nothing if it can't be made",
    ),
    (
        "dateTime",
        "dateTime PATH",
        "the FHIR dateTime, nothing if it can't be made",
    ),
    (
        "instant",
        "instant PATH",
        "the FHIR instant, nothing if it can't be made",
    ),
    (
        "time",
        "time PATH",
        "the FHIR time, nothing if it can't be made",
    ),
    ("upper", "upper PATH", "in upper case"),
    ("lower", "lower PATH", "in lower case"),
    ("trim", "trim PATH", "without blanks around it"),
    ("digits", "digits PATH", "its digits alone"),
    ("number", "number PATH", "of `<5`: 5"),
    ("comparator", "comparator PATH", "of `<5`: <"),
    (
        "rangeLow",
        "rangeLow PATH",
        "the low end of a reference range such as 3.5-5.1",
    ),
    (
        "rangeHigh",
        "rangeHigh PATH",
        "the high end of a reference range such as 3.5-5.1",
    ),
    ("replace", "replace PATH \"a\" \"b\"", "with b for each a"),
    (
        "substring",
        "substring PATH start length",
        "a part of it; characters are counted from 1",
    ),
    ("join", "join PATH \", \"", "all repetitions"),
    (
        "default",
        "default PATH \"x\"",
        "the first of its arguments that has a value",
    ),
    (
        "whole",
        "whole PATH",
        "all the text of a field, delimiters included",
    ),
    (
        "system",
        "system PATH CODE",
        "URI of a coding system by its name (CWE.3); with the code behind it one of the sender's own where that system does not have it",
    ),
    (
        "authority",
        "authority PATH",
        "identifier system of an HD (CX.4, XCN.9)",
    ),
    (
        "lookup",
        "lookup PATH \"Table\"",
        "the target code of a code table",
    ),
    ("sender", "sender", "who sends"),
    (
        "later",
        "later TIME AMOUNT UNIT",
        "the time a step later, such as `later SCH-11.4 SCH-9 \"min\"`",
    ),
    (
        "earlier",
        "earlier TIME AMOUNT UNIT",
        "the time a step earlier",
    ),
    ("minutes", "minutes AMOUNT UNIT", "the length in minutes"),
    (
        "lines",
        "lines PATH",
        "the field in all segments of that name near by, a line each",
    ),
    (
        "sections",
        "sections PATH HEADING",
        "as `lines`, with the text of HEADING above wherever it changes",
    ),
    (
        "beside",
        "beside OBX-5 OBX-3 \"29769-7\" OBX-4",
        "OBX-5 of the other OBX near by whose OBX-3 is that and whose OBX-4 is the same as here",
    ),
    ("base64", "base64 TEXT", "the text (UTF-8) in base64"),
    (
        "list",
        "list \", \" PATH PATH",
        "those that have a value, parted by the first argument",
    ),
    (
        "parts",
        "parts PATH \", \"",
        "all parts of a composite that have a value",
    ),
    (
        "before",
        "before PATH \":\"",
        "what stands before the first such text; nothing without one",
    ),
    (
        "after",
        "after PATH \":\"",
        "what stands behind the first such text; nothing without one",
    ),
    (
        "if",
        "#if PATH}}...{{else}}...{{/if",
        "decides; knows eq, ne, and, or, not, valued",
    ),
    (
        "unless",
        "#unless PATH}}...{{/unless",
        "the opposite of `if`",
    ),
];

// === impl Vocabulary ===

impl Vocabulary {
    /// Whether it has the key.
    pub(crate) fn has(&self, name: &str) -> bool {
        self.find(name).is_some()
    }

    /// The key of that name.
    pub(crate) fn find(&self, name: &str) -> Option<&'static Key> {
        self.keys.iter().find(|key| key.name == name)
    }

    /// The names, in order.
    pub(crate) fn names(&self) -> impl Iterator<Item = &'static str> {
        self.keys.iter().map(|key| key.name)
    }

    /// What to do about a key that is not there.
    pub(crate) fn help(&self, wrong: &str) -> String {
        let names: Vec<&str> = self.names().collect();
        let (last, others) = names
            .split_last()
            .map_or(("", &[][..]), |(last, others)| (*last, others));
        let list = format!("its keys are {} and {last}", others.join(", "));
        match closest(wrong, self.names()) {
            Some(near) => format!("did you mean `{near}`? {list}"),
            None => list,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_key_stands_once_and_says_what_it_is() {
        for vocabulary in [
            GROUP, RULE, SEGMENT, DATATYPE, TABLE, TARGET, MESSAGE, PART, LINE, PACKAGE, POLICY,
        ] {
            for (number, key) in vocabulary.keys.iter().enumerate() {
                let first = vocabulary.names().position(|name| name == key.name);
                assert_eq!(first, Some(number), "{} in {}", key.name, vocabulary.owner);
                assert!(
                    !key.about.is_empty() && !key.about.ends_with('.'),
                    "{}",
                    key.name
                );
            }
        }
    }

    #[test]
    fn every_helper_is_described() {
        let described: Vec<&str> = HELPERS.iter().map(|(name, ..)| *name).collect();
        assert_eq!(described, crate::plan::Helper::NAMES);
    }
}
