//! Templates: texts with holes.

use std::borrow::Cow;
use std::fmt::Write;

use base64::prelude::{BASE64_STANDARD, Engine};
use fhir::primitive::Primitive;
use hl7v2::structure::{GroupId, Item};
use hl7v2::{Node, Segment};
use serde_json::{Map, Value};

use super::access::Here;
use super::slot::Source;
use super::{Run, helpers, span};
use crate::plan::{Access, Argument, Call, Helper, Piece, Root, Template, Test};

/// Low and high end of a reference range.
pub(crate) type Range<'t> = (Option<Cow<'t, str>>, Option<Cow<'t, str>>);

/// A rendered template: the text, unless it stands in the buffer, and the place of the field it came from, if it was one.
pub(crate) struct Rendered<'h, 'r> {
    pub text: Option<Cow<'r, str>>,
    pub source: Source<'h, 'r>,
}

impl<'r> Run<'r> {
    /// Renders; `None` when a field it needs has no value. `out` is an empty buffer.
    #[inline]
    pub(crate) fn render<'h>(
        &mut self,
        template: &'r Template,
        here: &'h Here<'r>,
        out: &mut String,
    ) -> Option<Rendered<'h, 'r>> {
        let (text, source) = match template.pieces.as_slice() {
            [Piece::Text(text)] => (Some(Cow::Borrowed(text.as_str())), Source::Nowhere),
            [Piece::Value(access)] => {
                let text = self.text_at(*access, here)?;
                (Some(text), Source::Path(*access, here))
            }
            [Piece::Call(call)] => {
                let text = self.call(call, here).filter(|text| !text.is_empty())?;
                (Some(text), Source::Arguments(&call.arguments, here))
            }
            pieces => {
                self.pieces(pieces, here, out)?;
                if out.is_empty() {
                    return None;
                }
                (None, Source::Nowhere)
            }
        };
        Some(Rendered { text, source })
    }

    fn pieces(&mut self, pieces: &'r [Piece], here: &Here<'r>, out: &mut String) -> Option<()> {
        for piece in pieces {
            match piece {
                Piece::Text(text) => out.push_str(text),
                Piece::Value(access) => out.push_str(&self.text_at(*access, here)?),
                Piece::Call(call) => out.push_str(&self.call(call, here)?),
                Piece::If {
                    test,
                    then,
                    otherwise,
                } => {
                    let branch = if self.test(test, here) {
                        then
                    } else {
                        otherwise
                    };
                    self.pieces(branch, here, out)?;
                }
                Piece::Handlebars { name, reads, loops } => {
                    let context = self.handlebars_context(reads, here);
                    self.handlebars(name, *loops, &context, out)?;
                }
            }
            if !self.may_hold(out.len()) {
                return None;
            }
        }
        Some(())
    }

    fn test(&mut self, test: &'r Test, here: &Here<'r>) -> bool {
        match test {
            Test::Valued(argument) => self
                .argument(argument, here)
                .is_some_and(|text| !text.is_empty()),
            Test::Equal(left, right) => {
                self.argument(left, here).unwrap_or_default()
                    == self.argument(right, here).unwrap_or_default()
            }
            Test::NotEqual(left, right) => {
                self.argument(left, here).unwrap_or_default()
                    != self.argument(right, here).unwrap_or_default()
            }
            Test::And(parts) => parts.iter().all(|part| self.test(part, here)),
            Test::Or(parts) => parts.iter().any(|part| self.test(part, here)),
            Test::Not(inner) => !self.test(inner, here),
        }
    }

    fn argument(&mut self, argument: &'r Argument, here: &Here<'r>) -> Option<Cow<'r, str>> {
        match argument {
            Argument::Value(access) => self.text_at(*access, here),
            Argument::Text(text) => Some(Cow::Borrowed(text)),
            Argument::Call(call) => self.call(call, here),
        }
    }

    fn argument_node(&self, call: &Call, number: usize, here: &Here<'r>) -> Option<Node<'r>> {
        match call.arguments.get(number)? {
            Argument::Value(access) => self.node(*access, here),
            _ => None,
        }
    }

    /// The place in each repetition of its field.
    pub(crate) fn every(&self, access: Access, here: &Here<'r>) -> Vec<Node<'r>> {
        let part = |node: Node<'r>| match (access.component, access.subcomponent) {
            _ if access.repetition > 0 => node,
            (0, _) => node,
            (component, 0) => node.child(usize::from(component)),
            (component, part) => node.child(usize::from(component)).child(usize::from(part)),
        };
        let whole = self.node(access.all_repetitions(), here);
        let repetitions = whole.into_iter().flat_map(|node| node.repetitions());
        repetitions.map(part).collect()
    }

    fn call(&mut self, call: &'r Call, here: &Here<'r>) -> Option<Cow<'r, str>> {
        // Those that look at more than a text.
        match call.helper {
            Helper::Whole => {
                let node = self.argument_node(call, 0, here)?;
                return self.whole(node);
            }
            Helper::Join => {
                let Argument::Value(access) = *call.arguments.first()? else {
                    return None;
                };
                let separator = call
                    .arguments
                    .get(1)
                    .and_then(|argument| self.argument(argument, here))
                    .unwrap_or(Cow::Borrowed(" "));
                let texts: Vec<Cow<'r, str>> = self
                    .every(access, here)
                    .into_iter()
                    .filter_map(|node| self.text(node))
                    .collect();
                return (!texts.is_empty()).then(|| Cow::Owned(texts.join(&separator)));
            }
            Helper::Authority => {
                let node = |number| self.argument_node(call, number, here);
                let (first, second, third) = (node(0), node(1), node(2));
                return Some(match (first, call.arguments.len()) {
                    (Some(one), 1) => self.authority_of(one),
                    (_, 2 | 3) => self.authority(first, second, third),
                    _ => self.authority(None, None, None),
                });
            }
            Helper::Default => {
                for argument in &call.arguments {
                    if let Some(text) = self
                        .argument(argument, here)
                        .filter(|text| !text.is_empty())
                    {
                        return Some(text);
                    }
                }
                return None;
            }
            Helper::List => return self.listed(call, here),
            Helper::Parts => {
                let node = self.argument_node(call, 0, here)?;
                let separator = self.argument(call.arguments.get(1)?, here)?;
                return self.all_parts(node, &separator);
            }
            Helper::Lines | Helper::Sections => return self.lines(call, here),
            Helper::Beside => return self.beside(call, here),
            Helper::Later | Helper::Earlier | Helper::Minutes => {
                let found = self.length(call, here).map(Cow::Owned);
                // Only what can be understood is used; the rest is told as left over.
                if found.is_some() {
                    for argument in &call.arguments {
                        self.argument(argument, here);
                    }
                }
                return found;
            }
            Helper::Sender => {
                return (!self.state.sender.is_empty())
                    .then(|| Cow::Owned(self.state.sender.clone()));
            }
            _ => {}
        }
        let mut arguments = call.arguments.iter();
        let text = self.argument(arguments.next()?, here)?;
        let owned = |text: String| Some(Cow::Owned(text));
        let zone = self.context.zone.as_ref();
        match call.helper {
            Helper::Date => helpers::moment(Primitive::Date, &text, zone).map(Cow::Owned),
            Helper::DateTime => helpers::moment(Primitive::DateTime, &text, zone).map(Cow::Owned),
            Helper::Instant => helpers::moment(Primitive::Instant, &text, zone).map(Cow::Owned),
            Helper::Time => helpers::moment(Primitive::Time, &text, zone).map(Cow::Owned),
            Helper::Upper => owned(text.to_uppercase()),
            Helper::Lower => owned(text.to_lowercase()),
            Helper::Trim => owned(text.trim().to_owned()),
            Helper::Digits => owned(helpers::digits(&text)),
            Helper::Number => match &text {
                Cow::Borrowed(text) => helpers::quantity(text).map(|(_, number)| number),
                Cow::Owned(text) => {
                    helpers::quantity(text).map(|(_, number)| Cow::Owned(number.into_owned()))
                }
            },
            Helper::Comparator => helpers::quantity(&text)
                .map(|(comparator, _)| comparator)
                .filter(|text| !text.is_empty())
                .map(Cow::Borrowed),
            Helper::RangeLow => self.range(text).0,
            Helper::RangeHigh => self.range(text).1,
            Helper::Replace => {
                let from = self.argument(arguments.next()?, here)?;
                let to = arguments
                    .next()
                    .and_then(|argument| self.argument(argument, here))
                    .unwrap_or_default();
                let found = text.matches(&*from).count();
                let longer = found.saturating_mul(to.len()).saturating_add(text.len());
                if !self.may_hold(longer) {
                    return None;
                }
                owned(text.replace(&*from, &to))
            }
            Helper::Substring => {
                let start = self.argument(arguments.next()?, here)?;
                let length = arguments
                    .next()
                    .and_then(|argument| self.argument(argument, here));
                owned(helpers::substring(&text, &start, length.as_deref()))
            }
            Helper::Before | Helper::After => {
                let mark = self.argument(arguments.next()?, here)?;
                let (before, after) = text.split_once(&*mark)?;
                let part = match call.helper {
                    Helper::Before => before,
                    _ => after,
                };
                owned(part.trim().to_owned())
            }
            Helper::Base64 => owned(BASE64_STANDARD.encode(&*text)),
            Helper::System => match arguments.next() {
                None => Some(self.system(text)),
                Some(code) => {
                    let code = self.argument(code, here).filter(|code| !code.is_empty())?;
                    Some(self.system_of(text, &code))
                }
            },
            Helper::Lookup(table) => {
                let target = self.plan.tables.get(table)?;
                super::code::find(target, &text)
                    .and_then(|targets| targets.first())
                    .or(target.fallback())
                    .map(|target| Cow::Borrowed(target.code.as_str()))
            }
            _ => None,
        }
    }

    /// Both ends of a reference range. A map asks for them one after the other, and often twice.
    fn range(&self, text: Cow<'r, str>) -> Range<'r> {
        let Cow::Borrowed(text) = text else {
            let owned = |end: Option<Cow<'_, str>>| end.map(|end| Cow::Owned(end.into_owned()));
            let (low, high) = helpers::range(&text);
            return (owned(low), owned(high));
        };
        let mut known = self.ranged.borrow_mut();
        if !std::ptr::eq(known.0, text) {
            *known = (text, helpers::range(text));
        }
        known.1.clone()
    }

    /// All the text of a field: delimiters kept, repetitions on lines of their own.
    fn whole(&mut self, node: Node<'r>) -> Option<Cow<'r, str>> {
        if node.is_null() {
            self.take_null(node);
            return None;
        }
        let mut repetitions = node.repetitions();
        let (first, second) = (repetitions.next()?, repetitions.next());
        self.take(node.leaves());
        let text = match second {
            // In a plain message there is nothing to unescape.
            None => match self.plain.and_then(|all| all.get(first.bytes())) {
                Some(text) => Cow::Borrowed(text),
                None => first.whole_text(),
            },
            Some(_) => Cow::Owned(
                node.repetitions()
                    .map(|repetition| repetition.whole_text().into_owned())
                    .collect::<Vec<_>>()
                    .join("\n"),
            ),
        };
        (!text.trim().is_empty()).then_some(text)
    }

    /// The values that there are, parted by the first argument.
    fn listed(&mut self, call: &'r Call, here: &Here<'r>) -> Option<Cow<'r, str>> {
        let (separator, values) = call.arguments.split_first()?;
        let separator = self.argument(separator, here)?;
        let mut text: Option<Cow<'r, str>> = None;
        for value in values {
            let Some(value) = self.argument(value, here).filter(|value| !value.is_empty()) else {
                continue;
            };
            text = Some(match text {
                None => value,
                Some(text) => Cow::Owned(format!("{text}{separator}{value}")),
            });
        }
        text
    }

    /// The parts of a composite that have a value, of all repetitions on lines of their own.
    fn all_parts(&mut self, node: Node<'r>, separator: &str) -> Option<Cow<'r, str>> {
        let mut lines = Vec::new();
        for repetition in node.repetitions() {
            let mut texts = Vec::new();
            for component in (1..=repetition.child_count()).map(|number| repetition.child(number)) {
                match component.child_count() {
                    0 | 1 => texts.extend(self.text(component)),
                    count => {
                        for number in 1..=count {
                            texts.extend(self.text(component.child(number)));
                        }
                    }
                }
            }
            if !texts.is_empty() {
                lines.push(texts.join(separator));
            }
        }
        (!lines.is_empty()).then(|| Cow::Owned(lines.join("\n")))
    }

    /// What `later`, `earlier` and `minutes` give.
    fn length(&mut self, call: &'r Call, here: &Here<'r>) -> Option<String> {
        let texts = call
            .arguments
            .iter()
            .map(|argument| match argument {
                Argument::Value(access) => self.node(*access, here).map(|node| self.peek(node)),
                _ => self.argument(argument, here),
            })
            .collect::<Option<Vec<_>>>()?;
        match texts.as_slice() {
            [time, amount, unit] => {
                let back = call.helper == Helper::Earlier;
                let zone = self.context.zone.as_ref();
                super::moment::moved(time, span::read(amount, unit)?, back, zone)
            }
            [amount, unit] => {
                span::minutes(span::read(amount, unit)?).map(|minutes| minutes.to_string())
            }
            _ => None,
        }
    }

    /// The texts of a field in all segments of its name, in this group and the groups inside it, a line each; for `sections` with a
    /// heading wherever that changes. Behind them may stand another field of the segment with the values that count.
    fn lines(&mut self, call: &'r Call, here: &Here<'r>) -> Option<Cow<'r, str>> {
        let (Argument::Value(field), mut rest) = call.arguments.split_first()? else {
            return None;
        };
        let Root::Segment(name) = field.root else {
            return None;
        };
        let mut heading = None;
        if call.helper == Helper::Sections
            && let Some((Argument::Value(access), others)) = rest.split_first()
        {
            (heading, rest) = (Some(*access), others);
        }
        let mut segments = Vec::new();
        self.all_in_group(here.group, name, &mut segments);
        if let Some((Argument::Value(filter), values)) = rest.split_first() {
            segments.retain(|segment| {
                let there = Here::new(*segment, here.group);
                self.node(*filter, &there).is_some_and(|node| {
                    let found = self.peek(node);
                    let mut values = values.iter();
                    values.any(|value| matches!(value, Argument::Text(value) if *value == *found))
                })
            });
            for segment in &segments {
                let node = self.node(*filter, &Here::new(*segment, here.group));
                node.and_then(|node| self.text(node));
            }
        }
        let mut text = String::new();
        let mut headings: Vec<Cow<'r, str>> = Vec::new();
        if let Some(access) = heading {
            for segment in &segments {
                let node = self.node(access, &Here::new(*segment, here.group));
                headings.push(node.and_then(|node| self.text(node)).unwrap_or_default());
            }
            // One heading for all is the title of the whole.
            if headings.windows(2).all(|pair| pair.first() == pair.last()) {
                headings.clear();
            }
        }
        let mut shown = None;
        for (number, segment) in segments.into_iter().enumerate() {
            let node = self.node(*field, &Here::new(segment, here.group))?;
            if !text.is_empty() {
                text.push('\n');
            }
            let title = headings.get(number).filter(|title| !title.is_empty());
            if title.is_some() && title != shown {
                shown = title;
                text.extend(title.map(|title| format!("{title}:\n")));
            }
            // An empty line divides paragraphs.
            if let Some(line) = self.whole(node) {
                text.push_str(&line);
            }
        }
        let end = text.trim_end().len();
        text.truncate(end);
        (!text.is_empty()).then_some(Cow::Owned(text))
    }

    /// A field of another segment of its name near this one, where a second field has that value, and a third one is the same
    /// as here: first in this group, then in the one around it.
    fn beside(&mut self, call: &'r Call, here: &Here<'r>) -> Option<Cow<'r, str>> {
        let [
            Argument::Value(field),
            Argument::Value(filter),
            Argument::Text(value),
            same @ ..,
        ] = call.arguments.as_slice()
        else {
            return None;
        };
        let Root::Segment(name) = field.root else {
            return None;
        };
        for group in [Some(here.group), self.groups.parent(here.group)]
            .into_iter()
            .flatten()
        {
            let mut segments = Vec::new();
            self.all_in_group(group, name, &mut segments);
            for segment in segments {
                let there = Here::new(segment, group);
                let text = |access: &Access, place: &Here<'r>| {
                    self.node(*access, place).map(|node| self.peek(node))
                };
                let fits = text(filter, &there).is_some_and(|found| found == value.as_str())
                    && same.iter().all(|argument| match argument {
                        Argument::Value(access) => text(access, &there) == text(access, here),
                        _ => false,
                    });
                if fits {
                    let node = self.node(*field, &there)?;
                    return self.text(node);
                }
            }
        }
        None
    }

    fn all_in_group(&self, group: GroupId, name: [u8; 3], found: &mut Vec<Segment<'r>>) {
        for item in self.groups.items(group) {
            match item {
                Item::Segment { index, .. } => found.extend(
                    self.message
                        .segment(*index)
                        .filter(|segment| segment.id() == name),
                ),
                Item::Group(inner) => self.all_in_group(*inner, name, found),
            }
        }
    }

    /// Runs a template by Handlebars itself. Its loops count as rules, before they run: each goes over no more than what
    /// the template reads.
    fn handlebars(
        &mut self,
        name: &str,
        loops: u32,
        context: &Value,
        out: &mut String,
    ) -> Option<()> {
        if !self.steps(values(context).saturating_pow(loops)) {
            return None;
        }
        let most = self.context.limits.bytes;
        let mut writer = Capped {
            out: Vec::new(),
            left: most.saturating_sub(out.len()),
        };
        let rendered = self
            .plan
            .handlebars
            .render_to_write(name, context, &mut writer);
        if rendered.is_err() {
            // Too long is the only mistake that depends on the message in a way that must be told.
            self.may_hold(most.saturating_add(usize::from(writer.left == 0)));
            return None;
        }
        out.push_str(&String::from_utf8_lossy(&writer.out));
        Some(())
    }

    /// Just the fields that a Handlebars template reads, shaped so that its paths find them.
    fn handlebars_context(
        &mut self,
        reads: &'r [(Vec<String>, Access, bool)],
        here: &Here<'r>,
    ) -> Value {
        let mut context = Map::new();
        for (path, access, every) in reads {
            let Some(node) = self.node(*access, here) else {
                continue;
            };
            let value = if *every {
                self.take(node.leaves());
                Value::Array(
                    node.repetitions()
                        .filter(Node::is_valued)
                        .map(|repetition| self.shape(repetition))
                        .collect(),
                )
            } else {
                Value::String(self.text(node).unwrap_or_default().into_owned())
            };
            insert(&mut context, path, value);
        }
        Value::Object(context)
    }

    /// A repetition for `each`: its text, or its components by number.
    fn shape(&mut self, node: Node<'r>) -> Value {
        if node.child_count() <= 1 {
            return Value::String(self.peek(node).into_owned());
        }
        let children = (1..=node.child_count())
            .map(|number| (number.to_string(), self.shape(node.child(number))))
            .collect();
        Value::Object(children)
    }
}

