//! Files in memory, with /bin, /sbin, /lib and /lib64 merged into /usr.

use std::collections::BTreeMap;
use std::fs::Permissions;
use std::io::Read;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::Path;
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail};

/// The folders of the root that are links into /usr.
pub const MERGED: [&str; 4] = ["bin", "lib", "lib64", "sbin"];

/// One thing in a tree.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Node {
    /// A file.
    File {
        /// The permission bits.
        mode: u32,
        /// The content.
        data: Vec<u8>,
    },
    /// A symbolic link.
    Link(String),
}

/// Files and links by their path below the root, without a slash at the start. Folders are implied.
#[derive(Clone, Debug, Default)]
pub struct Tree {
    nodes: BTreeMap<String, Node>,
}

impl Tree {
    /// Adds what a package brings, but its documentation.
    ///
    /// # Errors
    /// When the file is no package.
    pub fn add_package(&mut self, package: &Path) -> Result<()> {
        let mut command = Command::new("dpkg-deb");
        command.arg("--fsys-tarfile").arg(package).stdin(Stdio::null()).stdout(Stdio::piped());
        let mut child = command.spawn().context("dpkg-deb cannot be started")?;
        let added = child.stdout.take().context("dpkg-deb has no output").and_then(|stdout| self.add_tar(stdout));
        let status = child.wait()?;
        added.with_context(|| format!("{}", package.display()))?;
        if !status.success() {
            bail!("dpkg-deb cannot unpack {} ({status})", package.display());
        }
        Ok(())
    }

    fn add_tar(&mut self, tar: impl Read) -> Result<()> {
        let mut archive = tar::Archive::new(tar);
        for entry in archive.entries()? {
            let mut entry = entry?;
            let path = merged(&entry.path()?.to_string_lossy());
            if path.starts_with("usr/share/") {
                continue;
            }
            let header = entry.header();
            let target = entry.link_name()?.map(|target| target.to_string_lossy().into_owned());
            match header.entry_type() {
                tar::EntryType::Regular => {
                    let mode = header.mode()? & 0o7777;
                    let mut data = Vec::new();
                    entry.read_to_end(&mut data)?;
                    self.nodes.insert(path, Node::File { mode, data });
                }
                tar::EntryType::Symlink => {
                    self.nodes.insert(path, Node::Link(target.context("a link without a target")?));
                }
                tar::EntryType::Link => {
                    // The other name came before.
                    let other = merged(&target.context("a link without a target")?);
                    let node = self.nodes.get(&other).with_context(|| format!("{path} links {other}"))?.clone();
                    self.nodes.insert(path, node);
                }
                _ => {}
            }
        }
        // What pipes on must read to the end, or dpkg-deb dies of a closed pipe.
        std::io::copy(&mut archive.into_inner(), &mut std::io::sink())?;
        Ok(())
    }

    /// Adds a file, in place of one that is there.
    pub fn add_file(&mut self, path: &str, mode: u32, data: impl Into<Vec<u8>>) {
        self.nodes.insert(merged(path), Node::File { mode, data: data.into() });
    }

    /// Adds a symbolic link, in place of what is there.
    pub fn add_link(&mut self, path: &str, target: &str) {
        // Not merged: the links of the root are among these.
        self.nodes.insert(path.to_owned(), Node::Link(target.to_owned()));
    }

    /// All files and links, in the order of their paths.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &Node)> {
        self.nodes.iter().map(|(path, node)| (path.as_str(), node))
    }

    /// The paths that match a pattern.
    ///
    /// # Errors
    /// When the pattern is wrong or matches nothing.
    pub fn matching(&self, pattern: &str) -> Result<Vec<String>> {
        let glob = glob::Pattern::new(pattern).with_context(|| pattern.to_owned())?;
        let paths: Vec<String> = self.nodes.keys().filter(|path| glob.matches(path)).cloned().collect();
        if paths.is_empty() {
            bail!("{pattern} is in none of the guest's packages");
        }
        Ok(paths)
    }

    /// The content of a file; links are followed.
    pub fn data(&self, path: &str) -> Option<&[u8]> {
        self.chain(path).ok()?.last().and_then(|last| match self.nodes.get(last) {
            Some(Node::File { data, .. }) => Some(data.as_slice()),
            _ => None,
        })
    }

    /// Whether there is a file of this path, or a link to one.
    pub fn holds(&self, path: &str) -> bool {
        self.data(path).is_some()
    }

    /// Takes over a file from another tree, with the links that lead to it. Answers with the file's own path.
    ///
    /// # Errors
    /// When the other tree has no such file.
    pub fn take(&mut self, from: &Tree, path: &str) -> Result<String> {
        let chain = from.chain(path)?;
        for step in &chain {
            if let Some(node) = from.nodes.get(step) {
                self.nodes.insert(step.clone(), node.clone());
            }
        }
        chain.into_iter().next_back().with_context(|| format!("no {path}"))
    }

    /// Writes files and links below a folder, which is made; owner and times are those of who writes.
    ///
    /// # Errors
    /// When something cannot be written.
    pub fn write_to(&self, folder: &Path) -> Result<()> {
        for (path, node) in &self.nodes {
            let path = folder.join(path);
            let what = || format!("cannot write {}", path.display());
            std::fs::create_dir_all(path.parent().unwrap_or(folder)).with_context(what)?;
            match node {
                Node::File { mode, data } => {
                    std::fs::write(&path, data).with_context(what)?;
                    std::fs::set_permissions(&path, Permissions::from_mode(*mode)).with_context(what)?;
                }
                Node::Link(target) => symlink(target, &path).with_context(what)?,
            }
        }
        Ok(())
    }

    /// The path, what it links to, and so on; the last one is a file.
    fn chain(&self, path: &str) -> Result<Vec<String>> {
        let mut chain = vec![merged(path)];
        while let Some(last) = chain.last() {
            match self.nodes.get(last) {
                Some(Node::File { .. }) => return Ok(chain),
                Some(Node::Link(target)) if chain.len() < 16 => chain.push(linked(last, target)),
                Some(Node::Link(_)) => break,
                None => bail!("{path}: there is no {last}"),
            }
        }
        bail!("{path}: too many links")
    }
}

