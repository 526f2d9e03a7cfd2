//! Addresses of single rules, and where in a file they lead.

use super::overlay::{FileKind, Problem};
use crate::diagnostic::closest;
use crate::vocabulary;
use crate::yaml::{Node, Value};

/// `name[word, word].name`: where to go, step by step.
#[derive(Debug)]
pub(super) struct Address {
    parts: Vec<Part>,
    /// The same as it was written, from each step on: some keys are followed by one name that may have dots.
    rests: Vec<String>,
}

#[derive(Debug)]
struct Part {
    name: String,
    /// What the rule must say; empty when the step does not choose.
    words: Vec<String>,
}

/// One step down a document.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Step {
    /// The value of that pair of a map.
    Pair(usize),
    /// That member of a list.
    Member(usize),
}

/// Where an address leads.
pub(super) struct Found {
    pub path: Vec<Step>,
    /// Of a group: which pair of the line its lines are.
    pub inner: Option<Step>,
    /// The last name is not there: what the path leads to has no such key.
    pub missing: Option<Missing>,
    /// What is found is a map whose keys are single rules or names, and no rule of its own in an element.
    pub keyed: bool,
}

/// A key that is not there.
pub(super) struct Missing {
    pub name: String,
    /// What was probably meant.
    pub help: String,
}

/// Most rules that a diagnostic lists.
const LISTED: usize = 12;

// === impl Address ===

impl Address {
    pub(super) fn parse(text: &str) -> Result<Address, Problem> {
        let mut address = Address {
            parts: Vec::new(),
            rests: Vec::new(),
        };
        // `.when` is the element of that name, not the keyword.
        let escaped = text.starts_with('.');
        let mut rest = text.strip_prefix('.').unwrap_or(text);
        loop {
            address.rests.push(rest.to_owned());
            let end = rest.find(['.', '[']).unwrap_or(rest.len());
            let (name, behind) = rest.split_at(end);
            let mut words = Vec::new();
            let mut behind = behind;
            if let Some(inside) = behind.strip_prefix('[') {
                let Some((selector, after)) = inside.split_once(']') else {
                    return Err(Problem::new(
                        "the address has no `]`",
                        "write it as `identifier[PID-2]`",
                    ));
                };
                words = split(selector);
                behind = after;
            }
            let name = if escaped && address.parts.is_empty() {
                format!(".{name}")
            } else {
                name.trim().to_owned()
            };
            if name.is_empty() {
                return Err(Problem::new(
                    "a step of the address is empty",
                    "write it as `identifier[PID-2].use`",
                ));
            }
            address.parts.push(Part { name, words });
            if behind.is_empty() {
                return Ok(address);
            }
            let Some(next) = behind.strip_prefix('.') else {
                return Err(Problem::new(
                    format!("`{behind}` can't stand behind a `]`"),
                    "write a dot between the steps: `identifier[PID-2].use`",
                ));
            };
            rest = next;
        }
    }
}

/// The words of a selector: a comma inside brackets or quotes parts nothing.
fn split(text: &str) -> Vec<String> {
    let mut words = vec![String::new()];
    let (mut depth, mut quoted) = (0usize, false);
    for c in text.chars() {
        match c {
            '"' => quoted = !quoted,
            '(' | '{' if !quoted => depth += 1,
            ')' | '}' if !quoted => depth = depth.saturating_sub(1),
            ',' if !quoted && depth == 0 => {
                words.push(String::new());
                continue;
            }
            _ => {}
        }
        if let Some(word) = words.last_mut() {
            word.push(c);
        }
    }
    let whole = |word: &String| {
        let word = word.trim();
        let inner = word
            .strip_prefix('"')
            .and_then(|word| word.strip_suffix('"'));
        inner
            .filter(|inner| !inner.contains('"'))
            .unwrap_or(word)
            .to_owned()
    };
    words
        .iter()
        .map(whole)
        .filter(|word| !word.is_empty())
        .collect()
}

// === finding ===

/// The node that a path leads to.
pub(super) fn at<'n>(root: &'n mut Node, path: &[Step]) -> Option<&'n mut Node> {
    path.iter()
        .try_fold(root, |node, step| match (&mut node.value, step) {
            (Value::List(members), Step::Member(number)) => members.get_mut(*number),
            (Value::Map(pairs), Step::Pair(number)) => {
                pairs.get_mut(*number).map(|(_, value)| value)
            }
            _ => None,
        })
}

