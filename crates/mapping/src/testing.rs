//! Tests of a package: what a message must become, as a Bundle to compare with or as assertions about single elements.
//!
//! Pure like the rest: who runs tests reads the files, converts the messages, and asks here what is wrong with the result.

mod assertions;
mod difference;
mod expression;
mod lexer;
mod select;
mod settings;

pub use assertions::{Assertions, Mismatch, Subject};
pub use difference::{DiffLine, Difference, Side, differences};
pub use settings::TestSettings;

pub(crate) use expression::Condition;
pub(crate) use select::Document;
