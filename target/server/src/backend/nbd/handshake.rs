//! The handshake (NBD, "Fixed newstyle negotiation"): from a fresh socket to an export that takes requests. [`greet`], then
//! [`ask_for_tls`] where that is wanted, then [`negotiate`].

use std::io;

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};

use super::protocol::{
    FIXED_NEWSTYLE, MAGIC, NO_ZEROES, OPTION_MAGIC, OPTION_REPLY_MAGIC, export_flags, info, option_replies, options,
    split_u16, split_u32, split_u64,
};

/// The one context that is asked for: what takes space.
const CONTEXT: &str = "base:allocation";

/// Longest reply to an option: names and descriptions have at most 4096 bytes.
const REPLY: u32 = 16 << 10;

/// Most replies to one option.
const REPLIES: usize = 64;

/// Most bytes of a payload where the server says nothing (NBD, "Block size constraints").
const PAYLOAD: u32 = 32 << 20;

/// Largest minimum block that a server may ask for.
const MINIMUM: u32 = 64 << 10;

/// What the server says of an export.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Export {
    /// Bytes.
    pub len: u64,
    /// [`export_flags`].
    flags: u16,
    /// Requests begin and end at multiples of this, in bytes; a power of two.
    pub minimum: u32,
    /// Bytes of a block that the server likes; a power of two.
    pub preferred: u32,
    /// Most bytes of a payload, a multiple of the minimum.
    pub payload: u32,
    /// Replies are structured.
    pub structured: bool,
    /// Requests and replies have extended headers, and replies come in chunks.
    pub extended: bool,
    /// The number of base:allocation, where the server has it.
    pub context: Option<u32>,
}

impl Export {
    /// Writes are refused.
    pub const fn read_only(&self) -> bool {
        self.has(export_flags::READ_ONLY)
    }

    /// There is a FLUSH, and so writes that are answered and not durable.
    pub const fn flush(&self) -> bool {
        self.has(export_flags::SEND_FLUSH)
    }

    /// Writes take FUA.
    pub const fn fua(&self) -> bool {
        self.has(export_flags::SEND_FUA)
    }

    /// A spinning disk.
    pub const fn rotational(&self) -> bool {
        self.has(export_flags::ROTATIONAL)
    }

    /// There is a WRITE_ZEROES.
    pub const fn zeroes(&self) -> bool {
        self.has(export_flags::SEND_WRITE_ZEROES)
    }

    /// There is a CACHE.
    pub const fn cache(&self) -> bool {
        self.has(export_flags::SEND_CACHE)
    }

    /// Several connections are one disk.
    pub const fn multi_conn(&self) -> bool {
        self.has(export_flags::CAN_MULTI_CONN)
    }

    /// Whether `other`, met at a later connection, can stand in for this one: nothing that was promised is missing. Its size may
    /// be another one.
    pub fn is_served_by(&self, other: &Self) -> bool {
        let promised = export_flags::SEND_FLUSH | export_flags::SEND_FUA | export_flags::SEND_WRITE_ZEROES;
        other.len > 0
            && self.flags & promised & !other.flags == 0
            && (self.read_only() || !other.read_only())
            && (other.minimum, other.payload) == (self.minimum, self.payload)
            && (self.context.is_none() || other.context.is_some())
    }

    const fn has(&self, flag: u16) -> bool {
        self.flags & flag != 0
    }

    fn new(len: u64, flags: u16, blocks: Option<(u32, u32, u32)>) -> Result<Self, HandshakeError> {
        if flags & export_flags::HAS_FLAGS == 0 {
            return Err(HandshakeError::Violation("transmission flags without HAS_FLAGS"));
        }
        let (minimum, preferred, payload) = blocks.unwrap_or((1, 4096, PAYLOAD));
        let sane =
            minimum.is_power_of_two() && minimum <= MINIMUM && preferred.is_power_of_two() && preferred >= minimum;
        // NBD: the maximum is a multiple of the minimum, or all ones for "no limit".
        let payload = payload / minimum.max(1) * minimum;
        if !sane || payload < preferred.min(MINIMUM) {
            return Err(HandshakeError::Violation("block sizes that make no sense"));
        }
        if len > i64::MAX as u64 {
            return Err(HandshakeError::Violation("a size beyond 63 bits"));
        }
        // NBD: otherwise nobody could reach the last bytes.
        if !len.is_multiple_of(u64::from(minimum)) {
            return Err(HandshakeError::NotWholeBlocks { size: len, block: minimum });
        }
        // More than this in one request gains nothing.
        let payload = payload.min(PAYLOAD);
        Ok(Self { len, flags, minimum, preferred, payload, structured: false, extended: false, context: None })
    }
}

