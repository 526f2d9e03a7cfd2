//! The last step of the compiler: what is asked again and again for every segment is made cheap to ask.
//!
//! - Comparisons with texts become one bit of a set: all texts that a place is ever compared with are numbered, so the
//!   place is read once a segment ([`Probe`]).
//! - Policies become switches, set once a message.
//! - A text that is one place, and an element without any, become bodies of their own.
//!
//! Nothing here changes what a rule makes. A condition or body that is not known here stays as it is.

use fhir::primitive::Primitive;
use fhir::tree::{Fragment, NodeId, Tree};

use super::constant;
use crate::plan::{
    Access, Asked, Body, Condition, Field, Fixed, LONG, Needs, Of, OriginId, Piece, Plan, Probe,
    Root, Rule, Select, Shape, short,
};

/// Most texts that one place is compared with, besides "any other".
const MOST_TEXTS: usize = 63;

pub(super) fn lower(plan: &mut Plan) {
    let mut lowering = Lowering::default();
    for map in &mut plan.maps {
        lowering.when(&mut map.when);
        for ignore in &mut map.ignore {
            lowering.when(&mut ignore.when);
        }
        lowering.fields(&mut map.fields);
        map.result
            .iter_mut()
            .for_each(|rule| lowering.rule(rule, None));
    }
    for entry in plan.messages.values_mut().flat_map(|map| &mut map.entries) {
        lowering.when(&mut entry.when);
        for set in &mut entry.set {
            lowering.fields(&mut set.fields);
        }
    }
    plan.probes = lowering.probes;
    plan.switches = lowering.switches;
    plan.kept = crate::engine::kept::candidates(plan);
}

#[derive(Default)]
struct Lowering {
    probes: Vec<Probe>,
    switches: Vec<(usize, String)>,
}

impl Lowering {
    fn fields(&mut self, fields: &mut [Field]) {
        for field in fields {
            let shape = field.shape;
            for rule in &mut field.rules {
                self.rule(rule, Some(shape));
            }
            field.needs = of_field(field);
            field.place = place(field);
        }
    }

    /// `shape` is what the element takes, where the rule is one of an element.
    fn rule(&mut self, rule: &mut Rule, shape: Option<Shape>) {
        self.when(&mut rule.when);
        self.fields(&mut rule.set);
        rule.needs.asked = rule.when.as_ref().and_then(asked);
        let fixed = shape.and_then(|shape| fixed(rule, shape));
        match &mut rule.body {
            Body::Object(fields) => self.fields(fields),
            Body::Make(make) => self.fields(&mut make.fields),
            Body::Text(template) => {
                if let [Piece::Value(access)] = template.pieces.as_slice() {
                    rule.body = Body::Place(*access);
                }
            }
            _ => {}
        }
        if let Some(fragment) = fixed {
            let otherwise = std::mem::replace(&mut rule.body, Body::Value);
            rule.body = Body::Fixed(Box::new(Fixed {
                fragment,
                otherwise,
            }));
        }
    }

    fn when(&mut self, when: &mut Option<Condition>) {
        if let Some(condition) = when {
            self.condition(condition);
        }
    }

    fn condition(&mut self, condition: &mut Condition) {
        let lowered = match condition {
            Condition::All(parts) | Condition::Any(parts) => {
                parts.iter_mut().for_each(|part| self.condition(part));
                None
            }
            Condition::Not(inner) => {
                self.condition(inner);
                match **inner {
                    Condition::OneOf(Asked { probe, texts }) => Some(Condition::OneOf(Asked {
                        probe,
                        texts: !texts,
                    })),
                    _ => None,
                }
            }
            Condition::Equals(access, value) => self.one_of(*access, std::slice::from_ref(value)),
            Condition::In(access, values) => self.one_of(*access, values),
            Condition::Policy(policy, value) => {
                let switch = (*policy, std::mem::take(value));
                let known = self.switches.iter().position(|known| *known == switch);
                let number = known.unwrap_or_else(|| {
                    self.switches.push(switch);
                    self.switches.len() - 1
                });
                Some(Condition::Switch(number))
            }
            _ => None,
        };
        if let Some(lowered) = lowered {
            *condition = lowered;
        }
    }

    /// `None` for the value being mapped, which is another one each time, and when there are too many texts.
    fn one_of(&mut self, access: Access, values: &[String]) -> Option<Condition> {
        if access.root == Root::Current {
            return None;
        }
        let known = self.probes.iter().position(|probe| probe.access == access);
        let number = known.unwrap_or_else(|| {
            self.probes.push(Probe {
                access,
                texts: Vec::new(),
                shorts: Vec::new(),
            });
            self.probes.len() - 1
        });
        let probe = self.probes.get_mut(number)?;
        let mut bits = 0;
        for value in values {
            let known = probe.texts.iter().position(|text| text == value);
            let text = match known {
                Some(text) => text,
                None if probe.texts.len() < MOST_TEXTS => {
                    probe.texts.push(value.clone());
                    probe.shorts.push(short(value).unwrap_or(LONG));
                    probe.texts.len() - 1
                }
                None => return None,
            };
            bits |= 2 << text;
        }
        Some(Condition::OneOf(Asked {
            probe: number,
            texts: bits,
        }))
    }
}

