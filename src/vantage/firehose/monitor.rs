//! Whether the vhost traces all the time: whoever switches it off makes us deaf without a word.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use tokio::sync::Notify;
use tokio::task::JoinHandle;

use super::vhost::still_traced;
use crate::rabbitmq::management::Management;

/// So often we look, so that one who switches it off and on again is seen as well.
const LOOK_EVERY: Duration = Duration::from_millis(500);

/// Looks until it is dropped, or has seen that tracing is off.
pub struct TracingMonitor {
    shared: Arc<(AtomicBool, Notify)>,
    task: JoinHandle<()>,
}

impl TracingMonitor {
    pub fn start(management: Management, vhost: String) -> Self {
        let shared = Arc::new((AtomicBool::new(false), Notify::new()));
        let task = tokio::spawn({
            let shared = shared.clone();
            async move {
                while still_traced(&management, &vhost).await {
                    tokio::time::sleep(LOOK_EVERY).await;
                }
                tracing::debug!(vhost, "tracing was seen to be off");
                shared.0.store(true, Ordering::Relaxed);
                shared.1.notify_one();
            }
        });
        Self { shared, task }
    }

    /// It has been seen to be off, be it on again by now.
    pub fn was_off(&self) -> bool {
        self.shared.0.load(Ordering::Relaxed)
    }

    /// Resolves when it is seen to be off.
    pub async fn is_off(&self) {
        while !self.was_off() {
            self.shared.1.notified().await;
        }
    }
}

impl Drop for TracingMonitor {
    fn drop(&mut self) {
        self.task.abort();
    }
}
