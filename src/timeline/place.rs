//! The state of a container, in the words with which its engine refuses to run something in it.

/// What the way into a container says of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PlaceState {
    Paused,
    Restarting,
    NotRunning,
}

impl PlaceState {
    /// Docker: `Container w is paused, unpause the container before exec`, `Container w is restarting, wait until the
    /// container is running`, `container w is not running`. Compose: `service "worker" is not running`. A container that
    /// is not found may be one whose name is wrong.
    pub fn said(said: &str) -> Option<Self> {
        let said = said.to_lowercase();
        let names_one = ["container ", "service ", "pod "]
            .iter()
            .any(|word| said.contains(word));
        let all = [
            (" is paused", PlaceState::Paused),
            (" is restarting", PlaceState::Restarting),
            (" is not running", PlaceState::NotRunning),
        ];
        let found = all.into_iter().find(|(words, _)| said.contains(words));
        found.filter(|_| names_one).map(|(_, state)| state)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

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
