//! One thing that looks wrong, and what to do about it.

use serde::Serialize;

#[derive(Debug, Serialize)]
pub struct Finding {
    pub text: String,
    /// What to do, or where to look next.
    pub fix: String,
}

pub(super) fn finding(text: impl Into<String>, fix: impl Into<String>) -> Finding {
    Finding {
        text: text.into(),
        fix: fix.into(),
    }
}
