//! The JSON Schema of mapping files (draft 7, which the YAML support of editors reads), made from the vocabulary that the compiler
//! itself uses and from the FHIR definitions.
//!
//! A schema sees one file and no other, and no text inside of a text: it knows keys, elements and codes. Paths, conditions,
//! templates and names of other files are the compiler's.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::fmt::Write as _;

use fhir::definitions::{Definitions, Element, Strength, TypeId, TypeKind, r4};
use serde_json::{Map, Value, json};

use crate::tables::EQUIVALENCES;
use crate::vocabulary::{self, Key, Takes, Vocabulary};

/// What kind of file a schema is of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SchemaKind {
    /// `segments/SEG/Map.yaml`
    Segment,
    /// `datatypes/TYPE/Map.yaml`
    Datatype,
    /// `tables/Name.yaml`
    Table,
    /// `messages/STRUCTURE.yaml`
    Message,
    /// `messages/parts/NAME.yaml`
    Part,
    /// `package.yaml`
    Package,
    /// A file of an overlay that changes the one below it.
    Overlay,
}

impl SchemaKind {
    /// All kinds.
    pub const ALL: [SchemaKind; 7] = [
        SchemaKind::Segment,
        SchemaKind::Datatype,
        SchemaKind::Table,
        SchemaKind::Message,
        SchemaKind::Part,
        SchemaKind::Package,
        SchemaKind::Overlay,
    ];

    /// The name, which is also that of its definition.
    pub fn as_str(self) -> &'static str {
        match self {
            SchemaKind::Segment => "segment",
            SchemaKind::Datatype => "datatype",
            SchemaKind::Table => "table",
            SchemaKind::Message => "message",
            SchemaKind::Part => "part",
            SchemaKind::Package => "package",
            SchemaKind::Overlay => "overlay",
        }
    }
}

/// The schema of one kind of file, or of all, as JSON text with a definition a line.
pub fn schema(kind: Option<SchemaKind>) -> String {
    let mut builder = Builder {
        r4: r4(),
        definitions: Map::new(),
        wanted: VecDeque::new(),
        seen: BTreeSet::new(),
        sets: BTreeMap::new(),
    };
    let kinds: &[SchemaKind] = kind.as_ref().map_or(&SchemaKind::ALL, std::slice::from_ref);
    let mut roots = Vec::new();
    for kind in kinds {
        roots.push(builder.refer(kind.as_str()));
    }
    while let Some(name) = builder.wanted.pop_front() {
        let definition = builder.definition(&name);
        builder.definitions.insert(name, definition);
    }
    text(&roots, &builder.definitions)
}

/// A definition a line: one can read it, and a change of one is a change of a line.
fn text(roots: &[Value], definitions: &Map<String, Value>) -> String {
    let mut out = String::from(
        "{\n\"$schema\": \"http://json-schema.org/draft-07/schema#\",\n\"title\": \"Fhirway mapping file\",\n",
    );
    match roots {
        [one] => {
            let _ = writeln!(out, "\"allOf\": [{one}],");
        }
        _ => {
            let list: Vec<String> = roots.iter().map(Value::to_string).collect();
            let _ = writeln!(out, "\"anyOf\": [{}],", list.join(", "));
        }
    }
    out.push_str("\"$defs\": {\n");
    let lines: Vec<String> = definitions
        .iter()
        .map(|(name, definition)| format!("{}: {definition}", Value::from(name.as_str())))
        .collect();
    out.push_str(&lines.join(",\n"));
    out.push_str("\n}\n}\n");
    out
}

struct Builder {
    r4: &'static Definitions,
    definitions: Map<String, Value>,
    /// Definitions that are referred to and not made yet.
    wanted: VecDeque<String>,
    seen: BTreeSet<String>,
    /// Value sets by the last part of their address, which names their definition.
    sets: BTreeMap<&'static str, &'static str>,
}

impl Builder {
    fn refer(&mut self, name: &str) -> Value {
        if self.seen.insert(name.to_owned()) {
            self.wanted.push_back(name.to_owned());
        }
        json!({ "$ref": format!("#/$defs/{name}") })
    }

