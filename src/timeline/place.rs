//! The places that `[worker] exec` and `[api] exec` lead to: how their processes are numbered, and the state of a
//! container, in the words with which its engine refuses to run something in it.

use std::fmt::Write as _;

use super::{Event, EventKind};

/// A place counts its pids from 1, as this machine does. So that no two processes have one number, this is added
/// to each of a place's.
const PLACES: [(&str, i32); 2] = [("worker", 10_000_000), ("api", 20_000_000)];

/// `PID_MAX_LIMIT` of a 64 bit kernel: none is greater.
const GREATEST_PID: i32 = 1 << 22;

/// By which number a process is told that knows itself by this pid in that place.
pub fn number_in(part: &str, pid: i32) -> i32 {
    let place = PLACES.iter().find(|(name, _)| *name == part);
    match place {
        // 0: its parent is outside.
        Some((_, first)) if pid > 0 => first + pid,
        _ => pid,
    }
}

/// The place of such a number, and the pid there.
pub fn place_of(number: i32) -> Option<(&'static str, i32)> {
    let inside = |first: i32| (first + 1..=first + GREATEST_PID).contains(&number);
    let (part, first) = PLACES.iter().find(|(_, first)| inside(*first))?;
    Some((part, number - first))
}

/// What taskdiag's own script in a place says first; it stands in its command line as well.
pub const GREETING: &str = "taskdiag boot";

/// taskdiag's own script, which it has put into the worker's or the API's place.
pub fn is_our_own(command: &[String]) -> bool {
    command.iter().any(|word| word.contains(GREETING))
}

/// What was last seen of the way to this part: it led there, or it did not.
pub fn last_seen<'a>(events: &'a [Event], wanted: &str) -> Option<&'a Event> {
    events.iter().rev().find(|event| match &event.kind {
        EventKind::PlaceReached { part, .. } | EventKind::PlaceUnreachable { part, .. } => part == wanted,
        _ => false,
    })
}

/// A pid for people: `7`, or `7 in worker (exec)`.
pub fn pid_words(number: i32) -> String {
    match place_of(number) {
        Some((part, pid)) => format!("{pid} in {part} (exec)"),
        None => number.to_string(),
    }
}

/// A text about processes, with such numbers in words.
pub fn in_words(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find(|c: char| c.is_ascii_digit()) {
        let (before, digits) = rest.split_at(at);
        let end = digits.find(|c: char| !c.is_ascii_digit()).unwrap_or(digits.len());
        let (number, after) = digits.split_at(end);
        out.push_str(before);
        let is_part = |c: char| c.is_alphanumeric() || matches!(c, '_' | '-' | '.' | ':');
        let stands_alone = !before.ends_with(is_part) && !after.starts_with(|c: char| c.is_alphanumeric());
        let told = number
            .parse()
            .ok()
            .filter(|number| stands_alone && place_of(*number).is_some());
        let _ = match told {
            Some(number) => write!(out, "{}", pid_words(number)),
            None => write!(out, "{number}"),
        };
        rest = after;
    }
    out.push_str(rest);
    out
}

/// What the way into a container says of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PlaceState {
    Paused,
    Restarting,
    NotRunning,
}

impl PlaceState {
    /// Docker: `Container w is paused, unpause the container before exec`, `Container w is restarting, wait until the
    /// container is running`, `container w is not running`. Compose: `service "worker" is not running`. kubectl, which
    /// has looked up pod and container before: `unable to upgrade connection: container not found ("worker")`, `cannot exec
    /// into a container in a completed pod`. For the others a container that is not found may be one whose name is wrong.
    pub fn said(said: &str) -> Option<Self> {
        let said = said.to_lowercase();
        let names_one = ["container ", "service ", "pod "]
            .iter()
            .any(|word| said.contains(word));
        let all = [
            (" is paused", PlaceState::Paused),
            (" is restarting", PlaceState::Restarting),
            (" is not running", PlaceState::NotRunning),
            ("upgrade connection: container not found", PlaceState::NotRunning),
            ("a container in a completed pod", PlaceState::NotRunning),
        ];
        let found = all.into_iter().find(|(words, _)| said.contains(words));
        found.filter(|_| names_one).map(|(_, state)| state)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_two_processes_have_one_number() {
        assert_eq!(place_of(number_in("worker", 7)), Some(("worker", 7)));
        assert_eq!(place_of(number_in("api", 4_194_304)), Some(("api", 4_194_304)));
        assert_eq!(number_in("worker", 0), 0);
        for here in [0, 1, 7, 4_194_304] {
            assert_eq!(place_of(here), None);
        }
    }

    #[test]
    fn numbers_of_a_place_are_told_in_words() {
        for (text, words) in [
            ("pid 10000007 is stopped", "pid 7 in worker (exec) is stopped"),
            (
                "by pid 20000001 and by pid 7",
                "by pid 1 in api (exec) and by pid 7",
            ),
            (
                "of pid 10000001, 10000007",
                "of pid 1 in worker (exec), 7 in worker (exec)",
            ),
            (
                "order-10000007 v1.10000007 17644320000",
                "order-10000007 v1.10000007 17644320000",
            ),
            ("", ""),
        ] {
            assert_eq!(in_words(text), words);
        }
    }

    #[test]
    fn an_engine_says_it_in_its_own_words() {
        for (said, state) in [
            (
                "Error response from daemon: Container 0a1b is paused, unpause the container before exec",
                Some(PlaceState::Paused),
            ),
            (
                "Error response from daemon: Container shop-worker-1 is restarting, wait until the container is running",
                Some(PlaceState::Restarting),
            ),
            (
                "Error response from daemon: container 0a1b is not running",
                Some(PlaceState::NotRunning),
            ),
            ("service \"worker\" is not running", Some(PlaceState::NotRunning)),
            (
                "error: unable to upgrade connection: container not found (\"worker\")",
                Some(PlaceState::NotRunning),
            ),
            (
                "error: cannot exec into a container in a completed pod; current phase is Failed",
                Some(PlaceState::NotRunning),
            ),
            (
                "Error from server (NotFound): pods \"shop-worker\" not found",
                None,
            ),
            ("error: container wrker is not valid for pod shop-worker", None),
            ("error: unable to upgrade connection: Forbidden", None),
            (
                "Error response from daemon: No such container: shop-worker-1",
                None,
            ),
            (
                "Cannot connect to the Docker daemon. Is the docker daemon running?",
                None,
            ),
            ("ssh: connect to host w port 22: Connection refused", None),
            ("the debugger is paused", None),
        ] {
            assert_eq!(PlaceState::said(said), state, "{said}");
        }
    }
}
