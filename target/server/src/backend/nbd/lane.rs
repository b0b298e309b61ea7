//! The calls of one connection: those that wait to be sent and those that wait for their reply, by cookie.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::io::IoSlice;
use std::rc::Rc;
use std::task::Waker;
use std::time::Instant;

use super::call::Call;
use super::journal::Journal;
use super::protocol::{Header, errors};
use super::replies::Violation;

/// Most requests in flight on a connection.
const FLIGHTS: usize = 128;

/// Most requests that one send carries.
pub const BATCH: usize = 32;

/// Calls of a connection. It outlives the connection: what was not answered is sent again over the next one.
#[derive(Debug)]
pub struct Lane {
    extended: bool,
    waiting: VecDeque<Call>,
    flights: Vec<Option<Flight>>,
    free: Vec<u16>,
    /// Of the last cookie.
    serial: u64,
    /// Flights that were not sent in full, in order.
    sending: VecDeque<u16>,
    /// Bytes of the first of these that were sent.
    sent: usize,
    waker: Option<Waker>,
    /// When the server last said something, or the first request in flight was sent.
    heard: Instant,
    /// Replies that have come.
    answered: u64,
    /// The connection is to end when nothing is left to do.
    stopping: bool,
    /// Since when nothing is sent any more: the connection ends when what is in flight was answered.
    retiring: Option<Instant>,
    /// Calls whose answer was none.
    again: Vec<Call>,
    journal: Rc<RefCell<Journal>>,
}

#[derive(Debug)]
struct Flight {
    cookie: u64,
    header: Header,
    call: Call,
}

impl Lane {
    /// Without calls; with extended headers where these were agreed upon.
    pub fn new(journal: Rc<RefCell<Journal>>, extended: bool) -> Self {
        Self {
            extended,
            waiting: VecDeque::new(),
            flights: (0..FLIGHTS).map(|_| None).collect(),
            free: (0..FLIGHTS as u16).rev().collect(),
            serial: 0,
            sending: VecDeque::with_capacity(FLIGHTS),
            sent: 0,
            waker: None,
            heard: Instant::now(),
            answered: 0,
            stopping: false,
            retiring: None,
            again: Vec::new(),
            journal,
        }
    }

    /// Takes a call; it is sent when there is room.
    pub fn push(&mut self, call: Call) {
        self.waiting.push_back(call);
        self.wake();
    }

    /// Has the connection look at it again.
    pub fn wake(&mut self) {
        if let Some(waker) = self.waker.take() {
            waker.wake();
        }
    }

    /// Who is to be woken when there is something to send.
    pub fn register(&mut self, waker: &Waker) {
        match &mut self.waker {
            Some(old) => old.clone_from(waker),
            none => *none = Some(waker.clone()),
        }
    }

    /// Calls that are not answered.
    pub fn load(&self) -> usize {
        self.waiting.len() + self.in_flight()
    }

    /// Of these, those that the server was sent, or is being sent.
    pub fn in_flight(&self) -> usize {
        FLIGHTS - self.free.len()
    }

    /// Since when an answer is owed and nothing is heard.
    pub fn silent_since(&self) -> Option<Instant> {
        (self.in_flight() > 0).then_some(self.heard)
    }

    /// The server said something.
    pub fn hear(&mut self) {
        self.heard = Instant::now();
    }

    /// Gives waiting calls a cookie, as far as there are any.
    pub fn admit(&mut self) {
        while !self.waiting.is_empty() && self.retiring.is_none() {
            if self.in_flight() == 0 {
                self.heard = Instant::now();
            }
            let Some(index) = self.free.pop() else { return };
            let Some(call) = self.waiting.pop_front() else { return };
            self.serial += 1;
            let cookie = self.serial << 16 | u64::from(index);
            let header = call.request.emit(cookie, self.extended);
            self.flights[usize::from(index)] = Some(Flight { cookie, header, call });
            self.sending.push_back(index);
        }
    }

