//! taskdiag looking at a stack, and what it says.

use std::fmt::Write as _;
use std::fs::{self, File};
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::PathBuf;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::atomic::{AtomicU16, Ordering};
use std::thread::sleep;
use std::time::{Duration, Instant};

use serde_json::Value as Json;

use crate::lab::{repository, signal};
use crate::stack::Stack;

/// A diagnosis that takes longer than its own time limit and this is hanging.
const GRACE: Duration = Duration::from_secs(30);

impl Stack {
    pub fn diagnose(&mut self, arguments: &[&str]) -> Verdict {
        self.start_diagnose(arguments).finish(self)
    }

    /// Starts a diagnosis and does not wait for it.
    pub fn start_diagnose(&mut self, arguments: &[&str]) -> Running {
        self.start_diagnose_with(arguments, &[])
    }

    /// The same with some variables in taskdiag's own environment.
    pub fn start_diagnose_with(&mut self, arguments: &[&str], env: &[(&str, &str)]) -> Running {
        static RUNS: AtomicU16 = AtomicU16::new(0);
        let run = RUNS.fetch_add(1, Ordering::Relaxed);
        let file = |extension: &str| self.dir.join(format!("diagnosis-{run}.{extension}"));
        let (recording, report) = (file("jsonl"), file("txt"));
        let mut command = self.taskdiag("diagnose");
        command.arg("--config").arg(self.write_config());
        command.args(["--format", "json", "--record"]).arg(&recording);
        command.arg("--output").arg(&report).args(arguments);
        let stdout = File::create(file("stdout")).expect("a file");
        let stderr = File::create(file("stderr")).expect("a file");
        let child = command
            .envs(env.iter().copied())
            .stdout(stdout)
            .stderr(stderr)
            .spawn()
            .expect("taskdiag starts");
        self.reaper.watch(child.id());
        Running {
            child,
            // Every step of --isolate is a run of its own.
            limit: match arguments.contains(&"--isolate") {
                true => self.duration("timeout") * 8 + GRACE,
                false => self.duration("timeout") + GRACE,
            },
            vhost: self.vhost(),
            stdout: file("stdout"),
            stderr: file("stderr"),
            recording,
            report,
        }
    }

    /// The binary under test, with nothing of our environment that it would listen to.
    pub fn taskdiag(&self, subcommand: &str) -> Command {
        // Another build of it, a release say, may be tested instead.
        let built = std::env::var_os("TASKDIAG_BIN").unwrap_or(env!("CARGO_BIN_EXE_taskdiag").into());
        let mut command = Command::new(if self.elsewhere {
            "unshare".into()
        } else {
            built.clone()
        });
        if self.elsewhere {
            let apart = ["--pid", "--mount", "--fork", "--mount-proc", "--kill-child"];
            command.args(apart).arg(built);
        }
        command.arg(subcommand).current_dir(&self.dir);
        let mut command = self.in_network(command);
        command.stdin(Stdio::null()).process_group(0);
        for (name, _) in
            std::env::vars().filter(|(name, _)| name.starts_with("TASKDIAG_") && name != "TASKDIAG_LAB")
        {
            command.env_remove(name);
        }
        // The key of masked values, as another user would have it.
        command.env("XDG_STATE_HOME", &self.state);
        command
    }
}

/// A diagnosis under way.
pub struct Running {
    child: Child,
    limit: Duration,
    vhost: Json,
    stdout: PathBuf,
    stderr: PathBuf,
    pub recording: PathBuf,
    report: PathBuf,
}

impl Running {
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    pub fn has_ended(&mut self) -> bool {
        self.child.try_wait().expect("its status").is_some()
    }

    pub fn stderr(&self) -> String {
        fs::read_to_string(&self.stderr).unwrap_or_default()
    }

    /// Waits for its end, however it comes.
    pub fn wait(&mut self) -> ExitStatus {
        let deadline = Instant::now() + self.limit;
        loop {
            if let Some(status) = self.child.try_wait().expect("its status") {
                return status;
            }
            if Instant::now() >= deadline {
                signal("KILL", self.pid());
                let _ = self.child.wait();
                panic!("taskdiag did not end within {:?}\n{}", self.limit, self.stderr());
            }
            sleep(Duration::from_millis(10));
        }
    }

    /// Waits for the verdict, and checks what must be true of each one.
    pub fn finish(mut self, stack: &Stack) -> Verdict {
        let verdict = self.finish_quietly(stack);
        assert_eq!(
            stack.vhost(),
            self.vhost,
            "the vhost is as it was before\n{}",
            verdict.explain()
        );
        verdict
    }