/// Follows an address from the top of a file.
pub(super) fn locate(kind: FileKind, root: &Node, address: &Address) -> Result<Found, Problem> {
    let mut search = Search {
        kind,
        node: root,
        path: Vec::new(),
        inner: None,
        keyed: true,
    };
    let is_line =
        |part: &Part| !vocabulary::MESSAGE.has(&part.name) && !vocabulary::PART.has(&part.name);
    let mut next = 0;
    if kind == FileKind::Message && address.parts.first().is_some_and(is_line) {
        next = search.lines(address)?;
    }
    let mut names = false;
    while let Some(part) = address.parts.get(next) {
        let is_last = next + 1 == address.parts.len();
        let missing = if names {
            let rest = address.rests.get(next).map_or("", String::as_str);
            next = address.parts.len();
            search.name(rest)
        } else {
            next += 1;
            search.key(part, is_last)?
        };
        if missing.is_some() {
            return Ok(search.found(missing));
        }
        names = kind.is_names(&part.name) && (kind == FileKind::Table || next == 1)
            || kind == FileKind::Message && part.name == "set";
        search.keyed |= names || part.name == "set";
    }
    Ok(search.found(None))
}

struct Search<'n> {
    kind: FileKind,
    node: &'n Node,
    path: Vec<Step>,
    inner: Option<Step>,
    keyed: bool,
}

impl<'n> Search<'n> {
    fn found(self, missing: Option<Missing>) -> Found {
        Found {
            path: self.path,
            inner: self.inner,
            missing,
            keyed: self.keyed,
        }
    }

    /// A name in a map of names, whatever is in it.
    fn name(&mut self, name: &str) -> Option<Missing> {
        let pairs = self.node.pairs().unwrap_or_default();
        let place = pairs.iter().position(|(key, _)| key.text() == Some(name));
        let Some((number, (_, value))) = place.and_then(|n| Some((n, pairs.get(n)?))) else {
            let names = pairs.iter().filter_map(|(key, _)| key.text());
            return Some(Missing {
                name: name.to_owned(),
                help: meant(name, names, "it has no keys"),
            });
        };
        self.path.push(Step::Pair(number));
        (self.node, self.keyed) = (value, false);
        None
    }

    /// An element of a rule, and the one rule of it that says the words.
    fn key(&mut self, part: &Part, is_last: bool) -> Result<Option<Missing>, Problem> {
        let Some(pairs) = self.node.pairs() else {
            return Err(Problem::new(
                format!("there is no `{}` in {}", part.name, self.node.kind()),
                "leave the last step out, and change the whole rule",
            ));
        };
        let place = |pairs: &[(Node, Node)]| {
            pairs
                .iter()
                .position(|(key, _)| key.text() == Some(part.name.as_str()))
        };
        if place(pairs).is_none()
            && self.kind == FileKind::Map
            && let Some(set) = pairs.iter().position(|(key, _)| key.text() == Some("set"))
            && let Some((_, inner)) = pairs.get(set)
            && place(inner.pairs().unwrap_or_default()).is_some()
        {
            // Elements beside `map:` mean the same as those in its `set:`.
            self.path.push(Step::Pair(set));
            self.node = inner;
        }
        let pairs = self.node.pairs().unwrap_or_default();
        let Some((number, (_, value))) = place(pairs).and_then(|n| Some((n, pairs.get(n)?))) else {
            let names = pairs.iter().filter_map(|(key, _)| key.text());
            let help = meant(&part.name, names, "there is nothing below");
            if is_last && part.words.is_empty() {
                self.keyed = true;
                let name = part.name.clone();
                return Ok(Some(Missing { name, help }));
            }
            return Err(Problem::new(
                format!("there is no rule for `{}` below", part.name),
                help,
            ));
        };
        self.path.push(Step::Pair(number));
        (self.node, self.keyed) = (value, false);
        if !part.words.is_empty() {
            self.choose(part)?;
        } else if !is_last && let Value::List(members) = &value.value {
            let [member] = members.as_slice() else {
                return Err(Problem::new(
                    format!("`{}` has {} rules", part.name, members.len()),
                    format!("say which: {}", selectors(&part.name, members)),
                ));
            };
            self.path.push(Step::Member(0));
            self.node = member;
        }
        Ok(None)
    }

    fn choose(&mut self, part: &Part) -> Result<(), Problem> {
        let members = self.node.members();
        let number = one_of(members, &part.words).map_err(|count| {
            let words = part.words.join(", ");
            match count {
                0 => Problem::new(
                    format!("no rule of `{}` says {words}", part.name),
                    format!("its rules are {}", selectors(&part.name, members)),
                ),
                _ => Problem::new(
                    format!("{count} rules of `{}` say {words}", part.name),
                    format!(
                        "add a word that only one says: {}",
                        selectors(&part.name, members)
                    ),
                ),
            }
        })?;
        if let Value::List(members) = &self.node.value {
            self.path.push(Step::Member(number));
            self.node = members.get(number).unwrap_or(self.node);
        }
        self.keyed = true;
        Ok(())
    }

