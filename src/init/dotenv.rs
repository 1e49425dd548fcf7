//! The variables of `.env` files, and how a shell gets them into its environment.

use super::Variable;
use super::walk::File;

/// Every variable of a file that can be read; lines that cannot be are passed over.
pub fn parse(file: &File) -> Vec<Variable> {
    let mut found: Vec<Variable> = Vec::new();
    for (name, value) in dotenvy::from_read_iter(file.text.as_bytes()).flatten() {
        let line = file.text.lines().position(|line| assigns(line, &name));
        let raw = line
            .and_then(|at| file.text.lines().nth(at))
            .and_then(|line| line.split_once('='))
            .map_or("", |(_, raw)| raw.trim());
        let place = match line {
            Some(at) => format!("{} line {}", file.place, at + 1),
            None => file.place.clone(),
        };
        let how = if is_plain_for_a_shell(raw) {
            format!("set -a; . {}; set +a", path(&file.place))
        } else {
            // Sourcing would cut the value at a `&`, or run what is in it.
            format!(
                "export {name}=\"$(sed -n 's/^{name}=//p' {})\"",
                path(&file.place)
            )
        };
        found.push(Variable {
            name,
            value,
            place,
            how,
        });
    }
    found
}

/// `name = …`, with or without `export`.
fn assigns(line: &str, name: &str) -> bool {
    let line = line.trim_start();
    let line = line.strip_prefix("export ").unwrap_or(line).trim_start();
    line.strip_prefix(name)
        .is_some_and(|rest| rest.trim_start().starts_with('='))
}

/// What `. ./.env` takes as it stands: quoted, or without anything that means something.
fn is_plain_for_a_shell(raw: &str) -> bool {
    let quoted = |quote: char| {
        raw.len() >= 2
            && raw.starts_with(quote)
            && raw.ends_with(quote)
            && raw.matches(quote).count() == 2
            && (quote == '\'' || !raw.contains(['$', '`', '\\']))
    };
    quoted('\'') || quoted('"') || !raw.contains(|c: char| c.is_whitespace() || "&;|<>()$`\\\"'#".contains(c))
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

    fn read(text: &str) -> Vec<Variable> {
        parse(&File {
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
        assert!(found[0].how.starts_with("set -a; . ./.env"));
    }

    #[test]
    fn what_a_shell_would_mangle_is_not_sourced() {
        let found = read("URL=postgres://a:b@h/d?x=1&y=2\n");
        assert_eq!(found[0].value, "postgres://a:b@h/d?x=1&y=2");
        assert_eq!(found[0].how, "export URL=\"$(sed -n 's/^URL=//p' ./.env)\"");
    }

    #[test]
    fn nonsense_gives_nothing() {
        assert!(read("").is_empty());
        assert!(read("=\n==\n'\n\"open\n${\n").is_empty());
    }
}
