//! Rules: keywords and elements of one YAML value, turned into what the engine does.

use fhir::definitions::TypeKind;
use fhir::primitive::Primitive;

use super::element::{Target, shape};
use super::layers::{Documents, Kind};
use super::rows::RowsOf;
use super::scope::Scope;
use super::{Compiler, MapHeader};
use crate::diagnostic::{Code, closest};
use crate::plan::{
    Body, Condition, Field, Ignore, Make, Makes, Map, Miss, Needs, Root, Rule, Select, Shape,
    WriteMode,
};
use crate::syntax::condition;
use crate::vocabulary;
use crate::yaml::{Node, Value};

/// The keywords of a rule that was written as a map, and its elements.
#[derive(Default)]
struct Parts<'n> {
    keywords: Vec<(&'n str, &'n Node, &'n Node)>,
    elements: Vec<(&'n Node, &'n Node)>,
}

impl<'n> Parts<'n> {
    fn of(pairs: &'n [(Node, Node)]) -> Parts<'n> {
        let mut parts = Parts::default();
        for (key, value) in pairs {
            match key.text() {
                Some(word) if vocabulary::RULE.has(word) => parts.keywords.push((word, key, value)),
                _ => parts.elements.push((key, value)),
            }
        }
        parts
    }

    fn get(&self, word: &str) -> Option<&'n Node> {
        self.keywords
            .iter()
            .find(|(found, _, _)| *found == word)
            .map(|(_, _, value)| *value)
    }
}

impl Compiler {
    // === maps ===

    pub(super) fn map_headers(&mut self, documents: &Documents) {
        for (name, (kind, node)) in &documents.maps {
            let header = self.map_header(name, *kind, node);
            self.map_ids.insert(name.clone(), self.maps.len());
            self.maps.push(header);
        }
    }

    fn map_header(&mut self, name: &str, kind: Kind, node: &Node) -> MapHeader {
        let source = name.split('/').next().unwrap_or_default();
        let (word, other) = match kind {
            Kind::Segment => ("segment", "datatype"),
            Kind::DataType => ("datatype", "segment"),
        };
        if node.pairs().is_none() {
            self.error(
                Code::Shape,
                node.span,
                format!("a {word} map is a map of keys"),
                format!("start with `{word}: {source}` and `makes: ...`"),
            );
        } else if let Some(wrong) = node.get(other) {
            self.error(
                Code::Layout,
                wrong.span,
                format!("this file is under {word}s/"),
                format!("write `{word}: {source}`, or move the file"),
            );
        } else if node.get(word).and_then(Node::text) != Some(source) {
            let span = node.get(word).map_or(node.span, |found| found.span);
            self.error(
                Code::Layout,
                span,
                format!("this file maps the {word} {source}"),
                format!("write `{word}: {source}`, or move the file"),
            );
        }
        let mut header = MapHeader {
            name: name.to_owned(),
            segment: (kind == Kind::Segment)
                .then(|| <[u8; 3]>::try_from(source.as_bytes()).unwrap_or(*b"???")),
            data_type: (kind == Kind::DataType).then(|| source.to_owned()),
            makes: Makes::Complex,
            type_name: "",
            span: node.span,
        };
        let r4 = self.r4;
        match node.get("makes") {
            Some(makes) => match makes.text().and_then(|text| r4.type_(text)) {
                Some(type_id) => {
                    header.type_name = r4.type_name(type_id);
                    header.makes = match r4.kind(type_id) {
                        TypeKind::Primitive => Makes::Primitive,
                        TypeKind::Resource => Makes::Resource(header.type_name),
                        TypeKind::Complex | TypeKind::Backbone => Makes::Complex,
                    };
                }
                None => {
                    let wrong = makes.text().unwrap_or_default();
                    let near = closest(wrong, r4.types().map(|id| r4.type_name(id)));
                    let help = near.map_or_else(
                        || "name a resource or data type of FHIR R4".to_owned(),
                        |near| format!("did you mean `{near}`?"),
                    );
                    self.error(
                        Code::UnknownType,
                        makes.span,
                        format!("FHIR R4 has no type `{wrong}`"),
                        help,
                    );
                }
            },
            None if node.pairs().is_some() => {
                self.error(
                    Code::Layout,
                    node.span,
                    "the file does not say what it makes",
                    "write `makes: Patient` or another resource or data type",
                );
            }
            None => {}
        }
        header
    }

