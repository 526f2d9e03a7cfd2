//! Target paths of the guide in one shape, so that they can be compared with what rules write.
//!
//! The guide writes `location[1].location(Location)`, `onset[x]`, `value.CodeableConcept.coding`, `recorder.reference(Patient.name)`
//! and `extension[2].valueCode` with the extension's URL in another row. The shape: element names of R4 with the type of a
//! choice, `(Type)` where a reference is followed, `{url}` behind an extension.

use std::collections::HashMap;

use fhir::definitions::{Definitions, TypeId, TypeKind, r4};

use super::guide::{GuideMap, GuideRow};

/// A target path, read.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Target {
    pub steps: Vec<String>,
    /// The element's type is a primitive, or it is not known.
    pub primitive: bool,
    /// The element is a boolean: the engine itself turns `Y` and `N` into one.
    pub boolean: bool,
}

/// URLs of the extensions of one map of the guide: the rows that name them stand apart.
#[derive(Default)]
pub(super) struct Urls {
    by_row: HashMap<(&'static str, String), &'static str>,
    by_path: HashMap<String, Option<&'static str>>,
}

impl Urls {
    pub fn of(map: &GuideMap) -> Urls {
        let mut urls = Urls::default();
        for row in &map.rows {
            let Some(path) = row.target.trim_end_matches(')').strip_suffix(".url") else {
                continue;
            };
            if row.literal.is_empty() || !path.contains("xtension") {
                continue;
            }
            urls.by_row
                .insert((row.source, path.to_owned()), row.literal);
            // Two URLs under one number: only the row's own source tells which is meant.
            urls.by_path
                .entry(path.to_owned())
                .and_modify(|known| {
                    if *known != Some(row.literal) {
                        *known = None;
                    }
                })
                .or_insert(Some(row.literal));
        }
        urls
    }

    fn find(&self, source: &'static str, path: &str) -> Option<&'static str> {
        let own = self.by_row.get(&(source, path.to_owned())).copied();
        own.or_else(|| self.by_path.get(path).copied().flatten())
    }
}

/// The FHIR type that a map of the guide fills: `Provenance` of `MSH[Provenance-Source]`, `MessageHeader.source` of
/// `HD[MessageHeader.source-name]`.
pub(super) fn type_of(map: &str) -> &str {
    let inner = map.split_once('[').map_or("", |(_, inner)| inner);
    let dotted = inner.split(['-', ']']).next().unwrap_or_default();
    if r4().type_(dotted).is_some() {
        return dotted;
    }
    dotted.split('.').next().unwrap_or_default()
}

/// Reads the target of a row; `None` when R4 has no such path.
pub(super) fn target(row: &GuideRow, owner: &str, urls: &Urls) -> Option<Target> {
    let urls = |path: &str| urls.find(row.source, path);
    read(row.target, owner, &urls)
}

/// Reads a path as it is written in `rows:`, where the URL of an extension stands behind it: `extension{http://...}.valueCode`.
pub(super) fn written(text: &str, owner: &str) -> Option<Target> {
    let (mut plain, mut found) = (String::new(), Vec::new());
    let mut rest = text;
    while let Some((before, inner)) = rest.split_once('{') {
        let (url, after) = inner.split_once('}')?;
        plain.push_str(before);
        found.push((plain.len(), url.to_owned()));
        rest = after;
    }
    plain.push_str(rest);
    let mut target = read(&plain, owner, &|path| {
        found
            .iter()
            .any(|(at, _)| plain.get(..*at) == Some(path))
            .then_some("{}")
    })?;
    let mut urls = found.into_iter().map(|(_, url)| same_url(&url));
    for step in &mut target.steps {
        if step == "{{}}" {
            *step = format!("{{{}}}", urls.next()?);
        }
    }
    Some(target)
}

fn read(text: &str, owner: &str, urls: &dyn Fn(&str) -> Option<&'static str>) -> Option<Target> {
    let mut reader = Reader {
        r4: r4(),
        text,
        at: 0,
        urls,
        target: Target {
            steps: Vec::new(),
            primitive: false,
            boolean: false,
        },
    };
    if matches!(text, "$this" | "$value") {
        return Some(reader.target);
    }
    let start = reader.r4.type_(owner)?;
    // `Quantity.unit` in a map to a Quantity
    let named = text
        .strip_prefix(owner)
        .is_some_and(|rest| rest.starts_with('.'));
    reader.at = if named { owner.len() } else { 0 };
    reader.path(start)?;
    let rest = reader.rest().trim_matches([')', ' ']);
    rest.is_empty().then_some(reader.target)
}

/// URLs of the guide that differ only in how they are written: the page of an extension instead of its definition, https, a
/// stray dot or blank.
pub(super) fn same_url(url: &str) -> String {
    let url = url.trim().trim_end_matches('.').trim_end_matches('/');
    let url = url
        .strip_prefix("https://")
        .map_or_else(|| url.to_owned(), |rest| format!("http://{rest}"));
    match url.strip_prefix("http://hl7.org/fhir/R4/extension-") {
        Some(page) => format!(
            "http://hl7.org/fhir/StructureDefinition/{}",
            page.trim_end_matches(".html")
        ),
        None => url,
    }
}

struct Reader<'t> {
    r4: &'static Definitions,
    text: &'t str,
    at: usize,
    urls: &'t dyn Fn(&str) -> Option<&'static str>,
    target: Target,
}

impl Reader<'_> {
    fn rest(&self) -> &str {
        self.text.get(self.at..).unwrap_or_default()
    }

