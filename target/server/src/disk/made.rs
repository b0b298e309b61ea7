//! Images that were made under an identity that was given. One that is gone is not made again: its file system is not mounted,
//! say, and initiators would take an empty disk for the one that they know.

use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use uuid::Uuid;

use super::identity::{keep, real, state_folder};
use crate::failure::Failure;

/// The folder of the records, in the state folder.
const MADE: &str = "made";

/// The first line of a record.
const VERSION: &str = "version 1";

/// Where the disk of an identity was.
#[derive(Debug)]
pub struct Record {
    file: PathBuf,
    /// The images, each in a line.
    images: Vec<String>,
    /// The one that is asked about.
    image: String,
}

impl Record {
    /// That of an image that is to have, or has, this identity. `None` where there is no state folder.
    ///
    /// # Errors
    /// Where it cannot be read, and what to do.
    pub fn of(uuid: Uuid, image: &Path) -> Result<Option<Self>, Failure> {
        // A user without a home has none.
        let Ok(folder) = state_folder() else { return Ok(None) };
        let file = folder.join(MADE).join(uuid.to_string());
        let text = match std::fs::read_to_string(&file) {
            Ok(text) => text,
            Err(error) if error.kind() == ErrorKind::NotFound => VERSION.to_owned(),
            Err(error) => return Err(Failure::runtime(format!("{} cannot be read: {error}", file.display()))),
        };
        let mut lines = text.lines();
        if lines.next() != Some(VERSION) {
            let message = format!("{}: this was written by a newer iesp: use that one", file.display());
            return Err(Failure::runtime(message));
        }
        let images = lines.map(str::to_owned).collect();
        // A name with a line's end in it is as good as another one, as long as it is one line.
        let image = real(image).to_string_lossy().escape_default().to_string();
        Ok(Some(Self { file, images, image }))
    }

    /// Where it is kept.
    pub fn file(&self) -> &Path {
        &self.file
    }

    /// Whether the disk was there before.
    pub fn has_image(&self) -> bool {
        self.images.contains(&self.image)
    }

    /// Remembers that the disk is there.
    ///
    /// # Errors
    /// Where it cannot be written, and what to do.
    pub fn keep(&self) -> Result<(), Failure> {
        if self.has_image() {
            return Ok(());
        }
        let lines: Vec<_> = [VERSION].into_iter().chain(self.images.iter().map(String::as_str)).collect();
        let write = || {
            if let Some(folder) = self.file.parent() {
                std::fs::create_dir_all(folder)?;
            }
            keep(&self.file, &format!("{}\n{}\n", lines.join("\n"), self.image))
        };
        write().map_err(|error: std::io::Error| {
            Failure::runtime(format!(
                "that the disk was made cannot be kept in {}: {error}: make the folder writable",
                self.file.display()
            ))
        })
    }
}
