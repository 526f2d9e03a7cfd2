//! Whether a condition can hold at all: conditions are taken apart into alternatives, and each is searched for two facts
//! that exclude each other. What is too large to take apart is left alone, so nothing that can hold is ever called dead.

use crate::engine::has_form;
use crate::plan::{Access, Comparison, Condition, Form, Policy, Root};

/// More alternatives than this are not looked at.
const MAX_ALTERNATIVES: usize = 512;

/// A condition, and the number of the value that its current-value paths are about: two `from:` make two values.
#[derive(Clone, Debug)]
pub(crate) struct Asked {
    pub condition: Condition,
    pub value: u32,
}

/// What the names in a condition mean, to reason about them and to speak of them.
pub(crate) struct Names<'n> {
    pub policies: &'n [Policy],
    /// The v2 data type of each numbered value.
    pub values: &'n [String],
}

/// Two facts that exclude each other, said in one sentence.
pub(crate) type Clash = String;

/// Why none of it can hold together; `None` when it can, or when that is not known.
pub(crate) fn clash(holding: &[&Asked], failing: &[&Asked], names: &Names<'_>) -> Option<Clash> {
    let mut alternatives: Vec<Vec<Literal<'_>>> = vec![Vec::new()];
    let parts = holding.iter().map(|asked| (asked, true));
    for (asked, holds) in parts.chain(failing.iter().map(|asked| (asked, false))) {
        let mut more = Vec::new();
        take_apart(&asked.condition, holds, asked.value, &mut more)?;
        alternatives = product(&alternatives, &more)?;
    }
    let mut first = None;
    for alternative in &alternatives {
        let found = contradiction(alternative, names)?;
        first.get_or_insert(found);
    }
    first
}

/// A place of the message, told apart by the value it is a part of.
#[derive(Clone, Copy, PartialEq, Debug)]
struct Place {
    access: Access,
    value: u32,
}

#[derive(Clone, Copy, Debug)]
enum Fact<'c> {
    Valued(Place),
    Null(Place),
    /// Its text is one of these.
    Text(Place, &'c [String]),
    Count(Place, Comparison, usize),
    Is(Place, Form),
    Starts(Place, &'c str),
    Contains(Place, &'c str),
    Same(Place, Place),
    Policy(usize, &'c str),
    Bound(u32),
}

#[derive(Clone, Copy, Debug)]
struct Literal<'c> {
    fact: Fact<'c>,
    holds: bool,
}

/// The alternatives of a condition, each a list of facts; `None` when there are too many.
fn take_apart<'c>(
    condition: &'c Condition,
    holds: bool,
    value: u32,
    out: &mut Vec<Vec<Literal<'c>>>,
) -> Option<()> {
    let place = |access: &Access| Place {
        access: *access,
        value: if access.root == Root::Current {
            value
        } else {
            0
        },
    };
    let fact = match condition {
        Condition::Not(inner) => return take_apart(inner, !holds, value, out),
        Condition::All(parts) | Condition::Any(parts) => {
            let alternatives = matches!(condition, Condition::Any(_)) == holds;
            if alternatives {
                for part in parts {
                    take_apart(part, holds, value, out)?;
                }
                return (out.len() <= MAX_ALTERNATIVES).then_some(());
            }
            let mut all = vec![Vec::new()];
            for part in parts {
                let mut more = Vec::new();
                take_apart(part, holds, value, &mut more)?;
                all = product(&all, &more)?;
            }
            out.extend(all);
            return (out.len() <= MAX_ALTERNATIVES).then_some(());
        }
        Condition::Valued(access) => Fact::Valued(place(access)),
        Condition::Null(access) => Fact::Null(place(access)),
        Condition::Equals(access, text) => Fact::Text(place(access), std::slice::from_ref(text)),
        Condition::In(access, texts) => Fact::Text(place(access), texts),
        Condition::Count(access, comparison, number) => {
            Fact::Count(place(access), *comparison, *number)
        }
        Condition::Is(access, form) => Fact::Is(place(access), *form),
        Condition::StartsWith(access, text) => Fact::Starts(place(access), text),
        Condition::Contains(access, text) => Fact::Contains(place(access), text),
        Condition::Same(left, right) => Fact::Same(place(left), place(right)),
        Condition::Policy(policy, value) => Fact::Policy(*policy, value),
        Condition::Bound(name) => Fact::Bound(*name),
        // What conditions are lowered to, once they have been looked at here.
        Condition::OneOf(_) | Condition::Switch(_) => return None,
    };
    out.push(vec![Literal { fact, holds }]);
    Some(())
}

fn product<'c>(
    left: &[Vec<Literal<'c>>],
    right: &[Vec<Literal<'c>>],
) -> Option<Vec<Vec<Literal<'c>>>> {
    if left.len() * right.len() > MAX_ALTERNATIVES {
        return None;
    }
    let pair = |one: &Vec<Literal<'c>>, other: &Vec<Literal<'c>>| -> Vec<Literal<'c>> {
        one.iter().chain(other).copied().collect()
    };
    Some(
        left.iter()
            .flat_map(|one| right.iter().map(move |other| pair(one, other)))
            .collect(),
    )
}

