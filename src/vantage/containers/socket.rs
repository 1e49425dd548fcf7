//! Where the engine's API is: the socket that the `docker` command would use.

use std::path::{Path, PathBuf};

use serde_json::Value as Json;

use crate::bounded;

/// An engine's socket on this machine.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Socket {
    pub path: PathBuf,
    /// It was named in the configuration: that it does not answer is worth saying.
    pub wanted: bool,
}

/// `auto`, `off`, or the socket's address. An engine elsewhere (`tcp://`, `ssh://`) is none of this machine.
pub fn find(engine: &str) -> Option<Socket> {
    match engine {
        "off" => None,
        "auto" => {
            let host = std::env::var("DOCKER_HOST").ok().filter(|host| !host.is_empty());
            let paths = match host.or_else(of_context) {
                Some(host) => vec![of_address(&host)?],
                None => usual(),
            };
            let path = paths.into_iter().find(|path| is_socket(path))?;
            Some(Socket { path, wanted: false })
        }
        address => Some(Socket {
            path: of_address(address)?,
            wanted: true,
        }),
    }
}

fn of_address(address: &str) -> Option<PathBuf> {
    address
        .strip_prefix("unix://")
        .filter(|path| path.starts_with('/'))
        .map(PathBuf::from)
}

fn usual() -> Vec<PathBuf> {
    let run = std::env::var("XDG_RUNTIME_DIR").unwrap_or_default();
    [
        "/var/run/docker.sock".to_owned(),
        format!("{run}/docker.sock"),
        format!("{run}/podman/podman.sock"),
        "/run/podman/podman.sock".to_owned(),
    ]
    .into_iter()
    .map(PathBuf::from)
    .collect()
}

fn is_socket(path: &Path) -> bool {
    use std::os::unix::fs::FileTypeExt;
    std::fs::metadata(path).is_ok_and(|metadata| metadata.file_type().is_socket())
}

/// The address of the context that `docker context use` has chosen.
fn of_context() -> Option<String> {
    let home = std::env::var("HOME").unwrap_or_default();
    let folder =
        std::env::var("DOCKER_CONFIG").map_or_else(|_| Path::new(&home).join(".docker"), PathBuf::from);
    let read =
        |path: &Path| serde_json::from_slice::<Json>(&bounded::file(path, bounded::SETTINGS).ok()?).ok();
    let chosen = std::env::var("DOCKER_CONTEXT")
        .ok()
        .filter(|name| !name.is_empty());
    let name = chosen.or_else(|| {
        Some(
            read(&folder.join("config.json"))?["currentContext"]
                .as_str()?
                .to_owned(),
        )
    })?;
    if name == "default" {
        return None;
    }
    let contexts = std::fs::read_dir(folder.join("contexts/meta")).ok()?;
    contexts.flatten().find_map(|entry| {
        let meta = read(&entry.path().join("meta.json"))?;
        let host = meta["Endpoints"]["docker"]["Host"].as_str()?.to_owned();
        (meta["Name"] == name.as_str()).then_some(host)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_engine_elsewhere_is_none_of_ours() {
        assert_eq!(find("off"), None);
        assert_eq!(find("tcp://10.0.0.1:2375"), None);
        let named = find("unix:///run/x.sock").expect("a socket");
        assert!(named.wanted && named.path == Path::new("/run/x.sock"));
    }
}
