//! Which Compose files a project has, and what `docker compose` must be told of them.

use super::Service;
use crate::bounded::TextFile;

/// What Compose takes by itself in the folder it runs in, and what over that; the first of each.
const BY_ITSELF: &[&str] = &[
    "compose.yaml",
    "compose.yml",
    "docker-compose.yml",
    "docker-compose.yaml",
];
const OVERRIDES: &[&str] = &[
    "compose.override.yml",
    "compose.override.yaml",
    "docker-compose.override.yml",
    "docker-compose.override.yaml",
];

impl Service {
    /// `docker compose`, with the files that it must be told of to know the service from the
    /// project's folder.
    pub fn compose(&self, files: &[TextFile]) -> Vec<String> {
        let is_there = |place: &String| files.iter().any(|file| file.place == *place);
        let in_folder = |name: &&str| match folder(&self.file) {
            "" => (*name).to_owned(),
            folder => format!("{folder}/{name}"),
        };
        let main = BY_ITSELF.iter().map(in_folder).find(is_there);
        let over = OVERRIDES.iter().map(in_folder).find(is_there);
        let is_main = main.as_ref() == Some(&self.file);
        let is_over = main.is_some() && over.as_ref() == Some(&self.file);
        let mut words = vec!["docker".to_owned(), "compose".to_owned()];
        if folder(&self.file).is_empty() && (is_main || is_over) {
            return words;
        }
        let mut told: Vec<&String> = Vec::new();
        if is_over || rank(&self.file) == 1 || (self.is_of_a_part && !is_main) {
            told.extend(&main);
        }
        told.push(&self.file);
        if is_main {
            told.extend(&over);
        }
        for file in told {
            words.extend(["-f".to_owned(), file.clone()]);
        }
        words
    }
}

/// The file that Compose takes by itself comes first, then its override.
pub(super) fn rank(place: &str) -> u8 {
    let name = place.rsplit('/').next().unwrap_or(place);
    match name {
        "compose.yaml" | "compose.yml" | "docker-compose.yaml" | "docker-compose.yml" => 0,
        _ if name.contains(".override.") => 1,
        _ if name.contains("prod") => 3,
        _ => 2,
    }
}

pub(super) fn folder(place: &str) -> &str {
    place.rsplit_once('/').map_or("", |(folder, _)| folder)
}

/// A path that a file of the folder names, as a place below the root.
pub(super) fn below(folder: &str, path: &str) -> Option<String> {
    if path.starts_with('/') {
        return None;
    }
    let mut parts: Vec<&str> = folder.split('/').filter(|part| !part.is_empty()).collect();
    for part in path.split('/') {
        match part {
            "" | "." => {}
            ".." => drop(parts.pop()?),
            part => parts.push(part),
        }
    }
    Some(parts.join("/"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn compose_is_told_of_files_that_it_would_not_find() {
        let files: Vec<TextFile> = [
            "compose.yaml",
            "compose.override.yml",
            "docker-compose.yml",
            "compose.prod.yaml",
            "deploy/compose.yaml",
            "deploy/compose.override.yml",
            "odd/compose.override.yml",
        ]
        .iter()
        .map(|place| TextFile {
            place: (*place).into(),
            text: String::new(),
        })
        .collect();
        for (place, told) in [
            ("compose.yaml", ""),
            ("compose.override.yml", ""),
            ("docker-compose.yml", " -f docker-compose.yml"),
            ("compose.prod.yaml", " -f compose.prod.yaml"),
            (
                "deploy/compose.yaml",
                " -f deploy/compose.yaml -f deploy/compose.override.yml",
            ),
            (
                "deploy/compose.override.yml",
                " -f deploy/compose.yaml -f deploy/compose.override.yml",
            ),
            ("odd/compose.override.yml", " -f odd/compose.override.yml"),
        ] {
            let service = Service {
                file: place.into(),
                ..Service::default()
            };
            assert_eq!(
                service.compose(&files).join(" "),
                format!("docker compose{told}"),
                "{place}"
            );
        }
    }
}
