//! Conditions: `PID-13.2 not valued`, `OBX-2 in (NM, SN)`, `count(PID-11) = 1 and PID-11.9 not valued`.
//!
//! `or` binds weakest, then `and`, then `not`. The paths and names inside are turned into plan parts by the caller's
//! [`Resolver`], so that what a path means stays the caller's business: in a map it depends on where the map stands, in a
//! predicate of a route it is a place of the message.

use super::SyntaxError;
use super::path::looks_like_path;
use crate::diagnostic::Code;
use crate::plan::{Access, Comparison, Condition, Form};

/// Gives paths, policies and resource names their meaning; `P` is what a path becomes.
pub(crate) trait Resolver<P = Access> {
    fn path(&mut self, text: &str, at: usize) -> Result<P, SyntaxError>;
    /// The field itself, also where one of its repetitions is being mapped: to count them.
    fn whole_field(&mut self, text: &str, at: usize) -> Result<P, SyntaxError> {
        self.path(text, at)
    }
    fn policy(
        &mut self,
        name: &str,
        value: Option<&str>,
        at: usize,
    ) -> Result<Condition<P>, SyntaxError>;
    fn bound(&mut self, name: &str, at: usize) -> Result<Condition<P>, SyntaxError>;
    /// Is told what a place is compared with, and where that stands.
    fn compared(&mut self, _place: P, _value: &str, _at: usize) {}
}

/// Nested brackets and `not`s deeper than this are refused.
const MAX_DEPTH: usize = 32;

/// Reads a condition; the whole text must be one.
pub(crate) fn parse<P: Copy>(
    text: &str,
    resolver: &mut dyn Resolver<P>,
) -> Result<Condition<P>, SyntaxError> {
    let tokens = tokens(text)?;
    let mut parser = ConditionParser {
        text,
        tokens,
        next: 0,
        depth: 0,
        resolver,
    };
    let condition = parser.any()?;
    match parser.peek() {
        None => Ok(condition),
        Some(token) => Err(
            error(token.at, format!("`{}` was not expected here", token.text))
                .help("join predicates with `and` or `or`"),
        ),
    }
}

/// Whether a text is meant as a condition rather than as prose: it starts with what a condition starts with.
pub(crate) fn looks_like_condition(text: &str) -> bool {
    let mut rest = text.trim_start();
    while let Some(inner) = rest.strip_prefix('(').or_else(|| rest.strip_prefix("not ")) {
        rest = inner.trim_start();
    }
    let word = rest.split_whitespace().next().unwrap_or_default();
    matches!(word, "policy" | "bound") || word.starts_with("count(") || looks_like_path(word)
}

#[derive(Clone, Debug, PartialEq)]
struct Token {
    text: String,
    at: usize,
    quoted: bool,
}

fn error(at: usize, message: impl Into<String>) -> SyntaxError {
    SyntaxError::new(Code::BadCondition, at, message)
}

fn tokens(text: &str) -> Result<Vec<Token>, SyntaxError> {
    let mut tokens: Vec<Token> = Vec::new();
    let mut rest = text.char_indices().peekable();
    while let Some((at, c)) = rest.next() {
        match c {
            c if c.is_whitespace() => {}
            '"' => {
                let mut content = String::new();
                loop {
                    match rest.next() {
                        Some((_, '"')) => break,
                        Some((_, c)) => content.push(c),
                        None => {
                            return Err(
                                error(at, "a quote is not closed").help("add the closing `\"`")
                            );
                        }
                    }
                }
                tokens.push(Token {
                    text: content,
                    at,
                    quoted: true,
                });
            }
            '(' | ')' | ',' | '=' => tokens.push(Token {
                text: c.to_string(),
                at,
                quoted: false,
            }),
            '!' | '<' | '>' => {
                let mut operator = c.to_string();
                if rest.next_if(|(_, c)| *c == '=').is_some() {
                    operator.push('=');
                }
                if operator == "!" {
                    return Err(error(at, "`!` alone means nothing").help("write `!=` or `not`"));
                }
                tokens.push(Token {
                    text: operator,
                    at,
                    quoted: false,
                });
            }
            _ => {
                let mut word = c.to_string();
                while let Some((_, c)) =
                    rest.next_if(|(_, c)| !c.is_whitespace() && !"(),=!<>\"".contains(*c))
                {
                    word.push(c);
                }
                // `OBX(3)-5`, `PID-3(2).4`: the brackets belong to the path.
                for follows in [Some('-'), None] {
                    let tail = text.get(at + word.len()..).unwrap_or_default();
                    let Some(number) = repetition(tail) else {
                        break;
                    };
                    let behind = tail.get(number.len()..).unwrap_or_default();
                    let belongs = match follows {
                        Some(dash) => is_segment(&word) && behind.starts_with(dash),
                        None => {
                            word.contains('-') && (looks_like_path(&word) || word.contains('('))
                        }
                    };
                    if !belongs {
                        continue;
                    }
                    for _ in 0..number.len() {
                        rest.next();
                    }
                    word.push_str(number);
                    while let Some((_, c)) =
                        rest.next_if(|(_, c)| matches!(c, '.' | '-') || c.is_ascii_digit())
                    {
                        word.push(c);
                    }
                }
                tokens.push(Token {
                    text: word,
                    at,
                    quoted: false,
                });
            }
        }
    }
    Ok(tokens)
}

