//! The blocks that the i.MX 6UL and the i.MX RT have in common: the SD host controller (uSDHC) and the Ethernet
//! controller (ENET). Where they are, how they are clocked and which pins they have is the boards'.

#![no_std]

mod enet;
mod usdhc;

pub use enet::{Ethernet, Phy, QemuPhy, complete};
pub use usdhc::Usdhc;
