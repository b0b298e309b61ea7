//! `ci/conformance.toml`: which disks are served, and which skips are accepted for which reason.

use std::path::Path;

use anyhow::{Context, Result, bail};
use serde::Deserialize;
use xtask_common::target::Chap;

use super::newer::Newer;
use super::preload::Effect;

/// The whole file.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct Config {
    /// How the test-tool is run.
    pub tool: ToolConfig,
    /// The source of the tool for `--newer`.
    pub newer: Option<Newer>,
    /// The disks, one after the other.
    #[serde(rename = "disk")]
    pub disks: Vec<Disk>,
    /// Tests that the tool gets wrong by itself.
    #[serde(rename = "repair", default)]
    pub repairs: Vec<Repair>,
    /// What is not there at all: the only excuses for a test that no disk runs.
    #[serde(rename = "feature", default)]
    pub features: Vec<Feature>,
    /// The skips that are accepted.
    #[serde(rename = "skip", default)]
    pub skips: Vec<Skip>,
}

/// How the test-tool is run.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct ToolConfig {
    /// The families of tests, such as `SCSI` and `iSCSI` (`ALL` and `LINUX` repeat them).
    pub families: Vec<String>,
    /// How long one test may take.
    pub timeout_seconds: u64,
    /// Tests that `--quick` leaves out: they move tens of megabytes each.
    #[serde(default)]
    pub slow: Vec<Glob>,
}

/// A disk and the way to it.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct Disk {
    /// Its name on the command line and in reports.
    pub name: String,
    /// What is special about it.
    pub about: String,
    /// Its size in MiB.
    pub size_mib: u64,
    /// It takes one session at a time: the tool gets one path to it instead of two.
    #[serde(default)]
    pub one_session: bool,
    /// Arguments for `iesp`.
    #[serde(default)]
    pub iesp: Vec<String>,
    /// Arguments for the simulated board.
    #[serde(default)]
    pub simulator: Vec<String>,
    /// What its configuration says beside the target's name.
    #[serde(default)]
    pub config: serde_json::Map<String, serde_json::Value>,
    /// Initiators have to log in with this.
    pub chap: Option<Chap>,
    /// Who puts digests on the PDUs, if anyone does.
    pub digests: Option<Digests>,
    /// Tests that make no sense on this disk.
    #[serde(default)]
    pub leave_out: Vec<LeaveOut>,
}

/// Who puts digests on the PDUs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Digests {
    /// libiscsi itself, on headers: an implementation that knows nothing of ours.
    Libiscsi,
    /// A proxy between the test-tool and the target, on headers and data.
    Proxy,
}

/// Tests that make no sense on a disk, because the tool expects of every disk what this one must not do.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct LeaveOut {
    /// Patterns of test names.
    pub tests: Vec<Glob>,
    /// Why.
    pub why: String,
}

/// Tests that fail against any target unless the tool is helped.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct Repair {
    /// Patterns of test names.
    pub tests: Vec<Glob>,
    /// What helps.
    pub effect: Effect,
    /// What is wrong with the tool.
    #[expect(dead_code, reason = "for readers of the file: every repair has to say why")]
    pub why: String,
}

/// Something that the target does not have, and does not claim to have.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct Feature {
    /// Its name in the skip rules.
    pub name: String,
    /// What it is.
    pub about: String,
}

/// Skips that are accepted. Each test and disk that it names has to be skipped for the reason that it gives.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct Skip {
    /// Patterns of test names.
    pub tests: Vec<Glob>,
    /// Patterns of disk names; without them, every disk.
    #[serde(default = "every_disk")]
    pub disks: Vec<Glob>,
    /// Patterns of what the tool prints: each printed reason has to match one of them.
    pub reasons: Vec<Glob>,
    /// The feature that is missing: such a test may be skipped on every disk.
    pub feature: Option<String>,
    /// Why this disk is not the one for this test: another disk has to run it.
    pub why: Option<String>,
    /// Only the newer test-tool is meant.
    #[serde(default)]
    pub newer: bool,
}

impl Skip {
    /// Whether the rule speaks about this test on this disk.
    pub fn covers(&self, test: &str, disk: &str) -> bool {
        Glob::any(&self.tests, test) && Glob::any(&self.disks, disk)
    }
}

fn every_disk() -> Vec<Glob> {
    vec![Glob(glob::Pattern::new("*").unwrap_or_default())]
}

/// A pattern with `*` and `?`.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
pub struct Glob(glob::Pattern);

impl Glob {
    /// Whether one of the patterns matches the whole text.
    pub fn any(patterns: &[Glob], text: &str) -> bool {
        patterns.iter().any(|pattern| pattern.0.matches(text))
    }