/// What a condition can't hold without, among the comparisons.
fn asked(condition: &Condition) -> Option<Asked> {
    match condition {
        Condition::OneOf(asked) => Some(*asked),
        Condition::All(parts) => parts.iter().find_map(asked),
        Condition::Any(parts) => together(parts.iter().map(asked)),
        _ => None,
    }
}

/// One of them; nothing is known when they ask for different places, or nothing is known of one.
fn together(mut parts: impl Iterator<Item = Option<Asked>>) -> Option<Asked> {
    let mut all = parts.next()??;
    for part in parts {
        let part = part.filter(|part| part.probe == all.probe)?;
        all.texts |= part.texts;
    }
    Some(all)
}

/// What no rule of the field can do without. Of a choice type a second variant is reported for what it would have said, so
/// only the comparisons count there.
fn of_field(field: &Field) -> Needs {
    let rules = || field.rules.iter().map(|rule| &rule.needs);
    let mut needs = Needs {
        asked: together(rules().map(|needs| needs.asked)),
        ..Needs::default()
    };
    let of = rules().next().map_or(Of::UNKNOWN, |needs| needs.of);
    if of != Of::UNKNOWN && !field.choice && rules().all(|needs| needs.of == of) {
        needs.of = of;
        needs.bits = rules().fold(0, |bits, needs| bits | needs.bits);
    }
    needs
}

/// The place that a field of one plain rule is the text of.
fn place(field: &Field) -> Option<(Access, Primitive, OriginId)> {
    match (field.rules.as_slice(), field.shape) {
        ([rule], Shape::Primitive(primitive))
            if !field.array
                && !field.choice
                && rule.when.is_none()
                && matches!(rule.select, Select::Here) =>
        {
            match rule.body {
                Body::Place(access) => Some((access, primitive, rule.origin)),
                _ => None,
            }
        }
        _ => None,
    }
}

// === elements without any place of the message in them ===

/// What the rule makes each time, when that is always the same.
fn fixed(rule: &Rule, shape: Shape) -> Option<Fragment> {
    let mut tree = Tree::new();
    let list = tree.array();
    match shape {
        // A text alone costs no more than its piece of a tree.
        Shape::Primitive(_) => None,
        _ => put(&mut tree, list, None, rule, shape).and_then(|node| tree.fragment(node)),
    }
}

/// Puts what the rule makes as the engine would, under a field or at the end of a list.
fn put(
    tree: &mut Tree,
    parent: NodeId,
    field: Option<&Field>,
    rule: &Rule,
    shape: Shape,
) -> Option<NodeId> {
    if !rule.constant || !rule.set.is_empty() || !matches!(rule.select, Select::Here) {
        return None;
    }
    let node = match (&rule.body, shape) {
        (Body::Text(template), Shape::Primitive(primitive)) if is_verbatim(primitive) => {
            let text = constant::literal(template)?;
            match field {
                Some(field) => tree.add_string(parent, field.key, &text),
                None => tree.push_string(parent, &text),
            }
        }
        (Body::Object(fields), _) if !fields.is_empty() => {
            let object = match field {
                Some(field) => tree.add_object(parent, field.key),
                None => tree.push_object(parent),
            };
            for field in fields {
                put_field(tree, object, field)?;
            }
            object
        }
        _ => return None,
    };
    tree.set_origin(node, rule.origin);
    Some(node)
}

/// Of an element that one rule without a condition makes; all else is left to the engine.
fn put_field(tree: &mut Tree, object: NodeId, field: &Field) -> Option<()> {
    let [rule] = field.rules.as_slice() else {
        return None;
    };
    let plain = rule.when.is_none() && !field.choice && !field.replace;
    if !plain || tree.get(object, field.key.name).is_some() {
        return None;
    }
    if field.array {
        let list = tree.add_array(object, field.key);
        put(tree, list, None, rule, field.shape)?;
    } else {
        put(tree, object, Some(field), rule, field.shape)?;
    }
    Some(())
}

