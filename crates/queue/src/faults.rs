//! The seam for fault tests: named points at which a test can kill the process or fail a step.

/// A point in the life of a commit group.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Point {
    /// A group of requests is about to be written.
    BeforeBegin,
    /// The rows are written, nothing is durable.
    BeforeCommit,
    /// Durable, nobody has been told.
    AfterCommit,
    /// Everybody has been told.
    AfterAnswer,
}

/// A failure to pretend.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Fault {
    /// The storage fails (as EIO from `fsync`).
    Io,
    /// The disk is full.
    Full,
}

/// Asked at each [`Point`], by whichever thread writes. It may kill the process, or return a fault, which is
/// obeyed at `BeforeCommit` and ignored elsewhere.
pub trait Faults: Send + Sync {
    /// Called at `point`.
    fn at(&self, point: Point) -> Option<Fault>;
}
