//! The variables of `.env` files, and how a shell gets them into its environment.

use std::collections::BTreeMap;
use std::convert::Infallible;

use super::EnvVar;
use crate::bounded::TextFile;
use crate::expand::{Choice, Reference, Syntax, expand};

/// Names that a shell sets itself, or that change what it does next.
const OF_THE_SHELL: &[&str] = &["UID", "EUID", "GID", "PPID", "PATH", "IFS"];

/// Every variable of a file that can be read; lines that cannot be are passed over.
pub fn parse(file: &TextFile) -> Vec<EnvVar> {
    let text = file.text.trim_start_matches('\u{feff}');
    let read: Vec<(String, String)> = variables(&with_defaults(text)).collect();
    let can_be_sourced = text == file.text && is_for_a_shell(text, &read);
    let mut found: Vec<EnvVar> = Vec::new();
    for (name, value) in read {
        let at = text.lines().position(|line| assigns(line, &name));
        let place = match at {
            Some(at) => format!("{} line {}", file.place, at + 1),
            None => file.place.clone(),
        };
        let how = if can_be_sourced {
            format!("set -a; . {}; set +a", path(&file.place))
        } else {
            by_hand(text, file, &name, &value, &place)
        };
        found.push(EnvVar {
            name,
            value,
            place,
            how,
        });
    }
    found
}

fn variables(text: &str) -> impl Iterator<Item = (String, String)> {
    dotenvy::from_read_iter(text.as_bytes()).flatten()
}

/// With every `${NAME:-default}`, which Compose and Python's dotenv know and this parser does not, in
/// its place. Nothing is expanded in single quotes.
fn with_defaults(text: &str) -> String {
    let set: BTreeMap<String, String> = variables(text).collect();
    let mut fill = |reference: &Reference| {
        let set = std::env::var(reference.name)
            .ok()
            .or_else(|| set.get(reference.name).cloned());
        Ok::<_, Infallible>(match reference.choose(set.as_deref()) {
            Choice::Value(value) if reference.has_default() => value.to_owned(),
            Choice::Word(word) => word.to_owned(),
            _ => reference.whole.to_owned(),
        })
    };
    text.split_inclusive('\n')
        .map(|line| {
            if !line.contains(":-") || line.contains('\'') {
                return line.to_owned();
            }
            let Ok(line) = expand(line, Syntax::Braces, &mut fill);
            line
        })
        .collect()
}

/// What to type where sourcing the file would cut a value at a `&`, or run what is in it.
fn by_hand(text: &str, file: &TextFile, name: &str, value: &str, place: &str) -> String {
    let mut lines = text.lines().filter(|line| assigns(line, name));
    let verbatim = format!("{name}={value}");
    // What `sed` prints is the value only where nothing is quoted, expanded or a comment.
    if lines.next() == Some(verbatim.as_str()) && lines.next().is_none() && !text.contains('\r') {
        return format!(
            "export {name}=\"$(sed -n 's/^{name}=//p' {})\"",
            path(&file.place)
        );
    }
    format!("export {name}='…'    # its value stands in {place}")
}

/// `name = …`, with or without `export`.
fn assigns(line: &str, name: &str) -> bool {
    let line = line.trim_start();
    let line = line.strip_prefix("export ").unwrap_or(line).trim_start();
    line.strip_prefix(name)
        .is_some_and(|rest| rest.trim_start().starts_with('='))
}

/// Sourcing the file sets every variable to what was read, and does nothing else. One line that it
/// cannot take is enough: a shell may run that line, or stop at it.
fn is_for_a_shell(text: &str, read: &[(String, String)]) -> bool {
    let mut set = BTreeMap::new();
    for line in text.split('\n') {
        let line = line.trim_start_matches([' ', '\t']);
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        let assignment = line.strip_prefix("export ").unwrap_or(line);
        let Some((name, raw)) = assignment.split_once('=') else {
            return false;
        };
        let Some(value) = in_a_shell(raw) else {
            return false;
        };
        let is_name = name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_')
            && name.starts_with(|c: char| !c.is_ascii_digit());
        if !is_name || OF_THE_SHELL.contains(&name) || set.insert(name, value).is_some() {
            return false;
        }
    }
    set.len() == read.len()
        && read
            .iter()
            .all(|(name, value)| set.get(name.as_str()) == Some(&value.as_str()))
}

/// The value that a shell makes of the right side of an assignment, if nothing in it means anything
/// to a shell but quotes around the whole and a comment behind it.
fn in_a_shell(raw: &str) -> Option<&str> {
    let quote = raw.chars().next().filter(|c| matches!(c, '\'' | '"'));
    let (value, rest) = match quote {
        Some(quote) => raw[1..].split_once(quote)?,
        None => raw.split_at(raw.find([' ', '\t']).unwrap_or(raw.len())),
    };
    let special: &[char] = match quote {
        Some('\'') => &['\r'],
        Some(_) => &['$', '`', '\\', '\r'],
        // A tilde stands for a home folder also behind a colon.
        None => &[
            '&', ';', '|', '<', '>', '(', ')', '$', '`', '\\', '"', '\'', '#', '~', '\r', '*', '?', '[', '{',
        ],
    };
    let comment = rest.trim_start_matches([' ', '\t']);
    let ends = comment.is_empty() || (comment.len() < rest.len() && comment.starts_with('#'));
    (ends && !value.contains(special) && value.chars().all(|c| !c.is_control())).then_some(value)
}

