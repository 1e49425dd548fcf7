//! `taskdiag explain CAUSE`: a cause's page.

use super::print_words;
use crate::cli::{Explain, Global};
use crate::config::nearest;
use crate::diagnosis::causes;
use crate::diagnosis::evidence::plain_placeholders;
use crate::error::{Error, Result, exit};
use crate::framework::Framework;

pub fn run(args: &Explain, global: &Global) -> Result<u8> {
    let Some(cause) = causes::find(&args.cause) else {
        return Err(Error::UnknownCause {
            id: args.cause.clone(),
            nearest: nearest(&args.cause, causes::ALL.iter().map(|cause| cause.id.to_owned())),
        });
    };
    let page = plain_placeholders(&cause.page_for(Framework::usual()));
    let body = page.split_once('\n').map_or(page.as_str(), |(_, rest)| rest);
    print_words(&format!("# {}: {}\n{body}", cause.id, cause.title()), global)?;
    Ok(exit::OK)
}