    /// What is to be sent next; how many of `slices` are filled.
    pub fn gather<'a>(&'a self, slices: &mut [IoSlice<'a>; 2 * BATCH]) -> usize {
        let flights = self.sending.iter().filter_map(|index| self.flights[usize::from(*index)].as_ref());
        let mut skip = self.sent;
        let mut count = 0;
        for part in flights.take(BATCH).flat_map(|flight| [&flight.header[..], flight.call.outgoing()]) {
            let rest = part.get(skip..).unwrap_or_default();
            skip = skip.saturating_sub(part.len());
            if !rest.is_empty() {
                slices[count] = IoSlice::new(rest);
                count += 1;
            }
        }
        count
    }

    /// So many bytes of that were sent.
    pub fn advance(&mut self, bytes: usize) {
        self.sent += bytes;
        while let Some(flight) = self.sending.front().and_then(|index| self.flights[usize::from(*index)].as_ref()) {
            let len = flight.header.len() + flight.call.outgoing().len();
            if self.sent < len {
                return;
            }
            self.sent -= len;
            self.sending.pop_front();
        }
    }

    /// The place of the call with this cookie.
    ///
    /// # Errors
    /// There is none, or it was not sent in full.
    pub fn find(&self, cookie: u64) -> Result<u16, Violation> {
        let index = cookie as u16;
        let known =
            self.flights.get(usize::from(index)).and_then(Option::as_ref).is_some_and(|flight| flight.cookie == cookie);
        if !known || self.sending.contains(&index) {
            return Err(Violation::Cookie);
        }
        Ok(index)
    }

    /// The call at a place that [`Self::find`] gave.
    pub fn call(&mut self, index: u16) -> Option<&mut Call> {
        Some(&mut self.flights.get_mut(usize::from(index))?.as_mut()?.call)
    }

    /// The last of the reply has come.
    ///
    /// # Errors
    /// A reply that says neither what was asked nor that it failed.
    pub fn finish(&mut self, index: u16) -> Result<(), Violation> {
        let Some(place) = self.flights.get_mut(usize::from(index)) else { return Ok(()) };
        let Some(flight) = place.take() else { return Ok(()) };
        if flight.call.progress.error.is_none() && !flight.call.is_complete() {
            *place = Some(flight);
            return Err(Violation::Incomplete);
        }
        self.free.push(index);
        if flight.call.progress.error == Some(errors::ESHUTDOWN) {
            // NBD: the client should go. Its answer is no answer.
            self.again.push(flight.call);
            self.retire();
            return Ok(());
        }
        self.answered += 1;
        if flight.call.keep && flight.call.progress.error.is_none() {
            self.journal.borrow_mut().keep(&flight.call);
        }
        flight.call.answer();
        Ok(())
    }

    /// Takes all calls out: the connection is lost. The first are those that were in flight, the oldest first.
    pub fn drain(&mut self) -> Vec<Call> {
        let mut flights: Vec<_> = self.flights.iter_mut().filter_map(Option::take).collect();
        flights.sort_unstable_by_key(|flight| flight.cookie);
        self.free = (0..FLIGHTS as u16).rev().collect();
        self.sending.clear();
        self.sent = 0;
        let again = std::mem::take(&mut self.again);
        again.into_iter().chain(flights.into_iter().map(|flight| flight.call)).chain(self.waiting.drain(..)).collect()
    }

    /// How many replies have come.
    pub const fn answered(&self) -> u64 {
        self.answered
    }

    /// Has the connection end when nothing is left to do.
    pub fn stop(&mut self) {
        self.stopping = true;
        self.wake();
    }

    /// Has the connection end when what is in flight was answered: servers may not take it well when a client goes before
    /// (nbdkit 1.32 aborts).
    pub fn retire(&mut self) {
        self.retiring.get_or_insert_with(Instant::now);
        self.wake();
    }

    /// Since when it is to end so.
    pub const fn retiring_since(&self) -> Option<Instant> {
        self.retiring
    }

    /// Whether it is to end so now.
    pub fn is_retired(&self) -> bool {
        self.retiring.is_some() && self.in_flight() == 0
    }

    /// Whether it is to end now.
    pub fn is_stopped(&self) -> bool {
        self.stopping && self.load() == 0
    }
}