    /// The same, where the test itself changes the vhost meanwhile.
    pub fn finish_quietly(&mut self, stack: &Stack) -> Verdict {
        let status = self.wait();
        let stdout = fs::read_to_string(&self.stdout).unwrap_or_default();
        // The first screen leaves out what has no room; -v leaves out nothing.
        let mut text = fs::read_to_string(&self.report).unwrap_or_default();
        let whole = stack.taskdiag("replay").arg("-v").arg(&self.recording).output();
        text.push_str(&String::from_utf8_lossy(&whole.expect("taskdiag runs").stdout));
        let verdict = Verdict {
            json: serde_json::from_str(&stdout).unwrap_or(Json::Null),
            text,
            stderr: self.stderr(),
            recorded: fs::read(&self.recording).unwrap_or_default(),
            recording: self.recording.clone(),
            stdout,
            status,
        };
        verdict.check(stack);
        verdict
    }
}

/// What taskdiag said.
pub struct Verdict {
    pub json: Json,
    pub stdout: String,
    pub stderr: String,
    /// The report for people.
    pub text: String,
    pub recording: PathBuf,
    /// What is in it: the file may be gone with its stack.
    pub recorded: Vec<u8>,
    pub status: ExitStatus,
}

impl Verdict {
    /// True of every verdict, whatever it says.
    fn check(&self, stack: &Stack) {
        assert_eq!(
            self.status.signal(),
            None,
            "taskdiag was killed\n{}",
            self.explain()
        );
        assert_eq!(
            self.json["schema"],
            "taskdiag.report.v1",
            "stdout is a report\n{}",
            self.explain()
        );
        // A success that leaves the broker changed is none.
        let is_unclean = self.status.code() == Some(30)
            && self.json["exit_code"] == 0
            && ["could not be switched off again yet", "run it by hand"]
                .iter()
                .any(|left| self.stderr.contains(left));
        assert!(
            is_unclean || self.json["exit_code"].as_i64() == self.status.code().map(i64::from),
            "{}",
            self.explain()
        );
        let events = self.json["timeline"].as_array().map_or(0, Vec::len) as u64;
        let claims = ["contributing", "ruled_out"]
            .iter()
            .flat_map(|list| self.list(list));
        for claim in claims.chain(Some(&self.json["cause"]).filter(|cause| !cause.is_null())) {
            let evidence = claim["evidence"].as_array().expect("evidence");
            let known = evidence
                .iter()
                .all(|n| n.as_u64().is_some_and(|n| (1..=events).contains(&n)));
            assert!(
                known && !evidence.is_empty(),
                "the evidence of {} is in the timeline\n{}",
                claim["id"],
                self.explain()
            );
        }
        // A recording gives the same verdict with no service at all.
        let output = stack
            .taskdiag("replay")
            .arg(&self.recording)
            .args(["--format", "json"])
            .output()
            .expect("taskdiag runs");
        let replayed: Json = serde_json::from_slice(&output.stdout).unwrap_or(Json::Null);
        for key in [
            "scenario",
            "outcome",
            "stage",
            "cause",
            "contributing",
            "ruled_out",
            "cannot_tell",
            "exit_code",
            "isolation",
        ] {
            assert_eq!(
                replayed[key],
                self.json[key],
                "the replayed `{key}` equals the live one\n{}{}",
                String::from_utf8_lossy(&output.stderr),
                self.explain()
            );
        }
        assert_eq!(
            output.status.code().map(i64::from),
            self.json["exit_code"].as_i64(),
            "{}",
            self.explain()
        );
    }

    /// Events of this kind in the recording.
    pub fn recorded_events(&self, kind: &str) -> Vec<Json> {
        let text = String::from_utf8_lossy(&self.recorded);
        let events = text
            .lines()
            .filter_map(|line| serde_json::from_str::<Json>(line).ok());
        events.filter(|event| event["kind"] == kind).collect()
    }

    pub fn list(&self, key: &str) -> &[Json] {
        self.json[key].as_array().map_or(&[], Vec::as_slice)
    }

    fn entry(&self, list: &str, id: &str) -> Option<&Json> {
        self.list(list).iter().find(|entry| entry["id"] == id)
    }

    pub fn scenario(&self) -> &str {
        self.json["scenario"].as_str().unwrap_or("none")
    }

    pub fn cause(&self) -> &str {
        self.json["cause"]["id"].as_str().unwrap_or("none")
    }

    pub fn certainty(&self) -> &str {
        self.json["cause"]["certainty"].as_str().unwrap_or("none")
    }

    pub fn summary(&self) -> &str {
        self.json["cause"]["summary"].as_str().unwrap_or_default()
    }

    pub fn code(&self) -> Option<i32> {
        self.status.code()
    }

