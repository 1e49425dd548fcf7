//! Installed distributions, read from their metadata on disk as `importlib.metadata` would.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use super::view::View;
use crate::timeline::environment::Distribution;
use crate::timeline::scrub::printable;

/// What the import path holds.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Installed {
    pub distributions: Vec<Distribution>,
    /// Folders that `.pth` files and development installs add to the import path.
    pub added: Vec<PathBuf>,
    /// There was more than is worth reading.
    pub cut: bool,
}

/// So many entries of a folder, distributions in all, and bytes of a file are read at most.
const MOST_ENTRIES: usize = 20_000;
const MOST_DISTRIBUTIONS: usize = 4_000;
const MOST_BYTES: u64 = 64 * 1024;
const MOST_NAME: usize = 120;

/// Reads these folders in the order of the import path: of several with one name the first counts.
pub fn installed(view: &View, folders: &[PathBuf]) -> Installed {
    let mut reading = Reading::default();
    for folder in folders {
        reading.folder(view, folder, true);
    }
    // What `.pth` files add comes last on the path. Their own `.pth` files are not read.
    for folder in reading.added.clone() {
        if !folders.contains(&folder) {
            reading.folder(view, &folder, false);
        }
    }
    Installed {
        cut: reading.cut,
        added: reading.added,
        distributions: reading.found.into_values().collect(),
    }
}

#[derive(Default)]
struct Reading {
    found: BTreeMap<String, Distribution>,
    added: Vec<PathBuf>,
    cut: bool,
}

impl Reading {
    fn folder(&mut self, view: &View, folder: &Path, is_site: bool) {
        let names = view.list(folder, MOST_ENTRIES);
        self.cut |= names.len() == MOST_ENTRIES;
        for name in names {
            let path = folder.join(&name);
            if let Some(stem) = name.strip_suffix(".dist-info") {
                let metadata = view.read(&path.join("METADATA"), MOST_BYTES);
                let editable = editable(view, &path);
                if let Some(folder) = &editable {
                    self.add_path(view, PathBuf::from(folder));
                }
                self.take(stem, metadata.as_deref(), editable);
            } else if let Some(stem) = name.strip_suffix(".egg-info") {
                // A folder of setuptools, or one file of distutils.
                let metadata = view
                    .read(&path.join("PKG-INFO"), MOST_BYTES)
                    .or_else(|| view.read(&path, MOST_BYTES));
                let editable = (!is_site).then(|| folder.display().to_string());
                self.take(stem, metadata.as_deref(), editable);
            } else if let Some(text) = name
                .ends_with(".egg-link")
                .then(|| view.read(&path, MOST_BYTES))
                .flatten()
            {
                // `setup.py develop`: the first line is the project's folder.
                if let Some(line) = text.lines().next() {
                    self.add_path(view, folder.join(line.trim()));
                }
            } else if is_site
                && let Some(text) = name
                    .ends_with(".pth")
                    .then(|| view.read(&path, MOST_BYTES))
                    .flatten()
            {
                self.path_file(view, folder, &text);
            } else if is_site && name.starts_with("__editable__") && name.ends_with("_finder.py") {
                // What setuptools writes where a plain path would not do.
                let text = view.read(&path, MOST_BYTES).unwrap_or_default();
                for folder in mapped(&text) {
                    self.add_path(view, folder);
                }
            }
        }
    }

    /// Lines are folders, comments, or code, which is not run.
    fn path_file(&mut self, view: &View, folder: &Path, text: &str) {
        for line in text.lines().take(1_000).map(str::trim) {
            let is_code = line.starts_with("import ") || line.starts_with("import\t");
            if !line.is_empty() && !line.starts_with('#') && !is_code {
                self.add_path(view, folder.join(line));
            }
        }
    }

    fn add_path(&mut self, view: &View, folder: PathBuf) {
        if self.added.len() < 200 && !self.added.contains(&folder) && view.is_dir(&folder) {
            self.added.push(folder);
        }
    }

