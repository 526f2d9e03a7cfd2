//! What differs between two Bundles, element by element, with a little of what stands around it.
//!
//! Entries are matched by `fullUrl`, then by type and order. An id that is another one is told once, where the resource
//! is; the references that follow it are no differences of their own.

use fhir::tree::{Kind, NodeId, Tree, WriteOptions};

/// One place that differs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Difference {
    /// The element that holds what differs: `Observation[1].valueQuantity`, as an assertion would write it.
    pub path: String,
    /// Its lines: what is missing, what is too much, and what stands around it.
    pub lines: Vec<DiffLine>,
}

/// A line of JSON.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DiffLine {
    /// Where it is from.
    pub side: Side,
    /// Without its line end.
    pub text: String,
}

/// Where a line is from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Side {
    /// Both have it.
    Both,
    /// Expected, and not there.
    Expected,
    /// There, and not expected.
    Got,
}

/// Lines of an element that only one side has; the rest is counted.
const MOST_LINES: usize = 12;
/// Equal members that are shown before and after a difference.
const AROUND: usize = 2;

/// All differences; none if the documents are equal as data. Order counts in arrays, not in objects; numbers are
/// compared digit by digit.
pub fn differences(expected: (&Tree, NodeId), got: (&Tree, NodeId)) -> Vec<Difference> {
    let mut comparer = Comparer {
        old: expected.0,
        new: got.0,
        renamed: Vec::new(),
        found: Vec::new(),
    };
    comparer.bundles(expected.1, got.1);
    comparer.found
}

struct Comparer<'t> {
    old: &'t Tree,
    new: &'t Tree,
    /// Ids of matched resources that are other ones: expected, got.
    renamed: Vec<(String, String)>,
    found: Vec<Difference>,
}

/// An entry of either Bundle.
struct Entry {
    node: NodeId,
    url: String,
    kind: String,
    /// Which one of its type it is, from 0.
    number: usize,
}

