//! The place where the worker or the API runs, seen through a prefix that runs a program there:
//! `docker compose exec -T worker`, `kubectl exec -i POD --`, `ssh HOST`.
//!
//! Nothing is installed and nothing stays there: a script goes over standard input to the place's own Python, reads
//! `/proc`, and ends with us. Where a task lasts, taskdiag's own program follows it, into memory, and reads stacks there.

mod answer;
mod channel;
mod environ;
mod parts;
mod place;
mod show;
mod stacks;
mod transfer;
mod unreachable;
mod watch;

use tokio::time::Instant;

use crate::timeline::EventKind;
pub use answer::View;
use channel::{Channel, Patience};
pub use place::{Place, places};
pub use stacks::{ARGUMENT, Line};
pub use unreachable::{Trouble, Unreachable};
use watch::ANSWERS_WITHIN;
pub use watch::{WatchRequest, watch};

fn unreachable_event(place: &Place, unreachable: Unreachable) -> EventKind {
    EventKind::PlaceUnreachable {
        part: place.part.to_owned(),
        reason: unreachable.reason(),
        hint: Some(unreachable.hint()),
        exit: match unreachable.trouble {
            Trouble::Ended(code) => code,
            _ => None,
        },
        said: unreachable.said,
    }
}

/// Looks once, and leaves.
pub async fn look(place: &Place) -> Result<View, Unreachable> {
    let patience = Patience {
        answer: ANSWERS_WITHIN,
        stay: ANSWERS_WITHIN,
    };
    let deadline = Instant::now() + patience.answer;
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
