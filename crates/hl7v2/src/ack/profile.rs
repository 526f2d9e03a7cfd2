//! What AE and AR mean to a peer: they are read in opposite ways.

use super::Disposition;

/// Why a message was not accepted, as far as the sender must know.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Fault {
    /// The same message may be accepted later: the store is full, a system is down.
    Retryable,
    /// The same message will never be accepted: it must be changed first.
    Final,
}

/// How a peer reads negative acknowledgements. Configured for each listener and
/// each sender, as the standard leaves it open and products differ.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Profile {
    /// An error is sent again, a reject is not: most engines and monitors.
    #[default]
    Interop,
    /// A reject is sent again, an error stops the sender until somebody looks:
    /// the default of InterSystems products.
    Intersystems,
    /// Like `Interop` for what is final; what is retryable gets no answer, the
    /// connection is closed and the sender comes again: the Google adapter.
    CloseWithoutAck,
}

// === impl Profile ===

impl Profile {
    /// All profiles.
    pub const ALL: [Self; 3] = [Self::Interop, Self::Intersystems, Self::CloseWithoutAck];

    /// The name in a configuration file.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Interop => "interop",
            Self::Intersystems => "intersystems",
            Self::CloseWithoutAck => "close_without_ack",
        }
    }

    /// Reads the name of a configuration file.
    #[must_use]
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL
            .into_iter()
            .find(|profile| profile.as_str() == name)
    }

    /// How to tell the peer of a fault; `None` means to close the connection without an answer.
    #[must_use]
    pub fn disposition(self, fault: Fault) -> Option<Disposition> {
        TABLE
            .iter()
            .find(|(profile, of, _)| (*profile, *of) == (self, fault))
            .and_then(|(_, _, told)| *told)
    }
}

const TABLE: [(Profile, Fault, Option<Disposition>); 6] = [
    (Profile::Interop, Fault::Retryable, Some(Disposition::Error)),
    (Profile::Interop, Fault::Final, Some(Disposition::Reject)),
    (
        Profile::Intersystems,
        Fault::Retryable,
        Some(Disposition::Reject),
    ),
    (
        Profile::Intersystems,
        Fault::Final,
        Some(Disposition::Error),
    ),
    (Profile::CloseWithoutAck, Fault::Retryable, None),
    (
        Profile::CloseWithoutAck,
        Fault::Final,
        Some(Disposition::Reject),
    ),
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn error_and_reject_change_places() {
        for fault in [Fault::Retryable, Fault::Final] {
            let told = |profile: Profile| profile.disposition(fault);
            assert_ne!(told(Profile::Interop), told(Profile::Intersystems));
            assert!(told(Profile::Interop).is_some() && told(Profile::Intersystems).is_some());
        }
        assert_eq!(
            Profile::Interop.disposition(Fault::Retryable),
            Some(Disposition::Error)
        );
        assert_eq!(Profile::CloseWithoutAck.disposition(Fault::Retryable), None);
    }

    #[test]
    fn no_fault_is_told_as_accepted() {
        for (_, _, told) in TABLE {
            assert_ne!(told, Some(Disposition::Accepted));
        }
        assert_eq!(TABLE.len(), Profile::ALL.len() * 2);
    }

    #[test]
    fn names_are_read() {
        for profile in Profile::ALL {
            assert_eq!(Profile::from_name(profile.as_str()), Some(profile));
        }
        assert_eq!(Profile::from_name("other"), None);
    }
}
