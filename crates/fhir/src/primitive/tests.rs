use super::*;
use PrimitiveError::*;

/// What is accepted, and what is refused with which error.
fn table(primitive: Primitive, right: &[&str], wrong: &[(&str, PrimitiveError)]) {
    for text in right {
        assert_eq!(check(primitive, text), Ok(()), "{primitive:?} {text}");
    }
    for (text, error) in wrong {
        assert_eq!(check(primitive, text), Err(*error), "{primitive:?} {text}");
    }
    assert_eq!(check(primitive, ""), Err(Empty), "{primitive:?}");
}

#[test]
fn names_go_both_ways() {
    for (primitive, name, form) in ALL {
        assert_eq!(Primitive::from_name(name), Some(*primitive));
        assert_eq!(primitive.name(), *name);
        assert_eq!(primitive.form(), *form);
    }
    assert_eq!(Primitive::from_name("HumanName"), None);
}

#[test]
fn dates() {
    table(
        Primitive::Date,
        &[
            "2024",
            "2024-02",
            "2024-02-29",
            "2000-02-29",
            "0001-01-01",
            "9999-12-31",
        ],
        &[
            ("2023-02-29", Range),
            ("1900-02-29", Range),
            ("2024-04-31", Range),
            ("2024-13", Range),
            ("2024-00", Range),
            ("2024-01-00", Range),
            ("0000", Range),
            ("24", Form),
            ("2024-1", Form),
            ("2024-", Form),
            ("20240229", Form),
            ("2024-02-29T10:00:00Z", Form),
            ("2024-02-29 ", Form),
        ],
    );
}

#[test]
fn date_times_need_a_zone() {
    table(
        Primitive::DateTime,
        &[
            "2024",
            "2024-02",
            "2024-02-29",
            "2024-02-29T23:59:60Z",
            "2024-02-29T00:00:00.123456+14:00",
            "2024-01-01T10:00:00-05:30",
        ],
        &[
            ("2024-02-29T10:00:00", Form),
            ("2024-02-29T10:00Z", Form),
            ("2024-02-29T10:00:00.Z", Form),
            ("2024-02-29T24:00:00Z", Range),
            ("2024-02-29T10:60:00Z", Range),
            ("2024-02-29T10:00:61Z", Range),
            ("2024-02-29T10:00:00+14:30", Range),
            ("2024-02-29T10:00:00+0500", Form),
            ("2024-02-30T10:00:00Z", Range),
            ("2024-02T10:00:00Z", Form),
            ("2024-02-29t10:00:00Z", Form),
            ("2024-02-29T10:00:00ZZ", Form),
            ("2024-02-2\u{e9}T10:00:00Z", Form),
        ],
    );
    table(
        Primitive::Instant,
        &["2024-02-29T10:00:00Z"],
        &[("2024-02-29", Form), ("2024", Form)],
    );
    table(
        Primitive::Time,
        &["00:00:00", "23:59:59.5"],
        &[
            ("24:00:00", Range),
            ("10:00", Form),
            ("10:00:00Z", Form),
            ("1:00:00", Form),
        ],
    );
}

#[test]
fn numbers() {
    table(
        Primitive::Integer,
        &["0", "-1", "2147483647", "-2147483648"],
        &[
            ("2147483648", Range),
            ("-2147483649", Range),
            ("99999999999999999999", Range),
            ("01", Form),
            ("1.0", Form),
            ("1e3", Form),
            ("-0", Form),
            ("-", Form),
            ("+1", Form),
        ],
    );
    table(
        Primitive::UnsignedInt,
        &["0", "7"],
        &[("-1", Range), ("x", Form)],
    );
    table(
        Primitive::PositiveInt,
        &["1"],
        &[("0", Range), ("-1", Range)],
    );
    table(
        Primitive::Decimal,
        &["1.50", "-0.0", "1e-7"],
        &[("1.", Form), ("<5", Form), ("01", Form)],
    );
    table(
        Primitive::Boolean,
        &["true", "false"],
        &[("True", Form), ("1", Form)],
    );
}

