//! A page of the catalogue for a terminal: paragraphs and lists wrapped, headings bold, commands as they are.

use super::Style;
use super::layout::hanging;

/// Of what Markdown has: headings, paragraphs, lists of one level and fenced code.
pub fn page(text: &str, style: Style) -> String {
    let mut out: Vec<String> = Vec::new();
    let mut paragraph = String::new();
    let mut is_code = false;
    for line in text.lines() {
        let is_fence = line.starts_with("```");
        if is_code && !is_fence {
            // A command is pasted as it stands: it is never wrapped.
            out.push(style.paint("36", &format!("    {line}")).trim_end().to_owned());
            continue;
        }
        let begins = line.is_empty() || is_fence || line.starts_with(['#', '-']);
        if begins && !paragraph.is_empty() {
            out.push(wrapped(&std::mem::take(&mut paragraph), style));
        }
        match line {
            _ if is_fence => is_code = !is_code,
            "" => out.push(String::new()),
            _ if line.starts_with('#') => out.push(style.bold(line.trim_start_matches('#').trim_start())),
            _ => {
                paragraph.push_str(if paragraph.is_empty() { "" } else { " " });
                paragraph.push_str(line.trim());
            }
        }
    }
    if !paragraph.is_empty() {
        out.push(wrapped(&paragraph, style));
    }
    format!("{}\n", out.join("\n"))
}

fn wrapped(paragraph: &str, style: Style) -> String {
    match paragraph.strip_prefix("- ") {
        Some(item) => hanging(if style.ascii { "  - " } else { "  • " }, item, 4, style),
        None => hanging("  ", paragraph, 2, style),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paragraphs_are_wrapped_and_commands_are_not() {
        let narrow = Style {
            width: 24,
            ..Style::PLAIN
        };
        let text = "# a\n\n## What\nsome words that go on\nand on\n\n- an item\n  of two lines\n```sh\nrun it with all these words\n```\n";
        let expected = "a\n\nWhat\n  some words that go on\n  and on\n\n  • an item of two lines\n    run it with all these words\n";
        assert_eq!(page(text, narrow), expected);
    }

    #[test]
    fn no_page_is_wider_than_the_terminal_but_for_commands() {
        let style = Style {
            width: 80,
            ..Style::PLAIN
        };
        for cause in crate::diagnosis::causes::ALL {
            for line in page(cause.page, style).lines() {
                let wide = unicode_width::UnicodeWidthStr::width(line);
                assert!(wide <= 80 || line.starts_with("    "), "{}: {line}", cause.id);
            }
        }
    }
}
