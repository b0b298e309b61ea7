//! Virtual time, a thread's own, and the tasks that live in it.
//!
//! Time stands still while anything can be done, and then jumps to the next moment that somebody waits for: hours of a
//! board's time pass in seconds, and a run is the same whenever its seed is. With [`Pace::Real`] it waits for the world's clock
//! instead, so that programs outside can take part.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, Wake, Waker};
use std::thread::{self, Thread};
use std::time::{Duration, Instant};

use embassy_time_driver::Driver;

/// With [`Pace::Real`] time may be ahead of the wall's clock by so many microseconds: the blocks of a card come less than 100
/// apart, and a thread would have to spin between them.
const AHEAD_US: u64 = 1_000;

/// How fast time passes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Pace {
    /// As fast as everything can be done.
    Virtual,
    /// As on the wall.
    Real,
}

#[derive(Default)]
struct Timeline {
    now_us: u64,
    /// By time, and by the order in which they were set.
    timers: BTreeMap<(u64, u64), Waker>,
    next: u64,
}

thread_local! {
    static TIMELINE: RefCell<Timeline> = RefCell::default();
}

/// embassy-time's driver: each thread has a time of its own.
struct ThreadTime;

impl Driver for ThreadTime {
    fn now(&self) -> u64 {
        now_us()
    }

    fn schedule_wake(&self, at: u64, waker: &Waker) {
        TIMELINE.with_borrow_mut(|timeline| {
            let order = timeline.next;
            timeline.next += 1;
            // The same waker for the same moment once: it is polled again by whatever wakes it first.
            let mut there = timeline.timers.range((at, 0)..=(at, u64::MAX));
            if !there.any(|(_, waiting)| waiting.will_wake(waker)) {
                timeline.timers.insert((at, order), waker.clone());
            }
        });
    }
}

#[allow(unsafe_code, reason = "the macro exports the symbols that embassy-time links to")]
mod driver {
    use super::ThreadTime;
    embassy_time_driver::time_driver_impl!(static DRIVER: ThreadTime = ThreadTime);
}

/// This thread's time in microseconds.
pub fn now_us() -> u64 {
    TIMELINE.with_borrow(|timeline| timeline.now_us)
}

/// Wakes whoever waits for a moment up to `us`, which is the time from now on.
fn advance_to(us: u64) {
    TIMELINE.with_borrow_mut(|timeline| timeline.now_us = timeline.now_us.max(us));
    while let Some(waker) = due() {
        waker.wake();
    }
}

/// The first timer whose moment has come.
fn due() -> Option<Waker> {
    TIMELINE.with_borrow_mut(|timeline| {
        let now_us = timeline.now_us;
        let first = timeline.timers.first_entry().filter(|entry| entry.key().0 <= now_us)?;
        Some(first.remove())
    })
}

fn next_timer() -> Option<u64> {
    TIMELINE.with_borrow(|timeline| timeline.timers.first_key_value().map(|((at, _), _)| *at))
}

/// A task's flag: it wants to be polled. Whoever sets it from outside wakes the thread too.
struct Flag {
    set: AtomicBool,
    thread: Thread,
}

impl Wake for Flag {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        self.set.store(true, Ordering::Release);
        self.thread.unpark();
    }
}

struct Task<'a> {
    future: Pin<Box<dyn Future<Output = ()> + 'a>>,
    flag: Arc<Flag>,
    waker: Waker,
    done: bool,
}

/// Tasks that share this thread and its time.
#[derive(Default)]
pub struct Tasks<'a> {
    tasks: Vec<Task<'a>>,
}

impl<'a> Tasks<'a> {
    /// None.
    pub fn new() -> Self {
        Self::default()
    }

    /// One more.
    pub fn spawn(&mut self, future: impl Future<Output = ()> + 'a) {
        let flag = Arc::new(Flag { set: AtomicBool::new(true), thread: thread::current() });
        let waker = Waker::from(Arc::clone(&flag));
        self.tasks.push(Task { future: Box::pin(future), flag, waker, done: false });
    }

    /// Polls whoever wants to be polled, until nobody does.
    fn settle(&mut self) {
        let mut any = true;
        let mut rounds = 0;
        while any {
            any = false;
            rounds += 1;
            // Who wakes itself is not done in no time.
            if rounds % 64 == 0 {
                advance_to(now_us() + 1);
            }
            for task in self.tasks.iter_mut().filter(|task| !task.done) {
                if task.flag.set.swap(false, Ordering::AcqRel) {
                    any = true;
                    task.done = task.future.as_mut().poll(&mut Context::from_waker(&task.waker)).is_ready();
                }
            }
        }
    }

