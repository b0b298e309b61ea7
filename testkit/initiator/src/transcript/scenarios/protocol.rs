//! What breaks the rules of the full feature phase, pings, texts, the order of commands.

use iesp_iscsi::pdu::{NopOut, Opcode, RESERVED_TAG, ScsiCommand};

use super::{KEYS, Scene, get, pattern, say};
use crate::answer::text;
use crate::cdb;
use crate::client::{Client, Command, Error};
use crate::field;
use crate::pdu::{Flaws, Pdu};

/// Sends a PDU, takes its answer, and sees that the session goes on.
async fn survives(client: &mut Client, pdu: &Pdu) -> Result<(), Error> {
    client.send(pdu).await?;
    client.answer().await?;
    client.ping(true, b"on").await?;
    Ok(())
}

/// An immediate TEST UNIT READY, which leaves no gap if it is rejected.
fn ready(client: &mut Client) -> ScsiCommand {
    let cmd_sn = client.initiator.cmd_sn;
    let command = ScsiCommand { immediate: true, ..client.initiator.bare(&[0]) };
    client.initiator.cmd_sn = cmd_sn;
    command
}

pub(super) async fn rejects(scene: Scene) -> Result<(), Error> {
    let mut client = scene.session(1, KEYS).await?;
    // Opcodes that no initiator sends, those of the target's, SNACK.
    for code in [0x07, 0x0f, 0x10, 0x1c, 0x20, 0x21, 0x25, 0x31, 0x3f] {
        let pdu = Pdu::of(&ready(&mut client).emit(), &[]).with(field::OPCODE, code).with(field::IMMEDIATE, 0);
        survives(&mut client, &pdu).await?;
    }
    // Flags: F missing, reserved ones, a bidirectional command.
    let plain = |client: &mut Client| Pdu::of(&ready(client).emit(), &[]);
    let pdu = plain(&mut client).with(field::FINAL, 0);
    survives(&mut client, &pdu).await?;
    let pdu = plain(&mut client).with(field::READ, 1).with(field::WRITE, 1).with(field::EXPECTED_LENGTH, 512);
    survives(&mut client, &pdu).await?;
    for attribute in 0..8 {
        let pdu = plain(&mut client).with(field::ATTRIBUTE, attribute);
        survives(&mut client, &pdu).await?;
    }
    // Additional headers: of an unknown kind, of length 0, a long CDB.
    for ahs in
        [&[0; 4][..], &[0xff; 8], &[0, 1, 200, 0], &[0, 17, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]]
    {
        let pdu = plain(&mut client).with_ahs(ahs);
        survives(&mut client, &pdu).await?;
    }
    // A task tag that is in use, and the one that is reserved.
    let data = pattern(1, 8);
    let itt = client.begin(&Command::new(&cdb::write(0, 8)).write(&data)).await?;
    let r2t = client.r2t(itt).await?;
    let pdu = plain(&mut client).with(field::INITIATOR_TASK_TAG, u64::from(itt));
    survives(&mut client, &pdu).await?;
    client.answer_r2t(&r2t, &data).await?;
    client.finish(itt, &data).await?;
    let pdu = plain(&mut client).with(field::INITIATOR_TASK_TAG, u64::from(RESERVED_TAG));
    survives(&mut client, &pdu).await?;
    // A data segment that is longer than was declared ends the connection.
    let mut client = scene.session(2, KEYS).await?;
    let ping = Pdu::of(&client.initiator.ping(true).emit(), &[]);
    client.send_flawed(&ping, Flaws { data_len: Some(0xff_ffff), ..Flaws::default() }).await?;
    while client.answer_or_end().await?.is_some() {}
    Ok(())
}

/// Data-Out that does not fit its R2T, each in a session of its own.
pub(super) async fn data_out_errors(scene: Scene) -> Result<(), Error> {
    let data = pattern(8, 8);
    let changes = [
        (field::TARGET_TRANSFER_TAG, 0x7777_7777),
        (field::TARGET_TRANSFER_TAG, u64::from(RESERVED_TAG)),
        (field::INITIATOR_TASK_TAG, 0x7777),
        (field::BUFFER_OFFSET, 512),
        (field::BUFFER_OFFSET, 1 << 20),
        (field::DATA_SN, 1),
        (field::FINAL, 0),
    ];
    for (number, (field, value)) in (1..).zip(changes) {
        let mut client = scene.session(number, KEYS).await?;
        let itt = client.begin(&Command::new(&cdb::write(0, 8)).write(&data)).await?;
        let r2t = client.r2t(itt).await?;
        for pdu in client.initiator.data_out(itt, r2t.ttt, 0, &data, data.len()) {
            client.send(&pdu.with(field, value)).await?;
        }
        // All that it leads to, behind which the ping's answer comes.
        client.ping(false, b"behind").await?;
        while let Some(answer) = client.left() {
            drop(answer);
        }
    }
    // Immediate data for a read, more of it than is expected, unsolicited data that was not allowed.
    let mut client = scene.session(20, KEYS).await?;
    let cmd_sn = client.initiator.cmd_sn;
    let read = client.initiator.read(&cdb::read(0, 1), 512);
    client.send(&Pdu::of(&read.emit(), &data[..512])).await?;
    client.answer().await?;
    client.initiator.cmd_sn = client.initiator.exp_cmd_sn.max(cmd_sn);
    let write = client.initiator.write(&cdb::write(0, 1), 512);
    client.send(&Pdu::of(&write.emit(), &data[..1024])).await?;
    client.answer().await?;
    client.initiator.cmd_sn = client.initiator.exp_cmd_sn;
    client.ping(false, b"on").await?;
    Ok(())
}

