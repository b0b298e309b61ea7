//! The libraries that programs link, and those that these link.

use anyhow::{Context, Result, bail};
use goblin::elf::Elf;

use super::tree::Tree;

/// Where the loader looks.
const FOLDERS: [&str; 2] = ["usr/lib/x86_64-linux-gnu", "usr/lib"];

/// Takes a program or library with all that it links into `into`. What is no ELF file, such as a script, is taken alone.
///
/// # Errors
/// When a library is not there.
pub fn take_linked(into: &mut Tree, from: &Tree, path: &str) -> Result<()> {
    let mut open = vec![path.to_owned()];
    while let Some(path) = open.pop() {
        let taken = into.holds(&path);
        let file = into.take(from, &path)?;
        if taken {
            continue;
        }
        for library in needed(from.data(&file).unwrap_or_default()).with_context(|| path.clone())? {
            open.push(locate(from, &library).with_context(|| format!("needed by {path}"))?);
        }
    }
    Ok(())
}

/// The loader's path and the names of the libraries that an ELF file asks for.
fn needed(data: &[u8]) -> Result<Vec<String>> {
    if !data.starts_with(b"\x7fELF") {
        return Ok(Vec::new());
    }
    let elf = Elf::parse(data)?;
    Ok(elf.interpreter.into_iter().chain(elf.libraries).map(str::to_owned).collect())
}

fn locate(from: &Tree, library: &str) -> Result<String> {
    if library.starts_with('/') {
        return Ok(library.to_owned());
    }
    let paths = FOLDERS.iter().map(|folder| format!("{folder}/{library}"));
    let Some(path) = paths.into_iter().find(|path| from.holds(path)) else {
        bail!("{library} is in none of the guest's packages");
    };
    Ok(path)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_program_brings_its_libraries() {
        // This very test, a program that links the C library.
        let this = std::fs::read(std::env::current_exe().unwrap()).unwrap();
        let names = needed(&this).unwrap();
        assert!(names.iter().any(|name| name.starts_with("libc.so")), "{names:?}");
        assert!(needed(b"#!/bin/sh").unwrap().is_empty());

        let mut from = Tree::default();
        from.add_file("usr/bin/test", 0o755, this);
        let error = take_linked(&mut Tree::default(), &from, "usr/bin/test").unwrap_err();
        assert!(format!("{error:#}").contains("needed by usr/bin/test"), "{error:#}");
        for name in names {
            from.add_file(&locate(&from, &name).unwrap_or(format!("lib/{name}")), 0o755, "");
        }
        let mut into = Tree::default();
        take_linked(&mut into, &from, "usr/bin/test").unwrap();
        assert_eq!(into.iter().count(), from.iter().count());
    }
}
