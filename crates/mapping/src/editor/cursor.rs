//! Where a cursor stands: the keys around it, what stands beside it, and the word being typed.

use super::Spot;
use super::index::top_value;

/// A map of keys around the cursor, as far as it is written before it.
#[derive(Clone, Debug, Default)]
pub(super) struct Level {
    /// Column of its keys; inside of brackets there is none.
    indent: Option<usize>,
    /// Its keys and what stands behind them on their line.
    pub pairs: Vec<(String, String)>,
    /// The key whose value the next level, or the cursor, is in.
    pub key: Option<String>,
}

/// A place in a file.
#[derive(Clone, Debug)]
pub(super) struct Cursor<'t> {
    /// Path of the file inside the package.
    pub path: &'t str,
    pub text: &'t str,
    /// From the outermost map of keys to the one the cursor is in.
    pub levels: Vec<Level>,
    /// Whether a key is being typed, and not a value.
    pub in_key: bool,
    /// What stands between the key or bracket before the cursor and the cursor.
    pub typed: String,
}

/// What words are made of: names, paths and templates' parts.
fn is_word(c: char) -> bool {
    c.is_ascii_alphanumeric() || matches!(c, '_' | '-' | '.' | '/')
}

/// The word at a place, and where it starts.
pub(super) fn word_at(text: &str, spot: Spot) -> Option<(Spot, &str)> {
    let line = text.lines().nth(spot.line as usize)?;
    let at = line
        .char_indices()
        .nth(spot.column as usize)
        .map_or(line.len(), |(at, _)| at);
    let (before, after) = line.split_at_checked(at)?;
    let start = before
        .char_indices()
        .rev()
        .take_while(|(_, c)| is_word(*c))
        .last()
        .map_or(at, |(start, _)| start);
    let end = at + after.find(|c| !is_word(c)).unwrap_or(after.len());
    let word = line.get(start..end)?.trim_matches(['.', '/']);
    let column = line.get(..start)?.chars().count();
    (!word.is_empty()).then_some((
        Spot {
            line: spot.line,
            column: u32::try_from(column).ok()?,
        },
        word,
    ))
}

impl<'t> Cursor<'t> {
    pub fn at(path: &'t str, text: &'t str, spot: Spot) -> Cursor<'t> {
        let mut reader = Reader {
            levels: vec![Level {
                indent: Some(0),
                ..Level::default()
            }],
            flow: 0,
            in_key: true,
            typed: String::new(),
        };
        for (number, line) in text.lines().chain([""]).enumerate() {
            let here = number == spot.line as usize;
            let part = if here {
                let end = line.char_indices().nth(spot.column as usize);
                line.get(..end.map_or(line.len(), |(end, _)| end))
                    .unwrap_or(line)
            } else {
                line
            };
            reader.line(part, here);
            if here {
                break;
            }
        }
        Cursor {
            path,
            text,
            levels: reader.levels,
            in_key: reader.in_key,
            typed: reader.typed,
        }
    }

    /// The folder of the file, or its name at the top of the package.
    pub fn folder(&self) -> &'t str {
        self.path.split('/').next().unwrap_or_default()
    }

    /// The keys that lead to the cursor.
    pub fn keys(&self) -> impl DoubleEndedIterator<Item = &str> {
        self.levels.iter().filter_map(|level| level.key.as_deref())
    }

    /// The word being typed.
    pub fn word(&self) -> &str {
        let start = self
            .typed
            .char_indices()
            .rev()
            .take_while(|(_, c)| is_word(*c))
            .last()
            .map_or(self.typed.len(), |(start, _)| start);
        self.typed.get(start..).unwrap_or_default()
    }

    /// What stands before that word.
    pub fn before(&self) -> &str {
        let end = self.typed.len() - self.word().len();
        self.typed.get(..end).unwrap_or_default()
    }

    /// The value of a key at the top of the file.
    pub fn header(&self, key: &str) -> &'t str {
        top_value(self.text, key).unwrap_or_default()
    }
}

struct Reader {
    levels: Vec<Level>,
    /// How many of the levels are inside of brackets.
    flow: usize,
    in_key: bool,
    typed: String,
}

impl Reader {
    /// Reads a line, or the part of one before the cursor.
    fn line(&mut self, line: &str, last: bool) {
        let mut rest = line;
        self.typed.clear();
        if self.flow == 0 {
            let trimmed = line.trim_start();
            if !last && (trimmed.is_empty() || trimmed.starts_with('#')) {
                return;
            }
            let mut column = line.chars().count() - trimmed.chars().count();
            rest = trimmed;
            while let Some(inner) = rest.strip_prefix('-') {
                if !inner.starts_with(' ') && !inner.is_empty() {
                    break;
                }
                self.close(column + 1);
                let trimmed = inner.trim_start();
                column += 1 + (inner.len() - trimmed.len()).max(1);
                rest = trimmed;
            }
            self.in_key = true;
            self.open(column, rest.is_empty() && !last);
        }
        self.values(rest);
    }

    /// Ends the maps of keys that are further to the right.
    fn close(&mut self, column: usize) {
        while self.levels.len() > 1
            && self
                .levels
                .last()
                .is_some_and(|level| level.indent.is_some_and(|indent| indent >= column))
        {
            self.levels.pop();
        }
    }

    /// Goes to the map of keys at a column, or starts one there.
    fn open(&mut self, column: usize, empty: bool) {
        self.close(column + 1);
        let there = self
            .levels
            .last()
            .is_some_and(|level| level.indent == Some(column));
        if there {
            if let Some(level) = self.levels.last_mut() {
                level.key = None;
            }
        } else if !empty {
            self.levels.push(Level {
                indent: Some(column),
                ..Level::default()
            });
        }
    }

