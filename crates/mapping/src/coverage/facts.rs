//! What the rules of a compiled map do, leaf by leaf: which place of the message is read, which element is written.

use fhir::definitions::{Definitions, r4};

use super::target::same_url;
use crate::plan::{
    Access, Argument, Body, BoundId, Call, Condition, Field, Helper, Make, Makes, MapId, OriginId,
    Piece, Plan, Root, Rule, Select, Shape, TableId, Template, Test,
};
use crate::syntax::path::{self, PathText};

/// A field of a segment, or a part of the value that a datatype map is given (`segment` is `None`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Place {
    pub segment: Option<[u8; 3]>,
    /// Field, component, subcomponent; 0 is the whole.
    pub parts: [u16; 3],
}

/// A place that is read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Read {
    pub place: Place,
    /// With all its parts, as a coded value is.
    pub whole: bool,
}

/// One thing that a map writes.
#[derive(Clone, Debug, Default)]
pub(super) struct Fact {
    /// Element names, `(Type)` where a resource is made, `{url}` behind an extension.
    pub path: Vec<String>,
    /// What the value is made of.
    pub reads: Vec<Read>,
    /// What the rules and objects around it look at.
    pub around: Vec<Read>,
    pub constants: Vec<String>,
    pub tables: Vec<TableId>,
    /// The datatype maps it went through.
    pub maps: Vec<MapId>,
    /// The engine's own reading of a coded value.
    pub coded: bool,
    /// The resource of the message map that it refers to.
    pub bound: Option<BoundId>,
    /// A policy that is off by default stands before it.
    pub off: Option<usize>,
    /// The rule in the map that was asked.
    pub origin: OriginId,
}

impl Place {
    /// `PID-5`, `CX.4`; a bare segment or data type is no place but the whole of it.
    pub fn parse(text: &str) -> Option<Place> {
        let PathText {
            name,
            segment,
            field,
            component,
            subcomponent,
            ..
        } = path::parse(text).ok()?;
        let segment = match segment {
            true => Some(<[u8; 3]>::try_from(name.as_bytes()).ok()?),
            false => None,
        };
        Some(Place {
            segment,
            parts: [field, component, subcomponent],
        })
    }
}

impl Read {
    /// Whether reading this reads the place: a part of it, or all around it.
    pub fn takes(self, place: Place) -> bool {
        self.place.segment == place.segment && self.place.parts.first() == place.parts.first() && {
            let pairs = self.place.parts.iter().zip(&place.parts).skip(1);
            let mut open = true;
            pairs.into_iter().all(|(read, asked)| {
                if !open || *asked == 0 {
                    open = false;
                    return true;
                }
                if *read == 0 {
                    open = false;
                    // As a text it is its first part.
                    return self.whole || *asked == 1;
                }
                read == asked
            })
        }
    }
}

/// All that a map does.
pub(super) fn of_map(plan: &Plan, map: MapId) -> Vec<Fact> {
    let walker = Walker { plan, r4: r4() };
    let mut facts = Vec::new();
    let start = Place {
        segment: None,
        parts: [0; 3],
    };
    walker.map(map, &Context::new(start), &mut facts);
    facts
}

/// What `set:` of a line of a message map does.
pub(super) fn of_fields(plan: &Plan, fields: &[Field]) -> Vec<Fact> {
    let walker = Walker { plan, r4: r4() };
    let mut facts = Vec::new();
    let start = Place {
        segment: None,
        parts: [0; 3],
    };
    walker.object(fields, &Context::new(start), &mut facts);
    facts
}