impl Comparer<'_> {
    fn bundles(&mut self, old: NodeId, new: NodeId) {
        let before = entries(self.old, old);
        let after = entries(self.new, new);
        let pairs = matched(&before, &after);
        for (one, other) in &pairs {
            if let (Some(one), Some(other)) = (before.get(*one), after.get(*other))
                && one.url != other.url
            {
                let id = |url: &str| url.rsplit([':', '/']).next().unwrap_or_default().to_owned();
                self.renamed.push((id(&one.url), id(&other.url)));
            }
        }
        self.members("Bundle", old, new, Some("entry"));
        for (place, entry) in before.iter().enumerate() {
            match pairs.iter().find(|(one, _)| *one == place) {
                Some((_, other)) => {
                    if let Some(other) = after.get(*other) {
                        self.entry(entry, other);
                    }
                }
                None => {
                    let lines = whole(self.old, resource(self.old, entry.node), Side::Expected);
                    self.found.push(Difference {
                        path: format!("{}[{}] is missing", entry.kind, entry.number),
                        lines,
                    });
                }
            }
        }
        for (place, entry) in after.iter().enumerate() {
            if !pairs.iter().any(|(_, other)| *other == place) {
                let lines = whole(self.new, resource(self.new, entry.node), Side::Got);
                self.found.push(Difference {
                    path: format!("{}[{}] is not expected", entry.kind, entry.number),
                    lines,
                });
            }
        }
        self.order(&before, &after, &pairs);
    }

    fn entry(&mut self, old: &Entry, new: &Entry) {
        let path = format!("{}[{}]", old.kind, old.number);
        if old.url != new.url {
            let line = |side, url: &str| DiffLine {
                side,
                text: format!("\"fullUrl\": \"{url}\""),
            };
            self.found.push(Difference {
                path: format!("{path} has another id: its `key` has other parts or values"),
                lines: vec![line(Side::Expected, &old.url), line(Side::Got, &new.url)],
            });
        }
        let (one, other) = (resource(self.old, old.node), resource(self.new, new.node));
        self.objects(&path, one, other);
        let ask = |tree: &Tree, node| child(tree, node, "request");
        match (ask(self.old, old.node), ask(self.new, new.node)) {
            (Some(one), Some(other)) => self.objects(&format!("{path} request"), one, other),
            (None, None) => {}
            (one, other) => {
                let mut lines = Vec::new();
                lines.extend(
                    one.iter()
                        .flat_map(|node| whole(self.old, *node, Side::Expected)),
                );
                lines.extend(
                    other
                        .iter()
                        .flat_map(|node| whole(self.new, *node, Side::Got)),
                );
                self.found.push(Difference {
                    path: format!("{path} request"),
                    lines,
                });
            }
        }
    }

    fn order(&mut self, before: &[Entry], after: &[Entry], pairs: &[(usize, usize)]) {
        if pairs.is_sorted_by_key(|(_, other)| *other) {
            return;
        }
        let name = |entry: &Entry| format!("{}[{}]", entry.kind, entry.number);
        let mut sorted: Vec<(usize, usize)> = pairs.to_vec();
        sorted.sort_by_key(|(_, other)| *other);
        let moved = pairs.iter().zip(&sorted).find(|(one, other)| one != other);
        let Some(((one, _), (_, other))) = moved else {
            return;
        };
        let line = |side, entry: Option<&Entry>| DiffLine {
            side,
            text: entry.map(name).unwrap_or_default(),
        };
        self.found.push(Difference {
            path: "Bundle.entry has another order, first here".to_owned(),
            lines: vec![
                line(Side::Expected, before.get(*one)),
                line(Side::Got, after.get(*other)),
            ],
        });
    }

    /// Two objects: those members that differ in themselves make one difference, objects below them their own.
    fn objects(&mut self, path: &str, old: NodeId, new: NodeId) {
        self.members(path, old, new, None);
    }

    fn members(&mut self, path: &str, old: NodeId, new: NodeId, without: Option<&str>) {
        let mut lines: Vec<DiffLine> = Vec::new();
        let mut below = Vec::new();
        let mut differs = false;
        for (name, one) in members(self.old, old) {
            if without == Some(name) {
                continue;
            }
            match child(self.new, new, name) {
                Some(other) if self.same(one, other) => lines.push(DiffLine {
                    side: Side::Both,
                    text: short(self.old, name, one),
                }),
                Some(other) if is_container(self.old, one) && is_container(self.new, other) => {
                    below.push((name.to_owned(), one, other));
                }
                other => {
                    differs = true;
                    lines.extend(named(self.old, name, one, Side::Expected));
                    lines.extend(
                        other
                            .iter()
                            .flat_map(|node| named(self.new, name, *node, Side::Got)),
                    );
                }
            }
        }
        for (name, other) in members(self.new, new) {
            if without != Some(name) && child(self.old, old, name).is_none() {
                differs = true;
                lines.extend(named(self.new, name, other, Side::Got));
            }
        }
        if differs {
            self.found.push(Difference {
                path: path.to_owned(),
                lines: trimmed(lines),
            });
        }
        for (name, one, other) in below {
            self.containers(&format!("{path}.{name}"), one, other);
        }
    }

    fn containers(&mut self, path: &str, old: NodeId, new: NodeId) {
        match (self.old.kind(old), self.new.kind(new)) {
            (Kind::Object, Kind::Object) => self.objects(path, old, new),
            (Kind::Array, Kind::Array) => self.arrays(path, old, new),
            _ => {
                let mut lines = whole(self.old, old, Side::Expected);
                lines.extend(whole(self.new, new, Side::Got));
                self.found.push(Difference {
                    path: path.to_owned(),
                    lines,
                });
            }
        }
    }

    fn arrays(&mut self, path: &str, old: NodeId, new: NodeId) {
        let before: Vec<NodeId> = self.old.children(old).map(|(_, node)| node).collect();
        let after: Vec<NodeId> = self.new.children(new).map(|(_, node)| node).collect();
        let mut lines = Vec::new();
        for step in aligned(before.len(), after.len(), |one, other| {
            let pair = before.get(one).zip(after.get(other));
            pair.is_some_and(|(one, other)| self.same(*one, *other))
        }) {
            let (one, other) = (
                step.0.and_then(|place| Some((place, *before.get(place)?))),
                step.1.and_then(|place| Some((place, *after.get(place)?))),
            );
            match (one, other) {
                (Some((place, one)), Some((_, other))) => {
                    if self.same(one, other) {
                        continue;
                    }
                    if is_container(self.old, one) && is_container(self.new, other) {
                        self.containers(&format!("{path}[{place}]"), one, other);
                    } else {
                        lines.extend(whole(self.old, one, Side::Expected));
                        lines.extend(whole(self.new, other, Side::Got));
                    }
                }
                (Some((_, one)), None) => lines.extend(whole(self.old, one, Side::Expected)),
                (None, Some((_, other))) => lines.extend(whole(self.new, other, Side::Got)),
                (None, None) => {}
            }
        }
        if !lines.is_empty() {
            self.found.push(Difference {
                path: path.to_owned(),
                lines,
            });
        }
    }

    /// Equal as data, but for ids that are other ones.
    fn same(&self, old: NodeId, new: NodeId) -> bool {
        match (self.old.kind(old), self.new.kind(new)) {
            (Kind::Object, Kind::Object) => {
                let count = self.old.children(old).count();
                count == self.new.children(new).count()
                    && members(self.old, old).all(|(name, one)| {
                        child(self.new, new, name).is_some_and(|other| self.same(one, other))
                    })
            }
            (Kind::Array, Kind::Array) => {
                let mut one = self.old.children(old);
                let mut other = self.new.children(new);
                loop {
                    match (one.next(), other.next()) {
                        (None, None) => return true,
                        (Some((_, one)), Some((_, other))) if self.same(one, other) => {}
                        _ => return false,
                    }
                }
            }
            (Kind::String, Kind::String) => {
                let (one, other) = (self.old.text(old), self.new.text(new));
                one == other
                    || self.renamed.iter().any(|(from, to)| {
                        one.contains(from.as_str()) && one.replace(from, to) == other
                    })
            }
            (Kind::Number, Kind::Number) => self.old.text(old) == self.new.text(new),
            (one, other) => one == other,
        }
    }
}

