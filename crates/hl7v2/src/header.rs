//! The message header, MSH (HL7 v2 chapter 2.14.9), with names for its fields.

use std::borrow::Cow;

use crate::delimiters::Delimiters;
use crate::message::Message;
use crate::node::Node;
use crate::segment::Segment;
use crate::version::Version;

/// The MSH segment of a message: routing, acknowledgement and identity.
///
/// What has components that matter is a [`Node`]; what is one value is text,
/// empty when the field is.
#[derive(Clone, Copy, Debug)]
pub struct Header<'a> {
    segment: Segment<'a>,
}

impl<'a> Header<'a> {
    pub(crate) fn new(segment: Segment<'a>) -> Self {
        Self { segment }
    }

    /// The segment itself, for fields that have no name here.
    #[must_use]
    pub fn segment(&self) -> Segment<'a> {
        self.segment
    }

    /// The message that it heads.
    #[must_use]
    pub fn message(&self) -> &'a Message<'a> {
        self.segment.message()
    }

    /// MSH-1 and MSH-2.
    #[must_use]
    pub fn delimiters(&self) -> Delimiters {
        self.message().delimiters()
    }

    /// MSH-3, sending application (HD).
    #[must_use]
    pub fn sending_application(&self) -> Node<'a> {
        self.segment.field(3)
    }

    /// MSH-4, sending facility (HD).
    #[must_use]
    pub fn sending_facility(&self) -> Node<'a> {
        self.segment.field(4)
    }

    /// MSH-5, receiving application (HD).
    #[must_use]
    pub fn receiving_application(&self) -> Node<'a> {
        self.segment.field(5)
    }

    /// MSH-6, receiving facility (HD).
    #[must_use]
    pub fn receiving_facility(&self) -> Node<'a> {
        self.segment.field(6)
    }

    /// MSH-7, when the message was made (DTM).
    #[must_use]
    pub fn message_datetime(&self) -> Node<'a> {
        self.segment.field(7)
    }

    /// MSH-9.1, message code: `ORU`.
    #[must_use]
    pub fn code(&self) -> Cow<'a, str> {
        self.segment.field(9).child(1).text()
    }

    /// MSH-9.2, trigger event: `R01`.
    #[must_use]
    pub fn event(&self) -> Cow<'a, str> {
        self.segment.field(9).child(2).text()
    }

    /// MSH-9.3, message structure: `ORU_R01`. Often empty before 2.5.
    #[must_use]
    pub fn structure(&self) -> Cow<'a, str> {
        self.segment.field(9).child(3).text()
    }

    /// MSH-10, the sender's id of the message, as text. What an
    /// acknowledgement repeats are its bytes: [`Header::control_id_raw`].
    #[must_use]
    pub fn control_id(&self) -> Cow<'a, str> {
        self.segment.field(10).text()
    }

    /// The whole of MSH-10 byte for byte, for MSA-2.
    #[must_use]
    pub fn control_id_raw(&self) -> &'a [u8] {
        self.segment.field(10).raw()
    }

    /// MSH-11, processing id (PT): production, training, debugging.
    #[must_use]
    pub fn processing_id(&self) -> Node<'a> {
        self.segment.field(11)
    }

    /// MSH-12 as it stands (VID).
    #[must_use]
    pub fn version_id(&self) -> Node<'a> {
        self.segment.field(12)
    }

    /// The version that MSH-12 means, see [`Message::version`].
    #[must_use]
    pub fn version(&self) -> Version {
        self.message().version()
    }

    /// MSH-13, sequence number; `None` when empty or no number.
    #[must_use]
    pub fn sequence_number(&self) -> Option<i64> {
        self.segment.field(13).text().trim().parse().ok()
    }

    /// MSH-14, continuation pointer.
    #[must_use]
    pub fn continuation(&self) -> Node<'a> {
        self.segment.field(14)
    }

    /// MSH-15, accept acknowledgement type (table 0155): `AL`, `NE`, `ER`, `SU` or empty.
    #[must_use]
    pub fn accept_ack(&self) -> Cow<'a, str> {
        self.segment.field(15).text()
    }

    /// MSH-16, application acknowledgement type (table 0155).
    #[must_use]
    pub fn application_ack(&self) -> Cow<'a, str> {
        self.segment.field(16).text()
    }

    /// MSH-18, character sets (table 0211), repeating. What was made of it is
    /// [`Message::charset`].
    #[must_use]
    pub fn charset(&self) -> Node<'a> {
        self.segment.field(18)
    }
}
