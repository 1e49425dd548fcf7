//! What an entry of the catalogue is.

mod answer;
mod prose;
pub(super) mod remedy;

use std::fmt::Write as _;

use super::{Owner, Scenario, Stage, Story};
use crate::framework::Framework;
use crate::timeline::Source;
pub use answer::{Answer, Match, Proof};

/// One entry of the catalogue.
pub struct Cause {
    /// Public, kebab-case, never reused.
    pub id: &'static str,
    /// The stages it can keep a task from: nearly always one. Empty: contributing only.
    pub keeps_from: &'static [Stage],
    /// Who must act.
    pub owner: &'static [Owner],
    /// Causes that are no more than effects of this one, where both are seen of one thing.
    pub explains: &'static [&'static str],
    /// The scenario when the actor was not entered.
    pub scenario: Option<Scenario>,
    /// Sources without which it cannot be told: all of these, any of each.
    pub needs: &'static [&'static [Source]],
    /// Stands for "none of the specific ones could be shown".
    pub general: bool,
    /// It is a failed attempt by itself, whatever else could be seen of it.
    pub fails_attempt: bool,
    /// The frameworks that can have it, by name; of an empty list all.
    pub applies_to: &'static [&'static str],
    /// Where the task stands while this holds.
    pub stand: Stand,
    /// What it says of the world: `consistency` holds that against everything that was seen.
    pub claims: &'static [Claim],
    /// A run hangs in it, or broke off with it. Where no line says when a run begins, it may be what is missing already.
    pub ends_a_run: bool,
    /// Its page: `# title`, then what it means, how we know, how to confirm, fix and prevent it.
    pub page: &'static str,
    pub check: fn(&Story<'_>) -> Answer,
}

/// Where a task stands while its cause holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stand {
    /// Something happened to it on its way.
    Passed,
    /// It is there now, and does not go on by itself.
    Hangs,
    /// It is there now, waits, and will run.
    Waits,
}

/// A cause's claim about the world, as data: its words are not read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Claim {
    /// The watched worker's log has nothing of the task.
    LogsNothing,
    /// The call of the actor has not returned.
    IsRunning,
    /// There is no row.
    NoRow,
    /// The process lives.
    IsAlive,
    /// The API sent nothing.
    NothingSent,
    /// No final status was written.
    NotFinal,
}

impl Cause {
    /// What most causes have: each says what differs.
    pub const DEFAULT: Cause = Cause {
        id: "",
        keeps_from: &[],
        owner: &[],
        explains: &[],
        scenario: None,
        needs: &[],
        general: false,
        fails_attempt: false,
        applies_to: &[],
        stand: Stand::Passed,
        claims: &[],
        ends_a_run: false,
        page: "",
        check: |_| Answer::NotApplicable,
    };

    /// Something that a system with this framework can have.
    pub fn is_one_of(&self, framework: &Framework) -> bool {
        self.applies_to.is_empty() || self.applies_to.contains(&framework.name)
    }

    /// It keeps a message that was sent from a worker's hands.
    pub(super) fn is_on_the_way_to_a_worker(&self) -> bool {
        let mut stages = self.keeps_from.iter();
        stages.any(|stage| matches!(stage, Stage::Delivered | Stage::Received))
    }

    /// The first line of its page.
    pub fn title(&self) -> &'static str {
        self.page
            .lines()
            .next()
            .unwrap_or_default()
            .trim_start_matches("# ")
    }

    /// One section of its page, by heading.
    pub fn section(&self, heading: &str) -> &'static str {
        let marker = format!("\n## {heading}\n");
        let Some(at) = self.page.find(&marker) else {
            return "";
        };
        let rest = &self.page[at + marker.len()..];
        rest.find("\n## ").map_or(rest, |end| &rest[..end]).trim()
    }

    /// The bullets below "Fix it now", each on one line, as far as they concern this framework.
    pub fn remedies(&self, framework: &Framework) -> Vec<String> {
        let mut remedies: Vec<String> = Vec::new();
        for line in without_others(self.section("Fix it now"), framework).lines() {
            match (line.strip_prefix("- "), remedies.last_mut()) {
                (Some(text), _) => remedies.push(text.trim().to_owned()),
                (None, Some(last)) if line.starts_with("  ") => {
                    last.push(' ');
                    last.push_str(line.trim());
                }
                _ => {}
            }
        }
        remedies
    }

    /// One of its remedies is for that case.
    pub(super) fn names_the_case(&self, case: &str) -> bool {
        let page = crate::text::flat(self.section("Fix it now"));
        ["If", "For"]
            .iter()
            .any(|word| page.contains(&format!("{word} {case}, ")))
    }

    /// The commands below "Confirm it by hand": of a shell each by itself, of SQL a block.
    pub fn confirmations(&self, framework: &Framework) -> Vec<String> {
        let section = without_others(self.section("Confirm it by hand"), framework);
        let mut commands = Vec::new();
        let mut language = None;
        let mut block = String::new();
        for line in section.lines() {
            match (language, line.strip_prefix("```")) {
                (None, Some(info)) => language = Some(info),
                (Some(_), Some(_)) => {
                    commands.extend((!block.is_empty()).then(|| std::mem::take(&mut block)));
                    language = None;
                }
                (Some("sh"), None) => {
                    // A comment behind a command is for readers of the page.
                    let command = line.split("  #").next().unwrap_or_default().trim_end();
                    if command.is_empty() || command.starts_with('#') {
                        continue;
                    }
                    block.push_str(command);
                    match command.ends_with('\\') {
                        true => block.push('\n'),
                        false => commands.push(std::mem::take(&mut block)),
                    }
                }
                (Some(_), None) => {
                    let between = if block.is_empty() { "" } else { "\n" };
                    block.push_str(&format!("{between}{line}"));
                }
                (None, None) => {}
            }
        }
        commands
    }

    /// Its page without what concerns other frameworks only.
    pub fn page_for(&self, framework: &Framework) -> String {
        without_others(self.page, framework)
    }
}

