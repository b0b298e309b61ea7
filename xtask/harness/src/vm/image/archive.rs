//! A tree as an initramfs: cpio in the format "newc", uncompressed, the same bytes for the same tree.
//!
//! It is not compressed on purpose: software emulation takes longer to unpack it than to read it.

use std::collections::BTreeSet;
use std::io::{Seek, SeekFrom, Write};

use anyhow::{Context, Result};
use cpio::newc::{Builder, trailer};

use super::tree::{Node, Tree};

const FOLDER: u32 = 0o040_755;
const FILE: u32 = 0o100_000;
const LINK: u32 = 0o120_777;
/// Archives stand one behind the other at multiples of this.
const ALIGNMENT: u64 = 512;

/// Writes the tree; folders come before what is in them.
///
/// # Errors
/// When `out` cannot be written, or a file is larger than 4 GiB.
pub fn write<W: Write + Seek>(tree: &Tree, mut out: W) -> Result<W> {
    let mut inode = 0;
    for folder in folders(tree) {
        out = entry(out, &mut inode, &folder, FOLDER, &[])?;
    }
    for (path, node) in tree.iter() {
        out = match node {
            Node::File { mode, data } => entry(out, &mut inode, path, FILE | mode, data)?,
            Node::Link(target) => entry(out, &mut inode, path, LINK, target.as_bytes())?,
        };
    }
    let mut out = trailer(out)?;
    let end = out.seek(SeekFrom::End(0))?;
    let padding = usize::try_from(end.next_multiple_of(ALIGNMENT) - end)?;
    out.write_all(&vec![0; padding])?;
    Ok(out)
}

fn entry<W: Write>(out: W, inode: &mut u32, path: &str, mode: u32, data: &[u8]) -> Result<W> {
    *inode += 1;
    let size = u32::try_from(data.len()).with_context(|| format!("{path} is too large"))?;
    // Owner, group and time stay 0: nothing depends on who builds it and when.
    let mut writer = Builder::new(path).ino(*inode).mode(mode).nlink(1).write(out, size);
    writer.write_all(data)?;
    Ok(writer.finish()?)
}

fn folders(tree: &Tree) -> BTreeSet<String> {
    let mut folders = BTreeSet::new();
    for (path, _) in tree.iter() {
        folders.extend(path.match_indices('/').filter_map(|(end, _)| path.get(..end)).map(str::to_owned));
    }
    folders
}

#[cfg(test)]
mod tests {
    use std::io::Cursor;

    use super::*;

    #[test]
    fn folders_come_first_and_the_end_is_aligned() {
        let mut tree = Tree::default();
        tree.add_file("etc/iscsi/name", 0o600, *b"hello");
        tree.add_link("bin", "usr/bin");
        let bytes = write(&tree, Cursor::new(Vec::new())).unwrap().into_inner();
        assert_eq!(bytes, write(&tree, Cursor::new(Vec::new())).unwrap().into_inner());
        assert_eq!(bytes.len() % 512, 0);

        let mut reader = Cursor::new(bytes);
        let mut seen = Vec::new();
        loop {
            let entry = cpio::newc::Reader::new(reader).unwrap();
            if entry.entry().is_trailer() {
                break;
            }
            let about = (entry.entry().name().to_owned(), entry.entry().mode(), entry.entry().mtime());
            let mut data = Vec::new();
            reader = entry.to_writer(&mut data).unwrap();
            seen.push((about.0, about.1, about.2, String::from_utf8(data).unwrap()));
        }
        let expected = [
            ("etc".to_owned(), 0o040_755, 0, String::new()),
            ("etc/iscsi".to_owned(), 0o040_755, 0, String::new()),
            ("bin".to_owned(), 0o120_777, 0, "usr/bin".to_owned()),
            ("etc/iscsi/name".to_owned(), 0o100_600, 0, "hello".to_owned()),
        ];
        assert_eq!(seen, expected);
    }
}
