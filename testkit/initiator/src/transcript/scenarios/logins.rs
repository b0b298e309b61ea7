//! Logins and logouts, discovery, CHAP, digests.

use iesp_iscsi::pdu::{LogoutReason, Stage};

use super::{KEYS, Scene, disk, exchange, get, isid, pattern, say};
use crate::answer::{Answer, text};
use crate::cdb;
use crate::client::{Client, Command, Error, Login};
use crate::field::{self, Field};
use crate::initiator::INITIATOR;
use crate::pdu::{Flaws, Pdu};
use crate::transcript::Setup;

const SECRET: &str = "the secret of the host";
const OWN_SECRET: &str = "the secret of the disk";

/// A target that wants CHAP, and can show its own secret.
pub(in crate::transcript) fn chap_setup() -> Setup {
    let more = ["--chap-user", "host", "--chap-secret-file", "{folder}/secret"];
    let own = ["--mutual-user", "disk", "--mutual-secret-file", "{folder}/own"];
    let mut setup = disk().file("secret", SECRET).file("own", OWN_SECRET).secret(SECRET);
    setup.arguments.extend(more.iter().chain(&own).map(|&argument| argument.to_owned()));
    setup
}

/// One Login Request with a field changed, and its answer; on refusal the connection's end, too.
async fn ask(client: &mut Client, stages: [Stage; 2], pairs: &str, change: Option<(Field, u64)>) -> Result<(), Error> {
    let mut pdu = Pdu::of(&client.initiator.login_request(stages[0], stages[1]).emit(), &text(pairs));
    if let Some((field, value)) = change {
        pdu.set(field, value);
    }
    client.send(&pdu).await?;
    match client.answer().await? {
        Answer::Login(response, _) if response.status.code() == 0 => Ok(()),
        _ => client.end().await,
    }
}

const OPERATIONAL: [Stage; 2] = [Stage::OperationalNegotiation, Stage::FullFeaturePhase];
const SECURITY: [Stage; 2] = [Stage::SecurityNegotiation, Stage::OperationalNegotiation];

pub(super) async fn login_to_logout(scene: Scene) -> Result<(), Error> {
    let mut client = scene.connect().await?;
    let names = format!("InitiatorName={INITIATOR} SessionType=Normal TargetName=test AuthMethod=None");
    ask(&mut client, SECURITY, &names, None).await?;
    ask(&mut client, OPERATIONAL, KEYS, None).await?;
    for _ in 0..2 {
        // POWER ON, RESET, OR BUS DEVICE RESET OCCURRED, then GOOD.
        client.run(&Command::new(&[0])).await?;
    }
    get(&mut client, &cdb::inquiry(None, 96), 96).await?;
    client.logout(LogoutReason::CloseSession).await?;
    client.end().await?;
    // The connection alone, which is the session's only one.
    let mut client = scene.session(2, KEYS).await?;
    client.logout(LogoutReason::CloseConnection).await?;
    client.end().await?;
    // For recovery, which ErrorRecoveryLevel 0 has not.
    let mut client = scene.session(3, KEYS).await?;
    client.logout(LogoutReason::RemoveForRecovery).await?;
    client.ping(true, b"still here").await?;
    let logout = Pdu::of(&client.initiator.logout(LogoutReason::CloseConnection).emit(), &[]);
    client.send(&logout.with(field::CID, 7)).await?;
    client.answer().await?;
    client.ping(true, b"still here").await?;
    Ok(())
}

pub(super) async fn login_keys(scene: Scene) -> Result<(), Error> {
    let all = [
        "",
        "HeaderDigest=None,CRC32C DataDigest=CRC32C,None",
        "HeaderDigest=X DataDigest=None",
        "MaxRecvDataSegmentLength=512",
        "MaxRecvDataSegmentLength=16777215 MaxBurstLength=16777215 FirstBurstLength=16777215",
        "MaxBurstLength=512 FirstBurstLength=512",
        "MaxBurstLength=65536 FirstBurstLength=131072",
        "MaxBurstLength=x FirstBurstLength=-1 MaxOutstandingR2T= DefaultTime2Wait=99999999999999999999",
        "MaxBurstLength=0x10000 MaxOutstandingR2T=65535",
        "InitialR2T=No ImmediateData=No",
        "InitialR2T=Maybe ImmediateData=yes",
        "DataPDUInOrder=No DataSequenceInOrder=No",
        "DefaultTime2Wait=0 DefaultTime2Retain=3600 ErrorRecoveryLevel=2 MaxConnections=65535",
        "MaxConnections=0 ErrorRecoveryLevel=3",
        "InitiatorAlias=a X-com.example.key=1 Y#unknown=2 Unknown=3 TaskReporting=FastAbort,RFC3720",
        "iSCSIProtocolLevel=2 OFMarker=Yes IFMarker=No OFMarkInt=1~2 IFMarkInt=Reject",
        "TargetAlias=a TargetAddress=127.0.0.1 TargetPortalGroupTag=1 SendTargets=All",
        "SessionType=Normal",
        "MaxBurstLength=65536 MaxBurstLength=65536",
        "AuthMethod=None",
        "HeaderDigest=Irrelevant DataDigest=NotUnderstood",
    ];
    let names = format!("InitiatorName={INITIATOR} SessionType=Normal TargetName=test");
    for (number, keys) in (0..).zip(all) {
        let mut client = scene.connect().await?;
        client.initiator.isid = isid(number);
        ask(&mut client, OPERATIONAL, &format!("{names} {keys}"), None).await?;
    }
    Ok(())
}

