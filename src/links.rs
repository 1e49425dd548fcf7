//! Links to where the project lives. Its address stands in one place, `repository` in Cargo.toml; while that is
//! unset there are none, and reports name a command instead.

/// The page of a cause.
pub fn cause(id: &str) -> Option<String> {
    page(env!("CARGO_PKG_REPOSITORY"), &format!("docs/causes.md#{id}"))
}

/// The same, or while there is no address the command that prints it.
pub fn page_of(id: &str) -> String {
    cause(id).unwrap_or_else(|| format!("taskdiag explain {id}"))
}

fn page(repository: &str, inside: &str) -> Option<String> {
    let is_public = !repository.is_empty();
    is_public.then(|| format!("{}/blob/main/{inside}", repository.trim_end_matches('/')))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_link_begins_with_the_address_and_without_one_there_is_none() {
        assert_eq!(page("", "README.md"), None);
        assert_eq!(
            page("https://example.org/taskdiag/", "README.md").as_deref(),
            Some("https://example.org/taskdiag/blob/main/README.md")
        );
    }
}
