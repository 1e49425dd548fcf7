//! Secrets and task arguments, by their shape.

use std::borrow::Cow;
use std::sync::LazyLock;

use regex::{Captures, Regex, RegexSet, RegexSetBuilder};

use crate::framework;

/// Names of members and options that hold secrets.
pub(super) static SECRET_NAME: LazyLock<Option<Regex>> = LazyLock::new(|| {
    Regex::new(
        r"(?i)(?:password|passwd|secret|token|api[_-]?key|access[_-]?key|private[_-]?key|authorization|dsn|auth|auth[_-]?header|cookie|session|session[_-]?(?:id|key)|bearer|credential|passphrase|pwd|jwt)s?$",
    )
    .ok()
});

/// Whether a variable, a member or an option of this name holds a secret.
pub fn is_secret_name(name: &str) -> bool {
    SECRET_NAME.as_ref().is_none_or(|names| names.is_match(name))
}

/// An argument that is nothing but a token: there `bearer` is no English.
pub(super) static BEARER: LazyLock<Option<Regex>> =
    LazyLock::new(|| Regex::new(r"(?i)^\s*bearer\s+\S+\s*$").ok());

/// One notation, and what is put in its place.
pub(super) struct Pattern {
    pub regex: Regex,
    replacement: &'static str,
    /// Where words stand as well, the group `v` must be one that no sentence has.
    only_if: Option<Guard>,
}

/// Whether a value is one that no sentence has.
type Guard = fn(&str) -> bool;

impl Pattern {
    pub(super) fn mask<'t>(&self, text: &'t str) -> Cow<'t, str> {
        let Some(is_secret) = self.only_if else {
            return self.regex.replace_all(text, self.replacement);
        };
        self.regex.replace_all(text, |found: &Captures<'_>| {
            let mut out = String::new();
            match found.name("v") {
                Some(value) if !is_secret(value.as_str()) => out.push_str(&found[0]),
                _ => found.expand(self.replacement, &mut out),
            }
            out
        })
    }
}

fn compile(rows: &[(&'static str, &'static str)]) -> Vec<(Regex, &'static str)> {
    rows.iter()
        .filter_map(|(pattern, replacement)| Some((Regex::new(pattern).ok()?, *replacement)))
        .collect()
}

/// A value that no sentence, path, number or name of a module is: letters and digits mixed, or signs that
/// only passwords have.
pub fn looks_random(value: &str) -> bool {
    let value = value.trim_matches(['"', '\'', '\\', '.', ',', ';', '(', ')']);
    if value.len() < 6 || value.contains('/') || value.contains("***") {
        return false;
    }
    let letters = value.chars().any(char::is_alphabetic);
    // `worker2`, `app.v1.tasks`, `10ms`, a date: in each part their digits stand together, at one end.
    let changes = |part: &str| {
        let pairs = part.as_bytes().windows(2);
        pairs
            .filter(|pair| pair[0].is_ascii_digit() != pair[1].is_ascii_digit())
            .count()
    };
    let mixed: Vec<&str> = value
        .split(|c: char| !c.is_alphanumeric())
        .filter(|part| changes(part) >= 2)
        .collect();
    let is_mixed = mixed.len() >= 2 || mixed.iter().any(|part| part.len() >= 6);
    letters && (is_mixed || value.contains(['!', '$', '^']))
}

/// What stands for no secret at all: it tells that there is none.
fn is_a_value(value: &str) -> bool {
    let bare = value.trim_matches(['"', '\'', '\\']);
    !matches!(
        bare,
        "" | "None" | "null" | "NULL" | "nil" | "True" | "False" | "true" | "false" | "undefined"
    ) && !bare.starts_with('<')
        && !bare.starts_with("***")
}