/// Why there is no export.
#[derive(Debug, thiserror::Error)]
pub enum HandshakeError {
    /// The network says so.
    #[error("{0}")]
    Io(#[from] io::Error),
    /// What came is no NBD, or not what the protocol allows.
    #[error("it does not speak NBD's newstyle protocol as it should: {0}")]
    Violation(&'static str),
    /// No export of that name.
    #[error("it has no such export: `nbdinfo --list` shows those that it has")]
    UnknownExport,
    /// The last bytes cannot be reached.
    #[error(
        "the export's size of {size} bytes is no multiple of its smallest block of {block} bytes: change one of them on the server"
    )]
    NotWholeBlocks {
        /// Bytes.
        size: u64,
        /// Bytes.
        block: u32,
    },
    /// TLS first.
    #[error("it serves by TLS only: write nbds:// (or nbds+unix://), and name its CA with --nbd-ca")]
    TlsRequired,
    /// TLS was asked for.
    #[error(
        "it serves without TLS: turn TLS on there (nbdkit --tls=require), or write nbd:// (nbd+unix://) to go without"
    )]
    NoTls,
    /// Another refusal.
    #[error("it refuses (reply {0:#x})")]
    Refused(u32),
}

/// What both sides can do.
#[derive(Debug, Clone, Copy)]
pub struct Greeting {
    client: u16,
}

/// The first words over a fresh connection.
///
/// # Errors
/// [`HandshakeError`]; the connection is of no use then.
pub async fn greet<S: AsyncRead + AsyncWrite + Unpin>(stream: &mut S) -> Result<Greeting, HandshakeError> {
    if stream.read_u64().await? != MAGIC {
        return Err(HandshakeError::Violation("another magic number"));
    }
    if stream.read_u64().await? != OPTION_MAGIC {
        return Err(HandshakeError::Violation("the old style of handshake, which names no export"));
    }
    let server = stream.read_u16().await?;
    if server & FIXED_NEWSTYLE == 0 {
        return Err(HandshakeError::Violation("not the fixed style, so that nothing can be asked"));
    }
    let client = server & (FIXED_NEWSTYLE | NO_ZEROES);
    stream.write_all(&u32::from(client).to_be_bytes()).await?;
    Ok(Greeting { client })
}

/// Asks for TLS, which begins with the next byte.
///
/// # Errors
/// [`HandshakeError`]; the connection is of no use then.
pub async fn ask_for_tls<S: AsyncRead + AsyncWrite + Unpin>(stream: &mut S) -> Result<(), HandshakeError> {
    match (Talk { stream, reply: Vec::new() }).ask(options::STARTTLS, &[]).await? {
        Answer::Ack => Ok(()),
        Answer::Error(_) => Err(HandshakeError::NoTls),
    }
}

/// Negotiates, after the greeting.
///
/// # Errors
/// [`HandshakeError`]; the connection is of no use then.
pub async fn negotiate<S: AsyncRead + AsyncWrite + Unpin>(
    stream: &mut S,
    greeting: Greeting,
    name: &str,
) -> Result<Export, HandshakeError> {
    let Greeting { client } = greeting;
    let mut talk = Talk { stream, reply: Vec::new() };
    // NBD: extended headers bring replies in chunks with them; a server that has not these says so.
    let extended = talk.ask(options::EXTENDED_HEADERS, &[]).await? == Answer::Ack;
    let structured = extended || talk.ask(options::STRUCTURED_REPLY, &[]).await? == Answer::Ack;
    let context = if structured { talk.context(name).await? } else { None };
    let export = match talk.go(name).await? {
        Some(export) => export,
        None => talk.export_name(name, client & NO_ZEROES == 0).await?,
    };
    Ok(Export { structured, extended, context, ..export })
}

/// The end of an option's replies.
#[derive(Debug, PartialEq, Eq)]
enum Answer {
    Ack,
    Error(u32),
}

struct Talk<'a, S> {
    stream: &'a mut S,
    /// What the last reply carried.
    reply: Vec<u8>,
}

