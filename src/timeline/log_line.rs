//! One line of a log.

use serde::{Deserialize, Serialize};

use crate::framework::{ArgumentValues, Framework, LineSubject, LogEvent, contains_id, spellings};

/// One line of a log, its traceback folded in.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, schemars::JsonSchema)]
pub struct LogLine {
    /// The name that stood before it: a compose service's container, a pod and its container, or a program's in syslog.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stream: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub level: Option<Level>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub logger: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pid: Option<i32>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub thread: Option<String>,
    pub text: String,
    /// The lines folded below it, joined by newlines.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub traceback: Option<String>,
    /// It stood in the log before the run began.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub before: bool,
    /// For lines from before: seconds between the log's last change and the start of the run.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub age_s: Option<u64>,
    /// It matches the configured entry pattern.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub entry: bool,
    /// The task id stood in it, masked arguments included.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub carries_task_id: bool,
    /// The line before masking, until the task id is known. Never written anywhere.
    #[serde(skip)]
    pub raw: ArgumentValues,
}

impl LogLine {
    /// What a worker's line means to its framework; `None` for anything that is not the framework's.
    pub fn log_event(&self, framework: &Framework) -> Option<LogEvent> {
        (framework.log.read)(&self.text, self.logger.as_deref(), self.traceback.as_deref())
    }

    /// What a worker's line is about, beside what it means.
    pub fn message_of(&self, framework: &Framework) -> Option<LineSubject<'_>> {
        (framework.log.message_of)(&self.text, self.traceback.as_deref())
    }

    /// Marks the line as one that carries the task id. A short id like `7` stands everywhere, so
    /// it counts only where something names it: `task_id=7`, `'id': 7`, `task 7`, or, if a task is an order,
    /// `order 7` and `order_id=7`, but not `user_id=7`.
    pub fn learn_task_id(&mut self, task_id: &str, nouns: &[String]) {
        let found = self.raw.0.iter().any(|text| {
            if task_id.len() >= 6 {
                return spellings(task_id).iter().any(|id| contains_id(text, id));
            }
            text.match_indices(task_id).any(|(at, _)| {
                let before = text[..at].trim_end_matches(|c: char| " =:#'\"(".contains(c));
                let rest = &text[at + task_id.len()..];
                // `7.5` is no 7, nor is `7-2`.
                let goes_on = rest.starts_with(|c: char| c.is_alphanumeric() || c == '_')
                    || rest
                        .strip_prefix(['.', '-'])
                        .is_some_and(|rest| rest.starts_with(|c: char| c.is_ascii_digit()));
                before.len() < at && names_a_task(before, nouns) && !goes_on
            })
        });
        self.carries_task_id |= found;
    }
}

/// What everything may be called whose id is given.
const TASK_NOUNS: [&str; 2] = ["task", "job"];

/// A text ends in a word for the task or its id.
fn names_a_task(before: &str, nouns: &[String]) -> bool {
    let word = before.rsplit(|c: char| !c.is_alphanumeric() && c != '_').next();
    let word = word.unwrap_or_default().to_lowercase();
    let is_noun = |word: &str| TASK_NOUNS.contains(&word) || nouns.iter().any(|noun| noun == word);
    // Of `shop_order_id` and `orderId` the last parts count.
    let of = match word.strip_suffix("id") {
        Some("") => return true,
        Some(of) => of.trim_end_matches('_'),
        None => return word.rsplit('_').next().is_some_and(is_noun),
    };
    // Whose id it is, where nothing says what a task is called: maybe the task's.
    let is_ours = is_noun(of) || of.rsplit('_').next().is_some_and(is_noun);
    is_ours || (nouns.is_empty() && word.ends_with("_id"))
}

/// Severity of a log line, the field's five plus notice-like ones folded down.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, schemars::JsonSchema,
)]
#[serde(rename_all = "UPPERCASE")]
pub enum Level {
    Debug,
    Info,
    Warning,
    Error,
    Critical,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn carries(text: &str, id: &str, nouns: &[&str]) -> bool {
        let mut line = LogLine {
            raw: ArgumentValues(vec![text.to_owned()]),
            ..LogLine::default()
        };
        let nouns: Vec<String> = nouns.iter().map(|noun| (*noun).to_owned()).collect();
        line.learn_task_id(id, &nouns);
        line.carries_task_id
    }

    #[test]
    fn a_number_counts_where_something_names_it() {
        let order = ["order", "orders"];
        for text in ["task_id=7", "'id': 7", "task 7", "job #7", "taskId=7", "id=7"] {
            assert!(carries(text, "7", &order) && carries(text, "7", &[]), "{text}");
        }
        for text in [
            "packing order 7",
            "order_id=7",
            "orderId: 7",
            "shop_order_id=7",
            "order #7 is packed",
        ] {
            assert!(carries(text, "7", &order), "{text}");
        }
        for text in [
            "user_id=7",
            "customer 7",
            "paid 7 of 9",
            "pid:7 exited",
            "7 items left",
            "order 77",
            "task 7.5 s",
            "task 7-2",
            "Task shop.tasks.fulfil[5c6a] succeeded in 7.02s: 7",
        ] {
            assert!(!carries(text, "7", &order), "{text}");
        }
    }
}
