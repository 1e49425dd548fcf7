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

pub use answer::View;
use channel::Channel;
pub use place::{Place, places};
pub use unreachable::{Trouble, Unreachable};

/// `ssh` and `kubectl` take seconds where the network is slow.
const ANSWERS_WITHIN: Duration = Duration::from_secs(8);

/// Looks once, and leaves.
pub async fn look(place: &Place) -> Result<View, Unreachable> {
    let deadline = Instant::now() + ANSWERS_WITHIN;
    let mut channel = Channel::open(place, ANSWERS_WITHIN, deadline).await?;
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
