//! HL7 v2 messages: parsed without copying, read by path, written back byte for byte.

pub mod charset;
mod delimiters;
pub mod dtm;
mod error;
mod escape;
mod header;
mod index;
mod issue;
mod message;
mod node;
mod path;
mod place;
mod scan;
mod segment;
mod version;

pub use charset::Charset;
pub use delimiters::Delimiters;
pub use error::ParseError;
pub use header::Header;
pub use index::Index;
pub use issue::{Issue, IssueCode, Severity};
pub use message::{MAX_BYTES, Message, ParseOptions, parse, parse_with};
pub use node::{Level, Node};
pub use path::{Path, PathError};
pub use place::Place;
#[doc(hidden)]
pub use scan::tokens_only;
pub use segment::Segment;
pub use version::Version;
