//! `${NAME}`, `${NAME:-default}` and their kin in a text: what they are for a shell, for Compose and
//! for `taskdiag.toml` alike.

/// What counts as a reference, and what stands for a literal sign.
#[derive(Clone, Copy, PartialEq)]
pub enum Syntax {
    /// `${NAME}`; `$${` is a literal `${`.
    Braces,
    /// `$NAME` too; `$$` is a literal `$`.
    Dollars,
}

/// One reference to a variable.
#[derive(Debug, PartialEq)]
pub struct Reference<'a> {
    pub name: &'a str,
    /// `:-`, `-`, `:+`, `+`, `:?`, `?` or nothing.
    operator: &'a str,
    /// What follows the operator. It may hold references itself.
    word: &'a str,
    /// As it stands in the text, up to its end if nothing closes the brace.
    pub whole: &'a str,
    pub is_closed: bool,
}

/// What stands in a reference's place.
#[derive(Debug, PartialEq)]
pub enum Choice<'a> {
    Value(&'a str),
    /// A default, still to be expanded.
    Word(&'a str),
    /// There is neither.
    Unset,
}

impl Reference<'_> {
    pub fn has_default(&self) -> bool {
        self.operator.ends_with('-')
    }

    /// By the value of the variable, if it is set. An empty one is as good as none behind a colon.
    pub fn choose<'v>(&'v self, set: Option<&'v str>) -> Choice<'v> {
        let set = set.filter(|value| !value.is_empty() || !self.operator.starts_with(':'));
        match (self.operator.trim_start_matches(':'), set) {
            ("+", Some(_)) | ("-", None) => Choice::Word(self.word),
            ("+", None) => Choice::Value(""),
            (_, Some(value)) => Choice::Value(value),
            (_, None) => Choice::Unset,
        }
    }
}

/// Puts what `fill` says in the place of every reference.
pub fn expand<E>(
    text: &str,
    syntax: Syntax,
    fill: &mut dyn FnMut(&Reference) -> Result<String, E>,
) -> Result<String, E> {
    let escape = match syntax {
        Syntax::Braces => "$${",
        Syntax::Dollars => "$$",
    };
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find('$') {
        out.push_str(&rest[..at]);
        rest = &rest[at..];
        if rest.starts_with(escape) {
            out.push_str(&escape[1..]);
            rest = &rest[escape.len()..];
        } else if let Some(reference) = reference(rest, syntax) {
            out.push_str(&fill(&reference)?);
            rest = &rest[reference.whole.len()..];
        } else {
            out.push('$');
            rest = &rest[1..];
        }
    }
    out.push_str(rest);
    Ok(out)
}

/// The reference that a text begins with.
fn reference(text: &str, syntax: Syntax) -> Option<Reference<'_>> {
    let Some(inner) = text.strip_prefix("${") else {
        let name = text[1..].split(|c| !is_of_a_name(c)).next()?;
        return (syntax == Syntax::Dollars && !name.is_empty()).then(|| Reference {
            name,
            operator: "",
            word: "",
            whole: &text[..=name.len()],
            is_closed: true,
        });
    };
    let end = closing(inner);
    let inside = &inner[..end.unwrap_or(inner.len())];
    let (name, rest) = inside.split_at(inside.find(|c| !is_of_a_name(c)).unwrap_or(inside.len()));
    let operator = [":-", ":+", ":?", "-", "+", "?"]
        .into_iter()
        .find(|operator| rest.starts_with(operator));
    Some(Reference {
        // What follows a name and is no operator is part of a name that nobody can set.
        name: operator.map_or(inside, |_| name),
        operator: operator.unwrap_or_default(),
        word: operator.map_or("", |operator| &rest[operator.len()..]),
        whole: &text[..end.map_or(text.len(), |end| end + 3)],
        is_closed: end.is_some(),
    })
}

fn is_of_a_name(c: char) -> bool {
    c.is_alphanumeric() || c == '_'
}

/// The `}` that belongs to a `${` before this text.
fn closing(text: &str) -> Option<usize> {
    let mut depth = 0_usize;
    let mut before = ' ';
    for (at, c) in text.char_indices() {
        match c {
            '{' if before == '$' => depth += 1,
            '}' if depth == 0 => return Some(at),
            '}' => depth -= 1,
            _ => {}
        }
        before = c;
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    fn filled(text: &str, syntax: Syntax) -> String {
        let mut fill = |reference: &Reference| {
            let set = [("A", "1"), ("E", "")]
                .into_iter()
                .find(|(name, _)| *name == reference.name)
                .map(|(_, value)| value);
            Ok::<_, ()>(match reference.choose(set) {
                _ if !reference.is_closed => "!".to_owned(),
                Choice::Value(value) => value.to_owned(),
                Choice::Word(word) => format!("<{word}>"),
                Choice::Unset => "?".to_owned(),
            })
        };
        expand(text, syntax, &mut fill).expect("it cannot fail")
    }

    #[test]
    fn every_operator() {
        for (text, expected) in [
            ("${A} ${N} ${E}", "1 ? "),
            ("${A:-x} ${E:-x} ${N:-x}", "1 <x> <x>"),
            ("${A-x} ${E-x} ${N-x}", "1  <x>"),
            ("${A:+x} ${E:+x} ${N:+x}", "<x>  "),
            ("${A+x} ${E+x} ${N+x}", "<x> <x> "),
            ("${A:?x} ${E:?x} ${N?x}", "1 ? ?"),
            ("${N:-${A:-y}}z", "<${A:-y}>z"),
            ("${A.b} ${A", "? !"),
            ("é${A}é$", "é1é$"),
        ] {
            assert_eq!(filled(text, Syntax::Braces), expected, "{text}");
            assert_eq!(filled(text, Syntax::Dollars), expected, "{text}");
        }
    }

    #[test]
    fn what_is_literal() {
        assert_eq!(filled("$A $$A $${A} 5$ $é", Syntax::Braces), "$A $$A ${A} 5$ $é");
        assert_eq!(filled("$A $$A $${A} 5$ $-", Syntax::Dollars), "1 $A ${A} 5$ $-");
    }
}
