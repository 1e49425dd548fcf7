//! Names of modules, and what is called after them: as the code imports them, since that is how they are started.

use std::collections::BTreeSet;

use super::syntax::Node;
use super::{Mentions, SourceFacts};
use crate::bounded::TextFile;
use crate::framework;

/// Where the project's modules are imported from.
pub(super) struct Packages<'a> {
    /// Python files by place.
    files: BTreeSet<&'a str>,
    /// Folders that hold Python, directly or below.
    folders: BTreeSet<&'a str>,
    /// Folders that are packages: they have an `__init__.py`, or their files import each other relatively.
    packages: BTreeSet<&'a str>,
    /// A folder from which something is imported, with the first part of what is.
    roots: BTreeSet<(String, String)>,
}

/// What a file says of the names of modules.
#[derive(Debug, Default)]
pub(super) struct ImportedNames {
    /// `import a.b`, `from a.b import …`.
    absolute: Vec<String>,
    /// How many folders the file's relative imports go up, at most.
    relative: usize,
    /// Texts that may be modules: `INSTALLED_APPS = ["apps.files"]`.
    listed: Vec<String>,
}

impl ImportedNames {
    pub fn read(&mut self, node: Node) {
        match node.kind() {
            "import_from_statement" => match node.field("module_name") {
                Some(module) if module.kind() == "relative_import" => {
                    let dots = module.text().chars().take_while(|c| *c == '.').count();
                    self.relative = self.relative.max(dots);
                }
                Some(module) => self.absolute.push(module.text().to_owned()),
                None => {}
            },
            "import_statement" => {
                let names = node.all().filter(|inner| inner.kind() == "dotted_name");
                self.absolute.extend(names.map(|name| name.text().to_owned()));
            }
            "string" => {
                let is_module = |text: &String| {
                    text.len() < 120
                        && text.contains('.')
                        && text.split('.').all(|part| {
                            part.starts_with(|c: char| c.is_alphabetic() || c == '_')
                                && part.chars().all(|c| c.is_alphanumeric() || c == '_')
                        })
                };
                self.listed.extend(node.string().filter(is_module));
            }
            _ => {}
        }
    }
}

impl<'a> Packages<'a> {
    pub fn new(python: &'a [TextFile], mentions: &[Mentions<'a>]) -> Self {
        let files: BTreeSet<&str> = python.iter().map(|file| file.place.as_str()).collect();
        let above = |place: &'a str| place.match_indices('/').map(move |(at, _)| &place[..at]);
        let folders = files.iter().flat_map(|place| above(place)).collect();
        let inits = files
            .iter()
            .filter_map(|place| place.strip_suffix("/__init__.py"));
        let mut all = Self {
            packages: inits.collect(),
            folders,
            files,
            roots: BTreeSet::new(),
        };
        for mention in mentions {
            let place = mention.file.place.as_str();
            let folders: Vec<&str> = above(place).collect();
            let relative = mention.names.relative;
            all.packages.extend(folders.iter().rev().take(relative));
            // A module may be meant from any folder above, the nearest first.
            let from: Vec<&str> = folders.iter().rev().copied().chain([""]).collect();
            // Libraries are not this project's, though it may have a file of the name.
            let own = |module: &&String| {
                let top = module.split('.').next().unwrap_or_default();
                framework::ALL
                    .iter()
                    .all(|framework| framework.source.module != top)
            };
            for module in mention.names.absolute.iter().filter(own) {
                let root = from.iter().find(|root| all.has(root, module));
                all.roots.extend(root.map(|root| all.root(root, module)));
            }
            for module in &mention.names.listed {
                let mut module = module.as_str();
                while module.contains('.') {
                    if let Some(root) = from.iter().find(|root| all.has(root, module)) {
                        let root = all.root(root, module);
                        all.roots.insert(root);
                        break;
                    }
                    module = module.rsplit_once('.').map_or("", |(before, _)| before);
                }
            }
        }
        all
    }

    fn root(&self, root: &str, module: &str) -> (String, String) {
        let top = module.split('.').next().unwrap_or_default();
        (root.to_owned(), top.to_owned())
    }

    /// Whether the module is in the folder. A folder without `__init__.py` may be one by its longer names only.
    fn has(&self, root: &str, module: &str) -> bool {
        let slash = if root.is_empty() { "" } else { "/" };
        let path = format!("{root}{slash}{}", module.replace('.', "/"));
        let is_file = self.files.contains(format!("{path}.py").as_str());
        is_file
            || self.packages.contains(path.as_str())
            || (module.contains('.') && self.folders.contains(path.as_str()))
    }

    /// The dotted name of a file, and whether it is sure.
    pub fn name(&self, place: &str) -> (String, bool) {
        let path = place.trim_end_matches(".py").trim_end_matches("/__init__");
        let parts: Vec<&str> = path.split('/').collect();
        let of = |at: usize| parts[at..].join(".");
        let known: Vec<usize> = (0..parts.len())
            .filter(|at| {
                let root = (parts[..*at].join("/"), parts[*at].to_owned());
                self.roots.contains(&root)
            })
            .collect();
        if let [at] = known.as_slice() {
            return (of(*at), true);
        }
        // Folders above a file that are packages belong to its name; those that are not do not.
        let mut at = 0;
        for end in 1..parts.len() {
            let folder = parts[..end].join("/");
            let is_name = |part: &str| !part.contains(|c: char| !c.is_alphanumeric() && c != '_');
            if !self.packages.contains(folder.as_str()) || !is_name(parts[end - 1]) {
                at = end;
            }
        }
        // Without any import, a file that lies below folders may be imported by their names as well.
        let sure = known.is_empty() && (at + 1 < parts.len() || at == 0);
        (of(at), sure)
    }
}

