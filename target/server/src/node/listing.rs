//! What SendTargets tells (RFC 7143 Appendix C): the targets, and the addresses by which the initiator reaches them.

use std::net::SocketAddr;

use super::{Catalog, Offer, Portal, PortalId};
use crate::reach;

/// The targets of one answer. It is made when the answer begins, so that a reload while that takes several units neither
/// leaves a target out nor tells one twice.
#[derive(Debug)]
pub struct Listing {
    targets: Vec<(String, Vec<SocketAddr>)>,
}

impl Listing {
    /// For a connection to the address `local` that came by this portal.
    pub fn new(catalog: &Catalog, portal: PortalId, local: SocketAddr) -> Self {
        let reached: Vec<_> = catalog.portals.iter().map(|own| (own.id, reached(own, portal, local))).collect();
        let target = |offer: &Offer| {
            let mut addresses = Vec::new();
            for address in reached.iter().filter(|(id, _)| offer.is_at(*id)).flat_map(|(_, addresses)| addresses) {
                // Portals may overlap: one for all addresses, and one for one of them.
                if !addresses.contains(address) {
                    addresses.push(*address);
                }
            }
            (offer.target.name.clone(), addresses)
        };
        Self { targets: catalog.offers.iter().map(target).collect() }
    }

    /// The name of a target.
    pub fn target(&self, index: usize) -> Option<&str> {
        Some(&self.targets.get(index)?.0)
    }

    /// An address of a target.
    pub fn address(&self, target: usize, index: usize) -> Option<SocketAddr> {
        self.targets.get(target)?.1.get(index).copied()
    }
}

/// By which addresses a portal is reached. Where it listens on every address, the one that this connection came to stands for
/// all of its family; of another family it is reached by those of the machine's interfaces.
fn reached(portal: &Portal, own: PortalId, local: SocketAddr) -> Vec<SocketAddr> {
    let address = portal.address;
    if !address.ip().is_unspecified() {
        return vec![address];
    }
    // An IPv4 address that came through an IPv6 socket is an IPv4 address.
    let ip = local.ip().to_canonical();
    if portal.id == own || ip.is_ipv4() == address.is_ipv4() {
        return vec![SocketAddr::new(ip, address.port())];
    }
    // The loopback address means nothing to another machine.
    let mut others = reach::addresses(address);
    others.retain(|other| !other.ip().is_loopback() || ip.is_loopback());
    others
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_portal_on_every_address_is_reached_by_one() {
        let portal =
            |id, address: &str| Portal { id: PortalId(id), name: None, address: address.parse().expect("an address") };
        let told = |portal: &Portal, own, local: &str| {
            let addresses = reached(portal, PortalId(own), local.parse().expect("an address"));
            addresses.iter().map(ToString::to_string).collect::<Vec<_>>()
        };
        assert_eq!(told(&portal(1, "10.0.0.9:1"), 1, "10.0.0.1:1"), ["10.0.0.9:1"]);
        assert_eq!(told(&portal(1, "0.0.0.0:1"), 1, "10.0.0.1:1"), ["10.0.0.1:1"]);
        assert_eq!(told(&portal(2, "0.0.0.0:2"), 1, "10.0.0.1:1"), ["10.0.0.1:2"], "at its own port");
        assert_eq!(told(&portal(2, "[::]:2"), 2, "[::ffff:10.0.0.1]:2"), ["10.0.0.1:2"], "a socket of both families");
        assert_eq!(told(&portal(2, "[::]:2"), 1, "[fd00::1]:1"), ["[fd00::1]:2"]);
        for other in told(&portal(2, "[::]:2"), 1, "10.0.0.1:1") {
            assert!(!other.contains("[::]") && !other.contains("[::1]") && other.ends_with("]:2"), "{other}");
        }
    }
}
