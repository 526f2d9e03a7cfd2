//! Every escape of chapter 2.7, and what senders write instead.

use encoding_rs::UTF_8;

use super::*;
use crate::charset::CharsetSource;

fn charset(encoding: &'static Encoding) -> Charset {
    Charset {
        encoding,
        source: CharsetSource::Declared,
    }
}

fn decoded_in(encoding: &'static Encoding, raw: &[u8]) -> (String, Vec<(&'static str, usize)>) {
    let mut seen = Vec::new();
    let mut report = |code: IssueCode, at: usize| seen.push((code.as_str(), at));
    let delimiters = Delimiters::STANDARD;
    let text = decode(raw, &delimiters, charset(encoding), &mut report).into_owned();
    (text, seen)
}

fn decoded(raw: &str) -> (String, Vec<(&'static str, usize)>) {
    decoded_in(UTF_8, raw.as_bytes())
}

/// The text of what must not cause any issue.
fn clean(raw: &str) -> String {
    let (text, issues) = decoded(raw);
    assert!(issues.is_empty(), "{raw}: {issues:?}");
    text
}

#[test]
fn delimiters_are_escaped_by_letters() {
    assert_eq!(clean(r"\F\\S\\T\\R\\E\\P\"), r"|^&~\#");
    assert_eq!(clean(r"a\T\b"), "a&b");
    let own = Delimiters::read(b"MSH$%*@!+").unwrap();
    let raw = b"@F@@S@@T@@R@@E@@P@";
    let text = decode(raw, &own, charset(UTF_8), &mut |_, _| panic!("no issue"));
    assert_eq!(text, "$%!*@+");
}

#[test]
fn an_escape_at_the_end_of_the_field_is_whole() {
    assert_eq!(clean(r"path\E\"), r"path\");
    assert_eq!(clean(r"\E\"), r"\");
}

#[test]
fn text_is_unescaped_only_once() {
    assert_eq!(clean(r"\E\T\E\"), r"\T\");
    assert_eq!(clean(r"\X5C\F\X5C\"), r"\F\");
}

#[test]
fn hexadecimal_bytes_are_decoded_with_what_surrounds_them() {
    assert_eq!(clean(r"caf\XC3\\XA9\"), "café");
    assert_eq!(clean(r"caf\XC3A9\ noir"), "café noir");
    assert_eq!(decoded_in(WINDOWS_1252, br"caf\XE9\").0, "café");
    assert_eq!(decoded_in(SHIFT_JIS, br"\X93FA\").0, "日");
    assert_eq!(clean(r"\X7c\"), "|");
}

#[test]
fn hexadecimal_line_ends_become_one_line_feed() {
    assert_eq!(clean(r"a\X0D0A\b\X0D\c\X0A\d\X0D\\X0A\e"), "a\nb\nc\nd\ne");
    assert_eq!(clean(r"a\X0D0D\b\X0D\ \X0A\"), "a\n\nb\n \n");
}

#[test]
fn formatting_becomes_lines_and_blanks() {
    assert_eq!(clean(r"a\.br\b\.ce\c"), "a\nb\nc");
    assert_eq!(
        clean(r"a\.sp\b\.sp2\c\.sp+3\d\.sp 1\e\.sp0\f"),
        "a\nb\n\nc\n\n\nd\ne\nf"
    );
    assert_eq!(clean(r"\.in4\a\.ti+2\b\.in-2\c\.sk 3\d"), "    a  bc   d");
    assert_eq!(clean(r"\.fi\a\.nf\b"), "ab");
    assert_eq!(clean(r"a\.BR\b"), "a\nb");
    assert_eq!(clean(r"\H\abnormal\N\ value"), "abnormal value");
}

#[test]
fn a_short_message_cannot_ask_for_a_long_text() {
    let (text, issues) = decoded(r"\.sk200\\.sk99999999999\");
    assert_eq!(text, format!("{}\\.sk99999999999\\", " ".repeat(200)));
    assert_eq!(issues, [("escape-unknown", 8), ("escape-lone", 23)]);
}

#[test]
fn what_is_no_escape_stays_with_an_issue() {
    for (raw, code) in [
        (r"C:\data", "escape-lone"),
        (r"ends with \", "escape-lone"),
        (r"\XZZ\", "escape-unknown"),
        (r"\X123\", "escape-unknown"),
        (r"\X\", "escape-unknown"),
        (r"\Q\", "escape-unknown"),
        (r"\.xx\", "escape-unknown"),
        (r"\C9999\", "escape-unknown"),
    ] {
        let (text, issues) = decoded(raw);
        assert_eq!(text, raw);
        assert_eq!(issues[0].0, code, "{raw}");
    }
    assert_eq!(decoded(r"\\server\share").0, r"\\server\share");
    assert_eq!(decoded(r"3\4 of it, 5\6").1.len(), 2);
}

#[test]
fn a_lone_escape_does_not_swallow_the_next_one() {
    let (text, issues) = decoded(r"C:\A\T\B\F\D");
    assert_eq!(text, r"C:\A&B|D");
    assert_eq!(issues, [("escape-unknown", 2)]);
    assert_eq!(clean(r"\T\\T\\T\"), "&&&");
}

#[test]
fn local_escapes_stay_and_are_noted() {
    let (text, issues) = decoded(r"a\Z01\b\T\");
    assert_eq!(text, r"a\Z01\b&");
    assert_eq!(issues, [("escape-local", 1)]);
}

#[test]
fn other_character_sets_are_switched_to_and_back() {
    assert_eq!(clean(r"\C2D46\\XC1\\C2842\ alpha"), "Α alpha");
    assert_eq!(clean(r"\C2D4C\\XB6\"), "Ж");
    assert_eq!(clean(r"\M2442\\X467C4B5C\\C2842\!"), "日本!");
    assert_eq!(clean(r"\M242943\\XC7D1\"), "한");
}

#[test]
fn second_bytes_that_look_like_escapes_are_none() {
    // Katakana SO is 83 5C in Shift_JIS, and 5C is a backslash.
    let (text, issues) = decoded_in(SHIFT_JIS, b"\x83\x5C\\T\\\x83\x5C");
    assert_eq!((text.as_str(), issues.len()), ("ソ&ソ", 0));
    let iso = b"\x1B$B%=%\\\x1B(B\\T\\";
    assert_eq!(decoded_in(ISO_2022_JP, iso).0, "ソボ&");
}

#[test]
fn undecodable_bytes_become_replacement_characters_with_an_issue() {
    let (text, issues) = decoded_in(UTF_8, b"a\xFFb");
    assert_eq!(text, "a\u{fffd}b");
    assert_eq!(issues, [("undecodable-bytes", 0)]);
    let (text, issues) = decoded_in(UTF_8, b"\\T\\\xC3");
    assert_eq!(text, "&\u{fffd}");
    assert_eq!(issues, [("undecodable-bytes", 0)]);
}

#[test]
fn without_an_escape_character_nothing_is_escaped() {
    let none = Delimiters::read(b"MSH|^~|").unwrap();
    let text = decode(br"a\T\b", &none, charset(UTF_8), &mut |_, _| {});
    assert_eq!(text, r"a\T\b");
    let mut out = Vec::new();
    let refused = encode("a|b", &none, charset(UTF_8), &mut out);
    assert_eq!(refused, Err(Inexpressible::Delimiter));
    assert_eq!(encode("a&b", &none, charset(UTF_8), &mut out), Ok(()));
}

#[test]
fn encoded_text_reads_back() {
    let text = "a|b^c&d~e\\f\ng é \u{b}\u{1c}";
    for (encoding, raw) in [
        (
            UTF_8,
            "a\\F\\b\\S\\c\\T\\d\\R\\e\\E\\f\\.br\\g é \\X0B\\\\X1C\\".as_bytes(),
        ),
        (
            WINDOWS_1252,
            b"a\\F\\b\\S\\c\\T\\d\\R\\e\\E\\f\\.br\\g \xE9 \\X0B\\\\X1C\\",
        ),
    ] {
        let mut out = Vec::new();
        encode(text, &Delimiters::STANDARD, charset(encoding), &mut out).unwrap();
        assert_eq!(out, raw);
        assert_eq!(decoded_in(encoding, &out), (text.to_owned(), vec![]));
    }
    let mut out = Vec::new();
    let refused = encode("語", &Delimiters::STANDARD, charset(WINDOWS_1252), &mut out);
    assert_eq!(refused, Err(Inexpressible::Character));
}
