//! How many connections there are, in all and from each peer.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv6Addr};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::limits::Limits;

/// Counts connections.
#[derive(Debug, Default)]
pub(super) struct Peers(Mutex<Counts>);

#[derive(Debug, Default)]
struct Counts {
    total: usize,
    by_peer: HashMap<IpAddr, usize>,
}

/// One connection's place; free again when it is dropped.
#[derive(Debug)]
pub(super) struct Place {
    peers: Arc<Peers>,
    peer: IpAddr,
}

impl Peers {
    /// A place for a connection from this address.
    ///
    /// # Errors
    /// Which limit is reached.
    pub(super) fn place(
        self: &Arc<Self>,
        address: IpAddr,
        limits: &Limits,
    ) -> Result<Place, &'static str> {
        let peer = network(address);
        let mut counts = self.counts();
        if counts.total >= limits.connections_max {
            return Err("limit");
        }
        let of_peer = counts.by_peer.entry(peer).or_default();
        if *of_peer >= limits.connections_per_peer_max {
            return Err("peer_limit");
        }
        *of_peer += 1;
        counts.total += 1;
        Ok(Place {
            peers: Arc::clone(self),
            peer,
        })
    }

    fn counts(&self) -> MutexGuard<'_, Counts> {
        // No code panics while it holds this lock.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut counts = self.peers.counts();
        counts.total -= 1;
        if let Some(of_peer) = counts.by_peer.get_mut(&self.peer) {
            *of_peer -= 1;
            if *of_peer == 0 {
                counts.by_peer.remove(&self.peer);
            }
        }
    }
}

/// What one sender has at its disposal: an IPv4 address, an IPv6 network of 64 bits.
fn network(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(v6) if !v6.is_loopback() => {
            IpAddr::V6(Ipv6Addr::from_bits(v6.to_bits() >> 64 << 64))
        }
        other => other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_are_counted_in_all_and_by_peer() {
        let limits = Limits {
            connections_max: 3,
            connections_per_peer_max: 2,
            ..Limits::default()
        };
        let peers = Arc::new(Peers::default());
        let place = |address: &str| peers.place(address.parse().unwrap(), &limits);
        let first = place("2001:db8::1").unwrap();
        let _second = place("2001:db8::2").unwrap();
        assert_eq!(place("2001:db8::3").unwrap_err(), "peer_limit");
        let _third = place("10.0.0.1").unwrap();
        assert_eq!(place("10.0.0.2").unwrap_err(), "limit");
        drop(first);
        let _fourth = place("::ffff:10.0.0.1").unwrap();
        assert_eq!(place("10.0.0.1").unwrap_err(), "limit");
        assert_eq!(peers.counts().by_peer.len(), 2);
    }
}
