//! An explanation for a terminal.

use super::{
    Counts, ElementKind, ExplainedElement, ExplainedField, ExplainedResource, Explanation, Fate,
    Piece, Reason, ReasonCode,
};

/// Which way round.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Direction {
    /// Each field of the message, and what it became.
    #[default]
    Fields,
    /// Each element of the Bundle, and where it comes from.
    Elements,
}

/// How to print an explanation.
#[derive(Clone, Copy, Debug)]
pub struct TextOptions {
    /// Which way round.
    pub direction: Direction,
    /// Only what became nothing.
    pub only_dropped: bool,
    /// With the colours of a terminal.
    pub colour: bool,
    /// Columns, at least 60.
    pub width: usize,
}

/// Column of what a field became, or of an element's value.
const SECOND: usize = 18;
/// Column of the answer.
const THIRD: usize = 40;

/// The explanation as lines of text.
pub fn text(explanation: &Explanation, options: &TextOptions) -> String {
    let mut page = Page {
        explanation,
        colour: options.colour,
        width: options.width.max(60),
        folder: folder(&explanation.rules),
        out: String::new(),
    };
    page.heading();
    match options.direction {
        Direction::Fields => page.by_field(options.only_dropped),
        Direction::Elements => page.by_element(),
    }
    page.out
}

#[derive(Clone, Copy)]
enum Ink {
    Plain,
    Bold,
    Faint,
    Green,
    Yellow,
    Red,
    Blue,
}

struct Page<'e> {
    explanation: &'e Explanation,
    colour: bool,
    width: usize,
    /// The folder that all rules are in, with its `/`.
    folder: &'e str,
    out: String,
}

impl<'e> Page<'e> {
    fn heading(&mut self) {
        let explanation = self.explanation;
        let title = format!(
            "{} by the message map {}",
            explanation.structure, explanation.message_map
        );
        self.ink(Ink::Bold, &title);
        self.out.push('\n');
        let Counts {
            fields,
            mapped,
            used,
            ignored,
            deleted,
            dropped,
            resources,
            from_fields,
            constants,
            generated,
        } = explanation.counts;
        self.out.push_str(&format!(
            "{fields} fields: {mapped} became elements, {used} identify or decide, {ignored} ignored on purpose, \
             {deleted} to delete, "
        ));
        let ink = if dropped == 0 { Ink::Plain } else { Ink::Red };
        self.ink(ink, &format!("{dropped} dropped"));
        self.out.push_str(&format!(
            "\n{resources} resources: {from_fields} elements from fields, {constants} constants, {generated} made of keys\n"
        ));
        if !self.folder.is_empty() {
            let text = format!("rules are in {}\n", self.folder);
            self.ink(Ink::Faint, &text);
        }
        if explanation.fallback {
            let text = "no message map names this structure: mapped segment by segment\n";
            self.ink(Ink::Yellow, text);
        }
        if explanation.park {
            self.ink(Ink::Yellow, "a code table holds it back for a person\n");
        }
    }

    // === by field ===

    fn by_field(&mut self, only_dropped: bool) {
        let explanation = self.explanation;
        let mut group = "";
        for segment in &explanation.segments {
            let fields: Vec<&ExplainedField> = segment
                .pieces
                .iter()
                .filter_map(|piece| match piece {
                    Piece::Field(number) => explanation.fields.get(*number),
                    Piece::Text(_) => None,
                })
                .filter(|field| !only_dropped || field.fate == Fate::Dropped)
                .filter(|field| !is_delimiters(field))
                .collect();
            if fields.is_empty() && only_dropped {
                continue;
            }
            self.out.push('\n');
            if segment.group != group {
                group = &segment.group;
                let shown = if group.is_empty() {
                    "(no group)"
                } else {
                    group
                };
                self.ink(Ink::Faint, shown);
                self.out.push('\n');
            }
            self.ink(Ink::Bold, &segment.place);
            self.out.push_str("  ");
            self.out.push_str(segment.name);
            self.out.push('\n');
            for line in &segment.lines {
                if is_news(line, &segment.lines) {
                    self.note(line);
                }
            }
            for field in fields {
                self.field(field);
            }
        }
    }

