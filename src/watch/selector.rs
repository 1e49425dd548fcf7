//! Which queues are watched.

use globset::{Glob, GlobSet, GlobSetBuilder};

use crate::framework::{Framework, Queues};

pub use crate::framework::Role;

/// Our own: the queues through which the firehose is read and counted, and workers are heard.
const OWN: [&str; 3] = ["taskdiag.trace.", "taskdiag.missed.", "taskdiag.control."];

#[derive(Debug, Clone)]
pub struct QueueSelector {
    /// Queues named without a wildcard.
    names: Vec<String>,
    globs: Option<GlobSet>,
    patterns: Vec<String>,
    all: bool,
    /// How companions are named.
    queues: &'static Queues,
}

impl QueueSelector {
    pub fn all() -> Self {
        Self {
            names: Vec::new(),
            globs: None,
            patterns: Vec::new(),
            all: true,
            queues: &Framework::usual().queues,
        }
    }

    /// Names and globs (`*`, `?`, `[a-z]`, `{a,b}`); the error names the glob.
    pub fn new(words: &[String]) -> Result<Self, String> {
        let mut names = Vec::new();
        let mut patterns = Vec::new();
        let mut set = GlobSetBuilder::new();
        for word in words {
            if word.contains(['*', '?', '[', '{']) {
                let glob = Glob::new(word).map_err(|error| format!("\"{word}\": {}", error.kind()))?;
                set.add(glob);
                patterns.push(word.clone());
            } else if !names.contains(word) {
                names.push(word.clone());
            }
        }
        let globs = set.build().map_err(|error| error.to_string())?;
        Ok(Self {
            names,
            globs: (!patterns.is_empty()).then_some(globs),
            patterns,
            all: false,
            queues: &Framework::usual().queues,
        })
    }

    /// The same for the queues of this framework.
    pub fn of(self, framework: &'static Framework) -> Self {
        Self {
            queues: &framework.queues,
            ..self
        }
    }

    /// How companions are named.
    pub fn queues(&self) -> &'static Queues {
        self.queues
    }

    /// The queues, if they are known without asking the broker which ones there are.
    pub fn exact(&self) -> Option<&[String]> {
        (!self.all && self.globs.is_none()).then_some(&self.names)
    }

    pub fn names(&self) -> &[String] {
        &self.names
    }

    /// Beginnings of all names that can match, without any wildcard; `None`: any name can.
    pub fn beginnings(&self) -> Option<Vec<&str>> {
        if self.all {
            return None;
        }
        let beginnings: Vec<&str> = self
            .patterns
            .iter()
            .map(|pattern| {
                pattern
                    .split(['*', '?', '[', '{', '\\'])
                    .next()
                    .unwrap_or_default()
            })
            .collect();
        beginnings
            .iter()
            .all(|beginning| !beginning.is_empty())
            .then_some(beginnings)
    }

    pub fn matches(&self, name: &str) -> bool {
        if OWN.iter().any(|own| name.starts_with(own)) {
            return false;
        }
        self.all
            || self.names.iter().any(|known| known == name)
            || self.globs.as_ref().is_some_and(|globs| globs.is_match(name))
    }

    /// The row that shows this queue. Companions are folded under their queue if that is watched
    /// and there (`exists`), unless they are asked for by name.
    pub fn place<'a>(&self, name: &'a str, exists: impl Fn(&str) -> bool) -> Option<(&'a str, Role)> {
        if self.names.iter().any(|known| known == name) {
            return Some((name, Role::Main));
        }
        let (base, role) = self.queues.split(name);
        if role != Role::Main
            && self.matches(base)
            && (self.names.iter().any(|known| known == base) || exists(base))
        {
            return Some((base, role));
        }
        self.matches(name).then_some((name, Role::Main))
    }
}

impl std::fmt::Display for QueueSelector {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        if self.all {
            return f.write_str("every queue");
        }
        let words: Vec<&str> = self
            .names
            .iter()
            .chain(&self.patterns)
            .map(String::as_str)
            .collect();
        f.write_str(&words.join(", "))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn selector(words: &[&str]) -> QueueSelector {
        let words: Vec<String> = words.iter().map(ToString::to_string).collect();
        QueueSelector::new(&words).expect("valid")
    }

    #[test]
    fn companions_are_folded_under_a_queue_that_is_there() {
        let both = selector(&["ord*"]);
        assert_eq!(both.place("orders.DQ", |_| true), Some(("orders", Role::Delay)));
        assert_eq!(
            both.place("orders.XQ", |_| true),
            Some(("orders", Role::DeadLetter))
        );
        // Nobody's companion is a queue of its own.
        assert_eq!(
            both.place("orders.XQ", |_| false),
            Some(("orders.XQ", Role::Main))
        );
        // Asked for as such.
        assert_eq!(
            selector(&["*.XQ"]).place("orders.XQ", |_| true),
            Some(("orders.XQ", Role::Main))
        );
        assert_eq!(
            selector(&["orders.XQ", "orders"]).place("orders.XQ", |_| true),
            Some(("orders.XQ", Role::Main))
        );
        assert_eq!(selector(&["orders"]).place("emails", |_| true), None);
        assert_eq!(selector(&["orders"]).place("emails.DQ", |_| true), None);
    }

    #[test]
    fn our_own_queues_are_never_shown() {
        assert!(!QueueSelector::all().matches("taskdiag.trace.1234"));
        assert!(!QueueSelector::all().matches("taskdiag.missed.1234"));
        assert!(!selector(&["task*"]).matches("taskdiag.trace.1234"));
        assert!(selector(&["task*"]).matches("tasks"));
    }

    #[test]
    fn globs_have_a_beginning_unless_they_begin_with_a_wildcard() {
        assert_eq!(selector(&["ord*", "b?"]).beginnings(), Some(vec!["ord", "b"]));
        assert_eq!(selector(&["*.XQ"]).beginnings(), None);
        assert_eq!(QueueSelector::all().beginnings(), None);
        assert!(selector(&["a", "b"]).exact().is_some());
        assert!(QueueSelector::new(&["a[".to_owned()]).is_err());
    }
}
