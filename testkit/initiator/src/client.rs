//! Connections on TCP, by tokio.
//!
//! Every wait is bounded by [`Client::patience`]: a target that is silent is an [`Error::Silent`], never a hang.
//!
//! ```no_run
//! # async fn example() -> Result<(), iesp_initiator::client::Error> {
//! use iesp_initiator::client::{Client, Command, Login};
//!
//! let mut client = Client::connect(([127, 0, 0, 1], 3260)).await?;
//! client.login(&Login::normal("test").chap("me", b"a secret of 20 bytes")).await?;
//! let written = client.run(&Command::new(&[0x2a, 0, 0, 0, 0, 0, 0, 0, 1]).write(&[7; 512]).immediate(512)).await?;
//! assert!(written.is_good());
//! # Ok(())
//! # }
//! ```

mod command;
mod login;
mod tap;

use std::collections::VecDeque;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use iesp_iscsi::outbox::Digests;
use iesp_iscsi::pdu::{
    LoginResponse, LogoutReason, LogoutResponse, NopIn, ReadyToTransfer, TaskFunction, TaskResponse, TextResponse,
};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;

use crate::answer::{Answer, text};
use crate::initiator::{Initiator, Violation};
use crate::pdu::{Flaws, Pdu};

pub use command::{Command, Done};
pub use login::{LoggedIn, Login};
pub use tap::{Sent, Tap};

/// How long a connection waits for anything, unless told otherwise.
pub const PATIENCE: Duration = Duration::from_secs(20);

