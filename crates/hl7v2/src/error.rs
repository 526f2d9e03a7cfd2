//! The only reasons for which bytes cannot be read as a message at all.

/// Why there is no message. Everything else is an [`Issue`](crate::Issue)
/// beside the message. No variant holds text of the input.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ParseError {
    /// No line of the input starts with `MSH`.
    #[error("no MSH segment")]
    NoHeader,
    /// MSH-1 is missing, or a byte that cannot divide fields.
    #[error("MSH-1 is no usable field delimiter")]
    UnusableFieldDelimiter,
    /// MSH-2 is empty, or names a byte that cannot be a delimiter, or one byte
    /// for two purposes.
    #[error("MSH-2 holds no usable encoding characters")]
    UnusableEncodingCharacters,
    /// The input is larger than the index can address ([`crate::MAX_BYTES`]).
    #[error("message of {length} bytes is larger than the limit of {limit}")]
    TooLarge {
        /// Bytes in the input.
        length: usize,
        /// Bytes that are accepted at most.
        limit: usize,
    },
}
