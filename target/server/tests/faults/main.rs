//! The faults of the C++ program that the host program could have, each seen from outside: the real program, over TCP.
//! The numbers are those of the list that the project began with. What cannot be brought about from outside (a flush that
//! fails: fault 13 and half of fault 7) `iesp-scsi` tests with a disk that fails.

#[path = "../support/mod.rs"]
mod support;

mod commands;
mod data;
mod identity;
mod protocol;