/// A path as `.` needs it: without a slash it would be searched in PATH.
fn path(place: &str) -> String {
    let place = format!("./{place}");
    if place.contains(|c: char| c.is_whitespace() || c == '\'') {
        format!("'{}'", place.replace('\'', "'\\''"))
    } else {
        place
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Vec<EnvVar> {
        parse(&TextFile {
            place: ".env".into(),
            text: text.into(),
        })
    }

    #[test]
    fn knows_the_line_and_the_value() {
        let found = read("# comment\nexport A=1\nnot a line\nB = \"two words\"\n\nC='$x'\nD=${A}3\n");
        let all: Vec<_> = found
            .iter()
            .map(|v| (v.name.as_str(), v.value.as_str(), v.place.as_str()))
            .collect();
        assert_eq!(
            all,
            [
                ("A", "1", ".env line 2"),
                ("B", "two words", ".env line 4"),
                ("C", "$x", ".env line 6"),
                ("D", "13", ".env line 7"),
            ]
        );
        // `B = …` is a command to a shell.
        assert_eq!(found[0].how, "export A='…'    # its value stands in .env line 2");
        assert_eq!(
            read("# c\nA=1 # one\n\nexport B='t w'\n")[0].how,
            "set -a; . ./.env; set +a"
        );
    }

    #[test]
    fn what_a_shell_would_mangle_is_not_sourced() {
        let found = read("URL=postgres://a:b@h/d?x=1&y=2\n");
        assert_eq!(found[0].value, "postgres://a:b@h/d?x=1&y=2");
        assert_eq!(found[0].how, "export URL=\"$(sed -n 's/^URL=//p' ./.env)\"");
    }

    /// Told with a real shell: each line that is offered leaves the value that was read.
    #[test]
    fn what_is_offered_leaves_every_value_unchanged() {
        let folder = std::env::temp_dir().join(format!("taskdiag-dotenv-{}", std::process::id()));
        std::fs::create_dir_all(&folder).expect("a folder");
        let (mut sourced, mut by_sed, mut by_hand) = (0, 0, 0);
        for line in [
            "V=plain",
            "V=amqp://u:pw@h:5672/%2Fv",
            "V='a b; $x `y` & #'",
            "V=\"two words\"",
            "V=value # comment",
            "V=",
            "V=postgresql://a:b@h/shop?sslmode=disable&connect_timeout=2",
            "V=a;b",
            "V=pa$$word9",
            "V=a$(touch ran)b",
            "V=a`touch ran`b",
            "V=a(b)",
            "V=a<b",
            "V=a>ran",
            "V=a|b",
            "V=a\"b\"c",
            "V=a#b",
            "V=\"a\\nb\"",
            "V=\"$HOME\"",
            "V=~/x",
            "V= spaced",
            "V = spaced",
            "V=two words",
            "V=one\nV=two",
            "V=x\nUID=7",
            "V=x\r",
            "V=x\nOTHER=a&touch ran",
        ] {
            let text = format!("{line}\n");
            std::fs::write(folder.join(".env"), &text).expect("a file");
            let found = read(&text);
            let Some(variable) = found.iter().find(|variable| variable.name == "V") else {
                continue;
            };
            if variable.how.contains('…') {
                by_hand += 1;
                continue;
            }
            if variable.how.contains("sed") {
                by_sed += 1;
            } else {
                sourced += 1;
            }
            let output = std::process::Command::new("sh")
                .args(["-c", &format!("{}; printf '[%s]' \"$V\"", variable.how)])
                .current_dir(&folder)
                .output()
                .expect("a shell");
            assert_eq!(
                String::from_utf8_lossy(&output.stdout),
                format!("[{}]", variable.value),
                "{line:?}: {}",
                variable.how
            );
            assert!(!folder.join("ran").exists(), "{line:?}: {}", variable.how);
        }
        std::fs::remove_dir_all(&folder).expect("removed");
        assert!(
            sourced >= 5 && by_sed >= 4 && by_hand >= 6,
            "{sourced} {by_sed} {by_hand}"
        );
    }

    #[test]
    fn a_default_is_taken_where_nothing_is_set() {
        let found = read("U=me\nE=\nA=${U:-you}@${TASKDIAG_NO_SUCH:-host}\nB=\"${E:-x y}\"\nC='${U:-you}'\n");
        let values: Vec<_> = found.iter().map(|variable| variable.value.as_str()).collect();
        assert_eq!(values, ["me", "", "me@host", "x y", "${U:-you}"]);
        assert!(
            found.iter().all(|variable| !variable.how.contains("set -a")),
            "{found:?}"
        );
    }

    #[test]
    fn one_bad_line_spoils_the_file_for_sourcing() {
        let found = read("URL=amqp://usr:pa$$word9@h/v\nDB=postgres://a:b@h/d\n");
        assert_eq!(found[1].how, "export DB=\"$(sed -n 's/^DB=//p' ./.env)\"");
        assert!(
            found.iter().all(|variable| !variable.how.contains("set -a")),
            "{found:?}"
        );
    }

    #[test]
    fn nonsense_gives_nothing() {
        assert!(read("").is_empty());
        assert!(read("=\n==\n'\n\"open\n${\n").is_empty());
    }
}
