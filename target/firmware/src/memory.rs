//! All large memory of the firmware, in one place of fixed size: a board keeps it in a `static`.

use core::convert::Infallible;
use core::future::poll_fn;
use core::pin::pin;
use core::task::Poll;

use embassy_net::Stack;

use crate::board::Board;
use crate::card::BLOCK;
use crate::net::serve_port;
use crate::target::{Buffers, Carries, NO_CARRIES, Protocol, Target, UNIT_OVERHEAD};

/// Bytes of the buffer for small answers.
const REPLY: usize = 2048;
/// Bytes of the buffer for blocks that are compared or repeated.
const SCRATCH: usize = 1024;

/// The memory of one connection. Lengths in bytes.
///
/// `TASKS`: commands at once, two of them for immediate ones: the command window is `TASKS - 2`. `TEXT`: of a login. `UNIT`: the
/// largest unit: its data are up to [`UNIT_OVERHEAD`] bytes less, in whole blocks. `WORK`: the longest transfer of a command. `TCP`: each of
/// the socket's two buffers.
pub struct ConnectionMemory<
    const TASKS: usize,
    const TEXT: usize,
    const UNIT: usize,
    const WORK: usize,
    const TCP: usize,
> {
    pub(crate) received: [u8; TCP],
    pub(crate) sending: [u8; TCP],
    pub(crate) protocol: Protocol<TASKS, TEXT>,
    inbox: [u8; UNIT],
    outbox: [u8; UNIT],
    reply: [u8; REPLY],
    scratch: [u8; SCRATCH],
    work: [u8; WORK],
    carries: Carries,
}

impl<const TASKS: usize, const TEXT: usize, const UNIT: usize, const WORK: usize, const TCP: usize>
    ConnectionMemory<TASKS, TEXT, UNIT, WORK, TCP>
{
    /// Nothing in it.
    pub const fn new() -> Self {
        const { assert!(UNIT >= TEXT + 256, "a unit holds a login's text and what is around it") };
        const { assert!(TCP >= 1024 && WORK >= 1024, "room for a segment and for two blocks") };
        Self {
            received: [0; TCP],
            sending: [0; TCP],
            protocol: Protocol::Empty,
            inbox: [0; UNIT],
            outbox: [0; UNIT],
            reply: [0; REPLY],
            scratch: [0; SCRATCH],
            work: [0; WORK],
            carries: NO_CARRIES,
        }
    }

    /// The two buffers of the socket, the protocol's place and the buffers of the connection.
    pub fn split(&mut self) -> (&mut [u8], &mut [u8], &mut Protocol<TASKS, TEXT>, Buffers<'_>) {
        let buffers = Buffers {
            inbox: &mut self.inbox,
            outbox: &mut self.outbox,
            reply: &mut self.reply,
            scratch: &mut self.scratch,
            work: &mut self.work,
            carries: &mut self.carries,
        };
        (&mut self.received, &mut self.sending, &mut self.protocol, buffers)
    }
}

impl<const TASKS: usize, const TEXT: usize, const UNIT: usize, const WORK: usize, const TCP: usize> Default
    for ConnectionMemory<TASKS, TEXT, UNIT, WORK, TCP>
{
    fn default() -> Self {
        Self::new()
    }
}

/// The firmware's memory: `CONNECTIONS` connections at once (initiators and one more, so that who comes back finds a
/// place; up to four), and twice `CACHE` bytes before the card: to gather writes, and to read ahead.
pub struct Memory<
    const CONNECTIONS: usize,
    const TASKS: usize,
    const TEXT: usize,
    const UNIT: usize,
    const WORK: usize,
    const TCP: usize,
    const CACHE: usize,
> {
    pub(crate) connections: [ConnectionMemory<TASKS, TEXT, UNIT, WORK, TCP>; CONNECTIONS],
    pub(crate) writes: [u8; CACHE],
    pub(crate) reads: [u8; CACHE],
}

impl<
    const CONNECTIONS: usize,
    const TASKS: usize,
    const TEXT: usize,
    const UNIT: usize,
    const WORK: usize,
    const TCP: usize,
    const CACHE: usize,
