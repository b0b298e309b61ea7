//! istgt as a peer: Debian's package, with a configuration of its own.

use std::fs::File;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::{Command, Stdio};

use anyhow::{Context, Result};
use xtask_common::process::Running;

use super::peers::{free_port, until_listening};

/// Starts it on an image; answers with the process and the URL of the disk.
///
/// # Errors
/// It does not start, or does not serve in time.
pub fn start(program: &Path, image: &Path, dir: &Path) -> Result<(Running, String)> {
    let (port, control) = (free_port()?, free_port()?);
    let file = dir.join("istgt.conf");
    let authentication = dir.join("auth.conf");
    let text = configuration(image, dir, port, control).context("the image's path is not fit for istgt")?;
    for (file, text) in [(&file, text.as_str()), (&authentication, "")] {
        std::fs::write(file, text)?;
        // It refuses files that others can read.
        std::fs::set_permissions(file, PermissionsExt::from_mode(0o600))?;
    }
    let log = dir.join("istgt.log");
    let output = File::create(&log)?;
    let mut command = Command::new(program);
    command.arg("-D").arg("-c").arg(&file).arg("-p").arg(dir.join("istgt.pid")).stdin(Stdio::null());
    let mut process = Running::start(command.stderr(output.try_clone()?).stdout(output))?;
    until_listening(port, &mut process, &log)?;
    Ok((process, format!("iscsi://127.0.0.1:{port}/{BASE}:{TARGET}/0")))
}

const BASE: &str = "iqn.2026-01.io.github.iesp";
const TARGET: &str = "istgt";

/// What its sample says where it says something; large segments. It knows no writes without an R2T (`InitialR2T Yes`).
fn configuration(image: &Path, dir: &Path, port: u16, control: u16) -> Option<String> {
    let quoted =
        |path: &Path| path.to_str().filter(|text| !text.contains(['"', '\n'])).map(|text| format!("\"{text}\""));
    let (image, authentication) = (quoted(image)?, quoted(&dir.join("auth.conf"))?);
    let (pid, folder) = (quoted(&dir.join("istgt.pid"))?, quoted(dir)?);
    Some(format!(
        "[Global]\n  NodeBase \"{BASE}\"\n  PidFile {pid}\n  AuthFile {authentication}\n  MediaDirectory {folder}\n  \
         LogFacility \"local7\"\n  Timeout 30\n  NopInInterval 20\n  DiscoveryAuthMethod None\n  MaxSessions 64\n  \
         MaxConnections 4\n  MaxR2T 32\n  MaxOutstandingR2T 16\n  DefaultTime2Wait 2\n  DefaultTime2Retain 60\n  \
         FirstBurstLength 262144\n  MaxBurstLength 1048576\n  MaxRecvDataSegmentLength 262144\n  InitialR2T Yes\n  \
         ImmediateData Yes\n  DataPDUInOrder Yes\n  DataSequenceInOrder Yes\n  ErrorRecoveryLevel 0\n\
         [UnitControl]\n  AuthMethod None\n  AuthGroup None\n  Portal UC1 127.0.0.1:{control}\n  Netmask 127.0.0.1\n\
         [PortalGroup1]\n  Portal DA1 127.0.0.1:{port}\n\
         [InitiatorGroup1]\n  InitiatorName \"ALL\"\n  Netmask 127.0.0.0/8\n\
         [LogicalUnit1]\n  TargetName {TARGET}\n  Mapping PortalGroup1 InitiatorGroup1\n  AuthMethod None\n  \
         AuthGroup None\n  UnitType Disk\n  QueueDepth 128\n  LUN0 Storage {image} Auto\n"
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_are_quoted_or_refused() {
        let text = configuration(Path::new("/a b/disk"), Path::new("/d"), 1, 2).unwrap();
        assert!(
            text.contains("LUN0 Storage \"/a b/disk\" Auto") && text.contains("Portal DA1 127.0.0.1:1\n"),
            "{text}"
        );
        assert!(configuration(Path::new("/a\"b"), Path::new("/d"), 1, 2).is_none());
    }
}