impl<S: AsyncRead + AsyncWrite + Unpin> Talk<'_, S> {
    /// An option to which only the end matters.
    async fn ask(&mut self, option: u32, data: &[u8]) -> Result<Answer, HandshakeError> {
        self.send(option, data).await?;
        for _ in 0..REPLIES {
            match self.receive(option).await? {
                option_replies::ACK => return Ok(Answer::Ack),
                error if error & option_replies::ERROR != 0 => return Ok(Answer::Error(error)),
                _ => {}
            }
        }
        Err(HandshakeError::Violation("replies to an option without end"))
    }

    /// The number by which BLOCK_STATUS will speak of allocation.
    async fn context(&mut self, name: &str) -> Result<Option<u32>, HandshakeError> {
        let mut data = string(name);
        data.extend(1u32.to_be_bytes());
        data.extend(string(CONTEXT));
        self.send(options::SET_META_CONTEXT, &data).await?;
        let mut found = None;
        for _ in 0..REPLIES {
            match self.receive(options::SET_META_CONTEXT).await? {
                option_replies::ACK => return Ok(found),
                option_replies::META_CONTEXT => {
                    let (number, context) =
                        split_u32(&self.reply).ok_or(HandshakeError::Violation("a context without number"))?;
                    if context == CONTEXT.as_bytes() {
                        found = Some(number);
                    }
                }
                // An unknown export is told by GO, which has the better words for it.
                error if error & option_replies::ERROR != 0 => return Ok(None),
                _ => {}
            }
        }
        Err(HandshakeError::Violation("replies to an option without end"))
    }

    /// `None`: the server does not know the option.
    async fn go(&mut self, name: &str) -> Result<Option<Export>, HandshakeError> {
        let mut data = string(name);
        data.extend(1u16.to_be_bytes());
        data.extend(info::BLOCK_SIZE.to_be_bytes());
        self.send(options::GO, &data).await?;
        let (mut export, mut blocks) = (None, None);
        for _ in 0..REPLIES {
            match self.receive(options::GO).await? {
                option_replies::ACK => {
                    let (len, flags) = export.ok_or(HandshakeError::Violation("an export without size"))?;
                    return Export::new(len, flags, blocks).map(Some);
                }
                option_replies::INFO => match split_u16(&self.reply) {
                    Some((info::EXPORT, rest)) => export = Some(size_and_flags(rest)?),
                    Some((info::BLOCK_SIZE, rest)) => blocks = Some(block_sizes(rest)?),
                    // NBD: what was not asked for is to be ignored.
                    _ => {}
                },
                option_replies::UNSUPPORTED => return Ok(None),
                option_replies::UNKNOWN => return Err(HandshakeError::UnknownExport),
                option_replies::TLS_REQUIRED => return Err(HandshakeError::TlsRequired),
                error if error & option_replies::ERROR != 0 => return Err(HandshakeError::Refused(error)),
                _ => {}
            }
        }
        Err(HandshakeError::Violation("replies to an option without end"))
    }

    /// For servers before GO; one that refuses hangs up.
    async fn export_name(&mut self, name: &str, zeroes: bool) -> Result<Export, HandshakeError> {
        self.stream.write_all(&option(options::EXPORT_NAME, name.as_bytes())).await?;
        self.stream.flush().await?;
        let mut answer = [0; 10];
        self.stream.read_exact(&mut answer).await?;
        if zeroes {
            self.stream.read_exact(&mut [0; 124]).await?;
        }
        let (len, flags) = size_and_flags(&answer)?;
        Export::new(len, flags, None)
    }

    async fn send(&mut self, code: u32, data: &[u8]) -> io::Result<()> {
        self.stream.write_all(&option(code, data)).await?;
        self.stream.flush().await
    }

    /// The type of the next reply; what it carried is in `self.reply`.
    async fn receive(&mut self, option: u32) -> Result<u32, HandshakeError> {
        let (magic, to) = (self.stream.read_u64().await?, self.stream.read_u32().await?);
        if (magic, to) != (OPTION_REPLY_MAGIC, option) {
            return Err(HandshakeError::Violation("a reply to something else"));
        }
        let (kind, len) = (self.stream.read_u32().await?, self.stream.read_u32().await?);
        if len > REPLY {
            return Err(HandshakeError::Violation("a reply to an option that is too long"));
        }
        self.reply.resize(len as usize, 0);
        self.stream.read_exact(&mut self.reply).await?;
        Ok(kind)
    }
}

fn option(code: u32, data: &[u8]) -> Vec<u8> {
    let mut bytes = OPTION_MAGIC.to_be_bytes().to_vec();
    bytes.extend(code.to_be_bytes());
    bytes.extend((data.len() as u32).to_be_bytes());
    bytes.extend(data);
    bytes
}

fn string(text: &str) -> Vec<u8> {
    let mut bytes = (text.len() as u32).to_be_bytes().to_vec();
    bytes.extend(text.as_bytes());
    bytes
}

fn size_and_flags(bytes: &[u8]) -> Result<(u64, u16), HandshakeError> {
    let split = || {
        let (len, rest) = split_u64(bytes)?;
        Some((len, split_u16(rest)?.0))
    };
    split().ok_or(HandshakeError::Violation("an export without size"))
}

fn block_sizes(bytes: &[u8]) -> Result<(u32, u32, u32), HandshakeError> {
    let split = || {
        let (minimum, rest) = split_u32(bytes)?;
        let (preferred, rest) = split_u32(rest)?;
        Some((minimum, preferred, split_u32(rest)?.0))
    };
    split().ok_or(HandshakeError::Violation("block sizes cut short"))
}

#[cfg(test)]
#[path = "handshake_tests.rs"]
pub mod tests;