/// The policy that keeps a condition from holding when no route sets it.
pub(super) fn switched_off(plan: &Plan, condition: &Condition) -> Option<usize> {
    fn policies(plan: &Plan, condition: &Condition, found: &mut Vec<usize>) {
        match condition {
            Condition::All(parts) | Condition::Any(parts) => {
                parts.iter().for_each(|part| policies(plan, part, found));
            }
            Condition::Not(inner) => policies(plan, inner, found),
            Condition::Policy(id, _) => found.push(*id),
            Condition::Switch(number) => {
                found.extend(plan.switches.get(*number).map(|(id, _)| *id));
            }
            _ => {}
        }
    }
    fn holds(plan: &Plan, condition: &Condition) -> Option<bool> {
        let parts = |parts: &[Condition], sure: bool| {
            let known: Vec<_> = parts.iter().map(|part| holds(plan, part)).collect();
            if known.contains(&Some(sure)) {
                return Some(sure);
            }
            known
                .iter()
                .all(|part| *part == Some(!sure))
                .then_some(!sure)
        };
        match condition {
            Condition::All(all) => parts(all, false),
            Condition::Any(any) => parts(any, true),
            Condition::Not(inner) => holds(plan, inner).map(|held| !held),
            Condition::Policy(id, value) => plan
                .policies
                .get(*id)
                .map(|policy| policy.default == *value),
            Condition::Switch(number) => {
                let (id, value) = plan.switches.get(*number)?;
                plan.policies
                    .get(*id)
                    .map(|policy| policy.default == *value)
            }
            _ => None,
        }
    }
    if holds(plan, condition) != Some(false) {
        return None;
    }
    let mut found = Vec::new();
    policies(plan, condition, &mut found);
    found.first().copied()
}

#[derive(Clone)]
struct Context {
    current: Place,
    path: Vec<String>,
    around: Vec<Read>,
    maps: Vec<MapId>,
    off: Option<usize>,
    origin: OriginId,
}

impl Context {
    fn new(current: Place) -> Context {
        Context {
            current,
            path: Vec::new(),
            around: Vec::new(),
            maps: Vec::new(),
            off: None,
            origin: 0,
        }
    }

    fn fact(&self) -> Fact {
        Fact {
            path: self.path.clone(),
            around: self.around.clone(),
            maps: self.maps.clone(),
            off: self.off,
            origin: self.origin,
            ..Fact::default()
        }
    }

    fn inside(&self, step: impl Into<String>) -> Context {
        let mut inner = self.clone();
        inner.path.push(step.into());
        inner
    }

    fn look(&mut self, reads: impl IntoIterator<Item = Read>) {
        for read in reads {
            if !self.around.contains(&read) {
                self.around.push(read);
            }
        }
    }
}

struct Walker<'p> {
    plan: &'p Plan,
    r4: &'static Definitions,
}