    pub(super) fn compile_maps(&mut self, documents: &Documents) {
        for (id, (_, node)) in documents.maps.values().enumerate() {
            let Some(header) = self.maps.get(id).cloned() else {
                continue;
            };
            self.user = Some(id);
            let map = self.map(&header, node, documents);
            let notes = self.file_notes(&header.name, node, map.origin);
            self.plan.notes.maps.push(notes);
            self.plan.maps.push(map);
        }
        self.user = None;
    }

    fn map(&mut self, header: &MapHeader, node: &Node, documents: &Documents) -> Map {
        let data_type = header.data_type.as_ref();
        let scope = Scope {
            segment: header.segment,
            current: data_type.map(|name| self.value_of_map(name)),
        };
        let origin = self.origin(header.span);
        let mut map = Map {
            makes: header.makes.clone(),
            when: None,
            key: None,
            write: if header.segment.is_some() {
                WriteMode::Update
            } else {
                WriteMode::Create
            },
            ignore: Vec::new(),
            fields: Vec::new(),
            result: Vec::new(),
            origin,
        };
        let header_keys = match header.segment {
            Some(_) => vocabulary::SEGMENT,
            None => vocabulary::DATATYPE,
        };
        let mut elements = Vec::new();
        if let Some(condition) = node.get("when") {
            map.when = self.condition(condition, &scope);
            self.assume(map.when.as_ref(), &scope);
        }
        for (key, value) in node.pairs().unwrap_or_default() {
            match key.text().unwrap_or_default() {
                "rows" => {
                    let source = header.name.split('/').next().unwrap_or_default();
                    self.rows(value, &RowsOf::Map(&scope, source), documents);
                }
                "versions" => {
                    if let (Some(versions), Some(map)) = (self.read_versions(value), self.user) {
                        self.map_versions.insert(map, versions);
                    }
                }
                "key" => map.key = self.identity(value, &scope),
                "write" => map.write = self.write_mode(value).unwrap_or(map.write),
                "ignore" => map.ignore = self.ignore(value, &scope),
                vocabulary::RESULT if header.makes == Makes::Primitive => {
                    map.result = self.result(header, value, &scope)
                }
                vocabulary::RESULT => elements.push((key, value)),
                // The wrong one of the two is told of where the header is read.
                "segment" | "datatype" => {}
                word if header_keys.has(word) => {}
                _ => elements.push((key, value)),
            }
        }
        if !matches!(header.makes, Makes::Resource(_))
            && let Some(key) = node.get("key")
        {
            self.error(
                Code::UnknownKey,
                key.span,
                format!("a {} has no identity", header.type_name),
                "`key` is for maps that make a resource",
            );
        }
        if header.makes == Makes::Primitive {
            for (key, _) in elements {
                self.error(
                    Code::UnknownElement,
                    key.span,
                    format!("a {} has no elements", header.type_name),
                    "write `result:` with one rule or a list of alternatives",
                );
            }
        } else if let Some(type_id) = self.r4.type_(header.type_name) {
            map.fields = self.fields(type_id, &elements, &scope, false);
        }
        self.given.clear();
        map
    }

    fn result(&mut self, header: &MapHeader, value: &Node, scope: &Scope) -> Vec<Rule> {
        let Some(type_id) = self.r4.type_(header.type_name) else {
            return Vec::new();
        };
        let target = Target {
            shape: shape(self.r4, type_id),
            type_id,
            array: false,
            element: None,
            replace: false,
        };
        value
            .members()
            .iter()
            .filter_map(|member| self.rule(member, &target, scope))
            .collect()
    }

    /// `[PID-1, { OBR-16: OBR-16 same as ORC-12 }, { PID-3.7: of no use }, { PID-3.8: { when: PID-3.7 valued, why: ... } }]`
    fn ignore(&mut self, value: &Node, scope: &Scope) -> Vec<Ignore> {
        let mut ignores = Vec::new();
        for member in value.members() {
            match member.pairs() {
                Some(pairs) => {
                    for (path, said) in pairs {
                        let Some((when, why)) = self.ignored_because(said, scope) else {
                            continue;
                        };
                        ignores.extend(self.ignored(path, when, why, scope));
                    }
                }
                None => ignores.extend(self.ignored(member, None, None, scope)),
            }
        }
        ignores
    }

