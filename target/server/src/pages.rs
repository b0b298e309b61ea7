//! Manual pages and the shells' completions, made from the definition of the command line: so they are never behind it.

use std::io::{Error, Write};
use std::path::Path;

use clap::CommandFactory;
use clap_complete::Shell;
use clap_mangen::Man;

use crate::cli::Cli;
use crate::failure::Failure;

/// The shells, each with the file that it looks for.
const SHELLS: [Shell; 4] = [Shell::Bash, Shell::Zsh, Shell::Fish, Shell::PowerShell];

/// What the page says beyond the command line, as roff.
const MORE: &str = r#".SH EXAMPLES
.TP
A disk of 10 GiB for the local network, made if it is missing:
.B iesp \-d disk.img \-\-create 10G \-t iqn.2026\-01.home.nas:disk
.TP
A block device, on one address, as a daemon:
.B iesp \-f \-P /run/iesp.pid \-d /dev/sdb \-i 192.168.1.10 \-t iqn.2026\-01.home.nas:disk
.TP
Memory, for a try:
.B iesp \-b ram \-d 4G
.SH SIGNALS
.TP
.BR SIGTERM ", " SIGINT
Initiators are asked to log out, everything is flushed, then the program ends. A second one ends it at once.
.TP
.B SIGHUP
The configuration file is read again: what changed changes, and sessions of what stays notice nothing. A faulty file changes
nothing. The log file is opened again, and disks are looked at for another size.
.SH EXIT STATUS
.TP
.B 0
It served, and everything was flushed at the end.
.TP
.B 1
What was asked for could not be done: a disk, an address, a flush.
.TP
.B 2
What was asked for makes no sense.
.SH ENVIRONMENT
.TP
.BR NOTIFY_SOCKET ", " WATCHDOG_USEC ", " LISTEN_FDS
systemd's: see
.BR sd_notify (3)
and
.BR sd_listen_fds (3).
Sockets that systemd passes are served in place of
.B \-i
and
.BR \-p .
.TP
.B STATE_DIRECTORY
Where the identities of NBD exports are kept.
.SH FILES
.TP
.IB IMAGE .uuid
The identity of the disk in
.IR IMAGE :
its serial number comes from it. Copy both, or neither.
.TP
.I /var/lib/iesp
Identities of block devices and NBD exports; the disks of the packaged service.
"#;

/// Writes `iesp.1`, a page for each command, and the completions.
///
/// # Errors
/// Which file cannot be written.
pub fn write(folder: &Path) -> Result<(), Failure> {
    let cannot = |error: Error| Failure::runtime(format!("no pages in {}: {error}", folder.display()));
    let mut command = Cli::command();
    command.build();
    page(&command, MORE, folder).map_err(cannot)?;
    for sub in command.get_subcommands().filter(|sub| !sub.is_hide_set() && sub.get_name() != "help") {
        page(sub, "", folder).map_err(cannot)?;
    }
    for shell in SHELLS {
        clap_complete::generate_to(shell, &mut Cli::command(), "iesp", folder).map_err(cannot)?;
    }
    Ok(())
}

/// Writes one page, with `more` before what closes it.
fn page(command: &clap::Command, more: &str, folder: &Path) -> Result<(), Error> {
    let name = command.get_display_name().unwrap_or_else(|| command.get_name()).to_owned();
    let man = Man::new(command.clone().display_name(name.clone()).disable_help_subcommand(true));
    let mut text = Vec::new();
    man.render_title(&mut text)?;
    man.render_name_section(&mut text)?;
    man.render_synopsis_section(&mut text)?;
    man.render_description_section(&mut text)?;
    man.render_options_section(&mut text)?;
    if command.get_subcommands().any(|sub| !sub.is_hide_set()) {
        man.render_subcommands_section(&mut text)?;
    }
    text.write_all(more.as_bytes())?;
    if command.get_version().is_some() {
        man.render_version_section(&mut text)?;
    }
    std::fs::write(folder.join(format!("{name}.1")), text)
}
