#![doc = include_str!("../README.md")]

pub mod bundle;
pub mod definitions;
mod names;
pub mod outcome;
pub mod primitive;
pub mod tree;
pub mod validate;
pub mod xml;

pub use names::NameId;
