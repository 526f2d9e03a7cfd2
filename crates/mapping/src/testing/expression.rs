//! A small part of FHIRPath (<https://hl7.org/fhirpath/N1/>): enough to point at elements of a Bundle.
//!
//! ```text
//! expression = start { "." step | "[" number "]" }
//! start      = a resource type | "Bundle"            (in a condition: an element, or $this)
//! step       = element | function
//! function   = where(condition) | exists([condition]) | empty() | count() | first() | last() | ofType(TYPE)
//!            | resolve() | extension('url') | contains('x') | startsWith('x') | endsWith('x')
//! condition  = all { "or" all }      all = term { "and" term }
//! term       = "not" term | "(" condition ")" | expression [ sign value ]      sign = "=" "!=" "<" "<=" ">" ">="
//! value      = 'text' | number | true | false | @date
//! ```
//!
//! A condition on a whole Bundle is the same, and its expressions start like others: with a resource type or `Bundle`.
//!
//! Every name is checked against R4, with the choices under both of their names (`value` and `valueQuantity`).

use fhir::definitions::{Definitions, TypeId, TypeKind, r4};

use super::lexer::{Word, bad, words};
use crate::diagnostic::closest;
use crate::syntax::SyntaxError;

/// Conditions inside each other.
const MAX_DEPTH: usize = 16;

/// A path into a Bundle, checked against R4.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Expression {
    pub(super) start: Start,
    pub(super) steps: Vec<Step>,
}

/// Where a path starts.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Start {
    /// The Bundle itself.
    Bundle,
    /// All its resources of a type, in their order.
    Resources(String),
    /// What is being looked at: inside `where`, and for the keys below another key.
    Here,
}

#[derive(Clone, Debug, PartialEq)]
pub(super) enum Step {
    /// The children of that name; a choice has several names.
    Child(Vec<String>),
    Index(usize),
    Where(Condition),
    Exists(Option<Condition>),
    Empty,
    Count,
    First,
    Last,
    OfType(String),
    Resolve,
    Extension(String),
    Text(TextTest, String),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum TextTest {
    Contains,
    StartsWith,
    EndsWith,
}

#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Condition {
    Or(Vec<Condition>),
    And(Vec<Condition>),
    Not(Box<Condition>),
    /// True if there is something, and it is not `false`.
    Holds(Expression),
    Compare(Expression, Comparison, String),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Comparison {
    Equal,
    NotEqual,
    Less,
    LessOrEqual,
    Greater,
    GreaterOrEqual,
}

/// The types that what a path points at can have; `None` is any.
pub(super) type Types = Option<Vec<Typed>>;

/// A type, and for a Reference what it may point at.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Typed {
    pub id: TypeId,
    targets: &'static [TypeId],
}

impl Expression {
    /// Reads a path that starts with a resource type or `Bundle`; with the types of what it points at.
    pub(super) fn typed(text: &str) -> Result<(Expression, Types), SyntaxError> {
        let mut reader = Reader::new(text)?;
        let (start, types) = reader.start()?;
        let (steps, types) = reader.steps(types)?;
        reader.end()?;
        Ok((Expression { start, steps }, types))
    }

    /// Reads a path that starts at an element of `types`.
    pub(super) fn relative(text: &str, types: &Types) -> Result<(Expression, Types), SyntaxError> {
        let mut reader = Reader::new(text)?;
        let (steps, types) = reader.relative(types)?;
        reader.end()?;
        Ok((
            Expression {
                start: Start::Here,
                steps,
            },
            types,
        ))
    }
}

impl Condition {
    /// Reads a condition on a Bundle.
    pub(crate) fn on_bundle(text: &str) -> Result<Condition, SyntaxError> {
        let mut reader = Reader::new(text)?;
        reader.at_the_top = true;
        let condition = reader.condition(&None)?;
        reader.end()?;
        Ok(condition)
    }
}

struct Reader<'t> {
    text: &'t str,
    words: Vec<(usize, Word)>,
    next: usize,
    depth: usize,
    /// Nothing is being looked at: expressions name what they start with.
    at_the_top: bool,
    r4: &'static Definitions,
}

type Read<T> = Result<T, SyntaxError>;