/// How many values there are, containers included.
fn values(value: &Value) -> usize {
    match value {
        Value::Array(members) => 1 + members.iter().map(values).sum::<usize>(),
        Value::Object(members) => 1 + members.values().map(values).sum::<usize>(),
        _ => 1,
    }
}

/// Memory that ends.
struct Capped {
    out: Vec<u8>,
    left: usize,
}

impl std::io::Write for Capped {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        if bytes.len() > self.left {
            self.left = 0;
            return Err(std::io::ErrorKind::OutOfMemory.into());
        }
        self.left -= bytes.len();
        self.out.extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

fn insert(context: &mut Map<String, Value>, path: &[String], value: Value) {
    let Some((last, parents)) = path.split_last() else {
        return;
    };
    let mut at = context;
    for parent in parents {
        let slot = at
            .entry(parent.clone())
            .or_insert_with(|| Value::Object(Map::new()));
        if !slot.is_object() {
            *slot = Value::Object(Map::new());
        }
        let Some(inner) = slot.as_object_mut() else {
            return;
        };
        at = inner;
    }
    let _ = at.entry(last.clone()).or_insert(value);
}

/// Writes formatted text; a String can't refuse it.
pub(crate) fn append(out: &mut String, arguments: std::fmt::Arguments<'_>) {
    let _ = out.write_fmt(arguments);
}
