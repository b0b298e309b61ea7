//! Tests of login: its order, CHAP, and initiators that do anything.

mod anything;
mod chap;
mod order;
mod texts;
