//! Files of processes, as short as a reader needs them on one screen.

use super::{Report, Style};
use crate::diagnosis::ExceptionFrame;
use crate::text::fitted;
use crate::timeline::EventKind;

/// Folders that stay before a file's name where nothing says which folder the code runs in.
const FOLDERS: usize = 1;

/// A line of code to look at.
pub(super) struct Place {
    path: String,
    line: u32,
    function: String,
}

impl Place {
    pub fn of(frame: &ExceptionFrame, report: &Report, style: Style) -> Self {
        Self {
            path: relative(&frame.file, report, style),
            line: frame.line,
            function: frame.function.clone(),
        }
    }

    /// In so many cells: folders go from the left, then the function's name from its end; file and line stay.
    pub fn fit(&self, room: usize) -> String {
        let at = |path: &str| format!("at {path}:{}", self.line);
        let mut path = self.path.clone();
        let mut place = at(&path);
        let whole = |place: &str| format!("{place} in {}", self.function);
        while crate::text::width(&whole(&place)) > room {
            let Some(shorter) = without_first_folder(&path) else {
                break;
            };
            path = shorter;
            place = at(&path);
        }
        let left = room.saturating_sub(crate::text::width(&place));
        match left > 6 {
            true => format!("{place}{}", fitted(&format!(" in {}", self.function), left)),
            false => place,
        }
    }
}

/// The text with each file of Python code in it named from the folder in which the process runs. What stands in
/// backquotes is to be pasted, and stays.
pub(super) fn shortened(text: &str, report: &Report, style: Style) -> String {
    let shorten = |word: &str| {
        let start = word.find('/').filter(|at| *at <= 1);
        let end = word.find(".py").map(|at| at + ".py".len());
        match (start, end) {
            (Some(start), Some(end)) if start < end => {
                let path = relative(&word[start..end], report, style);
                format!("{}{path}{}", &word[..start], &word[end..])
            }
            _ => word.to_owned(),
        }
    };
    words_outside_of_code(text, shorten)
}

/// The text with no more of each shortened path than the file's name.
pub(super) fn only_names(text: &str) -> String {
    words_outside_of_code(text, |word| {
        let is_path = word.contains(".py") && word.contains('/');
        match word.rsplit_once('/').filter(|_| is_path) {
            Some((_, name)) => name.to_owned(),
            None => word.to_owned(),
        }
    })
}

fn words_outside_of_code(text: &str, change: impl Fn(&str) -> String) -> String {
    let mut in_code = false;
    let words = text.split(' ').map(|word| {
        let was_in_code = in_code;
        in_code ^= word.matches('`').count() % 2 == 1;
        match was_in_code || word.contains('`') {
            true => word.to_owned(),
            false => change(word),
        }
    });
    words.collect::<Vec<_>>().join(" ")
}

/// From the reader's repository, or from the folder in which a process of the run was started; without either the
/// last folders stand for all.
fn relative(path: &str, report: &Report, style: Style) -> String {
    if !path.starts_with('/') {
        return path.to_owned();
    }
    if let Some(inside) = (style.locate)(path) {
        return inside;
    }
    let inside = folders(report)
        .filter_map(|folder| path.strip_prefix(folder)?.strip_prefix('/'))
        .min_by_key(|inside| inside.len());
    if let Some(inside) = inside {
        return inside.to_owned();
    }
    let parts: Vec<&str> = path.split('/').filter(|part| !part.is_empty()).collect();
    match parts.len() > FOLDERS + 2 {
        true => format!("…/{}", parts[parts.len() - FOLDERS - 1..].join("/")),
        false => path.to_owned(),
    }
}

/// In which what was seen of the application runs.
fn folders(report: &Report) -> impl Iterator<Item = &str> {
    let of_events = report.timeline.iter().filter_map(|event| match &event.kind {
        EventKind::Process(process) => process.cwd.as_deref(),
        EventKind::Environment(environment) => environment.cwd.as_deref(),
        EventKind::Started { cwd, .. } => Some(cwd.as_str()),
        _ => None,
    });
    of_events.filter(|folder| folder.len() > 1)
}

/// `a/b/c.py` → `…/b/c.py`.
fn without_first_folder(path: &str) -> Option<String> {
    let rest = path.strip_prefix("…/").unwrap_or(path);
    let (_, rest) = rest.trim_start_matches('/').split_once('/')?;
    Some(format!("…/{rest}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn place(path: &str) -> Place {
        Place {
            path: path.into(),
            line: 129,
            function: "fail_to_answer".into(),
        }
    }

    #[test]
    fn folders_go_first_and_the_line_never() {
        let deep = place("/srv/app/shop/orders/tasks.py");
        assert_eq!(
            deep.fit(60),
            "at /srv/app/shop/orders/tasks.py:129 in fail_to_answer"
        );
        assert_eq!(deep.fit(45), "at …/orders/tasks.py:129 in fail_to_answer");
        assert_eq!(deep.fit(30), "at …/tasks.py:129 in fail_to_…");
        assert_eq!(deep.fit(20), "at …/tasks.py:129");
    }

    #[test]
    fn the_last_line_names_the_file_alone() {
        assert_eq!(
            only_names("fix `a/b.py` in …/shop/tasks.py:12 or/and wait"),
            "fix `a/b.py` in tasks.py:12 or/and wait"
        );
    }
}
