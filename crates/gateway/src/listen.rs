//! Carriers of messages: each turns what it carries into a call of [`Receiver`](crate::receive::Receiver),
//! and the answer back into what its sender understands.

pub mod mllp;
pub mod rabbitmq;