/// Three capitals or digits: what stands before the number of an occurrence.
fn is_segment(word: &str) -> bool {
    word.len() == 3
        && word
            .bytes()
            .all(|byte| byte.is_ascii_uppercase() || byte.is_ascii_digit())
}

/// `(2)` at the start of a text.
fn repetition(text: &str) -> Option<&str> {
    let inner = text.strip_prefix('(')?;
    let end = inner.find(')')?;
    let digits = inner.get(..end)?;
    (!digits.is_empty() && digits.bytes().all(|b| b.is_ascii_digit()))
        .then(|| text.get(..end + 2))
        .flatten()
}

struct ConditionParser<'t, P> {
    text: &'t str,
    tokens: Vec<Token>,
    next: usize,
    depth: usize,
    resolver: &'t mut dyn Resolver<P>,
}

impl<P: Copy> ConditionParser<'_, P> {
    fn peek(&self) -> Option<&Token> {
        self.tokens.get(self.next)
    }

    fn is(&self, word: &str) -> bool {
        self.peek()
            .is_some_and(|token| !token.quoted && token.text == word)
    }

    fn take(&mut self, word: &str) -> bool {
        let found = self.is(word);
        self.next += usize::from(found);
        found
    }

    fn token(&mut self, expected: &str) -> Result<Token, SyntaxError> {
        let token = self.peek().cloned().ok_or_else(|| {
            error(
                self.text.len(),
                format!("the condition ends where {expected} is expected"),
            )
            .help("inside `{ }` a comma ends a value: put a condition with a list in quotes")
        })?;
        self.next += 1;
        Ok(token)
    }

    fn any(&mut self) -> Result<Condition<P>, SyntaxError> {
        let mut parts = vec![self.all()?];
        while self.take("or") {
            parts.push(self.all()?);
        }
        Ok(one_or(parts, Condition::Any))
    }

    fn all(&mut self) -> Result<Condition<P>, SyntaxError> {
        let mut parts = vec![self.not()?];
        while self.take("and") {
            parts.push(self.not()?);
        }
        Ok(one_or(parts, Condition::All))
    }

    fn not(&mut self) -> Result<Condition<P>, SyntaxError> {
        self.depth += 1;
        if self.depth > MAX_DEPTH {
            let at = self.peek().map_or(self.text.len(), |token| token.at);
            return Err(error(at, "the condition is nested too deeply"));
        }
        let condition = if self.take("not") {
            Condition::Not(Box::new(self.not()?))
        } else if self.take("(") {
            let inner = self.any()?;
            self.expect(")")?;
            inner
        } else {
            self.predicate()?
        };
        self.depth -= 1;
        Ok(condition)
    }

    fn expect(&mut self, word: &str) -> Result<(), SyntaxError> {
        let token = self.token(&format!("`{word}`"))?;
        if !token.quoted && token.text == word {
            return Ok(());
        }
        Err(error(
            token.at,
            format!("`{word}` is expected here, not `{}`", token.text),
        ))
    }

    fn predicate(&mut self) -> Result<Condition<P>, SyntaxError> {
        let token = self.token("a path")?;
        match token.text.as_str() {
            "policy" if !token.quoted => {
                let name = self.token("the name of a policy")?;
                let value = if self.take("=") {
                    Some(self.token("a value of the policy")?.text)
                } else {
                    None
                };
                return self.resolver.policy(&name.text, value.as_deref(), name.at);
            }
            "bound" if !token.quoted => {
                let name = self.token("the name of a resource")?;
                return self.resolver.bound(&name.text, name.at);
            }
            "count" if !token.quoted => {
                self.expect("(")?;
                let path = self.token("a path")?;
                let access = self.resolver.whole_field(&path.text, path.at)?;
                self.expect(")")?;
                let operator = self.token("`=` or another comparison")?;
                let comparison = comparison(&operator.text).ok_or_else(|| {
                    error(operator.at, format!("`{}` does not compare", operator.text))
                        .help("use = != < <= > >=")
                })?;
                let number = self.token("a number")?;
                let count = number
                    .text
                    .parse()
                    .map_err(|_| error(number.at, format!("`{}` is not a number", number.text)))?;
                return Ok(Condition::Count(access, comparison, count));
            }
            _ => {}
        }
        if token.quoted {
            return Err(error(
                token.at,
                "a predicate starts with a path, not with a text",
            ));
        }
        let access = self.resolver.path(&token.text, token.at)?;
        self.test(access)
    }

    fn test(&mut self, access: P) -> Result<Condition<P>, SyntaxError> {
        let token = self.token("`valued`, `=`, `in` or another test")?;
        let literal = |parser: &mut Self| parser.value().map(|token| token.text);
        let compared = |parser: &mut Self| {
            let token = parser.value()?;
            let at = token.at + usize::from(token.quoted);
            parser.resolver.compared(access, &token.text, at);
            Ok(token.text)
        };
        Ok(match token.text.as_str() {
            "valued" => Condition::Valued(access),
            "not" => {
                let inner = self.test(access)?;
                Condition::Not(Box::new(inner))
            }
            "=" => Condition::Equals(access, compared(self)?),
            "!=" => Condition::Not(Box::new(Condition::Equals(access, compared(self)?))),
            "in" => {
                self.expect("(")?;
                let mut values = vec![compared(self)?];
                while self.take(",") {
                    values.push(compared(self)?);
                }
                self.expect(")")?;
                Condition::In(access, values)
            }
            "starts" => {
                self.expect("with")?;
                Condition::StartsWith(access, literal(self)?)
            }
            "contains" => Condition::Contains(access, literal(self)?),
            "same" => {
                self.expect("as")?;
                let other = self.token("a path")?;
                let other = self.resolver.path(&other.text, other.at)?;
                Condition::Same(access, other)
            }
            "is" => {
                if self.take("not") {
                    let inner = self.form(access)?;
                    Condition::Not(Box::new(inner))
                } else {
                    self.form(access)?
                }
            }
            other => {
                return Err(error(token.at, format!("`{other}` is no test"))
                    .help("use `valued`, `not valued`, `is null`, `= X`, `!= X`, `in (A, B)`, `starts with X`, `contains X` or `is number`"));
            }
        })
    }

    /// What something is compared with; a sign is meant as one only in quotes.
    fn value(&mut self) -> Result<Token, SyntaxError> {
        let token = self.token("a value")?;
        if !token.quoted && token.text.starts_with(['(', ')', ',', '=', '!', '<', '>']) {
            return Err(error(
                token.at,
                format!("`{}` stands where a value is expected", token.text),
            )
            .help("a value with signs in it stands in quotes"));
        }
        Ok(token)
    }

    fn form(&mut self, access: P) -> Result<Condition<P>, SyntaxError> {
        let token = self.token("`null`, `number`, `date` or another form")?;
        let form = match token.text.as_str() {
            "null" => return Ok(Condition::Null(access)),
            "number" => Form::Number,
            "quantity" => Form::Quantity,
            "ratio" => Form::Ratio,
            "range" => Form::Range,
            "integer" => Form::Integer,
            "date" => Form::Date,
            "time" => Form::Time,
            "oid" => Form::Oid,
            "uri" => Form::Uri,
            other => {
                return Err(error(token.at, format!("`is {other}` is not known"))
                    .help("forms are null, number, quantity, ratio, range, integer, date, time, oid and uri; for a value write `= X`"));
            }
        };
        Ok(Condition::Is(access, form))
    }
}

