//! A Python traceback, and whose code raised.

use std::sync::LazyLock;

use regex::Regex;

use super::StackShape;

/// One `File "…", line N, in NAME` of a traceback.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TracebackFrame {
    pub file: String,
    pub line: u32,
    pub function: String,
}

/// A traceback, taken apart as far as "whose code was running?" needs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Traceback {
    /// Exception as printed: `TypeError: …`, first line only.
    pub exception: String,
    pub frames: Vec<TracebackFrame>,
    /// The first exception of a chain, from which the others came; of a single one the same.
    pub root: String,
    /// By which the framework's own frames are known.
    stack: &'static StackShape,
}

/// The exception of the last traceback of a chain, as printed; empty where the text breaks off before it.
pub fn exception_in(text: &str) -> Option<String> {
    parse(text).map(|(exception, _)| exception)
}

/// The text of a chain without its last traceback: what had been raised when that came on top. `None`: there is one only.
pub fn before_the_last(text: &str) -> Option<&str> {
    let links = [IN_CHAIN, CHAINED];
    let at = links.iter().filter_map(|link| text.rfind(link)).max()?;
    Some(&text[..at])
}

/// The class of an exception as printed, `shop.errors.OutOfStock: 7 left`: what it says is not looked at.
pub fn class_of(exception: &str) -> &str {
    let end = exception.find([':', '(', ' ']).unwrap_or(exception.len());
    &exception[..end]
}

/// An exception of the traceback or of its chain, each printed below a frame, is of one of these classes. Python
/// names the module unless a program is its own.
pub fn raises_one_of(text: &str, classes: &[&str]) -> bool {
    let mut below_a_frame = false;
    // Some loggers leave a line between them.
    let mut lines = text.lines().filter(|line| !line.is_empty());
    lines.any(|line| {
        let is_indented = line.starts_with([' ', '\t']);
        let is_exception = std::mem::replace(&mut below_a_frame, is_indented) && !is_indented;
        is_exception && is_one_of(class_of(line), classes)
    })
}

pub fn is_one_of(class: &str, classes: &[&str]) -> bool {
    classes
        .iter()
        .any(|known| *known == class || known.rsplit('.').next() == Some(class))
}

/// Between the tracebacks of `raise … from …`.
const CHAINED: &str = "\nThe above exception was the direct cause of the following exception:";

