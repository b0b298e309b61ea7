//! The SNMP agent as people meet it: Debian's tools against the program.

#[path = "../support/mod.rs"]
mod support;

mod load;
mod tables;
mod tools;
mod version_3;
