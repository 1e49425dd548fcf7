//! `taskdiag man`: manual pages, made from the command line itself.

use std::path::Path;

use clap::CommandFactory;
use clap_mangen::Man;

use super::print_text;
use crate::cli::Cli;
use crate::config::nearest;
use crate::error::{Error, Result, exit};

pub fn run(command: Option<&str>, all: Option<&Path>) -> Result<u8> {
    let mut cli = Cli::command();
    cli.build();
    if let Some(folder) = all {
        // `help` repeats each command; nobody looks for its pages.
        let pages = Cli::command().disable_help_subcommand(true);
        clap_mangen::generate_to(pages, folder).map_err(|source| Error::Write {
            path: folder.to_owned(),
            source,
        })?;
        return finish(folder).map_err(|source| Error::Write {
            path: folder.to_owned(),
            source,
        });
    }
    let Some(name) = command else {
        return print(cli);
    };
    let names: Vec<String> = cli
        .get_subcommands()
        .map(|known| known.get_name().to_owned())
        .collect();
    match cli.find_subcommand(name) {
        // Its page is named as `man` finds it.
        Some(found) => print(found.clone().display_name(format!("taskdiag-{name}"))),
        None => Err(Error::Usage {
            message: format!("there is no command `{name}`"),
            hint: match nearest(name, names.iter().cloned()) {
                Some(near) => format!("did you mean `{near}`?"),
                None => format!("commands are {}", names.join(", ")),
            },
        }),
    }
}

fn print(command: clap::Command) -> Result<u8> {
    let mut page = Vec::new();
    let _ = Man::new(command).render(&mut page);
    print_text(&sections(&String::from_utf8_lossy(&page)))?;
    Ok(exit::OK)
}

/// The pages as they were generated, with the sections that people look for.
fn finish(folder: &Path) -> std::io::Result<u8> {
    for entry in std::fs::read_dir(folder)? {
        let path = entry?.path();
        let name = path
            .file_name()
            .unwrap_or_default()
            .to_string_lossy()
            .into_owned();
        if name.starts_with("taskdiag") && name.ends_with(".1") {
            let page =
                String::from_utf8_lossy(&crate::bounded::file(&path, crate::bounded::MIB)?).into_owned();
            std::fs::write(&path, sections(&page))?;
        }
    }
    Ok(exit::OK)
}

/// clap knows one section for all that stands below a command's help.
fn sections(page: &str) -> String {
    let mut page = page
        .replace(".SH EXTRA\nExamples:\n", ".SH EXAMPLES\n")
        .replace(".SH EXTRA\n", ".SH NOTES\n")
        .replace("\nExit codes:\n", "\n.SH \"EXIT STATUS\"\n");
    // The other pages lead to this one.
    if page.contains(".TH taskdiag 1") {
        page.push_str(MORE);
    }
    page
}

const MORE: &str = r#".SH FILES
.TP
\fItaskdiag.toml\fR
Settings, looked for in this folder and those above it; `taskdiag init` drafts one.
.TP
\fI$XDG_STATE_HOME/taskdiag/runs\fR
The last 20 runs, masked, for `taskdiag replay last`.
.SH ENVIRONMENT
.TP
\fBTASKDIAG_SECTION_KEY\fR
Overrides a key of taskdiag.toml, e.g. TASKDIAG_BROKER_AMQP_URL; an option overrides both.
.TP
\fBTASKDIAG_LOG\fR
debug shows on stderr what taskdiag itself does.
.TP
\fBNO_COLOR\fR
No colour.
"#;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_page_has_the_usual_sections() {
        let mut cli = Cli::command();
        cli.build();
        let mut page = Vec::new();
        Man::new(cli).render(&mut page).expect("a page");
        let page = sections(&String::from_utf8_lossy(&page));
        for section in ["EXAMPLES", "\"EXIT STATUS\"", "FILES", "ENVIRONMENT"] {
            assert!(page.contains(&format!(".SH {section}\n")), "{section}\n{page}");
        }
        assert!(!page.contains("EXTRA"), "{page}");
    }
}
