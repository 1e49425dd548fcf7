//! The verdict on what was seen so far, renewed as often as the load allows.

use std::time::{Duration, Instant};

use crate::diagnosis::{self, Verdict};
use crate::timeline::Timeline;

/// Looking at everything again may take one part in so many of the time.
const DIAGNOSE_SHARE: u32 = 25;
const DIAGNOSE_AFTER: Duration = Duration::from_millis(150);

/// What is to be made of the timeline so far.
pub(super) struct Assessment {
    pub verdict: Verdict,
    /// Something has been seen since.
    pub stale: bool,
    made: Instant,
    cost: Duration,
}

impl Assessment {
    pub fn of(timeline: &Timeline) -> Self {
        Self {
            verdict: diagnosis::diagnose(timeline),
            stale: false,
            made: Instant::now(),
            cost: Duration::ZERO,
        }
    }

    /// A busy system's events are looked at together: diagnosing must not become the load.
    pub fn due(&self) -> Duration {
        (self.cost * DIAGNOSE_SHARE)
            .min(DIAGNOSE_AFTER)
            .saturating_sub(self.made.elapsed())
    }

    pub fn renew(&mut self, timeline: &Timeline) {
        let began = Instant::now();
        self.verdict = diagnosis::diagnose(timeline);
        self.cost = began.elapsed();
        self.made = Instant::now();
        self.stale = false;
    }
}
