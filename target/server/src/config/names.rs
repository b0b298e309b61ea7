//! Names and addresses as people write them.

use std::net::{IpAddr, SocketAddr, ToSocketAddrs};
use std::path::{Path, PathBuf};

use iesp_scsi::Identity;
use uuid::Uuid;

use crate::authority::Authority;
use crate::failure::Failure;
use crate::system;
use crate::target::PORTAL_GROUP;

/// The user's data folder (XDG base directory specification).
///
/// # Errors
/// Where there is no home folder.
pub fn data_folder() -> Result<PathBuf, Failure> {
    let base = system::data_folder()
        .ok_or_else(|| Failure::usage("there is no home folder for a disk image: name one with -d FILE --create 1G"))?;
    Ok(base.join("iesp"))
}

/// RFC 7143 4.2.7: what an iSCSI name is made of. Plain names are iESP's habit, and taken.
///
/// # Errors
/// What is allowed.
pub fn target_name(name: &str) -> Result<String, String> {
    let name = name.to_lowercase();
    let allowed = |letter: char| letter.is_ascii_lowercase() || letter.is_ascii_digit() || ".-:".contains(letter);
    if !name.chars().all(allowed) {
        return Err("a target name is made of letters, digits, '.', '-' and ':' only".to_owned());
    }
    if Identity::new([0; 16], &name, PORTAL_GROUP, 0).is_err() {
        return Err("a target name has 1 to 223 characters".to_owned());
    }
    Ok(name)
}

/// What a disk is named by on the command line.
///
/// # Errors
/// What is allowed.
pub fn device(name: &str) -> Result<String, &'static str> {
    if name.is_empty() { Err("give the path of a disk image or of a block device") } else { Ok(name.to_owned()) }
}

/// A disk's identity (RFC 9562).
///
/// # Errors
/// What is allowed.
pub fn uuid(text: &str) -> Result<Uuid, &'static str> {
    Uuid::try_parse(text).map_err(|_| "this is no UUID: give one as `uuidgen` prints it")
}

/// An address with or without a port, or a host's name; `port` is for one that names none.
///
/// # Errors
/// What is allowed.
pub fn resolve(address: &str, port: u16) -> Result<Vec<SocketAddr>, String> {
    // IPv6 may stand without brackets, where no port is named.
    if let Ok(ip) = address.parse::<IpAddr>() {
        return Ok(vec![SocketAddr::new(ip, port)]);
    }
    let found = Authority::parse(address).map(|own| (own.host.as_str(), own.port.unwrap_or(port)).to_socket_addrs());
    let addresses: Vec<_> = found.and_then(Result::ok).map(Iterator::collect).unwrap_or_default();
    if addresses.is_empty() {
        return Err("no such address: give one of this machine's, as in 192.168.1.10 or [::1]:3260".to_owned());
    }
    Ok(addresses)
}

/// The first line of a file that holds a secret.
///
/// # Errors
/// Why there is none.
pub fn secret(file: &Path) -> Result<String, String> {
    let text = std::fs::read_to_string(file).map_err(|error| {
        format!(
            "the secret file {} cannot be read: {error}: make it, with the secret on its first line",
            file.display()
        )
    })?;
    let secret = text.lines().next().unwrap_or_default();
    if secret.is_empty() {
        return Err(format!("the secret file {} is empty: put the secret on its first line", file.display()));
    }
    Ok(secret.to_owned())
}
