//! `iesp status`, `iesp sessions` and `iesp restore`: a Unix socket by which a running process is asked. Each process has its own, named by its
//! process id, in a folder of the user that runs it; whoever may write the socket (its owner, and root) may ask.

mod answer;
mod ask;
mod folder;
mod restore;
mod show;

use std::io;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixListener as StdListener;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::Semaphore;

pub use answer::About;
pub use ask::{Question, ask};

use crate::node::Node;

/// How long a question and its answer may take.
const PATIENCE: Duration = Duration::from_secs(2);

/// Most bytes of a question: a word, and the disk that it is about.
const QUESTION: usize = 8 << 10;

/// Questions that are answered at a time.
const AT_A_TIME: usize = 8;

/// A socket to be asked by, removed when dropped.
#[derive(Debug)]
pub struct Control {
    listener: Option<StdListener>,
    path: PathBuf,
}

impl Control {
    /// Listens at the path, or where `iesp status` looks.
    ///
    /// # Errors
    /// Why that is not possible.
    pub fn bind(path: Option<&Path>) -> io::Result<Self> {
        let path = match path {
            Some(path) => path.to_owned(),
            None => folder::own()?.join(format!("{}.sock", std::process::id())),
        };
        // One that a process left behind which did not end in order.
        if folder::is_dead(&path) {
            std::fs::remove_file(&path)?;
        }
        let listener = StdListener::bind(&path)?;
        // From here on the socket is removed again.
        let mut control = Self { listener: None, path };
        std::fs::set_permissions(&control.path, std::fs::Permissions::from_mode(0o600))?;
        listener.set_nonblocking(true)?;
        control.listener = Some(listener);
        Ok(control)
    }

    /// Answers until the task is aborted.
    ///
    /// # Errors
    /// Where the socket cannot be used.
    pub fn answer(&mut self, node: Arc<Node>, about: About) -> io::Result<tokio::task::JoinHandle<()>> {
        let listener = self.listener.take().ok_or_else(|| io::Error::other("it is in use"))?;
        let listener = UnixListener::from_std(listener)?;
        let (about, room) = (Arc::new(about), Arc::new(Semaphore::new(AT_A_TIME)));
        Ok(tokio::spawn(async move {
            loop {
                let Ok(permit) = Arc::clone(&room).acquire_owned().await else { return };
                match listener.accept().await {
                    Ok((stream, _)) => {
                        let (node, about) = (Arc::clone(&node), Arc::clone(&about));
                        tokio::spawn(async move {
                            // Who goes away or is too slow goes without.
                            let _ = tokio::time::timeout(PATIENCE, serve(stream, &node, &about)).await;
                            drop(permit);
                        });
                    }
                    Err(error) => {
                        tracing::debug!(%error, "a question was not taken");
                        tokio::time::sleep(Duration::from_millis(100)).await;
                    }
                }
            }
        }))
    }
}

async fn serve(mut stream: UnixStream, node: &Node, about: &About) -> io::Result<()> {
    let mut question = vec![0; QUESTION];
    let mut len = 0;
    while len < question.len() && !question[..len].contains(&b'\n') {
        match stream.read(&mut question[len..]).await? {
            0 => break,
            count => len += count,
        }
    }
    let answer = match question[..len].trim_ascii() {
        b"status" => answer::status(node, about),
        b"sessions" => answer::sessions(node),
        question if let Some(disk) = question.strip_prefix(b"restore ") => {
            restore::restore(node, &String::from_utf8_lossy(disk)).await
        }
        _ => serde_json::json!({ "error": "ask for status, sessions or restore DISK" }),
    };
    stream.write_all(answer.to_string().as_bytes()).await?;
    stream.shutdown().await
}

impl Drop for Control {
    fn drop(&mut self) {
        // Somebody else may have removed it.
        let _ = std::fs::remove_file(&self.path);
    }
}