    fn field(&mut self, field: &'e ExplainedField) {
        let start = self.out.len();
        self.out.push_str("  ");
        let value = self.shown(&field.value, THIRD - SECOND - 2);
        self.ink(Ink::Plain, &field.place);
        self.pad(start, SECOND);
        self.ink(Ink::Blue, &value);
        self.pad(start, THIRD);
        match field.fate {
            Fate::Mapped => self.targets(field, start),
            Fate::Used => {
                let text = self.use_of(field);
                self.ink(Ink::Yellow, &text);
                self.out.push('\n');
            }
            Fate::Ignored | Fate::Deleted | Fate::Dropped => {
                let (ink, word) = match field.fate {
                    Fate::Ignored => (Ink::Faint, "ignored"),
                    Fate::Deleted => (Ink::Yellow, "deleted"),
                    _ => (Ink::Red, "dropped"),
                };
                let mut start = start;
                for (number, reason) in field.reasons.iter().enumerate() {
                    if number > 0 {
                        start = self.out.len();
                        self.pad(start, THIRD);
                    }
                    let text = match number {
                        _ if reason.code == ReasonCode::Ignored => {
                            let why = reason.text.split_once(": ").map(|(_, why)| why);
                            why.map_or("ignored on purpose".to_owned(), |why| {
                                format!("ignored on purpose: {why}")
                            })
                        }
                        0 => format!("{word}: {}", reason.text),
                        _ => format!("and {}", reason.text),
                    };
                    self.wrapped(ink, &text, start);
                    self.rule(reason.rule, start);
                }
                if field.reasons.is_empty() {
                    self.ink(ink, word);
                    self.out.push('\n');
                }
                return;
            }
        }
        for reason in &field.reasons {
            self.note(reason);
        }
    }

    /// What a field became: elements of one parent by one rule on one line.
    fn targets(&mut self, field: &'e ExplainedField, first: usize) {
        let elements = &self.explanation.elements;
        let of = |number: &usize| elements.get(*number);
        // That something refers to what it became goes without saying.
        let is_data = |element: &&ExplainedElement| element.kind != ElementKind::Reference;
        let all: Vec<&ExplainedElement> = field.elements.iter().filter_map(of).collect();
        let data: Vec<&ExplainedElement> = all.iter().copied().filter(is_data).collect();
        let mut lines: Vec<(Option<usize>, String, Vec<String>)> = Vec::new();
        for element in if data.is_empty() { all } else { data } {
            let path = self.labelled(element);
            let (parent, name) = path.rsplit_once('.').unwrap_or(("", &path));
            let rule = element.rules.first().copied();
            match lines.last_mut() {
                Some((of, known, names)) if *of == rule && known == parent => {
                    names.push(name.to_owned());
                }
                _ => lines.push((rule, parent.to_owned(), vec![name.to_owned()])),
            }
        }
        let mut start = first;
        for (number, (rule, parent, names)) in lines.iter().enumerate() {
            if number > 0 {
                start = self.out.len();
                self.pad(start, THIRD);
            }
            let path = match names.as_slice() {
                [name] => format!("{parent}.{name}"),
                many => format!("{parent}.{{{}}}", many.join(", ")),
            };
            self.ink(Ink::Green, &path);
            // A rule that made several of them is named with the last.
            let next = lines.get(number + 1).map(|(rule, ..)| rule);
            self.rule(rule.filter(|_| next != Some(rule)), start);
        }
    }

    /// What a field was good for that is in no element itself.
    fn use_of(&self, field: &ExplainedField) -> String {
        let resources = &self.explanation.resources;
        let labels: Vec<&str> = field
            .identifies
            .iter()
            .filter_map(|number| resources.get(*number))
            .map(|resource| resource.label.as_str())
            .collect();
        if let Some((first, rest)) = labels.split_first() {
            return match rest.len() {
                0 => format!("identifies {first}"),
                more => format!("identifies {first} and {more} more"),
            };
        }
        let elements = &self.explanation.elements;
        let mut decides = field
            .decides
            .iter()
            .filter_map(|number| elements.get(*number));
        match (decides.next(), decides.count()) {
            (None, _) => "decided about a rule".to_owned(),
            (Some(first), 0) => format!("decides {}", self.labelled(first)),
            (Some(first), more) => format!("decides {} and {more} more", self.labelled(first)),
        }
    }

