//! Prose of a page as far as it concerns one framework.

use crate::diagnosis::causes;
use crate::framework::{self, Framework};

/// A text without the sentences that are about other frameworks, and without what tells apart a cause that this
/// one cannot have. Code stays as it is.
pub(super) fn without_their_sentences(page: &str, framework: &Framework) -> String {
    let mut out = String::with_capacity(page.len());
    let mut block: Vec<&str> = Vec::new();
    let mut in_code = false;
    for line in page.lines() {
        let is_fence = line.trim_start().starts_with("```");
        let is_prose = !in_code && !is_fence && !line.trim().is_empty() && !line.starts_with('#');
        if !is_prose || line.starts_with("- ") {
            put(&mut out, &std::mem::take(&mut block), framework);
        }
        if is_prose {
            block.push(line);
            continue;
        }
        in_code ^= is_fence;
        // A paragraph that is left out leaves no gap.
        if in_code || !line.is_empty() || !out.ends_with("\n\n") {
            out.push_str(line);
            out.push('\n');
        }
    }
    put(&mut out, &block, framework);
    out
}

/// A paragraph, or a bullet.
fn put(out: &mut String, block: &[&str], framework: &Framework) {
    let lines: Vec<&str> = block.iter().map(|line| line.trim()).collect();
    let text = lines.join(" ");
    if tells_a_strange_cause_apart(&text, framework) {
        return;
    }
    let (bullet, body) = match text.strip_prefix("- ") {
        Some(body) => ("- ", body),
        None => ("", text.as_str()),
    };
    let all = sentences(body);
    let own: Vec<&str> = all
        .iter()
        .copied()
        .filter(|sentence| !is_about_another(sentence, framework))
        .collect();
    if own.len() == all.len() {
        for line in block {
            out.push_str(line);
            out.push('\n');
        }
    } else if !own.is_empty() {
        out.push_str(bullet);
        out.push_str(&own.join(" "));
        out.push('\n');
    }
}

fn is_about_another(sentence: &str, framework: &Framework) -> bool {
    let mut others = framework::ALL.iter().filter(|other| other.name != framework.name);
    others.any(|other| other.own_words.iter().any(|word| sentence.contains(word)))
}

/// `- not `that-cause`: because …`.
fn tells_a_strange_cause_apart(text: &str, framework: &Framework) -> bool {
    let id = text
        .strip_prefix("- not `")
        .and_then(|rest| rest.split_once('`'))
        .map(|(id, _)| id);
    id.and_then(causes::find)
        .is_some_and(|cause| !cause.is_one_of(framework))
}

/// A full stop in code ends none.
fn sentences(text: &str) -> Vec<&str> {
    let mut found = Vec::new();
    let mut in_code = false;
    let mut start = 0;
    let mut chars = text.char_indices().peekable();
    while let Some((at, c)) = chars.next() {
        in_code ^= c == '`';
        let ends = !in_code && matches!(c, '.' | '?' | '!') && chars.peek().is_some_and(|(_, c)| *c == ' ');
        let next = text[at + c.len_utf8()..].trim_start().chars().next();
        if ends && next.is_some_and(|next| next.is_uppercase() || matches!(next, '`' | '(' | '"')) {
            found.push(&text[start..=at]);
            start = at + 2;
        }
    }
    found.extend(text.get(start..).filter(|rest| !rest.is_empty()));
    found
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::framework::{celery, dramatiq};

    const PAGE: &str = "# a title\n\nIt failed. Dramatiq then retries `a. B` it. Both stop.\n\nOnly `{queue}.DQ`\nholds it.\n\n## Two\n- one of Celery\n- two\n- not `no-event-loop`: because it\n  has one\n";

    #[test]
    fn sentences_about_another_framework_are_left_out() {
        assert_eq!(
            without_their_sentences(PAGE, &celery::FRAMEWORK),
            "# a title\n\nIt failed. Both stop.\n\n## Two\n- one of Celery\n- two\n"
        );
        assert_eq!(
            without_their_sentences(PAGE, &dramatiq::FRAMEWORK),
            PAGE.replace("- one of Celery\n", "")
        );
    }

    #[test]
    fn a_full_stop_ends_a_sentence_before_a_capital() {
        assert_eq!(
            sentences("One. Two, e.g. three. `four. Five`!"),
            ["One.", "Two, e.g. three.", "`four. Five`!"]
        );
        assert_eq!(sentences("no end"), ["no end"]);
    }
}
