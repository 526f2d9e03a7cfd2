//! The durable store-and-forward queue: opaque bytes, ordering keys, destinations.
//!
//! A record is appended once and delivered to each of its destinations, in order per key, at least once. The
//! gateway writes a positive ACK only after [`Queue::append`] has returned: that is what the queue is for.
//! It knows no HL7 and no FHIR. [`Queue`] is the seam; [`EmbeddedQueue`] is the store on SQLite.
//!
//! ```
//! use queue::{EmbeddedQueue, NewRecord, Options, Outcome, Queue};
//! # async fn example(folder: &std::path::Path) -> queue::Result<()> {
//! let queue = EmbeddedQueue::open(folder, Options { min_free_bytes: 0, ..Options::default() })?;
//! queue
//!     .append(vec![NewRecord {
//!         payload: "MSH|^~\\&|LAB1|...".into(),
//!         ordering_keys: vec!["LAB1|4711".to_owned()],
//!         destinations: vec!["fhir".to_owned()],
//!         ..NewRecord::default()
//!     }])
//!     .await?; // durable from here on
//! for lease in queue.lease("fhir", 16, queue::DEFAULT_LEASE).await? {
//!     // ... deliver lease.payload ...
//!     queue.settle(lease.id, Outcome::Delivered { detail: None }).await?;
//! }
//! # Ok(())
//! # }
//! # let folder = std::env::temp_dir().join(format!("queue-doc-{}", std::process::id()));
//! # tokio::runtime::Runtime::new().unwrap().block_on(example(&folder)).unwrap();
//! # std::fs::remove_dir_all(folder).unwrap();
//! ```
//!
//! # Invariants
//!
//! These hold after every commit, and so after every crash. `tests/model.rs` checks 1 to 6 on random
//! histories, `tests/crash.rs` on killed processes; [`Queue::check`] recounts 4 to 6 on any queue.
//!
//! 1. **Durable, then told.** No answer of `append`, `settle`, `replay`, `release`, `pause` or `retain` is
//!    given before its transaction is committed with the write-ahead log flushed.
//! 2. **All or none.** A batch is stored whole or not at all. Duplicates, and conflicts where the policy is
//!    to reject them, are answers, not failures: the rest of their batch is stored.
//! 3. **Order.** For one destination and one ordering key, a record is leased only when all earlier records
//!    with that key are delivered, dead or filtered. A record with two keys waits for and blocks both.
//! 4. **Books.** For each destination, accepted = queued + waiting + leased + retrying + parked + delivered +
//!    dead + filtered, and each of these equals the number of deliveries in that state, plus what retention
//!    has removed. The books change in the transaction of what they count.
//! 5. **Position.** Every record up to a destination's position that is meant for it has a `deliveries` row.
//! 6. **Lanes.** A delivery that is open and has a row stands on the lane of each of its keys; nothing else
//!    stands there.
//! 7. **One writer.** One process owns the queue (a lock on `queue.lock`, let go of by the kernel), one thread
//!    of it at a time writes.
//! 8. **Numbers** of records grow and are never used again, whatever retention removes.
//!
//! # How a record lives
//!
//! Appending writes one row in `records`, nothing per destination: a delivery without a
//! row is queued. A destination's scan goes over the records in order. What it meets is leased if its keys are
//! free; else it gets a row in the state *waiting* and a place on its lanes, and is not scanned again. So a
//! destination that is down costs nothing per record, a blocked key costs one small row per record once, and
//! no list of any of this is kept in memory.
//!
//! ```text
//!            scan, key free                       delivered, filtered, dead
//! (no row) ----------------> leased -------------------------------------------> final
//!     |                       |  ^                                              (the next record
//!     | scan, key taken       |  | lease      retry at         release           of its lanes
//!     v                       |  +-- queued <---------- parked <---- person       gets ready)
//!  waiting ---- it is first --|------^   retrying (leased again when due)
//!               on its lanes  +--> retrying, parked: a row on its lanes blocks the key
//! ```
//!
//! A lease is memory of this process. It ends by being settled, by running out (then the record is leased to
//! the next who asks), or with the process. Attempts are counted when a lease is settled with a counted retry.
//!
//! # On disk
//!
//! A folder with `queue.db` (SQLite, WAL mode, `synchronous = FULL`, 8 kB pages), its `-wal` and `-shm`, and
//! `queue.lock` (the owner's process id). The schema, with a comment on each column, is
//! `src/embedded/schema/`; in short:
//!
//! ```text
//! destinations (id, name, paused, position, the counters of the books)     row 0: nobody
//! audiences    (audience, destination)                                     sets of destinations
//! records      (id, times, audience, size, checksum, listener, route, keys, attributes,
//!               content hash, dedup key, conflict_of, replay_of, edit_of, urgent, cipher, ack, payload)
//! deliveries   (destination, record, state, attempts, not_before, changed_at, reason, detail, pass, urgent)
//! lanes        (destination, hash of the key, record)
//! tokens       (token, time, answer)                                       replays that were done
//! holds        (destination, lanes, listener, message type, reason)        what is to wait
//! ciphers      (name of a key)                                             what something is encrypted with
//! audit        (time, who, action, detail)                                 what people did
//! ```
//!
//! - `PRAGMA application_id` is `FhwQ`; a database without it is refused. `PRAGMA user_version` is the schema
//!   version: older files are migrated in one transaction when opened, newer ones are refused unread.
//! - `checksum` is a CRC-32C over payload, listener, route, keys, attributes and ACK, each with its length. It
//!   is verified whenever the record is leased, read, or its ACK is given to a duplicate.
//! - A lane is a 64-bit hash of an ordering key. Keys with one hash are kept in order with each other, which is
//!   slower and never wrong.
//! - Times are milliseconds since 1970 by the queue's own clock: the wall clock at opening, but never before
//!   the newest time stored, plus the monotonic time since. Jumps of the wall clock move neither retries nor
//!   the window of duplicates, and stored times never decrease with the record number.
//!
//! # Crashes and failures
//!
//! - **Killed, or power cut.** What is committed is there; SQLite drops a torn tail of the log at the last
//!   whole commit, and nothing in it was acknowledged. Leases are gone, so what was leased is delivered again:
//!   the effect of a delivery must not depend on how often it is done. Opening gives a row to each record that
//!   was leased without one, so that later records of its keys stay behind it.
//! - **Damaged record.** Its delivery becomes a dead letter with the reason [`REASON_CORRUPT`], the observer
//!   raises an alarm, all others go on. Damage to the tree itself is [`QueueError::Corrupt`].
//! - **No room.** `append` and `replay` answer [`QueueError::Full`], at the bound of bytes, at the reserve of
//!   free disk, or when the file system is really full. Settling is tried alone then and may use the reserve.
//!   It goes on by itself when there is room.
//! - **Failed commit or failed storage.** After a failed `fsync` nobody knows what is on the disk, and asking
//!   again may wrongly say "all is well". So the queue stops: everything but `status` answers
//!   [`QueueError::Stopped`] until it is opened again, which reads the truth from the disk. Whoever got the
//!   error was not told that anything is stored, though it may be: the resent record is then a duplicate.
//! - **A caller that goes away** in the middle of `append`: stored or not, as for a lost answer. In the middle
//!   of `lease`: the records are given back at once.
//!
//! # Group commit
//!
//! All requests that came during a commit are done in the next transaction, committed and answered together.
//! There is no timer: alone, a request waits for nobody; with many, they share a flush. A caller that finds
//! nobody at work commits by itself (on a runtime of several threads), which spares it two changes of threads;
//! when several come at once, a thread of the queue's own does their groups. Leases are done last in a group, so
//! they see all of it. A group has at most 4,096 requests or 64 MiB. A log that has grown to `checkpoint_pages`
//! is moved into the database by the commit that finds it so.
//!
//! # Holds, pauses, urgent records
//!
//! A paused destination leases nothing, a hold parks what it matches when its turn comes. [`Queue::pass`] lets single
//! deliveries through both; a mark in their row says so, also after a restart. An urgent record, and all it has to
//! wait for on its lanes, is marked as well, and marked rows are leased first, up to three quarters of a call. What
//! lies between the scan and an urgent record gets rows for it, so that nothing overtakes on a lane.
//!
//! # Encryption
//!
//! With [`Options::keys`], payload, ACK, ordering keys and outcome details are sealed with AES-256-GCM, each with a
//! nonce of its own made at random; record number, kind and key are authenticated, so that nothing can be moved.
//! `ciphers` names the keys that something may be sealed with: without one of them the queue does not open, and
//! loses nothing. [`Queue::reencrypt`] rewrites what has another key or none; what was freed before keys were given
//! stays in free pages until they are used again. Not encrypted: times, sizes, names, states, reasons, attributes,
//! duplicate keys, the hash of the content and the lanes (hashes of ordering keys).
//!
//! # What it does not do
//!
//! It does not replicate or shrink its file (freed pages are used again). It does not know whether
//! a delivery has an effect twice. It does not count an attempt that took the whole process down.