    // === by element ===

    fn by_element(&mut self) {
        let explanation = self.explanation;
        let mut current = None;
        for element in &explanation.elements {
            let resource = element
                .resource
                .and_then(|number| explanation.resources.get(number));
            let Some(resource) = resource else { continue };
            if current != element.resource {
                current = element.resource;
                self.resource(resource);
            }
            if !element.pointer.ends_with("/resource/resourceType") {
                self.element(element);
            }
        }
    }

    fn resource(&mut self, resource: &ExplainedResource) {
        self.out.push('\n');
        let start = self.out.len();
        self.ink(Ink::Bold, &resource.label);
        let key: Vec<&str> = self.places(&resource.key);
        let key = match key.as_slice() {
            [] => "its message and its place in it".to_owned(),
            places => places.join(" "),
        };
        self.out
            .push_str(&format!("  {}, identified by ", resource.write));
        self.ink(Ink::Yellow, &key);
        self.rule(resource.rule, start);
    }

    fn element(&mut self, element: &ExplainedElement) {
        let start = self.out.len();
        let mut parts = element.path.splitn(2, '.');
        let path = match (parts.next(), parts.next()) {
            // Of the Bundle: without the number of the entry, which its heading stands for.
            (Some("Bundle"), Some(rest)) => rest.split_once('.').map_or(rest, |(_, rest)| rest),
            (_, Some(rest)) => rest,
            (first, None) => first.unwrap_or_default(),
        };
        self.out.push_str("  ");
        self.ink(Ink::Green, path);
        let value = self.shown(&element.value, 24);
        self.pad(start, 40);
        self.ink(Ink::Blue, &value);
        self.pad(start, 66);
        let from = self.places(&element.fields).join(" ");
        let (ink, text) = match element.kind {
            ElementKind::Field => (Ink::Plain, from),
            ElementKind::Reference if from.is_empty() => (Ink::Plain, "reference".to_owned()),
            ElementKind::Reference => (Ink::Plain, format!("reference, by {from}")),
            ElementKind::Generated if from.is_empty() => (Ink::Faint, "generated".to_owned()),
            ElementKind::Generated => (Ink::Faint, format!("made of {from}")),
            ElementKind::Constant | ElementKind::Bundle => (Ink::Faint, "constant".to_owned()),
        };
        self.ink(ink, &text);
        if !element.decided.is_empty() {
            let decided = self.places(&element.decided).join(" ");
            self.ink(Ink::Yellow, &format!(", because of {decided}"));
        }
        self.rule(element.rules.first().copied(), start);
    }

    // === pieces of lines ===