/// What follows a name: quoted (in JSON within JSON, too), in brackets, or one word.
macro_rules! value {
    () => {
        r#"(?P<v>b?\\*"(?:[^"\\]|\\[^"])*\\*"|b?\\*'(?:[^'\\]|\\[^'])*\\*'|[^\s"'\[({,;)}&><\\][^\s"',;)}&\\]*)"#
    };
}
/// Between a name and its value.
macro_rules! is {
    () => {
        r#"(?:\\*["'])?\s*(?:=>|->|:=|%3[Dd]|[=:])\s*"#
    };
}
/// Names that nothing but a secret has, in the languages of this list.
macro_rules! strong {
    () => {
        r"[\w\-]*(?:password|passwd|[_\-]pass|secret|token|(?:api|access|private|secret|signing|encryption|account)[_-]?key|authorization|dsn|passwort|kennwort|contrase[nñ]a|mot de passe|senha|wachtwoord|пароль|密码|密碼|パスワード|비밀번호|hasło|lösenord|heslo|şifre|salasana|jelszó)"
    };
}
/// Names that other things have, too: a value in brackets or a sentence behind a colon is none.
macro_rules! weak {
    () => {
        r"(?:[\w\-]*[_\-])?(?:pass|pw|passcode|session(?:[_-]?(?:id|key))?|jwt|creds?|credentials?|otp|pin|signature|hmac|x-auth(?:-\w+)?|auth|bearer|connection[_-]?string)"
    };
}

