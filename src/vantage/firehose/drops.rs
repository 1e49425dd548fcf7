//! Counts in the background what the broker dropped, while messages arrive.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use tokio::sync::oneshot;
use tokio::task::JoinHandle;
use tokio::time::MissedTickBehavior;

use super::missed::Counter;

/// While messages arrive, what was dropped is counted so often.
const COUNT_EVERY: Duration = Duration::from_millis(250);

pub struct DropCounter {
    shared: Arc<Shared>,
    stop: oneshot::Sender<()>,
    task: JoinHandle<()>,
}

#[derive(Default)]
struct Shared {
    /// Something arrived since the last count.
    lively: AtomicBool,
    /// Counted and not yet reported.
    dropped: AtomicU64,
}

impl DropCounter {
    pub fn start(counter: Arc<Counter>) -> Self {
        let shared = Arc::new(Shared::default());
        let (stop, mut stopped) = oneshot::channel();
        let task = tokio::spawn({
            let shared = shared.clone();
            async move {
                let mut every = tokio::time::interval(COUNT_EVERY);
                every.set_missed_tick_behavior(MissedTickBehavior::Delay);
                loop {
                    tokio::select! {
                        _ = &mut stopped => return,
                        _ = every.tick() => {}
                    }
                    if shared.lively.swap(false, Ordering::Relaxed)
                        && let Ok(count) = counter.count().await
                    {
                        shared.dropped.fetch_add(count, Ordering::Relaxed);
                    }
                }
            }
        });
        Self { shared, stop, task }
    }

    /// Something has arrived.
    pub fn is_lively(&self) {
        self.shared.lively.store(true, Ordering::Relaxed);
    }

    /// What was dropped and nobody has been told of.
    pub fn dropped(&self) -> u64 {
        self.shared.dropped.swap(0, Ordering::Relaxed)
    }

    /// Ends it after the count that is under way; what nobody has been told of.
    pub async fn stop(self) -> u64 {
        let _ = self.stop.send(());
        let _ = self.task.await;
        self.shared.dropped.swap(0, Ordering::Relaxed)
    }
}