    /// Runs until `done` says so, or until the time is `until_us`; false then.
    ///
    /// # Panics
    /// In virtual time, when everybody waits for something that will never come.
    pub fn run(&mut self, pace: Pace, until_us: u64, mut done: impl FnMut() -> bool) -> bool {
        let started = Instant::now();
        let from_us = now_us();
        loop {
            self.settle();
            if done() {
                return true;
            }
            if now_us() >= until_us {
                let wall_us = from_us + started.elapsed().as_micros() as u64;
                if pace == Pace::Real && wall_us < until_us {
                    thread::sleep(Duration::from_micros(until_us - wall_us));
                }
                return false;
            }
            match (pace, next_timer()) {
                // A moment that has passed is over: whoever waits for it again and again must not stop the time.
                (Pace::Virtual, Some(at)) => advance_to(at.max(now_us() + 1).min(until_us)),
                (Pace::Virtual, None) => panic!("nobody waits for any time at {} µs: it hangs", now_us()),
                (Pace::Real, next) => {
                    let wall_us = from_us + started.elapsed().as_micros() as u64;
                    let at = next.unwrap_or(u64::MAX).min(until_us);
                    let ahead_us = at.saturating_sub(wall_us);
                    if ahead_us <= AHEAD_US {
                        advance_to(at.max(wall_us).min(until_us));
                    } else {
                        // Whoever comes from outside wakes this thread.
                        thread::park_timeout(Duration::from_micros(ahead_us).min(Duration::from_secs(1)));
                        let wall_us = from_us + started.elapsed().as_micros() as u64;
                        advance_to(wall_us.min(until_us));
                    }
                }
            }
        }
    }

    /// Runs until this future ends, or `None` at `until_us`.
    pub fn finish<T: 'a>(&mut self, pace: Pace, until_us: u64, future: impl Future<Output = T> + 'a) -> Option<T> {
        let result = std::rc::Rc::new(RefCell::new(None));
        let place = std::rc::Rc::clone(&result);
        self.spawn(async move {
            let value = future.await;
            *place.borrow_mut() = Some(value);
        });
        let there = std::rc::Rc::clone(&result);
        self.run(pace, until_us, || there.borrow().is_some());
        result.take()
    }
}

/// Ready when a moment has come.
pub async fn sleep_until_us(us: u64) {
    std::future::poll_fn(|cx| {
        if now_us() >= us {
            return Poll::Ready(());
        }
        embassy_time_driver::schedule_wake(us, cx.waker());
        Poll::Pending
    })
    .await;
}

/// A part of a task that is polled when it was woken itself, and not because another part was.
struct Part {
    set: AtomicBool,
    whole: std::sync::Mutex<Waker>,
}

impl Wake for Part {
    fn wake(self: Arc<Self>) {
        self.set.store(true, Ordering::Release);
        if let Ok(whole) = self.whole.lock() {
            whole.wake_by_ref();
        }
    }
}

/// Runs `main` to its end, and `background` meanwhile, each with a waker of its own: embassy's network stack wakes its runner
/// whenever a socket is looked at, so that both as one would wake themselves for ever.
pub async fn alongside<T>(background: impl Future, main: impl Future<Output = T>) -> T {
    let (mut background, mut main) = (std::pin::pin!(background), std::pin::pin!(main));
    let part = || Arc::new(Part { set: AtomicBool::new(true), whole: std::sync::Mutex::new(Waker::noop().clone()) });
    let (first, second) = (part(), part());
    let wakers = [Waker::from(Arc::clone(&first)), Waker::from(Arc::clone(&second))];
    std::future::poll_fn(|cx| {
        for part in [&first, &second] {
            if let Ok(mut whole) = part.whole.lock() {
                whole.clone_from(cx.waker());
            }
        }
        if second.set.swap(false, Ordering::AcqRel)
            && let Poll::Ready(value) = main.as_mut().poll(&mut Context::from_waker(&wakers[1]))
        {
            return Poll::Ready(value);
        }
        if first.set.swap(false, Ordering::AcqRel) {
            // It has no end that matters.
            let _ = background.as_mut().poll(&mut Context::from_waker(&wakers[0]));
        }
        Poll::Pending
    })
    .await
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use super::*;

    fn cpu() -> Duration {
        let time = rustix::time::clock_gettime(rustix::time::ClockId::ThreadCPUTime);
        Duration::new(time.tv_sec as u64, time.tv_nsec as u32)
    }

    /// Real time is kept, and the thread sleeps meanwhile, though the next moment is never far.
    #[test]
    fn short_pauses_take_their_time_and_no_cpu() {
        let mut tasks = Tasks::new();
        let (start, before) = (Instant::now(), cpu());
        let work = async {
            while now_us() < 300_000 {
                sleep_until_us(now_us() + 50).await;
            }
        };
        assert_eq!(tasks.finish(Pace::Real, u64::MAX, work), Some(()));
        assert!(!tasks.run(Pace::Real, now_us() + 50_000, || false));
        let (took, worked) = (start.elapsed(), cpu() - before);
        assert!(took >= Duration::from_millis(345), "{took:?}");
        assert!(worked < took / 2, "{worked:?} of {took:?}");
    }
}