impl<'t> Reader<'t> {
    fn new(text: &'t str) -> Read<Reader<'t>> {
        Ok(Reader {
            text,
            words: words(text)?,
            next: 0,
            depth: 0,
            at_the_top: false,
            r4: r4(),
        })
    }

    // === words ===

    fn at(&self) -> usize {
        self.words
            .get(self.next)
            .map_or(self.text.len(), |(at, _)| *at)
    }

    fn peek(&self) -> Option<&Word> {
        self.words.get(self.next).map(|(_, word)| word)
    }

    fn takes(&mut self, sign: &str) -> bool {
        let found = matches!(self.peek(), Some(Word::Sign(found)) if *found == sign);
        self.next += usize::from(found);
        found
    }

    fn takes_word(&mut self, name: &str) -> bool {
        let found = matches!(self.peek(), Some(Word::Name(found)) if found == name);
        self.next += usize::from(found);
        found
    }

    fn needs(&mut self, sign: &str) -> Read<()> {
        if self.takes(sign) {
            return Ok(());
        }
        Err(bad(self.at(), format!("`{sign}` is missing here")))
    }

    fn name(&mut self, what: &str) -> Read<(usize, String)> {
        let at = self.at();
        match self.peek() {
            Some(Word::Name(name)) => {
                let name = name.clone();
                self.next += 1;
                Ok((at, name))
            }
            _ => Err(bad(at, format!("{what} is missing here"))),
        }
    }

    fn end(&self) -> Read<()> {
        if self.next < self.words.len() {
            return Err(bad(self.at(), "the expression should end here")
                .help("a path goes on with `.` or `[0]`; comparisons stand in where( )"));
        }
        Ok(())
    }

    // === paths ===

    fn start(&mut self) -> Read<(Start, Types)> {
        let (at, name) = self.name("a resource type")?;
        if name == "Bundle" {
            return Ok((Start::Bundle, self.types_of("Bundle")));
        }
        if self.r4.resource(&name).is_none() {
            let types = self
                .r4
                .types()
                .filter(|id| self.r4.kind(*id) == TypeKind::Resource);
            let names = types.map(|id| self.r4.type_name(id));
            let error = bad(at, format!("R4 has no resource type `{name}`"));
            return Err(match closest(&name, names) {
                Some(near) => error.help(format!("did you mean `{near}`?")),
                None => error.help("a path starts with a resource type or with `Bundle`"),
            });
        }
        let types = self.types_of(&name);
        Ok((Start::Resources(name), types))
    }

    fn types_of(&self, name: &str) -> Types {
        self.r4
            .type_(name)
            .map(|id| vec![Typed { id, targets: &[] }])
    }

    /// A path that starts at what is being looked at: `element...`, `$this...`, a function.
    fn relative(&mut self, types: &Types) -> Read<(Vec<Step>, Types)> {
        if self.takes_word("$this") {
            return self.steps(types.clone());
        }
        let (first, types) = self.step(types)?;
        let (mut rest, types) = self.steps(types)?;
        rest.insert(0, first);
        Ok((rest, types))
    }

    fn steps(&mut self, mut types: Types) -> Read<(Vec<Step>, Types)> {
        let mut steps = Vec::new();
        loop {
            if self.takes(".") {
                let (step, of) = self.step(&types)?;
                steps.push(step);
                types = of;
            } else if self.takes("[") {
                let at = self.at();
                let index = match self.peek() {
                    Some(Word::Number(digits)) => digits.parse().ok(),
                    _ => None,
                };
                let index = index.ok_or_else(|| {
                    bad(at, "a number is missing here").help("[0] is the first one")
                })?;
                self.next += 1;
                self.needs("]")?;
                steps.push(Step::Index(index));
            } else {
                return Ok((steps, types));
            }
        }
    }

    fn step(&mut self, types: &Types) -> Read<(Step, Types)> {
        let (at, name) = self.name("an element or a function")?;
        if self.takes("(") {
            let found = self.function(at, &name, types)?;
            self.needs(")")?;
            return Ok(found);
        }
        let (names, types) = self.child(at, &name, types)?;
        Ok((Step::Child(names), types))
    }

    /// The JSON names that an element has, and its types.
    fn child(&self, at: usize, name: &str, types: &Types) -> Read<(Vec<String>, Types)> {
        let alone = vec![name.to_owned()];
        let Some(types) = types else {
            return Ok((alone, None));
        };
        if name == "resourceType" {
            return Ok((alone, self.types_of("code")));
        }
        // `_birthDate` holds the extensions of `birthDate`.
        let plain = name.strip_prefix('_').unwrap_or(name);
        let (mut names, mut found) = (Vec::new(), Vec::new());
        for of in types {
            if self.r4.is_abstract(of.id) {
                return Ok((alone, None));
            }
            if self.r4.primitive(of.id).is_some() && matches!(plain, "id" | "extension") {
                let element = self.types_of(if plain == "id" { "string" } else { "Extension" });
                found.extend(element.into_iter().flatten());
                names.push(name.to_owned());
            }
            let one = self.r4.element(of.id, plain);
            let choices = self.r4.choices(of.id, plain).iter();
            for element in one.into_iter().chain(choices) {
                let prefix = if plain == name { "" } else { "_" };
                names.push(format!("{prefix}{}", element.text()));
                found.extend(element.type_().map(|of| Typed {
                    id: of.type_,
                    targets: of.targets,
                }));
            }
        }
        if names.is_empty() {
            return Err(self.unknown(at, plain, types));
        }
        names.sort_unstable();
        names.dedup();
        if plain != name {
            return Ok((names, None));
        }
        Ok((names, Some(found)))
    }

    fn unknown(&self, at: usize, name: &str, types: &[Typed]) -> SyntaxError {
        let of: Vec<&str> = types.iter().map(|of| self.r4.type_name(of.id)).collect();
        let error = bad(at, format!("{} has no element `{name}`", of.join(" or ")));
        let known = types.iter().flat_map(|of| self.r4.elements(of.id));
        match closest(name, known.map(|element| element.text())) {
            Some(near) => error.help(format!("did you mean `{near}`?")),
            None if of.iter().all(|name| self.is_primitive(name)) => {
                error.help("this is a value: a path ends here")
            }
            None => error,
        }
    }

    fn is_primitive(&self, name: &str) -> bool {
        self.r4
            .type_(name)
            .is_some_and(|id| self.r4.primitive(id).is_some())
    }

    // === functions ===

    fn function(&mut self, at: usize, name: &str, types: &Types) -> Read<(Step, Types)> {
        let same = || types.clone();
        let truth = self.types_of("boolean");
        Ok(match name {
            "where" => (Step::Where(self.inside(types)?), same()),
            "exists" if self.peek() == Some(&Word::Sign(")")) => (Step::Exists(None), truth),
            "exists" => (Step::Exists(Some(self.inside(types)?)), truth),
            "empty" => (Step::Empty, truth),
            "count" => (Step::Count, self.types_of("integer")),
            "first" => (Step::First, same()),
            "last" => (Step::Last, same()),
            "resolve" => (Step::Resolve, self.resolved(at, types)?),
            "extension" => (Step::Extension(self.text()?), self.types_of("Extension")),
            "contains" => (Step::Text(TextTest::Contains, self.text()?), truth),
            "startsWith" => (Step::Text(TextTest::StartsWith, self.text()?), truth),
            "endsWith" => (Step::Text(TextTest::EndsWith, self.text()?), truth),
            "ofType" => self.of_type()?,
            _ => {
                let known = [
                    "where",
                    "exists",
                    "empty",
                    "count",
                    "first",
                    "last",
                    "resolve",
                    "extension",
                    "contains",
                    "startsWith",
                    "endsWith",
                    "ofType",
                ];
                let error = bad(at, format!("there is no function `{name}`"));
                return Err(error.help(match closest(name, known) {
                    Some(near) => format!("did you mean `{near}`?"),
                    None => format!("there are {}", known.join(", ")),
                }));
            }
        })
    }

    fn of_type(&mut self) -> Read<(Step, Types)> {
        let (at, name) = self.name("a type")?;
        let Some(types) = self.types_of(&name) else {
            let names = self.r4.types().map(|id| self.r4.type_name(id));
            let error = bad(at, format!("R4 has no type `{name}`"));
            return Err(match closest(&name, names) {
                Some(near) => error.help(format!("did you mean `{near}`?")),
                None => error,
            });
        };
        Ok((Step::OfType(name), Some(types)))
    }

    /// What a reference can point at.
    fn resolved(&self, at: usize, types: &Types) -> Read<Types> {
        let Some(types) = types else {
            return Ok(None);
        };
        let references: Vec<&Typed> = types
            .iter()
            .filter(|of| self.r4.type_name(of.id) == "Reference")
            .collect();
        if references.is_empty() {
            return Err(bad(at, "only a Reference can be resolved"));
        }
        let targets: Vec<Typed> = references
            .iter()
            .flat_map(|of| of.targets)
            .map(|id| Typed {
                id: *id,
                targets: &[],
            })
            .collect();
        Ok((!targets.is_empty()).then_some(targets))
    }

    fn text(&mut self) -> Read<String> {
        let at = self.at();
        match self.peek() {
            Some(Word::Text(text)) => {
                let text = text.clone();
                self.next += 1;
                Ok(text)
            }
            _ => {
                Err(bad(at, "a text is missing here").help("texts stand in single quotes: 'text'"))
            }
        }
    }

    // === conditions ===

    /// A condition on what stands before it.
    fn inside(&mut self, types: &Types) -> Read<Condition> {
        let at_the_top = std::mem::replace(&mut self.at_the_top, false);
        let condition = self.condition(types);
        self.at_the_top = at_the_top;
        condition
    }

    fn condition(&mut self, types: &Types) -> Read<Condition> {
        self.depth += 1;
        if self.depth > MAX_DEPTH {
            return Err(bad(self.at(), "the conditions are nested too deeply"));
        }
        let mut alternatives = vec![self.all(types)?];
        while self.takes_word("or") {
            alternatives.push(self.all(types)?);
        }
        self.depth -= 1;
        Ok(one_or(alternatives, Condition::Or))
    }

    fn all(&mut self, types: &Types) -> Read<Condition> {
        let mut parts = vec![self.term(types)?];
        while self.takes_word("and") {
            parts.push(self.term(types)?);
        }
        Ok(one_or(parts, Condition::And))
    }

    fn term(&mut self, types: &Types) -> Read<Condition> {
        let mut negations = 0;
        while self.takes_word("not") {
            negations += 1;
        }
        let inner = if self.takes("(") {
            let inner = self.condition(types)?;
            self.needs(")")?;
            inner
        } else {
            self.comparison(types)?
        };
        Ok(match negations % 2 {
            1 => Condition::Not(Box::new(inner)),
            _ => inner,
        })
    }

    fn comparison(&mut self, types: &Types) -> Read<Condition> {
        let (start, steps) = if self.at_the_top {
            let (start, types) = self.start()?;
            (start, self.steps(types)?.0)
        } else {
            (Start::Here, self.relative(types)?.0)
        };
        let expression = Expression { start, steps };
        let sign = match self.peek() {
            Some(Word::Sign("=")) => Comparison::Equal,
            Some(Word::Sign("!=")) => Comparison::NotEqual,
            Some(Word::Sign("<")) => Comparison::Less,
            Some(Word::Sign("<=")) => Comparison::LessOrEqual,
            Some(Word::Sign(">")) => Comparison::Greater,
            Some(Word::Sign(">=")) => Comparison::GreaterOrEqual,
            _ => return Ok(Condition::Holds(expression)),
        };
        self.next += 1;
        let at = self.at();
        let value = match self.peek() {
            Some(Word::Text(text) | Word::Number(text)) => text.clone(),
            Some(Word::Name(name)) if name == "true" || name == "false" => name.clone(),
            _ => {
                return Err(bad(at, "a value is missing here")
                    .help("a value is 'text', a number, true or false"));
            }
        };
        self.next += 1;
        Ok(Condition::Compare(expression, sign, value))
    }
}

fn one_or(mut parts: Vec<Condition>, many: fn(Vec<Condition>) -> Condition) -> Condition {
    match parts.pop() {
        Some(only) if parts.is_empty() => only,
        Some(last) => {
            parts.push(last);
            many(parts)
        }
        None => many(parts),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn refused(text: &str, at: usize, says: &str) {
        let error = Expression::typed(text).unwrap_err();
        let all = format!("{} {}", error.message, error.help.unwrap_or_default());
        assert_eq!((error.at, all.contains(says)), (at, true), "{text}: {all}");
    }

    #[test]
    fn good_paths_are_read() {
        for text in [
            "Patient.birthDate",
            "Patient.birthDate.extension('http://x').value",
            "Patient._birthDate.extension[0].url",
            "Observation[0].valueQuantity.value",
            "Observation.value.ofType(Quantity).value",
            "Observation.where(code.coding.code = '718-7').valueQuantity.value",
            "Observation.where(code.coding.exists(system = 'http://loinc.org' and code = '718-7') and not (status = 'final' or status = 'amended')).count()",
            "Observation[0].subject.resolve().name.family",
            "Bundle.entry[0].request.method",
            "Bundle.entry.resource.ofType(Patient).active",
            "Encounter.length.where(value >= 3).empty()",
            "Patient.name.given.where($this.startsWith('A')).first()",
            "Patient.contact.name.family",
            "Patient.resourceType",
        ] {
            assert!(
                Expression::typed(text).is_ok(),
                "{text}: {:?}",
                Expression::typed(text)
            );
        }
    }

    #[test]
    fn a_mistake_has_its_place_and_the_likely_fix() {
        refused("Pateint.name", 0, "did you mean `Patient`");
        refused("Patient.birthdate", 8, "did you mean `birthDate`");
        refused("Observation[x]", 12, "[0] is the first one");
        refused(
            "Observation.where(code.coding.cod = '1')",
            30,
            "did you mean `code`",
        );
        refused("Observation.where(status = final)", 27, "'text'");
        refused(
            "Observation.were(status = 'final')",
            12,
            "did you mean `where`",
        );
        refused("Patient.birthDate = 5", 18, "where( )");
        refused("Patient.birthDate.day", 18, "a path ends here");
        refused("Patient.name.resolve()", 13, "only a Reference");
        refused("Patient.", 8, "is missing here");
        refused("Observation.where(status = 'final'", 34, "`)`");
        refused(
            "Observation.value.ofType(Quantitty)",
            25,
            "did you mean `Quantity`",
        );
        refused("", 0, "a resource type");
        let deep = format!("Patient.where({}active", "(".repeat(50));
        refused(&deep, 30, "nested too deeply");
    }
}