pub(super) async fn login_refusals(scene: Scene) -> Result<(), Error> {
    let names = format!("InitiatorName={INITIATOR} SessionType=Normal TargetName=test");
    let texts = [
        "",
        "InitiatorName=iqn.a",
        "InitiatorName=iqn.a SessionType=Normal",
        "TargetName=test SessionType=Normal",
        "InitiatorName=iqn.a TargetName=other SessionType=Normal",
        "InitiatorName=iqn.a TargetName=test SessionType=Strange",
        "InitiatorName=iqn.a TargetName=test SessionType=Normal MaxRecvDataSegmentLength=1",
    ];
    for pairs in texts {
        ask(&mut scene.connect().await?, OPERATIONAL, pairs, None).await?;
    }
    for pairs in ["AuthMethod=CHAP", "AuthMethod=KRB5,SRP", "AuthMethod=None,CHAP"] {
        ask(&mut scene.connect().await?, SECURITY, &format!("{names} {pairs}"), None).await?;
    }
    let changes = [
        (field::VERSION_MIN, 1),
        (field::VERSION_MAX, 9),
        (field::TSIH, 0x7777),
        (field::NEXT_STAGE, 2),
        (field::NEXT_STAGE, 0),
        (field::CURRENT_STAGE, 2),
        (field::CURRENT_STAGE, 3),
        (field::CONTINUE, 1),
        (field::OPCODE, 0),
        (field::OPCODE, 1),
        (field::OPCODE, 4),
        (field::IMMEDIATE, 0),
        (field::CID, 0xffff),
        (field::CMD_SN, 0xffff_ffff),
        (field::ISID, 0xc0ff_ffff_ffff),
    ];
    for change in changes {
        ask(&mut scene.connect().await?, OPERATIONAL, &names, Some(change)).await?;
    }
    // A text without pairs.
    for data in [&b"InitiatorName"[..], b"=x\0", b"InitiatorName=iqn.a\xff\0", b"InitiatorName=iqn.a"] {
        let mut client = scene.connect().await?;
        let request = client.initiator.login_request(OPERATIONAL[0], OPERATIONAL[1]);
        client.send(&Pdu::of(&request.emit(), data)).await?;
        client.answer().await?;
        client.end().await?;
    }
    Ok(())
}

/// A text over several requests, and stages one by one.
pub(super) async fn login_in_pieces(scene: Scene) -> Result<(), Error> {
    let mut client = scene.connect().await?;
    let names = format!("InitiatorName={INITIATOR} SessionType=Normal");
    for pairs in [names.as_str(), "TargetName=test"] {
        let request = client.initiator.login_request(Stage::SecurityNegotiation, Stage::SecurityNegotiation);
        let pdu = Pdu::of(&request.emit(), &text(pairs)).with(field::TRANSIT, 0).with(field::CONTINUE, 1);
        client.send(&pdu).await?;
        client.answer().await?;
    }
    ask(&mut client, SECURITY, "AuthMethod=None", None).await?;
    let stay = [Stage::OperationalNegotiation, Stage::SecurityNegotiation];
    ask(&mut client, stay, "MaxBurstLength=65536", Some((field::TRANSIT, 0))).await?;
    ask(&mut client, stay, "", Some((field::TRANSIT, 0))).await?;
    ask(&mut client, OPERATIONAL, "FirstBurstLength=4096", None).await?;
    client.run(&Command::new(&[0])).await?;
    client.run(&Command::new(&[0])).await?;
    // A login within the session.
    let request = client.initiator.login_request(OPERATIONAL[0], OPERATIONAL[1]);
    client.send(&Pdu::of(&request.emit(), &text(&names))).await?;
    client.answer().await?;
    Ok(())
}

pub(super) async fn discovery(scene: Scene) -> Result<(), Error> {
    let mut client = scene.connect().await?;
    client.login(&Login::discovery()).await?;
    for pairs in ["SendTargets=All", "SendTargets=test", "SendTargets=other", "SendTargets=", "X-unknown=1", ""] {
        say(&mut client, pairs).await?;
    }
    let ping = client.initiator.ping(true);
    exchange(&mut client, &Pdu::of(&ping.emit(), b"ping")).await?;
    // No SCSI command belongs into a discovery session.
    let command = client.initiator.bare(&[0]);
    client.send(&Pdu::of(&command.emit(), &[])).await?;
    client.answer().await?;
    let mut client = scene.connect().await?;
    client.login(&Login::discovery().keys("MaxRecvDataSegmentLength=512 HeaderDigest=CRC32C")).await?;
    client.text("SendTargets=All").await?;
    client.logout(LogoutReason::CloseSession).await?;
    client.end().await
}

