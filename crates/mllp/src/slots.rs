//! Counting connections, in total and per address.

use std::{
    collections::HashMap,
    net::IpAddr,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use crate::observer::RejectReason;

/// The places for connections of one listener.
#[derive(Debug)]
pub(crate) struct Slots {
    connections: usize,
    per_peer: usize,
    used: Mutex<Used>,
}

#[derive(Debug, Default)]
struct Used {
    total: usize,
    by_peer: HashMap<IpAddr, usize>,
}

/// One place; given back when dropped.
#[derive(Debug)]
pub(crate) struct Slot {
    slots: Arc<Slots>,
    peer: IpAddr,
}

// === impl Slots ===

impl Slots {
    pub(crate) fn new(connections: usize, per_peer: usize) -> Arc<Self> {
        Arc::new(Self {
            connections,
            per_peer,
            used: Mutex::default(),
        })
    }

    /// Takes a place for `peer`. An IPv4 address mapped into IPv6 counts as the IPv4 address.
    pub(crate) fn take(self: &Arc<Self>, peer: IpAddr) -> Result<Slot, RejectReason> {
        let peer = peer.to_canonical();
        let mut used = self.lock();
        if used.total >= self.connections {
            return Err(RejectReason::Connections);
        }
        let of_peer = used.by_peer.get(&peer).copied().unwrap_or(0);
        if of_peer >= self.per_peer {
            return Err(RejectReason::ConnectionsPerPeer);
        }
        used.by_peer.insert(peer, of_peer.saturating_add(1));
        used.total = used.total.saturating_add(1);
        drop(used);
        Ok(Slot {
            slots: Arc::clone(self),
            peer,
        })
    }

    fn lock(&self) -> MutexGuard<'_, Used> {
        // The two counts are set by assignments that cannot panic in between.
        self.used.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

// === impl Slot ===

impl Drop for Slot {
    fn drop(&mut self) {
        let mut used = self.slots.lock();
        used.total = used.total.saturating_sub(1);
        if let Some(count) = used.by_peer.get_mut(&self.peer) {
            *count = count.saturating_sub(1);
            if *count == 0 {
                used.by_peer.remove(&self.peer);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn caps_hold_and_places_come_back() {
        let slots = Slots::new(3, 2);
        let one = IpAddr::from([192, 0, 2, 1]);
        let two = IpAddr::from([192, 0, 2, 2]);
        let first = slots.take(one).unwrap();
        let _second = slots.take(one).unwrap();
        assert_eq!(
            slots.take(one).unwrap_err(),
            RejectReason::ConnectionsPerPeer
        );
        let _third = slots.take(two).unwrap();
        assert_eq!(slots.take(two).unwrap_err(), RejectReason::Connections);
        drop(first);
        slots.take(one).unwrap();
    }

    #[test]
    fn nothing_is_kept_of_peers_that_left() {
        let slots = Slots::new(8, 8);
        for last in 0..200 {
            slots.take(IpAddr::from([198, 51, 100, last])).unwrap();
        }
        assert!(slots.lock().by_peer.is_empty());
        assert_eq!(slots.lock().total, 0);
    }

    #[test]
    fn mapped_addresses_count_as_their_ipv4_address() {
        let slots = Slots::new(8, 1);
        let _kept = slots.take("192.0.2.1".parse().unwrap()).unwrap();
        slots.take("::ffff:192.0.2.1".parse().unwrap()).unwrap_err();
    }
}
