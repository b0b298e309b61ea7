//! An initiator and a connection joined in memory, in virtual time: what RFC 7143 demands of a target, rule by rule.

use iesp_initiator as initiator;

mod pair;

mod anything;
mod control;
mod data_in;
mod data_out;
mod digests;
mod discovery;
mod management;
mod numbers;
mod rejects;
mod unsolicited;
