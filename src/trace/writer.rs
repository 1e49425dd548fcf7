//! Texts written until a line is full: columns, colours, cuts.

use crate::text::{fit, width};

/// How lines are drawn. Columns grow with what they hold, and never shrink.
#[derive(Debug, Clone)]
pub struct LineStyle {
    pub color: bool,
    pub ascii: bool,
    /// Columns of the terminal; none where nothing is to be cut.
    pub width: Option<usize>,
    /// Seconds east of UTC.
    pub offset_s: i64,
    pub(super) queue: usize,
    pub(super) actor: usize,
    pub(super) peer: usize,
    pub(super) latency: usize,
    pub(super) attempt: usize,
    actors: Actors,
    pub(super) text: String,
}

impl LineStyle {
    pub fn new(color: bool, ascii: bool, width: Option<usize>, offset_s: i64) -> Self {
        Self {
            color,
            ascii,
            width,
            offset_s,
            queue: 8,
            actor: 8,
            peer: 12,
            latency: 7,
            attempt: 0,
            // Who reads a file or a pipe wants each line whole.
            actors: if width.is_some() {
                Actors::None
            } else {
                Actors::Several
            },
            text: String::new(),
        }
    }

    /// The first actor, once: as long as it is the only one, no line repeats its name.
    pub(super) fn introduced(&mut self, actor: Option<&str>) -> Option<String> {
        let actor = actor?;
        match &self.actors {
            Actors::None => {
                self.actors = Actors::One(actor.to_owned());
                return Some(actor.to_owned());
            }
            Actors::One(known) if known != actor => self.actors = Actors::Several,
            Actors::One(_) | Actors::Several => {}
        }
        None
    }

    pub(super) fn shows_actors(&self) -> bool {
        matches!(self.actors, Actors::Several)
    }
}

/// Which actors' messages have passed.
#[derive(Debug, Clone)]
enum Actors {
    None,
    One(String),
    Several,
}

/// Columns of queue, actor and process take no more than this, so that one long name does not push
/// everything else off the screen.
const MOST: usize = 28;

/// Writes texts until the line is full.
pub(super) struct LineWriter<'o> {
    pub out: &'o mut String,
    pub color: bool,
    pub ascii: bool,
    pub left: usize,
}

impl LineWriter<'_> {
    /// What a text that is cut ends in.
    pub fn ellipsis(&self) -> char {
        if self.ascii { '~' } else { '…' }
    }

    /// Appends a text, and blanks up to `pad` columns.
    pub fn put(&mut self, style: Option<&str>, text: &str, pad: usize) {
        let width = width(text);
        if self.left == 0 {
            return;
        }
        let style = style.filter(|_| self.color && !text.is_empty());
        if let Some(style) = style {
            self.out.push_str("\u{1b}[");
            self.out.push_str(style);
            self.out.push('m');
        }
        if width <= self.left {
            self.out.push_str(text);
            self.left -= width;
        } else {
            fit(text, self.left, self.ellipsis(), self.out);
            self.left = 0;
        }
        if style.is_some() {
            self.out.push_str("\u{1b}[0m");
        }
        let blanks = pad.saturating_sub(width).min(self.left);
        self.out.extend(std::iter::repeat_n(' ', blanks));
        self.left -= blanks;
    }

    /// A text after a gap, where there is one.
    pub fn note(&mut self, style: Option<&str>, text: &str) {
        if !text.is_empty() {
            self.put(None, "  ", 0);
            self.put(style, text, 0);
        }
    }

    pub fn column(&mut self, style: Option<&str>, text: &str, widest: &mut usize) {
        let mut short = String::new();
        let text = if width(text) > MOST {
            fit(text, MOST, self.ellipsis(), &mut short);
            &short
        } else {
            text
        };
        *widest = (*widest).max(width(text));
        self.put(style, text, *widest + 1);
    }
}
