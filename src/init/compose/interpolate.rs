//! Variables in a Compose file: as Compose fills them in, and which of them nothing sets.

use super::Variables;
use crate::expand::{Choice, Reference, Syntax, expand};

/// What stands around the name of a variable that nothing sets, until it is known what becomes of it.
const MARKS: [char; 2] = ['\u{1}', '\u{2}'];

/// What is set, and nothing for what is not: as Compose takes it.
pub(super) fn closed(marked: &str) -> String {
    let parts = marked.split(MARKS).step_by(2);
    parts.collect()
}

/// With `${NAME}` for what nothing sets, if there is such.
pub(super) fn open(marked: &str) -> Option<String> {
    marked
        .contains(MARKS[0])
        .then(|| marked.replace(MARKS[0], "${").replace(MARKS[1], "}"))
}

/// A text as Compose reads it, with the variables that were used and what they were taken to be.
pub(super) fn interpolate(text: &str, variables: &Variables) -> (String, Vec<(String, String)>) {
    let (marked, uses) = mark(text, variables);
    (closed(&marked), uses)
}

/// The same, with marks around the names of variables that nothing sets.
pub(super) fn mark(text: &str, variables: &Variables) -> (String, Vec<(String, String)>) {
    let mut uses = Vec::new();
    let mut fill = |reference: &Reference| {
        if !reference.is_closed {
            return Ok(reference.whole.to_owned());
        }
        let value = match reference.choose(variables.get(reference.name).map(String::as_str)) {
            Choice::Value(value) => value.to_owned(),
            Choice::Word(word) => mark(word, variables).0,
            Choice::Unset => format!("{}{}{}", MARKS[0], reference.name, MARKS[1]),
        };
        uses.push((reference.name.to_owned(), closed(&value)));
        Ok::<_, std::convert::Infallible>(value)
    };
    let Ok(expanded) = expand(text, Syntax::Dollars, &mut fill);
    (expanded, uses)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    #[test]
    fn interpolation_as_compose_does_it() {
        let variables = BTreeMap::from([("A".to_owned(), "1".to_owned()), ("E".to_owned(), String::new())]);
        for (text, expected) in [
            (
                "$A ${A} $$A ${E:-x} ${E-x} ${N-y} ${N:-${A}2} ${A:+z} ${N:+z}",
                "1 1 $A x  y 12 z ",
            ),
            ("${A:?needed} ${open", "1 ${open"),
            ("100%$", "100%$"),
        ] {
            assert_eq!(interpolate(text, &variables).0, expected, "{text}");
        }
    }
}
