//! The guest: a kernel and an initramfs, made of Debian's packages and kept in the user's cache folder.

mod archive;
mod libraries;
mod modules;
mod recipe;
mod tree;

use std::fs::File;
use std::io::{Cursor, Write};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use sha2::{Digest, Sha256};
use xtask_common::process::{spell, timed};
use xtask_common::workspace;

pub use self::recipe::Recipe;
pub use self::tree::Tree;
use crate::checksum::{checksum, hex};
use crate::debian::{self, Package};

/// What `cargo xtask vm image` can be told.
#[derive(clap::Args, Debug, Clone)]
pub struct Args {
    /// Make it anew, and fail unless it is byte for byte the one that is there
    #[arg(long)]
    verify: bool,
}

/// A guest that can be started.
#[derive(Clone, Debug)]
pub struct Image {
    /// The kernel.
    pub kernel: PathBuf,
    /// The initramfs, without what a run adds to it.
    pub initramfs: PathBuf,
}

/// Makes the guest, or says that it is there.
///
/// # Errors
/// When it cannot be made, or is not the same twice.
pub fn run(args: &Args) -> Result<()> {
    let image = prepare()?;
    let sum = checksum(&image.initramfs)?;
    println!("kernel     {}", image.kernel.display());
    println!("initramfs  {} ({} MiB)", image.initramfs.display(), image.initramfs.metadata()?.len() >> 20);
    println!("SHA-256    {sum}");
    if args.verify {
        let (recipe, packages) = wanted(GUEST)?;
        let again = tempfile::tempdir_in(cache_folder()?)?;
        build(&recipe, &packages, again.path())?;
        let second = checksum(&again.path().join(INITRAMFS))?;
        if second != sum {
            bail!("made anew it is another one, with SHA-256 {second}");
        }
        println!("made anew it is the same, byte for byte");
    }
    Ok(())
}

const KERNEL: &str = "vmlinuz";
const INITRAMFS: &str = "initramfs.cpio";
/// To be changed along with the way in which an image is made of a recipe.
const LAYOUT: &str = "1";

/// The guest from the cache folder; made first when there is none for this recipe and these versions of its packages.
///
/// # Errors
/// When it cannot be made.
pub fn prepare() -> Result<Image> {
    let (recipe, packages) = wanted(GUEST)?;
    let folder = cache_folder()?.join(key(&recipe_text(GUEST)?, &packages));
    if !folder.exists() {
        println!("making the guest of {} packages", packages.len());
        let (made, took) = timed(|| -> Result<()> {
            let unfinished = tempfile::tempdir_in(cache_folder()?)?;
            build(&recipe, &packages, unfinished.path())?;
            // Complete or not there at all; another run may have been quicker.
            if std::fs::rename(unfinished.path(), &folder).is_err() && !folder.exists() {
                bail!("cannot make {}", folder.display());
            }
            Ok(())
        });
        made?;
        println!("made in {}", spell(took));
    }
    Ok(Image { kernel: folder.join(KERNEL), initramfs: folder.join(INITRAMFS) })
}

/// The folder of this project in the user's cache folder.
///
/// # Errors
/// When the user has no home, or the folder cannot be made.
pub fn cache_folder() -> Result<PathBuf> {
    workspace::cache_folder("guest")
}

/// Puts the tree of a run behind the guest's own: the kernel unpacks both.
///
/// # Errors
/// When the file cannot be written.
pub fn with_overlay(image: &Image, overlay: &Tree, file: &Path) -> Result<()> {
    let what = || format!("cannot write {}", file.display());
    std::fs::copy(&image.initramfs, file).with_context(what)?;
    File::options().append(true).open(file)?.write_all(&archive_of(overlay)?).with_context(what)
}

/// A tree as an uncompressed initramfs.
///
/// # Errors
/// When a file in it is larger than 4 GiB.
pub fn archive_of(tree: &Tree) -> Result<Vec<u8>> {
    Ok(archive::write(tree, Cursor::new(Vec::new()))?.into_inner())
}

