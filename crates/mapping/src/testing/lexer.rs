//! Words of an expression: names, numbers, texts in single quotes, signs; each with the byte it starts at.

use crate::diagnostic::Code;
use crate::syntax::SyntaxError;

/// One word.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Word {
    /// `Patient`, `valueQuantity`, `_birthDate`, `$this`.
    Name(String),
    /// `5`, `-0.20`: as it is written.
    Number(String),
    /// `'...'`, and `@1980-05-02`.
    Text(String),
    /// `.`, `(`, `)`, `[`, `]`, `,`, `=`, `!=`, `<`, `<=`, `>`, `>=`.
    Sign(&'static str),
}

/// Longer signs first, so that `<=` is not read as `<`.
const SIGNS: [&str; 12] = [
    "!=", "<=", ">=", ".", "(", ")", "[", "]", ",", "=", "<", ">",
];

/// All words of a text.
pub(super) fn words(text: &str) -> Result<Vec<(usize, Word)>, SyntaxError> {
    let mut words = Vec::new();
    let mut at = 0;
    while let Some(rest) = text.get(at..).filter(|rest| !rest.is_empty()) {
        let Some(first) = rest.chars().next() else {
            break;
        };
        if first.is_whitespace() {
            at += first.len_utf8();
            continue;
        }
        let (word, length) = if first.is_ascii_alphabetic() || first == '_' || first == '$' {
            let length = rest
                .char_indices()
                .find(|(n, c)| *n > 0 && !(c.is_ascii_alphanumeric() || *c == '_'))
                .map_or(rest.len(), |(n, _)| n);
            (Word::Name(take(rest, length)), length)
        } else if first.is_ascii_digit() || (first == '-' && starts_number(rest)) {
            let length = number_length(rest);
            (Word::Number(take(rest, length)), length)
        } else if first == '@' {
            let length = rest
                .char_indices()
                .find(|(n, c)| *n > 0 && !(c.is_ascii_alphanumeric() || "-:.+".contains(*c)))
                .map_or(rest.len(), |(n, _)| n);
            let text = rest.get(1..length).unwrap_or_default().to_owned();
            (Word::Text(text), length)
        } else if first == '\'' {
            quoted(rest, at)?
        } else if let Some(sign) = SIGNS.iter().find(|sign| rest.starts_with(**sign)) {
            (Word::Sign(sign), sign.len())
        } else {
            let error = bad(at, format!("`{first}` can't stand here"));
            return Err(match first {
                '"' => error.help("texts stand in single quotes: 'text'"),
                _ => error.help("an expression is a path such as Patient.name[0].family"),
            });
        };
        words.push((at, word));
        at += length;
    }
    Ok(words)
}

fn take(text: &str, length: usize) -> String {
    text.get(..length).unwrap_or_default().to_owned()
}

fn starts_number(text: &str) -> bool {
    text.chars().nth(1).is_some_and(|c| c.is_ascii_digit())
}

fn number_length(text: &str) -> usize {
    let bytes = text.as_bytes();
    let digits = |from: usize| {
        bytes
            .iter()
            .skip(from)
            .take_while(|byte| byte.is_ascii_digit())
            .count()
    };
    let start = usize::from(text.starts_with('-'));
    let whole = start + digits(start);
    // `Observation[0].value`: the dot belongs to the number only if a digit follows.
    match digits(whole + 1) {
        more if more > 0 && bytes.get(whole) == Some(&b'.') => whole + 1 + more,
        _ => whole,
    }
}

fn quoted(text: &str, at: usize) -> Result<(Word, usize), SyntaxError> {
    let mut value = String::new();
    let mut chars = text.char_indices().skip(1);
    while let Some((n, c)) = chars.next() {
        match c {
            '\'' => return Ok((Word::Text(value), n + 1)),
            '\\' => match chars.next() {
                Some((_, 'n')) => value.push('\n'),
                Some((_, 't')) => value.push('\t'),
                Some((_, escaped)) => value.push(escaped),
                None => break,
            },
            c => value.push(c),
        }
    }
    Err(bad(at, "this text does not end").help("close it with a single quote"))
}

/// A mistake in an expression.
pub(super) fn bad(at: usize, message: impl Into<String>) -> SyntaxError {
    SyntaxError::new(Code::BadAssertion, at, message)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_know_where_they_start() {
        let found = words("A[0].where(b = '7\\'8' and n>=-1.50)").unwrap();
        let starts: Vec<usize> = found.iter().map(|(at, _)| *at).collect();
        assert_eq!(
            starts,
            [0, 1, 2, 3, 4, 5, 10, 11, 13, 15, 22, 26, 27, 29, 34]
        );
        assert_eq!(found[9].1, Word::Text("7'8".into()));
        assert_eq!(found[13].1, Word::Number("-1.50".into()));
        assert_eq!(
            words("@2020-01-01").unwrap(),
            [(0, Word::Text("2020-01-01".into()))]
        );
        assert_eq!(words("a = 'x").unwrap_err().at, 4);
        assert_eq!(words("a # b").unwrap_err().at, 2);
    }
}
