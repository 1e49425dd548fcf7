//! Where tests reach into the running binary. Only a build with the feature `hooks` reads these
//! variables; to any other they are keys of the configuration that it does not know.

/// Names that are no keys.
#[cfg(feature = "hooks")]
pub const VARIABLES: &[&str] = &["TASKDIAG_PANIC", "TASKDIAG_BACKLOG", "TASKDIAG_PAGES"];
#[cfg(not(feature = "hooks"))]
pub const VARIABLES: &[&str] = &[];

/// All of it at rest, as in every release.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Hooks {
    /// `TASKDIAG_PANIC=1`: panic once tracing is on and everything has been started.
    pub panic: bool,
    /// `TASKDIAG_BACKLOG=50,100`: trace messages that may wait for us, and dropped ones that may wait to be counted.
    pub backlog: Option<String>,
    /// `TASKDIAG_PAGES=100,40`: more queues than 100 are asked for in pages of 40.
    pub pages: Option<String>,
}

impl Hooks {
    pub fn from_env() -> Self {
        let read = |name| {
            let is_read = VARIABLES.contains(&name);
            is_read.then(|| std::env::var(name).ok()).flatten()
        };
        Self {
            panic: read("TASKDIAG_PANIC").is_some(),
            backlog: read("TASKDIAG_BACKLOG"),
            pages: read("TASKDIAG_PAGES"),
        }
    }

    /// For the tests that a panic, too, leaves nothing behind.
    pub fn panic_if_asked(&self) {
        if self.panic {
            std::panic::panic_any("TASKDIAG_PANIC is set");
        }
    }
}

#[cfg(all(test, not(feature = "hooks")))]
mod tests {
    use super::*;

    #[test]
    fn a_release_has_no_hooks() {
        assert!(VARIABLES.is_empty());
        assert_eq!(Hooks::from_env(), Hooks::default());
    }
}