pub(super) async fn chap(scene: Scene) -> Result<(), Error> {
    for (number, algorithms) in (1..).zip(["5", "6", "7", "8", "9,7,5", "5,7"]) {
        let mut client = scene.connect().await?;
        client.initiator.isid = isid(number);
        client.login(&Login::normal("test").chap("host", SECRET.as_bytes()).algorithms(algorithms)).await?;
        client.run(&Command::new(&[0])).await?;
    }
    for login in [Login::normal("test").keys(KEYS), Login::discovery()] {
        let mut client = scene.connect().await?;
        client.login(&login.chap("host", SECRET.as_bytes()).algorithms("7").mutual()).await?;
        let ping = client.initiator.ping(true);
        exchange(&mut client, &Pdu::of(&ping.emit(), b"in")).await?;
    }
    Ok(())
}

pub(super) async fn chap_refusals(scene: Scene) -> Result<(), Error> {
    for (name, secret) in [("host", "another secret, of the host"), ("guest", SECRET), ("host", OWN_SECRET)] {
        let mut client = scene.connect().await?;
        let refused = client.login(&Login::normal("test").chap(name, secret.as_bytes())).await;
        assert!(matches!(refused, Err(Error::Login(_))), "{refused:?}");
        client.end().await?;
    }
    let names = format!("InitiatorName={INITIATOR} SessionType=Normal TargetName=test");
    ask(&mut scene.connect().await?, OPERATIONAL, &names, None).await?;
    ask(&mut scene.connect().await?, SECURITY, &format!("{names} AuthMethod=None"), None).await?;
    // The exchange out of its order, and with keys that it has not.
    for keys in ["CHAP_A=9", "CHAP_A=", "CHAP_N=host CHAP_R=0x00", "CHAP_A=5 CHAP_N=host", "AuthMethod=CHAP"] {
        let mut client = scene.connect().await?;
        let stay = [Stage::SecurityNegotiation, Stage::SecurityNegotiation];
        ask(&mut client, stay, &format!("{names} AuthMethod=CHAP"), Some((field::TRANSIT, 0))).await?;
        ask(&mut client, stay, keys, Some((field::TRANSIT, 0))).await?;
    }
    Ok(())
}

pub(super) async fn digests(scene: Scene) -> Result<(), Error> {
    let data = pattern(3, 16);
    let kinds = ["HeaderDigest=CRC32C", "DataDigest=CRC32C", "HeaderDigest=CRC32C DataDigest=CRC32C"];
    for (number, kind) in (1..).zip(kinds) {
        let mut client = scene.session(number, kind).await?;
        let blocks = (data.len() / 512) as u32;
        client.run(&Command::new(&cdb::write(8, blocks)).write(&data).immediate(1024)).await?;
        let read = get(&mut client, &cdb::read(8, blocks), data.len() as u32).await?;
        assert_eq!(read.data, data);
        // An odd length is padded, which the digest counts.
        get(&mut client, &cdb::inquiry(None, 37), 37).await?;
        client.ping(false, b"odd").await?;
        client.logout(LogoutReason::CloseSession).await?;
        client.end().await?;
    }
    Ok(())
}

pub(super) async fn wrong_digests(scene: Scene) -> Result<(), Error> {
    let both = "HeaderDigest=CRC32C DataDigest=CRC32C ImmediateData=Yes InitialR2T=Yes";
    let data_digest = Flaws { data_digest: true, ..Flaws::default() };
    let mut client = scene.session(1, both).await?;
    let ping = client.initiator.ping(true);
    client.send_flawed(&Pdu::of(&ping.emit(), b"data"), data_digest).await?;
    client.answer().await?;
    // Of Data-Out: its command fails.
    let data = pattern(4, 8);
    let itt = client.begin(&Command::new(&cdb::write(0, 8)).write(&data)).await?;
    let r2t = client.r2t(itt).await?;
    for pdu in client.initiator.data_out(itt, r2t.ttt, 0, &data, data.len()) {
        client.send_flawed(&pdu, data_digest).await?;
    }
    client.answer().await?;
    client.answer().await?;
    get(&mut client, &cdb::read(0, 8), 4096).await?;
    // Of a header: nothing after it can be trusted.
    let ping = client.initiator.ping(true);
    client.send_flawed(&Pdu::of(&ping.emit(), &[]), Flaws { header_digest: true, ..Flaws::default() }).await?;
    while client.answer_or_end().await?.is_some() {}
    Ok(())
}
