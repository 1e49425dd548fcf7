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
        return Ok(exit::OK);
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
    print_text(&String::from_utf8_lossy(&page))?;
    Ok(exit::OK)
}
