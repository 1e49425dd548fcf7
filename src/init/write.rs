//! The draft of a `taskdiag.toml`: every value says where it was seen, what was not found stands
//! there commented out.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value as Json;

use super::toml::{escaped, toml};
use crate::config::keys::{self, InDraft, Key, SECTIONS, Section};
use crate::framework::Framework;
use crate::timeline::scrub::is_secret_name;

/// What is to be written, by key.
#[derive(Debug, Default, Clone)]
pub struct Draft {
    values: BTreeMap<&'static str, DraftValue>,
    notes: BTreeMap<&'static str, Vec<String>>,
    suggestions: BTreeMap<&'static str, Json>,
    /// What the workers run.
    pub framework: Option<&'static Framework>,
    /// Keys without which this project's tasks cannot be sent or followed, besides those that every project needs.
    needed: BTreeSet<&'static str>,
    /// Keys that this project has no use for.
    unneeded: BTreeSet<&'static str>,
    /// Keys whose suggestions stand in the file as values: without them a default would be used that is a stranger's.
    demanded: BTreeSet<&'static str>,
    /// Keys that whoever runs it gave himself, with what may be a secret.
    private: BTreeSet<&'static str>,
    /// Texts that must not get into the file.
    pub secrets: Vec<String>,
}

#[derive(Debug, Clone)]
struct DraftValue {
    value: Json,
    from: String,
    /// What is usual, or what only looks like it: nothing of the project says so.
    is_guess: bool,
}

impl Draft {
    /// Sets a key unless it is set already: the best source speaks first.
    pub fn set(&mut self, key: &'static str, value: impl Into<Json>, from: impl Into<String>) {
        self.enter(key, value.into(), from.into(), false);
    }

    /// The same for what nothing of the project says: people are told to look at it.
    pub fn guess(&mut self, key: &'static str, value: impl Into<Json>, from: impl Into<String>) {
        self.enter(key, value.into(), from.into(), true);
    }

    fn enter(&mut self, key: &'static str, mut value: Json, from: String, is_guess: bool) {
        if self.has(key) {
            return;
        }
        for variable in variables_for_secrets(&mut value) {
            self.note(key, format!("a secret stood there: it is read from {variable}"));
        }
        self.values.insert(
            key,
            DraftValue {
                value,
                from,
                is_guess,
            },
        );
    }

    /// What whoever runs it says himself stands instead of what was found.
    pub fn give(&mut self, key: &'static str, value: &Json) {
        let may_be_secret = key.ends_with(".env") || matches!(key, "api.headers" | "api.login");
        let url = value.as_str().and_then(|text| url::Url::parse(text).ok());
        if may_be_secret || url.is_some_and(|url| url.password().is_some()) {
            self.private.insert(key);
        }
        let found = DraftValue {
            value: escaped(value),
            from: "as it was given to this run".into(),
            is_guess: false,
        };
        self.values.insert(key, found);
    }

    /// What was found does not hold any more.
    pub fn drop(&mut self, key: &'static str) {
        self.values.remove(key);
        self.needed.remove(key);
    }

    /// The same without what nobody wants in a file.
    pub fn public(&self) -> Self {
        let mut draft = self.clone();
        draft.values.retain(|key, _| !self.private.contains(key));
        draft
    }

    pub fn is_guess(&self, key: &str) -> bool {
        self.values.get(key).is_some_and(|found| found.is_guess)
    }

    /// Without this key nothing can be sent or followed here, and why.
    pub fn need(&mut self, key: &'static str, why: impl Into<String>) {
        self.note(key, why);
        self.needed.insert(key);
    }

    /// What is to be said of a key.
    pub fn notes(&self, key: &str) -> impl Iterator<Item = String> {
        let notes = self.notes.get(key).into_iter().flatten();
        notes.map(|note| self.clean(note))
    }

    pub fn is_needed(&self, key: &str) -> bool {
        self.needed.contains(key)
    }

    /// This project has no use for the key.
    pub fn spare(&mut self, key: &'static str) {
        self.unneeded.insert(key);
    }

    pub fn note(&mut self, key: &'static str, text: impl Into<String>) {
        let text = text.into();
        let notes = self.notes.entry(key).or_default();
        if !notes.contains(&text) {
            notes.push(text);
        }
    }

