//! Settings that an application reads from a `.env` file at its start: `/proc/PID/environ` does not
//! have them, so the file itself is looked at.

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::path::Path;

use super::mask::Masker;
use super::view::View;
use crate::timeline::environment::{DotEnv, Variable};
use crate::timeline::scrub::printable;

/// Libraries that read `.env`. Without one of them the file is somebody else's: Docker Compose and
/// direnv put its settings into the environment, where they are seen anyway.
const READERS: &[&str] = &[
    "django-environ",
    "dynaconf",
    "environs",
    "pydantic-settings",
    "python-decouple",
    "python-dotenv",
];

const MOST_BYTES: u64 = 256 * 1024;
const MOST_VARIABLES: usize = 500;

pub fn is_reader(package: &str) -> bool {
    READERS.contains(&package)
}

/// The file in the working directory or beside the code, or above it, where python-dotenv looks.
pub fn find(
    view: &View,
    cwd: Option<&Path>,
    code: Option<&Path>,
    masker: &Masker,
    known: &BTreeMap<String, Variable>,
    started_at_ms: Option<i64>,
) -> Option<DotEnv> {
    let folders = cwd.into_iter().chain(code).chain(code.and_then(Path::parent));
    let (path, text) = folders
        .map(|folder| folder.join(".env"))
        .find_map(|path| view.read(&path, MOST_BYTES).map(|text| (path, text)))?;
    let variables = dotenvy::from_read_iter(text.as_bytes())
        .flatten()
        .filter(|(name, _)| name.len() <= 200 && !known.contains_key(name))
        .take(MOST_VARIABLES)
        .map(|(name, value)| {
            let masked = masker.variable(OsStr::new(&name), OsStr::new(&value));
            (printable(&name), masked)
        })
        .collect();
    Some(DotEnv {
        changed_since: started_at_ms.is_some_and(|started| changed_at_ms(view, &path) > Some(started)),
        path: printable(&path.display().to_string()),
        variables,
    })
}

fn changed_at_ms(view: &View, path: &Path) -> Option<i64> {
    let changed = std::fs::metadata(view.real(path)?).ok()?.modified().ok()?;
    let since = changed.duration_since(std::time::UNIX_EPOCH).ok()?;
    i64::try_from(since.as_millis()).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_process_has_already_wins() {
        let folder = std::env::temp_dir().join(format!("taskdiag-dotenv-{}", std::process::id()));
        std::fs::create_dir_all(&folder).unwrap();
        let text = "A=\"x y\"\nexport B=2 # two\nDRAMATIQ_TESTING=1\nnonsense\nURL='postgres://u:p@h/d'\n";
        std::fs::write(folder.join(".env"), text).unwrap();
        let known = BTreeMap::from([("A".to_owned(), Variable::Hidden)]);
        let masker = Masker::without("no key");
        let found = find(&View::default(), Some(&folder), None, &masker, &known, Some(0)).unwrap();
        assert!(found.changed_since);
        let all: Vec<(&str, &Variable)> = found
            .variables
            .iter()
            .map(|(name, value)| (name.as_str(), value))
            .collect();
        assert_eq!(
            all,
            [
                ("B", &Variable::Hidden),
                ("DRAMATIQ_TESTING", &Variable::Plain("1".into())),
                ("URL", &Variable::Hidden)
            ]
        );
        let later = find(
            &View::default(),
            None,
            Some(&folder.join("src")),
            &masker,
            &known,
            Some(i64::MAX),
        );
        assert!(!later.unwrap().changed_since, "beside the code's folder");
        assert_eq!(find(&View::default(), None, None, &masker, &known, None), None);
        std::fs::remove_dir_all(&folder).unwrap();
    }
}
