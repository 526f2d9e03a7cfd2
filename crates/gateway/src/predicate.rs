//! Content predicates of routes: `MSH-9.1 in (ORU, ADT) and MSH-11.1 = P`, `PV1-2 not valued or count(PID-3) > 1`.
//!
//! The notation is that of conditions in mapping files, over the whole message: `or` binds weakest, then
//! `and`, then `not`; brackets group; a value with blanks is quoted. A path without an occurrence means the
//! first such segment. What only makes sense inside a map (`policy`, `bound`, `is number`) is not here.

use hl7v2::{Message, Path};

/// A predicate, ready to be asked.
#[derive(Clone, Debug, PartialEq)]
pub struct Predicate(Test);

#[derive(Clone, Debug, PartialEq)]
enum Test {
    All(Vec<Test>),
    Any(Vec<Test>),
    Not(Box<Test>),
    Valued(Path),
    Null(Path),
    OneOf(Path, Vec<String>),
    StartsWith(Path, String),
    Contains(Path, String),
    Count(Path, Comparison, usize),
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum Comparison {
    Equal,
    NotEqual,
    Less,
    LessOrEqual,
    Greater,
    GreaterOrEqual,
}

/// Deeper brackets and `not`s are refused.
const MAX_DEPTH: usize = 32;

impl Predicate {
    /// Reads a predicate; the whole text must be one.
    ///
    /// # Errors
    /// A sentence for the user that says where in the text the mistake is.
    pub fn compile(text: &str) -> Result<Self, String> {
        let mut parser = Parser {
            tokens: tokens(text)?,
            next: 0,
            depth: 0,
            end: text.chars().count() + 1,
        };
        let test = parser.any()?;
        match parser.tokens.get(parser.next) {
            None => Ok(Self(test)),
            Some(token) => {
                Err(token.complain("was not expected here; join tests with `and` or `or`"))
            }
        }
    }

    /// Whether a message satisfies it.
    pub fn matches(&self, message: &Message<'_>) -> bool {
        self.0.holds(message)
    }
}

impl Test {
    fn holds(&self, message: &Message<'_>) -> bool {
        let text = |path: &Path| {
            message
                .get(path)
                .filter(|node| node.is_valued())
                .map(|node| node.text().into_owned())
        };
        match self {
            Self::All(tests) => tests.iter().all(|test| test.holds(message)),
            Self::Any(tests) => tests.iter().any(|test| test.holds(message)),
            Self::Not(test) => !test.holds(message),
            Self::Valued(path) => message.get(path).is_some_and(|node| node.is_valued()),
            Self::Null(path) => message.get(path).is_some_and(|node| node.is_null()),
            Self::OneOf(path, values) => text(path).is_some_and(|text| values.contains(&text)),
            Self::StartsWith(path, start) => {
                text(path).is_some_and(|text| text.starts_with(start.as_str()))
            }
            Self::Contains(path, part) => {
                text(path).is_some_and(|text| text.contains(part.as_str()))
            }
            Self::Count(path, comparison, number) => {
                let count = message.get(path).map_or(0, |node| node.repetition_count());
                match comparison {
                    Comparison::Equal => count == *number,
                    Comparison::NotEqual => count != *number,
                    Comparison::Less => count < *number,
                    Comparison::LessOrEqual => count <= *number,
                    Comparison::Greater => count > *number,
                    Comparison::GreaterOrEqual => count >= *number,
                }
            }
        }
    }
}

#[derive(Clone)]
struct Token {
    text: String,
    /// Column in the text, from 1.
    column: usize,
    quoted: bool,
}

impl Token {
    fn complain(&self, what: &str) -> String {
        format!("at column {}: `{}` {what}", self.column, self.text)
    }
}

fn tokens(text: &str) -> Result<Vec<Token>, String> {
    let mut tokens = Vec::new();
    let mut rest = text.chars().zip(1..).peekable();
    while let Some((c, column)) = rest.next() {
        let mut word = c.to_string();
        let mut quoted = false;
        match c {
            c if c.is_whitespace() => continue,
            '"' => {
                word.clear();
                quoted = true;
                loop {
                    match rest.next() {
                        Some(('"', _)) => break,
                        Some((c, _)) => word.push(c),
                        None => return Err(format!("at column {column}: a quote is not closed")),
                    }
                }
            }
            '(' | ')' | ',' | '=' => {}
            '!' | '<' | '>' => {
                if rest.next_if(|(c, _)| *c == '=').is_some() {
                    word.push('=');
                }
            }
            _ => {
                while let Some((c, _)) =
                    rest.next_if(|(c, _)| !c.is_whitespace() && !"(),=!<>\"".contains(*c))
                {
                    word.push(c);
                }
                // `PID-3(2).4` and `OBX(3)-5`: the bracket belongs to the path.
                let is_path = word.len() >= 3
                    && word
                        .chars()
                        .take(3)
                        .all(|c| c.is_ascii_uppercase() || c.is_ascii_digit());
                if is_path && (word.contains('-') || word.len() == 3) {
                    let tail: String = rest
                        .clone()
                        .map(|(c, _)| c)
                        .take_while(|c| *c != ' ')
                        .collect();
                    let inner = tail.strip_prefix('(').and_then(|tail| tail.split_once(')'));
                    if let Some((digits, _)) = inner
                        && !digits.is_empty()
                        && digits.bytes().all(|b| b.is_ascii_digit())
                    {
                        while let Some((c, _)) =
                            rest.next_if(|(c, _)| c.is_ascii_digit() || "().-".contains(*c))
                        {
                            word.push(c);
                            // A second closing bracket is the condition's own.
                            if c == ')' && rest.peek().is_some_and(|(c, _)| *c == ')') {
                                break;
                            }
                        }
                    }
                }
            }
        }
        tokens.push(Token {
            text: word,
            column,
            quoted,
        });
    }
    Ok(tokens)
}

struct Parser {
    tokens: Vec<Token>,
    next: usize,
    depth: usize,
    end: usize,
}

impl Parser {
    fn take(&mut self, word: &str) -> bool {
        let found = self
            .tokens
            .get(self.next)
            .is_some_and(|token| !token.quoted && token.text == word);
        self.next += usize::from(found);
        found
    }

