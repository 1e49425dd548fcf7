//! Why nothing can be seen in a place, in the words of whoever refused it.

use std::time::Duration;

use super::place::Place;
use crate::timeline::{PlaceState, exit_words};
use crate::units::bytes;
use crate::vantage::process::command::masked;

/// A line that says why is no longer.
const LONGEST: usize = 400;

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Unreachable {
    place: Place,
    pub trouble: Trouble,
    /// The last line that the prefix printed to its standard error.
    pub said: Option<String>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Trouble {
    /// The prefix cannot be run on this machine.
    NotRun(String),
    /// The prefix ended before it had answered, with this code if it was no signal.
    Ended(Option<i32>),
    /// No answer within this time.
    Silent(Duration),
    /// Something else answered.
    Garbled(String),
    /// Only so many bytes are left of what may be used there.
    NoMemory(i64),
    NoPython,
}

impl Unreachable {
    pub(super) fn new(place: &Place, trouble: Trouble) -> Self {
        Self {
            place: place.clone(),
            trouble,
            said: None,
        }
    }

    /// With the end of what it printed.
    pub(super) fn said(mut self, printed: &str) -> Self {
        let last = printed.lines().map(str::trim).rfind(|line| !line.is_empty());
        self.said = last.map(shortened);
        self
    }

    fn prefix(&self) -> String {
        masked(self.place.prefix.clone()).join(" ")
    }

    /// The thing, and what was seen.
    pub fn reason(&self) -> String {
        let prefix = self.prefix();
        let seen = match &self.trouble {
            Trouble::NotRun(why) => format!("`{prefix}` cannot be run: {why}"),
            Trouble::Ended(code) => {
                let how = code.map_or_else(
                    || "by a signal".to_owned(),
                    |code| format!("with {}", exit_words(code)),
                );
                format!("`{prefix} sh` ended {how}")
            }
            Trouble::Silent(patience) => {
                format!("`{prefix} sh` did not answer within {} s", patience.as_secs())
            }
            Trouble::Garbled(line) => format!("`{prefix} sh` answered \"{}\"", shortened(line)),
            Trouble::NoMemory(left) => format!(
                "only {} of its memory limit are left, and 32 MiB are needed to look without harm",
                bytes(u64::try_from(*left).unwrap_or_default())
            ),
            Trouble::NoPython => "there is no Python".to_owned(),
        };
        let said = match (&self.said, &self.trouble) {
            // Of no use to anybody who has the reason.
            (_, Trouble::NoMemory(_) | Trouble::NoPython) | (None, _) => String::new(),
            (Some(said), _) => format!(": {said}"),
        };
        format!("cannot look into {}: {seen}{said}", self.place.name())
    }

    fn state(&self) -> Option<PlaceState> {
        PlaceState::said(self.said.as_ref()?)
    }

    /// The next step.
    pub fn hint(&self) -> String {
        let (prefix, part) = (self.prefix(), self.place.part);
        match &self.trouble {
            Trouble::NotRun(_) => format!("install it, or correct [{part}] exec in taskdiag.toml"),
            // Whatever it said: that may be a notice, as of the container that kubectl chose.
            Trouble::Ended(Some(0)) => format!(
                "it must pass its standard input on: `docker exec -i`, `docker compose exec -T`, `kubectl exec -i`; then `echo echo yes | {prefix} sh` prints \"yes\""
            ),
            Trouble::Ended(_) if self.state() == Some(PlaceState::Paused) => {
                "unpause it: `docker unpause NAME`, `docker compose unpause SERVICE`".into()
            }
            Trouble::Ended(_) if self.state().is_some() => {
                format!("start it; the log of the {part} says why it ended")
            }
            Trouble::Ended(_) => format!("try it in a shell until it works: `{prefix} sh -c true`"),
            Trouble::Silent(_) => format!(
                "try it in a shell: `echo echo yes | {prefix} sh`; it must not ask for a password (ssh: a key, BatchMode=yes)"
            ),
            Trouble::Garbled(_) => format!(
                "[{part}] exec must run the program whose words follow it: `{prefix} echo yes` prints \"yes\" and nothing else"
            ),
            Trouble::NoMemory(_) => format!("raise the memory limit there, or leave [{part}] exec out"),
            Trouble::NoPython => {
                format!("the Python of the {part} must be in the PATH there, or leave [{part}] exec out")
            }
        }
    }
}

fn shortened(line: &str) -> String {
    let line = line.trim();
    match line.char_indices().nth(LONGEST) {
        Some((end, _)) => format!("{}…", &line[..end]),
        None => line.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn unreachable(trouble: Trouble, printed: &str) -> Unreachable {
        let place = Place {
            part: "worker",
            prefix: ["docker", "exec", "-i", "w"].map(str::to_owned).to_vec(),
        };
        Unreachable::new(&place, trouble).said(printed)
    }

    #[test]
    fn the_last_line_of_the_prefix_is_shown() {
        let paused = unreachable(
            Trouble::Ended(Some(1)),
            "time=\"…\" level=warning msg=\"x\"\nError response from daemon: container w is paused\n\n",
        );
        assert_eq!(
            paused.reason(),
            "cannot look into worker (exec): `docker exec -i w sh` ended with exit code 1: Error response from daemon: container w is paused"
        );
        assert!(paused.hint().starts_with("unpause it"), "{}", paused.hint());
        let ended = unreachable(Trouble::Ended(Some(1)), "service \"worker\" is not running");
        assert!(ended.hint().contains("the log of the worker"), "{}", ended.hint());
        let unknown = unreachable(Trouble::Ended(Some(1)), "Error: No such container: w");
        assert_eq!(
            unknown.hint(),
            "try it in a shell until it works: `docker exec -i w sh -c true`"
        );
        let long = unreachable(Trouble::Ended(Some(1)), &"x".repeat(10_000));
        assert!(long.reason().len() < 600);
    }

    #[test]
    fn a_prefix_without_input_is_told_from_one_that_fails() {
        let silent = unreachable(Trouble::Ended(Some(0)), "");
        assert!(silent.hint().contains("kubectl exec -i"), "{}", silent.hint());
        let chosen = "Defaulted container \"app\" out of: app, istio-proxy";
        let chatty = unreachable(Trouble::Ended(Some(0)), chosen);
        assert!(chatty.hint().contains("kubectl exec -i"), "{}", chatty.hint());
        let failed = unreachable(Trouble::Ended(Some(1)), "no such host");
        assert!(!failed.hint().contains("kubectl"), "{}", failed.hint());
    }

    #[test]
    fn memory_is_told_in_mebibytes() {
        let refused = unreachable(Trouble::NoMemory(5 << 20), "");
        assert!(refused.reason().contains("only 5 MiB"), "{}", refused.reason());
    }
}
