//! What a page's remedy says to this run: its case, its values, the place to look at.

use crate::diagnosis::Exception;
use crate::diagnosis::evidence::plain_placeholders;
use crate::timeline::place;

/// Words of a condition that tell nothing apart.
const COMMON: &[&str] = &[
    "a", "an", "the", "or", "from", "another", "alarm", "queue", "code", "state", "host",
];

/// A remedy as it is for this run. One that begins with a condition, "For X, …" or "If X, …", is for that case only:
/// left out where the case is another one, without its condition where it is so, and whole where nothing says. The
/// check answers for the cases that it knows; "For X" is looked for in what was seen.
pub(in crate::diagnosis) fn for_this_run(
    remedy: &str,
    seen: &str,
    cases: &[(&'static str, bool)],
) -> Option<String> {
    let Some((word, condition, action)) = conditional(remedy) else {
        return Some(remedy.to_owned());
    };
    let known = cases
        .iter()
        .find(|(case, _)| *case == condition)
        .map(|(_, is_so)| *is_so);
    let is_so = known.or_else(|| (word == "For ").then(|| is_seen(condition, seen)));
    match is_so {
        Some(true) => Some(capitalised(action)),
        Some(false) => None,
        None => Some(remedy.to_owned()),
    }
}

/// "If X, do that" → `("If ", "X", "do that")`. A comma before a backquote goes on with a list of cases.
fn conditional(remedy: &str) -> Option<(&'static str, &str, &str)> {
    let word = ["For ", "If "]
        .into_iter()
        .find(|word| remedy.starts_with(word))?;
    let rest = &remedy[word.len()..];
    let ends = |at: &usize| {
        let in_code = rest[..*at].matches('`').count() % 2 == 1;
        !in_code && !rest[at + 2..].starts_with('`')
    };
    let end = rest.match_indices(", ").map(|(at, _)| at).find(ends)?;
    Some((word, &rest[..end], &rest[end + 2..]))
}

fn is_seen(condition: &str, seen: &str) -> bool {
    let quoted: Vec<&str> = condition.split('`').skip(1).step_by(2).collect();
    let words: Vec<&str> = match quoted.is_empty() {
        true => condition
            .split([' ', '/'])
            .filter(|word| !COMMON.contains(word))
            .collect(),
        false => quoted,
    };
    let seen = seen.to_lowercase();
    words.iter().any(|word| stands_in(&word.to_lowercase(), &seen))
}

fn capitalised(text: &str) -> String {
    let mut letters = text.chars();
    match letters.next() {
        Some(first) => first.to_uppercase().chain(letters).collect(),
        None => String::new(),
    }
}

/// As a word of its own.
fn stands_in(word: &str, text: &str) -> bool {
    let is_part = |c: char| c.is_alphanumeric() || c == '_';
    text.match_indices(word).any(|(at, _)| {
        let before = text[..at].chars().next_back();
        let after = text[at + word.len()..].chars().next();
        !before.is_some_and(is_part) && !after.is_some_and(is_part)
    })
}

/// The case of a remedy that is for an exception without a place in the application's code.
pub(in crate::diagnosis) const NO_PLACE: &str = "no line of the application's code was seen";

/// Names that a check, or the run, knows or does not: a remedy that speaks of one that nobody knows is none.
const NAMED: &[&str] = &[
    "{pid}",
    "{migration_pid}",
    "{holder}",
    "{place}",
    "{user}",
    "{taker}",
    "{due}",
    "{other_queue}",
    "{other_message}",
    "{other_actor}",
    "{container_command}",
    "{container}",
];

/// With the values that the check has given. A pid of another place is another process here: a command must not name
/// it.
pub(in crate::diagnosis) fn with_values(remedy: String, values: &[(&'static str, String)]) -> Option<String> {
    let is_of_another_place = |value: &str| value.parse().ok().and_then(place::place_of).is_some();
    let filled = values
        .iter()
        .fold(remedy, |text, (placeholder, value)| match *placeholder {
            "{pid}" | "{worker_pid}" if is_of_another_place(value) => {
                text.replace(placeholder, &plain_placeholders(placeholder))
            }
            _ => text.replace(placeholder, value),
        });
    (!NAMED.iter().any(|name| filled.contains(name))).then_some(filled)
}

/// `{frame}` and `{exception}` are the place to look at and what was raised there; where nothing was, a remedy that
/// names them is none.
pub(in crate::diagnosis) fn placed(remedy: &str, traceback: Option<&Exception>) -> Option<String> {
    if !remedy.contains("{frame}") {
        return Some(remedy.to_owned());
    }
    let traceback = traceback?;
    let frame = traceback.frames.iter().rfind(|frame| frame.application)?;
    let place = format!("`{}` in {}:{}", frame.function, frame.file, frame.line);
    let exception = crate::text::excerpt(&traceback.exception);
    Some(
        remedy
            .replace("{frame}", &place)
            .replace("{exception}", &exception),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pid_of_another_place_stands_in_no_command() {
        let remedy = || "`kill -CONT {worker_pid}`".to_owned();
        let with = |pid: i32| with_values(remedy(), &[("{worker_pid}", pid.to_string())]);
        assert_eq!(with(7).as_deref(), Some("`kill -CONT 7`"));
        assert_eq!(with(10_000_007).as_deref(), Some("`kill -CONT WORKER_PID`"));
    }

    #[test]
    fn a_remedy_for_another_variant_is_left_out() {
        let concerns = |remedy: &str, seen: &str| for_this_run(remedy, seen, &[]).is_some();
        let memory = "rabbit@a has a memory alarm";
        assert!(!concerns("For a disk alarm, free space", memory));
        assert!(concerns("For a memory alarm, find the largest queues", memory));
        let import = "ModuleNotFoundError: No module named 'ops_agents'";
        assert!(!concerns("For `No module named '2'`, write -v alone", import));
        assert!(concerns("For another missing module, start elsewhere", import));
        assert!(concerns(
            "For state `T`, find out who stopped it",
            "its state is T (stopped)"
        ));
        assert!(!concerns(
            "For state `D`, repair the disk",
            "its state is T (stopped)"
        ));
        assert!(concerns("For 502/503/504, check the proxy", "HTTP 503"));
        assert!(!concerns("For -11 or -6, run it alone", "ended with code -9"));
        assert!(concerns("Start the worker", memory));
    }

    #[test]
    fn a_case_that_is_known_is_no_condition_any_more() {
        let remedy = "If the holder idles, end it: `it`.";
        let of = |cases| for_this_run(remedy, "", cases);
        assert_eq!(
            of(&[("the holder idles", true)]).as_deref(),
            Some("End it: `it`.")
        );
        assert_eq!(of(&[("the holder idles", false)]), None);
        assert_eq!(of(&[("it works", false)]).as_deref(), Some(remedy));
        let listed = for_this_run("For `a`, `b` or `c`, end it", "c was seen", &[]);
        assert_eq!(listed.as_deref(), Some("End it"));
        let alarm = for_this_run("For a disk alarm, free space", "a disk alarm", &[]);
        assert_eq!(alarm.as_deref(), Some("Free space"));
    }
}
