//! The store on RabbitMQ: quorum queues carry the records, a shared [`Home`] remembers.
//!
//! Many gateways share the work. Each appends: a number from the home, a publish that the broker's majority has
//! confirmed, and only then an answer. Those that deliver share the queues of each destination among them; one node
//! at a time tends a queue, so the order of a key is the order of one queue read by one node.
//!
//! # Promises, and how they are kept
//!
//! 1. *Durable when it returns.* Persistent messages, publisher confirms of quorum queues, mandatory publishes. A
//!    nack, a return, a lost connection or silence is an error.
//! 2. *At least once, effect once.* A message is acknowledged after its outcome is written at the home. What is
//!    delivered or published again is recognised there by its number.
//! 3. *Order per key.* A key hashes to one queue; a queue has a single active consumer; of a key only the first
//!    record is leased. Records that must wait (a retry, a person) come home with their place on their lane, and go
//!    from there before anything of the window. A record with two keys stands on the lane of one, and a barrier on
//!    the lane of the other; it goes when both are first.
//! 4. *Books.* Counted in the transactions of the home that change what they count.
//! 5. *Bounded memory.* A window per queue; what is held is at the home, of which a node knows the lanes.
//!
//! # Without which
//!
//! When the broker or the home is away, `append` answers [`QueueError::Unavailable`](crate::QueueError), and
//! nothing is acknowledged. Deliveries go on when they are back.

mod feed;
mod link;
mod members;
mod message;
mod options;
mod publish;
mod queue;
mod settler;
mod tender;
mod topology;
mod window;

use std::{
    collections::BTreeMap,
    sync::{Arc, atomic::AtomicBool},
};

use lapin::Channel;
use tokio::sync::Mutex;

pub(crate) use self::message::Message;
use self::{feed::Feed, link::Link, topology::Names};
pub use self::{options::RabbitOptions, queue::RabbitQueue};
use crate::home::Home;

/// What all tasks of a queue share.
pub(crate) struct Shared {
    pub(crate) home: Arc<Home>,
    pub(crate) options: RabbitOptions,
    pub(crate) names: Names,
    /// The connection of consumers, and of dead letters.
    pub(crate) consumers: Link,
    pub(crate) feeds: BTreeMap<String, Arc<Feed>>,
    /// Name of this process among the nodes.
    pub(crate) node: String,
    /// The channel of dead letters.
    pub(crate) burials: Mutex<Option<Channel>>,
    /// Nobody will settle any more what is leased.
    pub(crate) gone: AtomicBool,
}
