//! The other end of the board's wire: a PC with a network stack of its own.

use std::net::Ipv4Addr;

use embassy_futures::select::{Either, select};
use embassy_net::{ConfigV4, Ipv4Cidr, Stack, StackResources, StaticConfigV4};

use crate::network::Port;
use crate::time::alongside;

/// MAC address of the PC.
pub const MAC: [u8; 6] = [0x02, 0x69, 0x45, 0x53, 0x50, 0x02];
/// Its address.
pub const ADDRESS: Ipv4Addr = Ipv4Addr::new(10, 0, 0, 1);
/// The board's: DHCP gives it this one.
pub const BOARD: Ipv4Addr = Ipv4Addr::new(10, 0, 0, 5);
/// Length of their network's prefix.
pub const PREFIX: u8 = 24;

/// Does something with the PC's network stack, and serves DHCP meanwhile.
pub async fn run<T>(port: Port, seed: u64, work: impl AsyncFnOnce(Stack<'_>) -> T) -> T {
    let mut resources = Box::new(StackResources::<16>::new());
    let v4 = StaticConfigV4 { address: Ipv4Cidr::new(ADDRESS, PREFIX), gateway: None, dns_servers: Default::default() };
    let mut config = embassy_net::Config::default();
    config.ipv4 = ConfigV4::Static(v4);
    let (stack, mut runner) = embassy_net::new(port, config, &mut resources, seed ^ 0x686f_7374);
    let served = async {
        match select(work(stack), crate::dhcp::serve(stack)).await {
            Either::First(done) => done,
            Either::Second(never) => match never {},
        }
    };
    alongside(runner.run(), served).await
}
