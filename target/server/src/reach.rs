//! The addresses under which other machines reach this one.

use std::net::{IpAddr, SocketAddr};

/// Where a listener is reached from outside: one on every address (`0.0.0.0`, `[::]`) by each address that this machine's
/// interfaces have, the others by their own. Where no interface has an address it is the loopback's.
pub fn addresses(listener: SocketAddr) -> Vec<SocketAddr> {
    let own = if_addrs::get_if_addrs().unwrap_or_default();
    expand(listener, own.into_iter().filter(if_addrs::Interface::is_oper_up).map(|interface| interface.ip()))
}

fn expand(listener: SocketAddr, own: impl Iterator<Item = IpAddr>) -> Vec<SocketAddr> {
    if !listener.ip().is_unspecified() {
        return vec![listener];
    }
    let mut reached: Vec<_> = own.filter(|ip| is_useful(*ip, listener)).collect();
    reached.sort_unstable();
    reached.dedup();
    if reached.is_empty() {
        reached.push(if listener.is_ipv4() { [127, 0, 0, 1].into() } else { std::net::Ipv6Addr::LOCALHOST.into() });
    }
    reached.into_iter().map(|ip| SocketAddr::new(ip, listener.port())).collect()
}

/// Of the listener's family, and one that another machine can be told: a link-local IPv6 address means nothing without
/// the interface's name there.
fn is_useful(ip: IpAddr, listener: SocketAddr) -> bool {
    let link_local = matches!(ip, IpAddr::V6(v6) if v6.is_unicast_link_local());
    ip.is_ipv4() == listener.is_ipv4() && !ip.is_loopback() && !ip.is_unspecified() && !link_local
}

#[cfg(test)]
mod tests {
    use super::*;

    fn expanded(listener: &str, own: &[&str]) -> Vec<String> {
        let own = own.iter().map(|ip| ip.parse().expect("an address"));
        expand(listener.parse().expect("an address"), own).iter().map(ToString::to_string).collect()
    }

    #[test]
    fn one_for_all_addresses_is_reached_by_each() {
        let own = ["127.0.0.1", "192.168.1.10", "10.0.0.2", "192.168.1.10", "::1", "fe80::1", "fd00::2"];
        assert_eq!(expanded("0.0.0.0:3260", &own), ["10.0.0.2:3260", "192.168.1.10:3260"]);
        assert_eq!(expanded("[::]:3261", &own), ["[fd00::2]:3261"]);
        assert_eq!(expanded("192.168.1.10:3260", &own), ["192.168.1.10:3260"]);
    }

    #[test]
    fn a_machine_without_a_network_reaches_itself() {
        assert_eq!(expanded("0.0.0.0:3260", &["127.0.0.1"]), ["127.0.0.1:3260"]);
        assert_eq!(expanded("[::]:3260", &[]), ["[::1]:3260"]);
    }

    #[test]
    fn this_machine_is_reached_somehow() {
        let reached = addresses("0.0.0.0:3260".parse().expect("an address"));
        assert!(!reached.is_empty() && reached.iter().all(|address| !address.ip().is_unspecified()), "{reached:?}");
    }
}
