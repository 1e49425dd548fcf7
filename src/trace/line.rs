//! One event as a line for people: aligned, coloured, cut to the width of the terminal.

use std::borrow::Cow;
use std::fmt::Write as _;

use serde_json::Value as Json;

use super::writer::{LineStyle, LineWriter};
use super::{EventDetails, Moment, Place, TraceKind};
use crate::framework::Role;
use crate::text::{counted, fit, width};
use crate::timeline::scrub::{Scrubber, printable_line};
use crate::units::Span;

/// Arguments are shortened to this many characters even where lines are not cut.
const MOST_ARGS: usize = 200;

const DIM: &str = "2";
const CYAN: &str = "36";
const GREEN: &str = "32";
const YELLOW: &str = "33";
const RED: &str = "31";
const BOLD: &str = "1";

pub(super) fn write(
    seen: &EventDetails<'_, '_>,
    style: &mut LineStyle,
    show_args: bool,
    scrubber: &Scrubber,
    scratch: &mut String,
    out: &mut Vec<u8>,
) {
    scratch.clear();
    let mut text = std::mem::take(&mut style.text);
    let mut line = LineWriter {
        out: scratch,
        color: style.color,
        ascii: style.ascii,
        left: style.width.unwrap_or(usize::MAX),
    };
    if let Some(actor) = style.introduced(
        seen.message
            .as_ref()
            .ok()
            .and_then(|message| message.actor.as_deref()),
    ) {
        time(seen.moment, style.offset_s, &mut line, &mut text);
        line.put(Some(DIM), "actor ", 0);
        line.put(Some(BOLD), &printable_line(&actor), 0);
        line.put(Some(DIM), ", until another one is named", 0);
        line.out.push('\n');
        line.left = style.width.unwrap_or(usize::MAX);
    }
    time(seen.moment, style.offset_s, &mut line, &mut text);
    compose(seen, style, show_args, scrubber, &mut line, &mut text);
    style.text = text;
    let line = scratch.trim_end_matches(' ');
    if style.ascii && !line.is_ascii() {
        out.extend_from_slice(crate::report::ascii(line).as_bytes());
    } else {
        out.extend_from_slice(line.as_bytes());
    }
    out.push(b'\n');
}

/// The same without time, colour and cuts: what `--grep` looks at.
pub(super) fn plain(seen: &EventDetails<'_, '_>, show_args: bool, scrubber: &Scrubber, out: &mut String) {
    let mut style = LineStyle::new(false, false, None, 0);
    (style.queue, style.peer, style.latency) = (0, 0, 0);
    let mut line = LineWriter {
        out,
        color: false,
        ascii: false,
        left: usize::MAX,
    };
    compose(
        seen,
        &mut style,
        show_args,
        scrubber,
        &mut line,
        &mut String::new(),
    );
}

pub(super) fn missed(moment: Moment, events: u64, place: Place, style: &mut LineStyle, out: &mut Vec<u8>) {
    let because = match place {
        Place::Broker => "taskdiag could not keep up with the broker",
        Place::Output => "whatever reads this output is too slow",
    };
    let missed = counted(events, "event", "events");
    said(moment, &format!("{missed} missed: {because}"), style, out);
}

pub(super) fn gap(moment: Moment, since: Moment, because: &str, style: &mut LineStyle, out: &mut Vec<u8>) {
    let lasted = (moment.at_ms - since.at_ms) / 1000.0;
    let because = printable_line(because);
    let text = format!("events of the last {lasted:.1} s may be missing: {because}");
    said(moment, &text, style, out);
}

/// Something about the trace itself.
fn said(moment: Moment, what: &str, style: &mut LineStyle, out: &mut Vec<u8>) {
    let mut written = String::new();
    let mut line = LineWriter {
        out: &mut written,
        color: style.color,
        ascii: style.ascii,
        left: style.width.unwrap_or(usize::MAX),
    };
    time(moment, style.offset_s, &mut line, &mut style.text);
    line.put(Some(RED), what, 0);
    out.extend_from_slice(written.as_bytes());
    out.push(b'\n');
}

fn time(moment: Moment, offset_s: i64, line: &mut LineWriter<'_>, text: &mut String) {
    let ms = (moment.unix_ms + offset_s * 1000).rem_euclid(86_400_000);
    text.clear();
    let (seconds, ms) = (ms / 1000, ms % 1000);
    let _ = write!(
        text,
        "{:02}:{:02}:{:02}.{ms:03}",
        seconds / 3600,
        seconds / 60 % 60,
        seconds % 60
    );
    line.put(Some(DIM), text, 13);
}

