//! Secrets and task arguments, by their shape.

use std::sync::LazyLock;

use regex::{Regex, RegexSet};

use crate::framework;

/// Names of members and options that hold secrets.
pub(super) static SECRET_NAME: LazyLock<Option<Regex>> = LazyLock::new(|| {
    Regex::new(
        r"(?i)(?:password|passwd|secret|token|api[_-]?key|access[_-]?key|private[_-]?key|authorization|dsn|auth|auth[_-]?header|cookie|session|session[_-]?(?:id|key)|bearer|credential|passphrase|pwd|jwt)s?$",
    )
    .ok()
});

/// An argument that is nothing but a token: there `bearer` is no English.
pub(super) static BEARER: LazyLock<Option<Regex>> =
    LazyLock::new(|| Regex::new(r"(?i)^\s*bearer\s+\S+\s*$").ok());

fn compile(rows: &[(&'static str, &'static str)]) -> Vec<(Regex, &'static str)> {
    rows.iter()
        .filter_map(|(pattern, replacement)| Some((Regex::new(pattern).ok()?, *replacement)))
        .collect()
}

/// Secrets by their shape: user info of URLs, bearer tokens, `password=…` in any common notation.
pub(super) static PATTERNS: LazyLock<Vec<(Regex, &'static str)>> = LazyLock::new(|| {
    compile(&[
        (
            r"(?s)(?P<k>-----BEGIN [A-Z ]*PRIVATE KEY-----).+?(?:-----END [A-Z ]*PRIVATE KEY-----|$)",
            "$k***",
        ),
        // Up to the last @ of the authority: an unescaped one may stand in the password.
        (
            r#"(?P<s>[A-Za-z][A-Za-z0-9+.\-]*://[^\s:/@]*):[^\s/"'<>]+@"#,
            "$s:***@",
        ),
        // A token as the user.
        (r"(?i)(?P<s>\bhttps?://)[^\s:/@]+@", "$s***@"),
        // The whole value of a header, its scheme included.
        (
            r#"(?i)(?P<k>\b(?:proxy-)?authorization["']?\s*[:=]\s*["']?)[^"'\r\n,;}]+"#,
            "$k***",
        ),
        (
            r#"(?i)(?P<k>\b(?:set-)?cookie["']?\s*[:=]\s*["']?)[^"'\r\n}]+"#,
            "$k***",
        ),
        // A flag and its value.
        (
            r"(?i)(?P<k>(?:^|\s)--?[\w\-]*(?:password|passwd|secret|token|api[_-]?key|dsn)\s+)[^\s\-]\S*",
            "$k***",
        ),
        // Not the shell's working directory.
        (
            r#"(?i)(?P<k>\b\w*(?:pwd|passphrase)["']?\s*[=:]\s*)(?P<q>["']?)[^\s"',;)}&/][^\s"',;)}&]*"#,
            "$k$q***",
        ),
        // A word alone may be English: "the bearer refused".
        (
            r"(?i)\b(?P<k>bearer|basic(?:\s+auth)?|api[_-]?key)\s+(?:[A-Za-z0-9._~+/\-]{8,}=*|[A-Za-z._~+/\-]*[0-9][A-Za-z0-9._~+/\-]*=*)",
            "$k ***",
        ),
        // A value in quotes, in brackets, or wrapped as `SecretStr('…')` goes as a whole.
        (
            r#"(?i)(?P<k>\b[\w\-]*(?:password|passwd|[_\-]pass|secret|token|(?:api|access|private|secret|signing|encryption)[_-]?key|authorization|dsn)["']?\s*(?:=>|[=:])\s*(?:[\[({]\s*)*(?:\w+\(\s*)?)(?:"[^"]*"|'[^']*'|[^\s"'\[({,;)}&>][^\s"',;)}&]*)"#,
            "$k***",
        ),
        (r"(?P<k>\bcurl\b[^\n]*?\s(?:-u|--user)\s+[^\s:]+:)\S+", "$k***"),
        (r"(?P<k>\b(?:mysql|mysqldump|mariadb)\b[^\n]*?\s-p)\S+", "$k***"),
        (r"(?i)(?P<k>\bpassword for [\w@.\-']+:\s*)\S+", "$k***"),
        // What providers give out, by its shape; and the inside of a PEM block that came line by line.
        (
            r"\b(?:AKIA[0-9A-Z]{16}|gh[pousr]_[A-Za-z0-9]{16,}|sk-[A-Za-z0-9_\-]{16,}|xox[abprs]-[A-Za-z0-9\-]{10,})",
            "***",
        ),
        (r"^[A-Za-z0-9+/]{60,76}={0,2}$", "***"),
        (
            r"(?P<s>eyJ[A-Za-z0-9_\-]{8,})\.[A-Za-z0-9_\-]+\.[A-Za-z0-9_\-]+",
            "***",
        ),
    ])
});

pub(super) static ANY_PATTERN: LazyLock<Option<RegexSet>> =
    LazyLock::new(|| RegexSet::new(PATTERNS.iter().map(|(pattern, _)| pattern.as_str())).ok());

/// Task arguments where frameworks and SQLAlchemy print them.
pub(super) static ARGUMENTS: LazyLock<Vec<(Regex, &'static str)>> = LazyLock::new(|| {
    let of_frameworks = framework::ALL
        .iter()
        .flat_map(|framework| compile(framework.log.argument_masks));
    let of_others = compile(&[
        (r"(?s)(?P<k>\[parameters: ).+?\]\n", "$k…]\n"),
        (r"(?s)(?P<k>\[parameters: ).+\]$", "$k…]"),
        (
            r#"(?P<k>"input"\s*:\s*)(?:"[^"]*"|\{[^{}]*\}|\[[^\[\]]*\]|[^,}\]]+)"#,
            "$k\"…\"",
        ),
    ]);
    of_frameworks.chain(of_others).collect()
});
