//! Where a file that a process names lies in the reader's repository.

use std::path::{Component, Path, PathBuf};

/// Relative to the repository's root, as GitHub's annotations want it. The process may have run elsewhere, in a
/// container say: the one file here whose path ends most alike is taken for it.
pub fn locate(file: &str) -> Option<String> {
    inside(&root()?, Path::new(file))
}

fn root() -> Option<PathBuf> {
    if let Some(workspace) = std::env::var_os("GITHUB_WORKSPACE") {
        return Some(workspace.into());
    }
    let here = std::env::current_dir().ok()?;
    let root = here.ancestors().find(|folder| folder.join(".git").exists());
    root.map(Path::to_owned)
}

/// So many entries of a repository are looked at for the file.
const MOST: usize = 20_000;

fn inside(root: &Path, file: &Path) -> Option<String> {
    let is_plain = |part: Component| matches!(part, Component::Normal(_) | Component::RootDir);
    if !file.components().all(is_plain) {
        return None;
    }
    if let Ok(here) = file.strip_prefix(root) {
        return here.to_str().map(str::to_owned);
    }
    let name = file.file_name()?;
    let entries = ignore::WalkBuilder::new(root).build().take(MOST).flatten();
    let candidates = entries
        .filter(|entry| entry.file_name() == name)
        .filter_map(|entry| {
            let here = entry.path().strip_prefix(root).ok()?.to_owned();
            Some((alike(&here, file), here))
        });
    let mut found: Vec<(usize, PathBuf)> = candidates.collect();
    found.sort_by_key(|(alike, _)| std::cmp::Reverse(*alike));
    match found.as_slice() {
        // A name alone is too little to be the same file, and of two that fit as well neither is it.
        [(1, _), ..] | [] => None,
        [(first, _), (second, _), ..] if first == second => None,
        [(_, here), ..] => here.to_str().map(str::to_owned),
    }
}

/// How many parts two paths have in common at their ends.
fn alike(one: &Path, other: &Path) -> usize {
    let pairs = one.components().rev().zip(other.components().rev());
    pairs.take_while(|(one, other)| one == other).count()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_file_whose_path_ends_most_alike() {
        let root = std::env::temp_dir().join(format!("taskdiag-repository-{}", std::process::id()));
        std::fs::create_dir_all(root.join("app/tasks")).expect("a folder");
        std::fs::write(root.join("app/tasks/mail.py"), "").expect("a file");
        std::fs::create_dir_all(root.join("app/jobs")).expect("a folder");
        std::fs::write(root.join("app/jobs/mail.py"), "").expect("a file");
        let found = |file: &str| inside(&root, Path::new(file));
        assert_eq!(
            found("/srv/app/tasks/mail.py").as_deref(),
            Some("app/tasks/mail.py")
        );
        let here = root.join("app/tasks/mail.py");
        assert_eq!(
            found(here.to_str().expect("a name")).as_deref(),
            Some("app/tasks/mail.py")
        );
        assert_eq!(found("/v/site-packages/dramatiq/mail.py"), None);
        assert_eq!(found("/srv/mail.py"), None);
        assert_eq!(found("/srv/../mail.py"), None);
        std::fs::remove_dir_all(root).expect("removed");
    }
}
