#![doc = include_str!("../README.md")]

pub mod ack;
pub mod batch;
pub mod charset;
pub mod continuation;
pub mod definitions;
mod delimiters;
pub mod dtm;
pub mod edit;
mod error;
mod escape;
mod header;
mod index;
mod issue;
mod leaves;
mod message;
mod node;
mod path;
mod place;
mod scan;
mod segment;
pub mod structure;
mod version;

pub use charset::Charset;
pub use delimiters::Delimiters;
pub use error::ParseError;
pub use header::Header;
pub use index::Index;
pub use issue::{Issue, IssueCode, Severity};
pub use leaves::Leaves;
pub use message::{MAX_BYTES, Message, ParseOptions, parse, parse_with};
pub use node::{Level, Node};
pub use path::{Path, PathError};
pub use place::Place;
pub use segment::Segment;
pub use version::Version;
