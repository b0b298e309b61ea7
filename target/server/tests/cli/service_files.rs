//! The files that make it a service: what they start is what the program takes.

use std::path::{Path, PathBuf};
use std::process::Command;

use crate::support::process::{command, folder};

fn package(file: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("package").join(file)
}

fn text(file: &str) -> String {
    std::fs::read_to_string(package(file)).expect(file)
}

/// Whether the program takes these arguments: all but the last thing that it does with them, which is to read a
/// configuration that is not there.
fn assert_taken(words: &[&str]) {
    let folder = folder();
    let missing = folder.path().join("none.toml");
    let at = words.iter().position(|word| *word == "--config").expect("a configuration") + 1;
    let mut words: Vec<_> = words.iter().map(|word| (*word).to_owned()).collect();
    words[at] = missing.display().to_string();
    let words: Vec<_> = words.iter().map(String::as_str).collect();
    let output = command(&words).output().expect("it runs");
    let errors = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(errors.contains("none.toml") && errors.contains("cannot be read"), "{words:?}: {errors}");
}

#[test]
fn the_packaged_configuration_is_right() {
    let output = command(&["check"]).arg(package("iesp.toml")).output().expect("it runs");
    assert!(output.status.success(), "{output:?}");
    // What stands there to be uncommented is right, too, but for the secret's file.
    let uncommented =
        text("iesp.toml").replace("\n#[[", "\n[[").replace("\n#user", "\nuser").replace("\n#secret", "\nsecret");
    let folder = folder();
    let (file, secret) = (folder.path().join("iesp.toml"), folder.path().join("secret"));
    std::fs::write(&secret, "twelve-bytes-or-more\n").expect("written");
    let uncommented = uncommented.replace("/etc/iesp/anna.secret", secret.to_str().expect("a plain path"));
    assert!(uncommented.contains("\n[[target.chap]]") && uncommented.contains(secret.to_str().expect("a plain path")));
    std::fs::write(&file, uncommented).expect("written");
    let output = command(&["check"]).arg(file).output().expect("it runs");
    assert!(output.status.success(), "{output:?}");
}

#[test]
fn systemds_unit() {
    let unit = text("systemd/iesp.service");
    let start = unit.lines().find_map(|line| line.strip_prefix("ExecStart=/usr/bin/iesp ")).expect("a command");
    assert_taken(&start.split_whitespace().collect::<Vec<_>>());
    assert!(unit.contains("\nType=notify\n") && unit.contains("\nWatchdogSec="));
}

/// By systemd's own judgement, which needs no running systemd: an exposure of 2.0 at most (--threshold counts in tenths).
#[test]
fn systemds_unit_is_hardened() {
    let mut command = Command::new("systemd-analyze");
    command.args(["security", "--offline=yes", "--threshold=20", "--no-pager"]).arg(package("systemd/iesp.service"));
    match command.output() {
        Ok(output) => assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stdout)),
        Err(error) => println!("left out: systemd-analyze cannot be started: {error}"),
    }
}

#[test]
fn launchds_plist() {
    let plist = text("macos/io.github.iesp.plist");
    let arguments = plist.split("<array>").nth(1).and_then(|rest| rest.split("</array>").next()).expect("arguments");
    let words = arguments.split("<string>").skip(1).filter_map(|rest| rest.split("</string>").next());
    let words: Vec<_> = words.collect();
    assert_eq!(words[0], "/usr/local/bin/iesp");
    assert_taken(&words[1..]);
}

/// By a shell, with FreeBSD's rc.subr played: which command it would run.
#[test]
fn freebsds_rc_script() {
    let folder = folder();
    let played = r#"load_rc_config() { :; }
run_rc_command() { echo "$command $command_args"; }
"#;
    let script = text("freebsd/iesp").replace(". /etc/rc.subr\n", played);
    let file = folder.path().join("iesp");
    std::fs::write(&file, script).expect("written");
    let output = Command::new("sh").arg(file).arg("start").output().expect("sh");
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    let words: Vec<_> = said.split_whitespace().collect();
    assert_eq!(words[0], "/usr/local/bin/iesp", "{output:?}");
    // Not as a daemon, nor with a file in the system's folder.
    let words: Vec<_> =
        words[1..].iter().copied().filter(|word| !["-f", "-P", "/var/run/iesp.pid"].contains(word)).collect();
    assert_eq!(words.len(), 2);
    assert_taken(&words);
}