    /// What stands behind an ignored path: a condition, a reason, or both under their names.
    fn ignored_because<'n>(
        &mut self,
        said: &'n Node,
        scope: &Scope,
    ) -> Option<(Option<Condition>, Option<&'n str>)> {
        let Some(pairs) = said.pairs() else {
            let text = self.text_of(said, "a reason or a condition")?;
            if condition::looks_like_condition(text) {
                return Some((Some(self.condition(said, scope)?), None));
            }
            return Some((None, said.text()));
        };
        let (mut when, mut why) = (None, None);
        for (key, value) in pairs {
            match key.text().unwrap_or_default() {
                "when" => when = Some(self.condition(value, scope)?),
                "why" => {
                    self.text_of(value, "a reason")?;
                    why = value.text();
                }
                other => {
                    self.error(
                        Code::UnknownKey,
                        key.span,
                        format!("an ignored field has no `{other}`"),
                        "its keys are `when`, a condition, and `why`, the reason",
                    );
                    return None;
                }
            }
        }
        Some((when, why))
    }

    fn ignored(
        &mut self,
        path: &Node,
        when: Option<Condition>,
        why: Option<&str>,
        scope: &Scope,
    ) -> Option<Ignore> {
        let access = self.path(path, scope)?.access;
        let elsewhere = match access.root {
            Root::Current => access.component == 0,
            Root::Segment(name) => scope.segment != Some(name),
        };
        if elsewhere {
            let (message, help) = match scope.segment {
                Some(_) => (
                    "`ignore` names fields of the segment that is mapped",
                    "write it as `PID-1` or `PID-5.3`",
                ),
                None => (
                    "`ignore` names parts of the value that is mapped",
                    "write it as `CX.7`, or leave the whole value to the map that uses this one",
                ),
            };
            self.error(Code::BadPath, path.span, message, help);
            return None;
        }
        let why = self.reason(why.or_else(|| path.text()).unwrap_or_default());
        Some(Ignore { access, when, why })
    }

    /// The number of a reason in the plan.
    fn reason(&mut self, text: &str) -> u16 {
        let reasons = &mut self.plan.reasons;
        let known = reasons.iter().position(|known| **known == *text);
        let number = known.unwrap_or_else(|| {
            reasons.push(text.into());
            reasons.len() - 1
        });
        u16::try_from(number).unwrap_or(u16::MAX)
    }

    // === rules ===

    pub(crate) fn rule(&mut self, node: &Node, target: &Target, scope: &Scope) -> Option<Rule> {
        let origin = self.origin(node.span);
        if let Some(reason) = node.get("deviates").and_then(Node::text) {
            self.plan.notes.deviations.insert(origin, reason.to_owned());
        }
        match &node.value {
            Value::Scalar { .. } => {
                if node.is_null() {
                    self.error(
                        Code::Shape,
                        node.span,
                        "nothing stands behind the element",
                        "give it a rule, or leave it out",
                    );
                    return None;
                }
                let Shape::Primitive(primitive) = target.shape else {
                    let type_name = self.r4.type_name(target.type_id);
                    self.error(
                        Code::WrongType,
                        node.span,
                        format!("the element takes a {type_name}, not a text"),
                        wrong_type_help(type_name),
                    );
                    return None;
                };
                let template = self.template(node, scope)?;
                self.check_constant(&template, target.element, primitive, node.span);
                self.check_value(&template, primitive, node, scope);
                let constant = super::constant::literal(&template).is_some();
                Some(Rule {
                    when: None,
                    select: Select::Here,
                    body: Body::Text(template),
                    set: Vec::new(),
                    needs: Needs::default(),
                    constant,
                    origin,
                })
            }
            Value::List(_) => {
                self.error(
                    Code::Shape,
                    node.span,
                    "a list stands inside a list",
                    "the rules of an element are one flat list",
                );
                None
            }
            Value::Map(pairs) => {
                let around = self.given.len();
                let rule = self.keyword_rule(node, &Parts::of(pairs), target, scope, origin);
                self.given.truncate(around);
                rule
            }
        }
    }

    fn keyword_rule(
        &mut self,
        node: &Node,
        parts: &Parts<'_>,
        target: &Target,
        scope: &Scope,
        origin: u32,
    ) -> Option<Rule> {
        let mut inner = scope.clone();
        let mut select = Select::Here;
        if let (Some(_), Some(wrong)) = (parts.get("from"), parts.get("each")) {
            self.error(
                Code::UnknownKey,
                wrong.span,
                "`from` and `each` stand in one rule",
                "`from` takes one value, `each` every repetition: keep one",
            );
        }
        if let Some(path) = parts.get("from") {
            let resolved = self.path(path, scope)?;
            inner = self.within(scope, &resolved);
            select = Select::From(resolved.access);
        } else if let Some(path) = parts.get("each") {
            let resolved = self.path(path, scope)?;
            inner = self.within(scope, &resolved);
            select = Select::Each(resolved.access);
            if !target.array {
                self.warn(
                    Code::Cardinality,
                    path.span,
                    "the element takes one value, and `each` makes one of every repetition",
                    "write `from:` for the first repetition",
                );
            }
        }
        let when = match parts.get("when") {
            Some(condition) => Some(self.condition(condition, &inner)?),
            None => None,
        };
        self.assume(when.as_ref(), &inner);
        let set = match parts.get("set") {
            Some(set) => self.set_fields(set, parts, target, &inner),
            None => Vec::new(),
        };
        let (body, constant) =
            self.body(node, parts, target, &inner, matches!(select, Select::Here))?;
        let constant = constant && matches!(select, Select::Here);
        let mut rule = Rule {
            when,
            select,
            body,
            set,
            needs: Needs::default(),
            constant,
            origin,
        };
        // Elements beside `map:` or `table:` mean the same as `set:`.
        if matches!(rule.body, Body::Map(_) | Body::Table(..)) && !parts.elements.is_empty() {
            let type_id = self.made_type(parts, target);
            let more = self.fields(type_id, &parts.elements, &inner, true);
            rule.set.extend(more);
        }
        Some(rule)
    }

    /// The type whose elements `set:` addresses: what the map makes, if it makes a resource.
    fn made_type(&self, parts: &Parts<'_>, target: &Target) -> fhir::definitions::TypeId {
        let map = parts
            .get("map")
            .and_then(Node::text)
            .and_then(|name| self.map_ids.get(name))
            .and_then(|id| self.maps.get(*id));
        map.filter(|map| matches!(map.makes, Makes::Resource(_)))
            .and_then(|map| self.r4.type_(map.type_name))
            .unwrap_or(target.type_id)
    }

    fn set_fields(
        &mut self,
        set: &Node,
        parts: &Parts<'_>,
        target: &Target,
        scope: &Scope,
    ) -> Vec<Field> {
        let Some(pairs) = set.pairs() else {
            self.error(
                Code::Shape,
                set.span,
                format!("`set` is a map of elements, not {}", set.kind()),
                "write `set: { use: home }`",
            );
            return Vec::new();
        };
        let type_id = self.made_type(parts, target);
        let pairs: Vec<(&Node, &Node)> = pairs.iter().map(|(key, value)| (key, value)).collect();
        self.fields(type_id, &pairs, scope, true)
    }

    fn body(
        &mut self,
        node: &Node,
        parts: &Parts<'_>,
        target: &Target,
        scope: &Scope,
        here: bool,
    ) -> Option<(Body, bool)> {
        if let Some(text) = parts.get("is") {
            return self.texts(text, target, scope);
        }
        if let Some(name) = parts.get("ref") {
            let text = self.text_of(name, "the name of a resource")?.to_owned();
            let id = self.known_bound(&text, name.span)?;
            if !links(target) {
                self.wrong_type(name, target, "a reference");
                return None;
            }
            if let Some(key) = parts.get("key") {
                return Some((Body::Called(id, self.identity(key, scope)?), false));
            }
            return Some((Body::Ref(id), false));
        }
        if let Some(kind) = parts.get("make") {
            return self
                .make(kind, parts, target, scope)
                .map(|body| (body, false));
        }
        if let Some(wrong) = parts.get("key").or_else(|| parts.get("write")) {
            self.error(
                Code::UnknownKey,
                wrong.span,
                "`key` and `write` belong to `make:`",
                "name the resource to make, or remove it",
            );
        }
        let map = match parts.get("map") {
            Some(name) => {
                let id = self.map_for(name, target)?;
                self.reads(id, name, scope);
                Some((id, name))
            }
            None => None,
        };
        if let Some(name) = parts.get("table") {
            let text = self.text_of(name, "the name of a table")?.to_owned();
            let table = self.table_id(&text, name.span)?;
            let miss: Option<Miss> = parts.get("miss").and_then(|miss| self.miss(miss));
            if let Shape::Primitive(_) = target.shape {
                self.check_table(table, target.element, name.span);
            } else if !matches!(target.shape, Shape::Coding | Shape::CodeableConcept) {
                self.wrong_type(name, target, "a code");
                return None;
            }
            return Some((Body::Table(table, miss, map.map(|(id, _)| id)), false));
        }
        if let Some((id, _)) = map {
            return Some((Body::Map(id), false));
        }
        if !parts.elements.is_empty() {
            if matches!(target.shape, Shape::Primitive(_)) {
                let (key, _) = parts.elements.first()?;
                let type_name = self.r4.type_name(target.type_id);
                let word = key.text().unwrap_or_default();
                let help = match closest(word, vocabulary::RULE.names()) {
                    Some(near) => format!("did you mean the keyword `{near}`?"),
                    None => format!(
                        "a {type_name} takes a text, or keywords such as `from:`, `table:` and `when:`"
                    ),
                };
                self.error(
                    Code::UnknownKey,
                    key.span,
                    format!("a {type_name} has no element `{word}`"),
                    help,
                );
                return None;
            }
            if target.shape == Shape::Reference
                && parts
                    .elements
                    .iter()
                    .any(|(key, _)| key.text() == Some("resource"))
            {
                self.error(
                    Code::UnknownKey,
                    node.span,
                    "a reference has no element `resource`",
                    "to make a resource here write `make: Organization`",
                );
                return None;
            }
            let fields = self.fields(target.type_id, &parts.elements, scope, target.replace);
            // What `set` changes has the rest from the map; and a rule with a mistake is told of already.
            if !target.replace && fields.len() == parts.elements.len() {
                self.required_of_object(target.type_id, &fields, node.span);
            }
            let constant = fields
                .iter()
                .all(|field| field.rules.iter().all(|rule| rule.constant));
            return Some((Body::Object(fields), constant));
        }
        if here {
            self.error(
                Code::Shape,
                node.span,
                "the rule makes nothing",
                "give it `from:`, `each:`, `is:`, `map:`, `table:`, `ref:`, `make:` or elements",
            );
            return None;
        }
        match target.shape {
            Shape::Primitive(_) | Shape::Coding | Shape::CodeableConcept => {
                Some((Body::Value, false))
            }
            Shape::Complex | Shape::Period | Shape::Reference => {
                let type_name = self.r4.type_name(target.type_id);
                self.error(
                    Code::WrongType,
                    node.span,
                    format!("a {type_name} is not one value"),
                    format!("say how it is made: `map: TYPE/{type_name}`, or elements"),
                );
                None
            }
        }
    }

    fn texts(&mut self, node: &Node, target: &Target, scope: &Scope) -> Option<(Body, bool)> {
        let Shape::Primitive(primitive) = target.shape else {
            self.wrong_type(node, target, "a text");
            return None;
        };
        let mut templates = Vec::new();
        for member in node.members() {
            let template = self.template(member, scope)?;
            self.check_constant(&template, target.element, primitive, member.span);
            self.check_value(&template, primitive, member, scope);
            templates.push(template);
        }
        let constant = templates
            .iter()
            .all(|template| super::constant::literal(template).is_some());
        if let (Value::List(members), false) = (&node.value, target.array)
            && let Some(second) = members.get(1)
        {
            self.warn(
                Code::Cardinality,
                second.span,
                "the element takes one value, and this is a list of texts",
                "keep the first, or write a list of rules: the first that gives something is taken",
            );
        }
        if matches!(node.value, Value::List(_)) {
            return Some((Body::Texts(templates), constant));
        }
        templates
            .pop()
            .map(|template| (Body::Text(template), constant))
    }

    fn make(
        &mut self,
        kind: &Node,
        parts: &Parts<'_>,
        target: &Target,
        scope: &Scope,
    ) -> Option<Body> {
        let text = self.text_of(kind, "a resource type")?.to_owned();
        let Some(type_id) = self.r4.resource(&text) else {
            let r4 = self.r4;
            let near = closest(&text, r4.types().map(|id| r4.type_name(id)));
            let help = near.map_or_else(
                || "name a resource of FHIR R4".to_owned(),
                |near| format!("did you mean `{near}`?"),
            );
            self.error(
                Code::UnknownType,
                kind.span,
                format!("FHIR R4 has no resource `{text}`"),
                help,
            );
            return None;
        };
        let type_name = self.r4.type_name(type_id);
        self.check_reference(kind, target, type_name)?;
        let key = parts.get("key").and_then(|key| self.identity(key, scope));
        let write = parts
            .get("write")
            .and_then(|write| self.write_mode(write))
            .unwrap_or(WriteMode::Create);
        let fields = self.fields(type_id, &parts.elements, scope, false);
        Some(Body::Make(Box::new(Make {
            type_name,
            key,
            write,
            fields,
        })))
    }

    /// A map whose result fits the element.
    fn map_for(&mut self, name: &Node, target: &Target) -> Option<usize> {
        let text = self.text_of(name, "the name of a map")?.to_owned();
        let id = self.map_id(&text, name.span)?;
        let header = self.maps.get(id)?.clone();
        if header.type_name.is_empty() {
            return Some(id);
        }
        let wanted = self.r4.type_name(target.type_id);
        let fits = match &header.makes {
            Makes::Resource(type_name) => {
                return self.check_reference(name, target, type_name).map(|()| id);
            }
            Makes::Primitive => matches!(target.shape, Shape::Primitive(_)),
            Makes::Complex => {
                header.type_name == wanted
                    || (header.type_name == "Quantity"
                        && matches!(
                            wanted,
                            "Age"
                                | "Distance"
                                | "Duration"
                                | "Count"
                                | "SimpleQuantity"
                                | "MoneyQuantity"
                        ))
            }
        };
        if !fits {
            let message = format!(
                "`{text}` makes a {}, the element takes a {wanted}",
                header.type_name
            );
            self.error(
                Code::WrongType,
                name.span,
                message,
                format!("use a map that makes a {wanted}"),
            );
            return None;
        }
        Some(id)
    }

    /// The element must be a reference that may point to the type, or take the address of any resource.
    fn check_reference(&mut self, node: &Node, target: &Target, type_name: &str) -> Option<()> {
        if links(target) && target.shape != Shape::Reference {
            return Some(());
        }
        if target.shape != Shape::Reference {
            self.wrong_type(node, target, &format!("a {type_name} of its own"));
            return None;
        }
        let r4 = self.r4;
        let targets = target
            .element
            .and_then(|element| element.type_())
            .map_or(&[][..], |type_ref| type_ref.targets);
        let allowed = targets.is_empty()
            || targets.iter().any(
                |id| matches!(r4.type_name(*id), name if name == type_name || name == "Resource"),
            );
        if !allowed {
            let names: Vec<&str> = targets.iter().map(|id| r4.type_name(*id)).collect();
            self.error(
                Code::WrongType,
                node.span,
                format!("the element can't refer to a {type_name}"),
                format!("it may refer to {}", names.join(", ")),
            );
            return None;
        }
        Some(())
    }

    fn wrong_type(&mut self, node: &Node, target: &Target, made: &str) {
        let type_name = self.r4.type_name(target.type_id);
        self.error(
            Code::WrongType,
            node.span,
            format!("this makes {made}, the element takes a {type_name}"),
            wrong_type_help(type_name),
        );
    }
}

/// Whether the element takes a reference, or as a uri or url the address of a resource.
fn links(target: &Target) -> bool {
    matches!(
        target.shape,
        Shape::Reference | Shape::Primitive(Primitive::Uri | Primitive::Url)
    )
}

fn wrong_type_help(type_name: &str) -> String {
    match type_name {
        "CodeableConcept" | "Coding" => format!("write `{{ from: OBX-3, map: CWE/{type_name} }}`, or its elements"),
        "Reference" => "write `{ ref: patient }` for a resource of the message map, or `map:`/`make:` for a new one".to_owned(),
        _ => format!("write its elements, or `map:` with a map that makes a {type_name}"),
    }
}
