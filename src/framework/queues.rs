//! A queue, and the ones that a framework keeps beside it.

/// What a queue is for.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, serde::Serialize, schemars::JsonSchema,
)]
#[serde(rename_all = "kebab-case")]
pub enum Role {
    /// Workers take their tasks from here.
    #[schemars(skip)]
    Main,
    /// Delayed messages and retries wait here.
    Delay,
    /// Messages that failed for good.
    DeadLetter,
}

/// How companions are named: the queue's name with such an end. A framework may have none.
#[derive(Debug)]
pub struct Queues {
    /// Delayed messages and retries wait here; the worker consumes it and moves them when due.
    pub delay: Option<&'static str>,
    /// Rejected messages end here, by the broker's dead-lettering; nobody consumes it.
    pub dead_letter: Option<&'static str>,
    /// What passes through this exchange, or to this queue, is talk of workers among themselves.
    pub is_bookkeeping: fn(exchange: &str, queue: &str) -> bool,
    /// Messages may come to a queue by other keys than its name.
    pub is_bound: bool,
    /// A queue of this name is a part of that: messages wait in it for their time.
    pub keeps_for_later: fn(queue: &str) -> bool,
    /// How people call these queues, and the exchange behind the last of them.
    pub later_words: Option<LaterWords>,
    /// What is sent so is kept by the broker itself until its time comes: the key with which it goes on then.
    pub later: for<'k> fn(exchange: &str, routing_key: &'k str) -> Option<&'k str>,
}

/// Names of what keeps messages for later in the broker.
#[derive(Debug, Clone, Copy)]
pub struct LaterWords {
    pub queues: &'static str,
    /// From here messages go on to their own exchange, whose binding has the key with this before it.
    pub exchange: &'static str,
    pub key_prefix: &'static str,
}

impl Queues {
    fn end(&self, role: Role) -> Option<&'static str> {
        match role {
            Role::Main => Some(""),
            Role::Delay => self.delay,
            Role::DeadLetter => self.dead_letter,
        }
    }

    /// The queue with this role beside another one; the queue itself for `Main`.
    pub fn companion(&self, base: &str, role: Role) -> Option<String> {
        self.end(role).map(|end| format!("{base}{end}"))
    }

    /// Where its delayed messages wait.
    pub fn delay(&self, base: &str) -> Option<String> {
        self.companion(base, Role::Delay)
    }

    /// Where its rejected messages end.
    pub fn dead_letter(&self, base: &str) -> Option<String> {
        self.companion(base, Role::DeadLetter)
    }

    /// The queue and its companions, each with what it is for.
    pub fn family(&self, base: &str) -> Vec<(Role, String)> {
        [Role::Main, Role::Delay, Role::DeadLetter]
            .into_iter()
            .filter_map(|role| Some((role, self.companion(base, role)?)))
            .collect()
    }

    /// The logical queue behind a name, and what the queue of that name is for.
    pub fn split<'q>(&self, name: &'q str) -> (&'q str, Role) {
        [Role::Delay, Role::DeadLetter]
            .into_iter()
            .find_map(|role| Some((name.strip_suffix(self.end(role)?)?, role)))
            .unwrap_or((name, Role::Main))
    }

    /// The logical queue behind a name.
    pub fn base<'q>(&self, name: &'q str) -> &'q str {
        self.split(name).0
    }

    /// A regular expression, understood by PCRE too, for what follows the name of a queue in those of its
    /// companions and in its own.
    pub fn ends(&self) -> String {
        let ends: Vec<String> = [self.delay, self.dead_letter]
            .into_iter()
            .flatten()
            .map(regex::escape)
            .collect();
        match ends.as_slice() {
            [] => "$".to_owned(),
            ends => format!("({})?$", ends.join("|")),
        }
    }

    /// A regular expression for the names of a queue and its companions.
    pub fn pattern(&self, base: &str) -> String {
        format!("^{}{}", regex::escape(base), self.ends())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TWO: Queues = Queues {
        delay: Some(".later"),
        dead_letter: Some(".dead"),
        is_bookkeeping: |_, _| false,
        is_bound: false,
        keeps_for_later: |_| false,
        later_words: None,
        later: |_, _| None,
    };

    #[test]
    fn a_name_is_taken_apart_as_it_was_put_together() {
        for (role, name) in TWO.family("q") {
            assert_eq!(TWO.split(&name), ("q", role));
        }
        assert_eq!(TWO.split("q.dead"), ("q", Role::DeadLetter));
        assert_eq!(TWO.delay("q").as_deref(), Some("q.later"));
    }

    #[test]
    fn the_pattern_fits_a_queue_and_its_companions() {
        assert_eq!(TWO.pattern("a.b"), r"^a\.b(\.later|\.dead)?$");
        let none = Queues {
            delay: None,
            dead_letter: None,
            is_bookkeeping: |_, _| false,
            is_bound: false,
            keeps_for_later: |_| false,
            later_words: None,
            later: |_, _| None,
        };
        assert_eq!(none.pattern("q"), "^q$");
        assert_eq!(none.family("q"), [(Role::Main, "q".to_owned())]);
    }
}
