//! What a command prints when it is started, kept until a lull says that the present has begun.

use std::collections::VecDeque;

use super::super::fields::Parsed;

/// Of a past that does not end only the last part can matter.
const MOST_BYTES: usize = 32 << 20;

#[derive(Default)]
pub(super) struct Past {
    lines: VecDeque<Parsed>,
    bytes: usize,
}

impl Past {
    pub fn extend(&mut self, lines: impl IntoIterator<Item = Parsed>) {
        for line in lines {
            self.bytes += size(&line);
            self.lines.push_back(line);
            while self.bytes > MOST_BYTES
                && let Some(oldest) = self.lines.pop_front()
            {
                self.bytes -= size(&oldest);
            }
        }
    }

    pub fn take(&mut self) -> Vec<Parsed> {
        self.bytes = 0;
        std::mem::take(&mut self.lines).into()
    }
}

fn size((line, stated): &Parsed) -> usize {
    let texts = [Some(&line.text), line.traceback.as_ref(), stated.as_ref()];
    let bytes: usize = texts.into_iter().flatten().map(String::len).sum();
    bytes + size_of::<Parsed>()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::timeline::LogLine;

    #[test]
    fn the_last_lines_are_kept() {
        let line = |number: usize| {
            let text = format!("{number:01000}");
            (
                LogLine {
                    text,
                    ..LogLine::default()
                },
                None,
            )
        };
        let mut past = Past::default();
        past.extend((0..100_000).map(line));
        let kept = past.take();
        assert!(kept.len() < 40_000, "{}", kept.len());
        assert!(kept.last().is_some_and(|(line, _)| line.text.ends_with("99999")));
        assert!(past.take().is_empty());
    }
}
