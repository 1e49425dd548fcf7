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
    /// Runs a program where the worker runs; empty: on this machine, as far as is known.
    pub exec: Vec<String>,
}

/// A prefix that runs a program where a part of the system runs.
pub(super) fn exec(layers: &Layers, section: &str) -> Result<Vec<String>> {
    let key = format!("{section}.exec");
    let words = layers.strings(&key)?.unwrap_or_default();
    if words.first().is_some_and(|word| word.trim().is_empty())
        || words.iter().any(|word| word.contains('\0'))
    {
        return Err(layers.bad(
            &key,
            "its first word is no program",
            "write the words before the program, e.g. exec = [\"docker\", \"compose\", \"exec\", \"-T\", \"worker\"]",
        ));
    }
    if let [only] = words.as_slice()
        && only.contains(char::is_whitespace)
    {
        return Err(layers.bad(
            &key,
            "it is one word with spaces in it",
            "write each word on its own, e.g. exec = [\"docker\", \"compose\", \"exec\", \"-T\", \"worker\"]",
        ));
    }
    Ok(words)
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
        exec: exec(layers, "worker")?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_prefix_is_a_list_of_words() {
        let of = |text: &str| exec(&Layers::from_text(text)?, "worker");
        assert!(of("").expect("none").is_empty());
        let words = of("[worker]\nexec = [\"ssh\", \"host\"]").expect("a list");
        assert_eq!(words, ["ssh", "host"]);
        assert_eq!(
            of("[worker]\nexec = \"into-worker\"").expect("one word"),
            ["into-worker"]
        );
        for wrong in ["\"docker exec -i w\"", "[\"\"]", "[\"a\", 7]"] {
            let error = of(&format!("[worker]\nexec = {wrong}")).expect_err(wrong);
            assert!(error.to_string().contains("worker.exec"), "{error}");
        }
    }
}
