//! Whether resources are R4 as the definitions have it.
//!
//! Checked are: known elements, cardinality, JSON form and format of primitives, choices, required value sets that can be
//! listed, the types that references point to, references inside a Bundle, and the invariants that matter
//! (listed in `validate/rules.rs`, `invariants.rs` and `bundle_rules.rs`). Not checked: profiles, extensible bindings, codes of code systems, narratives.
//!
//! An issue says where and what, and never repeats a value.

mod bundle_rules;
mod invariants;
mod references;
mod rules;
mod structure;

use std::borrow::Cow;
use std::fmt::Write as _;

use crate::bundle::Entry;
use crate::definitions::{Definitions, Element, TypeId};
use crate::names::NameId;
use crate::outcome::{Issue, IssueType, Severity};
use crate::tree::{Kind, NodeId, Tree};
use references::Index;
use rules::Rules;

/// An issue found: severity, code, FHIRPath expression, message.
pub type ValidationIssue = Issue;

/// After so many a document is not looked at any further.
pub const ISSUES_MAX: usize = 500;

/// Validates a resource as it was read: what is empty is an error. In a Bundle the references between entries are
/// followed.
pub fn resource(tree: &Tree, node: NodeId, definitions: &Definitions) -> Vec<ValidationIssue> {
    let index = Index::of_bundle(tree, node, definitions);
    let mut validator = Validator::new(tree, definitions, index, &[], false);
    validator.resource(node);
    validator.finish()
}

/// As [`resource`], for what must be a Bundle.
pub fn bundle(tree: &Tree, node: NodeId, definitions: &Definitions) -> Vec<ValidationIssue> {
    let type_name = tree
        .get(node, NameId::RESOURCE_TYPE)
        .map_or("", |node| tree.text(node));
    if type_name == "Bundle" {
        return resource(tree, node, definitions);
    }
    let mut validator = Validator::new(tree, definitions, None, &[], false);
    validator.error(IssueType::Structure, "not a Bundle");
    validator.finish()
}

/// Validates resources that were built and are not yet written ([`crate::bundle::write`]): what is empty is as if it were
/// not there, and references go to entries by number.
pub fn entries(
    tree: &Tree,
    entries: &[Entry<'_>],
    definitions: &Definitions,
) -> Vec<ValidationIssue> {
    let mut validator = Validator::new(tree, definitions, None, entries, true);
    for (number, entry) in entries.iter().enumerate() {
        let path = [
            Step::Name("Bundle"),
            Step::Name("entry"),
            Step::Index(number),
            Step::Name("resource"),
        ];
        validator.path.clear();
        validator.path.extend(path);
        validator.resource(entry.resource);
    }
    validator.finish()
}

/// A part of a FHIRPath.
#[derive(Clone, Copy)]
enum Step<'a> {
    Name(&'a str),
    Element(&'a Element),
    Index(usize),
}

struct Validator<'a> {
    tree: &'a Tree,
    definitions: &'a Definitions,
    rules: &'static Rules,
    /// What the entries of the Bundle being validated can be referred to as.
    index: Option<Index<'a>>,
    /// What references by number go to.
    entries: &'a [Entry<'a>],
    /// Empty is absent.
    built: bool,
    issues: Vec<Issue>,
    path: Vec<Step<'a>>,
    /// The resource whose `contained` a `#id` is looked up in, and its type.
    container: Option<(NodeId, TypeId)>,
}

impl<'a> Validator<'a> {
    fn new(
        tree: &'a Tree,
        definitions: &'a Definitions,
        index: Option<Index<'a>>,
        entries: &'a [Entry<'a>],
        built: bool,
    ) -> Validator<'a> {
        let rules = rules::of(definitions);
        let (issues, path) = (Vec::new(), Vec::with_capacity(16));
        Validator {
            tree,
            definitions,
            rules,
            index,
            entries,
            built,
            issues,
            path,
            container: None,
        }
    }

    fn finish(mut self) -> Vec<Issue> {
        if self.issues.len() > ISSUES_MAX {
            self.issues.truncate(ISSUES_MAX);
            self.issues.push(Issue {
                severity: Severity::Information,
                code: IssueType::Incomplete,
                expression: String::new(),
                message: Cow::Borrowed("there are more issues than are listed"),
            });
        }
        self.issues
    }

    /// Enough was found.
    fn full(&self) -> bool {
        self.issues.len() > ISSUES_MAX
    }

    fn error(&mut self, code: IssueType, message: impl Into<Cow<'static, str>>) {
        self.issue(Severity::Error, code, None, message.into());
    }

    /// An error in a child of the present element that was not stepped into.
    fn error_at(&mut self, child: &str, code: IssueType, message: impl Into<Cow<'static, str>>) {
        self.issue(Severity::Error, code, Some(child), message.into());
    }

    fn issue(
        &mut self,
        severity: Severity,
        code: IssueType,
        child: Option<&str>,
        message: Cow<'static, str>,
    ) {
        if self.full() {
            return;
        }
        let mut expression = String::new();
        for step in &self.path {
            let dot = if expression.is_empty() { "" } else { "." };
            // Writing to a String cannot fail.
            let _ = match step {
                Step::Name(name) => write!(expression, "{dot}{name}"),
                Step::Index(index) => write!(expression, "[{index}]"),
                Step::Element(element) if element.choice => {
                    let type_name = element
                        .type_()
                        .map_or("", |found| self.definitions.type_name(found.type_));
                    write!(expression, "{dot}{}.ofType({type_name})", element.base)
                }
                Step::Element(element) => write!(expression, "{dot}{}", element.base),
            };
        }
        if let Some(child) = child {
            let dot = if expression.is_empty() { "" } else { "." };
            let _ = write!(expression, "{dot}{child}");
        }
        self.issues.push(Issue {
            severity,
            code,
            expression,
            message,
        });
    }

    /// A child that counts: in what was built an empty one does not.
    fn child(&self, node: NodeId, name: NameId) -> Option<NodeId> {
        self.tree
            .get(node, name)
            .filter(|child| !self.skipped(*child))
    }

    /// The members of an array that is a child of the node.
    fn members(&self, node: NodeId, name: NameId) -> impl Iterator<Item = NodeId> + use<'a> {
        let tree = self.tree;
        tree.get(node, name)
            .into_iter()
            .flat_map(move |array| tree.children(array))
            .map(|(_, member)| member)
    }

    /// The text of a child; empty if there is none.
    fn child_text(&self, node: NodeId, name: NameId) -> &'a str {
        self.tree
            .get(node, name)
            .map_or("", |child| self.tree.text(child))
    }

    fn skipped(&self, node: NodeId) -> bool {
        self.built && self.tree.is_empty(node)
    }

    fn is_object(&self, node: NodeId) -> bool {
        self.tree.kind(node) == Kind::Object
    }
}

#[cfg(test)]
mod tests;
