//! Who consumes a queue, for people: the program first, as they would call it.

use super::observation::Consumer;
use crate::text::fitted;

/// Of a command line so many cells are shown.
const COMMAND: usize = 60;

/// Consumers of one process together: `dramatiq app.worker (pid 123) ×2`.
pub fn who_text(who: &[Consumer]) -> String {
    let texts = grouped(who.iter().map(consumer_text));
    let more = texts.len().saturating_sub(4);
    let mut told: Vec<String> = texts.into_iter().take(4).collect();
    if more > 0 {
        told.push(format!("{more} more"));
    }
    told.join(", ")
}

/// One line for each process, with what the broker allows it.
pub fn consumer_lines(who: &[Consumer]) -> Vec<String> {
    grouped(who.iter().map(|consumer| {
        let prefetch = match consumer.prefetch {
            0 => "no prefetch limit".to_owned(),
            most => format!("prefetch {most}"),
        };
        format!("{} as {}, {prefetch}", consumer_text(consumer), consumer.user)
    }))
}

fn consumer_text(consumer: &Consumer) -> String {
    let state = match consumer.process_state {
        Some('T' | 't') => ", stopped",
        Some('Z') => ", zombie",
        _ => "",
    };
    match (&consumer.command, consumer.pid, consumer.port) {
        (Some(command), Some(pid), _) => {
            format!("{} (pid {pid}{state})", fitted(&called(command), COMMAND))
        }
        (None, Some(pid), _) => format!("pid {pid}{state} at {}", consumer.host),
        (_, None, Some(port)) => format!("{}:{port}", consumer.host),
        (_, None, None) => consumer.host.clone(),
    }
}

/// A command line as people type it: `/v/bin/python3.12 /v/bin/dramatiq app` is `dramatiq app`.
fn called(command: &str) -> String {
    let base = |word: &str| word.rsplit('/').next().unwrap_or(word).to_owned();
    let mut words = command.split_whitespace().peekable();
    let Some(first) = words.next().map(base) else {
        return String::new();
    };
    let mut shown = vec![first];
    let runs_a_script =
        shown[0].starts_with("python") && words.peek().is_some_and(|word| !word.starts_with('-'));
    if runs_a_script && let Some(script) = words.next() {
        shown = vec![base(script)];
    }
    // How loud it is, and how many processes it has, tells no worker from another.
    while let Some(word) = words.next() {
        let is_number = |next: &&str| next.parse::<u32>().is_ok();
        match word {
            "-v" | "-vv" | "--verbose" => {}
            option if option.starts_with('-') && words.peek().is_some_and(is_number) => drop(words.next()),
            _ => shown.push(word.to_owned()),
        }
    }
    shown.join(" ")
}

/// Equal ones together: `this ×2`.
fn grouped(texts: impl Iterator<Item = String>) -> Vec<String> {
    let mut groups: Vec<(String, usize)> = Vec::new();
    for text in texts {
        match groups.iter_mut().find(|(known, _)| *known == text) {
            Some((_, count)) => *count += 1,
            None => groups.push((text, 1)),
        }
    }
    let groups = groups.into_iter();
    groups
        .map(|(text, count)| match count {
            1 => text,
            _ => format!("{text} ×{count}"),
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn consumer(port: u16, pid: Option<i32>, state: Option<char>) -> Consumer {
        Consumer {
            host: "10.0.0.1".into(),
            port: Some(port),
            user: "lab".into(),
            tag: "t".into(),
            prefetch: 4,
            pid,
            command: pid.map(|_| "/srv/a-long-folder/.venv/bin/python /srv/a-long-folder/.venv/bin/dramatiq ops_core.tasks.worker".into()),
            process_state: state,
        }
    }

    #[test]
    fn consumers_of_one_process_are_one() {
        let who = [
            consumer(1, Some(7), None),
            consumer(2, Some(7), None),
            consumer(3, None, None),
            consumer(4, Some(8), Some('T')),
        ];
        assert_eq!(
            who_text(&who),
            "dramatiq ops_core.tasks.worker (pid 7) ×2, 10.0.0.1:3, dramatiq ops_core.tasks.worker (pid 8, stopped)"
        );
    }

    #[test]
    fn the_program_comes_first() {
        assert_eq!(
            consumer_lines(&[consumer(1, Some(7333), None)]),
            ["dramatiq ops_core.tasks.worker (pid 7333) as lab, prefetch 4"]
        );
        let unlimited = Consumer {
            prefetch: 0,
            ..consumer(3, None, None)
        };
        assert_eq!(
            consumer_lines(&[unlimited]),
            ["10.0.0.1:3 as lab, no prefetch limit"]
        );
        for (command, name) in [
            ("/usr/bin/python3 -m billing.worker", "python3 -m billing.worker"),
            ("/v/bin/celery -A shop worker -c 4", "celery -A shop worker"),
            (
                "dramatiq -v --processes 1 --threads 2 app.worker",
                "dramatiq app.worker",
            ),
            ("python", "python"),
            ("", ""),
        ] {
            assert_eq!(called(command), name);
        }
    }
}