    fn definition(&mut self, name: &str) -> Value {
        if let Some(type_name) = name.strip_prefix("rules.") {
            return self.rules(type_name);
        }
        if let Some(set) = name.strip_prefix("codes.") {
            return self.codes(set);
        }
        match name {
            "segment" => self.map(&vocabulary::SEGMENT, "segment"),
            "datatype" => self.map(&vocabulary::DATATYPE, "datatype"),
            "table" => self.closed(&vocabulary::TABLE, &["table"]),
            "group" => self.closed(&vocabulary::GROUP, &[]),
            "message" => self.closed(&vocabulary::MESSAGE, &["message"]),
            "part" => self.closed(&vocabulary::PART, &["part"]),
            "package" => self.closed(&vocabulary::PACKAGE, &["package"]),
            "policy" => self.closed(&vocabulary::POLICY, &[]),
            "target-object" => self.closed(&vocabulary::TARGET, &[]),
            "overlay" => json!({
                "type": "object",
                "required": ["extends"],
                "properties": { "extends": { "const": "below", "description": "this file changes single rules of the file below it, each named by its address" } },
            }),
            "text" => json!({ "type": ["string", "number", "boolean"] }),
            "keywords" => {
                let properties = self.properties(&vocabulary::RULE);
                json!({ "properties": properties })
            }
            "in-rules" => json!({ "propertyNames": { "not": { "enum": self.header_only() } } }),
            "in-header" => json!({ "propertyNames": { "not": { "enum": self.keyword_only() } } }),
            "rules.any" => json!({ "type": ["string", "number", "boolean", "object", "array"] }),
            "line" => self.line(),
            "target" => {
                let object = self.refer("target-object");
                let text = self.refer("text");
                let one = json!({ "anyOf": [text, object, { "type": "null" }] });
                json!({ "anyOf": [one, { "type": "array", "items": one }] })
            }
            _ => match self.r4.type_(name) {
                Some(type_id) => self.object(type_id),
                None => json!({}),
            },
        }
    }

    // === files ===

    /// An object with these keys and no others.
    fn closed(&mut self, vocabulary: &Vocabulary, required: &[&str]) -> Value {
        let properties = self.properties(vocabulary);
        json!({ "type": "object", "required": required, "properties": properties, "additionalProperties": false })
    }

    fn properties(&mut self, vocabulary: &Vocabulary) -> Map<String, Value> {
        vocabulary
            .keys
            .iter()
            .map(|key| (key.name.to_owned(), self.key(key)))
            .collect()
    }

    /// A segment or datatype map: its elements are those of what it makes.
    fn map(&mut self, header: &Vocabulary, word: &str) -> Value {
        let properties = self.properties(header);
        let kinds: &[TypeKind] = match word {
            "segment" => &[TypeKind::Resource],
            _ => &[TypeKind::Resource, TypeKind::Complex, TypeKind::Backbone],
        };
        let types: Vec<TypeId> = self
            .r4
            .types()
            .filter(|id| kinds.contains(&self.r4.kind(*id)) && !self.r4.is_abstract(*id))
            .collect();
        let mut all = vec![self.refer("in-header")];
        for type_id in types {
            let name = self.r4.type_name(type_id);
            let elements = self.refer(name);
            all.push(
                json!({ "if": { "properties": { "makes": { "const": name } } }, "then": elements }),
            );
        }
        json!({ "type": "object", "required": [word, "makes"], "not": { "required": ["extends"] }, "properties": properties, "allOf": all })
    }

    fn line(&mut self) -> Value {
        let properties = self.properties(&vocabulary::LINE);
        let line = self.refer("line");
        let lines = json!({ "type": "array", "items": line });
        json!({
            "type": "object",
            "properties": properties,
            "patternProperties": {
                "^[A-Z][A-Z0-9]{2}( after [A-Z][A-Z0-9]{2})?$": {
                    "description": "a segment: `PID/Patient as patient` makes a resource and names it, `PD1/Patient into patient` adds to one",
                    "anyOf": [{ "type": "string" }, lines],
                },
                "^([A-Z][A-Z0-9]|[A-Z][A-Z0-9_]{3,})$": { "description": "a group of the structure", "type": "array", "items": line },
            },
            "additionalProperties": false,
        })
    }

