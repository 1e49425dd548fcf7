//! What differs between any two runs and says nothing: ports, temporary folders, a session's
//! bookkeeping.

use std::sync::LazyLock;

use regex::Regex;

/// Variables in which a shell, a terminal or a service manager keeps its own books.
const BOOKKEEPING: &[&str] = &[
    "_",
    "COLUMNS",
    "INVOCATION_ID",
    "JOURNAL_STREAM",
    "LINES",
    "LS_COLORS",
    "MEMORY_PRESSURE_WATCH",
    "MEMORY_PRESSURE_WRITE",
    "OLDPWD",
    "PWD",
    "SHLVL",
    "SSH_CLIENT",
    "SSH_CONNECTION",
    "SSH_TTY",
    "STY",
    "SYSTEMD_EXEC_PID",
    "TERM_SESSION_ID",
    "TMUX",
    "TMUX_PANE",
    "WINDOW",
    "WINDOWID",
    "XDG_SESSION_ID",
];

/// It differs from start to start; `PWD` is compared as the working directory.
pub(super) fn is_bookkeeping(variable: &str) -> bool {
    BOOKKEEPING.contains(&variable)
}

static PORT: LazyLock<Option<Regex>> = LazyLock::new(|| Regex::new(r"\d{4,5}$").ok());

/// Flags that are followed by where a server listens: tests and developers choose another port each
/// time. Any other number, and the port of a server that is connected to, is a setting.
const LISTENS: &[&str] = &["--port", "--bind", "-b", "--listen", "--http", "runserver"];

/// A command without the folders of its program and script, and without the ports that it listens on.
pub(super) fn command(words: &[String]) -> String {
    let mut out: Vec<String> = Vec::new();
    for (index, word) in words.iter().enumerate() {
        // The interpreter and the script that starts it: their folder is compared by itself.
        let name = word.rsplit('/').next().unwrap_or(word);
        if index < 2 && word.contains('/') {
            out.push(name.to_owned());
            continue;
        }
        let before = index.checked_sub(1).and_then(|at| words.get(at));
        let listens = before.is_some_and(|flag| LISTENS.contains(&flag.as_str()))
            || LISTENS
                .iter()
                .any(|flag| word.strip_prefix(flag).is_some_and(|rest| rest.starts_with('=')));
        let word = path(word);
        out.push(match listens {
            true => without_port(&word),
            false => word,
        });
    }
    out.join(" ")
}

/// `0.0.0.0:8123`, `--port=8123`, `8123`: the number at the end.
pub(super) fn without_port(text: &str) -> String {
    let Some(pattern) = PORT.as_ref() else {
        return text.to_owned();
    };
    match pattern.find(text) {
        Some(found) => {
            let head = &text[..found.start()];
            if head.is_empty() || head.ends_with([':', '=']) {
                format!("{head}PORT")
            } else {
                text.to_owned()
            }
        }
        None => text.to_owned(),
    }
}

static TEMPORARY: LazyLock<Option<Regex>> = LazyLock::new(|| {
    // What mkdtemp of Python, mktemp, and pytest call their folders.
    Regex::new(r"/(?:tmp[a-z0-9_]{8}|tmp\.[A-Za-z0-9]{6,10}|pytest-\d+)(/|$)").ok()
});

/// The names of this machine are one: which of its addresses is really used is compared as the address
/// that its connections lead to.
pub(super) fn this_machine(text: &str) -> String {
    match THIS_MACHINE.as_ref() {
        Some(pattern) => pattern.replace_all(text, "${before}localhost$after").into_owned(),
        None => text.to_owned(),
    }
}

static THIS_MACHINE: LazyLock<Option<Regex>> = LazyLock::new(|| {
    Regex::new(r"(?P<before>^|[\s,/@])(?:localhost|127\.0\.0\.1|\[::1\]|\[::ffff:127\.0\.0\.1\]|::1)(?P<after>:\d|/|,|$)").ok()
});

/// A path with the invented names of temporary folders taken out.
pub(super) fn path(text: &str) -> String {
    match TEMPORARY.as_ref() {
        Some(pattern) => pattern.replace_all(text, "/TEMPORARY$1").into_owned(),
        None => text.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_machine_has_one_name() {
        for text in [
            "localhost:5672",
            "127.0.0.1:5672",
            "[::1]:5672",
            "[::ffff:127.0.0.1]:5672",
        ] {
            assert_eq!(this_machine(text), "localhost:5672");
        }
        assert_eq!(
            this_machine("127.0.0.1:5672, 10.0.0.9:5672"),
            "localhost:5672, 10.0.0.9:5672"
        );
        for other in ["10.127.0.0.1:5672", "localhost.example:5672", "127.0.0.10:5672"] {
            assert_eq!(this_machine(other), other);
        }
    }

    #[test]
    fn ports_and_temporary_folders_are_no_difference() {
        let of = |text: &str| command(&text.split(' ').map(str::to_owned).collect::<Vec<_>>());
        assert_eq!(
            of("/a/bin/python /a/bin/uvicorn app:app --host 127.0.0.1 --port 8001 -b 0.0.0.0:8002"),
            "python uvicorn app:app --host 127.0.0.1 --port PORT -b 0.0.0.0:PORT"
        );
        assert_eq!(
            of("/b/bin/python /b/bin/dramatiq -p 4 x --pid /tmp/tmpab12cd_x/y"),
            "python dramatiq -p 4 x --pid /tmp/TEMPORARY/y"
        );
        assert_ne!(of("python dramatiq -p 4"), of("python dramatiq -p 8"));
        // Four digits alone make no port.
        for (one, other) in [
            (
                "worker --shutdown-timeout 5000 x",
                "worker --shutdown-timeout 9000 x",
            ),
            (
                "worker x --broker amqp://h:5672",
                "worker x --broker amqp://h:5673",
            ),
        ] {
            assert_ne!(of(one), of(other));
        }
        assert_eq!(
            path("/tmp/pytest-of-me/pytest-12/app"),
            "/tmp/pytest-of-me/TEMPORARY/app"
        );
        assert_eq!(path("/srv/app-1"), "/srv/app-1");
        assert_eq!(path("/tmp/tmp.Ab12Cd34Ef"), "/tmp/TEMPORARY");
    }
}
