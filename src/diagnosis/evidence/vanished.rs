//! A message that waited, and is gone without having been handed to anybody.

use super::broker::{BETWEEN_LOOKS_MS, dead_letters_rose, may_lose_messages};
use super::{Depth, Story};
use crate::diagnosis::Stage;

/// The message was on its queue, and is not any more, though nobody was handed it.
#[derive(Debug, Clone, Copy)]
pub(in crate::diagnosis) struct Vanished {
    pub published: u32,
    /// The look that counted it among those that wait.
    pub waited: Option<Depth>,
    pub gone: Depth,
    /// The queue was missing in between.
    pub made_again: bool,
    /// No look counted a consumer.
    pub nobody_consumed: bool,
}

/// Neither a delivery, a limit, a time to live nor a dead letter took it. Whether a firehose that saw
/// nothing saw everything is for the caller to ask.
pub(in crate::diagnosis) fn vanished(story: &Story<'_>) -> Option<Vanished> {
    let passage = story
        .published_last()
        .filter(|passage| passage.queue == story.queue())?;
    let was_taken = story.reached(Stage::Delivered).is_some() || story.down(story.queue()).next().is_some();
    // One that has a time to live of its own is dropped without a word.
    let expires = passage.message.expiration_ms.is_some();
    if was_taken || expires || may_lose_messages(story) || dead_letters_rose(story) {
        return None;
    }
    let since: Vec<Depth> = story
        .depths(story.queue())
        .filter(|depth| depth.at_ms > passage.at_ms)
        .collect();
    // A look that was under way when the message came says nothing of it.
    let gone = since
        .iter()
        .find(|depth| depth.exists && depth.ready == 0 && depth.at_ms > passage.at_ms + BETWEEN_LOOKS_MS)?;
    let before = since.iter().filter(|depth| depth.at_ms < gone.at_ms);
    Some(Vanished {
        published: passage.n,
        waited: before.clone().find(|depth| depth.ready > 0).copied(),
        gone: *gone,
        made_again: before.clone().any(|depth| !depth.exists),
        nobody_consumed: since
            .iter()
            .filter(|depth| depth.at_ms <= gone.at_ms)
            .all(|depth| depth.consumers == 0),
    })
}
