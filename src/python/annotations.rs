//! Types of parameters and fields, as far as a value can be made of them.

use std::sync::LazyLock;

use regex::Regex;
use serde_json::{Value as Json, json};

use super::body::of_type;

/// What must be kept of a value: `ge=1`, `min_length=3`.
static LEAST: LazyLock<Option<Regex>> =
    LazyLock::new(|| Regex::new(r"\b(ge|gt|min_length|min_items)\s*=\s*(\d{1,4})\b").ok());

/// `Annotated[Optional[schemas.Job], Body()]`, without its wrappers.
#[derive(Debug, Clone, Default, PartialEq)]
pub(super) struct Annotation {
    /// The last part of its name: `Job`.
    pub name: String,
    /// What stands in brackets behind it.
    pub of: Vec<String>,
    /// What `Annotated` says besides.
    pub said: String,
}

impl Annotation {
    pub fn of(text: &str) -> Self {
        let text = text.trim().trim_matches(['"', '\'']).trim();
        let sides = parts(text, '|');
        if sides.len() > 1 {
            let first = sides.iter().find(|side| **side != "None");
            return Self::of(first.copied().unwrap_or_default());
        }
        let (name, inner) = match text.split_once('[') {
            Some((name, rest)) => (name.trim(), rest.trim_end().strip_suffix(']').unwrap_or(rest)),
            None => (text, ""),
        };
        let name = name.rsplit('.').next().unwrap_or_default();
        let of = parts(inner, ',');
        match (name, of.first()) {
            ("Annotated", Some(first)) => {
                let mut inner = Self::of(first);
                inner.said.push_str(&of[1..].join(", "));
                inner
            }
            ("Optional" | "Union" | "Final" | "Required" | "SecretStr", Some(_)) => {
                let first = of.iter().find(|part| **part != "None");
                Self::of(first.copied().unwrap_or_default())
            }
            _ => Self {
                name: name.to_owned(),
                of: of.into_iter().map(str::to_owned).collect(),
                said: String::new(),
            },
        }
    }

    /// A part of a path or of a query, unless something says otherwise.
    pub fn is_plain(&self) -> bool {
        const PLAIN: &[&str] = &[
            "str",
            "int",
            "float",
            "bool",
            "bytes",
            "UUID",
            "UUID4",
            "UUID1",
            "datetime",
            "date",
            "time",
            "Decimal",
            "Literal",
            "EmailStr",
            "HttpUrl",
            "AnyUrl",
            "AnyHttpUrl",
            "Path",
            "timedelta",
            "PositiveInt",
            "NonNegativeInt",
            "conint",
            "constr",
            "confloat",
        ];
        let name = self.name.split('(').next().unwrap_or_default();
        PLAIN.contains(&name)
    }

    /// The only word that is allowed, or the first of them.
    pub fn literal(&self) -> Option<Json> {
        let first = self.of.first().filter(|_| self.name == "Literal")?;
        let word = first.trim_matches(['"', '\'']);
        Some(match word == first {
            true => first
                .parse::<i64>()
                .map_or_else(|_| json!(first), |number| json!(number)),
            false => json!(word),
        })
    }

    /// A value of this type, which is made up; `bounds` may say more of it.
    pub fn value(&self, field: &str, bounds: &str) -> Option<Json> {
        let bounds = format!("{}, {}, {bounds}", self.name, self.said);
        let least = |wanted: &[&str]| {
            let mut found = LEAST.as_ref()?.captures_iter(&bounds);
            let bound = found.find(|bound| wanted.contains(&&bound[1]))?;
            let number: u64 = bound[2].parse().ok()?;
            Some(number + u64::from(&bound[1] == "gt"))
        };
        let name = self.name.split('(').next().unwrap_or_default();
        Some(match name {
            "int" | "conint" | "PositiveInt" | "NonNegativeInt" => {
                json!(least(&["ge", "gt"]).unwrap_or(1).max(1))
            }
            "float" | "confloat" | "Decimal" => json!(least(&["ge", "gt"]).unwrap_or(1) as f64),
            "EmailStr" => json!("taskdiag@example.com"),
            "HttpUrl" | "AnyUrl" | "AnyHttpUrl" => json!("https://example.com/"),
            "datetime" => json!("2026-01-01T00:00:00Z"),
            "UUID4" | "UUID1" => of_type("UUID")?,
            "list" | "List" | "set" | "Set" | "Sequence" | "tuple" | "Tuple" | "conlist" => {
                let item = self.of.first().map(|item| Self::of(item));
                // With nothing in it nothing would be done.
                json!([item
                    .and_then(|item| item.value(field, ""))
                    .unwrap_or(json!("taskdiag"))])
            }
            "dict" | "Dict" | "Mapping" | "Json" | "Any" | "object" => json!({}),
            "str" | "constr" | "bytes" => {
                let mut text = super::body::text_for(field).to_owned();
                let least = least(&["min_length"]).unwrap_or(0).min(256);
                while (text.chars().count() as u64) < least {
                    text.push('x');
                }
                json!(text)
            }
            other => of_type(other)?,
        })
    }
}

/// What a sign parts, outside of brackets and quotes.
fn parts(text: &str, sign: char) -> Vec<&str> {
    let mut found = Vec::new();
    let (mut depth, mut from) = (0_i32, 0);
    let mut quote = None;
    for (at, c) in text.char_indices() {
        match (quote, c) {
            (Some(open), _) if open == c => quote = None,
            (Some(_), _) => {}
            (None, '"' | '\'') => quote = Some(c),
            (None, '[' | '(' | '{') => depth += 1,
            (None, ']' | ')' | '}') => depth -= 1,
            (None, _) if c == sign && depth == 0 => {
                found.push(text[from..at].trim());
                from = at + c.len_utf8();
            }
            _ => {}
        }
    }
    found.push(text[from..].trim());
    found.retain(|part| !part.is_empty());
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn wrappers_are_taken_off() {
        for text in [
            "Job",
            "schemas.Job",
            "Optional[schemas.Job]",
            "Union[Job, None]",
            "None | Job",
            "\"Job\"",
            "Annotated[Job, Body(embed=True)]",
        ] {
            assert_eq!(Annotation::of(text).name, "Job", "{text}");
        }
        assert_eq!(
            Annotation::of("Annotated[Job, Body(embed=True)]").said,
            "Body(embed=True)"
        );
        assert_eq!(Annotation::of("dict[str, list[int]]").of, ["str", "list[int]"]);
        assert_eq!(Annotation::of("").name, "");
    }

    #[test]
    fn values_of_types() {
        let value = |text: &str, bounds: &str| Annotation::of(text).value("name", bounds);
        assert_eq!(value("int", "Field(ge=5, le=300)"), Some(json!(5)));
        assert_eq!(value("conint(gt=2)", ""), Some(json!(3)));
        assert_eq!(
            value("Annotated[str, Field(min_length=10)]", ""),
            Some(json!("taskdiagxx"))
        );
        assert_eq!(value("List[int]", ""), Some(json!([1])));
        assert_eq!(value("dict[str, Any]", ""), Some(json!({})));
        assert_eq!(value("Job", ""), None);
        assert_eq!(
            Annotation::of("Literal[\"a\", \"b\"]").literal(),
            Some(json!("a"))
        );
        assert_eq!(Annotation::of("Literal[3]").literal(), Some(json!(3)));
    }
}
