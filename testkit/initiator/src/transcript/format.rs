//! A transcript as text: a line for each event.
//!
//! ```text
//! scenario reads
//! argument -b
//! file secret "the secret of the host"
//! secret the secret of the host
//! + 0
//! > 0 - 43870000… "InitiatorName=iqn.a\0"
//! < 0 hd 23870000… 00ff
//! x 0
//! - 0
//! ```
//!
//! `+` a connection is made, `>` and `<` a PDU with its digests, `x` and `-` its end by target and initiator. Digests are
//! `h` and `d`, in capitals if they are wrong; `l=` and `a=` give lengths that are not the PDU's. Additional headers stand
//! before the data, with `+` before them.

use std::fmt::{self, Write as _};
use std::io::{self, Read, Write};

use flate2::Compression;
use flate2::read::GzDecoder;
use flate2::write::GzEncoder;
use iesp_iscsi::outbox::Digests;
use iesp_iscsi::pdu::{BHS_LEN, Bhs};

use super::{Event, Recording, Transcript, TranscriptError, What};
use crate::client::Sent;
use crate::pdu::{Flaws, Pdu};

/// The first line.
const HEAD: &str = "iSCSI transcript 1";

/// Most bytes that a compressed transcript may become.
const LONGEST: u64 = 256 << 20;

pub(super) fn compress(text: &str) -> io::Result<Vec<u8>> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::best());
    encoder.write_all(text.as_bytes())?;
    encoder.finish()
}

pub(super) fn decompress(bytes: &[u8]) -> io::Result<String> {
    let mut text = String::new();
    GzDecoder::new(bytes).take(LONGEST).read_to_string(&mut text)?;
    Ok(text)
}

impl fmt::Display for Transcript {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{HEAD}")?;
        self.recordings.iter().try_for_each(|recording| recording.fmt(f))
    }
}

impl fmt::Display for Recording {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "scenario {}", self.name)?;
        for argument in &self.setup.arguments {
            writeln!(f, "argument {argument}")?;
        }
        for (name, content) in &self.setup.files {
            writeln!(f, "file {name} {content}")?;
        }
        for secret in &self.setup.secrets {
            writeln!(f, "secret {secret}")?;
        }
        self.events.iter().try_for_each(|event| writeln!(f, "{event}"))
    }
}

impl fmt::Display for Event {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let connection = self.connection;
        match &self.what {
            What::Connected => write!(f, "+ {connection}"),
            What::Ended => write!(f, "x {connection}"),
            What::Closed => write!(f, "- {connection}"),
            What::Sent(sent) => {
                let form = form(sent.digests, sent.flaws);
                write!(f, "> {connection} {form} {}", line(&sent.pdu))
            }
            What::Received(pdu, digests) => {
                write!(f, "< {connection} {} {}", form(*digests, Flaws::default()), line(pdu))
            }
        }
    }
}

/// Digests and flaws.
fn form(digests: Digests, flaws: Flaws) -> String {
    let letter = |present, flawed, letter: char| match (present, flawed) {
        (false, _) => String::new(),
        (true, false) => letter.to_string(),
        (true, true) => letter.to_ascii_uppercase().to_string(),
    };
    let mut form = letter(digests.header, flaws.header_digest, 'h') + &letter(digests.data, flaws.data_digest, 'd');
    if let Some(len) = flaws.data_len {
        form += &format!(",l={len}");
    }
    if let Some(words) = flaws.ahs_words {
        form += &format!(",a={words}");
    }
    if form.is_empty() { "-".to_owned() } else { form }
}

/// Headers and data.
fn line(pdu: &Pdu) -> String {
    let mut line = hex(&pdu.bhs.0);
    if !pdu.ahs.is_empty() {
        line += &format!(" +{}", hex(&pdu.ahs));
    }
    if !pdu.data.is_empty() {
        line.push(' ');
        line += &data(&pdu.data);
    }
    line
}

/// Text where it is one, and hexadecimal digits elsewhere.
fn data(data: &[u8]) -> String {
    let readable = |byte: &u8| matches!(byte, b' '..=b'~' | 0) && *byte != b'\\' && *byte != b'"';
    if data.contains(&b'=') && data.iter().all(readable) {
        let text = String::from_utf8_lossy(data).replace('\0', "\\0");
        return format!("\"{text}\"");
    }
    hex(data)
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::with_capacity(bytes.len() * 2), |mut text, byte| {
        // Writing to a string does not fail.
        let _ = write!(text, "{byte:02x}");
        text
    })
}

fn unhex(text: &str) -> Option<Vec<u8>> {
    let digit = |byte: u8| char::from(byte).to_digit(16);
    let pair = |pair: &[u8]| Some((digit(pair[0])? << 4 | digit(*pair.get(1)?)?) as u8);
    text.as_bytes().chunks(2).map(pair).collect()
}

