//! mDNS (RFC 6762) and DNS-SD (RFC 6763): the board by its name, its target as `_iscsi._tcp`.

use core::net::{IpAddr, Ipv4Addr};

use edge_mdns::domain::base::Ttl;
use edge_mdns::host::{Host, Service, ServiceAnswers};
use edge_mdns::{HostAnswersMdnsHandler, MdnsHandler, MdnsRequest, MdnsResponse};
use embassy_futures::select::{Either, select};
use embassy_net::{IpAddress, Stack};
use embassy_time::{Duration, Timer};

use super::datagrams::Datagrams;
use crate::net::Hostname;

const PORT: u16 = 5353;
const GROUP: Ipv4Addr = Ipv4Addr::new(224, 0, 0, 251);

/// RFC 6762 10: how long records of a host's name hold.
const HOLDS: Ttl = Ttl::from_secs(120);

/// RFC 6762 11: so that none comes from further away than this network.
const HOP_LIMIT: u8 = 255;

/// RFC 6762 8.3: "at least two unsolicited responses, one second apart".
const ANNOUNCEMENTS: u32 = 2;

pub(super) const MESSAGE_MAX: usize = 768;

/// Answers whoever asks, for ever. `port` is the target's, `name` its iSCSI name.
pub(super) async fn run(
    stack: Stack<'_>,
    memory: (&mut Datagrams<MESSAGE_MAX>, &mut [u8; MESSAGE_MAX]),
    (hostname, name, port): (&Hostname, &str, u16),
) {
    let (datagrams, answer) = memory;
    let Some((mut socket, bytes)) = datagrams.open(stack, PORT) else { return };
    socket.set_hop_limit(Some(HOP_LIMIT));
    loop {
        stack.wait_config_up().await;
        let Some(config) = stack.config_v4() else { continue };
        if stack.join_multicast_group(GROUP).is_err() {
            return;
        }
        let hostname = hostname.as_str();
        let ipv4 = config.address.address();
        let host = Host { hostname, ipv4, ipv6: core::net::Ipv6Addr::UNSPECIFIED, ttl: HOLDS };
        let service = Service {
            name: hostname,
            priority: 0,
            weight: 0,
            service: "_iscsi",
            protocol: "_tcp",
            port,
            service_subtypes: &[],
            txt_kvs: &[("target", name)],
        };
        let mut handler = HostAnswersMdnsHandler::new(ServiceAnswers::new(&host, &service));
        let mut announced = 0;
        // Until the address changes.
        while stack.config_v4().is_some_and(|now| now.address.address() == ipv4) {
            let wait = if announced < ANNOUNCEMENTS { Duration::from_secs(1) } else { Duration::from_secs(10) };
            let (to, response) = match select(socket.recv_from(&mut bytes[..]), Timer::after(wait)).await {
                Either::First(Ok((len, from))) => {
                    let legacy = from.endpoint.port != PORT;
                    let data = bytes.get(..len).unwrap_or_default();
                    let request = MdnsRequest::Request { legacy, multicast: true, data };
                    // RFC 6762 6.7: who asks from another port is answered alone.
                    let to = if legacy { from.endpoint } else { group() };
                    // RFC 6762 11: what is not of this network is not for this responder.
                    if !is_near(config.address, from.endpoint.addr) {
                        continue;
                    }
                    (to, handler.handle(request, &mut answer[..]))
                }
                Either::First(Err(_)) => continue,
                Either::Second(()) if announced < ANNOUNCEMENTS => {
                    announced += 1;
                    (group(), handler.handle(MdnsRequest::None, &mut answer[..]))
                }
                Either::Second(()) => continue,
            };
            // What is no question, or none of ours, has no answer.
            if let Ok(MdnsResponse::Reply { data, .. }) = response {
                let _ = socket.send_to(data, to).await;
            }
        }
    }
}

fn group() -> embassy_net::IpEndpoint {
    embassy_net::IpEndpoint::new(IpAddress::Ipv4(GROUP), PORT)
}

fn is_near(network: embassy_net::Ipv4Cidr, peer: IpAddress) -> bool {
    match IpAddr::from(peer) {
        IpAddr::V4(peer) => network.contains_addr(&peer),
        IpAddr::V6(_) => false,
    }
}
