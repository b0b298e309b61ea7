//! Flushes at the same time: a server whose sync fails tells one of them, as a kernel does, and no other one is GOOD.

use std::io::{Read, Write};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

use crate::hostile::{shake_with, simple};
use crate::servers::{pattern, session, uuid};
use crate::support::Iesp;
use crate::support::cdb;
use crate::support::process::{command, folder};

const FLUSH: [u8; 10] = [0x35, 0, 0, 0, 0, 0, 0, 0, 0, 0];
const EIO: u32 = 5;
/// HAS_FLAGS, SEND_FLUSH: one connection, by which replies come in any order.
const FLAGS: u16 = 1 | 4;

/// A server whose next sync fails: it drops what was written, and tells one of those that wait.
#[derive(Default)]
struct Failing {
    armed: AtomicBool,
    writes: AtomicUsize,
    /// The cookie of a flush whose answer is held back.
    held: Mutex<Option<[u8; 8]>>,
}

impl Failing {
    fn serve(self: &Arc<Self>, path: &Path) {
        let (listener, own) = (UnixListener::bind(path).expect("a socket"), Arc::clone(self));
        thread::spawn(move || {
            for mut stream in listener.incoming().flatten() {
                let own = Arc::clone(&own);
                thread::spawn(move || own.answer(&mut stream));
            }
        });
    }

    /// Until the client goes.
    fn answer(self: Arc<Self>, stream: &mut UnixStream) -> Option<()> {
        shake_with(stream, false, FLAGS)?;
        loop {
            let mut head = [0; 28];
            stream.read_exact(&mut head).ok()?;
            let cookie: [u8; 8] = head[8..16].try_into().ok()?;
            let len = u32::from_be_bytes(head[24..28].try_into().ok()?) as usize;
            match head[7] {
                0 => stream.write_all(&[&simple(0, &cookie)[..], &vec![0; len]].concat()).ok()?,
                1 => {
                    stream.read_exact(&mut vec![0; len]).ok()?;
                    self.writes.fetch_add(1, Ordering::SeqCst);
                    stream.write_all(&simple(0, &cookie)).ok()?;
                }
                3 if self.armed.swap(false, Ordering::SeqCst) => {
                    *self.held.lock().expect("no panic") = Some(cookie);
                    let (own, mut stream) = (Arc::clone(&self), stream.try_clone().ok()?);
                    thread::spawn(move || {
                        // Another flush that comes meanwhile is answered first.
                        thread::sleep(Duration::from_millis(300));
                        let held = own.held.lock().expect("no panic").take();
                        held.map(|cookie| stream.write_all(&simple(EIO, &cookie)))
                    });
                }
                3 => {
                    let held = self.held.lock().expect("no panic").take();
                    let failed = held.map(|held| simple(EIO, &held)).unwrap_or_default();
                    stream.write_all(&[simple(0, &cookie), failed].concat()).ok()?;
                }
                _ => return None,
            }
        }
    }
}

/// The program with an identity of its own for the export, which is kept in the folder.
fn exclusive(url: &str, folder: &Path) -> Iesp {
    let mut command = command(&["-d", url, "-i", "127.0.0.1", "-p", "0"]);
    command.env("STATE_DIRECTORY", folder);
    Iesp::spawn(command)
}

/// Two flushes are asked for at once; the write that they cover is dropped, and one is told.
#[test]
fn flushes_at_the_same_time_have_one_result() {
    for shared in [false, true] {
        let folder = folder();
        let (socket, server) = (folder.path().join("failing"), Arc::new(Failing::default()));
        server.serve(&socket);
        let url = format!("nbd+unix:///?socket={}", socket.display());
        let iesp = if shared { Iesp::start(&["-d", &url, "--uuid", &uuid()]) } else { exclusive(&url, folder.path()) };
        let mut client = session(&iesp);
        client.put(&cdb::write(0, 8), &pattern(1, 4096)).good();
        server.armed.store(true, Ordering::SeqCst);
        let flushes = [client.initiator.bare(&FLUSH), client.initiator.bare(&FLUSH)];
        flushes.iter().for_each(|flush| client.begin(flush));
        let statuses = flushes.map(|flush| client.finish(flush.itt, &[]).status);
        let writes = server.writes.load(Ordering::SeqCst);
        if shared {
            assert_eq!(statuses, [2, 2], "the write is lost for both");
            assert_eq!((client.run(&FLUSH).code().0, writes), (3, 1), "and it is not written again");
        } else {
            assert!(statuses.contains(&2), "{statuses:?}");
            assert!(!statuses.contains(&0) || writes == 2, "GOOD without the write: {statuses:?}");
            client.run(&FLUSH).good();
            assert_eq!(server.writes.load(Ordering::SeqCst), 2, "it is written again before a flush is GOOD");
        }
    }
}
