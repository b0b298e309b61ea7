//! Connections to a server, as many as it is good for.

use std::io;
use std::time::Duration;

use socket2::{SockRef, TcpKeepalive};
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;
use tokio::time::timeout;

use super::address::{Address, Endpoint};
use super::handshake::{Export, HandshakeError, ask_for_tls, greet, negotiate};
use super::link::Stream;
use super::protocol::{Command, Request};
use super::tls::{Tls, TlsError};

/// Connections to a server that allows several.
const CONNECTIONS: usize = 4;

/// How long each connection after the first may take: a server that serves one at a time leaves the others waiting.
const ANOTHER: Duration = Duration::from_secs(1);

/// How long a peer may leave bytes unacknowledged before its connection counts as lost.
const UNACKNOWLEDGED: Duration = Duration::from_secs(20);

/// Why there is no connection.
#[derive(Debug, thiserror::Error)]
pub enum ConnectError {
    /// Nothing listens there, say.
    #[error("the NBD server cannot be reached: {0}: start it there, or correct the address")]
    Unreachable(io::Error),
    /// What listens there serves no such export.
    #[error("the NBD server cannot be used: {0}")]
    Handshake(#[from] HandshakeError),
    /// TLS does not come about.
    #[error("no TLS with the NBD server: {0}")]
    Tls(#[from] TlsError),
    /// It took too long.
    #[error(
        "the NBD server does not answer: look whether one listens there, and whether it takes another client (qemu-nbd: --shared)"
    )]
    Silent,
    /// The export is not what it was.
    #[error(
        "the export has changed (its block sizes or what it can do, or it is empty): restart iesp to serve it as it is now"
    )]
    Changed,
}

/// Connects; several times where the server allows it. Where that fails later, the first connections do.
///
/// # Errors
/// [`ConnectError`].
pub async fn connect(address: &Address, tls: Option<&Tls>) -> Result<(Vec<Box<dyn Stream>>, Export), ConnectError> {
    let (first, export) = connect_once(address, tls).await?;
    let mut streams = vec![first];
    while export.multi_conn() && streams.len() < CONNECTIONS {
        match timeout(ANOTHER, connect_once(address, tls)).await {
            Ok(Ok((stream, other))) if other == export => streams.push(stream),
            // It serves so many and no more, say.
            _ => break,
        }
    }
    Ok((streams, export))
}

/// What the server says of the export to somebody who comes now. `None` where it does not answer: it may serve no more clients than
/// it has.
pub async fn look(address: &Address, tls: Option<&Tls>) -> Option<Export> {
    let (mut stream, export) = timeout(ANOTHER, connect_once(address, tls)).await.ok()?.ok()?;
    let goodbye = Request { command: Command::Disconnect, flags: 0, offset: 0, len: 0 };
    // A courtesy: the server sees the end of the connection anyway.
    let _ = timeout(ANOTHER, stream.write_all(&goodbye.emit(0, export.extended))).await;
    Some(export)
}

async fn connect_once(address: &Address, tls: Option<&Tls>) -> Result<(Box<dyn Stream>, Export), ConnectError> {
    let mut stream = open(&address.endpoint).await.map_err(ConnectError::Unreachable)?;
    let greeting = greet(&mut stream).await?;
    let Some(tls) = tls else {
        let export = negotiate(&mut stream, greeting, &address.export).await?;
        return Ok((stream, export));
    };
    ask_for_tls(&mut stream).await?;
    let mut stream = tls.begin(stream).await?;
    match negotiate(&mut stream, greeting, &address.export).await {
        Ok(export) => Ok((stream, export)),
        // With TLS 1.3 a server refuses a client's certificate when the client has said all that it has to.
        Err(HandshakeError::Io(error)) => {
            Err(tls.refusal(&error).map_or(HandshakeError::Io(error).into(), ConnectError::Tls))
        }
        Err(error) => Err(error.into()),
    }
}

async fn open(endpoint: &Endpoint) -> io::Result<Box<dyn Stream>> {
    match endpoint {
        #[cfg(unix)]
        Endpoint::Unix(path) => Ok(Box::new(tokio::net::UnixStream::connect(path).await?)),
        #[cfg(not(unix))]
        Endpoint::Unix(_) => Err(io::ErrorKind::Unsupported.into()),
        Endpoint::Tcp(host, port) => {
            let stream = TcpStream::connect((host.as_str(), *port)).await?;
            stream.set_nodelay(true)?;
            let socket = SockRef::from(&stream);
            socket.set_tcp_keepalive(
                &TcpKeepalive::new().with_time(UNACKNOWLEDGED / 2).with_interval(UNACKNOWLEDGED / 8),
            )?;
            #[cfg(target_os = "linux")]
            socket.set_tcp_user_timeout(Some(UNACKNOWLEDGED))?;
            Ok(Box::new(stream))
        }
    }
}
