//! Acknowledgements of one listener: built before the store (so that a resend gets the same one), sent after it.

use std::sync::atomic::{AtomicU64, Ordering};

use bytes::Bytes;
use hl7v2::{
    Header,
    ack::{
        self, AckCode, AckContext, AckError, AckOptions, Disposition, Enclosed, ErrorCode,
        ErrorSeverity, Profile,
    },
};
use jiff::{Timestamp, tz::TimeZone};
use queue::Appended;

use super::{
    Answer, Fault, Received,
    plan::{Member, Plan},
};
use crate::{
    config::listener::{Ack, AckMode, AckProfile, ApplicationAck},
    events::ListenerEvents,
};

/// Labels of the metric for what is no code.
const NO_ANSWER: &str = "none";
const CLOSE: &str = "close";

/// Decides on and writes the acknowledgements of one listener.
pub(super) struct Acknowledger {
    mode: AckMode,
    options: AckOptions,
    application: ApplicationAck,
    profile: Profile,
    ids: ControlIds,
}

/// The ACK of a message that will be stored.
pub(super) struct Positive {
    pub(super) code: Option<AckCode>,
    pub(super) ack: Option<Bytes>,
    /// The application ACK that follows it.
    later: Option<Bytes>,
}

/// What is answered about one member.
struct Part {
    ack: Option<Bytes>,
    label: &'static str,
    result: Received,
}

impl Acknowledger {
    pub(super) fn new(config: &Ack) -> Self {
        Self {
            mode: config.mode,
            options: AckOptions {
                always_answer: config.always_answer,
            },
            application: config.application,
            profile: match config.profile {
                AckProfile::Interop => Profile::Interop,
                AckProfile::Intersystems => Profile::Intersystems,
                AckProfile::CloseWithoutAck => Profile::CloseWithoutAck,
            },
            ids: ControlIds::new(),
        }
    }

    /// The ACK that says "stored"; it must not leave before that is true.
    pub(super) fn positive(&self, header: &Header<'_>) -> Positive {
        let code = self.code(header, Disposition::Accepted);
        let build = |code| self.build(header, code, &[]).into();
        Positive {
            code,
            ack: code.map(build),
            later: self.later(header).map(build),
        }
    }

    /// The answer to a payload whose members are stored or refused.
    pub(super) fn answer(
        &self,
        payload: &[u8],
        members: &[Member],
        events: &ListenerEvents,
    ) -> Answer {
        let parts: Vec<Part> = members.iter().map(|member| self.part(member)).collect();
        for part in &parts {
            events.acknowledged(part.label);
        }
        let result = worst(parts.iter().map(|part| part.result));
        let later = match members {
            // A batch is answered once (2.10.3.3).
            [member] => member.later(),
            _ => None,
        };
        if later.is_some() {
            events.acknowledged(AckCode::application(Disposition::Accepted).as_str());
        }
        Answer {
            later,
            ack: self.combine(payload, parts.into_iter().map(|part| part.ack).collect()),
            result,
        }
    }

    /// The negative answer to a payload of which nothing is stored, and its label.
    pub(super) fn refuse(&self, payload: &[u8], fault: Fault) -> (Option<Bytes>, &'static str) {
        let split = hl7v2::batch::split(payload);
        let mut label = NO_ANSWER;
        let mut acks = Vec::new();
        for message in split.messages() {
            let (ack, of_this) = self.negative(message, fault);
            acks.push(ack);
            label = of_this;
        }
        if acks.is_empty() {
            return self.negative(payload, fault);
        }
        (self.combine(payload, acks), label)
    }

    fn part(&self, member: &Member) -> Part {
        match &member.plan {
            Plan::Store {
                positive,
                appended: Some(appended),
                ..
            } => {
                let label = positive.code.map_or(NO_ANSWER, AckCode::as_str);
                // A resend gets what the first one got.
                let ack = match appended {
                    Appended::Duplicate {
                        ack: Some(stored), ..
                    } => Some(stored.clone()),
                    _ => positive.ack.clone(),
                };
                Part {
                    ack,
                    label,
                    result: Received::Stored,
                }
            }
            Plan::Store { .. } => self.refused(member, Fault::Storage),
            Plan::Refuse(fault) => self.refused(member, *fault),
        }
    }

    fn refused(&self, member: &Member, fault: Fault) -> Part {
        let (ack, label) = self.negative(&member.bytes, fault);
        Part {
            ack,
            label,
            result: fault.result(),
        }
    }

    /// The negative ACK of one message, as far as its header can be read.
    fn negative(&self, bytes: &[u8], fault: Fault) -> (Option<Bytes>, &'static str) {
        // Nothing is ever said about an acknowledgement, or nothing: two engines would talk for ever.
        if matches!(fault, Fault::Acknowledgement | Fault::Empty) {
            return (None, NO_ANSWER);
        }
        let Some(disposition) = fault.disposition(self.profile) else {
            return (None, CLOSE);
        };
        let Ok((message, _)) = hl7v2::parse(bytes) else {
            let code = AckCode::application(disposition);
            let error = AckError {
                code: fault.code(),
                place: None,
                severity: fault.severity(),
                text: fault.text(),
            };
            let (id, timestamp) = (self.ids.next(), timestamp());
            let context = AckContext {
                control_id: &id,
                timestamp: &timestamp,
            };
            return (
                Some(ack::build_without_header(code, &[error], &context).into()),
                code.as_str(),
            );
        };
        let header = message.header();
        let Some(code) = self.code(&header, disposition) else {
            return (None, NO_ANSWER);
        };
        let place = fault
            .field()
            .map(|number| header.segment().field(number).place());
        let error = AckError {
            code: fault.code(),
            place,
            severity: fault.severity(),
            text: fault.text(),
        };
        (
            Some(self.build(&header, code, &[error]).into()),
            code.as_str(),
        )
    }

