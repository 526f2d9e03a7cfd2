//! Which answers MSH-15 and MSH-16 ask for (chapter 2.9.2 and 2.9.3, table 0155).

use super::{AckCode, Disposition};
use crate::header::Header;

/// How a listener answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AckOptions {
    /// Answer AA, AE or AR where the standard wants no answer at all: most
    /// senders wait for one whatever they put into MSH-15. On by default.
    pub always_answer: bool,
}

/// The answers that a message asks for. The second one may come later.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Answers {
    /// The accept acknowledgement of enhanced mode: stored or not.
    pub accept: Option<AckCode>,
    /// The application acknowledgement; in original mode the only answer.
    pub application: Option<AckCode>,
}

/// When an answer is wanted (table 0155).
#[derive(Clone, Copy, PartialEq, Eq)]
enum Wanted {
    Always,
    Never,
    OnError,
    OnSuccess,
}

/// The one code to answer now, or `None` when nothing may be answered.
///
/// In enhanced mode that is the accept acknowledgement, or the application
/// acknowledgement when no other is asked for. An acknowledgement is never
/// acknowledged. A message without MSH-10 cannot be accepted, as nobody could
/// tell what the answer is about: it is answered as an error.
#[must_use]
pub fn decide(
    header: &Header<'_>,
    disposition: Disposition,
    options: &AckOptions,
) -> Option<AckCode> {
    if is_acknowledgement(header) {
        return None;
    }
    let Answers {
        accept,
        application,
    } = answers(header, disposition);
    let otherwise = options
        .always_answer
        .then(|| AckCode::application(answerable(header, disposition)));
    accept.or(application).or(otherwise)
}

/// The application acknowledgement that follows an accept acknowledgement
/// (2.9.3.2): the second answer to a message whose MSH-15 and MSH-16 both ask
/// for one. `None` where [`decide`] has said everything.
#[must_use]
pub fn decide_later(header: &Header<'_>, disposition: Disposition) -> Option<AckCode> {
    let Answers {
        accept,
        application,
    } = answers(header, disposition);
    accept.and(application)
}

/// Both answers as the standard has them, without regard to [`AckOptions`].
#[must_use]
pub fn answers(header: &Header<'_>, disposition: Disposition) -> Answers {
    if is_acknowledgement(header) {
        return Answers {
            accept: None,
            application: None,
        };
    }
    let disposition = answerable(header, disposition);
    let (accept, application) = match (
        Wanted::read(&header.accept_ack()),
        Wanted::read(&header.application_ack()),
    ) {
        // original mode
        (None, None) => (Wanted::Never, Wanted::Always),
        (accept, application) => (
            accept.unwrap_or(Wanted::Never),
            application.unwrap_or(Wanted::Never),
        ),
    };
    Answers {
        accept: accept
            .applies(disposition)
            .then(|| AckCode::commit(disposition)),
        application: application
            .applies(disposition)
            .then(|| AckCode::application(disposition)),
    }
}

/// Whether the message is itself an acknowledgement (`ACK`, or `MCF` of old
/// enhanced mode), which must never be answered.
#[must_use]
pub fn is_acknowledgement(header: &Header<'_>) -> bool {
    let code = header.code();
    let code = code.trim();
    let code = code.split('_').next().unwrap_or(code);
    code.eq_ignore_ascii_case("ACK") || code.eq_ignore_ascii_case("MCF")
}

fn answerable(header: &Header<'_>, disposition: Disposition) -> Disposition {
    match disposition {
        Disposition::Accepted if header.control_id().trim().is_empty() => Disposition::Error,
        other => other,
    }
}

// === impl AckOptions ===

impl Default for AckOptions {
    fn default() -> Self {
        Self {
            always_answer: true,
        }
    }
}

// === impl Wanted ===

impl Wanted {
    /// A code that table 0155 does not have counts as empty.
    fn read(code: &str) -> Option<Self> {
        match code.trim() {
            "AL" => Some(Self::Always),
            "NE" => Some(Self::Never),
            "ER" => Some(Self::OnError),
            "SU" => Some(Self::OnSuccess),
            _ => None,
        }
    }

