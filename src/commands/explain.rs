//! `taskdiag explain CAUSE`: a cause's page, with the names of a run if one is given.

use super::{print_text, print_words, read_recording, style};
use crate::cli::{Explain, Global};
use crate::config::nearest;
use crate::diagnosis::evidence::plain_placeholders;
use crate::diagnosis::{Story, causes, diagnose};
use crate::error::{Error, Result, exit};
use crate::framework::Framework;
use crate::report::page;
use crate::vantage::exec;

pub fn run(args: &Explain, global: &Global) -> Result<u8> {
    if args.eyes {
        print_text(&exec::scripts())?;
        return Ok(exit::OK);
    }
    let timeline = args.run.as_deref().map(read_recording).transpose()?;
    let timeline = timeline.map(|timeline| timeline.masked(false));
    let of_run = timeline.as_ref().and_then(|timeline| diagnose(timeline).cause);
    let id = match (&args.cause, &of_run) {
        (Some(id), _) => id.to_ascii_lowercase(),
        (None, Some(cause)) => cause.id.clone(),
        (None, None) if timeline.is_none() => {
            return Err(Error::Usage {
                message: "no cause is named".into(),
                hint: "taskdiag explain CAUSE, as a report names it (`taskdiag causes` lists them), or taskdiag explain --run last".into(),
            });
        }
        (None, None) => {
            return Err(Error::Usage {
                message: "this run's verdict names no cause".into(),
                hint: "name one: taskdiag explain CAUSE --run RUN".into(),
            });
        }
    };
    let Some(cause) = causes::find(&id) else {
        return Err(Error::UnknownCause {
            nearest: nearest(&id, causes::ALL.iter().map(|cause| cause.id.to_owned())),
            id,
        });
    };
    let story = timeline.as_ref().map(Story::new);
    let text = match &story {
        Some(story) => story.fill_command(&cause.page_for(story.framework())),
        None => plain_placeholders(&cause.page_for(Framework::usual())),
    };
    let text = match of_run.filter(|named| named.id == cause.id) {
        Some(named) => with_remedies(&text, &named.remedies),
        None => text,
    };
    let body = text.split_once('\n').map_or(text.as_str(), |(_, rest)| rest);
    let text = format!("# {}: {}\n{body}", cause.id, cause.title());
    print_words(&page(&text, style(global, false)), global)?;
    Ok(exit::OK)
}

/// The page with the remedies that are for this run, as its report has them.
fn with_remedies(page: &str, remedies: &[String]) -> String {
    const HEADING: &str = "\n## Fix it now\n";
    let Some((before, rest)) = page.split_once(HEADING) else {
        return page.to_owned();
    };
    let after = rest.find("\n## ").map_or("", |end| &rest[end..]);
    let bullets: String = remedies.iter().map(|remedy| format!("- {remedy}\n")).collect();
    format!("{before}{HEADING}{bullets}{after}")
}