    /// The pattern's text.
    pub fn as_str(&self) -> &str {
        self.0.as_str()
    }
}

impl TryFrom<String> for Glob {
    type Error = glob::PatternError;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        glob::Pattern::new(&text).map(Glob)
    }
}

impl Config {
    /// The disk of this name.
    ///
    /// # Errors
    /// When there is none.
    pub fn disk(&self, name: &str) -> Result<&Disk> {
        let known = || self.disks.iter().map(|disk| disk.name.as_str()).collect::<Vec<_>>().join(", ");
        self.disks
            .iter()
            .find(|disk| disk.name == name)
            .with_context(|| format!("no disk {name}; there are {}", known()))
    }

    /// What is said of the tool that is used: what only a newer one has is left out where it is not that one.
    pub fn for_tool(mut self, is_newer: bool) -> Self {
        self.skips.retain(|rule| is_newer || !rule.newer);
        self
    }

    /// Reads and checks the file.
    ///
    /// # Errors
    /// When it cannot be read, or says something that makes no sense: the message says what.
    pub fn read(file: &Path) -> Result<Self> {
        let text = std::fs::read_to_string(file).with_context(|| format!("cannot read {}", file.display()))?;
        Self::parse(&text).with_context(|| format!("{} is wrong", file.display()))
    }

    /// Checks the file's text.
    ///
    /// # Errors
    /// See [`Config::read`].
    pub fn parse(text: &str) -> Result<Self> {
        let config: Config = toml::from_str(text)?;
        for (index, disk) in config.disks.iter().enumerate() {
            if config.disks[..index].iter().any(|other| other.name == disk.name) {
                bail!("two disks are named {}", disk.name);
            }
        }
        for skip in &config.skips {
            let tests = skip.tests.iter().map(Glob::as_str).collect::<Vec<_>>().join(", ");
            match (&skip.feature, &skip.why) {
                (Some(name), _) if config.features.iter().all(|feature| feature.name != *name) => {
                    bail!("the skip of {tests} names the feature {name}, which is not listed");
                }
                (None, None) => bail!("the skip of {tests} has neither a feature that is missing nor a why"),
                _ => {}
            }
            for pattern in &skip.disks {
                let one = std::slice::from_ref(pattern);
                if !config.disks.iter().any(|disk| Glob::any(one, &disk.name)) {
                    bail!("the skip of {tests} is for the disk {}, which is not listed", pattern.as_str());
                }
            }
        }
        Ok(config)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HEAD: &str = r#"
        [tool]
        families = ["SCSI"]
        timeout-seconds = 30
        [[disk]]
        name = "512"
        about = "plain"
        size-mib = 64
        [[feature]]
        name = "orwrite"
        about = "ORWRITE(16)"
    "#;

    fn error(rest: &str) -> String {
        format!("{:#}", Config::parse(&format!("{HEAD}{rest}")).unwrap_err())
    }

    #[test]
    fn the_repositorys_own_file_is_right() {
        Config::read(&xtask_common::workspace::root().join("ci/conformance.toml")).unwrap();
    }

    #[test]
    fn a_skip_has_a_cause() {
        let text = "[[skip]]\ntests = [\"SCSI.A.*\"]\nreasons = [\"*\"]\n";
        assert!(error(text).contains("neither a feature"));
        assert!(error(&format!("{text}feature = \"sanitize\"\n")).contains("not listed"));
        Config::parse(&format!("{HEAD}{text}feature = \"orwrite\"\n")).unwrap();
        Config::parse(&format!("{HEAD}{text}why = \"because\"\n")).unwrap();
    }

    #[test]
    fn a_disk_that_is_not_there_is_an_error() {
        let text = "[[skip]]\ntests = [\"SCSI.A.*\"]\nreasons = [\"*\"]\nwhy = \"x\"\ndisks = [\"4096\"]\n";
        assert!(error(text).contains("disk 4096"));
    }

    #[test]
    fn misspelt_keys_are_errors() {
        assert!(error("[[skip]]\ntest = [\"SCSI.A.*\"]\n").contains("unknown field"));
    }

    #[test]
    fn patterns_match_whole_names() {
        let patterns = [Glob::try_from("SCSI.Write1?.*".to_owned()).unwrap()];
        assert!(Glob::any(&patterns, "SCSI.Write10.DpoFua"));
        assert!(!Glob::any(&patterns, "SCSI.WriteSame10.Simple"));
        assert!(!Glob::any(&patterns, "ALL.SCSI.Write10.Simple"));
    }
}