pub(super) async fn pings(scene: Scene) -> Result<(), Error> {
    let mut client = scene.session(1, KEYS).await?;
    for immediate in [false, true] {
        for len in [0, 1, 4, 1000, 8192] {
            client.ping(immediate, &pattern(1, 16)[..len]).await?;
        }
    }
    // One that wants no answer, with and without a tag of the target's.
    for ttt in [RESERVED_TAG, 0x1234] {
        let silent = NopOut { itt: RESERVED_TAG, ttt, ..client.initiator.ping(true) };
        client.send(&Pdu::of(&silent.emit(), &[])).await?;
    }
    client.ping(true, b"behind").await?;
    let odd = NopOut { ttt: 0x1234, ..client.initiator.ping(true) };
    survives(&mut client, &Pdu::of(&odd.emit(), b"odd")).await?;
    let lun = NopOut { lun: 9 << 48, ..client.initiator.ping(true) };
    survives(&mut client, &Pdu::of(&lun.emit(), b"lun")).await
}

pub(super) async fn texts(scene: Scene) -> Result<(), Error> {
    let mut client = scene.session(1, KEYS).await?;
    for pairs in [
        "SendTargets=",
        "SendTargets=test",
        "SendTargets=other",
        "SendTargets=All",
        "X-unknown=1 Unknown=2",
        "MaxRecvDataSegmentLength=4096",
        "MaxBurstLength=512",
        "InitiatorAlias=a",
        "",
    ] {
        say(&mut client, pairs).await?;
    }
    // In pieces; with a tag that the target never gave; a text without pairs; not the final one.
    let pieces = client.initiator.text_request();
    let first = Pdu::of(&pieces.emit(), &text("Send")[..4]).with(field::FINAL, 0).with(field::CONTINUE, 1);
    client.send(&first).await?;
    client.answer().await?;
    client.ping(true, b"on").await?;
    let stray = client.initiator.text_request();
    survives(&mut client, &Pdu::of(&stray.emit(), &text("SendTargets=")).with(field::TARGET_TRANSFER_TAG, 77)).await?;
    client.initiator.cmd_sn = client.initiator.exp_cmd_sn;
    let wrong = client.initiator.text_request();
    survives(&mut client, &Pdu::of(&wrong.emit(), b"no pair\0")).await?;
    client.initiator.cmd_sn = client.initiator.exp_cmd_sn;
    let open = client.initiator.text_request();
    survives(&mut client, &Pdu::of(&open.emit(), &text("SendTargets=")).with(field::FINAL, 0)).await
}

/// Commands before their turn, behind the window, twice.
pub(super) async fn command_order(scene: Scene) -> Result<(), Error> {
    let mut client = scene.session(1, KEYS).await?;
    let first = client.initiator.read(&cdb::read(0, 1), 512);
    let second = client.initiator.ping(false);
    // The second waits for the first, and an immediate command for neither.
    client.send(&Pdu::of(&second.emit(), b"second")).await?;
    client.ping(true, b"at once").await?;
    client.send(&Pdu::of(&first.emit(), &[])).await?;
    client.answer().await?;
    client.answer().await?;
    // Again, behind the window and far before it: dropped (RFC 7143 4.2.2.1).
    client.send(&Pdu::of(&first.emit(), &[])).await?;
    for distance in [1 << 16, 0x8000_0000] {
        let ping = Pdu::of(&second.emit(), b"dropped");
        client.send(&ping.with(field::CMD_SN, u64::from(client.initiator.cmd_sn.wrapping_add(distance)))).await?;
    }
    client.ping(true, b"behind").await?;
    get(&mut client, &cdb::read(0, 1), 512).await?;
    // Immediate commands, by all ways.
    client.run(&Command::new(&cdb::read(0, 1)).read(512).immediate_delivery()).await?;
    client.run(&Command::new(&cdb::write(0, 8)).write(&pattern(1, 8)).immediate(512).immediate_delivery()).await?;
    let logout = Pdu::new(Opcode::LogoutRequest).with(field::IMMEDIATE, 1).with(field::INITIATOR_TASK_TAG, 0x99);
    client.send(&logout.with(field::CMD_SN, u64::from(client.initiator.cmd_sn))).await?;
    client.answer().await?;
    client.end().await
}
