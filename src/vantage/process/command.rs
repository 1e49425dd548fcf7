//! Command lines: what people call them, and what of them may be shown.

/// What people call a command: the script or module where an interpreter runs one.
pub(super) fn program(command: &[String]) -> String {
    let base = |word: &String| word.rsplit('/').next().unwrap_or(word).to_owned();
    let Some(first) = command.first().map(base) else {
        return "?".into();
    };
    if !first.starts_with("python") {
        return first;
    }
    let mut words = command.iter().skip(1);
    while let Some(word) = words.next() {
        match word.as_str() {
            "-m" => return words.next().cloned().unwrap_or(first),
            "-c" | "-" => return first,
            // Options that take a value of their own.
            "-X" | "-W" => drop(words.next()),
            option if option.starts_with('-') => {}
            _ => return base(word),
        }
    }
    first
}

/// A command line without the values that follow a flag like `--password`; notations within one
/// argument are the scrubber's.
pub fn masked(command: Vec<String>) -> Vec<String> {
    let secret = |flag: &str| {
        let flag = flag.to_lowercase();
        flag.starts_with('-')
            && !flag.contains('=')
            && [
                "password", "passwd", "secret", "token", "api-key", "apikey", "dsn",
            ]
            .iter()
            .any(|word| flag.contains(word))
    };
    let mut hide = false;
    command
        .into_iter()
        .map(|word| {
            let shown = if hide { "***".to_owned() } else { word.clone() };
            hide = !hide && secret(&word);
            shown
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_command_has_a_name() {
        for (command, name) in [
            ("/v/bin/python /v/bin/dramatiq -v app.worker", "dramatiq"),
            ("python3 -u -W ignore -m billing.api 80", "billing.api"),
            ("python -c import", "python"),
            ("/usr/bin/beam.smp -W w", "beam.smp"),
        ] {
            let words: Vec<String> = command.split(' ').map(str::to_owned).collect();
            assert_eq!(program(&words), name);
        }
        assert_eq!(program(&[]), "?");
    }
}