mod browse;
mod embedded;
mod encryption;
mod error;
mod faults;
mod hold;
mod home;
mod observer;
mod options;
mod queue;
mod rabbitmq;
mod record;
mod status;

pub use self::{
    browse::{
        DeliveryDetail, Filter, RecordDetail, RecordSummary, Release, Replay, Replayed,
        ReplayedRecord, Retained, Retention,
    },
    embedded::{EmbeddedQueue, QueueReader},
    encryption::EncryptionKey,
    error::{Bound, Cause, Class, QueueError, Result},
    faults::{Fault, Faults, Point},
    hold::{AuditEntry, Backup, Hold, HoldId, NewAudit, NewHold},
    home::{
        Database, Dialect, Home, PostgresHome, PostgresOptions, Row, SqliteHome, Transaction, Value,
    },
    observer::{Commit, Observer},
    options::{Dedup, OnConflict, Options},
    queue::Queue,
    rabbitmq::{RabbitOptions, RabbitQueue},
    record::{Appended, DEFAULT_LEASE, Lease, LeaseId, NewRecord, Outcome, RecordId, State},
    status::{Check, DestinationStatus, Status},
};

/// Reason of a dead letter whose bytes no longer fit their checksum.
pub const REASON_CORRUPT: &str = "corrupt";

/// Reason of a delivery that waits because of a [`Hold`].
pub const REASON_HELD: &str = "held";
