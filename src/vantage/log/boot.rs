//! Where in a log the running worker's own lines begin.

use std::collections::{BTreeMap, HashSet};

use super::fields::Parsed;
use crate::framework::{Framework, LogEvent};

/// Lines from before the run that are kept at most.
const MOST_BEFORE: usize = 400;

/// The lines of the running worker: from its last boot on, or the last few where none shows. Programs
/// that share the log have a boot each.
pub(super) fn since_last_boot(lines: Vec<Parsed>, framework: &Framework) -> Vec<Parsed> {
    let mut streams: BTreeMap<Option<&str>, Vec<usize>> = BTreeMap::new();
    for (at, (line, _)) in lines.iter().enumerate() {
        streams.entry(line.stream.as_deref()).or_default().push(at);
    }
    let starts: BTreeMap<Option<String>, usize> = streams
        .into_iter()
        .map(|(name, at)| {
            let own: Vec<&Parsed> = at.iter().map(|&at| &lines[at]).collect();
            let start = at.get(start_of_last_boot(&own, framework)).copied();
            (name.map(str::to_owned), start.unwrap_or(lines.len()))
        })
        .collect();
    let keeps = |at: usize, line: &Parsed| starts.get(&line.0.stream).is_some_and(|&start| at >= start);
    let kept = lines.into_iter().enumerate();
    kept.filter(|(at, line)| keeps(*at, line))
        .map(|(_, line)| line)
        .collect()
}

/// Children speak before their master says that it is booting up, so a boot begins with the first
/// line of a process that had not spoken before the boot before it was complete.
fn start_of_last_boot(lines: &[&Parsed], framework: &Framework) -> usize {
    let marks: Vec<Option<LogEvent>> = lines.iter().map(|(line, _)| line.log_event(framework)).collect();
    let last = |wanted: fn(&LogEvent) -> bool, below: usize| {
        marks[..below]
            .iter()
            .rposition(|mark| mark.as_ref().is_some_and(wanted))
    };
    let booting = |mark: &LogEvent| matches!(mark, LogEvent::BootingUp);
    let ready = |mark: &LogEvent| matches!(mark, LogEvent::BootingUp | LogEvent::Ready);
    let ended = |mark: &LogEvent| matches!(mark, LogEvent::ShutDown | LogEvent::ChildDied { .. });
    let start = lines.len().saturating_sub(MOST_BEFORE);
    let Some(this) = last(ready, lines.len()) else {
        return start;
    };
    // What says that it is ready comes after its own word that it boots, unless something has ended between the two.
    let its_own = last(booting, this).filter(|boot| last(ended, this).is_none_or(|end| end < *boot));
    if let Some(boot) = its_own.filter(|_| marks[this] == Some(LogEvent::Ready)) {
        return start.max(boot);
    }
    let previous = last(booting, this).map_or(0, |at| at + 1);
    let previous = last(ended, this).map_or(previous, |at| previous.max(at + 1));
    let old: HashSet<i32> = lines[..previous]
        .iter()
        .filter_map(|(line, _)| line.pid)
        .collect();
    let first = (previous..=this).find(|&at| lines[at].0.pid.is_none_or(|pid| !old.contains(&pid)));
    start.max(first.unwrap_or(previous))
}

#[cfg(test)]
mod tests {
    use super::super::folder::Folder;
    use super::*;

    fn kept(text: &str) -> Vec<String> {
        let mut folder = Folder::new(None);
        let mut lines = folder.feed(text.as_bytes());
        lines.extend(folder.flush());
        since_last_boot(lines, Framework::usual())
            .into_iter()
            .map(|(line, _)| line.text)
            .collect()
    }

    fn line(pid: u32, text: &str) -> String {
        format!("[2025-01-01 10:00:00,000] [PID {pid}] [MainThread] [dramatiq.x] [INFO] {text}\n")
    }

    #[test]
    fn a_boot_begins_with_its_first_child() {
        let old =
            line(2, "old work") + &line(1, "Dramatiq '2.2.1' is booting up.") + &line(2, "more old work");
        let new = line(5, "Adding consumer for queue 'default'.")
            + &line(6, "Adding consumer for queue 'default'.")
            + &line(5, "Worker process is ready for action.")
            + &line(6, "Worker process is ready for action.")
            + &line(4, "Dramatiq '2.2.1' is booting up.")
            + &line(6, "work");
        let texts = kept(&(old + &new));
        assert_eq!(texts.len(), 6, "{texts:?}");
        assert!(texts[0].starts_with("Adding"));
    }

    /// Children that say that they are ready do so after their master's word, mostly.
    #[test]
    fn a_boot_begins_with_its_masters_word() {
        let boot = |master: u32| {
            line(master, "Dramatiq '2.2.1' is booting up.")
                + &line(master + 1, "Adding consumer for queue 'default'.")
                + &line(master + 1, "Worker process is ready for action.")
                + &line(master + 1, "work")
        };
        let texts = kept(&(boot(1) + &boot(4)));
        assert_eq!(texts.len(), 4, "{texts:?}");
        assert!(texts[0].contains("booting up"), "{texts:?}");
        // A child that took a dead one's place has no word of its master's.
        let died = line(
            4,
            "Worker with PID 5 exited unexpectedly (code -9). Shutting down...",
        );
        let again = line(7, "Worker process is ready for action.") + &line(7, "work");
        let texts = kept(&(boot(4) + &died + &again));
        assert!(!texts[0].contains("booting up"), "{texts:?}");
    }

    #[test]
    fn a_worker_that_died_at_its_start_is_not_a_boot() {
        let text = line(2, "Worker process is ready for action.")
            + &line(1, "Dramatiq '2.2.1' is booting up.")
            + &line(1, "Worker has been shut down.")
            + &line(3, "Failed to import module.");
        let texts = kept(&text);
        assert_eq!(texts.last().map(String::as_str), Some("Failed to import module."));
    }
}