    /// Groups and a line of a message map; gives the number of steps that took.
    fn lines(&mut self, address: &Address) -> Result<usize, Problem> {
        let pairs = self.node.pairs().unwrap_or_default();
        let map = pairs.iter().position(|(key, _)| key.text() == Some("map"));
        let Some((number, (_, lines))) = map.and_then(|n| Some((n, pairs.get(n)?))) else {
            return Err(Problem::new(
                "the file below has no lines",
                "write `map:` with all of them",
            ));
        };
        self.path.push(Step::Pair(number));
        self.node = lines;
        for (done, part) in (1..).zip(&address.parts) {
            let line = self.line(part)?;
            self.path.extend(&line.path);
            (self.node, self.keyed) = (line.node, true);
            let Some((head, list)) = group_of(line.node) else {
                return Ok(done);
            };
            if done == address.parts.len() {
                self.inner = Some(Step::Pair(head));
                return Ok(done);
            }
            self.path.push(Step::Pair(head));
            self.node = list;
        }
        Ok(address.parts.len())
    }

    /// The line or group of that name: right here, else in the groups inside.
    fn line(&self, part: &Part) -> Result<Line<'n>, Problem> {
        let mut all = Vec::new();
        collect(self.node, &Line::top(self.node), &mut all);
        let named = |line: &&Line<'n>| line.names.contains(&part.name);
        let mut here: Vec<&Line<'n>> = all.iter().filter(named).collect();
        if here.iter().any(|line| line.groups.is_empty()) {
            here.retain(|line| line.groups.is_empty());
        }
        let nodes: Vec<Node> = here.iter().map(|line| line.node.clone()).collect();
        match one_of(&nodes, &part.words).map(|number| here.get(number)) {
            Ok(Some(line)) => Ok((*line).clone()),
            Err(count) if count > 1 => {
                let addresses = here.iter().zip(&nodes).map(|(line, node)| {
                    let same: Vec<Node> = here
                        .iter()
                        .filter(|other| other.groups == line.groups)
                        .map(|other| other.node.clone())
                        .collect();
                    let name = match line.groups.last() {
                        Some(group) => format!("{group}.{}", part.name),
                        None => part.name.clone(),
                    };
                    if same.len() > 1 {
                        format!("`{name}[{}]`", selector(node, &same))
                    } else {
                        format!("`{name}`")
                    }
                });
                Err(Problem::new(
                    format!("{count} lines are called `{}` here", part.name),
                    format!(
                        "say which: {}",
                        addresses.take(LISTED).collect::<Vec<_>>().join(", ")
                    ),
                ))
            }
            _ if here.is_empty() => Err(Problem::new(
                format!("no line is called `{}` here", part.name),
                meant(
                    &part.name,
                    all.iter()
                        .flat_map(|line| line.names.iter().map(String::as_str)),
                    "there are no lines here",
                ),
            )),
            _ => Err(Problem::new(
                format!("no line `{}` says {}", part.name, part.words.join(", ")),
                format!("there is {}", selectors(&part.name, &nodes)),
            )),
        }
    }
}

// === lines of message maps ===

#[derive(Clone)]
struct Line<'n> {
    node: &'n Node,
    path: Vec<Step>,
    /// The groups around it, from where the search began.
    groups: Vec<String>,
    names: Vec<String>,
}

impl<'n> Line<'n> {
    fn top(node: &'n Node) -> Line<'n> {
        Line {
            node,
            path: Vec::new(),
            groups: Vec::new(),
            names: Vec::new(),
        }
    }
}

/// The head of a line: the segment or the group it is about.
fn head_of(node: &Node) -> Option<(usize, &(Node, Node))> {
    node.pairs()?.iter().enumerate().find(|(_, (key, _))| {
        key.text()
            .is_some_and(|text| text == "use" || text.starts_with(|c: char| c.is_ascii_uppercase()))
    })
}

/// The lines of a group, and which pair of it they are.
fn group_of(node: &Node) -> Option<(usize, &Node)> {
    let (number, (_, value)) = head_of(node)?;
    matches!(value.value, Value::List(_)).then_some((number, value))
}

fn collect<'n>(lines: &'n Node, above: &Line<'n>, all: &mut Vec<Line<'n>>) {
    let listed = matches!(lines.value, Value::List(_));
    for (number, node) in lines.members().iter().enumerate() {
        let Some((head, (key, value))) = head_of(node) else {
            continue;
        };
        let mut line = Line {
            node,
            ..above.clone()
        };
        if listed {
            line.path.push(Step::Member(number));
        }
        line.names = key.text().map(str::to_owned).into_iter().collect();
        if let Some(text) = value.text() {
            let mut words = text.split_whitespace();
            line.names.extend(words.next().map(str::to_owned));
            if words.next() == Some("as") {
                line.names.extend(words.next().map(str::to_owned));
            }
        }
        let mut inside = line.clone();
        all.push(line);
        if matches!(value.value, Value::List(_)) {
            inside.path.push(Step::Pair(head));
            inside
                .groups
                .push(key.text().unwrap_or_default().to_owned());
            collect(value, &inside, all);
        }
    }
}

