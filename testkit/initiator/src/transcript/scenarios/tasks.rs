//! Task management, unit attentions, sessions that take others' places.

use iesp_iscsi::pdu::{RESERVED_TAG, TaskFunction, TaskRequest};

use super::{KEYS, Scene, get, isid, pattern, put};
use crate::cdb;
use crate::client::{Client, Command, Error, Login};
use crate::field;
use crate::pdu::Pdu;

/// A write of eight blocks that waits for its data; its tag.
async fn waiting(client: &mut Client, lba: u64) -> Result<u32, Error> {
    let itt = client.begin(&Command::new(&cdb::write(lba, 8)).write(&pattern(6, 8))).await?;
    client.r2t(itt).await?;
    Ok(itt)
}

/// TEST UNIT READY on a logical unit, twice: the second tells of what is behind a unit attention.
async fn look(client: &mut Client, lun: u8) -> Result<(), Error> {
    for _ in 0..2 {
        client.run(&Command::new(&[0]).lun(lun)).await?;
    }
    Ok(())
}

pub(super) async fn abort_task(scene: Scene) -> Result<(), Error> {
    let mut client = scene.session(1, KEYS).await?;
    let data = pattern(7, 8);
    let cmd_sn = client.initiator.cmd_sn;
    let aborted = client.begin(&Command::new(&cdb::write(0, 8)).write(&data)).await?;
    let r2t = client.r2t(aborted).await?;
    let other = client.begin(&Command::new(&cdb::write(8, 8)).write(&data)).await?;
    let others = client.r2t(other).await?;
    client.manage(TaskFunction::AbortTask, 0, Some((aborted, cmd_sn))).await?;
    client.manage(TaskFunction::AbortTask, 0, Some((aborted, cmd_sn))).await?;
    // Data of a task that is gone, and of one that goes on.
    client.answer_r2t(&r2t, &data).await?;
    client.answer_r2t(&others, &data).await?;
    client.finish(other, &data).await?;
    get(&mut client, &cdb::read(0, 16), 8192).await?;
    // Of another logical unit; with a CmdSN that has not come yet.
    let itt = waiting(&mut client, 0).await?;
    client.manage(TaskFunction::AbortTask, 5 << 48, Some((itt, 0))).await?;
    let future = client.initiator.cmd_sn.wrapping_add(5);
    client.manage(TaskFunction::AbortTask, 0, Some((0x7777, future))).await?;
    client.manage(TaskFunction::AbortTask, 0, Some((itt, 0))).await?;
    look(&mut client, 0).await
}

pub(super) async fn abort_task_set(scene: Scene) -> Result<(), Error> {
    let (mut one, mut two) = (scene.session(1, KEYS).await?, scene.session(2, KEYS).await?);
    for function in [TaskFunction::AbortTaskSet, TaskFunction::ClearTaskSet] {
        for lba in [0, 8, 16] {
            waiting(&mut one, lba).await?;
        }
        let data = pattern(6, 8);
        let itt = two.begin(&Command::new(&cdb::write(24, 8)).write(&data)).await?;
        let r2t = two.r2t(itt).await?;
        one.manage(function, 0, None).await?;
        look(&mut one, 0).await?;
        if function == TaskFunction::AbortTaskSet {
            two.answer_r2t(&r2t, &data).await?;
            two.finish(itt, &data).await?;
        }
        look(&mut two, 0).await?;
    }
    Ok(())
}

pub(super) async fn task_management_of_nothing(scene: Scene) -> Result<(), Error> {
    let mut client = scene.session(1, KEYS).await?;
    let all = [
        TaskFunction::AbortTask,
        TaskFunction::AbortTaskSet,
        TaskFunction::ClearAca,
        TaskFunction::ClearTaskSet,
        TaskFunction::LogicalUnitReset,
        TaskFunction::TaskReassign,
        TaskFunction::Unknown(0),
        TaskFunction::Unknown(9),
        TaskFunction::Unknown(127),
    ];
    for function in all {
        for lun in [0, 9 << 48] {
            client.manage(function, lun, None).await?;
            look(&mut client, 0).await?;
        }
    }
    // In the order of CmdSN.
    let cmd_sn = client.initiator.cmd_sn;
    let request =
        TaskRequest { immediate: false, ..client.initiator.manage(TaskFunction::AbortTaskSet, RESERVED_TAG, 0) };
    client.initiator.cmd_sn = cmd_sn.wrapping_add(1);
    client.send(&Pdu::of(&request.emit(), &[])).await?;
    client.answer().await?;
    look(&mut client, 0).await
}

pub(super) async fn logical_unit_reset(scene: Scene) -> Result<(), Error> {
    let (mut one, mut two) = (scene.session(1, KEYS).await?, scene.session(2, KEYS).await?);
    look(&mut one, 1).await?;
    two.run(&Command::new(&[0x16, 0, 0, 0, 0, 0])).await?;
    waiting(&mut two, 0).await?;
    one.run(&Command::new(&[0])).await?;
    one.manage(TaskFunction::LogicalUnitReset, 0, None).await?;
    for client in [&mut one, &mut two] {
        look(client, 0).await?;
        look(client, 1).await?;
    }
    Ok(())
}

