//! Tokens by the shapes that their providers give them: the rules of gitleaks, as its project publishes them.
//!
//! `gitleaks/gitleaks.toml` is a copy that nobody edits (version and licence: `gitleaks/README.md`). A rule is
//! compiled when the first text has one of its keywords.

use std::borrow::Cow;
use std::collections::BTreeSet;
use std::sync::{LazyLock, OnceLock};

use aho_corasick::AhoCorasick;
use regex::Regex;
use serde::Deserialize;

use super::MASK;

static RULES: LazyLock<Option<Rules>> = LazyLock::new(|| Rules::read(include_str!("gitleaks/gitleaks.toml")));

/// A rule that knows a token by a name beside it takes whatever stands there: an id of a task behind the
/// name of a queue is none. Names are the patterns' own business.
const BY_A_NAME: &str = r"[\w.-]{0,50}?";
/// And so do these: the first by entropy alone, the second takes any commit's hash.
const TOO_WIDE: &[&str] = &["generic-api-key", "sourcegraph-access-token"];
/// Where a scanner of files expects a token to end; a sentence ends it with a comma or a bracket.
const END_OF_A_TOKEN: &str = r#"(?:[\x60'"\s;]|\\[nr]|$)"#;

struct Rules {
    rules: Vec<Rule>,
    keywords: AhoCorasick,
    /// For each keyword its rule.
    owners: Vec<usize>,
}

struct Rule {
    pattern: String,
    group: Option<usize>,
    entropy: f64,
    regex: OnceLock<Option<Regex>>,
}

#[derive(Deserialize)]
struct File {
    rules: Vec<Written>,
}

#[derive(Deserialize)]
struct Written {
    id: String,
    regex: Option<String>,
    path: Option<String>,
    #[serde(default)]
    entropy: f64,
    #[serde(default)]
    keywords: Vec<String>,
    #[serde(rename = "secretGroup")]
    group: Option<usize>,
}

impl Rules {
    fn read(text: &str) -> Option<Self> {
        let file: File = toml::from_str(text).ok()?;
        let (mut rules, mut words, mut owners) = (Vec::new(), Vec::new(), Vec::new());
        for rule in file.rules {
            let Some(pattern) = rule.regex.filter(|pattern| {
                let by_a_name = pattern.trim_start_matches("(?i)").starts_with(BY_A_NAME);
                rule.path.is_none() && !by_a_name && !TOO_WIDE.contains(&rule.id.as_str())
            }) else {
                continue;
            };
            owners.extend(rule.keywords.iter().map(|_| rules.len()));
            words.extend(rule.keywords);
            rules.push(Rule {
                pattern: with_ascii_words(&pattern.replace(END_OF_A_TOKEN, "")),
                group: rule.group,
                entropy: rule.entropy,
                regex: OnceLock::new(),
            });
        }
        let keywords = AhoCorasick::builder()
            .ascii_case_insensitive(true)
            .build(words)
            .ok()?;
        Some(Self {
            rules,
            keywords,
            owners,
        })
    }
}

impl Rule {
    fn regex(&self) -> Option<&Regex> {
        self.regex.get_or_init(|| Regex::new(&self.pattern).ok()).as_ref()
    }

    /// As gitleaks takes it: the group that the rule names, else the first that took part, else all of it.
    fn mask<'t>(&self, text: &'t str) -> Cow<'t, str> {
        let Some(regex) = self.regex() else {
            return Cow::Borrowed(text);
        };
        let (mut out, mut end) = (String::new(), 0);
        for found in regex.captures_iter(text) {
            let secret = match self.group {
                Some(group) => found.get(group),
                None => found.iter().skip(1).flatten().next(),
            };
            let Some(secret) = secret.or_else(|| found.get(0)) else {
                continue;
            };
            if secret.start() < end || entropy(secret.as_str()) < self.entropy {
                continue;
            }
            out.push_str(&text[end..secret.start()]);
            out.push_str(MASK);
            end = secret.end();
        }
        if end == 0 {
            return Cow::Borrowed(text);
        }
        out.push_str(&text[end..]);
        Cow::Owned(out)
    }
}

/// The text without the tokens that a rule knows.
pub(super) fn masked(text: &str) -> Cow<'_, str> {
    let mut clean = Cow::Borrowed(text);
    let Some(rules) = RULES.as_ref() else {
        return clean;
    };
    let found = rules.keywords.find_overlapping_iter(text);
    let concerned: BTreeSet<usize> = found
        .map(|word| rules.owners[word.pattern().as_usize()])
        .collect();
    for rule in concerned {
        if let Cow::Owned(less) = rules.rules[rule].mask(&clean) {
            clean = Cow::Owned(less);
        }
    }
    clean
}

/// Go's `\w` is ASCII's; in Rust a thousand of them are too large a program.
fn with_ascii_words(pattern: &str) -> String {
    let (mut out, mut in_class, mut chars) = (String::new(), false, pattern.chars());
    while let Some(c) = chars.next() {
        match c {
            '\\' => match (chars.next(), in_class) {
                (Some('w'), true) => out.push_str("0-9A-Za-z_"),
                (Some('w'), false) => out.push_str("[0-9A-Za-z_]"),
                (escaped, _) => out.extend(['\\'].into_iter().chain(escaped)),
            },
            c => {
                in_class = c == '[' || (in_class && c != ']');
                out.push(c);
            }
        }
    }
    out
}

/// Shannon's, in bits a character.
fn entropy(text: &str) -> f64 {
    let mut counts = [0_u32; 256];
    text.bytes().for_each(|byte| counts[usize::from(byte)] += 1);
    let all = f64::from(u32::try_from(text.len()).unwrap_or(u32::MAX));
    let shares = counts
        .iter()
        .filter(|count| **count > 0)
        .map(|count| f64::from(*count) / all);
    shares.map(|share| -share * share.log2()).sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_rule_that_is_used_compiles() {
        let rules = &RULES.as_ref().expect("the file is read").rules;
        assert!(rules.len() > 100, "{}", rules.len());
        for rule in rules {
            assert!(rule.regex().is_some(), "{}", rule.pattern);
        }
    }

    #[test]
    fn a_token_goes_wherever_a_sentence_ends_it() {
        let token = format!("pscale_pw_{}", "Zk7pQ2vX9mLw4rAbC3dEf5GhJ6kLm8Np");
        for (before, after) in [("refused ", ", and"), ("f(", ")"), ("\"", "\""), ("", "")] {
            let text = format!("{before}{token}{after}");
            assert_eq!(masked(&text), format!("{before}***{after}"));
        }
    }

    #[test]
    fn what_has_too_little_entropy_or_a_name_only_stays() {
        for text in [
            "dop_v1_0000000000000000000000000000000000000000000000000000000000000000",
            "queue datadog: 0a1b2c3d4e5f67890a1b2c3d4e5f67890a1b2c3d",
            "snyk task_id=0a1b2c3d-4e5f-6789-abcd-ef0123456789",
            "at commit 3f2a9c1d4e5b60718293a4b5c6d7e8f901234567 of sourcegraph",
            "tasks.py:12 in risk.assessment.high.priority.worker",
        ] {
            assert_eq!(masked(text), text);
        }
    }
}