/// A text without what is for other frameworks: code between "```sh NAME" and "```", bullets that begin
/// with `- TITLE: `, and sentences with a word that only another one has. Whatever has no name is for all.
fn without_others(page: &str, framework: &Framework) -> String {
    prose::without_their_sentences(&without_their_blocks(page, framework), framework)
}

fn without_their_blocks(page: &str, framework: &Framework) -> String {
    let mut out = String::with_capacity(page.len());
    let mut is_left_out = false;
    let mut in_others_bullet = false;
    for line in page.lines() {
        let bullet = line.strip_prefix("- ").and_then(|text| text.split_once(": "));
        let titled = bullet.and_then(|(title, text)| Some((Framework::titled(title)?, text)));
        in_others_bullet = match titled {
            Some((named, text)) if named.name == framework.name => {
                let _ = writeln!(out, "- {text}");
                in_others_bullet = false;
                continue;
            }
            Some(_) => true,
            None => in_others_bullet && line.starts_with("  "),
        };
        if in_others_bullet {
            continue;
        }
        let fence = line.trim_start().strip_prefix("```");
        let named = fence
            .and_then(|info| info.rsplit_once(' '))
            .and_then(|(_, name)| Framework::named(name));
        if let Some(named) = named {
            is_left_out = named.name != framework.name;
            if !is_left_out {
                out.push_str(line.trim_end_matches(named.name).trim_end());
                out.push('\n');
            }
        } else if is_left_out {
            is_left_out = fence.is_none();
        } else {
            out.push_str(line);
            out.push('\n');
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::framework::{dramatiq, toy};

    const BULLETS: &str = "- one\n- Dramatiq: two\n  more\n- Toy: three\n- a word: four\n";

    #[test]
    fn bullets_for_another_framework_are_left_out() {
        assert_eq!(
            without_others(BULLETS, &dramatiq::FRAMEWORK),
            "- one\n- two\n  more\n- a word: four\n"
        );
        assert_eq!(
            without_others(BULLETS, &toy::FRAMEWORK),
            "- one\n- three\n- a word: four\n"
        );
    }

    const PAGE: &str = "# a\n\n```sh dramatiq\none\n```\n```sh toy\ntwo\n```\n```sh\nboth\n```\nend\n";

    #[test]
    fn code_for_another_framework_is_left_out() {
        let one = "# a\n\n```sh\none\n```\n```sh\nboth\n```\nend\n";
        assert_eq!(without_others(PAGE, &dramatiq::FRAMEWORK), one);
        assert_eq!(without_others(PAGE, &toy::FRAMEWORK), one.replace("one", "two"));
    }

    #[test]
    fn a_page_without_such_code_stays_as_it_is() {
        for cause in crate::diagnosis::causes::ALL {
            let named = crate::framework::ALL.iter().any(|framework| {
                let (code, bullet) = (
                    format!("```sh {}", framework.name),
                    format!("- {}: ", framework.title),
                );
                cause.page.contains(&code)
                    || cause.page.contains(&bullet)
                    || (framework.name != dramatiq::FRAMEWORK.name
                        && framework.own_words.iter().any(|word| cause.page.contains(word)))
            });
            if !named {
                assert_eq!(
                    cause.page_for(&dramatiq::FRAMEWORK).trim_end(),
                    cause.page.trim_end()
                );
            }
        }
    }
}