/// Tasks that nothing names, and applications, are called after their modules.
pub(super) fn complete(code: &mut SourceFacts, packages: &Packages) {
    for actor in &mut code.actors {
        if actor.framework.source.is_named_by_module && !actor.is_named {
            let file = actor.place.rsplit_once(" line ").map_or("", |(file, _)| file);
            let (module, sure) = packages.name(file);
            actor.name = format!("{module}.{}", actor.name);
            actor.is_sure &= sure;
        }
    }
    for application in &mut code.applications {
        let file = application
            .place
            .rsplit_once(" line ")
            .map_or("", |(file, _)| file);
        let (name, _) = packages.name(file);
        application.module = application.framework.source.package_of(&name).to_owned();
    }
}

/// The dotted name of a file, from the root.
pub(super) fn module_of(place: &str) -> String {
    place
        .trim_end_matches(".py")
        .trim_end_matches("/__init__")
        .replace('/', ".")
}

#[cfg(test)]
mod tests {
    use crate::bounded::TextFile;
    use crate::python::scan;

    fn named(files: &[(&str, &str)]) -> (String, bool) {
        let files: Vec<TextFile> = files
            .iter()
            .map(|(place, text)| TextFile {
                place: (*place).into(),
                text: (*text).into(),
            })
            .collect();
        let code = scan(&files, &[]);
        let actor = code.actors.first().expect("an actor");
        (actor.name.clone(), actor.is_sure)
    }

    const TASK: &str = "from celery import shared_task\n@shared_task\ndef run(): ...\n";

    #[test]
    fn a_task_is_called_as_its_module_is_imported() {
        let sure = |name: &str| (name.to_owned(), true);
        // A package without `__init__.py`, named by Django's settings.
        let settings = ("shop/settings.py", "INSTALLED_APPS = ['apps.files']\n");
        let files = [
            ("apps/files/__init__.py", ""),
            ("apps/files/tasks.py", TASK),
            settings,
        ];
        assert_eq!(named(&files), sure("apps.files.tasks.run"));
        // The same by an import.
        let views = ("apps/files/views.py", "from apps.files.tasks import run\n");
        assert_eq!(
            named(&[("apps/files/tasks.py", TASK), views]),
            sure("apps.files.tasks.run")
        );
        // A package that is imported from a folder below the root, though its folder is a package, too.
        let files = [
            ("app/__init__.py", ""),
            ("app/worker/__init__.py", ""),
            ("app/worker/main.py", TASK),
            ("app/start.py", "from worker.main import run\n"),
        ];
        assert_eq!(named(&files), sure("worker.main.run"));
        // What can be no part of a name ends it.
        let files = [("my-tasks/__init__.py", ""), ("my-tasks/jobs.py", TASK)];
        assert_eq!(named(&files).0, "jobs.run");
    }

    #[test]
    fn a_name_that_two_folders_may_begin_is_not_sure() {
        let files = [
            ("app/__init__.py", ""),
            ("app/worker/__init__.py", ""),
            ("app/worker/main.py", TASK),
            ("app/start.py", "from worker.main import run\n"),
            ("other.py", "from app.worker.main import run\n"),
        ];
        assert!(!named(&files).1);
        // Below a folder that nothing says to be a package.
        assert!(!named(&[("jobs/section.py", TASK)]).1);
        assert!(named(&[("section.py", TASK)]).1);
    }
}
