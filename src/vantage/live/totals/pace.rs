//! How often the list is asked for: it is what a watch costs the broker.

use std::time::{Duration, Instant};

use serde_json::Value as Json;

use crate::http::segment;
use crate::rabbitmq::management::Management;

/// From one list to the next, at best.
const EVERY: Duration = Duration::from_millis(200);

/// Never more than a fortieth of the time: to answer, a broker works on several cores, 1.7 times as
/// long as the answer takes (measured with 10,000 queues), and a twentieth of one core is enough.
const SHARE: u32 = 40;

/// What takes longer than this was not worked on, but waited for: 10,000 queues take 0.35 s on an idle
/// machine and 0.9 s on a busy one.
const FIRST: Duration = Duration::from_millis(20);
const EACH: Duration = Duration::from_micros(100);

/// So long, and ten times what the queues may cost, an answer may take before that is told.
const NO_ANSWER: Duration = Duration::from_secs(5);

/// The first list of a vhost of unknown size may take as long as a request may.
const UNKNOWN: Duration = Duration::from_secs(30);

/// Lists that are worth less often than this wait for news.
const DEAR: Duration = Duration::from_secs(2);

/// So much longer a list may wait as long as there is no news, in powers of two; and no longer.
const PATIENCE: u32 = 2;
const LONGEST: Duration = Duration::from_secs(60);

/// From one question for news to the next: it costs the broker less than a millisecond.
const ASK: Duration = Duration::from_secs(1);

#[derive(Default)]
pub struct Pace {
    /// What the vhost's statistics said before the last list.
    known: Option<Json>,
    /// Lists in a row that nothing has called for.
    quiet: u32,
    /// What a list can cost.
    most: Option<Duration>,
}

impl Pace {
    /// So long the next answer may take.
    pub fn patience(&self) -> Duration {
        self.most.map_or(UNKNOWN, |most| NO_ANSWER + 10 * most)
    }

    /// Waits until the next list is due, after one that took so long in a vhost of so many queues.
    ///
    /// Where lists are dear, one that is due waits for news: the vhost's totals and counters, up to
    /// 10 s old, cheap, and enough to tell that something has moved somewhere.
    pub async fn wait(&mut self, management: &Management, vhost: &str, took: Duration, queues: usize) {
        self.most = Some(cost(Duration::MAX, queues));
        let soon = EVERY.max(SHARE * cost(took, queues));
        tokio::time::sleep(soon).await;
        if soon < DEAR {
            return;
        }
        let due = Instant::now();
        let patience = patience(soon, self.quiet);
        loop {
            let now = news(management, vhost).await;
            // None can be had where this user may not see the vhost, or the broker keeps no statistics.
            if now.is_none() || now != self.known {
                (self.known, self.quiet) = (now, 0);
                return;
            }
            let left = patience.saturating_sub(due.elapsed());
            if left.is_zero() {
                self.quiet += 1;
                return;
            }
            tokio::time::sleep(ASK.min(left)).await;
        }
    }
}

/// What a list has cost the broker, if it took so long.
fn cost(took: Duration, queues: usize) -> Duration {
    took.min(FIRST + EACH * u32::try_from(queues).unwrap_or(u32::MAX))
}

/// How much longer than `soon` to wait for news.
fn patience(soon: Duration, quiet: u32) -> Duration {
    let longest = (soon * (1 << quiet.min(PATIENCE))).min(LONGEST);
    longest.saturating_sub(soon)
}

/// Totals and counters of the vhost, without what changes by itself.
async fn news(management: &Management, vhost: &str) -> Option<Json> {
    let path = format!(
        "vhosts/{}?columns=messages_ready,messages_unacknowledged,message_stats",
        segment(vhost)
    );
    let answer = management.get(&path).await.ok()?;
    counters(answer)
}

fn counters(mut answer: Json) -> Option<Json> {
    let told = answer.as_object_mut()?;
    // Totals are there wherever statistics are.
    told.get("messages_ready")?;
    if let Some(stats) = told.get_mut("message_stats").and_then(Json::as_object_mut) {
        stats.retain(|_, value| value.is_u64());
    }
    Some(answer)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn quiet_vhosts_are_listed_less_often() {
        let soon = Duration::from_secs(14);
        let waits = [0, 1, 2, 3, 9].map(|quiet| (soon + patience(soon, quiet)).as_secs());
        assert_eq!(waits, [14, 28, 56, 56, 56]);
        // What is dearer than that waits for no news.
        assert_eq!(patience(Duration::from_secs(70), 5), Duration::ZERO);
    }

    /// A look that stalled for 18 s would otherwise be the last one for twelve minutes.
    #[test]
    fn a_long_wait_is_no_cost() {
        let pause = |took, queues| SHARE * cost(Duration::from_millis(took), queues);
        assert_eq!(pause(3, 1), Duration::from_millis(120));
        assert!(pause(18_000, 1) < Duration::from_secs(1));
        assert_eq!(pause(350, 10_000), Duration::from_secs(14));
        assert!(pause(18_000, 10_000) < Duration::from_secs(45));
        // Ten times as many may take ten times as long.
        assert_eq!(pause(3_500, 100_000), Duration::from_secs(140));
    }

    #[test]
    fn an_answer_is_waited_for_as_long_as_it_may_take() {
        let mut pace = Pace::default();
        assert_eq!(pace.patience(), UNKNOWN);
        pace.most = Some(cost(Duration::MAX, 3));
        assert_eq!(pace.patience().as_secs(), 5);
        pace.most = Some(cost(Duration::MAX, 10_000));
        assert_eq!(pace.patience().as_secs(), 15);
    }

    #[test]
    fn rates_are_no_news() {
        let answer = |rate: f64, published: u64| {
            counters(json!({
                "messages_ready": 1, "messages_unacknowledged": 0,
                "message_stats": { "publish": published, "publish_details": { "rate": rate } }
            }))
        };
        assert_eq!(answer(0.2, 5), answer(0.0, 5));
        assert_ne!(answer(0.2, 5), answer(0.2, 6));
        // Without statistics there is no news at all, which is not "nothing new".
        assert_eq!(counters(json!({ "name": "v" })), None);
        assert_eq!(counters(json!([])), None);
    }
}
