//! What is recorded: each scenario against a target of its own.
//!
//! A scenario has one command under way at a time on each connection, or such that the target cannot end before more
//! comes: so answers and their numbers follow from what was sent. It takes all that it causes.

mod commands;
mod data;
mod logins;
mod protocol;
mod tasks;

use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;

use super::program::Setup;
use super::record::Recorder;
use crate::answer::text;
use crate::client::{Client, Command, Done, Error, Login};
use crate::pdu::Pdu;

/// One scenario.
pub(super) struct Scenario {
    pub name: &'static str,
    pub setup: fn() -> Setup,
    pub run: fn(Scene) -> Running,
}

pub(super) type Running = Pin<Box<dyn Future<Output = Result<(), Error>>>>;

macro_rules! scenarios {
    ($($setup:expr => $module:ident: $($name:ident)+;)+) => {
        pub(super) const ALL: &[Scenario] = &[$($(Scenario {
            name: stringify!($name),
            setup: $setup,
            run: |scene| Box::pin($module::$name(scene)),
        },)+)+];
    };
}

scenarios! {
    disk => logins: login_to_logout login_keys login_refusals login_in_pieces discovery;
    logins::chap_setup => logins: chap chap_refusals;
    disk => logins: digests wrong_digests;
    disk => data: reads writes_in_all_ways writes_with_many_r2ts residuals;
    named_disk => commands: identification;
    disk => commands: modes block_commands sense_of_errors;
    disk => commands: reservations;
    two_disks => commands: several_logical_units;
    read_only => commands: write_protection;
    disk => tasks: abort_task abort_task_set task_management_of_nothing;
    two_disks => tasks: logical_unit_reset target_resets unit_attentions;
    disk => tasks: session_reinstatement;
    disk => protocol: rejects data_out_errors pings texts command_order;
}

fn disk() -> Setup {
    Setup::new(&["-b", "ram", "-d", "8M"])
}

/// A memory disk has another identity each time, unless it is given one.
fn named_disk() -> Setup {
    Setup::new(&["-b", "ram", "-d", "8M", "--uuid", "7d0b1e9a-8f0c-4f43-9d1c-2f2a6f1f4c55"])
}

fn two_disks() -> Setup {
    Setup::new(&["-b", "ram", "-d", "8M", "-d", "4M"])
}

fn read_only() -> Setup {
    Setup::new(&["-b", "ram", "-d", "8M", "--read-only"])
}

/// Where a scenario connects, and who records it.
#[derive(Debug, Clone)]
pub(super) struct Scene {
    pub address: SocketAddr,
    pub tap: Arc<Recorder>,
}

impl Scene {
    /// A connection before its login.
    async fn connect(&self) -> Result<Client, Error> {
        Client::connect_tapped(self.address, self.tap.clone()).await
    }

    /// A session of its own for each number, past its unit attention on LUN 0.
    async fn session(&self, number: u8, keys: &str) -> Result<Client, Error> {
        let mut client = self.connect().await?;
        client.initiator.isid = isid(number);
        client.login(&Login::normal("test").keys(keys)).await?;
        client.run(&Command::new(&[0])).await?;
        Ok(client)
    }
}

fn isid(number: u8) -> [u8; 6] {
    [0x80, 0, 0, 0, 0, number]
}

/// What sessions want unless a scenario wants something else.
const KEYS: &str = "MaxRecvDataSegmentLength=8192 MaxBurstLength=65536 FirstBurstLength=16384 InitialR2T=Yes \
    ImmediateData=Yes MaxOutstandingR2T=1 HeaderDigest=None DataDigest=None";

/// Data of which each block says where it is, and which packs well.
fn pattern(seed: u8, blocks: usize) -> Vec<u8> {
    (0..blocks).flat_map(|block| [[seed, block as u8, (block >> 8) as u8, 0xa5]; 128].concat()).collect()
}

/// A command that reads, or only ends.
async fn get(client: &mut Client, cdb: &[u8], len: u32) -> Result<Done, Error> {
    client.run(&Command::new(cdb).read(len)).await
}

/// Sends a PDU and takes its answer, a Reject included.
async fn exchange(client: &mut Client, pdu: &Pdu) -> Result<(), Error> {
    client.send(pdu).await?;
    client.answer().await?;
    Ok(())
}

/// A Text Request with these pairs, and its answer, a Reject included.
async fn say(client: &mut Client, pairs: &str) -> Result<(), Error> {
    let request = client.initiator.text_request();
    exchange(client, &Pdu::of(&request.emit(), &text(pairs))).await?;
    // RFC 7143 11.17: what is rejected leaves a gap, if it is not counted.
    client.initiator.cmd_sn = client.initiator.exp_cmd_sn;
    Ok(())
}

/// A command that writes what the target asks for.
async fn put(client: &mut Client, cdb: &[u8], data: &[u8]) -> Result<Done, Error> {
    client.run(&Command::new(cdb).write(data)).await
}