/// Pairs of entries: the same address first, then the same type, in their order. Sorted by the first.
fn matched(before: &[Entry], after: &[Entry]) -> Vec<(usize, usize)> {
    let mut pairs: Vec<(usize, usize)> = Vec::new();
    let mut taken = vec![false; after.len()];
    let mut pass = |fits: &dyn Fn(&Entry, &Entry) -> bool| {
        for (place, entry) in before.iter().enumerate() {
            if pairs.iter().any(|(one, _)| *one == place) {
                continue;
            }
            let found = after.iter().enumerate().find(|(other, candidate)| {
                taken.get(*other) == Some(&false) && fits(entry, candidate)
            });
            if let Some((other, _)) = found {
                pairs.push((place, other));
                if let Some(mark) = taken.get_mut(other) {
                    *mark = true;
                }
            }
        }
    };
    pass(&|one, other| !one.url.is_empty() && one.url == other.url);
    pass(&|one, other| one.kind == other.kind);
    pairs.sort_unstable();
    pairs
}

fn entries(tree: &Tree, bundle: NodeId) -> Vec<Entry> {
    let mut found: Vec<Entry> = Vec::new();
    let list = child(tree, bundle, "entry");
    for (_, node) in list.into_iter().flat_map(|list| tree.children(list)) {
        let text = |node, name| {
            child(tree, node, name)
                .map_or("", |node| tree.text(node))
                .to_owned()
        };
        let kind = text(resource(tree, node), "resourceType");
        found.push(Entry {
            node,
            url: text(node, "fullUrl"),
            number: found.iter().filter(|entry| entry.kind == kind).count(),
            kind,
        });
    }
    found
}

fn resource(tree: &Tree, entry: NodeId) -> NodeId {
    child(tree, entry, "resource").unwrap_or(entry)
}

fn members(tree: &Tree, node: NodeId) -> impl Iterator<Item = (&str, NodeId)> {
    let children = (tree.kind(node) == Kind::Object).then(|| tree.children(node));
    children
        .into_iter()
        .flatten()
        .map(|(name, child)| (tree.name_text(name), child))
}

fn child(tree: &Tree, node: NodeId, name: &str) -> Option<NodeId> {
    members(tree, node).find_map(|(found, child)| (found == name).then_some(child))
}

fn is_container(tree: &Tree, node: NodeId) -> bool {
    matches!(tree.kind(node), Kind::Object | Kind::Array)
}

fn json(tree: &Tree, node: NodeId, pretty: bool) -> String {
    let mut out = Vec::new();
    let options = WriteOptions {
        pretty,
        ..WriteOptions::default()
    };
    if !tree.write(node, &mut out, &options) {
        return match tree.kind(node) {
            Kind::Array => "[]".to_owned(),
            Kind::Object => "{}".to_owned(),
            Kind::String => "\"\"".to_owned(),
            _ => "null".to_owned(),
        };
    }
    String::from_utf8_lossy(&out).into_owned()
}

