//! What stands below the help of a command: examples, exit codes.

pub const EXAMPLES: &str = "\
Examples:
  taskdiag diagnose                     submit one task and explain what happens to it
  taskdiag diagnose --start             the same with an API and a worker started just for it
  taskdiag diagnose --record run.jsonl  the same, recorded; `taskdiag replay run.jsonl` explains it again
  taskdiag diagnose --task task_f644    explain a task that is already stuck
  taskdiag check                        test every connection and permission
  taskdiag explain no-consumer          what a cause means, how we know, what to do

Exit codes:
  0 the task succeeded · 10 a reason is named · 20 silence
  30 no answer: taskdiag could not see enough, or could not run
  2 wrong usage or configuration · 130 stopped by you · 1 a bug in taskdiag";

pub const INIT_EXAMPLES: &str = "\
Examples:
  taskdiag init            writes taskdiag.toml; an existing file is left as it is
  taskdiag init --print    shows the draft and writes nothing

--config FILE is the file to write here; --set has no use, and is refused.";

pub const SUBMIT_EXAMPLES: &str = "\
Examples:
  taskdiag submit           POST api.body to api.submit_path, print the task's id
  taskdiag submit --direct  publish the message itself: the API is left out";

pub const WATCH_EXAMPLES: &str = "\
Examples:
  taskdiag watch --queue emails                       until Ctrl-C
  taskdiag watch --until empty --for 60s              in a script: 0 once it is empty, 30 if it never is
  taskdiag watch --all --fail-on 'dead>0'             10 as soon as a dead letter comes";

pub const DIAGNOSE_EXAMPLES: &str = "\
Examples:
  taskdiag diagnose                            submit one task and explain what happens to it
  taskdiag diagnose --start                    with an API and a worker started just for it
  taskdiag diagnose --task task_f644 --peek    a task that is stuck, dead letters included
  taskdiag diagnose -o verdict.html            the verdict as a page, too

Exit codes:
  0 the task succeeded · 10 a reason is named · 20 silence · 30 no answer
  2 wrong usage or configuration · 130 stopped by you";

pub const CHECK_EXAMPLES: &str = "\
Examples:
  taskdiag check                       what can be seen, and what looks wrong now
  taskdiag check --peek                dead letters by actor and reason, too
  taskdiag check --wait 60s --strict   in a script: until all is well, or an exit code

Exit codes:
  0 every source sees · 10 --strict, and a problem is visible
  30 a source cannot see · 130 stopped by you";

pub const TRACE_HELP: &str = "\
Filters of different kinds must all match. If the vhost publishes more than 200 messages a second,
or its rate is unknown, tracing has to be allowed with --set broker.trace=on: it costs a busy
publisher up to a third of its rate. However taskdiag ends, tracing is left as it was before.

Exit codes:
  0 traced as asked · 30 could not, or not to the end · 2 wrong usage or configuration
  130 stopped by you before --for or --count";

pub const REPLAY_EXAMPLES: &str = "\
Examples:
  taskdiag replay last                        the last run again
  taskdiag replay run.jsonl -o verdict.html   a recording as a page
  taskdiag report run.jsonl --format junit";

pub const COMPARE_EXAMPLES: &str = "\
Examples:
  taskdiag compare good.jsonl bad.jsonl       what differs, the most telling first
  taskdiag compare last good                  the last run with the last that succeeded
  taskdiag compare --exit-code old.jsonl new.jsonl";

pub const EXPLAIN_EXAMPLES: &str = "\
Examples:
  taskdiag explain no-consumer              what the cause means, how we know, what to do
  taskdiag explain no-consumer --run last   the same with queue, task and table of the last run
  taskdiag explain --run run.jsonl          the cause that this recording's verdict names
  taskdiag explain --eyes                   the scripts that [worker] exec and [api] exec run";

pub const DEMO_EXAMPLES: &str = "\
Examples:
  taskdiag demo                                lists the runs and shows the first
  taskdiag demo workers-busy                   another one
  taskdiag demo workers-busy -o verdict.html   as a page to look around in";

pub const BUNDLE_EXAMPLES: &str = "\
Examples:
  taskdiag bundle                    the last run, as taskdiag-CAUSE.tar.gz
  taskdiag bundle run.jsonl -o x.tgz

Task arguments and every secret of the configuration are masked. Look through the archive before you
send it: log lines are your application's own words.";

pub const CAUSES_EXAMPLES: &str = "\
Examples:
  taskdiag causes                 a line for each
  taskdiag causes --format json   for programs";