    /// `stem` is `name-version` or, for a development install, the name alone.
    fn take(&mut self, stem: &str, metadata: Option<&str>, editable: Option<String>) {
        let header = |wanted: &str| {
            metadata?
                .lines()
                .take_while(|line| !line.trim().is_empty())
                .find_map(|line| {
                    let (name, value) = line.split_once(':')?;
                    name.eq_ignore_ascii_case(wanted).then(|| value.trim().to_owned())
                })
                .filter(|value| !value.is_empty())
        };
        let (by_name, by_version) = stem.split_once('-').unwrap_or((stem, ""));
        let version = header("Version")
            .unwrap_or_else(|| by_version.split("-py").next().unwrap_or_default().to_owned());
        let name = normalised(&shown(&header("Name").unwrap_or_else(|| by_name.to_owned())));
        if name.is_empty() {
            return;
        }
        let version = if version.is_empty() {
            "?".to_owned()
        } else {
            shown(&version)
        };
        if self.found.len() >= MOST_DISTRIBUTIONS && !self.found.contains_key(&name) {
            self.cut = true;
            return;
        }
        match self.found.get_mut(&name) {
            // The same project seen through its link and in its own folder is one.
            Some(first) => {
                if first.version != version && !first.also.contains(&version) && first.also.len() < 10 {
                    first.also.push(version);
                }
                if first.editable.is_none() {
                    first.editable = editable;
                }
            }
            None => {
                let distribution = Distribution {
                    name: name.clone(),
                    version,
                    editable,
                    also: Vec::new(),
                };
                self.found.insert(name, distribution);
            }
        }
    }
}

/// PEP 503: runs of `-`, `_` and `.` are one `-`, letters are small.
pub fn normalised(name: &str) -> String {
    let mut out = String::with_capacity(name.len());
    for c in name.chars() {
        if matches!(c, '-' | '_' | '.') {
            if !out.ends_with('-') {
                out.push('-');
            }
        } else {
            out.extend(c.to_lowercase());
        }
    }
    out
}

/// Metadata may come from anybody.
fn shown(text: &str) -> String {
    let text: String = text.chars().take(MOST_NAME).collect();
    printable(&text).replace(['\n', '\t'], " ")
}

/// PEP 610: the folder of a development install.
fn editable(view: &View, info: &Path) -> Option<String> {
    let text = view.read(&info.join("direct_url.json"), MOST_BYTES)?;
    let json: serde_json::Value = serde_json::from_str(&text).ok()?;
    if json.pointer("/dir_info/editable") != Some(&serde_json::Value::Bool(true)) {
        return None;
    }
    let path = url::Url::parse(json.get("url")?.as_str()?)
        .ok()?
        .to_file_path()
        .ok()?;
    Some(printable(&path.display().to_string()))
}

