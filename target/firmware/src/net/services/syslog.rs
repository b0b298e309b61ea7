//! Syslog (RFC 5424) over UDP (RFC 5426).

use core::fmt;

use embassy_net::Stack;
use embassy_time::Timer;
use heapless::String;

use super::datagrams::Datagrams;
use super::server::Server;
use super::wall_clock::WallClock;
use crate::board::Board;
use crate::log::{LINE_MAX, Line};
use crate::net::Hostname;
use crate::target::Target;

/// RFC 5426 3.3.
pub(super) const PORT: u16 = 514;

/// Facility "system daemons" (RFC 5424 6.2.1).
const DAEMON: u8 = 3;

/// How often is looked for new lines, in milliseconds.
const PERIOD_MS: u64 = 100;

/// How long lines wait for the time of day, in seconds: those of the start would have none otherwise.
const PATIENCE_S: u64 = 5;

/// Longest message: the header takes less than 100 bytes.
pub(super) const MESSAGE_MAX: usize = 100 + LINE_MAX;

/// Carries the journal to a server, for ever.
pub(super) async fn run<B: Board, const CONNECTIONS: usize>(
    target: &Target<'_, B, CONNECTIONS>,
    stack: Stack<'_>,
    memory: &mut Datagrams<MESSAGE_MAX>,
    (server, hostname): (Server<'_>, &Hostname),
    (clock, will_be_known): (&WallClock, bool),
) {
    let Some((socket, _)) = memory.open(stack, 0) else { return };
    stack.wait_config_up().await;
    for _ in 0..PATIENCE_S * 10 {
        if will_be_known && !clock.is_known() {
            Timer::after_millis(PERIOD_MS).await;
        }
    }
    let to = server.find(target, stack).await;
    let mut room = [0; LINE_MAX];
    loop {
        let message = target.with_panel(|log| {
            let line = log.journal().first(&mut room)?;
            let mut message = String::<MESSAGE_MAX>::new();
            // What has no room is the end of the text.
            let _ = write(&mut message, &line, hostname, clock);
            Some(message)
        });
        match message {
            // Without a route there is nobody to tell it to: it waits.
            Some(message) if stack.is_config_up() => {
                let sent = socket.send_to(message.as_bytes(), to).await;
                if sent.is_ok() {
                    target.with_panel(|log| log.journal().remove_first());
                } else {
                    Timer::after_secs(1).await;
                }
            }
            _ => Timer::after_millis(PERIOD_MS).await,
        }
    }
}

/// RFC 5424 6: `<PRI>1 TIMESTAMP HOSTNAME APP-NAME PROCID MSGID STRUCTURED-DATA MSG`.
fn write(message: &mut impl fmt::Write, line: &Line<'_>, hostname: &Hostname, clock: &WallClock) -> fmt::Result {
    write!(message, "<{}>1 ", DAEMON * 8 + line.level as u8)?;
    match clock.at(line.at_ms) {
        Some(time) => write!(message, "{time}")?,
        None => message.write_str("-")?,
    }
    write!(message, " {} iesp - - - ", hostname.as_str())?;
    if line.lost > 0 {
        write!(message, "[{} lines were lost] ", line.lost)?;
    }
    message.write_str(line.text)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::log::Level;

    #[test]
    fn messages() {
        let hostname = Hostname::new("iESP", [0, 1, 2, 3, 4, 5]);
        let clock = WallClock::default();
        let show = |line: Line<'_>| {
            let mut message = String::<MESSAGE_MAX>::new();
            write(&mut message, &line, &hostname, &clock).unwrap();
            message
        };
        let line = Line { level: Level::Error, at_ms: 5, lost: 0, text: "card: gone" };
        assert_eq!(show(line), "<27>1 - iESP-02030405 iesp - - - card: gone");
        let line = Line { level: Level::Info, at_ms: 5, lost: 3, text: "x" };
        assert_eq!(show(line), "<30>1 - iESP-02030405 iesp - - - [3 lines were lost] x");
    }
}