#[test]
fn text_and_codes() {
    table(
        Primitive::String,
        &["a", " a ", "line\nline\ttab\r", "\u{a0}é"],
        &[("a\u{1}", ControlCharacter), ("\u{c}", ControlCharacter)],
    );
    assert_eq!(check(Primitive::String, &"é".repeat(STRING_MAX)), Ok(()));
    assert_eq!(
        check(Primitive::String, &"a".repeat(STRING_MAX + 1)),
        Err(TooLong)
    );
    table(
        Primitive::Markdown,
        &["# a"],
        &[("\u{0}", ControlCharacter)],
    );
    table(
        Primitive::Code,
        &["final", "in progress", "a-b.c"],
        &[
            (" final", Form),
            ("final ", Form),
            ("in  progress", Form),
            ("\n", Form),
        ],
    );
    let long = "a".repeat(65);
    table(
        Primitive::Id,
        &["a", "A-1.b", &long[1..]],
        &[("a_b", Form), ("a b", Form), ("é", Form), (&long, TooLong)],
    );
}

#[test]
fn addresses() {
    for primitive in [Primitive::Uri, Primitive::Url, Primitive::Canonical] {
        table(
            primitive,
            &["http://example.org/a|1", "urn:oid:1.2", "#x"],
            &[("a b", Form), ("a\n", Form)],
        );
    }
    table(
        Primitive::Oid,
        &["urn:oid:1.2.3", "urn:oid:2.16.840.1.113883", "urn:oid:0.0"],
        &[
            ("1.2.3", Form),
            ("urn:oid:1", Form),
            ("urn:oid:3.1", Form),
            ("urn:oid:1.02", Form),
            ("urn:oid:1..2", Form),
            ("urn:oid:", Form),
        ],
    );
    table(
        Primitive::Uuid,
        &["urn:uuid:c757873d-ec9a-4326-a141-556f43239520"],
        &[
            ("urn:uuid:C757873D-EC9A-4326-A141-556F43239520", Form),
            ("c757873d-ec9a-4326-a141-556f43239520", Form),
            ("urn:uuid:c757873d-ec9a-4326-a141-556f4323952", Form),
            ("urn:uuid:c757873dxec9a-4326-a141-556f43239520", Form),
        ],
    );
}

#[test]
fn binary_and_narrative() {
    table(
        Primitive::Base64Binary,
        &["QQ==", "QUI=", "QUJD", "QUJD\nQUJD", " QU JD "],
        &[
            ("QQ", Form),
            ("Q===", Form),
            ("=QQ=", Form),
            ("QQ==QUJD", Form),
            ("Q-_D", Form),
            ("  ", Form),
            ("====", Form),
        ],
    );
    table(
        Primitive::Xhtml,
        &[
            "<div xmlns=\"http://www.w3.org/1999/xhtml\">x</div>",
            "<div>x</div>\n",
        ],
        &[("x", Form), ("<divx>x</div>", Form), ("<div>x", Form)],
    );
}

#[test]
fn moments_compare_when_they_can() {
    use std::cmp::Ordering::{Equal, Greater, Less};
    for (a, b, order) in [
        ("2024-01-02", "2024-01-01", Some(Greater)),
        ("2023", "2024-01", Some(Less)),
        ("2024", "2024-01", None),
        ("2024", "2024", Some(Equal)),
        (
            "2024-03-01T00:30:00+01:00",
            "2024-02-29T23:30:00Z",
            Some(Equal),
        ),
        (
            "2024-03-01T00:30:00+01:00",
            "2024-02-29T23:30:00.01Z",
            Some(Less),
        ),
        (
            "2024-03-01T00:00:00.10Z",
            "2024-03-01T00:00:00.1Z",
            Some(Equal),
        ),
        (
            "2023-03-01T00:00:00-14:00",
            "2023-02-28T23:59:59-14:00",
            Some(Greater),
        ),
        ("2024-01-01T00:00:00Z", "2023-12-31T23:59:60Z", Some(Equal)),
        ("2024-01-02", "2024-01-01T00:00:00Z", None),
        ("x", "2024", None),
        ("", "", None),
    ] {
        assert_eq!(compare(a, b), order, "{a} {b}");
        assert_eq!(
            compare(b, a),
            order.map(std::cmp::Ordering::reverse),
            "{b} {a}"
        );
    }
}
