//! What helpers are given: a path where they look at a field, a number where they count, a value that can be what it is
//! taken for.

use super::Compiler;
use super::fits::{NAMES, types_of};
use super::scope::Scope;
use crate::diagnostic::{Code, Diagnostic};
use crate::engine::helpers;
use crate::plan::{Argument, Call, Helper, Piece, Template, Test};
use crate::yaml::Node;

/// Types that hold a time.
const TIMES: &[&str] = &["DT", "DTM", "TS", "TM"];

impl Compiler {
    /// Checks the arguments of every helper of a template.
    pub(super) fn check_calls(&mut self, template: &Template, node: &Node, scope: &Scope) {
        let mut calls = Vec::new();
        in_pieces(&template.pieces, &mut calls);
        for call in calls {
            if let Some(problem) = wrong_argument(call) {
                let (message, help) = problem;
                self.at_helper(Code::BadTemplate, call, node, message, help);
            } else if let Some((message, help)) = never_fits(call, scope) {
                self.at_helper(Code::WrongDataType, call, node, message, help);
            }
        }
    }

    fn at_helper(&mut self, code: Code, call: &Call, node: &Node, message: String, help: &str) {
        let name = name_of(call.helper);
        let text = node.text().unwrap_or_default();
        let finding = match code {
            Code::BadTemplate => Diagnostic::error(code, node.span, message),
            _ => Diagnostic::warning(code, node.span, message),
        };
        let at = text.find(&format!("{name} ")).unwrap_or(0);
        let finding = finding.help(help);
        self.diagnostics.push(match at {
            0 => finding,
            at => finding.part_of(node, at, name.len()),
        });
    }
}

fn name_of(helper: Helper) -> &'static str {
    let same = |name: &&&str| {
        Helper::find(name).is_some_and(|(found, ..)| {
            std::mem::discriminant(&found) == std::mem::discriminant(&helper)
        })
    };
    Helper::NAMES.iter().find(same).copied().unwrap_or_default()
}

/// A text or a path that the helper can do nothing with, whatever the message says.
fn wrong_argument(call: &Call) -> Option<(String, &'static str)> {
    let name = name_of(call.helper);
    let text = |number: usize| match call.arguments.get(number) {
        Some(Argument::Text(text)) => Some(text.as_str()),
        _ => None,
    };
    let whole = |text: &str| text.parse::<u32>().is_ok();
    match call.helper {
        Helper::Join | Helper::Parts | Helper::Whole | Helper::Authority => {
            let paths = match call.helper {
                Helper::Join | Helper::Parts => 1,
                _ => call.arguments.len(),
            };
            let mut given = call.arguments.iter().take(paths);
            let wrong = given.any(|argument| !matches!(argument, Argument::Value(_)));
            wrong.then(|| {
                (
                    format!("`{name}` looks at a field, and this is no path"),
                    "give it a path, such as `PID-5`",
                )
            })
        }
        Helper::Substring => {
            let wrong = [1, 2]
                .into_iter()
                .filter_map(text)
                .find(|text| !whole(text))?;
            Some((
                format!("`{wrong}` is no number, and `substring` counts characters"),
                "write `substring PATH start length`: `substring PID-5.1 1 3`",
            ))
        }
        Helper::Date | Helper::DateTime | Helper::Instant | Helper::Time => {
            let wrong = text(0)?;
            let wanted = match call.helper {
                Helper::Date => fhir::primitive::Primitive::Date,
                Helper::DateTime => fhir::primitive::Primitive::DateTime,
                Helper::Instant => fhir::primitive::Primitive::Instant,
                _ => fhir::primitive::Primitive::Time,
            };
            let utc = jiff::tz::TimeZone::UTC;
            helpers::moment(wanted, wrong, Some(&utc))
                .is_none()
                .then(|| {
                    (
                        format!("`{wrong}` is no time in the notation of HL7 v2"),
                        "give it a path, or a time such as \"20240131\"",
                    )
                })
        }
        Helper::Number | Helper::Comparator => {
            let wrong = text(0)?;
            helpers::quantity(wrong).is_none().then(|| {
                (
                    format!("`{wrong}` is no number"),
                    "give it a path, or a number such as \"<5\"",
                )
            })
        }
        Helper::Later | Helper::Earlier | Helper::Minutes => {
            let first = usize::from(call.helper != Helper::Minutes);
            let (amount, unit) = (text(first), text(first + 1));
            let wrong = |amount: &str, unit: &str| helpers::step(amount, unit).is_none();
            if let Some(amount) = amount.filter(|amount| wrong(amount, "min")) {
                return Some((
                    format!("`{amount}` is no number, and `{name}` takes an amount here"),
                    "write the amount as a path or a whole number, and the unit behind it",
                ));
            }
            let unit = unit.filter(|unit| wrong("1", unit))?;
            Some((
                format!("`{unit}` is no unit of time"),
                "units are s, min, h, d, wk, mo, a, and their words",
            ))
        }
        _ => None,
    }
}

/// A field that never holds what the helper reads.
fn never_fits(call: &Call, scope: &Scope) -> Option<(String, &'static str)> {
    let name = name_of(call.helper);
    let (number, times) = match call.helper {
        Helper::Date | Helper::DateTime | Helper::Instant | Helper::Time => (0, true),
        Helper::Later | Helper::Earlier => (0, true),
        Helper::Number | Helper::Comparator | Helper::Minutes => (0, false),
        _ => return None,
    };
    let Argument::Value(access) = call.arguments.get(number)? else {
        return None;
    };
    let types = types_of(*access, scope);
    let never = |name: &&'static str| NAMES.contains(name) || (!times && TIMES.contains(name));
    let first = types.first().filter(|_| types.iter().all(never))?;
    let wanted = if times { "a time" } else { "a number" };
    Some((
        format!("`{name}` reads {wanted}, and the value is of type {first}"),
        "take another field or component",
    ))
}

fn in_pieces<'t>(pieces: &'t [Piece], calls: &mut Vec<&'t Call>) {
    for piece in pieces {
        match piece {
            Piece::Call(call) => in_call(call, calls),
            Piece::If {
                test,
                then,
                otherwise,
            } => {
                in_test(test, calls);
                in_pieces(then, calls);
                in_pieces(otherwise, calls);
            }
            Piece::Text(_) | Piece::Value(_) | Piece::Handlebars { .. } => {}
        }
    }
}

fn in_call<'t>(call: &'t Call, calls: &mut Vec<&'t Call>) {
    calls.push(call);
    for argument in &call.arguments {
        in_argument(argument, calls);
    }
}

fn in_argument<'t>(argument: &'t Argument, calls: &mut Vec<&'t Call>) {
    if let Argument::Call(call) = argument {
        in_call(call, calls);
    }
}

fn in_test<'t>(test: &'t Test, calls: &mut Vec<&'t Call>) {
    match test {
        Test::Valued(argument) => in_argument(argument, calls),
        Test::Equal(left, right) | Test::NotEqual(left, right) => {
            in_argument(left, calls);
            in_argument(right, calls);
        }
        Test::And(parts) | Test::Or(parts) => parts.iter().for_each(|part| in_test(part, calls)),
        Test::Not(inner) => in_test(inner, calls),
    }
}
