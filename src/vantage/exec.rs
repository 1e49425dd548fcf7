//! The place where the worker or the API runs, seen through a prefix that runs a program there:
//! `docker compose exec -T worker`, `kubectl exec -i POD --`, `ssh HOST`.
//!
//! Nothing is installed and nothing stays there: a script goes over standard input to the place's own Python, reads
//! `/proc`, and ends with us.

mod answer;
mod channel;
mod place;
mod unreachable;

use std::time::Duration;

use tokio::time::Instant;

use super::{Phases, Tap};
use crate::timeline::EventKind;
pub use answer::View;
use channel::Channel;
pub use place::{Place, places};
pub use unreachable::{Trouble, Unreachable};

/// `ssh` and `kubectl` take seconds where the network is slow.
const ANSWERS_WITHIN: Duration = Duration::from_secs(8);

/// The last look must be over before the run is.
const LAST_LOOK_WITHIN: Duration = Duration::from_millis(2200);

/// Says of each place whether it can be looked into: at first, and at the last look where that has changed.
pub async fn watch(places: Vec<Place>, tap: Tap, phases: Phases) {
    let looking = places.iter().map(|place| watch_one(place, &tap, phases.clone()));
    futures_util::future::join_all(looking).await;
}

async fn watch_one(place: &Place, tap: &Tap, mut phases: Phases) {
    let first = tokio::select! {
        seen = look_within(place, ANSWERS_WITHIN) => Some(event(place, seen)),
        _ = phases.ending() => None,
    };
    first.iter().cloned().for_each(|kind| tap.see(kind));
    if phases.ending().await.stop {
        return;
    }
    let last = event(place, look_within(place, LAST_LOOK_WITHIN).await);
    if first.as_ref() != Some(&last) {
        tap.see(last);
    }
}

fn event(place: &Place, seen: Result<View, Unreachable>) -> EventKind {
    let part = place.part.to_owned();
    match seen {
        Ok(view) => EventKind::PlaceReached {
            part,
            processes: view.processes.len() as u64,
        },
        Err(unreachable) => EventKind::PlaceUnreachable {
            part,
            reason: unreachable.reason(),
            exit: match unreachable.trouble {
                Trouble::Ended(code) => code,
                _ => None,
            },
            said: unreachable.said,
        },
    }
}

/// Looks once, and leaves.
pub async fn look(place: &Place) -> Result<View, Unreachable> {
    look_within(place, ANSWERS_WITHIN).await
}

async fn look_within(place: &Place, patience: Duration) -> Result<View, Unreachable> {
    let deadline = Instant::now() + patience;
    let mut channel = Channel::open(place, patience, deadline).await?;
    match answer::view(&mut channel, deadline).await {
        Ok(view) => {
            channel.close().await;
            Ok(view)
        }
        Err(trouble) => Err(channel.end(trouble).await),
    }
}

/// Everything that is run there, for those who want to read it first.
pub fn scripts() -> String {
    format!(
        "# PREFIX sh, and on its standard input:\n{}\n# Then, from the Python that has answered `{}` (PREFIX python3 … where there is no sh):\n\n{}",
        channel::shell_script(),
        channel::GREETING,
        channel::SCRIPT
    )
}
