//! `cargo xtask vm sg3`: what the target says of itself, what it does, and what Linux makes of it.

use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use xtask_common::checks::Checks;

use super::Common;
use super::session::{self, Run};
use crate::two_portals::Target;

/// What `cargo xtask vm sg3` can be told.
#[derive(clap::Args, Debug, Clone)]
pub struct Args {
    #[command(flatten)]
    common: Common,
}

const LIMIT: Duration = Duration::from_secs(360);

/// Runs it.
///
/// # Errors
/// When the run cannot be made, or shows a fault.
pub fn run(args: &Args) -> Result<()> {
    let logs = args.common.log_folder("sg3")?;
    let target = Target::start(&args.common.iesp(&logs)?, &logs, &[])?;
    let mut checks = Checks::new("vm sg3");
    let run = Run {
        script: "sg3.sh",
        ports: target.ports(),
        programs: Vec::new(),
        variables: Vec::new(),
        limit: LIMIT,
        expected: &[],
        ..Run::default()
    };
    let image = target.image(0);
    session::run(&run, &mut checks, &logs, |what, _| look(what, &image))?;
    checks.check("iesp stops as it is asked to", target.stop());
    checks.conclude(args.common.json.as_deref(), &logs)
}

/// Runs it.
///
/// # Errors
/// As [`run`].
pub fn with(common: Common) -> Result<()> {
    run(&Args { common })
}

/// Answers `allocated most N` and `allocated least N`: how many KiB of the first LUN's image take up space here.
fn look(what: &str, image: &Path) -> Result<()> {
    let words: Vec<&str> = what.split(' ').collect();
    let ["allocated", bound, kib] = words[..] else { bail!("nobody here can {what}") };
    let bound_kib: u64 = kib.parse().with_context(|| what.to_owned())?;
    // st_blocks counts units of 512 bytes.
    let allocated = image.metadata().with_context(|| format!("{}", image.display()))?.blocks() / 2;
    let holds = if bound == "most" { allocated <= bound_kib } else { allocated >= bound_kib };
    if !holds {
        bail!("the image takes up {allocated} KiB, {bound} {bound_kib} were expected");
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_takes_up_space_is_told_from_holes() {
        let dir = tempfile::tempdir().unwrap();
        let image = dir.path().join("image");
        std::fs::File::create(&image).unwrap().set_len(1 << 20).unwrap();
        look("allocated most 0", &image).unwrap();
        assert!(look("allocated least 4", &image).is_err());
        std::fs::write(&image, vec![7; 1 << 16]).unwrap();
        std::fs::File::open(&image).unwrap().sync_all().unwrap();
        look("allocated least 64", &image).unwrap();
        assert!(look("allocated most 4", &image).is_err());
        assert!(look("allocated some 4 5", &image).is_err());
    }
}