/// Secrets by their shape: user info of URLs, bearer tokens, `password=…` in any common notation.
pub(super) static PATTERNS: LazyLock<Vec<Pattern>> = LazyLock::new(|| {
    let plain: &[(&str, &'static str)] = &[
        (
            r"(?s)(?P<k>-----BEGIN [A-Z ]*PRIVATE KEY(?: BLOCK)?-----).+?(?:-----END [A-Z ]*PRIVATE KEY(?: BLOCK)?-----|$)",
            "$k***",
        ),
        // Up to the last @ of the authority: an unescaped one may stand in the password.
        (
            r#"(?P<s>[A-Za-z][A-Za-z0-9+.\-]*://[^\s:/@]*):[^\s/"'<>]+@"#,
            "$s:***@",
        ),
        // A token as the user.
        (r"(?i)(?P<s>\bhttps?://)[^\s:/@]+@", "$s***@"),
        // Schemes whose value has commas of its own.
        (
            r#"(?i)(?P<k>\bauthorization["']?\s*[:=]\s*["']?(?:digest|aws4-[\w\-]+|hawk|oauth|signature)\s)[^\r\n]+"#,
            "$k***",
        ),
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
        // `Password('…')`, `PlainCredentials('guest', '…')`, and the call around a value.
        (
            r#"(?i)(?P<k>\b\w*(?:password|secret(?:str|bytes)?|credentials?|basicauth)\(\s*)["'][^()\n]*["']"#,
            "$k***",
        ),
        // In brackets: all of it, the user beside it included.
        (
            r#"(?i)(?P<k>\b[\w\-]*(?:password|passwd|secret|token|api[_-]?key|credentials?|auth)s?(?:\\*["'])?\s*[=:]\s*)[\[(]\s*b?["'][^\])\n]*[\])]"#,
            "$k***",
        ),
        (
            r"(?i)(?P<k><(?:\w+:)?\w*(?:password|passwd|secret|token)\w*>)[^<]+",
            "$k***",
        ),
        (r#"(?i)(?P<k>\b(?:password|identified by)\s+)'[^']*'"#, "$k***"),
        (r"(?P<k>\bcurl\b[^\n]*?\s(?:-u|--user)\s+[^\s:]+:)\S+", "$k***"),
        (r"(?P<k>\b(?:mysql|mysqldump|mariadb)\b[^\n]*?\s-p)\S+", "$k***"),
        (r"(?P<k>\bsshpass\s+-p\s*)\S+", "$k***"),
        (r"(?P<k>\bredis-cli\b[^\n]*?\s-a\s*)\S+", "$k***"),
        (r"(?P<k>\bsqlplus\b[^\n]*?\s[\w.]+/)[^\s@]+", "$k***"),
        (r"(?i)(?P<k>\bpassword for [\w@.\-']+:\s*)\S+", "$k***"),
        (TOKENS, "***"),
        // The inside of a PEM block that came line by line; its last line is shorter.
        (r"^[A-Za-z0-9+/]{60,76}={0,2}$", "***"),
        (r"^[A-Za-z0-9+/]{15,75}={1,2}$", "***"),
        (
            r"(?P<s>eyJ[A-Za-z0-9_\-]{8,})\.[A-Za-z0-9_\-]+\.[A-Za-z0-9_\-]*",
            "***",
        ),
    ];
    let guarded: &[(&str, &'static str, Guard)] = &[
        // `SecretStr('…')` behind a name, or whatever value.
        (
            concat!(
                r"(?i)(?P<k>\b",
                strong!(),
                "s?",
                is!(),
                r"(?:\[\s*)*(?:\w+\(\s*)?)",
                value!()
            ),
            "$k***",
            is_a_value,
        ),
        (
            concat!(
                r"(?i)(?P<k>\b",
                weak!(),
                r#"(?:\\*["']\s*:|\\*["']?\s*=)\s*)"#,
                value!()
            ),
            "$k***",
            is_a_value,
        ),
        // `pin: 4711`, `session: abc123…`: a value that no sentence has.
        (
            concat!(r"(?i)(?P<k>\b", weak!(), r"\s*(?::|->|=>)\s*)", value!()),
            "$k***",
            |value| looks_random(value) || (value.len() >= 4 && value.bytes().all(|b| b.is_ascii_digit())),
        ),
        (
            r#"(?i)(?P<k>\b(?:(?:api|access|private|secret|signing|encryption|account)[_ -]?key|password|passwd|passphrase|secret|token)(?:\s*[:=])?\s+(?:(?:is|was|of|=)\s+)?["'`]?)(?P<v>[^\s"'`]+)"#,
            "$k***",
            looks_random,
        ),
        // A slash in the password of a URL; a port is none.
        (
            r#"(?i)(?P<k>\b(?:amqps?|postgres(?:ql)?|mysql|mariadb|rediss?|mongodb|kafka|sqla|rpc)(?:\+\w+)?://[^\s:/@]*:)(?P<v>[^\s"'<>@]*/[^\s"'<>@]*)@"#,
            "$k***@",
            |value| {
                let port = value.split('/').next().unwrap_or_default();
                is_a_value(value) && port.parse::<u16>().is_err()
            },
        ),
        // `user:password@host` without a scheme.
        (
            r#"(?P<k>(?:^|[\s"'=(\[,])[\w.\-]+:)(?P<v>[^\s:/@"'<>]{4,})@[\w.\-]+"#,
            "$k***@",
            looks_random,
        ),
        (
            r#"(?i)(?P<k>[?&;](?:sig|key|code|signature|x-amz-\w+|x-goog-\w+|auth|token|se?cret|pass(?:word)?)=)(?P<v>[^&\s"'<>]+)"#,
            "$k***",
            |value| looks_random(value) || value.len() >= 16,
        ),
    ];
    let plain = plain
        .iter()
        .map(|(pattern, replacement)| (*pattern, *replacement, None));
    let guarded = guarded
        .iter()
        .map(|(pattern, replacement, only_if)| (*pattern, *replacement, Some(*only_if)));
    plain
        .chain(guarded)
        .filter_map(|(pattern, replacement, only_if)| {
            let regex = Regex::new(pattern).ok()?;
            Some(Pattern {
                regex,
                replacement,
                only_if,
            })
        })
        .collect()
});

/// What providers give out most, by its beginning: a log may have cut it. What is whole, the rules of gitleaks
/// know as well, of a hundred other providers.
const TOKENS: &str = concat!(
    r"\b(?:",
    // AWS, GitHub, GitLab.
    r"(?:AKIA|ASIA|ABIA|ACCA)[0-9A-Z]{16}|gh[pousr]_[A-Za-z0-9]{16,}|github_pat_[A-Za-z0-9_]{20,}|",
    r"gl(?:pat|dt|rt|ptt|ft|imt|agent|cbt|soat)-[A-Za-z0-9_\-]{16,}|",
    // OpenAI, Anthropic, Stripe, Hugging Face, Google, Databricks.
    r"sk-[A-Za-z0-9_\-]{16,}|[srp]k_(?:live|test)_[A-Za-z0-9]{10,}|whsec_[A-Za-z0-9+/=]{16,}|hf_[A-Za-z0-9]{16,}|",
    r"AIza[A-Za-z0-9_\-]{30,}|ya29\.[A-Za-z0-9_\-]{20,}|GOCSPX-[A-Za-z0-9_\-]{20,}|dapi[0-9a-f]{30,}(?:-\d)?|",
    // Slack, SendGrid, Twilio, Mailgun, Discord, Telegram.
    r"xox[abeoprs]-[A-Za-z0-9\-]{10,}|xapp-[A-Za-z0-9\-]{10,}|SG\.[A-Za-z0-9_\-]{16,}\.[A-Za-z0-9_\-]{16,}|",
    r"(?:SK|AC)[0-9a-f]{32}|key-[0-9a-f]{32}|\d{8,10}:AA[A-Za-z0-9_\-]{30,}|",
    r"hooks\.slack\.com/(?:services|workflows|triggers)/[A-Za-z0-9/_\-]+|discord(?:app)?\.com/api/webhooks/\d+/[\w\-]+|",
    // Package registries, clouds, and what else has a prefix of its own.
    r"npm_[A-Za-z0-9]{20,}|pypi-[A-Za-z0-9_\-]{16,}|rubygems_[0-9a-f]{30,}|dckr_pat_[A-Za-z0-9_\-]{20,}|",
    r"do[opr]_v1_[0-9a-f]{30,}|hvs\.[A-Za-z0-9_\-]{20,}|glsa_[A-Za-z0-9_]{20,}|lin_api_[A-Za-z0-9]{20,}|",
    r"shp(?:at|ca|pa|ss)_[0-9a-fA-F]{20,}|sntry[su]_[A-Za-z0-9+/=_\-]{20,}|nrak-[a-z0-9]{20,}|NRAK-[A-Z0-9]{20,}|",
    r"AGE-SECRET-KEY-1[0-9A-Z]{20,}|AccountKey=[A-Za-z0-9+/=]{20,}|SharedAccessKey=[A-Za-z0-9+/=]{20,}",
    r")",
);

/// All of them in one pass: most texts with a keyword match no pattern, and need not be searched thirty times.
pub(super) static ANY_PATTERN: LazyLock<Option<RegexSet>> =
    LazyLock::new(|| any_of(PATTERNS.iter().map(|pattern| &pattern.regex)));

/// The same for those of arguments.
pub(super) static ANY_ARGUMENT: LazyLock<Option<RegexSet>> =
    LazyLock::new(|| any_of(ARGUMENTS.iter().map(|(regex, _)| regex)));

fn any_of<'r>(all: impl Iterator<Item = &'r Regex>) -> Option<RegexSet> {
    let all = all.map(Regex::as_str);
    RegexSetBuilder::new(all).size_limit(64 << 20).build().ok()
}

/// A text without any of these matches no pattern: many a line, by one cheap search. The patterns are
/// compiled when the first one is met.
pub(super) static KEYWORDS: LazyLock<Option<Regex>> = LazyLock::new(|| {
    Regex::new(concat!(
        r"(?i)://|@|pass|pw|secret|token|key|auth|cookie|session|jwt|cred|otp|pin|sig|hmac|bearer|basic|dsn|",
        r"private|identified|curl|mysql|mariadb|connection|kennwort|contrase|senha|wachtwoord|пароль|密码|密碼|パスワード|비밀번호|hasło|lösenord|heslo|şifre|salasana|jelszó|redis-cli|sqlplus|code|x-amz|x-goog|AKIA|ASIA|ABIA|ACCA|",
        r"gh[pousr]_|github_|gl[a-z]{2,5}-|sk-|[rsp]k_|whsec_|hf_|AIza|ya29|GOCSPX|dapi|xox|xapp|SG\.|SK[0-9a-f]|",
        r"AC[0-9a-f]|:AA|slack|webhooks|npm_|pypi-|rubygems_|dckr_|_v1_|hvs\.|glsa_|lin_api|shp|sntry|nrak|AGE-|eyJ|",
        r"^[A-Za-z0-9+/]{15,76}={0,2}$",
    ))
    .ok()
});

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