> Memory<CONNECTIONS, TASKS, TEXT, UNIT, WORK, TCP, CACHE>
{
    /// Nothing in it: for a `static`.
    pub const fn new() -> Self {
        Self { connections: [const { ConnectionMemory::new() }; CONNECTIONS], writes: [0; CACHE], reads: [0; CACHE] }
    }
}

impl<
    const CONNECTIONS: usize,
    const TASKS: usize,
    const TEXT: usize,
    const UNIT: usize,
    const WORK: usize,
    const TCP: usize,
    const CACHE: usize,
> Default for Memory<CONNECTIONS, TASKS, TEXT, UNIT, WORK, TCP, CACHE>
{
    fn default() -> Self {
        Self::new()
    }
}

/// A board's memory, whatever its sizes: for `CONNECTIONS` connections at once.
#[allow(async_fn_in_trait, reason = "one executor thread: nobody needs these futures to be Send")]
pub trait BoardMemory<const CONNECTIONS: usize> {
    /// That of the connections.
    type Connections;

    /// Longest transfer of a command that needs its data in one piece, in bytes.
    const TRANSFER: usize;
    /// Data that one unit of an initiator may carry, in bytes.
    const SEGMENT: u32;

    /// Makes what is not zeros at the start. A connection's protocol is larger than the stack has room for while the board serves.
    fn prepare(&mut self);

    /// The memory of the connections, and what is before the card: to gather writes, and to read ahead.
    fn split(&mut self) -> (&mut Self::Connections, &mut [u8], &mut [u8]);

    /// Serves all connections to `port`, for ever.
    async fn serve<B: Board>(
        connections: &mut Self::Connections,
        target: &Target<'_, B, CONNECTIONS>,
        stack: Stack<'_>,
        port: u16,
    ) -> Infallible;
}

/// Each future is made where it stays: an array of them would be on the stack as often as it is handed on.
macro_rules! board_memory {
    ($count:literal: $($seat:literal $connection:ident),+) => {
        impl<
            const TASKS: usize,
            const TEXT: usize,
            const UNIT: usize,
            const WORK: usize,
            const TCP: usize,
            const CACHE: usize,
        > BoardMemory<$count> for Memory<$count, TASKS, TEXT, UNIT, WORK, TCP, CACHE>
        {
            type Connections = [ConnectionMemory<TASKS, TEXT, UNIT, WORK, TCP>; $count];

            const TRANSFER: usize = WORK;
            const SEGMENT: u32 = ((UNIT - UNIT_OVERHEAD) / BLOCK * BLOCK) as u32;

            fn prepare(&mut self) {
                self.connections.iter_mut().for_each(|connection| connection.protocol.prepare());
            }

            fn split(&mut self) -> (&mut Self::Connections, &mut [u8], &mut [u8]) {
                (&mut self.connections, &mut self.writes, &mut self.reads)
            }

            async fn serve<B: Board>(
                connections: &mut Self::Connections,
                target: &Target<'_, B, $count>,
                stack: Stack<'_>,
                port: u16,
            ) -> Infallible {
                let [$($connection),+] = connections;
                $(let mut $connection = pin!(serve_port(target, $seat, stack, port, $connection));)+
                poll_fn(|context| {
                    $(let _: Poll<Infallible> = $connection.as_mut().poll(context);)+
                    Poll::Pending
                })
                .await
            }
        }
    };
}
board_memory!(1: 0 a);
board_memory!(2: 0 a, 1 b);
board_memory!(3: 0 a, 1 b, 2 c);
board_memory!(4: 0 a, 1 b, 2 c, 3 d);

/// The memory of a board with 64 KiB of RAM in all: one connection, a window of 4, segments of 2 KiB, transfers of 8 KiB.
pub type SmallMemory = Memory<1, 6, 1536, 2304, 8192, 4096, 4096>;

/// The memory of a board with 256 KiB of RAM of which its WiFi takes a part: as [`LargeMemory`], with segments of 4 KiB and
/// transfers of 8 KiB.
pub type MediumMemory = Memory<3, 10, 2048, 4352, 8192, 6144, 8192>;

/// The memory of a board with 256 KiB of RAM or more: two initiators and one more connection, a window of 8, segments of 8 KiB.
pub type LargeMemory = Memory<3, 10, 4096, 8448, 16384, 16384, 16384>;

const _: () = {
    assert!(size_of::<SmallMemory>() < 40 << 10, "half of a small board's RAM is for everything else");
};
