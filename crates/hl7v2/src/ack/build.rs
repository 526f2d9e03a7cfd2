//! Writes an acknowledgement (chapter 2.14: MSH, MSA, ERR).

use super::writer::{UTF_8, Writer};
use super::{AckCode, ErrorCode, ErrorSeverity};
use crate::delimiters::Delimiters;
use crate::header::Header;
use crate::place::Place;
use crate::version::Version;

/// What the acknowledgement has of its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AckContext<'a> {
    /// MSH-10 of the acknowledgement: unique, at most 20 characters for old receivers.
    pub control_id: &'a str,
    /// MSH-7, with the offset from UTC: `20260102030405.123+0100`.
    pub timestamp: &'a str,
}

/// One error to tell.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AckError<'a> {
    /// Table 0357.
    pub code: ErrorCode,
    /// Where in the message, when it is in one place.
    pub place: Option<Place>,
    /// Table 0516.
    pub severity: ErrorSeverity,
    /// For a person to read. Must hold no text of the message.
    pub text: &'a str,
}

/// Writes the acknowledgement of a message.
///
/// Sender and receiver change places with all their components, byte for byte;
/// MSH-10 comes back byte for byte in MSA-2; MSH-11, MSH-12 and MSH-18 are
/// repeated; delimiters and character set are those of the message. Errors are
/// written as the version of the message has them: up to 2.4 in ERR-1, from 2.5
/// on one ERR each. The last segment ends in CR.
#[must_use]
pub fn build(
    header: &Header<'_>,
    code: AckCode,
    errors: &[AckError<'_>],
    context: &AckContext<'_>,
) -> Vec<u8> {
    let version = header.version();
    let segment = header.segment();
    let mut writer = Writer {
        out: Vec::with_capacity(256),
        delimiters: header.delimiters(),
        charset: header.message().charset(),
    };
    writer.start("MSH");
    writer.raw_field(segment.field(2).raw());
    writer.raw_field(header.receiving_application().raw());
    writer.raw_field(header.receiving_facility().raw());
    writer.raw_field(header.sending_application().raw());
    writer.raw_field(header.sending_facility().raw());
    writer.field(context.timestamp);
    writer.raw_field(b"");
    writer.message_type(header, version);
    writer.field(context.control_id);
    writer.raw_field(header.processing_id().raw());
    writer.raw_field(header.version_id().raw());
    let charset = segment.field(18).raw();
    if !charset.is_empty() {
        for _ in 13..18 {
            writer.raw_field(b"");
        }
        writer.raw_field(charset);
    }
    writer.end();
    writer.acknowledgement(code, header.control_id_raw(), version, errors.first());
    writer.errors(errors, version);
    writer.out
}

/// Writes a negative acknowledgement of something that has no usable MSH: with
/// the standard delimiters in UTF-8, addressed to nobody, as version 2.5.
#[must_use]
pub fn build_without_header(
    code: AckCode,
    errors: &[AckError<'_>],
    context: &AckContext<'_>,
) -> Vec<u8> {
    let mut writer = Writer {
        out: Vec::with_capacity(128),
        delimiters: Delimiters::STANDARD,
        charset: UTF_8,
    };
    writer.start("MSH");
    writer.raw_field(b"^~\\&");
    for _ in 3..7 {
        writer.raw_field(b"");
    }
    writer.field(context.timestamp);
    writer.raw_field(b"");
    writer.raw_field(b"ACK");
    writer.field(context.control_id);
    writer.raw_field(b"P");
    writer.raw_field(b"2.5");
    writer.end();
    writer.acknowledgement(code, b"", Version::V2_5, errors.first());
    writer.errors(errors, Version::V2_5);
    writer.out
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::path::Path;

    const CONTEXT: AckContext<'static> = AckContext {
        control_id: "FW-0001",
        timestamp: "20260102030405+0100",
    };

    fn error(code: ErrorCode, place: Option<&str>, text: &'static str) -> AckError<'static> {
        let place = place.map(|path| {
            let path: Path = path.parse().unwrap();
            Place {
                segment_index: 2,
                segment: path.segment,
                occurrence: path.occurrence.unwrap_or(1),
                field: path.field.map(u32::from),
                repetition: path.repetition.map(u32::from),
                component: path.component.map(u32::from),
                subcomponent: path.subcomponent.map(u32::from),
            }
        });
        AckError {
            code,
            place,
            severity: ErrorSeverity::Error,
            text,
        }
    }

    fn answer(message: &[u8], code: AckCode, errors: &[AckError<'_>]) -> Vec<u8> {
        let (message, _) = crate::parse(message).unwrap();
        build(&message.header(), code, errors, &CONTEXT)
    }

    fn text(message: &str, code: AckCode, errors: &[AckError<'_>]) -> String {
        String::from_utf8(answer(message.as_bytes(), code, errors)).unwrap()
    }

    #[test]
    fn routing_changes_places_with_all_components() {
        let message = "MSH|^~\\&|LAB^1.2.3^ISO|HOSP&X^9^DNS|FHIRWAY^4.5^ISO~B|NORTH^6^ISO|20260102||ORU^R01^ORU_R01|id^7&8|T^A|2.5.1^DEU|||AL|||UNICODE UTF-8\r";
        assert_eq!(
            text(message, AckCode::CA, &[]),
            "MSH|^~\\&|FHIRWAY^4.5^ISO~B|NORTH^6^ISO|LAB^1.2.3^ISO|HOSP&X^9^DNS|20260102030405+0100||ACK^R01^ACK|FW-0001|T^A|2.5.1^DEU||||||UNICODE UTF-8\r\
             MSA|CA|id^7&8\r"
        );
    }

    #[test]
    fn the_delimiters_are_those_of_the_message() {
        let message = "MSH!*=?%!LAB!H!FW!N!20260102!!ADT*A01!a?F?b!P!2.4\r";
        let errors = [error(
            ErrorCode::RequiredFieldMissing,
            Some("PID-3"),
            "no identifier!",
        )];
        assert_eq!(
            text(message, AckCode::AE, &errors),
            "MSH!*=?%!FW!N!LAB!H!20260102030405+0100!!ACK*A01*ACK!FW-0001!P!2.4\r\
             MSA!AE!a?F?b!no identifier?F?!!!101*Required field missing*HL70357\r\
             ERR!PID*1*3*101%Required field missing%HL70357\r"
        );
        // the truncation character of 2.7 stays
        let message = "MSH|^~\\&#|LAB|H|FW|N|20260102||ADT^A01|1|P|2.7\r";
        assert!(text(message, AckCode::AA, &[]).starts_with("MSH|^~\\&#|FW|N|LAB|H|"));
    }

    #[test]
    fn the_message_type_grew_with_the_versions() {
        for (version, expected) in [
            ("2.1", "ACK"),
            ("2.2", "ACK"),
            ("2.3", "ACK"),
            ("2.3.1", "ACK^A08"),
            ("2.4", "ACK^A08^ACK"),
            ("2.5.1", "ACK^A08^ACK"),
            ("2.9", "ACK^A08^ACK"),
        ] {
            let message = format!("MSH|^~\\&|LAB|H|FW|N|20260102||ADT^A08|1|P|{version}\r");
            let answer = text(&message, AckCode::AA, &[]);
            assert_eq!(answer.split('|').nth(8), Some(expected), "{version}");
            assert!(answer.ends_with("\rMSA|AA|1\r"), "{answer}");
        }
        let without_event = "MSH|^~\\&|LAB|H|FW|N|20260102||ORU|1|P|2.5\r";
        assert_eq!(
            text(without_event, AckCode::AA, &[]).split('|').nth(8),
            Some("ACK")
        );
    }

    #[test]
    fn errors_are_written_as_the_version_has_them() {
        let errors = [
            error(
                ErrorCode::ValueTooLong,
                Some("OBX(2)-5(3).2.1"),
                "the value is too long",
            ),
            error(ErrorCode::ApplicationInternalError, None, "try again"),
        ];
        let message = |version| format!("MSH|^~\\&|LAB|H|FW|N|20260102||ORU^R01|1|P|{version}\r");
        let after_header = |version, code| {
            let answer = text(&message(version), code, &errors);
            answer.split_once('\r').unwrap().1.to_owned()
        };
        assert_eq!(
            after_header("2.3", AckCode::AE),
            "MSA|AE|1|the value is too long|||102^Data type error^HL70357\r\
             ERR|OBX^2^5^102&Data type error&HL70357~^^^207&Application internal error&HL70357\r"
        );
        assert_eq!(
            after_header("2.5.1", AckCode::CE),
            "MSA|CE|1|the value is too long\r\
             ERR||OBX^2^5^3^2^1|102^Data type error^HL70357|E||||the value is too long\r\
             ERR|||207^Application internal error^HL70357|E||||try again\r"
        );
        assert_eq!(
            after_header("2.8", AckCode::AR),
            "MSA|AR|1\r\
             ERR||OBX^2^5^3^2^1|104^Value too long^HL70357|E||||the value is too long\r\
             ERR|||207^Application internal error^HL70357|E||||try again\r"
        );
    }

    #[test]
    fn bytes_come_back_in_the_character_set_of_the_message() {
        let message =
            b"MSH|^~\\&|LABOR M\xDCNCHEN|H|FW|N|20260102||ORU^R01|\xE41|P|2.3.1||||||8859/1\r";
        let answer = answer(
            message,
            AckCode::AE,
            &[error(
                ErrorCode::DataTypeError,
                None,
                "ung\u{fc}ltig \u{4e00}",
            )],
        );
        let head: &[u8] = b"MSH|^~\\&|FW|N|LABOR M\xDCNCHEN|H|20260102030405+0100||ACK^R01|FW-0001|P|2.3.1||||||8859/1\r";
        assert!(answer.starts_with(head));
        let rest = &answer[head.len()..];
        // outside the set: plain ASCII rather than something that looks right
        assert!(
            rest.starts_with(b"MSA|AE|\xE41|ung?ltig ?|"),
            "{:?}",
            String::from_utf8_lossy(rest)
        );
        let (again, issues) = crate::parse(&answer).unwrap();
        assert_eq!(issues, []);
        assert_eq!(
            again.header().receiving_application().text(),
            "LABOR M\u{dc}NCHEN"
        );
    }

    #[test]
    fn no_usable_header() {
        let errors = [error(
            ErrorCode::SegmentSequenceError,
            None,
            "no MSH segment",
        )];
        let answer = build_without_header(AckCode::AR, &errors, &CONTEXT);
        assert_eq!(
            String::from_utf8(answer.clone()).unwrap(),
            "MSH|^~\\&|||||20260102030405+0100||ACK|FW-0001|P|2.5\r\
             MSA|AR||no MSH segment\r\
             ERR|||100^Segment sequence error^HL70357|E||||no MSH segment\r"
        );
        assert!(crate::parse(&answer).is_ok());
    }

    #[test]
    fn a_message_that_names_few_delimiters_gets_a_readable_answer() {
        let errors = [
            error(ErrorCode::RequiredFieldMissing, Some("PID-3"), "a|b^c"),
            error(ErrorCode::DataTypeError, None, "x"),
        ];
        let answer = text(
            "MSH|^|LAB|H|FW|N|20260102||ADT^A01|1|P|2.3\r",
            AckCode::AE,
            &errors,
        );
        assert_eq!(
            answer.split('\r').nth(1),
            Some("MSA|AE|1|a b c|||101^Required field missing^HL70357")
        );
        assert_eq!(answer.split('\r').nth(2), Some("ERR|PID^1^3^101"));
    }
}