    pub fn has(&self, key: &str) -> bool {
        self.values.contains_key(key)
    }

    pub fn value(&self, key: &str) -> Option<&Json> {
        self.values.get(key).map(|found| &found.value)
    }

    /// An example from the project itself, for a key that stays commented out.
    pub fn suggest(&mut self, key: &'static str, value: impl Into<Json>) {
        self.suggestions.insert(key, value.into());
    }

    /// The key takes its value from this variable, which is still to be set: until then nobody is asked in its place.
    pub fn demand(&mut self, key: &'static str, variable: &str) {
        self.suggest(key, format!("${{{variable}}}"));
        self.demanded.insert(key);
    }

    /// Some value is taken from this variable.
    pub fn refers_to(&self, variable: &str) -> bool {
        let reference = format!("${{{variable}}}");
        let mut values = self.values.values();
        values.any(|found| toml(&found.value).contains(&reference))
    }

    pub fn text(&self, key: &str) -> Option<&str> {
        self.values.get(key)?.value.as_str()
    }

    /// What stands in the file: key, value and where it was seen.
    pub fn found(&self) -> Vec<(&'static str, String, String)> {
        keys::all()
            .filter_map(|key| {
                let found = self.values.get(key.name)?;
                let held_back = if self.is_held_back(key.name) {
                    "; commented out until the section is complete"
                } else {
                    ""
                };
                let from = self.clean(&format!("{}{held_back}", found.from));
                Some((key.name, self.clean(&toml(&found.value)), from))
            })
            .collect()
    }

    /// What was looked for in vain.
    pub fn missing(&self) -> Vec<(&'static str, &'static str)> {
        keys::all()
            .filter(|key| {
                // A command that prints the log serves as well.
                let instead = self.has(&format!("{}_command", key.name)) && key.name.ends_with(".log")
                    || key.name == "api.body" && self.has("api.form")
                    || key.name.starts_with("api.") && self.has("submit.command");
                let wanted = key.in_draft == InDraft::Wanted || self.is_needed(key.name);
                wanted && !self.has(key.name) && !instead && !self.unneeded.contains(key.name)
            })
            .map(|key| (key.name, key.about))
            .collect()
    }

    fn is_held_back(&self, key: &str) -> bool {
        let section = SECTIONS.iter().find(|section| section.holds(key));
        section.is_some_and(|section| !self.lacks(section).is_empty())
    }

    /// The keys without which a section would not be accepted.
    fn lacks(&self, section: &Section) -> Vec<&'static str> {
        section
            .needs
            .iter()
            .filter(|key| !self.has(key))
            .copied()
            .collect()
    }

    /// The file.
    pub fn render(&self, next: &[String]) -> String {
        let mut out = String::from(
            "# Drafted by `taskdiag init` from what it saw in this folder: each value says where. Read it through.\n\
             # What was not found stands commented out with an example. No password stands here but RabbitMQ's\n\
             # default guest: ${NAME} is taken from the environment.\n",
        );
        if !next.is_empty() {
            out.push_str("#\n");
            for line in next {
                out.push_str(&comment(&self.clean(line)));
            }
        }
        let framework = self.framework.unwrap_or_else(Framework::usual);
        out.push_str(&format!("\nframework = \"{}\"\n", framework.name));
        for section in SECTIONS.iter().filter(|section| !section.name.is_empty()) {
            out.push_str(&format!("\n[{}]\n", section.name));
            let lacks = self.lacks(section);
            if !lacks.is_empty() && section.keys.iter().any(|key| self.has(key.name)) {
                out.push_str(&comment(&format!(
                    "this section is commented out until it has {}",
                    lacks.join(", ")
                )));
            }
            for key in section.keys {
                out.push_str(&self.row(key));
            }
        }
        out
    }

    fn row(&self, key: &Key) -> String {
        let (name, about, example) = (key.last(), key.about_with_default(), key.example);
        let notes: String = self
            .notes
            .get(key.name)
            .into_iter()
            .flatten()
            .map(|note| comment(&self.clean(note)))
            .collect();
        match self.values.get(key.name) {
            Some(found) => {
                let sign = if self.is_held_back(key.name) { "# " } else { "" };
                let line = format!("{name} = {}", toml(&found.value));
                let from = match found.is_guess {
                    true => "a guess, from",
                    false => "from",
                };
                format!(
                    "{}{notes}{sign}{}\n",
                    comment(&self.clean(&format!("{from} {}", found.from))),
                    self.clean(&line)
                )
            }
            None => match (self.suggestions.get(key.name), key.in_draft) {
                (Some(value), _) if self.demanded.contains(key.name) => {
                    let missing = comment(&format!("not found: {}", key.about));
                    format!("{missing}{notes}{name} = {}\n", self.clean(&toml(value)))
                }
                (Some(value), _) => format!("{notes}# {name} = {}    # {about}\n", self.clean(&toml(value))),
                (None, InDraft::Wanted) => {
                    let missing = comment(&format!("not found: {}", key.about));
                    format!("{missing}{notes}# {name} = {example}\n")
                }
                (None, InDraft::Optional) => format!("{notes}# {name} = {example}    # {about}\n"),
                (None, InDraft::Absent) => notes,
            },
        }
    }

    /// Without anything that authenticates. Weak passwords are words that stand everywhere: those
    /// are kept out where the values are made.
    fn clean(&self, text: &str) -> String {
        let mut text = text.to_owned();
        for secret in self.secrets.iter().filter(|secret| secret.len() >= 6) {
            text = without(&text, secret);
        }
        text
    }
}