    /// Scenario (`none` where there is none), cause and exit code.
    pub fn expect(self, scenario: &str, cause: &str, code: i32) -> Self {
        let seen = (self.scenario(), self.cause(), self.code());
        // (.ci/common.sh looks for these words.)
        let how_bad = match self.certainty() == "certain" && self.cause() != cause {
            true => "CERTAIN AND FALSE",
            false => "",
        };
        assert_eq!(
            seen,
            (scenario, cause, Some(code)),
            "scenario, cause and exit code {how_bad}\n{}",
            self.explain()
        );
        self
    }

    pub fn outcome(self, outcome: &str) -> Self {
        assert_eq!(self.json["outcome"], outcome, "outcome\n{}", self.explain());
        self
    }

    /// The furthest stage.
    pub fn stage(self, stage: &str) -> Self {
        assert_eq!(self.json["stage"], stage, "stage\n{}", self.explain());
        self
    }

    pub fn certain(self) -> Self {
        assert_eq!(self.certainty(), "certain", "certainty\n{}", self.explain());
        self
    }

    pub fn at_least_likely(self) -> Self {
        assert!(
            ["certain", "likely"].contains(&self.certainty()),
            "certainty\n{}",
            self.explain()
        );
        self
    }

    pub fn not_certain(self) -> Self {
        assert_ne!(self.certainty(), "certain", "certainty\n{}", self.explain());
        self
    }

    pub fn contributes(self, id: &str) -> Self {
        assert!(
            self.entry("contributing", id).is_some(),
            "{id} contributes\n{}",
            self.explain()
        );
        self
    }

    pub fn does_not_contribute(self, id: &str) -> Self {
        assert!(
            self.entry("contributing", id).is_none(),
            "{id} does not contribute\n{}",
            self.explain()
        );
        self
    }

    pub fn ruled_out(self, id: &str) -> Self {
        assert!(
            self.entry("ruled_out", id).is_some(),
            "{id} is ruled out\n{}",
            self.explain()
        );
        self
    }

    pub fn cannot_tell(self, id: &str) -> Self {
        assert!(
            self.entry("cannot_tell", id).is_some(),
            "cannot tell {id}\n{}",
            self.explain()
        );
        self
    }

    /// The report for people names this.
    pub fn says(self, text: &str) -> Self {
        // Long sentences are wrapped, so how the words are spaced does not count.
        let words = |text: &str| text.split_whitespace().collect::<Vec<_>>().join(" ");
        assert!(
            words(&self.text).contains(&words(text)),
            "the report says `{text}`\n{}",
            self.explain()
        );
        self
    }

    /// The one sentence of the cause names this.
    pub fn sums_up(self, text: &str) -> Self {
        assert!(
            self.summary().contains(text),
            "the summary says `{text}`\n{}",
            self.explain()
        );
        self
    }

    /// `seen`, `partial`, `blind` … of a source.
    pub fn state(&self, source: &str) -> &str {
        let found = self.list("sources").iter().find(|entry| entry["name"] == source);
        found
            .and_then(|entry| entry["state"].as_str())
            .unwrap_or("absent")
    }

    pub fn sees(self, sources: &[&str]) -> Self {
        for source in sources {
            assert_ne!(self.state(source), "blind", "{source} sees\n{}", self.explain());
            assert_ne!(self.state(source), "absent", "{source} sees\n{}", self.explain());
        }
        self
    }

    pub fn blind(self, source: &str) -> Self {
        assert_eq!(
            self.state(source),
            "blind",
            "{source} is blind\n{}",
            self.explain()
        );
        self
    }

    /// Keeps the recording for `tests/replay.rs` when `RECORD_RUNS` asks for it.
    pub fn record_as(self, name: &str) -> Self {
        if std::env::var_os("RECORD_RUNS").is_some() {
            let folder = repository().join("fixtures/runs").join(name);
            fs::create_dir_all(&folder).expect("a folder for the recording");
            fs::write(folder.join("timeline.jsonl"), &self.recorded).expect("the recording is kept");
        }
        self
    }

    /// Everything there is, for the message of a failed test.
    pub fn explain(&self) -> String {
        let mut all = String::new();
        let _ = writeln!(
            all,
            "status: {}\n---- stderr\n{}\n---- report\n{}",
            self.status, self.stderr, self.text
        );
        if self.json.is_null() {
            let _ = writeln!(all, "---- stdout\n{}", self.stdout);
        } else {
            let mut json = self.json.clone();
            let events = json["timeline"].take();
            let _ = writeln!(all, "---- report as JSON\n{json:#}\n---- timeline");
            for event in events.as_array().into_iter().flatten() {
                let _ = writeln!(all, "{event}");
            }
        }
        if self.recording.exists() {
            let _ = writeln!(all, "---- recording: {}", self.recording.display());
        } else {
            let _ = writeln!(all, "---- recording\n{}", String::from_utf8_lossy(&self.recorded));
        }
        all
    }
}
