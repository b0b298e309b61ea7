//! The program as whoever starts it sees it: its command line, its life, and who may log in.

#[path = "../support/mod.rs"]
mod support;

mod access;
mod durable;
mod life;
mod pages;
mod refusals;
mod service_files;