/// A path without `./` and `/` at the start, with the root's folders merged into /usr.
fn merged(path: &str) -> String {
    let path = path.trim_start_matches("./").trim_start_matches('/').trim_end_matches('/');
    let first = path.split('/').next().unwrap_or_default();
    if MERGED.contains(&first) { format!("usr/{path}") } else { path.to_owned() }
}

/// Where a link at `path` leads.
fn linked(path: &str, target: &str) -> String {
    if target.starts_with('/') {
        return merged(target);
    }
    let mut parts: Vec<&str> = path.split('/').collect();
    parts.pop();
    for part in target.split('/') {
        match part {
            "" | "." => {}
            ".." => {
                parts.pop();
            }
            name => parts.push(name),
        }
    }
    merged(&parts.join("/"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tree() -> Tree {
        let mut tree = Tree::default();
        tree.add_file("./lib/x/libz.so.1.2", 0o644, *b"z");
        tree.add_link("usr/lib/x/libz.so.1", "libz.so.1.2");
        tree.add_link("usr/bin/iscsiadm", "/sbin/iscsiadm");
        tree.add_file("/sbin/iscsiadm", 0o755, *b"i");
        tree.add_link("usr/lib/loop", "../lib/loop");
        tree
    }

    #[test]
    fn the_roots_folders_are_merged_into_usr() {
        assert_eq!(merged("./sbin/iscsid"), "usr/sbin/iscsid");
        assert_eq!(merged("lib64/ld.so"), "usr/lib64/ld.so");
        assert_eq!(merged("./etc/library"), "etc/library");
        assert_eq!(linked("usr/lib/a/b", "../c/./d"), "usr/lib/c/d");
        assert_eq!(linked("usr/lib/a", "../../lib/c"), "usr/lib/c");
    }

    #[test]
    fn a_file_is_taken_with_its_links() {
        let mut taken = Tree::default();
        assert_eq!(taken.take(&tree(), "usr/lib/x/libz.so.1").unwrap(), "usr/lib/x/libz.so.1.2");
        assert_eq!(taken.take(&tree(), "usr/bin/iscsiadm").unwrap(), "usr/sbin/iscsiadm");
        assert_eq!(taken.iter().count(), 4);
        assert!(taken.take(&tree(), "usr/lib/loop").is_err());
        assert!(taken.take(&tree(), "usr/lib/absent").is_err());
    }

    #[test]
    fn patterns_match_or_say_so() {
        assert_eq!(tree().matching("usr/lib/x/libz*").unwrap().len(), 2);
        assert!(tree().matching("usr/nothing*").unwrap_err().to_string().contains("none of the guest's packages"));
    }

    #[test]
    fn a_tar_brings_files_links_and_hard_links() {
        let mut builder = tar::Builder::new(Vec::new());
        let mut header = tar::Header::new_gnu();
        header.set_size(3);
        header.set_mode(0o755);
        builder.append_data(&mut header, "./sbin/one", &b"abc"[..]).unwrap();
        let mut link = tar::Header::new_gnu();
        link.set_size(0);
        link.set_entry_type(tar::EntryType::Link);
        builder.append_link(&mut link, "./sbin/two", "./sbin/one").unwrap();
        let mut share = tar::Header::new_gnu();
        share.set_size(1);
        builder.append_data(&mut share, "./usr/share/doc/x", &b"d"[..]).unwrap();
        let mut tree = Tree::default();
        tree.add_tar(builder.into_inner().unwrap().as_slice()).unwrap();
        assert_eq!(tree.data("usr/sbin/two"), Some(&b"abc"[..]));
        assert!(!tree.holds("usr/share/doc/x"));
    }
}
