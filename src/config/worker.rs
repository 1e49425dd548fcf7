//! `[worker]`, and where its log and the API's come from.

use std::path::PathBuf;

use super::Layers;
use crate::error::Result;

/// Where a log comes from; both empty means that there is none to look at.
#[derive(Debug, Clone, Default)]
pub struct LogSource {
    pub files: Vec<PathBuf>,
    pub command: Option<Vec<String>>,
    /// What writes it is started in this run: what stands in the files already is another's, and
    /// one that does not exist yet is no trouble.
    pub from_now_on: bool,
}

impl LogSource {
    pub fn is_configured(&self) -> bool {
        !self.files.is_empty() || self.command.is_some()
    }
}

#[derive(Debug, Clone)]
pub struct Worker {
    pub log: LogSource,
    pub entry_pattern: Option<regex::Regex>,
    pub command: Vec<String>,
}

pub(super) fn log_source(layers: &Layers, section: &str) -> Result<LogSource> {
    let base = layers.base();
    Ok(LogSource {
        files: layers
            .strings(&format!("{section}.log"))?
            .unwrap_or_default()
            .iter()
            .map(|path| base.join(path))
            .collect(),
        command: layers
            .strings(&format!("{section}.log_command"))?
            .filter(|words| !words.is_empty()),
        from_now_on: false,
    })
}

pub(super) fn worker(layers: &Layers) -> Result<Worker> {
    Ok(Worker {
        log: log_source(layers, "worker")?,
        entry_pattern: layers.pattern("worker.entry_pattern")?,
        command: layers.strings("worker.command")?.unwrap_or_default(),
    })
}
