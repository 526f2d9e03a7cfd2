//! What a rule needs of a message before it can do anything.
//!
//! A rule without any of its needs makes nothing, takes nothing and reports nothing, so the engine may pass it over. All
//! needs are places as seen from where the rule stands. No needs at all mean that nothing is known.

use crate::plan::{
    Access, Argument, Body, Call, Condition, Field, Helper, Needs, Of, Piece, Plan, Root, Rule,
    Select, Template, Test,
};

/// Notes the needs of every rule of the plan.
pub(super) fn note(plan: &mut Plan) {
    for map in &mut plan.maps {
        fields(&mut map.fields);
        map.result.iter_mut().for_each(rule);
    }
    let entries = plan.messages.values_mut().flat_map(|map| &mut map.entries);
    for set in entries.flat_map(|entry| &mut entry.set) {
        fields(&mut set.fields);
    }
}

fn fields(fields: &mut [Field]) {
    fields
        .iter_mut()
        .flat_map(|field| &mut field.rules)
        .for_each(rule);
}

/// The inner rules first: an object needs what is in it.
fn rule(rule: &mut Rule) {
    match &mut rule.body {
        Body::Object(inner) => fields(inner),
        Body::Make(make) => fields(&mut make.fields),
        _ => {}
    }
    fields(&mut rule.set);
    rule.needs = needs(of_rule(rule).unwrap_or_default());
}

fn needs(places: Vec<Access>) -> Needs {
    let root = places.first().map(|access| access.root);
    // As in `Segment::present_fields` and `Node::present_children`.
    let bit = |access: &Access| {
        let number = match access.root {
            Root::Segment(_) => access.field,
            Root::Current if access.repetition == 0 => access.component,
            Root::Current => 0,
        };
        let one = Some(access.root) == root && (1..64).contains(&number);
        one.then(|| 1_u64 << number)
    };
    let whole = |access: &Access| match access.root {
        Root::Segment(_) => access.repetition == 0 && access.component == 0,
        Root::Current => access.subcomponent == 0,
    };
    let bits: Option<Vec<u64>> = places.iter().map(bit).collect();
    Needs {
        of: root
            .filter(|_| bits.is_some())
            .map_or(Of::UNKNOWN, Of::from),
        bits: bits
            .unwrap_or_default()
            .iter()
            .fold(0, |all, bit| all | bit),
        whole: places.iter().all(whole),
        places,
        // Conditions are not lowered yet.
        asked: None,
    }
}

fn of_rule(rule: &Rule) -> Option<Vec<Access>> {
    if let Select::From(access) | Select::Each(access) = rule.select {
        return Some(vec![access]);
    }
    let condition = rule.when.as_ref().and_then(of_condition);
    condition.or_else(|| of_body(rule))
}

/// Where something must be present for the condition to hold.
fn of_condition(condition: &Condition) -> Option<Vec<Access>> {
    match condition {
        Condition::All(parts) => parts
            .iter()
            .filter_map(of_condition)
            .min_by_key(|needs| needs.len()),
        Condition::Any(parts) => any_of(parts.iter().map(of_condition)),
        Condition::Valued(access) | Condition::Null(access) => Some(vec![*access]),
        Condition::Equals(access, value) if !value.is_empty() => Some(vec![*access]),
        Condition::In(access, values) if values.iter().all(|value| !value.is_empty()) => {
            Some(vec![*access])
        }
        _ => None,
    }
}

fn of_body(rule: &Rule) -> Option<Vec<Access>> {
    match &rule.body {
        Body::Text(text) => of_template(text),
        Body::Texts(texts) => any_of(texts.iter().map(of_template)),
        // Constants alone make no object, unless all of it is constant.
        Body::Object(fields) if !rule.constant => {
            let rules = fields.iter().flat_map(|field| &field.rules);
            let needs = rules.filter(|rule| !rule.constant || takes(rule.when.as_ref()));
            any_of(
                needs
                    .map(|rule| (!rule.needs.places.is_empty()).then(|| rule.needs.places.clone())),
            )
        }
        _ => None,
    }
}

/// Whether the condition of a rule that had an effect has used what it looked at.
fn takes(condition: Option<&Condition>) -> bool {
    match condition {
        Some(Condition::All(parts) | Condition::Any(parts)) => {
            parts.iter().any(|part| takes(Some(part)))
        }
        Some(Condition::Not(inner)) => takes(Some(inner)),
        Some(Condition::Equals(..) | Condition::In(..)) => true,
        _ => false,
    }
}

/// All of them together; nothing is known when nothing is known of one.
fn any_of(parts: impl Iterator<Item = Option<Vec<Access>>>) -> Option<Vec<Access>> {
    let mut all: Vec<Access> = Vec::new();
    for needs in parts {
        for access in needs? {
            if !all.contains(&access) {
                all.push(access);
            }
        }
    }
    (!all.is_empty()).then_some(all)
}

