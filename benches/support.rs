//! Timing support