    fn places(&self, fields: &[usize]) -> Vec<&'e str> {
        fields
            .iter()
            .filter_map(|number| self.explanation.fields.get(*number))
            .map(|field| field.place.as_str())
            .collect()
    }

    /// The path of an element, with the label of its resource.
    fn labelled(&self, element: &ExplainedElement) -> String {
        let label = element
            .resource
            .and_then(|number| self.explanation.resources.get(number))
            .map(|resource| resource.label.as_str());
        match (label, element.path.split_once('.')) {
            (Some(label), Some((_, rest))) => format!("{label}.{rest}"),
            _ => element.path.clone(),
        }
    }

    /// A value on one line, cut to a width.
    fn shown(&self, value: &str, most: usize) -> String {
        let clean = value.chars().map(|c| if c.is_control() { ' ' } else { c });
        if value.chars().count() <= most {
            return clean.collect();
        }
        let mut cut: String = clean.take(most.saturating_sub(1)).collect();
        cut.push('…');
        cut
    }

    fn note(&mut self, reason: &Reason) {
        let start = self.out.len();
        self.pad(start, SECOND);
        let ink = match reason.code {
            ReasonCode::NoLine | ReasonCode::NoTarget => Ink::Red,
            _ => Ink::Yellow,
        };
        self.wrapped(ink, &reason.text, start);
        self.rule(reason.rule, start);
    }

    /// Ends a line with a rule: at its right end, or on the next line when there is no room.
    fn rule(&mut self, rule: Option<usize>, start: usize) {
        let rule = rule.and_then(|rule| self.explanation.rules.get(rule));
        let Some(rule) = rule else {
            self.out.push('\n');
            return;
        };
        let rule = rule.strip_prefix(self.folder).unwrap_or(rule);
        let length = rule.chars().count();
        if self.column(start) + 2 + length > self.width {
            self.out.push('\n');
            let start = self.out.len();
            self.pad(start, self.width.saturating_sub(length));
        } else {
            self.pad(start, self.width.saturating_sub(length));
        }
        self.ink(Ink::Faint, rule);
        self.out.push('\n');
    }

    /// Words, on as many lines as they need, each from the column where the first begins.
    fn wrapped(&mut self, ink: Ink, text: &str, start: usize) {
        let column = self.column(start);
        let mut line = String::new();
        let room = self.width.saturating_sub(column).max(20);
        for word in text.split(' ') {
            if !line.is_empty() && line.chars().count() + 1 + word.chars().count() > room {
                self.ink(ink, &line);
                self.out.push('\n');
                let start = self.out.len();
                self.pad(start, column);
                line.clear();
            }
            if !line.is_empty() {
                line.push(' ');
            }
            line.push_str(word);
        }
        self.ink(ink, &line);
    }

    fn ink(&mut self, ink: Ink, text: &str) {
        let code = match ink {
            Ink::Plain => "",
            Ink::Bold => "1",
            Ink::Faint => "2",
            Ink::Green => "32",
            Ink::Yellow => "33",
            Ink::Red => "31",
            Ink::Blue => "36",
        };
        if self.colour && !code.is_empty() {
            self.out.push_str(&format!("\x1b[{code}m{text}\x1b[0m"));
        } else {
            self.out.push_str(text);
        }
    }

    /// Blanks up to a column of the line that begins at `start`; at least one.
    fn pad(&mut self, start: usize, column: usize) {
        let at = self.column(start);
        let blanks = column.saturating_sub(at).max(usize::from(at > 0));
        self.out.extend(std::iter::repeat_n(' ', blanks));
    }

    /// How many columns the last line has by now, colours not counted.
    fn column(&self, start: usize) -> usize {
        let line = self.out.get(start..).unwrap_or_default();
        let line = line.rsplit('\n').next().unwrap_or_default();
        let mut columns = 0;
        let mut escaped = false;
        for c in line.chars() {
            match c {
                '\x1b' => escaped = true,
                'm' if escaped => escaped = false,
                _ if escaped => {}
                _ => columns += 1,
            }
        }
        columns
    }
}

/// The folder that all rules are in; it is named once. Empty when there are several.
fn folder(rules: &[String]) -> &str {
    const FOLDERS: [&str; 4] = ["messages/", "segments/", "datatypes/", "tables/"];
    let of = |rule: &str| {
        let ends = FOLDERS.iter().filter_map(|folder| rule.find(folder));
        ends.min().unwrap_or(0)
    };
    let Some(first) = rules.first() else {
        return "";
    };
    let folder = first.get(..of(first)).unwrap_or_default();
    let shared = rules
        .iter()
        .all(|rule| rule.get(..of(rule)) == Some(folder));
    if shared { folder } else { "" }
}

/// Whether a line of the message map is worth a word: that one of several does not apply is not.
fn is_news(line: &Reason, all: &[Reason]) -> bool {
    match line.code {
        ReasonCode::Applied => false,
        ReasonCode::ConditionFalse => all.iter().all(|one| one.code != ReasonCode::Applied),
        _ => true,
    }
}

fn is_delimiters(field: &ExplainedField) -> bool {
    field
        .reasons
        .iter()
        .any(|reason| reason.code == ReasonCode::Delimiters)
}
