//! Following an [`Expression`] through a Bundle.

use std::borrow::Cow;

use fhir::tree::{Kind, NodeId, Tree, WriteOptions};

use super::expression::{Comparison, Condition, Expression, Start, Step, TextTest};

/// A Bundle to ask about.
#[derive(Clone, Copy)]
pub(crate) struct Document<'t> {
    pub tree: &'t Tree,
    pub bundle: NodeId,
}

/// What an expression points at.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Item {
    /// An element: its value, and beside a primitive the `_name` with its extensions.
    Node {
        value: Option<NodeId>,
        beside: Option<NodeId>,
    },
    /// The answer of `exists()` and the like.
    Truth(bool),
    /// The answer of `count()`.
    Number(usize),
}

impl Item {
    fn node(node: NodeId) -> Item {
        Item::Node {
            value: Some(node),
            beside: None,
        }
    }

    /// The element's value.
    pub fn value(self) -> Option<NodeId> {
        match self {
            Item::Node { value, .. } => value,
            _ => None,
        }
    }
}

impl<'t> Document<'t> {
    /// Everything an expression points at; `here` is what a relative one starts from.
    pub fn select(self, expression: &Expression, here: Option<Item>) -> Vec<Item> {
        let start = match &expression.start {
            Start::Bundle => vec![Item::node(self.bundle)],
            Start::Resources(name) => self
                .resources()
                .filter(|node| self.type_of(*node) == name)
                .map(Item::node)
                .collect(),
            Start::Here => here.into_iter().collect(),
        };
        self.follow(start, &expression.steps)
    }

    /// Whether a condition on the whole Bundle holds.
    pub fn satisfies(self, condition: &Condition) -> bool {
        self.holds(Item::node(self.bundle), condition)
    }