    fn word(&mut self) -> String {
        let word: String = self
            .rest()
            .chars()
            .take_while(|c| c.is_ascii_alphanumeric() || *c == '_')
            .collect();
        self.at += word.len();
        word
    }

    fn eat(&mut self, c: char) -> bool {
        let found = self.rest().starts_with(c);
        self.at += usize::from(found);
        found
    }

    /// `[1]`, `[each]`, `[x]`
    fn skip_index(&mut self) {
        while self.rest().starts_with('[') {
            self.at += self
                .rest()
                .find(']')
                .map_or(self.rest().len(), |end| end + 1);
        }
    }

    /// Elements joined by dots, from a type on.
    fn path(&mut self, mut owner: TypeId) -> Option<()> {
        // `[1].partOf`: the occurrence that is being filled.
        self.skip_index();
        self.eat('.');
        loop {
            let word = self.word();
            self.skip_index();
            owner = self.element(owner, &word)?;
            if self.eat('(') {
                self.within(owner)?;
                self.at += usize::from(self.rest().starts_with(')'));
                return if self.eat('.') { None } else { Some(()) };
            }
            if !self.eat('.') {
                return Some(());
            }
            // `organization.(Organization)`
            if self.eat('(') {
                return self.within(owner);
            }
        }
    }

    /// `(Organization.name)` behind a reference; `(Annotation.text)` behind what is no reference names its own type.
    fn within(&mut self, owner: TypeId) -> Option<()> {
        let mut kinds = vec![self.word()];
        while self.eat('|') {
            kinds.push(self.word());
        }
        self.skip_index();
        let kind = self.r4.type_(kinds.first()?)?;
        let reference = self.r4.type_name(owner) == "Reference";
        if reference {
            self.target.steps.push(format!("({})", kinds.join("|")));
            self.target.primitive = false;
        }
        if self.eat('.') {
            return self.path(if reference { kind } else { owner });
        }
        Some(())
    }