/// A member on one line, an object or array by its beginning.
fn short(tree: &Tree, name: &str, node: NodeId) -> String {
    const MOST: usize = 60;
    let value = json(tree, node, false);
    match value.char_indices().nth(MOST) {
        Some((end, _)) if is_container(tree, node) => {
            format!("\"{name}\": {} ...", value.get(..end).unwrap_or_default())
        }
        _ => format!("\"{name}\": {value}"),
    }
}

fn named(tree: &Tree, name: &str, node: NodeId, side: Side) -> Vec<DiffLine> {
    cut(&format!("\"{name}\": {}", json(tree, node, true)), side)
}

fn whole(tree: &Tree, node: NodeId, side: Side) -> Vec<DiffLine> {
    cut(&json(tree, node, true), side)
}

fn cut(text: &str, side: Side) -> Vec<DiffLine> {
    let count = text.lines().count();
    let shown = if count > MOST_LINES + 1 {
        MOST_LINES
    } else {
        count
    };
    let mut lines: Vec<String> = text.lines().take(shown).map(str::to_owned).collect();
    if shown < count {
        lines.push(format!("... {} more lines", count - shown));
    }
    let line = |text| DiffLine { side, text };
    lines.into_iter().map(line).collect()
}

/// Only the equal lines next to a difference stay.
fn trimmed(lines: Vec<DiffLine>) -> Vec<DiffLine> {
    let changed: Vec<usize> = lines
        .iter()
        .enumerate()
        .filter_map(|(place, line)| (line.side != Side::Both).then_some(place))
        .collect();
    let near = |place: usize| changed.iter().any(|other| place.abs_diff(*other) <= AROUND);
    let kept = lines.into_iter().enumerate();
    kept.filter_map(|(place, line)| near(place).then_some(line))
        .collect()
}

/// Which members of two lists belong together: equal ones by the longest common subsequence, those between by their order.
fn aligned(
    before: usize,
    after: usize,
    same: impl Fn(usize, usize) -> bool,
) -> Vec<(Option<usize>, Option<usize>)> {
    /// More pairs than this are compared place by place.
    const MOST_PAIRS: usize = 250_000;
    let mut steps = Vec::new();
    let mut fill = |one: std::ops::Range<usize>, other: std::ops::Range<usize>| {
        for place in 0..one.len().max(other.len()) {
            let at = |range: &std::ops::Range<usize>| range.clone().nth(place);
            steps.push((at(&one), at(&other)));
        }
    };
    if before == after || before.saturating_mul(after) > MOST_PAIRS {
        fill(0..before, 0..after);
        return steps;
    }
    let (mut one, mut other) = (0, 0);
    for (next_one, next_other) in common(before, after, &same) {
        fill(one..next_one, other..next_other);
        fill(next_one..next_one + 1, next_other..next_other + 1);
        (one, other) = (next_one + 1, next_other + 1);
    }
    fill(one..before, other..after);
    steps
}

fn common(
    before: usize,
    after: usize,
    same: &impl Fn(usize, usize) -> bool,
) -> Vec<(usize, usize)> {
    let width = after + 1;
    let mut longest = vec![0_u32; (before + 1) * width];
    let read = |longest: &[u32], one: usize, other: usize| {
        longest
            .get(one * width + other)
            .copied()
            .unwrap_or_default()
    };
    let mut equal = vec![false; before * after];
    for one in (0..before).rev() {
        for other in (0..after).rev() {
            let is = same(one, other);
            if let Some(cell) = equal.get_mut(one * after + other) {
                *cell = is;
            }
            let best = if is {
                read(&longest, one + 1, other + 1) + 1
            } else {
                read(&longest, one + 1, other).max(read(&longest, one, other + 1))
            };
            if let Some(cell) = longest.get_mut(one * width + other) {
                *cell = best;
            }
        }
    }
    let (mut one, mut other, mut found) = (0, 0, Vec::new());
    while one < before && other < after {
        if equal.get(one * after + other) == Some(&true) {
            found.push((one, other));
            (one, other) = (one + 1, other + 1);
        } else if read(&longest, one + 1, other) >= read(&longest, one, other + 1) {
            one += 1;
        } else {
            other += 1;
        }
    }
    found
}

#[cfg(test)]
mod tests;