/// Whether a constant of that type stands in the resource as it is written in the rule.
pub(crate) fn is_verbatim(primitive: Primitive) -> bool {
    matches!(
        primitive,
        Primitive::Code
            | Primitive::Uri
            | Primitive::Url
            | Primitive::Canonical
            | Primitive::Id
            | Primitive::String
            | Primitive::Markdown
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan::Template;
    use fhir::tree::{Key, WriteOptions};

    fn at(field: u16) -> Access {
        Access {
            root: Root::Segment(*b"OBX"),
            field,
            repetition: 0,
            component: 0,
            subcomponent: 0,
        }
    }

    fn equals(field: u16, text: &str) -> Condition {
        Condition::Equals(at(field), text.to_owned())
    }

    fn lowered(lowering: &mut Lowering, mut condition: Condition) -> Condition {
        lowering.condition(&mut condition);
        condition
    }

    #[test]
    fn comparisons_become_bits_and_policies_switches() {
        let mut lowering = Lowering::default();
        let one_of = |probe, texts| Condition::OneOf(Asked { probe, texts });
        assert_eq!(lowered(&mut lowering, equals(2, "NM")), one_of(0, 0b10));
        let both = Condition::In(at(2), vec!["SN".into(), "NM".into()]);
        assert_eq!(lowered(&mut lowering, both.clone()), one_of(0, 0b110));
        let neither = Condition::Not(Box::new(both));
        assert_eq!(lowered(&mut lowering, neither), one_of(0, !0b110));
        assert_eq!(lowered(&mut lowering, equals(3, "")), one_of(1, 0b10));
        let current = Access {
            root: Root::Current,
            ..at(0)
        };
        let current = Condition::Equals(current, "x".into());
        assert_eq!(lowered(&mut lowering, current.clone()), current);
        let policy = |value: &str| Condition::Policy(4, value.into());
        assert_eq!(lowered(&mut lowering, policy("on")), Condition::Switch(0));
        assert_eq!(lowered(&mut lowering, policy("off")), Condition::Switch(1));
        assert_eq!(lowered(&mut lowering, policy("on")), Condition::Switch(0));
        assert_eq!(lowering.probes.len(), 2);
    }

    #[test]
    fn too_many_texts_stay_texts() {
        let mut lowering = Lowering::default();
        for number in 1..=MOST_TEXTS {
            let found = lowered(&mut lowering, equals(2, &number.to_string()));
            assert!(matches!(found, Condition::OneOf(asked) if asked.texts == 1 << number));
        }
        let more = equals(2, "more");
        assert_eq!(lowered(&mut lowering, more.clone()), more);
    }

    #[test]
    fn a_condition_asks_for_what_it_can_not_hold_without() {
        let mut lowering = Lowering::default();
        let mut of = |condition| asked(&lowered(&mut lowering, condition));
        let nm = Some(Asked {
            probe: 0,
            texts: 0b10,
        });
        assert_eq!(of(equals(2, "NM")), nm);
        let all = Condition::All(vec![Condition::Bound(0), equals(2, "NM"), equals(3, "x")]);
        assert_eq!(of(all), nm);
        let any = Condition::Any(vec![equals(2, "NM"), equals(2, "SN")]);
        assert_eq!(
            of(any),
            Some(Asked {
                probe: 0,
                texts: 0b110
            })
        );
        for unsure in [Condition::Bound(0), equals(3, "x")] {
            assert_eq!(of(Condition::Any(vec![equals(2, "NM"), unsure])), None);
        }
    }

    #[test]
    fn elements_of_constants_are_made_once() {
        let text = |text: &str| Rule {
            when: None,
            select: Select::Here,
            body: Body::Text(Template {
                pieces: vec![Piece::Text(text.to_owned())],
            }),
            set: Vec::new(),
            needs: Needs::default(),
            constant: true,
            origin: 3,
        };
        let field = |name: &str, order, shape, array, rule| Field {
            key: Key {
                name: fhir::NameId::of(name).unwrap(),
                order,
            },
            array,
            shape,
            choice: false,
            rules: vec![rule],
            replace: false,
            distinct: false,
            needs: Needs::default(),
            place: None,
        };
        let code = Shape::Primitive(Primitive::Code);
        let object = |fields| Rule {
            body: Body::Object(fields),
            ..text("")
        };
        let coding = object(vec![field("code", 5, code, false, text("ATND"))]);
        let concept = object(vec![field("coding", 3, Shape::Coding, true, coding)]);
        let fragment = fixed(&concept, Shape::CodeableConcept).unwrap();
        let mut tree = Tree::new();
        let list = tree.array();
        let made = tree.push_graft(list, &fragment);
        let mut out = Vec::new();
        assert!(tree.write(made, &mut out, &WriteOptions::default()));
        assert_eq!(out, br#"{"coding":[{"code":"ATND"}]}"#);
        assert_eq!(tree.origin(made), 3);

        let mut asked = text("x");
        asked.when = Some(Condition::Bound(0));
        let unsure = object(vec![field("code", 5, code, false, asked)]);
        assert!(fixed(&unsure, Shape::Coding).is_none());
        let mut changing = text("x");
        changing.constant = false;
        let changing = object(vec![field("code", 5, code, false, changing)]);
        assert!(fixed(&changing, Shape::Coding).is_none());
        // A number of a constant is written otherwise than it stands in the rule.
        let number = field(
            "value",
            5,
            Shape::Primitive(Primitive::Decimal),
            false,
            text("05"),
        );
        assert!(fixed(&object(vec![number]), Shape::Complex).is_none());
    }
}