/// Parents of the folders in a finder's `MAPPING = {'package': '/project/src/package'}`.
fn mapped(finder: &str) -> Vec<PathBuf> {
    let Some(line) = finder.lines().find(|line| line.starts_with("MAPPING")) else {
        return Vec::new();
    };
    let mut found: Vec<PathBuf> = Vec::new();
    for text in line.split(['\'', '"']) {
        let path = Path::new(text);
        if let Some(parent) = path.parent().filter(|_| path.is_absolute())
            && !found.iter().any(|other| other == parent)
        {
            found.push(parent.to_owned());
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    struct Site(PathBuf);

    impl Site {
        fn new(name: &str) -> Self {
            let root = std::env::temp_dir().join(format!("taskdiag-site-{}-{name}", std::process::id()));
            let _ = fs::remove_dir_all(&root);
            fs::create_dir_all(&root).unwrap();
            Self(fs::canonicalize(root).unwrap())
        }

        fn file(&self, path: &str, text: impl AsRef<[u8]>) -> &Self {
            let path = self.0.join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
            self
        }

        fn read(&self, folders: &[&str]) -> Installed {
            let folders: Vec<PathBuf> = folders.iter().map(|folder| self.0.join(folder)).collect();
            installed(&View::default(), &folders)
        }

        fn list(&self, folders: &[&str]) -> Vec<String> {
            let found = self.read(folders).distributions;
            found
                .iter()
                .map(|one| format!("{} {}", one.name, one.shown()))
                .collect()
        }
    }

    impl Drop for Site {
        fn drop(&mut self) {
            let _ = fs::remove_dir_all(&self.0);
        }
    }

    #[test]
    fn metadata_counts_and_names_are_normalised() {
        let site = Site::new("plain");
        site.file(
            "s/Ruamel.Yaml_Clib-0.1.dist-info/METADATA",
            "Metadata-Version: 2.1\nName: ruamel.yaml_.clib\nVersion: 0.2.8\n\nVersion: 9\n",
        )
        .file("s/pika-1.3.2.dist-info/RECORD", "")
        .file(
            "s/old-1.0-py3.11.egg-info",
            "Metadata-Version: 1.0\nName: old\nVersion: 1.0\n",
        )
        .file("s/older-0.9-py3.11.egg-info/PKG-INFO", "Name: older\n")
        .file("s/pika/__init__.py", "");
        assert_eq!(
            site.list(&["s"]),
            ["old 1.0", "older 0.9", "pika 1.3.2", "ruamel-yaml-clib 0.2.8"]
        );
    }

    #[test]
    fn of_several_versions_both_are_reported() {
        let site = Site::new("two");
        site.file("a/pika-1.2.0.dist-info/METADATA", "Name: pika\nVersion: 1.2.0\n")
            .file("b/pika-1.3.2.dist-info/METADATA", "Name: pika\nVersion: 1.3.2\n");
        assert_eq!(site.list(&["a", "b"]), ["pika 1.2.0 (and 1.3.2)"]);
        assert_eq!(site.list(&["b", "a"]), ["pika 1.3.2 (and 1.2.0)"]);
    }

    #[test]
    fn development_installs_name_their_folder() {
        let site = Site::new("editable");
        let url = url::Url::from_file_path(site.0.join("my project")).unwrap();
        site.file("my project/src/app/__init__.py", "")
            .file("s/app-1.0.dist-info/METADATA", "Name: app\nVersion: 1.0\n")
            .file(
                "s/app-1.0.dist-info/direct_url.json",
                format!("{{\"url\": \"{url}\", \"dir_info\": {{\"editable\": true}}}}"),
            )
            .file(
                "s/__editable__.app-1.0.pth",
                site.0.join("my project/src").display().to_string(),
            )
            .file(
                "s/__editable___lib_1_0_finder.py",
                format!(
                    "MAPPING: dict[str, str] = {{'lib': '{}'}}\n",
                    site.0.join("lib/src/lib").display()
                ),
            )
            .file("lib/src/lib/__init__.py", "")
            .file("old/old.egg-info/PKG-INFO", "Name: old\nVersion: 3\n")
            .file("s/old.egg-link", format!("{}\n.", site.0.join("old").display()));
        let found = site.read(&["s"]);
        let texts: Vec<String> = found.distributions.iter().map(Distribution::shown).collect();
        assert_eq!(
            texts,
            [
                format!("1.0 (editable: {})", site.0.join("my project").display()),
                format!("3 (editable: {})", site.0.join("old").display())
            ]
        );
        for folder in ["my project", "my project/src", "lib/src", "old"] {
            assert!(
                found.added.contains(&site.0.join(folder)),
                "{folder}: {:?}",
                found.added
            );
        }
    }

    #[test]
    fn lines_of_code_in_path_files_are_not_folders() {
        let site = Site::new("pth");
        site.file(
            "s/a.pth",
            "# no\nimport os; os.system('x')\n../extra\n../missing\n",
        )
        .file("extra/dep-1.dist-info/METADATA", "Name: dep\nVersion: 1\n");
        let found = site.read(&["s"]);
        assert_eq!(found.added, [site.0.join("s/../extra")]);
        assert_eq!(found.distributions[0].name, "dep");
    }

    #[test]
    fn hostile_metadata_does_no_harm() {
        let site = Site::new("hostile");
        let mut huge = b"Name: huge\x1b[31m\nVersion: ".to_vec();
        huge.extend(vec![b'9'; 1_000_000]);
        site.file("s/huge-1.dist-info/METADATA", &huge)
            .file("s/bytes-1.dist-info/METADATA", b"Name: \xff\xfe\nVersion: \x00\n")
            .file("s/-.dist-info/METADATA", "Name:\nVersion:\n")
            .file("s/url-1.dist-info/direct_url.json", "[[[[");
        let pipe = site.0.join("s/pipe-1.dist-info");
        fs::create_dir_all(&pipe).unwrap();
        let made = std::process::Command::new("mkfifo")
            .arg(pipe.join("METADATA"))
            .status();
        assert!(made.unwrap().success());
        let found = site.read(&["s"]);
        for distribution in &found.distributions {
            let text = format!("{} {}", distribution.name, distribution.shown());
            assert!(text.len() < 700 && !text.contains(char::is_control), "{text}");
        }
        assert!(
            found
                .distributions
                .iter()
                .any(|one| one.name == "pipe" && one.version == "1")
        );
    }
}
