//! The service manager's watchdog.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::oneshot;

use super::shards::Door;

/// Tells the service manager that the program is well, three times within its limit, for as long as that is true: this
/// thread, which accepts connections, and every thread that serves them has to answer. One that hangs ends the words.
pub async fn watch(shards: Arc<[Door]>, limit: Duration, alive: impl Fn()) {
    loop {
        for shard in shards.iter() {
            let (answer, answered) = oneshot::channel();
            if !shard.ping(answer) || answered.await.is_err() {
                tracing::error!("a thread that serves connections has ended: the service manager is told no more");
                return;
            }
        }
        alive();
        tokio::time::sleep(limit / 3).await;
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU32, Ordering};

    use tokio::runtime::Builder;
    use tokio::sync::mpsc::unbounded_channel;

    use super::*;
    use crate::serve::shards::Mail;

    /// One thread that does not get to its mail is enough for silence.
    #[test]
    fn the_watchdog_hears_nothing_while_a_shard_hangs() {
        let (well, mut answers) = unbounded_channel::<Mail>();
        let (hung, mut late) = unbounded_channel::<Mail>();
        let said = Arc::new(AtomicU32::new(0));
        let counter = Arc::clone(&said);
        let runtime = Builder::new_current_thread().enable_all().build().expect("a runtime");
        runtime.block_on(async {
            let answer = |mail| match mail {
                Some(Mail::Ping(answer)) => answer.send(()).is_ok(),
                _ => false,
            };
            let watching =
                tokio::spawn(watch([well.into(), hung.into()].into(), Duration::from_millis(30), move || {
                    counter.fetch_add(1, Ordering::Relaxed);
                }));
            assert!(answer(answers.recv().await));
            tokio::time::sleep(Duration::from_millis(100)).await;
            assert_eq!(said.load(Ordering::Relaxed), 0);
            assert!(answer(late.recv().await));
            assert!(answer(answers.recv().await));
            assert_eq!(said.load(Ordering::Relaxed), 1);
            // Its end is no sign of life either.
            drop(late);
            watching.await.expect("it gave up");
            assert_eq!(said.load(Ordering::Relaxed), 1);
        });
    }
}
