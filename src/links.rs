//! Links to where the project lives: what a release was built from (`TASKDIAG_REPOSITORY`, which the release's
//! workflow sets), else `repository` in Cargo.toml. While there is neither, reports name a command instead.

/// Known when it is built: the page of a cause has one address for ever.
const REPOSITORY: &str = match option_env!("TASKDIAG_REPOSITORY") {
    Some(repository) => repository,
    None => env!("CARGO_PKG_REPOSITORY"),
};

/// The page of a cause.
pub fn cause(id: &str) -> Option<String> {
    page(REPOSITORY, &format!("docs/causes.md#{id}"))
}

/// The same, or while there is no address the command that prints it.
pub fn page_of(id: &str) -> String {
    cause(id).unwrap_or_else(|| format!("taskdiag explain {id}"))
}

/// For the end of a hint: where every key is explained.
pub fn every_key() -> String {
    match page(REPOSITORY, "docs/configuration.md") {
        Some(page) => format!("{page} explains every key"),
        None => "`taskdiag init --print` shows the keys with examples".into(),
    }
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