    fn token(&mut self, expected: &str) -> Result<Token, String> {
        let token = self.tokens.get(self.next).cloned();
        self.next += 1;
        token.ok_or_else(|| {
            format!(
                "at column {}: it ends where {expected} is expected",
                self.end
            )
        })
    }

    fn expect(&mut self, word: &str) -> Result<(), String> {
        let token = self.token(&format!("`{word}`"))?;
        if !token.quoted && token.text == word {
            Ok(())
        } else {
            Err(token.complain(&format!("stands where `{word}` is expected")))
        }
    }

    fn any(&mut self) -> Result<Test, String> {
        let mut tests = vec![self.all()?];
        while self.take("or") {
            tests.push(self.all()?);
        }
        Ok(Test::Any(tests))
    }

    fn all(&mut self) -> Result<Test, String> {
        let mut tests = vec![self.not()?];
        while self.take("and") {
            tests.push(self.not()?);
        }
        Ok(Test::All(tests))
    }

    fn not(&mut self) -> Result<Test, String> {
        self.depth += 1;
        if self.depth > MAX_DEPTH {
            return Err("it is nested too deeply".to_owned());
        }
        let test = if self.take("not") {
            Test::Not(Box::new(self.not()?))
        } else if self.take("(") {
            let inner = self.any()?;
            self.expect(")")?;
            inner
        } else if self.take("count") {
            self.expect("(")?;
            let path = self.path()?;
            self.expect(")")?;
            let comparison = self.comparison()?;
            let number = self.token("a number")?;
            let count = number
                .text
                .parse()
                .map_err(|_| number.complain("is not a number"))?;
            Test::Count(path, comparison, count)
        } else {
            let path = self.path()?;
            self.test(path)?
        };
        self.depth -= 1;
        Ok(test)
    }

    fn path(&mut self) -> Result<Path, String> {
        let token = self.token("a path such as MSH-9.1")?;
        let path: Path = match token.text.parse() {
            Ok(path) if !token.quoted && !token.text.contains(|c: char| c.is_lowercase()) => path,
            _ => return Err(token.complain("is not a path such as MSH-9.1")),
        };
        if path.field.is_none() {
            return Err(token.complain("names no field"));
        }
        Ok(path)
    }

