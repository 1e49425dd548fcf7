//! Command lines: what people call them, and what of them may be shown.

use crate::timeline::scrub::{is_secret_name, looks_random};

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

/// A command line as it may be shown: program, modules, paths, numbers and the names of flags. A value
/// that could be a secret is left out, behind a flag like `--password`, in `key=value`, or on its own;
/// notations within one argument are the scrubber's.
pub fn masked(command: Vec<String>) -> Vec<String> {
    let mut before = String::new();
    let mut flag = String::new();
    command
        .into_iter()
        .enumerate()
        .map(|(at, word)| {
            let shown = match at {
                0 => word.clone(),
                _ => argument(&flag, &before, &word),
            };
            if word.starts_with('-') {
                flag.clone_from(&word);
            }
            before = word;
            shown
        })
        .collect()
}

const MASK: &str = "***";

/// `flag`: the last one, which may take several words.
fn argument(flag: &str, before: &str, word: &str) -> String {
    if let Some((name, value)) = word.split_once('=')
        && !name.contains('/')
    {
        return match is_secret_name(name) || looks_random(value) {
            true => format!("{name}={MASK}"),
            false => word.to_owned(),
        };
    }
    if let Some((letter, value)) = attached(word) {
        let is_secret = match letter {
            // A number is a port or a count of processes, small letters are a word: `-port`.
            'p' => {
                let is_word = value
                    .bytes()
                    .all(|byte| byte.is_ascii_lowercase() || byte == b'-');
                !is_word && value.parse::<u32>().is_err()
            }
            'A' | 'Q' | 'm' | 'n' => false,
            _ => looks_random(value),
        };
        if is_secret {
            return format!("-{letter}{MASK}");
        }
    }
    let behind_flag = before.starts_with('-') && !before.contains('=');
    match before {
        // A number is a port or a count of processes, anything else may be a password.
        "-p" if word.parse::<u32>().is_err() => return MASK.into(),
        "-u" | "--user" => {
            if let Some((user, _)) = word.split_once(':') {
                return format!("{user}:{MASK}");
            }
        }
        _ if behind_flag && (is_secret_name(before) || names_a_secret(before)) => return MASK.into(),
        _ => {}
    }
    // What a cause reads: the names of queues, modules and nodes.
    let is_name = ["-A", "--app", "-m", "-n", "--hostname"].contains(&before)
        || ["-Q", "--queues"].contains(&flag)
        || is_module(word);
    match looks_random(word) && !word.starts_with('-') && !is_name {
        true => MASK.into(),
        false => word.to_owned(),
    }
}

/// `-psecret`: a flag of one letter, and its value.
fn attached(word: &str) -> Option<(char, &str)> {
    let rest = word.strip_prefix('-').filter(|rest| !rest.starts_with('-'))?;
    let letter = rest.chars().next()?;
    let value = &rest[letter.len_utf8()..];
    (!value.is_empty()).then_some((letter, value))
}

/// `app_4f3a9c.tasks:broker`
fn is_module(word: &str) -> bool {
    let path = word.split(':').next().unwrap_or_default();
    let is_name = |part: &str| {
        part.len() <= 24
            && part.starts_with(|c: char| c.is_alphabetic() || c == '_')
            && part.chars().all(|c| c.is_alphanumeric() || c == '_')
    };
    path.contains('.') && path.split('.').all(is_name)
}

/// `--password-file` is none, but who knows of `--token-value`?
fn names_a_secret(flag: &str) -> bool {
    let flag = flag.to_lowercase();
    [
        "password", "passwd", "secret", "token", "api-key", "apikey", "dsn",
    ]
    .iter()
    .any(|word| flag.contains(word))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_could_be_a_secret_is_not_shown() {
        for (command, shown) in [
            ("consumer -p Hunter", "consumer -p ***"),
            ("consumer -pHunter", "consumer -p***"),
            ("consumer -aZk7pQ2vX9m", "consumer -a***"),
            ("consumer -u u:Hunter", "consumer -u u:***"),
            ("consumer key=Zk7pQ2vX9m", "consumer key=***"),
            ("consumer Zk7pQ2vX9m", "consumer ***"),
            ("consumer --password Hunter x", "consumer --password *** x"),
            ("consumer --token=Hunter", "consumer --token=***"),
            ("consumer --token-value Hunter", "consumer --token-value ***"),
        ] {
            let words = command.split(' ').map(str::to_owned).collect();
            assert_eq!(masked(words).join(" "), shown);
        }
        for plain in [
            "/v2/bin/python3.12 /v/bin/dramatiq -v --processes 2 -p 4 -t 8 -Q default,mail2 app.tasks.worker:broker",
            "celery -A app worker -Q a,b -n w1@%h -l info -c 4 -P prefork",
            "uvicorn app.main:app --host 127.0.0.1 --port 8000 --app-dir /srv/2026-app1",
            "gunicorn -k uvicorn.workers.UvicornWorker -w 4 -b 0.0.0.0:80 app:app --log-level=debug",
            "python -u -m billing.api 80",
            "dramatiq -p4 -t8 -Qdefault,mail_4f3a9c app -verbose",
            "dramatiq app_4f3a9c.tasks:broker app.tasks -Q mail default_4f3a9c -v",
        ] {
            let words = plain.split(' ').map(str::to_owned).collect();
            assert_eq!(masked(words).join(" "), plain);
        }
    }

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
