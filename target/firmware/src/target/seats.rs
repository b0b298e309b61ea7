//! The connections that there may be, and what they say to each other.

use core::cell::{Cell, RefCell};
use core::future::poll_fn;
use core::task::{Context, Poll};

use embassy_sync::waitqueue::WakerRegistration;
use heapless::String;

/// Which tasks of another session are to end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Clear {
    /// Of one logical unit, or of all.
    pub(super) lun: Option<u16>,
}

/// What others have for a connection to do.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Mail {
    /// Tasks that wait for a range of blocks are to try again.
    pub(super) wake: bool,
    pub(super) clear: Option<Clear>,
    /// It has to end, and why.
    pub(super) close: Option<&'static str>,
}

#[derive(Debug)]
struct Seat {
    initiator: RefCell<String<223>>,
    isid: Cell<[u8; 6]>,
    /// A session of full feature phase is here.
    taken: Cell<bool>,
    mail: Cell<Mail>,
    waker: RefCell<WakerRegistration>,
}

/// The seats, one a connection: the number of a seat is that of its I_T nexus.
#[derive(Debug)]
pub(crate) struct Seats<const N: usize> {
    seats: [Seat; N],
    /// Who waits for others to do what they were told.
    watchers: RefCell<[WakerRegistration; N]>,
}

impl<const N: usize> Seats<N> {
    pub(super) fn new() -> Self {
        Self {
            seats: core::array::from_fn(|_| Seat {
                initiator: RefCell::new(String::new()),
                isid: Cell::new([0; 6]),
                taken: Cell::new(false),
                mail: Cell::new(Mail::default()),
                waker: RefCell::new(WakerRegistration::new()),
            }),
            watchers: RefCell::new([const { WakerRegistration::new() }; N]),
        }
    }

    /// The seat of a session.
    pub(super) fn find(&self, initiator: &str, isid: [u8; 6]) -> Option<usize> {
        self.seats.iter().position(|seat| {
            seat.taken.get() && seat.isid.get() == isid && seat.initiator.borrow().as_str() == initiator
        })
    }

    pub(super) fn take(&self, at: usize, initiator: &str, isid: [u8; 6]) {
        let Some(seat) = self.seats.get(at) else { return };
        let mut name = seat.initiator.borrow_mut();
        name.clear();
        // A name that was logged in with is at most 223 bytes.
        let _ = name.push_str(initiator);
        seat.isid.set(isid);
        seat.taken.set(true);
        seat.mail.set(Mail::default());
    }

    /// The session is over; whoever waited for that goes on.
    pub(super) fn leave(&self, at: usize) {
        if let Some(seat) = self.seats.get(at) {
            seat.taken.set(false);
            seat.mail.set(Mail::default());
        }
        self.watched();
    }

    fn tell(&self, seat: &Seat, change: impl FnOnce(&mut Mail)) {
        let mut mail = seat.mail.get();
        change(&mut mail);
        seat.mail.set(mail);
        seat.waker.borrow_mut().wake();
    }

    /// Tells everyone who is there, but for the seat `but`.
    pub(super) fn tell_others(&self, but: Option<usize>, change: impl Fn(&mut Mail)) {
        for (at, seat) in self.seats.iter().enumerate() {
            if seat.taken.get() && Some(at) != but {
                self.tell(seat, &change);
            }
        }
    }

    pub(super) fn tell_one(&self, at: usize, change: impl FnOnce(&mut Mail)) {
        if let Some(seat) = self.seats.get(at) {
            self.tell(seat, change);
        }
    }

    /// What is there for `at`; it stays until [`done`](Self::done).
    pub(super) fn mail(&self, at: usize) -> Mail {
        self.seats.get(at).map(|seat| seat.mail.get()).unwrap_or_default()
    }

    /// The mail was seen to; whoever waited for that goes on.
    pub(super) fn done(&self, at: usize) {
        if let Some(seat) = self.seats.get(at) {
            seat.mail.set(Mail::default());
        }
        self.watched();
    }

    fn watched(&self) {
        for watcher in self.watchers.borrow_mut().iter_mut() {
            watcher.wake();
        }
    }

    /// Ready when there is something for `at` to do.
    pub(super) fn poll_mail(&self, at: usize, cx: &mut Context<'_>) -> Poll<()> {
        let Some(seat) = self.seats.get(at) else { return Poll::Pending };
        let mail = seat.mail.get();
        if mail.wake || mail.clear.is_some() || mail.close.is_some() {
            return Poll::Ready(());
        }
        seat.waker.borrow_mut().register(cx.waker());
        Poll::Pending
    }

    /// Ready when blocked tasks of `at` are to try again, which is taken for done, or when it has to close.
    pub(super) fn poll_wake(&self, at: usize, cx: &mut Context<'_>) -> Poll<()> {
        let Some(seat) = self.seats.get(at) else { return Poll::Pending };
        let mail = seat.mail.get();
        seat.mail.set(Mail { wake: false, ..mail });
        if mail.wake || mail.close.is_some() {
            return Poll::Ready(());
        }
        seat.waker.borrow_mut().register(cx.waker());
        Poll::Pending
    }

    /// Waits until nobody but `at` has anything of this kind to do, or until there is something for `at` itself.
    pub(super) async fn settled(&self, at: usize, is_pending: impl Fn(&Mail) -> bool) {
        poll_fn(|cx| {
            let others = self.seats.iter().enumerate().filter(|(other, _)| *other != at);
            let pending = others.into_iter().any(|(_, seat)| seat.taken.get() && is_pending(&seat.mail.get()));
            if !pending || self.poll_mail(at, cx).is_ready() {
                return Poll::Ready(());
            }
            if let Some(watcher) = self.watchers.borrow_mut().get_mut(at) {
                watcher.register(cx.waker());
            }
            Poll::Pending
        })
        .await;
    }
}
