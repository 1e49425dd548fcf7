//! Which words of a status column mean what.

/// Sorted by what they usually mean; what is none of these is left to the reader.
#[derive(Debug, Default, PartialEq)]
pub struct Statuses {
    pub running: Vec<String>,
    pub succeeded: Vec<String>,
    pub failed: Vec<String>,
    pub unsorted: Vec<String>,
}

const RUNNING: &[&str] = &[
    "running",
    "started",
    "inprogress",
    "processing",
    "working",
    "active",
    "executing",
    "run",
    "busy",
    "leased",
];
const SUCCEEDED: &[&str] = &[
    "completed",
    "complete",
    "succeeded",
    "success",
    "successful",
    "done",
    "finished",
    "ok",
];
const FAILED: &[&str] = &[
    "failed", "failure", "fail", "error", "errored", "broken", "dead", "crashed", "timeout", "timedout",
    "aborted",
];
/// Before the actor: of no interest here.
const WAITING: &[&str] = &[
    "pending",
    "queued",
    "created",
    "new",
    "submitted",
    "waiting",
    "scheduled",
    "enqueued",
    "received",
    "ready",
    "initial",
    "draft",
];

pub fn sort(words: &[String]) -> Statuses {
    let mut statuses = Statuses::default();
    for word in words {
        let plain: String = word
            .to_lowercase()
            .chars()
            .filter(|c| c.is_alphanumeric())
            .collect();
        let list = match plain.as_str() {
            plain if RUNNING.contains(&plain) => &mut statuses.running,
            plain if SUCCEEDED.contains(&plain) => &mut statuses.succeeded,
            plain if FAILED.contains(&plain) => &mut statuses.failed,
            plain if WAITING.contains(&plain) => continue,
            _ => &mut statuses.unsorted,
        };
        if !list.contains(word) {
            list.push(word.clone());
        }
    }
    statuses
}

/// The words in single quotes of a CHECK constraint.
pub fn quoted(definition: &str) -> Vec<String> {
    definition
        .split('\'')
        .skip(1)
        .step_by(2)
        .filter(|word| !word.is_empty())
        .map(str::to_owned)
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_usual_words_in_any_spelling() {
        let words = ["QUEUED", "In-Progress", "done", "DONE", "Timed_Out", "archived"].map(str::to_owned);
        let sorted = sort(&words);
        assert_eq!(sorted.running, ["In-Progress"]);
        assert_eq!(sorted.succeeded, ["done", "DONE"]);
        assert_eq!(sorted.failed, ["Timed_Out"]);
        assert_eq!(sorted.unsorted, ["archived"]);
    }

    #[test]
    fn a_constraint() {
        let text = "CHECK (((status)::text = ANY ((ARRAY['new'::character varying, 'done'::text])::text[])))";
        assert_eq!(quoted(text), ["new", "done"]);
        assert!(quoted("CHECK ((n > 0))").is_empty());
    }
}