/// Two facts of one alternative that exclude each other.
fn contradiction(facts: &[Literal<'_>], names: &Names<'_>) -> Option<Clash> {
    facts.iter().find_map(|literal| match literal.fact {
        Fact::Valued(place)
        | Fact::Null(place)
        | Fact::Text(place, _)
        | Fact::Is(place, _)
        | Fact::Starts(place, _)
        | Fact::Contains(place, _) => about_place(place, facts, names),
        Fact::Count(place, ..) => about_count(place, facts, names),
        Fact::Same(left, right) => {
            let opposite = facts.iter().any(|other| {
                matches!(other.fact, Fact::Same(l, r) if (l, r) == (left, right) || (r, l) == (left, right))
                    && other.holds != literal.holds
            });
            opposite.then(|| {
                format!(
                    "{} and {} can't be the same and not the same",
                    names.place(left),
                    names.place(right)
                )
            })
        }
        Fact::Policy(policy, _) => about_policy(policy, facts, names),
        Fact::Bound(name) => facts
            .iter()
            .any(|other| matches!(other.fact, Fact::Bound(n) if n == name) && other.holds != literal.holds)
            .then(|| "a resource can't be bound and not bound".to_owned()),
    })
}

/// What is asked of one place, or of the field it is a part of.
fn about_place(place: Place, facts: &[Literal<'_>], names: &Names<'_>) -> Option<Clash> {
    let name = || names.place(place);
    let asked = |wanted: fn(&Fact<'_>) -> Option<Place>, holds: bool| {
        facts
            .iter()
            .any(|literal| literal.holds == holds && wanted(&literal.fact) == Some(place))
    };
    let valued = |fact: &Fact<'_>| match fact {
        Fact::Valued(place) => Some(*place),
        _ => None,
    };
    let null = |fact: &Fact<'_>| match fact {
        Fact::Null(place) => Some(*place),
        _ => None,
    };
    if asked(valued, true) && asked(valued, false) {
        return Some(format!("{} can't be valued and not valued", name()));
    }
    if asked(null, true) && (asked(null, false) || asked(valued, true)) {
        return Some(format!("{} can't be null and something else", name()));
    }
    // Without a value of the place, or of what it is a part of, its text is empty.
    let without = facts.iter().find_map(|literal| match literal.fact {
        Fact::Valued(whole) if !literal.holds && is_part(place, whole) => Some("not valued"),
        Fact::Null(whole) if literal.holds && is_part(place, whole) => Some("null"),
        _ => None,
    });
    if without.is_some() && asked(valued, true) {
        return Some(format!("{} can't be valued where the whole is not", name()));
    }
    let mut texts: Option<Vec<&str>> = None;
    for literal in facts {
        match literal.fact {
            Fact::Text(at, wanted) if at == place && literal.holds => {
                let before = texts.take();
                let kept: Vec<&str> = wanted
                    .iter()
                    .map(String::as_str)
                    .filter(|text| before.as_ref().is_none_or(|known| known.contains(text)))
                    .collect();
                if let (true, Some(before)) = (kept.is_empty(), before) {
                    let other = wanted.first().map_or("", String::as_str);
                    let one = before.first().copied().unwrap_or_default();
                    return Some(format!("{} can't be both `{one}` and `{other}`", name()));
                }
                texts = Some(kept);
            }
            _ => {}
        }
    }
    let fits = |text: &str| {
        facts.iter().all(|literal| match literal.fact {
            Fact::Text(at, refused) if at == place && !literal.holds => {
                !refused.iter().any(|refused| refused == text)
            }
            Fact::Is(at, form) if at == place => has_form(text, form) == literal.holds,
            Fact::Starts(at, start) if at == place => text.starts_with(start) == literal.holds,
            Fact::Contains(at, part) if at == place => text.contains(part) == literal.holds,
            _ => true,
        })
    };
    if let Some(without) = without {
        let empty = texts.as_ref().is_none_or(|texts| texts.contains(&"")) && fits("");
        return (!empty).then(|| format!("{} is {without}, so it has no such value", name()));
    }
    let texts = texts?;
    if texts.iter().any(|text| fits(text)) {
        return None;
    }
    let list = texts.join("`, `");
    Some(format!(
        "{} is asked to be `{list}` and to be something else",
        name()
    ))
}