    fn applies(self, disposition: Disposition) -> bool {
        match self {
            Self::Always => true,
            Self::Never => false,
            Self::OnError => disposition != Disposition::Accepted,
            Self::OnSuccess => disposition == Disposition::Accepted,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const DISPOSITIONS: [Disposition; 3] = [
        Disposition::Accepted,
        Disposition::Error,
        Disposition::Reject,
    ];

    /// MSH-15, MSH-16; then for accepted, error, reject: the accept and the application answer.
    const TABLE: &str = "
        -  -    -  AA    -  AE    -  AR
        -  AL   -  AA    -  AE    -  AR
        -  NE   -  -     -  -     -  -
        -  ER   -  -     -  AE    -  AR
        -  SU   -  AA    -  -     -  -
        AL -    CA -     CE -     CR -
        AL AL   CA AA    CE AE    CR AR
        AL NE   CA -     CE -     CR -
        AL ER   CA -     CE AE    CR AR
        AL SU   CA AA    CE -     CR -
        NE -    -  -     -  -     -  -
        NE AL   -  AA    -  AE    -  AR
        NE NE   -  -     -  -     -  -
        NE ER   -  -     -  AE    -  AR
        NE SU   -  AA    -  -     -  -
        ER -    -  -     CE -     CR -
        ER AL   -  AA    CE AE    CR AR
        ER NE   -  -     CE -     CR -
        ER ER   -  -     CE AE    CR AR
        ER SU   -  AA    CE -     CR -
        SU -    CA -     -  -     -  -
        SU AL   CA AA    -  AE    -  AR
        SU NE   CA -     -  -     -  -
        SU ER   CA -     -  AE    -  AR
        SU SU   CA AA    -  -     -  -
    ";

    fn with_header<T>(
        kind: &str,
        id: &str,
        accept: &str,
        application: &str,
        check: impl FnOnce(&Header<'_>) -> T,
    ) -> T {
        let text = format!(
            "MSH|^~\\&|LAB|HOSP|FHIRWAY|HOSP|20260102||{kind}|{id}|P|2.5.1|||{accept}|{application}\r"
        );
        let (message, _) = crate::parse(text.as_bytes()).unwrap();
        check(&message.header())
    }

    #[test]
    fn every_cell_of_the_table() {
        let mut cells = 0;
        for line in TABLE.lines().filter(|line| !line.trim().is_empty()) {
            let words: Vec<_> = line
                .split_whitespace()
                .map(|word| if word == "-" { "" } else { word })
                .collect();
            for (disposition, expected) in DISPOSITIONS.into_iter().zip(words[2..].chunks(2)) {
                let expected = Answers {
                    accept: AckCode::from_code(expected[0]),
                    application: AckCode::from_code(expected[1]),
                };
                with_header("ORU^R01", "7", words[0], words[1], |header| {
                    assert_eq!(
                        answers(header, disposition),
                        expected,
                        "{line} {disposition:?}"
                    );
                    let strict = decide(
                        header,
                        disposition,
                        &AckOptions {
                            always_answer: false,
                        },
                    );
                    assert_eq!(
                        strict,
                        expected.accept.or(expected.application),
                        "{line} {disposition:?}"
                    );
                    let always = decide(header, disposition, &AckOptions::default());
                    assert_eq!(
                        always,
                        strict.or(Some(AckCode::application(disposition))),
                        "{line} {disposition:?}"
                    );
                });
                cells += 1;
            }
        }
        assert_eq!(cells, 5 * 5 * 3);
    }

    #[test]
    fn a_bad_code_counts_as_empty() {
        let strict = AckOptions {
            always_answer: false,
        };
        with_header("ORU^R01", "7", "YES", "al", |header| {
            assert_eq!(
                decide(header, Disposition::Accepted, &strict),
                Some(AckCode::AA)
            );
        });
        with_header("ORU^R01", "7", "YES", "NE", |header| {
            assert_eq!(decide(header, Disposition::Accepted, &strict), None);
        });
    }

    #[test]
    fn an_acknowledgement_is_never_acknowledged() {
        for kind in ["ACK", "ACK^A01^ACK", "ack^R01", "MCF^Q02", "ACK_A01"] {
            with_header(kind, "7", "AL", "AL", |header| {
                for disposition in DISPOSITIONS {
                    assert_eq!(
                        decide(header, disposition, &AckOptions::default()),
                        None,
                        "{kind}"
                    );
                    assert_eq!(
                        answers(header, disposition),
                        Answers {
                            accept: None,
                            application: None
                        }
                    );
                }
            });
        }
    }

    #[test]
    fn a_message_without_an_id_is_not_accepted() {
        for (accept, expected) in [("", AckCode::AE), ("AL", AckCode::CE), ("SU", AckCode::AE)] {
            with_header("ORU^R01", "", accept, "", |header| {
                assert_eq!(
                    decide(header, Disposition::Accepted, &AckOptions::default()),
                    Some(expected)
                );
            });
        }
        with_header("ORU^R01", " ", "", "", |header| {
            assert_eq!(
                decide(header, Disposition::Reject, &AckOptions::default()),
                Some(AckCode::AR)
            );
        });
    }
}