impl Walker<'_> {
    fn place(&self, access: &Access, context: &Context) -> Place {
        match access.root {
            Root::Segment(segment) => Place {
                segment: Some(segment),
                parts: [access.field, access.component, access.subcomponent],
            },
            Root::Current => {
                let [field, component, subcomponent] = context.current.parts;
                let parts = match (component, subcomponent) {
                    (0, _) => [field, access.component, access.subcomponent],
                    (_, 0) => [field, component, access.component],
                    _ => [field, component, subcomponent],
                };
                Place {
                    segment: context.current.segment,
                    parts,
                }
            }
        }
    }

    fn read(&self, access: &Access, context: &Context) -> Read {
        Read {
            place: self.place(access, context),
            whole: false,
        }
    }

    fn map(&self, id: MapId, context: &Context, facts: &mut Vec<Fact>) {
        let Some(map) = self.plan.maps.get(id) else {
            return;
        };
        let mut context = context.clone();
        self.guard(map.when.as_ref(), &mut context);
        // An element of constants alone is not made; a resource is there as long as its segment is.
        let within = !context.path.is_empty() || map.makes == Makes::Complex;
        self.elements(&map.fields, within, &context, facts);
        for rule in &map.result {
            self.rule(rule, Shape::Complex, &context, facts);
        }
    }

    fn object(&self, fields: &[Field], context: &Context, facts: &mut Vec<Fact>) {
        self.elements(fields, !context.path.is_empty(), context, facts);
    }

    /// The elements of one object. What one of them looks at is why the constants beside it are there.
    fn elements(&self, fields: &[Field], within: bool, context: &Context, facts: &mut Vec<Fact>) {
        let mut context = context.clone();
        if context.path.last().is_some_and(|step| step == "extension")
            && let Some(url) = self.url(fields)
        {
            context.path.push(format!("{{{}}}", same_url(&url)));
        }
        let mut found = Vec::new();
        for field in fields {
            let name = self.r4.name_text(field.key.name);
            let inner = context.inside(name.trim_start_matches('_'));
            for rule in &field.rules {
                self.rule(rule, field.shape, &inner, &mut found);
            }
        }
        if within {
            let mut beside: Vec<Read> = Vec::new();
            for read in found.iter().flat_map(|fact| &fact.reads) {
                if !beside.contains(read) {
                    beside.push(*read);
                }
            }
            for fact in &mut found {
                for read in &beside {
                    if !fact.around.contains(read) {
                        fact.around.push(*read);
                    }
                }
            }
        }
        facts.append(&mut found);
    }

    fn url(&self, fields: &[Field]) -> Option<String> {
        let field = fields
            .iter()
            .find(|field| self.r4.name_text(field.key.name) == "url")?;
        match &field.rules.first()?.body {
            Body::Text(template) => literal(template),
            _ => None,
        }
    }

    fn guard(&self, when: Option<&Condition>, context: &mut Context) {
        let Some(condition) = when else { return };
        let mut places = Vec::new();
        of_condition(self.plan, condition, &mut places);
        let reads: Vec<_> = places
            .iter()
            .map(|access| self.read(access, context))
            .collect();
        context.look(reads);
        context.off = context.off.or_else(|| switched_off(self.plan, condition));
    }

    fn rule(&self, rule: &Rule, shape: Shape, context: &Context, facts: &mut Vec<Fact>) {
        let mut context = context.clone();
        if context.maps.is_empty() {
            context.origin = rule.origin;
        }
        if let Select::From(access) | Select::Each(access) = &rule.select {
            context.current = self.place(access, &context);
            context.look([Read {
                place: context.current,
                whole: false,
            }]);
        }
        self.guard(rule.when.as_ref(), &mut context);
        self.body(&rule.body, rule, shape, &context, facts);
    }

    fn body(
        &self,
        body: &Body,
        rule: &Rule,
        shape: Shape,
        context: &Context,
        facts: &mut Vec<Fact>,
    ) {
        match body {
            Body::Value => self.value(shape, &[], context, facts),
            Body::Text(template) => self.text(template, context, facts),
            Body::Texts(templates) => {
                for template in templates {
                    self.text(template, context, facts);
                }
            }
            Body::Place(access) => facts.push(Fact {
                reads: vec![self.read(access, context)],
                ..context.fact()
            }),
            Body::Fixed(fixed) => self.body(&fixed.otherwise, rule, shape, context, facts),
            Body::Object(fields) => self.object(fields, context, facts),
            Body::Map(id) => self.through(*id, rule, context, facts),
            Body::Table(table, _, map) => {
                self.value(shape, &[*table], context, facts);
                match map {
                    Some(id) => self.through(*id, rule, context, facts),
                    None => self.object(&rule.set, context, facts),
                }
            }
            Body::Ref(bound) | Body::Called(bound, _) => facts.push(Fact {
                bound: Some(*bound),
                ..context.fact()
            }),
            Body::Make(make) => self.make(make, context, facts),
        }
    }

    fn make(&self, make: &Make, context: &Context, facts: &mut Vec<Fact>) {
        let inner = context.inside(format!("({})", make.type_name));
        self.object(&make.fields, &inner, facts);
    }

    /// A datatype map, and what `set:` adds.
    fn through(&self, id: MapId, rule: &Rule, context: &Context, facts: &mut Vec<Fact>) {
        let made = self.plan.maps.get(id).map(|map| &map.makes);
        let mut inner = match made {
            Some(Makes::Resource(type_name)) => context.inside(format!("({type_name})")),
            _ => context.clone(),
        };
        self.object(&rule.set, &inner, facts);
        inner.maps.push(id);
        self.map(id, &inner, facts);
    }

    /// The current value as it is, or translated by tables.
    fn value(&self, shape: Shape, tables: &[TableId], context: &Context, facts: &mut Vec<Fact>) {
        let coded = matches!(shape, Shape::Coding | Shape::CodeableConcept);
        let fact = |path: &[&str]| {
            let mut inner = context.clone();
            inner
                .path
                .extend(path.iter().map(|step| (*step).to_owned()));
            Fact {
                reads: vec![Read {
                    place: context.current,
                    whole: coded,
                }],
                tables: tables.to_vec(),
                coded,
                ..inner.fact()
            }
        };
        let parts: &[&[&str]] = match shape {
            Shape::Coding => &[&["system"], &["code"], &["display"], &["version"]],
            Shape::CodeableConcept => &[
                &["coding", "system"],
                &["coding", "code"],
                &["coding", "display"],
                &["coding", "version"],
                &["text"],
            ],
            _ => &[&[]],
        };
        facts.extend(parts.iter().map(|path| fact(path)));
    }

    fn text(&self, template: &Template, context: &Context, facts: &mut Vec<Fact>) {
        let mut fact = context.fact();
        if let Some(constant) = literal(template) {
            fact.constants.push(constant);
            facts.push(fact);
            return;
        }
        let mut found = Found::default();
        template.pieces.iter().for_each(|piece| found.piece(piece));
        fact.reads = found
            .places
            .iter()
            .map(|(access, whole)| Read {
                whole: *whole,
                ..self.read(access, context)
            })
            .collect();
        fact.tables = found.tables;
        // `{{#if PID-7}}known{{/if}}`: the constant is there because of what the test looks at.
        fact.constants = found.branches;
        fact.around.extend(fact.reads.iter().copied());
        facts.push(fact);
    }
}