impl Transcript {
    /// Reads the text of a transcript.
    ///
    /// # Errors
    /// A line that no transcript has.
    pub fn parse(text: &str) -> Result<Self, TranscriptError> {
        let mut recordings: Vec<Recording> = Vec::new();
        for (index, line) in text.lines().enumerate() {
            let wrong = |what| TranscriptError::Line { line: index + 1, what };
            if index == 0 {
                if line != HEAD {
                    return Err(wrong("it is no transcript"));
                }
                continue;
            }
            let (word, rest) = line.split_once(' ').ok_or_else(|| wrong("one word"))?;
            if word == "scenario" {
                recordings.push(Recording { name: rest.to_owned(), ..Recording::default() });
                continue;
            }
            let recording = recordings.last_mut().ok_or_else(|| wrong("no scenario before it"))?;
            match word {
                "argument" => recording.setup.arguments.push(rest.to_owned()),
                "secret" => recording.setup.secrets.push(rest.to_owned()),
                "file" => {
                    let (name, content) = rest.split_once(' ').ok_or_else(|| wrong("a file without content"))?;
                    recording.setup.files.push((name.to_owned(), content.to_owned()));
                }
                _ => recording.events.push(event(word, rest).ok_or_else(|| wrong("no event"))?),
            }
        }
        Ok(Self { recordings })
    }
}

fn event(word: &str, rest: &str) -> Option<Event> {
    let mut words = rest.splitn(3, ' ');
    let connection = words.next()?.parse().ok()?;
    let what = match word {
        "+" => What::Connected,
        "x" => What::Ended,
        "-" => What::Closed,
        ">" => {
            let (digests, flaws) = read_form(words.next()?)?;
            What::Sent(Box::new(Sent { pdu: read_line(words.next()?)?, digests, flaws }))
        }
        "<" => {
            let (digests, _) = read_form(words.next()?)?;
            What::Received(Box::new(read_line(words.next()?)?), digests)
        }
        _ => return None,
    };
    Some(Event { connection, what })
}

fn read_form(form: &str) -> Option<(Digests, Flaws)> {
    let (mut digests, mut flaws) = (Digests::default(), Flaws::default());
    let mut parts = form.split(',');
    for letter in parts.next()?.chars() {
        match letter {
            'h' | 'H' => (digests.header, flaws.header_digest) = (true, letter == 'H'),
            'd' | 'D' => (digests.data, flaws.data_digest) = (true, letter == 'D'),
            '-' => {}
            _ => return None,
        }
    }
    for part in parts {
        match part.split_once('=')? {
            ("l", len) => flaws.data_len = Some(len.parse().ok()?),
            ("a", words) => flaws.ahs_words = Some(words.parse().ok()?),
            _ => return None,
        }
    }
    Some((digests, flaws))
}

fn read_line(line: &str) -> Option<Pdu> {
    let (header, rest) = line.split_once(' ').unwrap_or((line, ""));
    let bhs = Bhs(<[u8; BHS_LEN]>::try_from(unhex(header)?).ok()?);
    let (ahs, rest) = match rest.strip_prefix('+') {
        Some(rest) => rest.split_once(' ').unwrap_or((rest, "")),
        None => ("", rest),
    };
    let data = match rest.strip_prefix('"') {
        Some(text) => text.strip_suffix('"')?.replace("\\0", "\0").into_bytes(),
        None => unhex(rest)?,
    };
    Some(Pdu { bhs, ahs: unhex(ahs)?, data })
}

#[cfg(test)]
mod tests {
    use iesp_iscsi::pdu::Opcode;

    use super::super::Setup;
    use super::*;

    #[test]
    fn a_transcript_comes_back_from_its_file() {
        let digests = Digests { header: true, data: true };
        let flaws = Flaws { header_digest: false, data_digest: true, data_len: Some(7), ahs_words: Some(9) };
        let text = Pdu::new(Opcode::LoginRequest).with_data(b"A=b\0C=d\0");
        let odd = Pdu::new(Opcode::ScsiCommand).with_data(b"a=\\\"").with_ahs(&[1, 2, 3, 4]);
        let bytes = Pdu::new(Opcode::DataIn).with_data(&[0, 255, 16]);
        let pdus = [text, odd.clone(), bytes.clone(), Pdu::new(Opcode::NopIn)];
        let mut events = vec![What::Connected];
        events.extend(pdus.iter().cloned().map(|pdu| What::Received(Box::new(pdu), Digests::default())));
        events.push(What::Sent(Box::new(Sent { pdu: odd, digests, flaws })));
        events.push(What::Received(Box::new(bytes), digests));
        events.extend([What::Ended, What::Closed]);
        let events = events.into_iter().map(|what| Event { connection: 3, what }).collect();
        let setup = Setup {
            arguments: vec!["-d".to_owned(), "16M".to_owned()],
            files: vec![("secret".to_owned(), "some words".to_owned())],
            secrets: vec!["some words".to_owned()],
        };
        let recording = Recording { name: "one".to_owned(), setup, events };
        let transcript = Transcript { recordings: vec![recording.clone(), recording] };
        let text = decompress(&compress(&transcript.to_string()).unwrap()).unwrap();
        assert_eq!(Transcript::parse(&text).unwrap(), transcript);
        for wrong in ["", "x\n", "iSCSI transcript 1\n+ 0\n", "iSCSI transcript 1\nscenario a\n> 0 - 00\n"] {
            let parsed = Transcript::parse(wrong);
            assert!(wrong.is_empty() || parsed.is_err(), "{wrong:?}");
        }
    }
}