    fn value(&mut self) -> Result<String, String> {
        let token = self.token("a value")?;
        let operator = !token.quoted && token.text.starts_with(['(', ')', ',', '=', '!', '<', '>']);
        if operator {
            Err(token.complain("stands where a value is expected"))
        } else {
            Ok(token.text)
        }
    }

    fn test(&mut self, path: Path) -> Result<Test, String> {
        let token = self.token("`valued`, `=`, `in` or another test")?;
        Ok(match token.text.as_str() {
            "valued" => Test::Valued(path),
            "not" => Test::Not(Box::new(self.test(path)?)),
            "=" => Test::OneOf(path, vec![self.value()?]),
            "!=" => Test::Not(Box::new(Test::OneOf(path, vec![self.value()?]))),
            "in" => {
                self.expect("(")?;
                let mut values = vec![self.value()?];
                while self.take(",") {
                    values.push(self.value()?);
                }
                self.expect(")")?;
                Test::OneOf(path, values)
            }
            "starts" => {
                self.expect("with")?;
                Test::StartsWith(path, self.value()?)
            }
            "contains" => Test::Contains(path, self.value()?),
            "is" => {
                let negated = self.take("not");
                self.expect("null")?;
                let null = Test::Null(path);
                if negated {
                    Test::Not(Box::new(null))
                } else {
                    null
                }
            }
            _ => {
                return Err(token.complain(
                    "is no test; use valued, not valued, is null, =, !=, in (A, B), starts with, contains",
                ));
            }
        })
    }

    fn comparison(&mut self) -> Result<Comparison, String> {
        let token = self.token("a comparison")?;
        Ok(match token.text.as_str() {
            "=" => Comparison::Equal,
            "!=" => Comparison::NotEqual,
            "<" => Comparison::Less,
            "<=" => Comparison::LessOrEqual,
            ">" => Comparison::Greater,
            ">=" => Comparison::GreaterOrEqual,
            _ => return Err(token.complain("does not compare; use = != < <= > >=")),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MESSAGE: &[u8] = b"MSH|^~\\&|LAB ONE|NORTH|||20260101||ORU^R01^ORU_R01|1|P|2.5.1\r\
        PID|1||A1^^^X~A2^^^Y||Doe^Jo|||\"\"\rOBX|1|NM|a||5\rOBX|2|ST|b||x\r";

    fn holds(text: &str) -> bool {
        let (message, _) = hl7v2::parse(MESSAGE).unwrap();
        Predicate::compile(text).unwrap().matches(&message)
    }

    #[test]
    fn tests_hold_or_not() {
        for text in [
            "MSH-9.1 = ORU",
            "MSH-9.1 in (ADT, ORU) and MSH-11.1 = P",
            "MSH-3 = \"LAB ONE\"",
            "MSH-9.1 = ADT or MSH-4 starts with NO",
            "PID-2 not valued",
            "PID-8 is null and PID-8 not valued",
            "count(PID-3) = 2 and count(PID-3) > 1",
            "PID-3(2).4 = Y",
            "(PID-3(2).4 = Y)",
            "OBX(2)-2 = ST",
            "not (MSH-9.1 = ADT or MSH-9.1 = SIU)",
            "MSH-9.1 != ADT",
            "PID-5 contains o",
            "PV1-2 not valued",
        ] {
            assert!(holds(text), "{text}");
        }
        for text in [
            "MSH-9.1 = ADT",
            "MSH-9.1 = ORU and PV1-2 valued",
            "PID-8 valued",
            "count(PID-3) < 2",
            "PV1-2 != I and PV1-2 valued",
        ] {
            assert!(!holds(text), "{text}");
        }
    }

    #[test]
    fn mistakes_are_placed() {
        for (text, place) in [
            ("MSH-9.1", "column 8"),
            ("MSH-9.1 in ORU", "column 12"),
            ("MSH-9.1 = ORU MSH-11 = P", "column 15"),
            ("msh-9 = ORU", "column 1"),
            ("MSH-9 == ORU", "column 8"),
            ("MSH-9 = \"ORU", "column 9"),
            ("count(PID-3) = two", "column 16"),
        ] {
            let why = Predicate::compile(text).map(|_| ()).unwrap_err();
            assert!(why.contains(place), "{text}: {why}");
        }
        assert!(Predicate::compile(&"(".repeat(99)).is_err());
    }
}
