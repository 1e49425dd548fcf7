//! Every read has an end, and nothing is opened that may block.
//!
//! The only place that reads a file to its end (and `http::body` a body): what is longer than anybody needs is
//! refused, not kept. A FIFO or a device in the place of a file would stop a run for ever, beyond the reach of a signal.

use std::fs::{File, OpenOptions};
use std::io::{Error, ErrorKind, Read, Result};
use std::os::unix::fs::{FileTypeExt, OpenOptionsExt};
use std::path::Path;

pub const MIB: u64 = 1 << 20;

/// A configuration, a certificate, a file with a body.
pub const SETTINGS: u64 = MIB;

/// A file's place is its path below the root, as messages name it.
#[derive(Debug, Clone)]
pub struct TextFile {
    pub place: String,
    pub text: String,
}

/// Opens a regular file; a link to one, too.
pub fn open(path: &Path) -> Result<File> {
    // Without this flag a FIFO is waited for until somebody writes.
    let file = OpenOptions::new()
        .read(true)
        .custom_flags(libc::O_NONBLOCK | libc::O_NOCTTY)
        .open(path)?;
    let kind = file.metadata()?.file_type();
    if kind.is_file() {
        return Ok(file);
    }
    Err(Error::other(format!("it is {}, and no file", name_of(kind))))
}

/// Opens what the user names as input, which may be the end of a pipe: `<(sops -d taskdiag.toml)`. Whoever writes
/// there is waited for, as everywhere; a request to end is obeyed meanwhile.
pub fn open_input(path: &Path) -> Result<File> {
    match std::fs::metadata(path)?.file_type().is_fifo() {
        true => File::open(path),
        false => open(path),
    }
}

fn name_of(kind: std::fs::FileType) -> &'static str {
    if kind.is_dir() {
        "a folder"
    } else if kind.is_fifo() {
        "a FIFO"
    } else if kind.is_socket() {
        "a socket"
    } else {
        "a device"
    }
}

/// All of a file, unless it is longer than `most`.
pub fn file(path: &Path, most: u64) -> Result<Vec<u8>> {
    all(open(path)?, most)
}

/// All of a text that the user names as input, unless it is longer than `most`.
pub fn text(path: &Path, most: u64) -> Result<String> {
    String::from_utf8(all(open_input(path)?, most)?)
        .map_err(|_| Error::new(ErrorKind::InvalidData, "it is not UTF-8"))
}

/// All that comes, unless it is more than `most`.
pub fn all(from: impl Read, most: u64) -> Result<Vec<u8>> {
    let mut bytes = Vec::new();
    from.take(most + 1).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > most {
        return Err(Error::other(too_long(most)));
    }
    Ok(bytes)
}

fn too_long(most: u64) -> String {
    format!("it is longer than {} MiB", most / MIB)
}

/// Opens a file to be written anew, for its owner only: a report or a recording is somebody's data, and one
/// that was there before may have been open to others. A FIFO that nobody reads is an error.
pub fn create(path: &Path) -> Result<File> {
    use std::os::unix::fs::PermissionsExt;
    let file = OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(true)
        .mode(0o600)
        .custom_flags(libc::O_NONBLOCK | libc::O_NOCTTY)
        .open(path)
        .map_err(|error| match error.raw_os_error() {
            Some(libc::ENXIO) => Error::other("it is a FIFO that nobody reads"),
            _ => error,
        })?;
    if file.metadata()?.is_file() {
        // Somebody else's file that we may write keeps its mode.
        let _ = file.set_permissions(std::fs::Permissions::from_mode(0o600));
        return Ok(file);
    }
    // `/dev/stdout`, `>(command)`: whoever reads there is waited for. Opened again without the flag, which
    // would make a write fail where it has to wait.
    OpenOptions::new().write(true).open(path)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::MetadataExt;

    use super::*;

    fn folder(name: &str) -> std::path::PathBuf {
        let folder = std::env::temp_dir().join(format!("taskdiag-bounded-{}-{name}", std::process::id()));
        let _ = std::fs::remove_dir_all(&folder);
        std::fs::create_dir_all(&folder).expect("a folder");
        folder
    }

    fn fifo(path: &Path) {
        let made = std::process::Command::new("mkfifo").arg(path).status();
        assert!(made.expect("mkfifo").success());
    }

    #[test]
    fn what_may_block_is_not_opened() {
        let folder = folder("open");
        fifo(&folder.join("fifo"));
        for (path, seen) in [
            (folder.join("fifo"), "it is a FIFO, and no file"),
            (folder.clone(), "it is a folder, and no file"),
            ("/dev/zero".into(), "it is a device, and no file"),
        ] {
            assert_eq!(open(&path).expect_err("refused").to_string(), seen);
        }
        let refused = create(&folder.join("fifo")).expect_err("refused");
        assert_eq!(refused.to_string(), "it is a FIFO that nobody reads");
        assert!(create(Path::new("/dev/null")).is_ok());
        std::fs::remove_dir_all(&folder).expect("removed");
    }

    #[test]
    fn no_read_goes_beyond_its_limit() {
        assert!(all(std::io::repeat(b'x'), 1000).is_err());
        assert_eq!(all(&b"abc"[..], 3).expect("all"), b"abc");
        assert!(all(&b"abcd"[..], 3).is_err());
    }

    #[test]
    fn what_is_written_is_for_its_owner() {
        let folder = folder("create");
        let path = folder.join("report.json");
        std::fs::write(&path, "of before").expect("written");
        std::fs::set_permissions(&path, std::os::unix::fs::PermissionsExt::from_mode(0o666)).expect("open");
        drop(create(&path).expect("created"));
        let metadata = std::fs::metadata(&path).expect("it");
        assert_eq!((metadata.mode() & 0o777, metadata.len()), (0o600, 0));
        std::fs::remove_dir_all(&folder).expect("removed");
    }
}