    /// The text of a primitive, and of an answer.
    pub fn text(self, item: Item) -> Option<Cow<'t, str>> {
        match item {
            Item::Truth(truth) => Some(Cow::Borrowed(if truth { "true" } else { "false" })),
            Item::Number(number) => Some(Cow::Owned(number.to_string())),
            Item::Node { value, .. } => {
                let node = value?;
                match self.tree.kind(node) {
                    Kind::String | Kind::Number => Some(Cow::Borrowed(self.tree.text(node))),
                    Kind::Boolean(truth) => {
                        Some(Cow::Borrowed(if truth { "true" } else { "false" }))
                    }
                    _ => None,
                }
            }
        }
    }

    /// What an item is, for people: the text of a value, the beginning of the JSON of anything else.
    pub fn shown(self, item: Item) -> String {
        const MOST: usize = 120;
        if let Some(text) = self.text(item) {
            return text.into_owned();
        }
        let (Item::Node { value, beside }, mut out) = (item, Vec::new()) else {
            return String::new();
        };
        if let Some(node) = value.or(beside) {
            self.tree.write(node, &mut out, &WriteOptions::default());
        }
        let text = String::from_utf8_lossy(&out);
        match text.char_indices().nth(MOST) {
            Some((end, _)) => format!("{}...", text.get(..end).unwrap_or_default()),
            None => text.into_owned(),
        }
    }

    fn resources(self) -> impl Iterator<Item = NodeId> {
        self.members(self.bundle, "entry")
            .into_iter()
            .flat_map(move |entry| self.members(entry, "resource"))
    }

    fn type_of(self, node: NodeId) -> &'t str {
        let name = self.members(node, "resourceType").into_iter().next();
        name.map_or("", |name| self.tree.text(name))
    }

    /// The children of that name, an array's members one by one.
    fn members(self, parent: NodeId, name: &str) -> Vec<NodeId> {
        self.child(parent, name)
            .map(|node| self.spread(node))
            .unwrap_or_default()
    }

    fn child(self, parent: NodeId, name: &str) -> Option<NodeId> {
        if self.tree.kind(parent) != Kind::Object {
            return None;
        }
        self.tree
            .children(parent)
            .find_map(|(key, child)| (self.tree.name_text(key) == name).then_some(child))
    }

    fn spread(self, node: NodeId) -> Vec<NodeId> {
        match self.tree.kind(node) {
            Kind::Array => self.tree.children(node).map(|(_, child)| child).collect(),
            _ => vec![node],
        }
    }

    // === steps ===

    fn follow(self, start: Vec<Item>, steps: &[Step]) -> Vec<Item> {
        steps
            .iter()
            .fold(start, |items, step| self.step(items, step))
    }

    fn step(self, items: Vec<Item>, step: &Step) -> Vec<Item> {
        let truth = |truth| vec![Item::Truth(truth)];
        match step {
            Step::Child(names) => items
                .into_iter()
                .flat_map(|item| self.children(item, names))
                .collect(),
            Step::Index(index) => items.get(*index).copied().into_iter().collect(),
            Step::First => items.first().copied().into_iter().collect(),
            Step::Last => items.last().copied().into_iter().collect(),
            Step::Where(condition) => items
                .into_iter()
                .filter(|item| self.holds(*item, condition))
                .collect(),
            Step::Exists(None) => truth(!items.is_empty()),
            Step::Exists(Some(condition)) => {
                truth(items.iter().any(|item| self.holds(*item, condition)))
            }
            Step::Empty => truth(items.is_empty()),
            Step::Count => vec![Item::Number(items.len())],
            Step::OfType(name) => items
                .into_iter()
                .filter(|item| self.is_type(*item, name))
                .collect(),
            Step::Resolve => items
                .into_iter()
                .filter_map(|item| self.resolve(item))
                .collect(),
            Step::Extension(url) => items
                .into_iter()
                .flat_map(|item| self.children(item, &["extension".to_owned()]))
                .filter(|item| self.has(*item, "url", url))
                .collect(),
            Step::Text(test, part) => items
                .into_iter()
                .filter_map(|item| self.text(item))
                .map(|text| {
                    Item::Truth(match test {
                        TextTest::Contains => text.contains(part.as_str()),
                        TextTest::StartsWith => text.starts_with(part.as_str()),
                        TextTest::EndsWith => text.ends_with(part.as_str()),
                    })
                })
                .collect(),
        }
    }

    fn children(self, item: Item, names: &[String]) -> Vec<Item> {
        let Item::Node { value, beside } = item else {
            return Vec::new();
        };
        let mut found = Vec::new();
        for name in names {
            // A primitive's id and extensions stand beside it.
            for parent in [value, beside].into_iter().flatten() {
                let values = self.members(parent, name);
                let beside = self.members(parent, &format!("_{name}"));
                for place in 0..values.len().max(beside.len()) {
                    let there = |nodes: &[NodeId]| {
                        let node = nodes.get(place).copied();
                        node.filter(|node| !self.tree.is_empty(*node))
                    };
                    let (value, beside) = (there(&values), there(&beside));
                    if value.is_some() || beside.is_some() {
                        found.push(Item::Node { value, beside });
                    }
                }
            }
        }
        found
    }

    fn has(self, item: Item, name: &str, text: &str) -> bool {
        self.children(item, &[name.to_owned()])
            .into_iter()
            .any(|child| self.text(child).is_some_and(|found| found == text))
    }

    /// A resource says its type; a value of a choice has it in its name.
    fn is_type(self, item: Item, name: &str) -> bool {
        let Some(node) = item.value() else {
            return false;
        };
        let own = self.type_of(node);
        if !own.is_empty() {
            return own == name;
        }
        let element = self.tree.name_text(self.tree.key(node).name);
        let mut capital = name.chars();
        let first = capital.next().map(|first| first.to_ascii_uppercase());
        let ending: String = first.into_iter().chain(capital).collect();
        element.len() > ending.len() && element.ends_with(&ending)
    }

    /// The resource of the Bundle that a reference names.
    fn resolve(self, item: Item) -> Option<Item> {
        let reference = self.child(item.value()?, "reference")?;
        let url = self.tree.text(reference);
        let is = |entry: NodeId| {
            let full = self.child(entry, "fullUrl");
            if full.is_some_and(|full| self.tree.text(full) == url) {
                return true;
            }
            let resource = self.child(entry, "resource");
            let id = resource.and_then(|resource| self.child(resource, "id"));
            let (Some(resource), Some(id)) = (resource, id) else {
                return false;
            };
            url.split_once('/').is_some_and(|(kind, name)| {
                kind == self.type_of(resource) && name == self.tree.text(id)
            })
        };
        let entries = self.members(self.bundle, "entry");
        let entry = entries.into_iter().find(|entry| is(*entry))?;
        self.child(entry, "resource").map(Item::node)
    }

    // === conditions ===

    fn holds(self, item: Item, condition: &Condition) -> bool {
        match condition {
            Condition::Or(parts) => parts.iter().any(|part| self.holds(item, part)),
            Condition::And(parts) => parts.iter().all(|part| self.holds(item, part)),
            Condition::Not(part) => !self.holds(item, part),
            Condition::Holds(expression) => {
                let found = self.select(expression, Some(item));
                !found.is_empty()
                    && found
                        .iter()
                        .all(|item| self.text(*item).as_deref() != Some("false"))
            }
            Condition::Compare(expression, comparison, value) => {
                let found = self.select(expression, Some(item));
                let mut texts = found.iter().filter_map(|item| self.text(*item));
                match comparison {
                    Comparison::Equal => texts.any(|text| text == *value),
                    Comparison::NotEqual => texts.all(|text| text != *value),
                    other => texts.any(|text| ordered(&text, *other, value)),
                }
            }
        }
    }
}

