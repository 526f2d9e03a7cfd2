//! Rules that say nothing: a condition that never holds or always does, a rule behind one that is always taken, the same
//! rule twice.

use super::Compiler;
use super::logic::{Asked, Names, clash};
use super::scope::Scope;
use crate::diagnostic::Code;
use crate::plan::{Condition, Rule, Select};
use crate::yaml::{Node, Value};

impl Compiler {
    /// What stands inside of a rule is only asked when the rule's condition holds.
    pub(super) fn assume(&mut self, condition: Option<&Condition>, scope: &Scope) {
        if let Some(condition) = condition {
            self.given.push(Asked {
                condition: condition.clone(),
                value: scope.value(),
            });
        }
    }

    /// Tells of a condition whose answer is known before any message comes.
    pub(super) fn decided(&mut self, node: &Node, condition: &Condition, scope: &Scope) {
        let asked = |condition: &Condition| Asked {
            condition: condition.clone(),
            value: scope.value(),
        };
        let names = Names {
            policies: &self.plan.policies,
            values: &self.values,
        };
        let whole = asked(condition);
        let parts: &[Condition] = match condition {
            Condition::Any(parts) => parts,
            _ => &[],
        };
        let around: Vec<&Asked> = self.given.iter().chain([&whole]).collect();
        let found = if let Some(why) = clash(&[&whole], &[], &names) {
            Some(("this condition never holds", why))
        } else if let Some(why) = clash(&around, &[], &names) {
            Some((
                "this condition never holds inside the conditions around it",
                why,
            ))
        } else if let Some(why) = parts
            .iter()
            .find_map(|part| clash(&[&asked(part)], &[], &names))
        {
            Some(("one of the alternatives of this condition never holds", why))
        } else if clash(&[], &[&whole], &names).is_some() {
            let why = "leave it out, or correct what is meant".to_owned();
            Some(("this condition always holds", why))
        } else {
            None
        };
        if let Some((message, why)) = found {
            self.warn(Code::Decided, node.span, message, why);
        }
    }

    /// Of alternatives the first that gives something is kept: behind a constant none has a turn, nor behind several that
    /// leave no case open.
    pub(super) fn unreachable(
        &mut self,
        name: &str,
        members: &[Node],
        rules: &[Rule],
        scope: &Scope,
    ) {
        if members.len() != rules.len() {
            return;
        }
        let names = Names {
            policies: &self.plan.policies,
            values: &self.values,
        };
        let mut before: Vec<Asked> = Vec::new();
        let mut found = None;
        for (rule, member) in rules.iter().zip(members) {
            // Inside `from` and `each` the current value is another one: it is told apart by a number of its own.
            let value = match rule.select {
                Select::Here => scope.value(),
                Select::From(_) | Select::Each(_) => u32::MAX,
            };
            let asked = rule
                .when
                .clone()
                .map(|condition| Asked { condition, value });
            let holding: Vec<&Asked> = self.given.iter().chain(&asked).collect();
            let failing: Vec<&Asked> = before.iter().collect();
            if !before.is_empty()
                && clash(&holding, &[], &names).is_none()
                && clash(&holding, &failing, &names).is_some()
            {
                found = Some((
                    member.span,
                    format!(
                        "this rule never has a turn: the constants before it fill `{name}` in every case it is for"
                    ),
                    "put the more special rule first",
                ));
                break;
            }
            if !rule.constant {
                continue;
            }
            match asked {
                Some(asked) => before.push(asked),
                None => {
                    let next = members
                        .iter()
                        .zip(rules)
                        .skip_while(|(_, next)| !std::ptr::eq(*next, rule));
                    if let Some((next, _)) = next.into_iter().nth(1) {
                        found = Some((
                            next.span,
                            format!(
                                "this rule never has a turn: the constant before it always fills `{name}`"
                            ),
                            "put the constant last, or give it a condition",
                        ));
                    }
                    break;
                }
            }
        }
        if let Some((span, message, help)) = found {
            self.warn(Code::Unreachable, span, message, help);
        }
    }

    /// The same rule twice in one list.
    pub(super) fn duplicates(&mut self, members: &[Node], what: &str) {
        // A long list of plain texts is a list of values, where looking at every pair would cost more than it tells.
        if members.len() > 200 {
            return;
        }
        for (number, member) in members.iter().enumerate() {
            let first = members
                .iter()
                .take(number)
                .find(|other| same(other, member));
            if let Some(first) = first {
                let line = first.span.line;
                self.warn(
                    Code::Duplicate,
                    member.span,
                    format!("{what} stands twice: it is that of line {line} again"),
                    "remove one of them, or correct what should differ",
                );
            }
        }
    }
}

/// Whether two nodes say the same, wherever they stand; the order of keys says nothing.
pub(super) fn same(one: &Node, other: &Node) -> bool {
    match (&one.value, &other.value) {
        (Value::Scalar { text: one, .. }, Value::Scalar { text: other, .. }) => one == other,
        (Value::List(one), Value::List(other)) => {
            one.len() == other.len() && one.iter().zip(other).all(|(one, other)| same(one, other))
        }
        (Value::Map(one), Value::Map(pairs)) => {
            one.len() == pairs.len()
                && one.iter().all(|(key, value)| {
                    key.text()
                        .and_then(|key| other.get(key))
                        .is_some_and(|other| same(value, other))
                })
        }
        _ => false,
    }
}
