//! A message for Slack's incoming webhooks: five lines in its own markup.
//!
//! `taskdiag diagnose --format slack | curl -H "content-type: application/json" -d @- "$WEBHOOK"`.
//! <https://docs.slack.dev/messaging/formatting-message-text>: `&`, `<` and `>` are escaped, so that nothing seen
//! mentions a user or makes a link; a code span ends with its backtick.

use super::words;
use super::{Format, Report, Style};
use crate::text::{cut, flat};

pub(super) const FORMAT: Format = Format {
    name: "slack",
    about: "Five lines for an incoming webhook of Slack, as JSON",
    extensions: &[],
    render,
};

/// Characters of one line.
const LINE: usize = 300;

fn render(report: &Report, style: Style) -> String {
    let sign = match words::is_good(report) {
        true => "✅",
        false => "❌",
    };
    let mut lines = vec![format!("{sign} *{}*", plain(&words::sentence(report)))];
    if let Some(cause) = &report.verdict.cause {
        let certainty = cause.certainty.name();
        lines.push(format!("{} ({certainty})", plain(&cause.summary)));
    }
    let facts = words::facts(report, style);
    let named = |name: &str| {
        let fact = facts.iter().find(|(other, _)| *other == name);
        fact.map(|(name, text)| format!("*{name}* {}", plain(text)))
    };
    lines.extend(named("Who acts"));
    lines.extend(named(words::EXCEPTION).or_else(|| named(words::IMPACT)));
    let first = words::remedies(report).first();
    let now = first.map(|remedy| format!("*Do now* {}", plain(remedy)));
    lines.push(now.unwrap_or_else(|| format!("More: `{}`", plain(&words::more(report)))));
    let message = serde_json::json!({ "text": lines.join("\n") });
    format!(
        "{}\n",
        crate::timeline::scrub::printable_json(message.to_string())
    )
}

/// Text that marks up nothing.
fn plain(text: &str) -> String {
    let text = cut(&flat(text), LINE);
    let text = text
        .replace('&', "&amp;")
        .replace('<', "&lt;")
        .replace('>', "&gt;");
    // A zero-width space keeps a sign of the markup from being one.
    text.replace('*', "*\u{200b}").replace('@', "@\u{200b}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_seen_mentions_nobody() {
        assert_eq!(plain("<!channel> a&b"), "&lt;!channel&gt; a&amp;b");
    }
}
