//! The first screen: what a user copies from.

use std::net::SocketAddr;

use crate::config::Config;
use crate::luns::Lun;
use crate::node::{Catalog, Node, Offer};
use crate::{reach, size};

/// Says what is served, and where.
pub fn announce(node: &Node, config: &Config, snmp: Option<SocketAddr>, metrics: Option<SocketAddr>) {
    let catalog = node.catalog();
    println!("iesp {} serves", env!("CARGO_PKG_VERSION"));
    for offer in &catalog.offers {
        let waiting = node.waiting().clone();
        let is_waiting = |number: u16| waiting.iter().any(|waiting| waiting.is_at(&offer.target.name, number));
        for lun in offer.target.luns().iter().filter(|lun| !is_waiting(lun.number)) {
            println!("  LUN {:<3} {}", lun.number, describe(lun));
        }
        for waiting in waiting.iter().filter(|waiting| waiting.target == offer.target.name) {
            println!("  LUN {:<3} not there, and tried again: {}", waiting.number, waiting.reason);
        }
        println!("  target  {}", offer.target.name);
    }
    addresses(&catalog);
    for offer in &catalog.offers {
        urls(&catalog, offer);
    }
    if let Some(address) = snmp {
        println!("  SNMP    {address}");
    }
    if let Some(address) = metrics {
        println!("  metrics http://{address}/metrics");
    }
    let is_long = |offer: &Offer| ["iqn.", "eui.", "naa."].iter().any(|form| offer.target.name.starts_with(form));
    if !catalog.offers.iter().all(is_long) {
        println!("Windows and ESXi take longer names only: give one with -t, as in -t iqn.2026-01.home.nas:disk");
    }
    for advice in config.advice() {
        println!("Warning: {advice}");
    }
    println!("Ctrl-C stops it.");
}

/// What can be entered elsewhere; then where it listens for that, where this is another address.
fn addresses(catalog: &Catalog) {
    let (all, single): (Vec<_>, Vec<_>) =
        catalog.portals.iter().partition(|portal| portal.address.ip().is_unspecified());
    for portal in &single {
        println!("  address {}", portal.address);
    }
    for portal in &all {
        let is_new = |address: &&SocketAddr| single.iter().all(|other| other.address != **address);
        for reached in reach::addresses(portal.address).iter().filter(is_new) {
            println!("  address {reached}");
        }
    }
    for portal in &all {
        println!("  listens {}", portal.address);
    }
}

/// A disk in a line.
pub fn describe(lun: &Lun) -> String {
    let facts = lun.backend.facts();
    let (what, len, block) = (&lun.config.source, size::show(facts.len), lun.block_size());
    let read_only = if facts.read_only { ", read-only" } else { "" };
    let shared = if lun.config.is_shared() { ", shared" } else { "" };
    format!("{what} ({len}, {block}-byte blocks{read_only}{shared})")
}

fn urls(catalog: &Catalog, offer: &Offer) {
    for portal in catalog.portals.iter().filter(|portal| offer.is_at(portal.id)) {
        for reached in reach::addresses(portal.address) {
            for lun in offer.target.luns().iter() {
                println!("  URL     iscsi://{reached}/{}/{}", offer.target.name, lun.number);
            }
        }
    }
}