/// Bytes that one call receives at most.
const CHUNK: usize = 1 << 16;

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The connection failed.
    #[error("connection: {0}")]
    Io(#[from] io::Error),
    /// The target did nothing for as long as was waited.
    #[error("the target is silent for {0:?}")]
    Silent(Duration),
    /// The target closed the connection.
    #[error("the target closed the connection")]
    Closed,
    /// The target broke a rule.
    #[error(transparent)]
    Violation(Box<Violation>),
    /// The target sent something else than what was waited for.
    #[error("{wanted} was waited for, not {got:?}")]
    Unexpected {
        /// What was waited for.
        wanted: &'static str,
        /// What came.
        got: Box<Answer>,
    },
    /// The login was answered with this status.
    #[error("login: {0:?}")]
    Login(Box<LoginResponse>),
    /// The target asks for no CHAP although the login wants it, or for what cannot be answered.
    #[error("CHAP: {0}")]
    Chap(&'static str),
}

impl From<Violation> for Error {
    fn from(violation: Violation) -> Self {
        Self::Violation(Box::new(violation))
    }
}

/// One connection of an initiator.
#[derive(Debug)]
pub struct Client {
    /// The numbers and tags.
    pub initiator: Initiator,
    /// How long to wait for anything.
    pub patience: Duration,
    /// Most bytes of data in a PDU that is sent.
    pub segment: usize,
    stream: TcpStream,
    /// Answers to other tasks than the one that was waited for.
    aside: VecDeque<Answer>,
    tap: Option<(usize, Arc<dyn Tap>)>,
}

impl Client {
    /// A connection before its login.
    ///
    /// # Errors
    /// Nothing listens there.
    pub async fn connect(address: impl Into<SocketAddr>) -> Result<Self, Error> {
        Self::open(address.into(), None).await
    }

    /// The same; all its PDUs are shown to `tap`.
    ///
    /// # Errors
    /// Nothing listens there.
    pub async fn connect_tapped(address: impl Into<SocketAddr>, tap: Arc<dyn Tap>) -> Result<Self, Error> {
        let number = tap.connected();
        Self::open(address.into(), Some((number, tap))).await
    }

    async fn open(address: SocketAddr, tap: Option<(usize, Arc<dyn Tap>)>) -> Result<Self, Error> {
        let stream = within(PATIENCE, TcpStream::connect(address)).await??;
        stream.set_nodelay(true)?;
        let (initiator, aside) = (Initiator::default(), VecDeque::new());
        Ok(Self { initiator, patience: PATIENCE, segment: 8192, stream, aside, tap })
    }

    /// Sends a PDU with the connection's digests.
    ///
    /// # Errors
    /// The connection's.
    pub async fn send(&mut self, pdu: &Pdu) -> Result<(), Error> {
        self.send_flawed(pdu, Flaws::default()).await
    }

    /// Sends a PDU with what is wrong about it.
    ///
    /// # Errors
    /// The connection's.
    pub async fn send_flawed(&mut self, pdu: &Pdu, flaws: Flaws) -> Result<(), Error> {
        let digests = self.initiator.digests;
        if let Some((number, tap)) = &self.tap {
            tap.sent(*number, &Sent { pdu: pdu.clone(), digests, flaws });
        }
        self.send_bytes(&pdu.to_flawed_bytes(digests, flaws)).await
    }

    /// Sends bytes that no tap sees.
    ///
    /// # Errors
    /// The connection's.
    pub async fn send_bytes(&mut self, bytes: &[u8]) -> Result<(), Error> {
        within(self.patience, self.stream.write_all(bytes)).await??;
        Ok(())
    }

    /// The next answer.
    ///
    /// # Errors
    /// There is none, or it is wrong.
    pub async fn answer(&mut self) -> Result<Answer, Error> {
        self.answer_or_end().await?.ok_or(Error::Closed)
    }

    /// The next answer; `None` at the end of the connection.
    ///
    /// # Errors
    /// The target is silent, or its answer is wrong.
    pub async fn answer_or_end(&mut self) -> Result<Option<Answer>, Error> {
        match self.aside.pop_front() {
            Some(answer) => Ok(Some(answer)),
            None => self.fresh().await,
        }
    }

    /// The next answer that came last.
    async fn fresh(&mut self) -> Result<Option<Answer>, Error> {
        let mut bytes = vec![0; CHUNK];
        loop {
            if let Some((answer, pdu)) = self.initiator.next_answer()? {
                if let Some((number, tap)) = &self.tap {
                    tap.received(*number, &pdu, self.initiator.digests);
                }
                return Ok(Some(answer));
            }
            match within(self.patience, self.stream.read(&mut bytes)).await? {
                Ok(0) => break,
                Ok(count) => self.initiator.receive(&bytes[..count]),
                Err(error) if error.kind() == io::ErrorKind::ConnectionReset => break,
                Err(error) => return Err(error.into()),
            }
        }
        if let Some((number, tap)) = &self.tap {
            tap.ended(*number);
        }
        Ok(None)
    }

    /// The next answer that `wanted` makes something of; others stay for later calls.
    ///
    /// # Errors
    /// The connection ends, or the target is silent, before it comes.
    pub async fn wait<T>(&mut self, mut wanted: impl FnMut(&Answer) -> Option<T>) -> Result<T, Error> {
        if let Some((at, found)) = self.aside.iter().enumerate().find_map(|(at, answer)| Some((at, wanted(answer)?))) {
            self.aside.remove(at);
            return Ok(found);
        }
        loop {
            let answer = match self.fresh().await {
                Err(Error::Silent(_)) if !self.aside.is_empty() => {
                    let got = self.aside.pop_front().ok_or(Error::Closed)?.into();
                    return Err(Error::Unexpected { wanted: "an answer to a request", got });
                }
                answer => answer?.ok_or(Error::Closed)?,
            };
            match wanted(&answer) {
                Some(found) => return Ok(found),
                None => self.aside.push_back(answer),
            }
        }
    }

    /// An answer that came before another one that was waited for.
    pub fn left(&mut self) -> Option<Answer> {
        self.aside.pop_front()
    }

    /// Waits for the end of the connection, and that nothing comes before.
    ///
    /// # Errors
    /// Another answer comes, or nothing happens.
    pub async fn end(&mut self) -> Result<(), Error> {
        match self.answer_or_end().await? {
            None => Ok(()),
            Some(got) => Err(Error::Unexpected { wanted: "the end of the connection", got: got.into() }),
        }
    }

    /// Whether nothing comes for this long.
    ///
    /// # Errors
    /// The connection's.
    pub async fn is_quiet(&mut self, time: Duration) -> Result<bool, Error> {
        if !self.aside.is_empty() {
            return Ok(false);
        }
        let patience = std::mem::replace(&mut self.patience, time);
        let answer = self.fresh().await;
        self.patience = patience;
        match answer {
            Err(Error::Silent(_)) => Ok(true),
            Err(error) => Err(error),
            Ok(answer) => {
                self.aside.extend(answer);
                Ok(false)
            }
        }
    }

    /// Logs in; digests are those that were agreed on.
    ///
    /// # Errors
    /// [`Error::Login`] with the target's answer if it is no success.
    pub async fn login(&mut self, login: &Login<'_>) -> Result<LoggedIn, Error> {
        login.run(self).await
    }

    /// Runs a command from its begin to its end.
    ///
    /// # Errors
    /// The connection's.
    pub async fn run(&mut self, command: &Command<'_>) -> Result<Done, Error> {
        let itt = self.begin(command).await?;
        self.finish(itt, command.data()).await
    }

    /// Sends a command with its immediate and unsolicited data; [`Client::finish`] goes on with it.
    ///
    /// # Errors
    /// The connection's.
    pub async fn begin(&mut self, command: &Command<'_>) -> Result<u32, Error> {
        command.begin(self).await
    }

    /// Answers a command's R2Ts with `data_out`, and waits for its end.
    ///
    /// # Errors
    /// The connection's.
    pub async fn finish(&mut self, itt: u32, data_out: &[u8]) -> Result<Done, Error> {
        command::finish(self, itt, data_out).await
    }

    /// The next R2T of a task.
    ///
    /// # Errors
    /// The connection's.
    pub async fn r2t(&mut self, itt: u32) -> Result<ReadyToTransfer, Error> {
        let r2t = |answer: &Answer| match answer {
            Answer::R2t(r2t) if r2t.itt == itt => Some(*r2t),
            _ => None,
        };
        self.wait(r2t).await
    }

    /// Sends what an R2T asks for of `data`.
    ///
    /// # Errors
    /// The connection's.
    pub async fn answer_r2t(&mut self, r2t: &ReadyToTransfer, data: &[u8]) -> Result<(), Error> {
        let asked = data.get(r2t.offset as usize..).and_then(|data| data.get(..r2t.len as usize));
        let asked = asked.ok_or_else(|| Error::Unexpected {
            wanted: "an R2T within the command's data",
            got: Answer::R2t(*r2t).into(),
        })?;
        for pdu in self.initiator.data_out(r2t.itt, r2t.ttt, r2t.offset, asked, self.segment) {
            self.send(&pdu).await?;
        }
        Ok(())
    }

    /// A task management function by an immediate request, of a task (its ITT and CmdSN) or none.
    ///
    /// # Errors
    /// The connection's.
    pub async fn manage(
        &mut self,
        function: TaskFunction,
        lun: u64,
        task: Option<(u32, u32)>,
    ) -> Result<TaskResponse, Error> {
        let (tag, cmd_sn) = task.unwrap_or((iesp_iscsi::pdu::RESERVED_TAG, 0));
        let request = self.initiator.manage(function, tag, cmd_sn);
        let request = iesp_iscsi::pdu::TaskRequest { lun, ..request };
        self.send(&Pdu::of(&request.emit(), &[])).await?;
        let response = |answer: &Answer| match answer {
            Answer::Task(response) if response.itt == request.itt => Some(*response),
            _ => None,
        };
        self.wait(response).await
    }

    /// A NOP-Out with this data, and its answer.
    ///
    /// # Errors
    /// The connection's.
    pub async fn ping(&mut self, immediate: bool, data: &[u8]) -> Result<(NopIn, Vec<u8>), Error> {
        let ping = self.initiator.ping(immediate);
        self.send(&Pdu::of(&ping.emit(), data)).await?;
        let pong = |answer: &Answer| match answer {
            Answer::Nop(pong, data) if pong.itt == ping.itt => Some((*pong, data.clone())),
            _ => None,
        };
        self.wait(pong).await
    }

    /// A Text Request with these pairs, and its answer.
    ///
    /// # Errors
    /// The connection's.
    pub async fn text(&mut self, pairs: &str) -> Result<(TextResponse, String), Error> {
        let request = self.initiator.text_request();
        self.send(&Pdu::of(&request.emit(), &text(pairs))).await?;
        let response = |answer: &Answer| match answer {
            Answer::Text(response, text) if response.itt == request.itt => Some((*response, text.clone())),
            _ => None,
        };
        self.wait(response).await
    }

    /// A logout, and its answer.
    ///
    /// # Errors
    /// The connection's.
    pub async fn logout(&mut self, reason: LogoutReason) -> Result<LogoutResponse, Error> {
        let request = self.initiator.logout(reason);
        self.send(&Pdu::of(&request.emit(), &[])).await?;
        let response = |answer: &Answer| match answer {
            Answer::Logout(response) if response.itt == request.itt => Some(*response),
            _ => None,
        };
        self.wait(response).await
    }

    /// Which digests PDUs have.
    pub const fn set_digests(&mut self, digests: Digests) {
        self.initiator.digests = digests;
    }
}

impl Drop for Client {
    fn drop(&mut self) {
        if let Some((number, tap)) = &self.tap {
            tap.closed(*number);
        }
    }
}

async fn within<T>(time: Duration, what: impl Future<Output = T>) -> Result<T, Error> {
    timeout(time, what).await.map_err(|_| Error::Silent(time))
}