    /// Reads keys, values and brackets.
    fn values(&mut self, text: &str) {
        let mut quote = None;
        let mut before = ' ';
        let mut chars = text.chars().peekable();
        while let Some(c) = chars.next() {
            match (quote, c) {
                (Some(open), _) if c == open && before != '\\' => {
                    quote = None;
                    self.typed.push(c);
                }
                (Some(_), _) => self.typed.push(c),
                (None, '"' | '\'') if self.typed.trim().is_empty() => {
                    quote = Some(c);
                    self.typed.push(c);
                }
                (None, '#') if before.is_whitespace() => break,
                (None, '{' | '[') if self.typed.trim().is_empty() => self.bracket(c == '{'),
                (None, '}' | ']') if self.flow > 0 => self.unbracket(),
                (None, ',') if self.flow > 0 => self.next(),
                (None, ':')
                    if chars.peek().is_none_or(|next| next.is_whitespace()) && self.in_key =>
                {
                    let name = self.typed.trim().trim_matches(['"', '\'']).to_owned();
                    if let Some(level) = self.levels.last_mut() {
                        level.pairs.push((name.clone(), String::new()));
                        level.key = Some(name);
                    }
                    self.in_key = false;
                    self.typed.clear();
                }
                _ => self.typed.push(c),
            }
            before = c;
        }
        self.keep();
    }

    /// Remembers the value that stands behind the current key.
    fn keep(&mut self) {
        if self.in_key {
            return;
        }
        let value = self.typed.trim().trim_matches(['"', '\'']).to_owned();
        if let Some(level) = self.levels.last_mut()
            && let Some(pair) = level.pairs.last_mut()
            && Some(&pair.0) == level.key.as_ref()
            && !value.is_empty()
        {
            pair.1 = value;
        }
    }

    fn bracket(&mut self, map: bool) {
        self.flow += 1;
        self.typed.clear();
        self.in_key = map;
        self.levels.push(Level::default());
        if !map {
            // A list has no keys of its own: its members stand for the key before it.
            let key = self
                .levels
                .iter()
                .rev()
                .nth(1)
                .and_then(|level| level.key.clone());
            if let Some(level) = self.levels.last_mut() {
                level
                    .pairs
                    .push((String::from("["), key.unwrap_or_default()));
            }
        }
    }

    fn unbracket(&mut self) {
        self.keep();
        self.flow -= 1;
        self.levels.pop();
        self.typed.clear();
        self.in_key = false;
    }

    fn next(&mut self) {
        self.keep();
        self.typed.clear();
        let Some(level) = self.levels.last_mut() else {
            return;
        };
        let list = level.pairs.first().is_some_and(|(name, _)| name == "[");
        level.key = None;
        self.in_key = !list;
    }
}

impl Level {
    /// What stands behind one of its keys, as far as that is on the key's line.
    pub fn value(&self, key: &str) -> Option<&str> {
        let pair = self.pairs.iter().find(|(name, _)| name == key);
        pair.map(|(_, value)| value.as_str())
    }

    /// Whether it is a list in brackets, whose members have no keys.
    pub fn is_list(&self) -> bool {
        self.pairs.first().is_some_and(|(name, _)| name == "[")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The cursor at `^` in a text.
    fn at(text: &str) -> (Vec<String>, bool, String) {
        let offset = text.find('^').unwrap();
        let before = &text[..offset];
        let spot = Spot {
            line: u32::try_from(before.matches('\n').count()).unwrap(),
            column: u32::try_from(before.rsplit('\n').next().unwrap().chars().count()).unwrap(),
        };
        let text = text.replace('^', "");
        let cursor = Cursor::at("segments/PID/Patient.yaml", &text, spot);
        let keys = cursor.keys().map(str::to_owned).collect();
        (keys, cursor.in_key, cursor.word().to_owned())
    }

    #[test]
    fn keys_around_a_cursor_are_found_in_blocks_and_brackets() {
        for (text, keys, in_key, word) in [
            ("segment: PID\nbir^", "", true, "bir"),
            ("segment: PID\n^", "", true, ""),
            ("birthDate: ^", "birthDate", false, ""),
            ("name:\n  - each: PID-5\n    fam^", "name", true, "fam"),
            (
                "name:\n  - each: PID-5\n    period:\n      st^",
                "name period",
                true,
                "st",
            ),
            ("name:\n- each: PID-5\n- fr^", "name", true, "fr"),
            (
                "name:\n  - { each: PID-5, map: XP^ }",
                "name map",
                false,
                "XP",
            ),
            ("name: [ { each: PID-5, set: { us^", "name set", true, "us"),
            ("name: [ { each: PID-5 }, { fro^ } ]", "name", true, "fro"),
            ("given: [ \"{{XPN.2}}\", \"{{XP^", "given", false, "XP"),
            ("a: { b: 1 }\nc: ^", "c", false, ""),
            ("a:\n  b:\n    c: 1\nd^", "", true, "d"),
            ("# a: b\nx: \"y: z\"\nw^", "", true, "w"),
            ("a: {\n  b: 1,\n  c: ^", "a c", false, ""),
        ] {
            let (found, key, typed) = at(text);
            assert_eq!(
                (found.join(" ").as_str(), key, typed.as_str()),
                (keys, in_key, word),
                "{text}"
            );
        }
    }

    #[test]
    fn nothing_in_a_text_breaks_it() {
        for text in [
            "^",
            "}}]]^",
            "- - -^",
            "a: [[[{{{^",
            "\"\"\"^",
            ": : :^",
            "é: { ü: ^",
            "\t- {^",
        ] {
            at(text);
        }
    }
}
