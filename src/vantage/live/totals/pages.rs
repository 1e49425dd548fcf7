//! Totals in pages.
//!
//! A page of 500 costs the broker nearly as much as the whole list, because it counts all queues
//! before it cuts. So pages are for patterns, where one page usually holds all that matches, and
//! for vhosts whose list is too long to be held at once.
//!
//! A queue that comes or goes between two pages shifts the others, so that one which is there all
//! the time is on no page, or on two. What exists is therefore read in one answer, of names only,
//! and what was on no page is asked for by name.

use std::collections::{HashMap, HashSet};

use serde::Deserialize;

use super::{Item, LONGEST};
use crate::error::Unavailable;
use crate::hooks::Hooks;
use crate::http::segment;
use crate::rabbitmq::management::Management;

/// More queues than these are asked for in pages: one answer is then some 16 MB.
const MOST: u64 = 200_000;

/// The broker gives no more at once.
const PAGE: usize = 500;

/// From how many queues on, and how many at once.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    pub most: u64,
    page: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            most: MOST,
            page: PAGE,
        }
    }
}

impl Limits {
    /// Tests have fewer queues.
    pub fn of(hooks: &Hooks) -> Self {
        hooks.pages.as_deref().and_then(Self::read).unwrap_or_default()
    }

    fn read(text: &str) -> Option<Self> {
        let (most, page) = text.split_once(',')?;
        Some(Self {
            most: most.trim().parse().ok()?,
            page: page
                .trim()
                .parse()
                .ok()
                .filter(|page| (1..=PAGE).contains(page))?,
        })
    }
}

#[derive(Deserialize)]
struct Page {
    items: Vec<Item>,
    page_count: u64,
    /// Queues of the vhost, whether or not they match.
    #[serde(default)]
    total_count: usize,
}

/// Everything whose name matches the regular expression, or everything; and how many queues there are.
pub async fn read(
    management: &Management,
    vhost: &str,
    query: &str,
    pattern: Option<&str>,
    limits: Limits,
) -> Result<(Vec<Item>, usize), Unavailable> {
    let vhost = segment(vhost);
    let named = |pattern: &str| format!("&use_regex=true&name={}", segment(pattern));
    let path = format!("queues/{vhost}?{query}{}", pattern.map(named).unwrap_or_default());
    let mut items = Vec::new();
    let mut page = 1;
    let total = loop {
        let size = limits.page;
        let answer: Page = management
            .list(&format!("{path}&page={page}&page_size={size}"))
            .await?;
        items.extend(answer.items);
        if page >= answer.page_count {
            break answer.total_count;
        }
        page += 1;
    };
    if page == 1 {
        return Ok((items, total));
    }
    // One of a kind, the younger one.
    let mut found: HashMap<String, Item> = items.into_iter().map(|item| (item.name.clone(), item)).collect();
    let matching = pattern.and_then(|pattern| regex::Regex::new(pattern).ok());
    let there: Vec<Item> = management
        .list(&format!("queues/{vhost}?disable_stats=true&columns=name"))
        .await?;
    let there: HashSet<String> = there
        .into_iter()
        .map(|item| item.name)
        .filter(|name| matching.as_ref().is_none_or(|matching| matching.is_match(name)))
        .collect();
    found.retain(|name, _| there.contains(name));
    let missing: Vec<&str> = there
        .iter()
        .filter(|name| !found.contains_key(*name))
        .map(String::as_str)
        .collect();
    let mut rest = Vec::new();
    for pattern in alternatives(&missing, limits.page) {
        let path = format!("queues/{vhost}?{query}{}", named(&pattern));
        let answer: Page = management
            .list(&format!("{path}&page=1&page_size={PAGE}"))
            .await?;
        rest.extend(answer.items);
    }
    found.extend(rest.into_iter().map(|item| (item.name.clone(), item)));
    Ok((found.into_values().collect(), total))
}

/// Patterns that match these names, so many each at most.
fn alternatives(names: &[&str], most: usize) -> Vec<String> {
    let mut patterns = Vec::new();
    let mut words: Vec<String> = Vec::new();
    let mut length = 0;
    for name in names {
        let word = regex::escape(name);
        if !words.is_empty() && (words.len() >= most || length + word.len() >= LONGEST) {
            patterns.push(format!("^({})$", words.join("|")));
            words.clear();
            length = 0;
        }
        length += word.len() + 1;
        words.push(word);
    }
    if !words.is_empty() {
        patterns.push(format!("^({})$", words.join("|")));
    }
    patterns
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn limits_of_a_test() {
        let limits = |most, page| Some(Limits { most, page });
        assert_eq!(Limits::read("100,40"), limits(100, 40));
        for text in ["", "100", "100,0", "100,501", "x,40", "100,40,1"] {
            assert_eq!(Limits::read(text), None, "{text}");
        }
    }

    #[test]
    fn what_was_on_no_page_is_asked_for_by_name() {
        assert!(alternatives(&[], 500).is_empty());
        assert_eq!(alternatives(&["a.b", "c|d"], 500), ["^(a\\.b|c\\|d)$"]);
        assert_eq!(alternatives(&["a", "b", "c"], 2), ["^(a|b)$", "^(c)$"]);
        let names: Vec<String> = (0..1000).map(|n| format!("queue-{n}")).collect();
        let names: Vec<&str> = names.iter().map(String::as_str).collect();
        let patterns = alternatives(&names, 500);
        assert!(
            patterns.iter().all(|pattern| pattern.len() <= LONGEST + 4),
            "{patterns:?}"
        );
        assert_eq!(patterns.join("|").matches("queue").count(), 1000);
    }
}