/// Without a secret where it is a word of its own: one that is a part of another word may be in any name.
fn without(text: &str, secret: &str) -> String {
    let is_of_a_word = |c: char| c.is_alphanumeric() || c == '_';
    let mut out = String::new();
    let mut rest = text;
    while let Some(at) = rest.find(secret) {
        let (before, after) = (&rest[..at], &rest[at + secret.len()..]);
        let joins = |secret: Option<char>, text: Option<char>| {
            secret.is_some_and(is_of_a_word) && text.is_some_and(is_of_a_word)
        };
        let is_part = joins(
            secret.chars().next(),
            before.chars().next_back().or(out.chars().next_back()),
        ) || joins(secret.chars().next_back(), after.chars().next());
        out.push_str(before);
        // A long one is no name.
        out.push_str(if is_part && secret.len() < 12 {
            secret
        } else {
            "***"
        });
        rest = after;
    }
    out.push_str(rest);
    out
}

/// One line, whatever is in it: a control character would end a TOML comment or be refused.
fn comment(text: &str) -> String {
    let text: String = text
        .chars()
        .map(|c| if c.is_control() { ' ' } else { c })
        .collect();
    format!("# {text}\n")
}

/// In a command: what stands behind a flag like `--password` is read from a variable, whose name is returned.
fn variables_for_secrets(value: &mut Json) -> Vec<String> {
    let mut variables = Vec::new();
    let mut flag = String::new();
    for word in value.as_array_mut().into_iter().flatten() {
        let Json::String(text) = word else { continue };
        let before = std::mem::take(&mut flag);
        let (name, secret) = match text.split_once('=') {
            Some((name, secret)) => (name.to_owned(), secret),
            None if text.starts_with('-') => {
                flag.clone_from(text);
                continue;
            }
            None => (before, text.as_str()),
        };
        if !name.starts_with('-') || !is_secret_name(&name) || secret.is_empty() || secret.contains("${") {
            continue;
        }
        let variable = name.trim_start_matches('-').to_uppercase().replace('-', "_");
        let start = if text.contains('=') {
            format!("{name}=")
        } else {
            String::new()
        };
        *text = format!("{start}${{{variable}}}");
        variables.push(variable);
    }
    variables
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Config;
    use crate::init::toml::literal;

    fn loads(text: &str) -> Config {
        match Config::from_text(text) {
            Ok(config) => config,
            Err(error) => panic!("{error}\n{text}"),
        }
    }

    #[test]
    fn an_empty_draft_is_a_configuration() {
        let text = Draft::default().render(&[]);
        let config = loads(&text);
        assert!(config.api.is_none() && config.database.is_none());
        assert!(
            text.contains("# not found: where the API answers\n# url = "),
            "{text}"
        );
    }

    /// With every `# key = example` made a value it is a configuration too.
    #[test]
    fn the_examples_are_valid() {
        let text = Draft::default().render(&[]);
        let all = regex::Regex::new("(?m)^# ([a-z_]+ = )").expect("a pattern");
        let text = all.replace_all(&text, "$1").replace("${", "$${");
        let config = loads(&text);
        assert!(config.database.is_some());
    }

    #[test]
    fn an_incomplete_section_stays_commented_out() {
        let mut draft = Draft::default();
        draft.set("database.url", "postgres://h/d", ".env");
        draft.set("api.submit_path", "/x", "code");
        let text = draft.render(&[]);
        let config = loads(&text);
        assert!(config.database.is_none() && config.api.is_none());
        assert!(text.contains("# url = \"postgres://h/d\""), "{text}");
        assert!(draft.missing().iter().any(|(key, _)| *key == "api.url"));
        assert!(
            draft
                .found()
                .iter()
                .all(|(_, _, from)| from.contains("commented out"))
        );
    }

    #[test]
    fn nothing_breaks_out_of_a_comment_or_a_value() {
        let mut draft = Draft::default();
        let nasty = "a\nb = 1\r\u{7f}\"'''\\ \u{1b}[31m";
        draft.set("broker.queue", nasty, nasty);
        draft.note("broker.queue", nasty);
        draft.set("broker.actor", literal("x${y"), nasty);
        draft.set("worker.command", vec![nasty.to_owned()], "x");
        let text = draft.render(&[nasty.to_owned()]);
        let config = loads(&text);
        assert_eq!(config.worker.command, [nasty]);
        assert_eq!(config.broker.actor.as_deref(), Some("x${y"));
        assert_eq!(config.broker.queue, nasty);
    }

    #[test]
    fn a_command_reads_its_secrets_from_variables() {
        let command = "dramatiq app --password Hunter2 --api-token=Hunter2 --dsn ${DSN} -v";
        let words: Vec<&str> = command.split(' ').collect();
        let mut draft = Draft::default();
        draft.set("worker.command", words, "docker-compose.yml");
        let text = draft.render(&[]);
        let shown = r#"["dramatiq", "app", "--password", "${PASSWORD}", "--api-token=${API_TOKEN}", "--dsn", "${DSN}", "-v"]"#;
        assert!(
            text.contains(shown) && text.contains("API_TOKEN") && !text.contains("Hunter2"),
            "{text}"
        );
    }

    #[test]
    fn a_password_that_is_a_part_of_a_word_spoils_no_name() {
        assert_eq!(
            without("service rabbitmq; pw=rabbit", "rabbit"),
            "service rabbitmq; pw=***"
        );
        assert_eq!(without("amqp://u:hunter2@h", "hunter2"), "amqp://u:***@h");
        assert_eq!(
            without("xhunter2-of-the-brokerx", "hunter2-of-the-broker"),
            "x***x"
        );
    }

    #[test]
    fn a_guess_says_so() {
        let mut draft = Draft::default();
        draft.guess("worker.command", vec!["dramatiq", "app"], "its module");
        draft.need("api.login", "needed: it asks for a token");
        draft.spare("api.url");
        let text = draft.render(&[]);
        assert!(text.contains("# a guess, from its module\n"), "{text}");
        assert!(draft.is_guess("worker.command") && !draft.is_guess("api.url"));
        let missing = draft.missing();
        assert!(missing.iter().any(|(key, _)| *key == "api.login"), "{missing:?}");
        assert!(missing.iter().all(|(key, _)| *key != "api.url"), "{missing:?}");
    }

    #[test]
    fn a_password_does_not_get_in() {
        let mut draft = Draft {
            secrets: vec!["hunter22".into()],
            ..Draft::default()
        };
        draft.set(
            "worker.command",
            vec!["dramatiq".to_owned(), "--pw=hunter22".to_owned()],
            "hunter22",
        );
        draft.note("api.url", "hunter22");
        let text = draft.render(&["hunter22".into()]);
        assert!(!text.contains("hunter22"), "{text}");
        assert!(!format!("{:?}", draft.found()).contains("hunter22"));
    }
}