fn compose(
    seen: &EventDetails<'_, '_>,
    style: &mut LineStyle,
    show_args: bool,
    scrubber: &Scrubber,
    line: &mut LineWriter<'_>,
    text: &mut String,
) {
    let event = seen.event;
    let message = seen.message.as_ref().ok();
    let (verb, color) = match &event.kind {
        TraceKind::Publish { .. } => ("publish", CYAN),
        TraceKind::Deliver { .. } => ("deliver", GREEN),
    };
    line.put(Some(color), verb, 8);
    let more = match &event.kind {
        TraceKind::Publish { queues, .. } => queues.len().saturating_sub(1),
        TraceKind::Deliver { .. } => 0,
    };
    let queue = printable_line(seen.queue);
    text.clear();
    let queue = if more > 0 {
        let _ = write!(text, "{queue} +{more}");
        text.as_str()
    } else {
        &queue
    };
    let role = match seen.role {
        Role::Delay => Some(YELLOW),
        Role::DeadLetter => Some(RED),
        Role::Main => None,
    };
    line.column(role, queue, &mut style.queue);
    text.clear();
    if let Some(latency) = seen.latency_ms {
        let _ = write!(text, "{}", Span(latency));
    }
    line.put(None, text, style.latency);
    // What differs from line to line comes before what is the same in most: a narrow terminal cuts the end.
    text.clear();
    attempt(seen, text);
    style.attempt = style.attempt.max(width(text));
    let pad = if style.attempt == 0 { 0 } else { style.attempt + 1 };
    line.put(Some(YELLOW), text, pad);
    if style.shows_actors() {
        let actor = message
            .and_then(|message| message.actor.as_deref())
            .map_or(Cow::Borrowed("-"), printable_line);
        line.column(Some(BOLD), &actor, &mut style.actor);
    }
    let id = message
        .and_then(|message| message.message_id.as_deref())
        .map_or(Cow::Borrowed("-"), printable_line);
    // The beginning of a UUID tells one message from its neighbours; `--format json` has it whole.
    let short = id.char_indices().nth(8).map_or(&*id, |(at, _)| &id[..at]);
    line.put(Some(DIM), short, 9);
    match seen.peer {
        Some(peer) => {
            text.clear();
            let _ = write!(text, "{}[{}]", peer.name, peer.pid);
            line.column(None, text, &mut style.peer);
        }
        None => line.column(None, &printable_line(client(&event.connection)), &mut style.peer),
    }
    notes(seen, show_args, scrubber, line, text);
}

/// Which attempt it is, and when it is due.
fn attempt(seen: &EventDetails<'_, '_>, text: &mut String) {
    if let TraceKind::Deliver {
        redelivered: true, ..
    } = seen.event.kind
    {
        text.push_str("redelivered");
    }
    let Some(message) = seen.message.as_ref().ok().filter(|message| message.known) else {
        return;
    };
    let mut add = |part: std::fmt::Arguments<'_>| {
        let _ = write!(text, "{}{part}", if text.is_empty() { "" } else { ", " });
    };
    match (
        message.retries.filter(|retries| *retries > 0),
        message.max_retries,
    ) {
        (Some(retries), Some(most)) => add(format_args!("retry {retries}/{most}")),
        (Some(retries), None) => add(format_args!("retry {retries}")),
        (None, _) => {}
    }
    match message.eta_ms.map(|eta| eta - seen.moment.unix_ms) {
        Some(left) if left > 0 => add(format_args!("due in {}", Span(left as f64))),
        Some(_) => add(format_args!("due")),
        None => {}
    }
}

/// The client's half of a connection's name says it all: the other half is the broker.
fn client(connection: &str) -> &str {
    connection
        .split_once(" -> ")
        .map_or(connection, |(client, _)| client)
}

fn notes(
    seen: &EventDetails<'_, '_>,
    show_args: bool,
    scrubber: &Scrubber,
    line: &mut LineWriter<'_>,
    text: &mut String,
) {
    let event = seen.event;
    match &event.kind {
        TraceKind::Publish { exchange, queues, .. } => {
            if queues.is_empty() {
                line.note(Some(RED), "routed to no queue");
            }
            if !exchange.is_empty() {
                line.note(Some(DIM), &format!("exchange {}", printable_line(exchange)));
            }
        }
        TraceKind::Deliver { .. } => {}
    }
    if seen.role == Role::DeadLetter {
        line.note(Some(RED), "dead letter");
    }
    if let Some(death) = &event.death {
        let from = format!(
            "{} from {}",
            printable_line(&death.reason),
            printable_line(&death.queue)
        );
        line.note(Some(RED), &from);
    }
    if seen.moment.late {
        line.note(Some(YELLOW), "read late");
    }
    let message = match &seen.message {
        Ok(message) => message,
        Err(undecodable) => return line.note(Some(RED), &printable_line(undecodable)),
    };
    if !message.known {
        return line.note(Some(RED), seen.framework.codec.not_a_message);
    }
    if let Some(error) = message.traceback.as_deref().and_then(last_line) {
        line.note(Some(YELLOW), &format!("after {}", scrubber.one_line(error)));
    }
    if show_args {
        let mut args = String::new();
        for value in [&message.args, &message.kwargs].into_iter().flatten() {
            let empty = match value {
                Json::Array(items) => items.is_empty(),
                Json::Object(map) => map.is_empty(),
                Json::Null => true,
                _ => false,
            };
            if !empty {
                let _ = write!(
                    args,
                    "{}{}",
                    if args.is_empty() { "" } else { " " },
                    scrubber.value(value)
                );
            }
        }
        let args = printable_line(&args);
        text.clear();
        if width(&args) > MOST_ARGS {
            fit(&args, MOST_ARGS, line.ellipsis(), text);
            line.note(Some(DIM), text);
        } else {
            line.note(Some(DIM), &args);
        }
    }
}

/// The exception: a traceback's last line that says anything.
pub(super) fn last_line(traceback: &str) -> Option<&str> {
    traceback
        .trim_end()
        .lines()
        .next_back()
        .filter(|line| !line.is_empty())
}