    fn code(&self, header: &Header<'_>, disposition: Disposition) -> Option<AckCode> {
        match self.mode {
            AckMode::Auto => ack::decide(header, disposition, &self.options),
            _ if ack::is_acknowledgement(header) => None,
            AckMode::Original => Some(AckCode::application(disposition)),
            AckMode::Enhanced => Some(AckCode::commit(disposition)),
        }
    }

    /// The code of a second answer, where the message asks for two and the listener sends them.
    fn later(&self, header: &Header<'_>) -> Option<AckCode> {
        match (self.application, self.mode) {
            (ApplicationAck::SameConnection, AckMode::Auto) => {
                ack::decide_later(header, Disposition::Accepted)
            }
            _ => None,
        }
    }

    fn build(&self, header: &Header<'_>, code: AckCode, errors: &[AckError<'_>]) -> Vec<u8> {
        let (id, timestamp) = (self.ids.next(), timestamp());
        ack::build(
            header,
            code,
            errors,
            &AckContext {
                control_id: &id,
                timestamp: &timestamp,
            },
        )
    }

    /// One frame for one payload: a lone ACK as it is, those of a batch in a batch (chapter 2.10.3.3).
    fn combine(&self, payload: &[u8], acks: Vec<Option<Bytes>>) -> Option<Bytes> {
        let split = hl7v2::batch::split(payload);
        if !split.is_batch()
            || acks.len() == 1 && split.batches.is_empty() && split.files.is_empty()
        {
            return acks.into_iter().next().flatten();
        }
        let acks: Vec<Vec<u8>> = acks.into_iter().flatten().map(|ack| ack.to_vec()).collect();
        if acks.is_empty() {
            return None;
        }
        let header = |range: Option<&std::ops::Range<usize>>| {
            range.and_then(|range| payload.get(range.clone()))
        };
        let enclosed = Enclosed {
            file: header(split.files.first().and_then(|file| file.header.as_ref())),
            batch: header(
                split
                    .batches
                    .first()
                    .and_then(|batch| batch.header.as_ref()),
            ),
        };
        let (id, timestamp) = (self.ids.next(), timestamp());
        let context = AckContext {
            control_id: &id,
            timestamp: &timestamp,
        };
        Some(ack::build_batch(&enclosed, &acks, &context).into())
    }
}

impl Member {
    /// The application ACK, once the message is durable.
    fn later(&self) -> Option<Bytes> {
        match &self.plan {
            Plan::Store {
                positive,
                appended: Some(_),
                ..
            } => positive.later.clone(),
            _ => None,
        }
    }
}

impl Fault {
    /// Error or reject, by what the sender takes them for; `None` closes the connection.
    fn disposition(self, profile: Profile) -> Option<Disposition> {
        if self == Self::NoControlId {
            // Whatever the profile: nothing but AE may answer it (2.9.2.2).
            return Some(Disposition::Error);
        }
        profile.disposition(if self.is_retryable() {
            ack::Fault::Retryable
        } else {
            ack::Fault::Final
        })
    }

    fn code(self) -> ErrorCode {
        match self {
            Self::NoHeader | Self::Empty | Self::BatchCount => ErrorCode::SegmentSequenceError,
            Self::NoControlId => ErrorCode::RequiredFieldMissing,
            Self::Unrouted | Self::Acknowledgement => ErrorCode::UnsupportedMessageType,
            Self::ForeignSender => ErrorCode::UnknownKeyIdentifier,
            Self::ControlIdReused => ErrorCode::DuplicateKeyIdentifier,
            Self::Truncated | Self::Oversized | Self::Full | Self::Storage => {
                ErrorCode::ApplicationInternalError
            }
        }
    }

    fn severity(self) -> ErrorSeverity {
        match self {
            Self::Full | Self::Storage => ErrorSeverity::Fatal,
            _ => ErrorSeverity::Error,
        }
    }

    /// Which field of MSH it is about.
    fn field(self) -> Option<usize> {
        match self {
            Self::NoControlId | Self::ControlIdReused => Some(10),
            Self::ForeignSender => Some(3),
            Self::Unrouted => Some(9),
            _ => None,
        }
    }
}

/// All stored, or something to send again, or something that never will be.
fn worst(results: impl Iterator<Item = Received>) -> Received {
    results.fold(Received::Stored, |worst, result| match (worst, result) {
        (Received::Retryable, _) | (_, Received::Retryable) => Received::Retryable,
        (Received::Unusable, _) | (_, Received::Unusable) => Received::Unusable,
        _ => Received::Stored,
    })
}

/// MSH-7 of an ACK: now, with milliseconds and offset.
fn timestamp() -> String {
    Timestamp::now()
        .to_zoned(TimeZone::UTC)
        .strftime("%Y%m%d%H%M%S.%3f%z")
        .to_string()
}

/// MSH-10 of our own: 20 characters, unique in this process and, by its random half, among all.
struct ControlIds {
    prefix: u32,
    next: AtomicU64,
}

impl ControlIds {
    fn new() -> Self {
        let (_, random) = uuid::Uuid::new_v4().as_u64_pair();
        Self {
            prefix: u32::try_from(random & 0xffff_ffff).unwrap_or(0),
            next: AtomicU64::new(1),
        }
    }

    fn next(&self) -> String {
        format!(
            "{:08x}{:012x}",
            self.prefix,
            self.next.fetch_add(1, Ordering::Relaxed)
        )
    }
}