/// All that the packages of a recipe bring, and the recipe.
///
/// # Errors
/// When apt does not have them.
pub fn unpack(recipe: &str) -> Result<(Recipe, Tree)> {
    let (recipe, packages) = wanted(recipe)?;
    let all = unpack_packages(&packages)?;
    Ok((recipe, all))
}

/// The kernel among what the packages bring.
///
/// # Errors
/// When there is none.
pub fn kernel_of(all: &Tree) -> Result<&[u8]> {
    let kernel = all.matching("boot/vmlinuz-*")?;
    kernel.first().and_then(|path| all.data(path)).context("no kernel")
}

/// Of all that the packages bring, what the recipe names, with what that needs.
///
/// # Errors
/// When something is not there.
pub fn select(recipe: &Recipe, all: &Tree) -> Result<Tree> {
    let mut guest = Tree::default();
    for pattern in recipe.programs.iter().chain(&recipe.libraries) {
        for path in all.matching(pattern)? {
            libraries::take_linked(&mut guest, all, &path)?;
        }
    }
    for pattern in &recipe.files {
        for path in all.matching(pattern)? {
            guest.take(all, &path)?;
        }
    }
    modules::take_modules(&mut guest, all, &recipe.modules)?;
    for folder in tree::MERGED {
        guest.add_link(folder, &format!("usr/{folder}"));
    }
    Ok(guest)
}

/// The recipe of the guest of all runs but `boot`.
const GUEST: &str = "image.toml";

fn recipe_text(name: &str) -> Result<String> {
    let file = workspace::root().join("ci/guest").join(name);
    std::fs::read_to_string(&file).with_context(|| format!("cannot read {}", file.display()))
}

fn wanted(name: &str) -> Result<(Recipe, Vec<Package>)> {
    let recipe = Recipe::parse(&recipe_text(name)?).with_context(|| name.to_owned())?;
    let packages = debian::resolve(&recipe.kernel, &recipe.packages)?;
    Ok((recipe, packages))
}

fn unpack_packages(packages: &[Package]) -> Result<Tree> {
    let mut all = Tree::default();
    for file in debian::fetch(packages, &cache_folder()?.join("packages"))? {
        all.add_package(&file)?;
    }
    Ok(all)
}

fn build(recipe: &Recipe, packages: &[Package], folder: &Path) -> Result<()> {
    let all = unpack_packages(packages)?;
    let kernel = kernel_of(&all)?;
    std::fs::write(folder.join(KERNEL), kernel).with_context(|| format!("cannot write {}", folder.display()))?;
    std::fs::write(folder.join(INITRAMFS), archive_of(&select(recipe, &all)?)?)?;
    let list: String = packages.iter().map(|package| format!("{} {}\n", package.file, package.checksum)).collect();
    std::fs::write(folder.join("packages.txt"), list)?;
    Ok(())
}

/// Names the folder of an image: by the recipe and by the packages' checksums.
fn key(recipe: &str, packages: &[Package]) -> String {
    let mut hash = Sha256::new();
    hash.update(LAYOUT);
    hash.update(recipe);
    packages.iter().for_each(|package| hash.update(format!("\n{} {}", package.file, package.checksum)));
    hex(&hash.finalize()).chars().take(16).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_recipes_can_be_read() {
        for name in [GUEST, "boot.toml"] {
            let recipe = Recipe::parse(&recipe_text(name).unwrap()).unwrap();
            let mut names = recipe.packages.clone();
            names.sort();
            names.dedup();
            assert_eq!(names.len(), recipe.packages.len(), "{name}: a package stands twice");
        }
    }

    #[test]
    fn another_recipe_or_version_is_another_image() {
        let package = |checksum: &str| Package { file: "a_1_amd64.deb".into(), checksum: checksum.into() };
        let one = key("kernel = 1", &[package("SHA256:1")]);
        assert_eq!(one.len(), 16);
        assert_ne!(one, key("kernel = 2", &[package("SHA256:1")]));
        assert_ne!(one, key("kernel = 1", &[package("SHA256:2")]));
    }
}
