//! Where a value stands: a path, a frame, the name of an exception or an ordinary word of a sentence
//! that happens to read the same is left alone. A verdict that lost those would be damaged.

use std::borrow::Cow;

use crate::framework::contains_token;

/// What is to be hidden.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// It authenticates: one that is no ordinary word goes wherever it stands.
    Secret,
    /// It came from the task's arguments.
    Argument,
}

/// Passwords like `wrong`, arguments like `model`: words that stand in everybody's sentences.
fn is_ordinary(value: &str, kind: Kind) -> bool {
    let short = match kind {
        Kind::Secret => 8,
        Kind::Argument => 12,
    };
    value.len() <= short && value.chars().all(|c| c.is_alphabetic() || c == '_')
}

/// The text with `mask` wherever `value` stands as a value.
pub fn masked<'t>(text: &'t str, value: &str, kind: Kind, mask: &str) -> Cow<'t, str> {
    if value.is_empty() || !text.contains(value) {
        return text.into();
    }
    let ordinary = is_ordinary(value, kind);
    if kind == Kind::Secret && !ordinary {
        return text.replace(value, mask).into();
    }
    if !contains_token(text, value) {
        return text.into();
    }
    let traceback = text.contains("Traceback (most recent call last)");
    let mut out = String::with_capacity(text.len());
    let mut in_frame = false;
    for line in text.split_inclusive('\n') {
        let is_frame = is_frame(line);
        // The line below a frame is its source.
        let code = is_frame || in_frame;
        in_frame = is_frame;
        if code && kind == Kind::Argument {
            out.push_str(line);
            continue;
        }
        let mut rest = 0;
        for (at, _) in line.match_indices(value) {
            let end = at + value.len();
            if at >= rest && stands_here(line, at, end, kind, ordinary, traceback) {
                out.push_str(&line[rest..at]);
                out.push_str(mask);
                rest = end;
            }
        }
        out.push_str(&line[rest..]);
    }
    out.into()
}

fn is_frame(line: &str) -> bool {
    let line = line.trim_start();
    line.starts_with("File \"") && line.contains("\", line ")
}

fn stands_here(line: &str, at: usize, end: usize, kind: Kind, ordinary: bool, traceback: bool) -> bool {
    let part = |c: char| c.is_alphanumeric() || c == '_';
    let (before, after) = (line[..at].chars().next_back(), line[end..].chars().next());
    if before.is_some_and(part) || after.is_some_and(part) {
        return false;
    }
    let quoted = before == after && matches!(before, Some('"' | '\'' | '`'));
    if quoted {
        return true;
    }
    if kind == Kind::Secret {
        return matches!(before, Some('=' | ':')) || after == Some('@');
    }
    if is_in_path(line, at, end) || is_exception(line, at, end, traceback) {
        return false;
    }
    !ordinary || before == Some('=')
}

/// Part of a file's path, and not the whole of it. A URL is none.
fn is_in_path(line: &str, at: usize, end: usize) -> bool {
    let bounds = |c: char| {
        c.is_whitespace()
            || matches!(
                c,
                '"' | '\'' | '`' | '(' | ')' | '[' | ']' | '{' | '}' | ',' | ';' | '<' | '>' | '|' | '='
            )
    };
    let start = line[..at]
        .rfind(bounds)
        .map_or(0, |i| i + line[i..].chars().next().map_or(1, char::len_utf8));
    let stop = line[end..].find(bounds).map_or(line.len(), |i| end + i);
    let token = &line[start..stop];
    (start, stop) != (at, end) && !token.contains("://") && (token.contains('/') || token.contains(".py"))
}

/// `pkg.errors.Refused: why`: the class at the line's beginning.
fn is_exception(line: &str, at: usize, end: usize, traceback: bool) -> bool {
    let stop = line
        .find(|c: char| !(c.is_alphanumeric() || c == '_' || c == '.'))
        .unwrap_or(line.len());
    let rest = &line[stop..];
    at < stop && end <= stop && (rest.starts_with(": ") || (traceback && rest.trim().is_empty()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn argument(text: &str, value: &str) -> String {
        masked(text, value, Kind::Argument, "[arg]").into_owned()
    }

    fn secret(text: &str, value: &str) -> String {
        masked(text, value, Kind::Secret, "***").into_owned()
    }

    #[test]
    fn paths_frames_and_classes_are_no_values() {
        let traceback = "Traceback (most recent call last):\n  File \"/srv/taskdiag/app/model.py\", line 3, in model\n    model(\"gpt\")\nRuntimeError: the model refused";
        for word in ["taskdiag", "model", "RuntimeError", "refused", "gpt"] {
            assert_eq!(argument(traceback, word), traceback, "{word}");
        }
        for (text, word) in [
            ("serving /srv/taskdiag/fixtures/app.py:129", "taskdiag"),
            ("serving worker_faults.py:129", "worker_faults"),
            ("IntegrityConstraintError: no", "IntegrityConstraintError"),
            (
                "loading app.quarterly_report_of_2026.py",
                "quarterly_report_of_2026",
            ),
        ] {
            assert_eq!(argument(text, word), text);
        }
    }

    #[test]
    fn values_are_where_values_stand() {
        for (text, word, shown) in [
            ("prompt='model' failed", "model", "prompt=[arg] failed"),
            ("prompt=model failed", "model", "prompt=[arg] failed"),
            (
                "ValueError: cannot ask why did it never run",
                "why did it never run",
                "ValueError: cannot ask [arg]",
            ),
            ("no account 48-1212-77", "48-1212-77", "no account [arg]"),
            (
                "no file /home/ann/cv.pdf here",
                "/home/ann/cv.pdf",
                "no file [arg] here",
            ),
            (
                "GET http://h/users/ann-1977",
                "ann-1977",
                "GET http://h/users/[arg]",
            ),
            ("two: x1y2, x1y2z and x1y2", "x1y2", "two: [arg], x1y2z and [arg]"),
        ] {
            assert_eq!(argument(text, word).replace("'[arg]'", "[arg]"), shown);
        }
    }

    #[test]
    fn an_ordinary_word_as_password_leaves_sentences_alone() {
        let refused = "refuses user \"lab\": wrong user or password";
        assert_eq!(secret(refused, "wrong"), refused);
        for (text, shown) in [
            ("amqp://lab:wrong@h", "amqp://lab:***@h"),
            ("password=wrong", "password=***"),
            ("{\"password\": \"wrong\"}", "{\"password\": \"***\"}"),
        ] {
            assert_eq!(secret(text, "wrong"), shown);
        }
        assert_eq!(
            secret("using hunter22now /x/hunter22/y", "hunter22"),
            "using ***now /x/***/y"
        );
    }
}