fn one_or<P>(
    mut parts: Vec<Condition<P>>,
    make: fn(Vec<Condition<P>>) -> Condition<P>,
) -> Condition<P> {
    match parts.pop() {
        Some(only) if parts.is_empty() => only,
        Some(last) => {
            parts.push(last);
            make(parts)
        }
        None => make(parts),
    }
}

fn comparison(text: &str) -> Option<Comparison> {
    Some(match text {
        "=" => Comparison::Equal,
        "!=" => Comparison::NotEqual,
        "<" => Comparison::Less,
        "<=" => Comparison::LessOrEqual,
        ">" => Comparison::Greater,
        ">=" => Comparison::GreaterOrEqual,
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan::Root;

    struct AnyName;
    impl Resolver for AnyName {
        fn path(&mut self, text: &str, at: usize) -> Result<Access, SyntaxError> {
            let path = super::super::path::parse(text).map_err(|mut e| {
                e.at += at;
                e
            })?;
            Ok(Access {
                root: Root::Current,
                field: path.field,
                repetition: path.repetition,
                component: path.component,
                subcomponent: path.subcomponent,
            })
        }
        fn policy(
            &mut self,
            _: &str,
            value: Option<&str>,
            _: usize,
        ) -> Result<Condition, SyntaxError> {
            Ok(Condition::Policy(0, value.unwrap_or("on").to_owned()))
        }
        fn bound(&mut self, _: &str, _: usize) -> Result<Condition, SyntaxError> {
            Ok(Condition::Bound(0))
        }
    }

    fn shape(text: &str) -> String {
        fn show(c: &Condition) -> String {
            match c {
                Condition::All(parts) => format!(
                    "({})",
                    parts.iter().map(show).collect::<Vec<_>>().join(" & ")
                ),
                Condition::Any(parts) => format!(
                    "({})",
                    parts.iter().map(show).collect::<Vec<_>>().join(" | ")
                ),
                Condition::Not(inner) => format!("!{}", show(inner)),
                Condition::Valued(a) => format!("v{}", a.field),
                Condition::Equals(a, x) => format!("{}={x}", a.field),
                Condition::In(a, x) => format!("{} in {x:?}", a.field),
                Condition::Count(a, _, n) => format!("#{}:{n}", a.field),
                other => format!("{other:?}")
                    .split('(')
                    .next()
                    .unwrap_or_default()
                    .to_owned(),
            }
        }
        show(&parse(text, &mut AnyName).unwrap())
    }

    #[test]
    fn and_binds_tighter_than_or() {
        assert_eq!(
            shape("PID-1 valued or PID-2 valued and PID-3 not valued"),
            "(v1 | (v2 & !v3))"
        );
        assert_eq!(
            shape("(PID-1 valued or PID-2 valued) and not PID-3 valued"),
            "((v1 | v2) & !v3)"
        );
    }

    #[test]
    fn every_predicate() {
        assert_eq!(shape("OBX-2 in (NM, \"S N\")"), "2 in [\"NM\", \"S N\"]");
        assert_eq!(
            shape("count(PID-11) = 1 and PID-11.9 not valued"),
            "(#11:1 & !v11)"
        );
        assert_eq!(shape("PID-3(2).1 = X"), "3=X");
        assert_eq!(shape("OBX-5 is not number"), "!Is");
        assert_eq!(shape("PID-8 is null"), "Null");
        assert_eq!(
            shape("policy provenance and bound patient"),
            "(Policy & Bound)"
        );
        assert_eq!(
            shape("OBX-5 starts with \"<\" or OBX-5 contains x"),
            "(StartsWith | Contains)"
        );
    }

    #[test]
    fn mistakes_are_placed() {
        for (text, at) in [
            ("PID-1", 5),
            ("PID-1 is NM", 9),
            ("PID-1 valued PID-2 valued", 13),
            ("PID-1 = \"x", 8),
            ("PID-1 in NM", 9),
            ("count(PID-1) ~ 2", 13),
            ("pid-1 valued", 0),
        ] {
            assert_eq!(parse(text, &mut AnyName).unwrap_err().at, at, "{text}");
        }
        let deep = format!("{}PID-1 valued{}", "(".repeat(99), ")".repeat(99));
        assert!(parse(&deep, &mut AnyName).is_err());
    }
}
