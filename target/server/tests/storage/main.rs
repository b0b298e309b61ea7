//! Files and devices below the target: every way to them, and what becomes of commands where they fail.

#[path = "../support/mod.rs"]
mod support;

mod commit;
mod durability;
mod engines;
mod failures;
mod frozen;
mod loops;
mod lost;
mod place;
mod thin;