/// The first hole of a template decides: nothing behind it is looked at when it stays empty.
fn of_template(template: &Template) -> Option<Vec<Access>> {
    let mut holes = template
        .pieces
        .iter()
        .filter(|piece| !matches!(piece, Piece::Text(_)));
    match (holes.next()?, template.pieces.len()) {
        (Piece::Value(access), _) => Some(vec![*access]),
        (Piece::Call(call), _) => of_call(call),
        (
            Piece::If {
                test: Test::Valued(argument),
                otherwise,
                ..
            },
            1,
        ) if otherwise.is_empty() => of_argument(argument),
        _ => None,
    }
}

fn of_call(call: &Call) -> Option<Vec<Access>> {
    match call.helper {
        // Those that make something of nothing, or look at several segments.
        Helper::Authority | Helper::Sender | Helper::Lines | Helper::Sections | Helper::Beside => {
            None
        }
        Helper::Default => any_of(call.arguments.iter().map(of_argument)),
        // Its separator is read in any case.
        Helper::List => match call.arguments.split_first()? {
            (Argument::Text(_), values) => any_of(values.iter().map(of_argument)),
            _ => None,
        },
        // Its separator is read in any case.
        Helper::Join if !matches!(call.arguments.get(1), None | Some(Argument::Text(_))) => None,
        Helper::Join => match call.arguments.first()? {
            Argument::Value(access) => Some(vec![access.all_repetitions()]),
            _ => None,
        },
        _ => of_argument(call.arguments.first()?),
    }
}

fn of_argument(argument: &Argument) -> Option<Vec<Access>> {
    match argument {
        Argument::Value(access) => Some(vec![*access]),
        Argument::Text(_) => None,
        Argument::Call(call) => of_call(call),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(field: u16) -> Access {
        Access {
            root: Root::Segment(*b"OBX"),
            field,
            repetition: 0,
            component: 0,
            subcomponent: 0,
        }
    }

    #[test]
    fn a_condition_needs_what_it_can_not_hold_without() {
        let equals = Condition::Equals(at(2), "NM".into());
        let valued = Condition::Valued(at(5));
        assert_eq!(of_condition(&equals), Some(vec![at(2)]));
        assert_eq!(of_condition(&Condition::Equals(at(2), String::new())), None);
        assert_eq!(
            of_condition(&Condition::Not(Box::new(valued.clone()))),
            None
        );
        let any = Condition::Any(vec![equals.clone(), valued]);
        assert_eq!(of_condition(&any), Some(vec![at(2), at(5)]));
        let all = Condition::All(vec![Condition::Bound(0), any, equals.clone()]);
        assert_eq!(of_condition(&all), Some(vec![at(2)]));
        let sure = Condition::Any(vec![equals, Condition::Bound(0)]);
        assert_eq!(of_condition(&sure), None);
    }

    #[test]
    fn fields_of_one_segment_and_parts_of_one_value_are_bits() {
        let both = needs(vec![at(2), at(5)]);
        assert_eq!(both.of, Of::segment(*b"OBX"));
        assert_eq!(both.bits, 1 << 2 | 1 << 5);
        assert!(both.whole);
        let part = Access {
            component: 2,
            ..at(6)
        };
        assert!(!needs(vec![at(2), part]).whole);
        let other = Access {
            root: Root::Segment(*b"OBR"),
            ..at(7)
        };
        assert_eq!(needs(vec![at(2), other]).of, Of::UNKNOWN);
        assert_eq!(needs(vec![at(64)]).of, Of::UNKNOWN);
        let current = Access {
            root: Root::Current,
            field: 0,
            ..part
        };
        let current = needs(vec![current]);
        assert_eq!((current.of, current.bits), (Of::CURRENT, 1 << 2));
        assert!(current.whole);
    }

    #[test]
    fn a_template_needs_its_first_hole() {
        let text = |pieces: Vec<Piece>| of_template(&Template { pieces });
        let call = |helper, arguments| Piece::Call(Call { helper, arguments });
        let (constant, value) = (Piece::Text("urn:".into()), Argument::Value(at(7)));
        assert_eq!(text(vec![constant.clone()]), None);
        assert_eq!(
            text(vec![constant, Piece::Value(at(3)), Piece::Value(at(4))]),
            Some(vec![at(3)])
        );
        assert_eq!(
            text(vec![call(Helper::Upper, vec![value.clone()])]),
            Some(vec![at(7)])
        );
        let default = vec![value.clone(), Argument::Text("x".into())];
        assert_eq!(text(vec![call(Helper::Default, default)]), None);
        assert_eq!(text(vec![call(Helper::Authority, vec![value])]), None);
    }
}
