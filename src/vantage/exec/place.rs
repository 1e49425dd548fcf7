//! The places that are configured.

use crate::config::Config;

/// Where a part of the system runs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Place {
    /// `worker` or `api`, as the sections of the configuration.
    pub part: &'static str,
    /// Runs the program whose words follow it, there.
    pub prefix: Vec<String>,
}

impl Place {
    /// As it is called in what is told: `worker (exec)`.
    pub fn name(&self) -> String {
        format!("{} (exec)", self.part)
    }
}

/// The configured places.
pub fn places(config: &Config) -> Vec<Place> {
    let all = [("worker", &config.worker.exec), ("api", &config.api_exec)];
    let configured = all.into_iter().filter(|(_, prefix)| !prefix.is_empty());
    configured
        .map(|(part, prefix)| Place {
            part,
            prefix: prefix.clone(),
        })
        .collect()
}
