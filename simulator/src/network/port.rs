//! An end of a wire, as a network chip for embassy's stack.

use std::task::Context;

use embassy_net_driver::{Capabilities, Driver, HardwareAddress, LinkState, RxToken, TxToken};

use super::SharedWire;
use crate::time::now_us;

/// A station's plug.
#[derive(Clone)]
pub struct Port {
    wire: SharedWire,
    end: usize,
}

impl Port {
    /// End 0 or 1 of a wire.
    pub fn new(wire: &SharedWire, end: usize) -> Self {
        Self { wire: SharedWire::clone(wire), end: end & 1 }
    }
}

impl Driver for Port {
    type RxToken<'a> = Frame;
    type TxToken<'a> = Sender;

    fn receive(&mut self, cx: &mut Context<'_>) -> Option<(Frame, Sender)> {
        let mut wire = self.wire.borrow_mut();
        if let Some(frame) = wire.arrived(self.end, now_us()) {
            return Some((Frame(frame), Sender(self.clone())));
        }
        let end = &mut wire.ends[self.end];
        end.waker = Some(cx.waker().clone());
        if let Some(((at, _), _)) = end.coming.first_key_value() {
            embassy_time_driver::schedule_wake(*at, cx.waker());
        }
        None
    }

    fn transmit(&mut self, _: &mut Context<'_>) -> Option<Sender> {
        Some(Sender(self.clone()))
    }

    fn link_state(&mut self, cx: &mut Context<'_>) -> LinkState {
        let mut wire = self.wire.borrow_mut();
        wire.ends[self.end].waker = Some(cx.waker().clone());
        if wire.up { LinkState::Up } else { LinkState::Down }
    }

    fn capabilities(&self) -> Capabilities {
        let mut capabilities = Capabilities::default();
        // With the Ethernet header.
        capabilities.max_transmission_unit = self.wire.borrow().weather.mtu + 14;
        capabilities
    }

    fn hardware_address(&self) -> HardwareAddress {
        HardwareAddress::Ethernet(self.wire.borrow().ends[self.end].mac)
    }
}

/// A frame that arrived.
pub struct Frame(Vec<u8>);

impl RxToken for Frame {
    fn consume<R, F: FnOnce(&mut [u8]) -> R>(mut self, f: F) -> R {
        f(&mut self.0)
    }
}

/// Room for a frame that leaves.
pub struct Sender(Port);

impl TxToken for Sender {
    fn consume<R, F: FnOnce(&mut [u8]) -> R>(self, len: usize, f: F) -> R {
        let mut frame = vec![0; len];
        let result = f(&mut frame);
        self.0.wire.borrow_mut().send(self.0.end, frame, now_us());
        result
    }
}
