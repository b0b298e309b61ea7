//! `--trace-pdu`: units and commands by name.

use iesp_iscsi::pdu::LogoutReason;

use crate::support::initiator::{Answer, INITIATOR};
use crate::support::process::folder;
use crate::support::{Client, Iesp, cdb};

fn traffic(address: std::net::SocketAddr) {
    let mut client = Client::login(address);
    client.put(&cdb::write_fua(8, 8), &[1; 4096]).good();
    client.get(&cdb::read(8, 8), 4096).good();
    assert_eq!(client.get(&cdb::read(1 << 40, 8), 4096).code(), (5, 0x21, 0));
    let logout = client.initiator.logout(LogoutReason::CloseSession);
    let unit = client.initiator.unit(&logout.emit(), &[]);
    client.send(&unit);
    assert!(matches!(client.answer(), Answer::Logout(_)));
}

fn traced(args: &[&str]) -> Vec<String> {
    let mut args = args.to_vec();
    args.extend(["-b", "ram", "-d", "1M"]);
    let mut server = Iesp::start(&args);
    traffic(server.address());
    server.stop();
    server.errors().lines().map(str::to_owned).collect()
}

#[test]
fn each_unit_is_shown() {
    let lines = traced(&["--trace-pdu"]);
    let shown: Vec<_> = lines.iter().map(|line| line[39..].to_owned()).collect();
    let expected = [
        "<- Login Request immediate T stage=operational next=full-feature itt=",
        "-> Login Response T stage=operational next=full-feature itt=",
        "<- SCSI Command F simple itt=",
        "-> SCSI Response F itt=",
        "<- SCSI Command F W simple itt=",
        "-> Ready To Transfer itt=",
        "<- SCSI Data-Out F itt=",
        "-> SCSI Response F itt=",
        "<- SCSI Command F R simple itt=",
        "-> SCSI Data-In F S itt=",
        "<- SCSI Command F R simple itt=",
        "-> SCSI Response F U itt=",
        "<- Logout Request immediate itt=",
        "-> Logout Response itt=",
    ];
    assert_eq!(shown.len(), expected.len(), "{lines:#?}");
    for (line, expected) in shown.iter().zip(expected) {
        let immediate = expected.replace("Logout Request immediate", "Logout Request");
        assert!(line.starts_with(expected) || line.starts_with(&immediate), "{expected}: {line}");
        assert!(line.contains("peer=127.0.0.1:"), "{line}");
    }
    for (at, part) in [
        (0, format!("InitiatorName={INITIATOR}")),
        (1, "status=0000 (success)".to_owned()),
        (2, " TEST UNIT READY".to_owned()),
        (3, "status=CHECK-CONDITION".to_owned()),
        (3, "UNIT ATTENTION 29/00 POWER ON, RESET, OR BUS DEVICE RESET OCCURRED".to_owned()),
        (4, "lun=0 edtl=4096 cmdsn=".to_owned()),
        (4, " WRITE(16) lba=8 blocks=8 FUA".to_owned()),
        (5, "offset=0 length=4096".to_owned()),
        (6, "datasn=0 offset=0".to_owned()),
        (6, "data=4096".to_owned()),
        (9, "status=GOOD".to_owned()),
        (11, "LOGICAL BLOCK ADDRESS OUT OF RANGE".to_owned()),
        (12, "reason=close-session".to_owned()),
        (13, "statsn=".to_owned()),
    ] {
        assert!(shown[at].contains(&part), "{part} in {}", shown[at]);
    }
}

#[test]
fn of_one_initiator_only() {
    assert_eq!(traced(&[&format!("--trace-pdu={INITIATOR}")]).len(), 14);
    assert_eq!(traced(&["--trace-pdu=iqn.2001-04.com.example:other"]), [""; 0]);
    assert_eq!(traced(&[]), [""; 0]);
}

/// With digests, and large transfers that are received in place and sent in pieces.
#[test]
fn with_digests_and_large_transfers() {
    let mut server = Iesp::start(&["--trace-pdu", "-b", "ram", "-d", "8M"]);
    let keys = "MaxRecvDataSegmentLength=65536 MaxBurstLength=262144 FirstBurstLength=65536 InitialR2T=Yes ImmediateData=Yes \
        HeaderDigest=CRC32C DataDigest=CRC32C";
    let mut client = Client::login_as(server.address(), Client::isid(1), keys);
    let data: Vec<u8> = (0..1 << 20).map(|at| (at / 7) as u8).collect();
    client.put(&cdb::write(0, 2048), &data).good();
    assert_eq!(client.get(&cdb::read(0, 2048), 1 << 20).good(), data);
    server.stop();
    let log = server.errors();
    let count = |what: &str| log.lines().filter(|line| line.contains(what)).count();
    assert_eq!([count("-> Ready To Transfer"), count("-> SCSI Data-In"), count("unknown opcode")], [4, 16, 0], "{log}");
    assert!(
        log.lines().any(|line| line.contains("SCSI Data-In F S")
            && line.contains("offset=983040")
            && line.contains("data=65536")),
        "{log}"
    );
}

/// By the file, and while it runs.
#[test]
fn it_can_be_turned_on_for_a_session_that_is_there() {
    let text = |trace: &str| {
        format!("{}{}[log]\nlevel = \"info\"\ntrace-pdu = {trace}\n", crate::PORTAL, crate::target("a", "1M"))
    };
    let served = crate::Served::with(folder(), &text("false"), &[]);
    let mut client = served.login("a", 1);
    client.run(&[0]).good();
    assert!(!served.iesp.errors().contains("TEST UNIT READY"));
    served.reload(&text(&format!("\"{INITIATOR}\"")));
    client.run(&[0]).good();
    served.logs("TEST UNIT READY");
    served.reload(&text("false"));
    client.run(&[0]).good();
    assert_eq!(served.iesp.errors().matches("TEST UNIT READY").count(), 1);
}