/// Whether a place is the other, or a part of it.
fn is_part(part: Place, whole: Place) -> bool {
    let (p, w) = (part.access, whole.access);
    let same = (p.root, p.field, p.repetition) == (w.root, w.field, w.repetition);
    same && part.value == whole.value
        && (w.component == 0 || w.component == p.component)
        && (w.subcomponent == 0 || w.subcomponent == p.subcomponent)
}

fn about_count(place: Place, facts: &[Literal<'_>], names: &Names<'_>) -> Option<Clash> {
    let fits = |count: usize| {
        facts.iter().all(|literal| match literal.fact {
            Fact::Count(at, comparison, number) if at == place => {
                comparison.holds(count, number) == literal.holds
            }
            _ => true,
        })
    };
    // Between the numbers that are named nothing changes.
    let edges = facts.iter().filter_map(|literal| match literal.fact {
        Fact::Count(at, _, number) if at == place => Some(number),
        _ => None,
    });
    let possible = edges
        .flat_map(|number| [number.saturating_sub(1), number, number.saturating_add(1)])
        .chain([0])
        .any(fits);
    (!possible).then(|| {
        format!(
            "no number of repetitions of {} is like that",
            names.place(place)
        )
    })
}

fn about_policy(policy: usize, facts: &[Literal<'_>], names: &Names<'_>) -> Option<Clash> {
    let known = names.policies.get(policy)?;
    let possible = known.values.iter().any(|value| {
        facts.iter().all(|literal| match literal.fact {
            Fact::Policy(id, asked) if id == policy => (asked == value) == literal.holds,
            _ => true,
        })
    });
    (!possible).then(|| {
        format!(
            "policy `{}` is one of {} and never what is asked here",
            known.name,
            known.values.join(", ")
        )
    })
}

impl Names<'_> {
    /// The place as it is written in a file.
    fn place(&self, place: Place) -> String {
        let access = place.access;
        let mut text = match access.root {
            Root::Segment(name) => format!("{}-{}", String::from_utf8_lossy(&name), access.field),
            Root::Current => match self.values.get(place.value as usize) {
                Some(name) if !name.is_empty() => name.clone(),
                _ => "the value".to_owned(),
            },
        };
        if access.repetition > 0 {
            text.push_str(&format!("({})", access.repetition));
        }
        for part in [access.component, access.subcomponent] {
            if part > 0 {
                text.push_str(&format!(".{part}"));
            }
        }
        format!("`{text}`")
    }
}

impl Comparison {
    /// Whether a count compares so with a number.
    pub(crate) fn holds(self, count: usize, number: usize) -> bool {
        match self {
            Comparison::Equal => count == number,
            Comparison::NotEqual => count != number,
            Comparison::Less => count < number,
            Comparison::LessOrEqual => count <= number,
            Comparison::Greater => count > number,
            Comparison::GreaterOrEqual => count >= number,
        }
    }
}