static FRAME: LazyLock<Option<Regex>> =
    // Loguru points at the frame that caught it.
    LazyLock::new(|| Regex::new(r#"^\s*(?:\|\s*)*(?:>\s+)?File "([^"]+)", line (\d+), in (.+)$"#).ok());

impl Traceback {
    /// The last traceback of a chain: the one that was finally raised.
    pub(super) fn new(text: &str, stack: &'static StackShape) -> Option<Self> {
        let (exception, frames) = parse(text)?;
        let root = text
            .split(CHAINED)
            .next()
            .and_then(exception_in)
            .filter(|root| !root.is_empty())
            .unwrap_or_else(|| exception.clone());
        Some(Self {
            exception,
            root,
            frames,
            stack,
        })
    }

    /// The framework's call of the actor, if it is on the stack: the outermost. An actor may call another one itself.
    fn call(&self) -> Option<usize> {
        (0..self.frames.len()).find(|at| {
            let frame = &self.frames[*at];
            let called = self.frames.get(at + 1);
            self.stack.is_call(
                (&frame.file, &frame.function),
                called.map(|called| (called.file.as_str(), called.function.as_str())),
            )
        })
    }

    /// Frames below the framework's call of the actor that are not the framework's or the
    /// standard library's: the application's own code, entered.
    pub fn own_frames(&self) -> &[TracebackFrame] {
        match self.call() {
            None => &[],
            Some(at) => {
                let below = &self.frames[at + 1..];
                match below
                    .iter()
                    .position(|frame| !self.stack.is_library(&frame.file) && !is_standard(&frame.file))
                {
                    Some(first) => &below[first..],
                    None => &[],
                }
            }
        }
    }

    /// Neither the framework's, nor an installed package's, nor Python's own.
    pub fn is_application(&self, frame: &TracebackFrame) -> bool {
        let installed = ["/site-packages/", "/dist-packages/", "/lib/python"];
        !self.stack.is_library(&frame.file)
            && !frame.file.starts_with('<')
            && !installed.iter().any(|folder| frame.file.contains(folder))
    }

    /// Raised while the middleware's hooks before the actor ran.
    pub fn in_a_hook_before(&self) -> bool {
        !self.reached_the_call()
            && self
                .frames
                .iter()
                .any(|frame| self.stack.before_call.fits(&frame.file, &frame.function))
    }

    /// Below the framework's call there are installed libraries and decorators only, and nothing that is named as
    /// the actor: what is wrapped around it (validation, a transaction) may have raised.
    pub fn only_wrappers(&self, actor: &str) -> bool {
        let own = self.own_frames();
        !own.is_empty() && !self.names(actor) && own.iter().all(|frame| self.wraps(frame))
    }

    /// A function below the framework's call is named as the actor.
    pub fn names(&self, actor: &str) -> bool {
        let function = function_of(actor);
        self.own_frames().iter().any(|frame| frame.function == function)
    }

    /// What a decorator puts around a function is a function of its own, with such a name.
    fn wraps(&self, frame: &TracebackFrame) -> bool {
        let wrapper = ["wrap", "inner", "decorat", "__call__", "lambda"];
        !self.is_application(frame) || wrapper.iter().any(|word| frame.function.contains(word))
    }

    /// The framework's call of the actor is on the stack.
    pub fn reached_the_call(&self) -> bool {
        self.call().is_some()
    }

    /// `TypeError` of a call that does not fit a signature; the name of what was called.
    pub fn arity_error_of(&self) -> Option<&str> {
        let text = self.exception.strip_prefix("TypeError: ")?;
        let (name, rest) = text.split_once("()")?;
        let fits = [
            " got an unexpected keyword argument",
            " missing ",
            " takes ",
            " got multiple values for",
            " got some positional-only",
        ];
        fits.iter().any(|start| rest.starts_with(start)).then_some(name)
    }

    /// The actor could not be called with these arguments, so not a line of its body ran. Frames
    /// of a wrapper above the failed call are not the actor's: the error names what was called.
    pub fn is_bad_call(&self, actor: &str) -> bool {
        let Some(name) = self.arity_error_of() else {
            return false;
        };
        let function = name.rsplit('.').next().unwrap_or(name);
        let own = self.own_frames();
        match own {
            [] => self.reached_the_call(),
            // A method is no actor, and below a function of the application's that is none of these the call is its own.
            _ => {
                let of_a_class = name
                    .rsplit_once('.')
                    .is_some_and(|(of, _)| !of.ends_with("<locals>"));
                !of_a_class && function == function_of(actor) && own.iter().all(|frame| self.wraps(frame))
            }
        }
    }
}

/// Some frameworks name a task by its module, too.
pub fn function_of(actor: &str) -> &str {
    actor.rsplit('.').next().unwrap_or(actor)
}

fn parse(text: &str) -> Option<(String, Vec<TracebackFrame>)> {
    let frame = FRAME.as_ref()?;
    let last = text.rfind(BEGIN).unwrap_or(0);
    // The exceptions of a group have tracebacks of their own, further in: the group's is what was raised.
    let of_group = text
        .rfind(GROUP)
        .filter(|group| !text[*group..last.max(*group)].contains(IN_CHAIN));
    let mut frames = Vec::new();
    let mut exception = String::new();
    for line in text[of_group.unwrap_or(last)..].lines().skip(1) {
        let line = match of_group {
            Some(_) if line.trim_start().starts_with("+-") => break,
            Some(_) => line.trim_start().strip_prefix("| ").unwrap_or(line),
            None => line,
        };
        if let Some(found) = frame.captures(line) {
            frames.push(TracebackFrame {
                file: found[1].to_owned(),
                line: found[2].parse().unwrap_or(0),
                function: found[3].trim().to_owned(),
            });
        } else if exception.is_empty() && !line.starts_with(char::is_whitespace) && !line.is_empty() {
            exception = line.trim_end().to_owned();
        }
    }
    (!frames.is_empty() || !exception.is_empty()).then_some((exception, frames))
}

const BEGIN: &str = "Traceback (most recent call last)";
const GROUP: &str = "Exception Group Traceback (most recent call last)";
/// Between two tracebacks of a chain.
const IN_CHAIN: &str = "\n\nDuring handling of the above exception";

/// Its first frame is the program's own beginning: nobody caught it, and the program ended.
pub fn ends_a_program(traceback: &str) -> bool {
    let mut lines = traceback.lines().skip_while(|line| !line.starts_with(BEGIN));
    lines.nth(1).is_some_and(is_a_programs_first_frame)
}

/// `File "/v/bin/celery", line 8, in <module>`, or what `python -m` puts before that.
pub fn is_a_programs_first_frame(line: &str) -> bool {
    let is_frame = line.trim_start().starts_with("File \"");
    is_frame && (line.ends_with(", in <module>") || line.ends_with(", in _run_module_as_main"))
}

fn is_standard(file: &str) -> bool {
    let standard = [
        "/asyncio/",
        "/concurrent/futures/",
        "/threading.py",
        "/contextlib.py",
        "/functools.py",
        "/contextvars.py",
    ];
    file.starts_with('<')
        || (!file.contains("/site-packages/")
            && file.contains("/lib/python")
            && standard.iter().any(|part| file.contains(part)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Option<Traceback> {
        crate::framework::dramatiq::FRAMEWORK.traceback(text)
    }

    const CALL: &str = "Traceback (most recent call last):\n  File \"/v/site-packages/dramatiq/worker.py\", line 5, in process_message\n    res = actor(*message.args, **message.kwargs)\n  File \"/v/site-packages/dramatiq/actor.py\", line 9, in __call__\n    return self.fn(*args, **kwargs)\n";

    #[test]
    fn the_pattern_compiles() {
        assert!(FRAME.is_some());
    }

    #[test]
    fn a_call_that_does_not_fit_is_not_an_entry() {
        let trace = parse(&format!(
            "{CALL}TypeError: act() got an unexpected keyword argument 'x'"
        ))
        .expect("trace");
        assert!(trace.is_bad_call("act"));
        assert!(trace.own_frames().is_empty());
    }

    /// As loguru prints it: with the values below each line, and a mark at the frame that caught it.
    #[test]
    fn a_traceback_with_values() {
        let text = "Traceback (most recent call last):\n\n> File \"/v/site-packages/dramatiq/worker.py\", line 5, in process_message\n    res = actor(*message.args)\n          │      └ Message(…)\n          └ Actor(…)\n  File \"/v/site-packages/dramatiq/actor.py\", line 9, in __call__\n    return self.fn(*args, **kwargs)\n           └ {}\n\n  File \"/app/tasks.py\", line 3, in act\n    raise LookupError(\"no\")\n\nLookupError: no";
        let trace = parse(text).expect("trace");
        assert_eq!(trace.exception, "LookupError: no");
        assert!(trace.names("app.act") && !trace.only_wrappers("act"));
        assert!(
            parse(&text.replace("in act", "in wrapper"))
                .expect("trace")
                .only_wrappers("act")
        );
        assert!(
            !parse(&text.replace("in act", "in light"))
                .expect("trace")
                .only_wrappers("act")
        );
    }

    #[test]
    fn an_actor_that_calls_another_one_badly_was_entered() {
        let trace = parse(&format!("{CALL}  File \"/app/tasks.py\", line 3, in act\n    other(1)\n  File \"/v/site-packages/dramatiq/actor.py\", line 9, in __call__\n    return self.fn(*args, **kwargs)\nTypeError: other() missing 1 required positional argument: 'x'")).expect("trace");
        assert!(!trace.is_bad_call("act") && trace.names("act"));
    }

    #[test]
    fn a_type_error_inside_the_actor_is_an_entry() {
        let trace = parse(&format!("{CALL}  File \"/app/tasks.py\", line 3, in act\n    helper(1)\nTypeError: helper() takes 0 positional arguments but 1 was given")).expect("trace");
        assert!(!trace.is_bad_call("act"));
        assert_eq!(trace.own_frames().len(), 1);
    }

    #[test]
    fn a_wrapper_around_a_bad_call_is_not_the_actor() {
        let trace = parse(&format!("{CALL}  File \"/app/deco.py\", line 3, in wrapper\n    return fn(*a, **k)\nTypeError: act() missing 1 required positional argument: 'x'")).expect("trace");
        assert!(trace.is_bad_call("act"));
    }

    /// As Python 3.11 and newer print it; the exceptions in it may have tracebacks of their own.
    #[test]
    fn a_group_is_what_was_raised() {
        let group = |within: &str| {
            let call: String = CALL.lines().skip(1).map(|line| format!("  | {line}\n")).collect();
            format!(
                "  + Exception Group Traceback (most recent call last):\n{call}  |   File \"/app/t.py\", line 23, in act\n  |     raise ExceptionGroup(\"many\", all)\n  | ExceptionGroup: many (2 sub-exceptions)\n  +-+---------------- 1 ----------------\n{within}    | ValueError: a\n    +---------------- 2 ----------------\n    | KeyError: 'b'\n    +------------------------------------"
            )
        };
        let own = "    | Traceback (most recent call last):\n    |   File \"/app/u.py\", line 3, in one\n";
        for within in ["", own] {
            let trace = parse(&group(within)).expect("trace");
            assert_eq!(trace.exception, "ExceptionGroup: many (2 sub-exceptions)");
            assert_eq!(
                trace.own_frames().last().map(|frame| frame.line),
                Some(23),
                "{within}"
            );
        }
        // What was raised while the group was handled comes after it.
        let handled = format!(
            "{}\n\nDuring handling of the above exception, another exception occurred:\n\n{CALL}  File \"/app/t.py\", line 3, in act\nValueError: no",
            group("")
        );
        assert_eq!(parse(&handled).expect("trace").exception, "ValueError: no");
    }

    #[test]
    fn a_chain_is_read_from_its_last_traceback() {
        let trace = parse(&format!("Traceback (most recent call last):\n  File \"/x.py\", line 1, in f\nKeyError: 1\n\nDuring handling of the above exception, another exception occurred:\n\n{CALL}  File \"/app/t.py\", line 3, in act\nValueError: no\n[SQL: x]")).expect("trace");
        assert_eq!(trace.exception, "ValueError: no");
    }
}