pub(super) async fn target_resets(scene: Scene) -> Result<(), Error> {
    let (mut one, mut two) = (scene.session(1, KEYS).await?, scene.session(2, KEYS).await?);
    waiting(&mut two, 0).await?;
    one.manage(TaskFunction::TargetWarmReset, 0, None).await?;
    for client in [&mut one, &mut two] {
        look(client, 0).await?;
        look(client, 1).await?;
    }
    waiting(&mut two, 0).await?;
    one.manage(TaskFunction::TargetColdReset, 0, None).await?;
    one.end().await?;
    two.end().await?;
    let mut client = scene.connect().await?;
    client.initiator.isid = isid(3);
    client.login(&Login::normal("test").keys(KEYS)).await?;
    look(&mut client, 0).await
}

/// What one session does and another one learns.
pub(super) async fn unit_attentions(scene: Scene) -> Result<(), Error> {
    let (mut one, mut two) = (scene.session(1, KEYS).await?, scene.session(2, KEYS).await?);
    // It waits while commands come that report none (SAM-5 5.14).
    let mut third = scene.connect().await?;
    third.initiator.isid = isid(3);
    third.login(&Login::normal("test").keys(KEYS)).await?;
    get(&mut third, &cdb::inquiry(None, 36), 36).await?;
    get(&mut third, &[0xa0, 0, 0, 0, 0, 0, 0, 0, 0, 64, 0, 0], 64).await?;
    get(&mut third, &[0x03, 0, 0, 0, 18, 0], 18).await?;
    look(&mut third, 0).await?;
    third.run(&Command::new(&cdb::write(0, 1)).lun(1).write(&pattern(1, 1)).immediate(512)).await?;
    look(&mut third, 1).await?;
    // MODE PARAMETERS CHANGED.
    let mut list = get(&mut one, &[0x1a, 8, 0x08, 0, 255, 0], 255).await?.data;
    (list[0], list[2]) = (0, 0);
    list[6] ^= 4;
    put(&mut one, &[0x15, 0x10, 0, 0, list.len() as u8, 0], &list).await?;
    for client in [&mut one, &mut two, &mut third] {
        get(client, &[0x1a, 8, 0x08, 0, 255, 0], 255).await?;
        look(client, 0).await?;
    }
    // Two at once: a reset, then changed parameters again.
    one.manage(TaskFunction::LogicalUnitReset, 0, None).await?;
    look(&mut one, 0).await?;
    put(&mut one, &[0x15, 0x10, 0, 0, list.len() as u8, 0], &list).await?;
    for client in [&mut one, &mut two, &mut third] {
        look(client, 0).await?;
        look(client, 0).await?;
    }
    Ok(())
}

pub(super) async fn session_reinstatement(scene: Scene) -> Result<(), Error> {
    let mut old = scene.session(1, KEYS).await?;
    old.run(&Command::new(&[0x16, 0, 0, 0, 0, 0])).await?;
    waiting(&mut old, 0).await?;
    // The same ISID without a TSIH (RFC 7143 6.3.5).
    let mut new = scene.connect().await?;
    new.initiator.isid = isid(1);
    let session = new.login(&Login::normal("test").keys(KEYS)).await?;
    old.end().await?;
    look(&mut new, 0).await?;
    // Its own TSIH: another connection, which no session has; another ISID; a TSIH that is not there.
    for (number, tsih, cid) in [(1, session.response.tsih, 1), (2, session.response.tsih, 1), (1, 0x7777, 0)] {
        let mut client = scene.connect().await?;
        client.initiator.isid = isid(number);
        let login = Login::normal("test").keys(KEYS).tsih(tsih).cid(cid);
        match client.login(&login).await {
            Err(Error::Login(_)) => client.end().await?,
            other => drop(other?),
        }
    }
    new.ping(true, b"still here").await?;
    // Another initiator's session with the same ISID is another session.
    let mut other = scene.connect().await?;
    other.initiator.isid = isid(1);
    other.login(&Login::normal("test").initiator("iqn.2001-04.com.example:other").keys(KEYS)).await?;
    look(&mut other, 0).await?;
    look(&mut new, 0).await?;
    // A connection with the TSIH and CID of its own: reinstatement of the connection (6.3.4).
    let mut again = scene.connect().await?;
    again.initiator.isid = isid(1);
    let login = Login::normal("test").keys(KEYS).tsih(session.response.tsih);
    match again.login(&login).await {
        Err(Error::Login(_)) => {
            again.end().await?;
            new.ping(true, b"still here").await?;
        }
        other => {
            drop(other?);
            new.end().await?;
            look(&mut again, 0).await?;
        }
    }
    // A request of its own for a tag that is used up.
    let ping = other.initiator.ping(true);
    other.send(&Pdu::of(&ping.emit(), b"x").with(field::INITIATOR_TASK_TAG, 1)).await?;
    other.answer().await?;
    Ok(())
}
