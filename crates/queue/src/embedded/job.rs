//! What a person asks of the writer: any work on the tables, answered after its commit.

use super::{request::Ask, writer::Writer};
use crate::error::{Class, QueueError, Result};

/// Work in a group.
pub(crate) trait Job: Send {
    /// Does it within the transaction. An error fails the transaction; a mistake of the caller only this job.
    fn run(&mut self, writer: &mut Writer, now: i64) -> Result<()>;
    fn is_open(&self) -> bool;
    fn fail(&mut self, error: &QueueError);
    fn reopen(&mut self);
    fn send(self: Box<Self>);
}

/// Work with an answer. It says what is wrong with the request before it changes anything.
pub(crate) struct Work<T, F> {
    work: F,
    ask: Ask<T>,
}

impl<T, F> Work<T, F>
where
    T: Send + 'static,
    F: FnMut(&mut Writer, i64) -> Result<T> + Send + 'static,
{
    pub(crate) fn boxed(ask: Ask<T>, work: F) -> Box<dyn Job> {
        Box::new(Self { work, ask })
    }
}

impl<T, F> Job for Work<T, F>
where
    T: Send,
    F: FnMut(&mut Writer, i64) -> Result<T> + Send,
{
    fn run(&mut self, writer: &mut Writer, now: i64) -> Result<()> {
        match (self.work)(writer, now) {
            Err(error) if error.class() != Class::Invalid => Err(error),
            answer => {
                self.ask.answer = Some(answer);
                Ok(())
            }
        }
    }

    fn is_open(&self) -> bool {
        self.ask.answer.is_none()
    }

    fn fail(&mut self, error: &QueueError) {
        self.ask.fail(error);
    }

    fn reopen(&mut self) {
        self.ask.answer = None;
    }

    fn send(self: Box<Self>) {
        drop(self.ask.send());
    }
}