    // === keys ===

    fn key(&mut self, key: &Key) -> Value {
        let texts = |text: &Value| json!([text, { "type": "array", "items": text }]);
        let mut schema = match key.takes {
            Takes::Prose => json!({}),
            Takes::Text
            | Takes::Path
            | Takes::Condition
            | Takes::MapName
            | Takes::TableName
            | Takes::PartName
            | Takes::ResourceName => self.refer("text"),
            Takes::TypeName => {
                json!({ "enum": self.type_names(&[TypeKind::Resource, TypeKind::Complex, TypeKind::Backbone, TypeKind::Primitive]) })
            }
            Takes::ResourceType => json!({ "enum": self.type_names(&[TypeKind::Resource]) }),
            Takes::Texts | Takes::Templates | Takes::Identity => {
                let text = self.refer("text");
                json!({ "anyOf": texts(&text) })
            }
            Takes::Identities => {
                let text = self.refer("text");
                let key = json!({ "type": "array", "items": text });
                json!({ "anyOf": [text, key, { "type": "array", "items": key }] })
            }
            Takes::Write => words(vocabulary::WRITES),
            Takes::Miss => words(vocabulary::MISSES),
            Takes::Equivalence => json!({ "enum": EQUIVALENCES }),
            Takes::Elements | Takes::Links | Takes::Rows => json!({ "type": "object" }),
            Takes::Rules => self.refer("rules.any"),
            Takes::Fields => {
                let field = json!({ "type": ["string", "object"] });
                json!({ "anyOf": texts(&field) })
            }
            Takes::Lines => {
                let line = self.refer("line");
                json!({ "anyOf": [{ "type": "array", "items": line }, line] })
            }
            Takes::Codes => {
                let target = self.refer("target");
                json!({ "type": "object", "additionalProperties": target })
            }
            Takes::Displays => {
                json!({ "anyOf": [{ "const": "all" }, { "type": "object", "additionalProperties": { "type": ["string", "number", "boolean", "null"] } }] })
            }
            Takes::Target => self.refer("target"),
            Takes::Groups => {
                let group = self.refer("group");
                json!({ "anyOf": texts(&group) })
            }
            Takes::Policies => {
                let (text, policy) = (self.refer("text"), self.refer("policy"));
                json!({ "type": "object", "additionalProperties": { "anyOf": [text, policy] } })
            }
        };
        if schema.get("$ref").is_some() {
            // Beside a reference draft 7 reads nothing.
            schema = json!({ "allOf": [schema] });
        }
        if let Some(object) = schema.as_object_mut() {
            object.insert("description".to_owned(), key.about.into());
        }
        schema
    }

