//! Whether what is read has just happened. The broker gives no times, so an event's time is that of its reading: true
//! only while we, the socket and the broker's queue for us are not behind.
//!
//! A passive declare on the consumer's own channel tells: its answer comes behind every event that was there before
//! it, and says how many still wait. What takes long to be answered is behind as much.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use lapin::Channel;
use lapin::options::QueueDeclareOptions;
use lapin::types::FieldTable;
use tokio::task::JoinHandle;

/// What is read later than this after it came is late: no time is claimed to be better known.
pub const LATE_AFTER: Duration = Duration::from_millis(25);
/// While messages arrive, it is asked so often.
const ASK_EVERY: Duration = Duration::from_millis(250);
/// While we are behind.
const ASK_AGAIN: Duration = Duration::from_millis(50);

pub struct LagProbe {
    shared: Arc<Mutex<State>>,
    task: JoinHandle<()>,
}

#[derive(Default)]
struct State {
    /// Something arrived since the last answer.
    lively: bool,
    /// When the question was sent that has not been answered yet.
    asked: Option<Instant>,
    /// Since when, or again when, something showed that we are behind.
    behind: Option<Instant>,
}

impl State {
    /// Something arrived; whether it may be older than it looks.
    fn is_late(&mut self, late: bool, now: Instant) -> bool {
        self.lively = true;
        if late
            || self
                .asked
                .is_some_and(|asked| now.duration_since(asked) > LATE_AFTER)
        {
            self.behind = Some(now);
        }
        self.behind.is_some()
    }

    /// So many waited still.
    fn answered(&mut self, waiting: u32, now: Instant) {
        let Some(asked) = self.asked.take() else {
            return;
        };
        if waiting > 0 || now.duration_since(asked) > LATE_AFTER {
            self.behind = Some(now);
        } else if self.behind.is_some_and(|behind| behind <= asked) {
            self.behind = None;
        }
    }
}

impl LagProbe {
    pub fn start(channel: Channel, queue: String) -> Self {
        let shared = Arc::new(Mutex::new(State::default()));
        let task = tokio::spawn({
            let shared = shared.clone();
            async move {
                loop {
                    let behind = lock(&shared).behind.is_some();
                    tokio::time::sleep(if behind { ASK_AGAIN } else { ASK_EVERY }).await;
                    if !is_worth_asking(&shared) {
                        continue;
                    }
                    let passive = QueueDeclareOptions {
                        passive: true,
                        ..QueueDeclareOptions::default()
                    };
                    let asking = channel.queue_declare(queue.as_str().into(), passive, FieldTable::default());
                    // The connection is gone.
                    let Ok(found) = asking.await else {
                        return;
                    };
                    lock(&shared).answered(found.message_count(), Instant::now());
                }
            }
        });
        Self { shared, task }
    }

    pub fn is_late(&self, late: bool) -> bool {
        lock(&self.shared).is_late(late, Instant::now())
    }

    pub fn is_behind(&self) -> bool {
        lock(&self.shared).behind.is_some()
    }

    /// Our process stood still.
    pub fn stalled(&self) {
        lock(&self.shared).behind = Some(Instant::now());
    }
}

impl Drop for LagProbe {
    fn drop(&mut self) {
        self.task.abort();
    }
}

fn is_worth_asking(shared: &Mutex<State>) -> bool {
    let mut state = lock(shared);
    let worth = std::mem::take(&mut state.lively) || state.behind.is_some();
    if worth {
        state.asked = Some(Instant::now());
    }
    worth
}

fn lock(shared: &Mutex<State>) -> MutexGuard<'_, State> {
    shared.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn once_behind_until_the_broker_has_answered_at_once() {
        let start = Instant::now();
        let at = |ms: u64| start + Duration::from_millis(ms);
        let mut state = State::default();
        assert!(!state.is_late(false, at(0)));
        // Answered within a moment, and nothing waits.
        state.asked = Some(at(10));
        assert!(!state.is_late(false, at(20)));
        state.answered(0, at(21));
        assert!(!state.is_late(false, at(30)));
        // A question that is not answered: what comes before the answer was there before it.
        state.asked = Some(at(100));
        assert!(!state.is_late(false, at(120)));
        assert!(state.is_late(false, at(130)));
        state.answered(0, at(200));
        assert!(state.is_late(false, at(210)));
        // Answered at once, but more waits.
        state.asked = Some(at(220));
        state.answered(3, at(221));
        assert!(state.is_late(false, at(222)));
        // The question must be younger than what showed that we are behind.
        state.asked = Some(at(230));
        assert!(state.is_late(true, at(231)));
        state.answered(0, at(232));
        assert!(state.is_late(false, at(233)));
        state.asked = Some(at(240));
        state.answered(0, at(241));
        assert!(!state.is_late(false, at(242)));
    }
}
