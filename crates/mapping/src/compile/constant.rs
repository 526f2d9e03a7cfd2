//! Constants and tables are checked against what the element takes while the package is read, not when a message comes.

use fhir::definitions::{Element, Strength};
use fhir::primitive::{self, Primitive};

use super::Compiler;
use crate::diagnostic::{Code, closest};
use crate::plan::{Piece, TableId, Template};
use crate::yaml::Span;

impl Compiler {
    /// A text without holes must be a value of the element.
    pub(super) fn check_constant(
        &mut self,
        template: &Template,
        element: Option<&Element>,
        primitive: Primitive,
        span: Span,
    ) {
        let Some(text) = literal(template) else {
            return;
        };
        if primitive::check(primitive, &text).is_err() {
            self.error(
                Code::BadConstant,
                span,
                format!("`{text}` is not a {}", primitive.name()),
                format!("write {}", primitive.form()),
            );
            return;
        }
        self.check_code(&text, element, span);
    }

    fn check_code(&mut self, code: &str, element: Option<&Element>, span: Span) {
        let Some(binding) = element
            .and_then(|element| element.binding)
            .filter(|binding| binding.strength == Strength::Required)
        else {
            return;
        };
        let Some(set) = self.r4.value_set(binding.value_set) else {
            return;
        };
        if !set.closed || set.has_code(code) {
            return;
        }
        let near = closest(code, set.codes().map(|(_, code)| code));
        let help = near.map_or_else(
            || {
                let codes: Vec<&str> = set.codes().map(|(_, code)| code).take(12).collect();
                format!("its codes are {}", codes.join(", "))
            },
            |near| format!("did you mean `{near}`?"),
        );
        let message = format!("`{code}` is not in the required value set {}", set.url);
        self.error(Code::BadConstant, span, message, help);
    }

    /// Every code a table can give must be in a required value set.
    pub(super) fn check_table(&mut self, table: TableId, element: Option<&Element>, span: Span) {
        let Some(binding) = element
            .and_then(|element| element.binding)
            .filter(|binding| binding.strength == Strength::Required)
        else {
            return;
        };
        let Some(set) = self
            .r4
            .value_set(binding.value_set)
            .filter(|set| set.closed)
        else {
            return;
        };
        let Some(table) = self.plan.tables.get(table) else {
            return;
        };
        let mut wrong: Vec<&str> = table
            .groups()
            .flat_map(|group| group.codes.values().flatten().chain(&group.default))
            .map(|target| target.code.as_str())
            .filter(|code| !set.has_code(code))
            .collect();
        wrong.sort_unstable();
        wrong.dedup();
        if wrong.is_empty() {
            return;
        }
        let message = format!(
            "table `{}` gives {} which the required value set {} does not have",
            table.name,
            wrong.join(", "),
            set.url
        );
        self.error(
            Code::BadConstant,
            span,
            message,
            "correct the table, or use another one here",
        );
    }
}

/// The text of a template without holes.
pub(super) fn literal(template: &Template) -> Option<String> {
    template
        .pieces
        .iter()
        .map(|piece| match piece {
            Piece::Text(text) => Some(text.as_str()),
            _ => None,
        })
        .collect()
}