    fn type_names(&self, kinds: &[TypeKind]) -> Vec<&'static str> {
        let types = self.r4.types();
        types
            .filter(|id| kinds.contains(&self.r4.kind(*id)) && !self.r4.is_abstract(*id))
            .map(|id| self.r4.type_name(id))
            .collect()
    }

    /// Words that only headers of files have, and that no element is called.
    fn header_only(&self) -> Vec<&'static str> {
        let header = vocabulary::SEGMENT
            .names()
            .chain(vocabulary::DATATYPE.names());
        let mut words: Vec<&str> = header
            .filter(|word| !vocabulary::RULE.has(word) && !self.is_element(word))
            .collect();
        words.sort_unstable();
        words.dedup();
        words
    }

    /// Words that only rules have.
    fn keyword_only(&self) -> Vec<&'static str> {
        vocabulary::RULE
            .names()
            .filter(|word| !vocabulary::SEGMENT.has(word))
            .collect()
    }

    fn is_element(&self, word: &str) -> bool {
        self.r4.names().any(|name| name == word)
    }

    // === FHIR ===

    /// The elements of a type, keywords, and nothing else. References may have those of the resource they make.
    fn object(&mut self, type_id: TypeId) -> Value {
        let r4 = self.r4;
        let name = r4.type_name(type_id);
        let mut properties = Map::new();
        for element in r4.elements(type_id) {
            let rules = self.element(element);
            let keyword =
                vocabulary::RULE.has(element.text()) || vocabulary::SEGMENT.has(element.text());
            let dot = if keyword { "." } else { "" };
            properties.insert(format!("{dot}{}", element.text()), rules);
        }
        let mut words: Vec<&str> = vocabulary::RULE.names().collect();
        // A file may make it, and has its header beside the elements.
        words.extend(
            vocabulary::SEGMENT
                .names()
                .chain(vocabulary::DATATYPE.names()),
        );
        words.sort_unstable();
        words.dedup();
        let keywords = self.refer("keywords");
        if name == "Reference" {
            for (_, rules) in &mut properties {
                // `type` may be that of the resource that `make:` builds here.
                *rules = json!({});
            }
            return json!({ "allOf": [keywords], "properties": properties });
        }
        json!({
            "allOf": [keywords],
            "properties": properties,
            "patternProperties": { (format!("^(_.+|{})$", words.join("|"))): {} },
            "additionalProperties": false,
        })
    }

    fn element(&mut self, element: &Element) -> Value {
        let Some(type_ref) = element.type_() else {
            return json!({});
        };
        let required = element
            .binding
            .filter(|binding| binding.strength == Strength::Required)
            .and_then(|binding| self.r4.value_set(binding.value_set))
            .filter(|set| set.closed && set.codes().count() <= 100);
        match required {
            Some(set) if self.r4.primitive(type_ref.type_).is_some() => self.value_set(set.url),
            _ => self.refer(&format!("rules.{}", self.r4.type_name(type_ref.type_))),
        }
    }

    /// What may stand behind an element of a type: a rule or a list of them.
    fn rules(&mut self, type_name: &str) -> Value {
        let primitive = self
            .r4
            .type_(type_name)
            .is_none_or(|id| self.r4.primitive(id).is_some());
        let in_rules = self.refer("in-rules");
        let mut one = Vec::new();
        if primitive {
            one.push(self.refer("text"));
            one.push(self.keywords_alone());
            if matches!(type_name, "uri" | "url") {
                // The address of a resource that is made here: the rule has that resource's elements.
                let keywords = self.refer("keywords");
                one.push(json!({ "type": "object", "required": ["make"], "allOf": [in_rules, keywords] }));
            }
        } else {
            let object = self.refer(type_name);
            one.push(json!({ "type": "object", "allOf": [in_rules, object] }));
        }
        alternatives(one)
    }

    fn value_set(&mut self, url: &'static str) -> Value {
        let name = url.rsplit('/').next().unwrap_or(url);
        self.sets.insert(name, url);
        self.refer(&format!("codes.{name}"))
    }

    /// As [`Builder::rules`], with the codes of a required value set for a constant.
    fn codes(&mut self, name: &str) -> Value {
        let url = self.sets.get(name).copied().unwrap_or_default();
        let mut codes: Vec<&str> = self
            .r4
            .value_set_by_url(url)
            .map(|set| set.codes().map(|(_, code)| code).collect())
            .unwrap_or_default();
        codes.sort_unstable();
        codes.dedup();
        let rule = self.keywords_alone();
        alternatives(vec![
            json!({ "enum": codes }),
            json!({ "type": "string", "pattern": "\\{\\{" }),
            rule,
        ])
    }

    fn keywords_alone(&mut self) -> Value {
        let keywords = self.refer("keywords");
        let names: Vec<&str> = vocabulary::RULE.names().collect();
        json!({ "type": "object", "allOf": [keywords], "propertyNames": { "enum": names } })
    }
}

/// One of these, or a list of them.
fn alternatives(mut one: Vec<Value>) -> Value {
    let item = match one.as_slice() {
        [only] => only.clone(),
        _ => json!({ "anyOf": one }),
    };
    one.push(json!({ "type": "array", "items": item, "minItems": 1 }));
    json!({ "anyOf": one })
}

/// Words with what they mean.
fn words(words: &[(&str, &str)]) -> Value {
    let names: Vec<&str> = words.iter().map(|(name, _)| *name).collect();
    json!({ "enum": names })
}
