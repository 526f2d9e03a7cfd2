//! `identifier=system|value` as a query (<https://hl7.org/fhir/R4/search.html#token>).

/// Appends the query. Two escapes are at work: the search parameter's own (a backslash before `$ , | \`,
/// <https://hl7.org/fhir/R4/search.html#escaping>) and the percent-encoding of whatever a query may not hold. What is
/// appended needs no JSON escape.
pub(super) fn query(system: &str, value: &str, out: &mut Vec<u8>) {
    out.extend_from_slice(b"identifier=");
    token(system, out);
    percent(b'|', out);
    token(value, out);
}

fn token(text: &str, out: &mut Vec<u8>) {
    let mut rest = text.as_bytes();
    // Most are plain, and one look at all bytes at once says so.
    if rest.iter().fold(true, |all, byte| all & plain(*byte)) {
        out.extend_from_slice(rest);
        return;
    }
    while let Some(at) = rest.iter().position(|byte| !is_plain(*byte)) {
        let (plain, special) = rest.split_at_checked(at).unwrap_or((rest, &[]));
        out.extend_from_slice(plain);
        let Some((byte, after)) = special.split_first() else {
            break;
        };
        if matches!(byte, b'$' | b',' | b'|' | b'\\') {
            percent(b'\\', out);
        }
        percent(*byte, out);
        rest = after;
    }
    out.extend_from_slice(rest);
}

/// RFC 3986, section 3.4: unreserved characters, and those of a query that mean nothing to a form.
const fn plain(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_' | b'~' | b':' | b'/')
}

/// [`plain`] of all bytes.
const PLAIN: [bool; 256] = {
    let mut table = [false; 256];
    let mut rest: &mut [bool] = &mut table;
    let mut byte = 0;
    while let [first, after @ ..] = rest {
        *first = plain(byte);
        byte = byte.wrapping_add(1);
        rest = after;
    }
    table
};

#[inline]
fn is_plain(byte: u8) -> bool {
    PLAIN.get(usize::from(byte)) == Some(&true)
}

fn percent(byte: u8, out: &mut Vec<u8>) {
    let hex = |digit: u8| {
        if digit < 10 {
            b'0' + digit
        } else {
            b'A' + digit - 10
        }
    };
    out.extend_from_slice(&[b'%', hex(byte >> 4), hex(byte & 0xf)]);
}

#[cfg(test)]
mod tests {
    #[test]
    fn both_escapes() {
        let query = |system, value| {
            let mut out = Vec::new();
            super::query(system, value, &mut out);
            String::from_utf8(out).unwrap()
        };
        assert_eq!(
            query("http://lab.example/ids", "A-1.b_~"),
            "identifier=http://lab.example/ids%7CA-1.b_~"
        );
        assert_eq!(
            query("urn:oid:1.2", "a b&c=d#e"),
            "identifier=urn:oid:1.2%7Ca%20b%26c%3Dd%23e"
        );
        assert_eq!(
            query("s", "1|2,3$4\\5"),
            "identifier=s%7C1%5C%7C2%5C%2C3%5C%244%5C%5C5"
        );
        assert_eq!(query("", "Zoë+\"%"), "identifier=%7CZo%C3%AB%2B%22%25");
    }
}
