//! The command line over a file.

use iesp_iscsi::pdu::LoginStatus;

use crate::support::cdb;
use crate::support::process::{command, folder};
use crate::{LOG, PORTAL, Served, target, write};

fn served(text: &str, args: &[&str]) -> Served {
    Served::with(folder(), text, args)
}

/// READ CAPACITY(10).
const CAPACITY: [u8; 10] = [0x25, 0, 0, 0, 0, 0, 0, 0, 0, 0];

#[test]
fn what_stands_there_holds() {
    let text = format!("{PORTAL}{LOG}{}", target("file", "1M"));
    let by_file = served(&text, &[]);
    assert_eq!(by_file.login("file", 1).get(&CAPACITY, 8).good(), [0, 0, 7, 0xff, 0, 0, 2, 0]);
    assert!(by_file.iesp.errors().contains("logged in"));
    let by_flags =
        served(&text, &["-t", "flag", "-b", "ram", "-d", "2M", "-d", "1M", "-L", "error", "--block-size", "4096"]);
    assert_eq!(by_flags.connect("file", 1).err(), Some(LoginStatus::NotFound));
    assert_eq!(by_flags.login("flag", 1).get(&CAPACITY, 8).good(), [0, 0, 1, 0xff, 0, 0, 0x10, 0]);
    assert_eq!(by_flags.iesp.errors(), "");
}

/// A flag of disks without a `-d` is for those of the file.
#[test]
fn flags_of_disks() {
    let text = format!("{PORTAL}{}{}", target("a", "1M"), target("b", "1M"));
    let served = served(&text, &["--read-only"]);
    for name in ["a", "b"] {
        assert_eq!(served.login(name, 1).put(&cdb::write(0, 1), &[0; 512]).code(), (7, 0x27, 0));
    }
}

#[test]
fn addresses() {
    let text = "[[portal]]\nname = \"p\"\nlisten = \"127.0.0.1:1\"\n[[target]]\nname = \"a\"\nportals = \"p\"\n[[target.lun]]\nram = \"1M\"\n";
    let one = served(text, &["-i", "127.0.0.1:0"]);
    one.login("a", 1);
    let port = served(text, &["-p", "0"]);
    port.login("a", 1);
}

/// One name cannot be for two targets.
#[test]
fn flags_of_one_target_where_there_are_several() {
    let folder = folder();
    let file = write(folder.path(), &format!("{PORTAL}{}{}", target("a", "1M"), target("b", "1M")));
    for flags in [["-t", "c"], ["-d", "disk.img"]] {
        let output = command(&["--config", &file]).args(flags).output().expect("it runs");
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!((output.status.code(), said.lines().count()), (Some(2), 1), "{said}");
        assert!(said.contains(flags[0]) && said.contains("several"), "{said}");
    }
}