    fn element(&mut self, owner: TypeId, word: &str) -> Option<TypeId> {
        let r4 = self.r4;
        // The literal reference is the reference.
        if r4.type_name(owner) == "Reference" && word == "reference" {
            return Some(owner);
        }
        if r4.kind(owner) == TypeKind::Primitive && word == "extension" {
            return self.extension();
        }
        if let Some(element) = r4.element(owner, word) {
            if word == "extension" {
                return self.extension();
            }
            let type_id = element.type_()?.type_;
            self.target.steps.push(word.to_owned());
            self.target.primitive = r4.kind(type_id) == TypeKind::Primitive;
            self.target.boolean = r4.type_name(type_id) == "boolean";
            return Some(type_id);
        }
        if r4.choices(owner, word).is_empty() {
            return None;
        }
        // `value.CodeableConcept`: the type of a choice stands apart.
        let start = self.at;
        if self.eat('.') {
            let kind = self.word();
            let joined = format!("{word}{kind}");
            if r4.element(owner, &joined).is_some() {
                self.skip_index();
                return self.element(owner, &joined);
            }
            self.at = start;
            return None;
        }
        self.target.steps.push(format!("{word}[x]"));
        self.target.primitive = true;
        Some(owner)
    }

    fn extension(&mut self) -> Option<TypeId> {
        let path = self.text.get(..self.at).unwrap_or_default();
        self.target.steps.push("extension".to_owned());
        let url = (self.urls)(path).map_or_else(|| "?".to_owned(), same_url);
        self.target.steps.push(format!("{{{url}}}"));
        self.target.primitive = false;
        self.r4.type_("Extension")
    }
}

impl Target {
    /// Whether a written path is this element, or inside of it.
    pub fn holds(&self, path: &[String]) -> bool {
        self.steps.len() <= path.len()
            && self.steps.iter().zip(path).all(|(step, part)| {
                step == part
                    || step.strip_suffix("[x]").is_some_and(|base| {
                        part.strip_prefix(base)
                            .is_some_and(|kind| kind.starts_with(|c: char| c.is_ascii_uppercase()))
                    })
                    || (step.contains('|')
                        && step
                            .trim_matches(['(', ')'])
                            .split('|')
                            .any(|kind| part.trim_matches(['(', ')']) == kind))
            })
    }

    /// Whether a written path is this element itself.
    pub fn is(&self, path: &[String]) -> bool {
        self.steps.len() == path.len() && self.holds(path)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn steps(text: &str, owner: &str) -> Option<String> {
        read(text, owner, &|_| Some("http://x")).map(|target| target.steps.join(" "))
    }

    #[test]
    fn the_ways_the_guide_writes_a_path() {
        for (owner, text, read) in [
            (
                "Patient",
                "identifier[2].type.coding.code",
                "identifier type coding code",
            ),
            (
                "Encounter",
                "location[1].location(Location)",
                "location location (Location)",
            ),
            (
                "ServiceRequest",
                "requester(PractitionerRole.organization(Organization.name))",
                "requester (PractitionerRole) organization (Organization) name",
            ),
            (
                "AllergyIntolerance",
                "recorder.reference(Patient[1].name)",
                "recorder (Patient) name",
            ),
            (
                "Observation",
                "value.CodeableConcept.coding[1].code",
                "valueCodeableConcept coding code",
            ),
            ("Provenance", "occurred", "occurred[x]"),
            (
                "Observation",
                "status.extension[1].url",
                "status extension {http://x} url",
            ),
            ("Observation", "note(Annotation.text)", "note text"),
            ("Device", "$this", ""),
            (
                "Condition",
                "asserter(Practitioner",
                "asserter (Practitioner)",
            ),
        ] {
            assert_eq!(steps(text, owner).as_deref(), Some(read), "{text}");
        }
        assert_eq!(steps("valueCodeableReference", "Observation"), None);
        assert_eq!(steps("Operation", "Patient"), None);
    }

    #[test]
    fn urls_of_the_guide_are_compared_by_what_they_name() {
        let page = "http://hl7.org/fhir/R4/extension-data-absent-reason.html";
        let url = "http://hl7.org/fhir/StructureDefinition/data-absent-reason";
        assert_eq!(same_url(page), url);
        assert_eq!(same_url(" https://x.org/a. "), "http://x.org/a");
        let found = written("extension{http://x}.valueCode", "Observation").unwrap();
        assert_eq!(found.steps, ["extension", "{http://x}", "valueCode"]);
    }
}