// === what a rule says ===

/// The one member that says all the words, else how many do.
fn one_of(members: &[Node], words: &[String]) -> Result<usize, usize> {
    let saying = |deep: bool| -> Vec<usize> {
        let says = |node: &Node| {
            let mut said = Vec::new();
            sayings(node, deep, &mut said);
            words.iter().all(|word| said.contains(word))
        };
        (0..)
            .zip(members)
            .filter(|(_, node)| says(node))
            .map(|(number, _)| number)
            .collect()
    };
    let mut found = saying(false);
    if found.is_empty() {
        found = saying(true);
    }
    match found.as_slice() {
        [one] => Ok(*one),
        several => Err(several.len()),
    }
}

/// What a rule says: the texts behind its keys, the most telling first. With `deep` also those of the rules in it.
fn sayings(node: &Node, deep: bool, said: &mut Vec<String>) {
    match &node.value {
        Value::Scalar { text, .. } => say(text, said),
        Value::List(members) => {
            for member in members {
                if deep || matches!(member.value, Value::Scalar { .. }) {
                    sayings(member, deep, said);
                }
            }
        }
        Value::Map(pairs) => {
            // A condition tells rules apart only when nothing else does.
            for last in [false, true] {
                for (key, value) in pairs
                    .iter()
                    .filter(|(key, _)| (key.text() == Some("when")) == last)
                {
                    match (&value.value, key.text()) {
                        (Value::Scalar { text, .. }, Some("url")) => {
                            said.extend(text.rsplit('/').next().map(str::to_owned));
                            say(text, said);
                        }
                        (Value::Scalar { text, .. }, name) => {
                            say(text, said);
                            // `{ PID-12: PID-12 same as PID-11.9 }` of an `ignore`.
                            said.extend(name.filter(|_| pairs.len() == 1).map(str::to_owned));
                        }
                        (Value::List(members), _) if !deep => members
                            .iter()
                            .filter_map(Node::text)
                            .for_each(|text| say(text, said)),
                        _ if deep => sayings(value, deep, said),
                        _ => {}
                    }
                }
            }
        }
    }
}

/// A text, without the braces when it is one hole; of a line of a message map also its parts.
fn say(text: &str, said: &mut Vec<String>) {
    let hole = text
        .strip_prefix("{{")
        .and_then(|text| text.strip_suffix("}}"))
        .filter(|inner| !inner.contains("{{"));
    said.extend(hole.map(|inner| inner.trim().to_owned()));
    if let [map, "as" | "into", name] = text.split(' ').collect::<Vec<_>>().as_slice() {
        said.extend([(*name).to_owned(), (*map).to_owned()]);
    }
    said.push(text.to_owned());
}

/// The fewest words that tell a rule from those beside it.
fn selector(rule: &Node, siblings: &[Node]) -> String {
    let mut said = Vec::new();
    sayings(rule, false, &mut said);
    if said.is_empty() {
        sayings(rule, true, &mut said);
    }
    said.retain(|word| word.len() <= 60 && !word.contains([']', '"', '\n']));
    let alone = |words: &[String]| one_of(siblings, words).is_ok();
    if let Some(word) = said.iter().find(|word| alone(std::slice::from_ref(word))) {
        return word.clone();
    }
    let mut words: Vec<String> = Vec::new();
    for word in said {
        words.push(word);
        if alone(&words) {
            break;
        }
    }
    words.truncate(4);
    words.join(", ")
}

fn selectors(name: &str, members: &[Node]) -> String {
    let mut listed: Vec<String> = members
        .iter()
        .take(LISTED)
        .map(|rule| format!("`{name}[{}]`", selector(rule, members)))
        .collect();
    if members.len() > LISTED {
        listed.push(format!("and {} more", members.len() - LISTED));
    }
    listed.join(", ")
}

fn meant<'n>(name: &str, names: impl Iterator<Item = &'n str>, none: &str) -> String {
    let names: Vec<&str> = names.collect();
    match closest(name, names.iter().copied()) {
        Some(near) if near != name => format!("did you mean `{near}`?"),
        _ if names.is_empty() => none.to_owned(),
        _ => {
            let mut listed: Vec<&str> = Vec::new();
            for name in names {
                if !listed.contains(&name) && listed.len() < 40 {
                    listed.push(name);
                }
            }
            format!("below there is {}", listed.join(", "))
        }
    }
}