fn literal(template: &Template) -> Option<String> {
    match template.pieces.as_slice() {
        [Piece::Text(text)] => Some(text.clone()),
        _ => None,
    }
}

/// What a template looks at.
#[derive(Default)]
struct Found {
    places: Vec<(Access, bool)>,
    tables: Vec<TableId>,
    branches: Vec<String>,
}

impl Found {
    fn piece(&mut self, piece: &Piece) {
        match piece {
            Piece::Text(_) => {}
            Piece::Value(access) => self.places.push((*access, false)),
            Piece::Call(call) => self.call(call),
            Piece::If {
                test,
                then,
                otherwise,
            } => {
                self.test(test);
                for branch in [then, otherwise] {
                    if let [Piece::Text(text)] = branch.as_slice() {
                        self.branches.push(text.clone());
                    }
                    branch.iter().for_each(|piece| self.piece(piece));
                }
            }
            Piece::Handlebars { reads, .. } => {
                for (_, access, whole) in reads {
                    self.places.push((*access, *whole));
                }
            }
        }
    }

    fn call(&mut self, call: &Call) {
        if let Helper::Lookup(table) = call.helper {
            self.tables.push(table);
        }
        let whole = matches!(
            call.helper,
            Helper::Whole | Helper::Join | Helper::Authority | Helper::Parts
        );
        for argument in &call.arguments {
            self.argument(argument, whole);
        }
    }

    fn argument(&mut self, argument: &Argument, whole: bool) {
        match argument {
            Argument::Value(access) => self.places.push((*access, whole)),
            Argument::Text(_) => {}
            Argument::Call(call) => self.call(call),
        }
    }

    fn test(&mut self, test: &Test) {
        match test {
            Test::Valued(argument) => self.argument(argument, false),
            Test::Equal(a, b) | Test::NotEqual(a, b) => {
                self.argument(a, false);
                self.argument(b, false);
            }
            Test::And(tests) | Test::Or(tests) => tests.iter().for_each(|test| self.test(test)),
            Test::Not(test) => self.test(test),
        }
    }
}

fn of_condition(plan: &Plan, condition: &Condition, found: &mut Vec<Access>) {
    match condition {
        Condition::All(parts) | Condition::Any(parts) => {
            parts
                .iter()
                .for_each(|part| of_condition(plan, part, found));
        }
        Condition::Not(inner) => of_condition(plan, inner, found),
        Condition::Valued(access)
        | Condition::Null(access)
        | Condition::Equals(access, _)
        | Condition::In(access, _)
        | Condition::Count(access, ..)
        | Condition::Is(access, _)
        | Condition::StartsWith(access, _)
        | Condition::Contains(access, _) => found.push(*access),
        Condition::Same(a, b) => found.extend([*a, *b]),
        Condition::OneOf(asked) => {
            found.extend(plan.probes.get(asked.probe).map(|probe| probe.access));
        }
        Condition::Policy(..) | Condition::Switch(_) | Condition::Bound(_) => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_part_is_read_by_itself_by_what_is_in_it_and_by_all_around_it() {
        let read = |text: &str, whole| Read {
            place: Place::parse(text).unwrap(),
            whole,
        };
        let place = |text: &str| Place::parse(text).unwrap();
        assert!(read("PID-5.1", false).takes(place("PID-5")));
        assert!(read("PID-5", false).takes(place("PID-5")));
        assert!(read("PID-5", false).takes(place("PID-5.1")));
        assert!(!read("PID-5", false).takes(place("PID-5.2")));
        assert!(read("PID-5", true).takes(place("PID-5.2")));
        assert!(!read("PID-5.1", false).takes(place("PID-5.2")));
        assert!(!read("PID-6", true).takes(place("PID-5")));
        assert!(read("CX.4.1", false).takes(place("CX.4")));
    }
}