/// Numbers by their value, anything else (dates) by its characters.
fn ordered(text: &str, comparison: Comparison, value: &str) -> bool {
    let order = match (text.parse::<f64>(), value.parse::<f64>()) {
        (Ok(one), Ok(other)) => one.partial_cmp(&other),
        _ => Some(text.cmp(value)),
    };
    order.is_some_and(|order| match comparison {
        Comparison::Less => order.is_lt(),
        Comparison::LessOrEqual => order.is_le(),
        Comparison::Greater => order.is_gt(),
        Comparison::GreaterOrEqual => order.is_ge(),
        Comparison::Equal => order.is_eq(),
        Comparison::NotEqual => order.is_ne(),
    })
}

#[cfg(test)]
mod tests {
    use fhir::tree::{Limits, read};

    use super::*;

    const BUNDLE: &str = r#"{"resourceType":"Bundle","entry":[
        {"fullUrl":"urn:uuid:1","resource":{"resourceType":"Patient","id":"p","birthDate":"1980-05-02",
          "_birthDate":{"extension":[{"url":"http://x","valueString":"noon"}]},
          "name":[{"family":"Roe","given":["Ann","Bea"]},{"family":"Doe"}]}},
        {"resource":{"resourceType":"Observation","status":"final","subject":{"reference":"urn:uuid:1"},
          "code":{"coding":[{"system":"http://loinc.org","code":"718-7"},{"code":"HB"}]},"valueQuantity":{"value":5.40}}},
        {"resource":{"resourceType":"Observation","status":"amended","subject":{"reference":"Patient/p"},
          "code":{"coding":[{"code":"GLU"}]},"valueString":"high"}}]}"#;

    #[test]
    fn paths_find_what_they_name() {
        let (tree, bundle) = read(BUNDLE.as_bytes(), &Limits::default()).unwrap();
        let document = Document {
            tree: &tree,
            bundle,
        };
        for (path, expected) in [
            ("Patient.birthDate", "1980-05-02"),
            ("Patient.birthDate.extension('http://x').value", "noon"),
            ("Patient._birthDate.extension[0].url", "http://x"),
            ("Patient.name.given", "Ann|Bea"),
            ("Patient.name[1].given", ""),
            ("Patient.name.where(given.exists()).family", "Roe"),
            ("Patient.name.where(not given.exists()).family", "Doe"),
            ("Patient.name.given.where($this.startsWith('B'))", "Bea"),
            ("Patient.deceased.exists()", "false"),
            ("Patient.name.count()", "2"),
            ("Patient.name.last().family", "Doe"),
            ("Observation[0].valueQuantity.value", "5.40"),
            ("Observation.value.ofType(Quantity).value", "5.40"),
            ("Observation.value.ofType(string)", "high"),
            ("Observation.value.where(value > 5).value", "5.40"),
            ("Observation.where(code.coding.code = 'HB').status", "final"),
            (
                "Observation.where(code.coding.code != 'HB').status",
                "amended",
            ),
            (
                "Observation.where(code.coding.exists(code = 'HB' and system = 'http://loinc.org')).status",
                "",
            ),
            (
                "Observation.subject.resolve().name.where(given.exists()).family",
                "Roe|Roe",
            ),
            ("Bundle.entry.resource.ofType(Patient).id", "p"),
            (
                "Observation.where(status = 'x' or value.exists()).count()",
                "2",
            ),
        ] {
            let expression = Expression::typed(path).unwrap().0;
            let found: Vec<String> = document
                .select(&expression, None)
                .into_iter()
                .map(|item| document.shown(item))
                .collect();
            assert_eq!(found.join("|"), expected, "{path}");
        }
    }
}
