//! Disks on NBD: the real program over TCP, in front of real servers (nbdkit, qemu-nbd, nbd-server) and of one that lies.

#[path = "../support/mod.rs"]
mod support;

mod away;
mod command_line;
mod flushes;
mod hostile;
mod servers;
mod service;
mod shared;
mod tls;
