//! The HTML report in a real browser: Debian's Chromium, headless, driven through its own WebDriver.
//! `fixtures/lab tools` installs it.
//!
//! `TASKDIAG_SCREENSHOTS=FOLDER cargo test --test html` keeps pictures to look at.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod runs;

use std::io::{BufRead, BufReader};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use base64::Engine;
use runs::{HOSTILE, hostile, read, render, report};
use serde_json::{Value as Json, json};
use taskdiag::report::{Report, Style};

/// A browser with one window; it ends with the test.
struct Browser {
    driver: Child,
    session: String,
    client: reqwest::Client,
    folder: PathBuf,
}

impl Drop for Browser {
    fn drop(&mut self) {
        // The browser that it started, too: without its driver it would stay.
        let group = format!("-{}", self.driver.id());
        let _ = Command::new("kill").args(["-KILL", "--", &group]).status();
        let _ = self.driver.wait();
        let _ = std::fs::remove_dir_all(&self.folder);
    }
}

/// What `fixtures/lab tools` says of one tool.
fn tool(name: &str) -> String {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures/lab");
    let output = Command::new(script).arg("tools").output().unwrap();
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(
        output.status.success(),
        "the browser cannot be installed, so this test cannot run:\n{said}{}",
        String::from_utf8_lossy(&output.stderr)
    );
    said.lines()
        .find_map(|line| line.strip_prefix(&format!("{name}=")))
        .unwrap_or_else(|| panic!("fixtures/lab tools does not say {name}"))
        .to_owned()
}

/// A chromedriver, and the port on which it listens.
fn driver() -> Option<(Child, String)> {
    let mut driver = Command::new(tool("LAB_CHROMEDRIVER"))
        .arg("--port=0")
        .process_group(0)
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(driver.stdout.take().unwrap()).lines();
    let port = lines.find_map(|line| {
        let line = line.unwrap();
        let (_, rest) = line.split_once("started successfully on port ")?;
        Some(rest.trim_end_matches('.').to_owned())
    });
    let Some(port) = port else {
        let _ = driver.wait();
        return None;
    };
    // It goes on talking; nobody listening would block it.
    std::thread::spawn(move || lines.for_each(drop));
    Some((driver, port))
}

impl Browser {
    async fn start(name: &str, preferences: Json) -> Self {
        // Another may take the port that it has chosen, before it listens: it ends then.
        let (driver, port) = (0..5).find_map(|_| driver()).expect("chromedriver says its port");
        let client = taskdiag::tls::http().no_proxy().build().unwrap();
        let folder = std::env::temp_dir().join(format!("taskdiag-html-{name}-{}", std::process::id()));
        std::fs::create_dir_all(&folder).unwrap();
        let profile = format!("--user-data-dir={}", folder.join("profile").display());
        let mut args = vec![
            "--headless=new",
            "--no-sandbox",
            "--disable-gpu",
            "--disable-dev-shm-usage",
            "--window-size=1200,1600",
            profile.as_str(),
        ];
        if let Some(more) = preferences["args"].as_array() {
            args.extend(more.iter().filter_map(Json::as_str));
        }
        let mut browser = Self {
            driver,
            session: format!("http://127.0.0.1:{port}/session"),
            client,
            folder,
        };
        let made = browser
            .post(
                "",
                json!({ "capabilities": { "alwaysMatch": {
                    "browserName": "chrome",
                    "goog:chromeOptions": { "binary": tool("LAB_CHROMIUM"), "args": args },
                    "goog:loggingPrefs": { "browser": "ALL" },
                } } }),
            )
            .await;
        let id = made["sessionId"].as_str().expect("a session");
        browser.session = format!("{}/{id}", browser.session);
        browser
    }

    async fn post(&self, path: &str, body: Json) -> Json {
        let answer = self
            .client
            .post(format!("{}{path}", self.session))
            .json(&body)
            .send()
            .await
            .unwrap();
        Self::value(path, answer).await
    }

    async fn get(&self, path: &str) -> Json {
        let answer = self
            .client
            .get(format!("{}{path}", self.session))
            .send()
            .await
            .unwrap();
        Self::value(path, answer).await
    }

    async fn value(path: &str, answer: reqwest::Response) -> Json {
        let status = answer.status();
        let mut body: Json = answer.json().await.unwrap();
        assert!(status.is_success(), "{path}: {body}");
        body["value"].take()
    }

    async fn open(&self, report: &Report) {
        let page = self.folder.join("report.html");
        std::fs::write(&page, render(report, "html", Style::PLAIN)).unwrap();
        // Another page first: the same address with another fragment would not load again.
        self.post("/url", json!({ "url": "about:blank" })).await;
        let url = format!("file://{}", page.display());
        self.post("/url", json!({ "url": url })).await;
        let is_there = "return location.protocol == 'file:' && document.readyState == 'complete'";
        for _ in 0..200 {
            if self.run(is_there).await == true {
                return;
            }
            tokio::time::sleep(std::time::Duration::from_millis(50)).await;
        }
        panic!("{url} was not loaded within 10 s");
    }

    async fn run(&self, script: &str) -> Json {
        self.post("/execute/sync", json!({ "script": script, "args": [] }))
            .await
    }

    async fn element(&self, selector: &str) -> String {
        let found = self
            .post("/element", json!({ "using": "css selector", "value": selector }))
            .await;
        let id = found.as_object().and_then(|map| map.values().next());
        id.and_then(Json::as_str).expect("an element").to_owned()
    }

    async fn click(&self, selector: &str) {
        let id = self.element(selector).await;
        self.post(&format!("/element/{id}/click"), json!({})).await;
    }

    async fn keys(&self, selector: &str, keys: &str) {
        let id = self.element(selector).await;
        self.post(&format!("/element/{id}/value"), json!({ "text": keys }))
            .await;
    }

    /// Moves the pointer onto an element, and turns the wheel there if asked to.
    async fn point(&self, selector: &str, wheel: i64) {
        let id = self.element(selector).await;
        let origin = json!({ "element-6066-11e4-a52e-4f735466cecf": id });
        self.run(&format!(
            "document.querySelector({}).scrollIntoView({{ block: 'center' }})",
            json!(selector)
        ))
        .await;
        let mut actions = vec![json!({
            "type": "pointer", "id": "mouse", "parameters": { "pointerType": "mouse" },
            "actions": [{ "type": "pointerMove", "duration": 50, "x": 0, "y": 0, "origin": origin }],
        })];
        if wheel != 0 {
            actions = vec![json!({
                "type": "wheel", "id": "wheel",
                "actions": [{ "type": "scroll", "x": 0, "y": 0, "deltaX": 0, "deltaY": wheel, "duration": 50, "origin": origin }],
            })];
        }
        self.post("/actions", json!({ "actions": actions })).await;
    }

    /// Errors on the console: a script that failed, or something the policy refused.
    async fn complaints(&self) -> Vec<String> {
        let log = self.post("/se/log", json!({ "type": "browser" })).await;
        log.as_array()
            .expect("a log")
            .iter()
            .map(|entry| entry["message"].as_str().unwrap_or_default().to_owned())
            .collect()
    }

    /// A picture is made in any case; where it is kept, somebody can look at it.
    async fn picture(&self, name: &str) {
        let picture = self.get("/screenshot").await;
        let bytes = base64::engine::general_purpose::STANDARD
            .decode(picture.as_str().unwrap())
            .unwrap();
        assert!(bytes.starts_with(b"\x89PNG") && bytes.len() > 20_000, "{name}");
        if let Ok(folder) = std::env::var("TASKDIAG_SCREENSHOTS") {
            std::fs::write(Path::new(&folder).join(format!("{name}.png")), bytes).unwrap();
        }
    }

    async fn number(&self, script: &str) -> f64 {
        self.run(script).await.as_f64().expect("a number")
    }
}

const ZOOM: &str = "return Number(document.querySelector('svg').dataset.zoom)";

/// The page of a run with evidence; its first proof.
async fn opened(name: &str) -> (Browser, Report, u64) {
    let browser = Browser::start(name, json!({})).await;
    let report = report(&read("row-rolled-back"));
    browser.open(&report).await;
    let proof = json!(report.verdict.cause.as_ref().unwrap().evidence[0]);
    (browser, report, proof.as_u64().unwrap())
}

#[tokio::test]
async fn the_page_says_the_verdict_and_has_a_dot_for_each_event() {
    let (browser, report, _) = opened("verdict").await;
    browser.picture("light").await;
    let said = browser.run("return document.querySelector('h1').innerText").await;
    let sentence = "The task ran and has not finished: status update was rolled back";
    assert_eq!(said, sentence);
    let dots = browser
        .number("return document.querySelectorAll('.dot').length")
        .await;
    assert_eq!(dots as usize, report.timeline.len());
    assert_eq!(browser.complaints().await, Vec::<String>::new());
}

#[tokio::test]
async fn a_number_of_the_evidence_leads_to_its_event_unfolded() {
    let (browser, _, proof) = opened("evidence").await;
    browser
        .click(&format!(".evidence a.ref[href=\"#e{proof}\"]"))
        .await;
    let hash = browser.run("return location.hash").await;
    assert_eq!(hash, format!("#e{proof}"));
    let raw = browser
        .run(&format!(
            "return document.querySelector('#e{proof} pre').innerText"
        ))
        .await;
    let event: Json = serde_json::from_str(raw.as_str().unwrap()).expect("the raw event, unfolded");
    assert_eq!(event["n"], proof);
    assert_eq!(browser.complaints().await, Vec::<String>::new());
}

#[tokio::test]
async fn a_dot_shows_its_event_to_pointer_and_keyboard_and_enter_follows_it() {
    let (browser, _, proof) = opened("dots").await;
    let dot = format!(".dot[data-n='{proof}']");
    browser.point(&format!("{dot} circle"), 0).await;
    let shown = browser
        .run("return document.querySelector('#raw').innerText")
        .await;
    assert!(
        shown.as_str().unwrap().contains(&format!("\"n\": {proof}")),
        "{shown}"
    );
    browser
        .run("const first = document.querySelector('.dot:not(.away)'); first.focus(); return first.dataset.n")
        .await;
    let shown = browser
        .run("return document.querySelector('#raw').innerText")
        .await;
    let focused = browser.run("return document.activeElement.dataset.n").await;
    assert!(
        shown
            .as_str()
            .unwrap()
            .contains(&format!("\"n\": {}", focused.as_str().unwrap())),
        "{shown}"
    );
    browser
        .keys(
            &format!(".dot[data-n='{}']", focused.as_str().unwrap()),
            "\u{e007}",
        )
        .await;
    assert_eq!(
        browser.run("return location.hash").await,
        format!("#e{}", focused.as_str().unwrap())
    );
    assert_eq!(browser.complaints().await, Vec::<String>::new());
}

#[tokio::test]
async fn wheel_keys_and_buttons_zoom_and_arrows_move() {
    let (browser, _, proof) = opened("zoom").await;
    let dot = format!(".dot[data-n='{proof}']");
    assert_eq!(browser.number(ZOOM).await, 1.0);
    browser.point(&format!("{dot} circle"), -400).await;
    let zoomed = browser.number(ZOOM).await;
    assert!(zoomed > 1.5, "{zoomed}");
    let hidden = browser
        .number("return document.querySelectorAll('.dot.away').length")
        .await;
    assert!(hidden > 0.0);
    browser.keys("#lanes", "0").await;
    assert_eq!(browser.number(ZOOM).await, 1.0);
    browser.keys("#lanes", "++").await;
    assert_eq!(browser.number(ZOOM).await, 4.0);
    // Of all dots: one that is out of view stays at the edge.
    let place =
        "return [...document.querySelectorAll('.dot')].map(dot => dot.getAttribute('transform')).join()";
    let before = browser.run(place).await;
    // Right, or left where the end of the run is in view already.
    browser.keys("#lanes", "\u{e014}").await;
    if browser.run(place).await == before {
        browser.keys("#lanes", "\u{e012}").await;
    }
    assert_ne!(browser.run(place).await, before);
    browser.keys("#lanes", "-").await;
    assert_eq!(browser.number(ZOOM).await, 2.0);
    browser.click("#all").await;
    browser.click("#in").await;
    assert_eq!(browser.number(ZOOM).await, 2.0);
    browser.picture("zoomed").await;
    assert_eq!(browser.complaints().await, Vec::<String>::new());
}

#[tokio::test]
async fn it_is_light_or_dark_nameable_and_printable() {
    let (browser, _, _) = opened("theme").await;
    let page = "return getComputedStyle(document.body).backgroundColor";
    let light = browser.run(page).await;
    browser.run("scrollTo(0, 0)").await;
    browser.click("#theme").await;
    assert_ne!(browser.run(page).await, light);
    browser.picture("dark").await;

    // Everything that can be done is within reach of the Tab key and has a name.
    let nameless = browser
        .run(
            "return [...document.querySelectorAll('a, button, summary, [tabindex=\"0\"]')]
                .filter(e => !(e.getAttribute('aria-label') || e.textContent).trim()).length",
        )
        .await;
    assert_eq!(nameless, 0);

    // Paper: the folded parts are open, the tools are gone.
    let pdf = browser.post("/print", json!({})).await;
    assert!(pdf.as_str().unwrap().len() > 20_000);
    assert_eq!(browser.complaints().await, Vec::<String>::new());
}

#[tokio::test]
async fn stacks_are_folded_and_unfold() {
    let browser = Browser::start("stacks", json!({})).await;
    browser.open(&report(&read("blocked-before-entry"))).await;
    let frames = "return document.querySelector('details.stack ol').checkVisibility()";
    assert_eq!(browser.run(frames).await, false);
    browser.click("details.stack summary").await;
    assert_eq!(browser.run(frames).await, true);
    browser.picture("stacks").await;
}

/// The verdict, the drawing and every event are there without a script.
#[tokio::test]
async fn it_can_be_read_without_javascript() {
    let browser = Browser::start(
        "no-script",
        json!({ "args": ["--blink-settings=scriptEnabled=false"] }),
    )
    .await;
    browser.open(&report(&read("no-consumer"))).await;
    // WebDriver's own script runs all the same.
    let buttons = browser
        .run("return [...document.querySelectorAll('button')].filter(b => b.checkVisibility()).length")
        .await;
    assert_eq!(buttons, 0, "buttons that do nothing");
    let seen = browser.run("return document.body.innerText").await;
    for words in ["Scenario C", "no-consumer", "What to do now", "deliver"] {
        assert!(seen.as_str().unwrap().contains(words), "{words}");
    }
    browser.picture("no-script").await;
}

#[tokio::test]
async fn hostile_content_stays_text() {
    let browser = Browser::start("hostile", json!({})).await;
    let ours = ["SCRIPT", "STYLE"];
    for text in HOSTILE {
        let report = hostile(text);
        browser.open(&report).await;
        let elements = browser
            .run("return [...document.querySelectorAll('*')].map(e => e.tagName.toUpperCase())")
            .await;
        let elements: Vec<&str> = elements
            .as_array()
            .unwrap()
            .iter()
            .filter_map(Json::as_str)
            .collect();
        for tag in ours {
            assert_eq!(elements.iter().filter(|seen| **seen == tag).count(), 1, "{tag}");
        }
        for tag in ["IMG", "FAILURE", "TESTCASE", "IFRAME", "OBJECT", "FORM"] {
            assert!(!elements.contains(&tag), "{tag} from {text}");
        }
        let handlers = browser
            .run("return [...document.querySelectorAll('*')].some(e => e.getAttributeNames().some(n => n.startsWith('on')))")
            .await;
        assert_eq!(handlers, false, "{text}");
        let away = browser
            .run("return [...document.querySelectorAll('a')].filter(a => !a.getAttribute('href').startsWith('#')).length")
            .await;
        assert_eq!(away, 0, "links that leave the page: {text}");
        // What stands there is what was seen.
        let raw = browser
            .run("return [...document.querySelectorAll('.events pre')].map(p => p.textContent)")
            .await;
        for (raw, event) in raw.as_array().unwrap().iter().zip(&report.timeline) {
            let shown: Json = serde_json::from_str(raw.as_str().unwrap()).unwrap();
            assert_eq!(shown, serde_json::to_value(event).unwrap());
        }
        assert_eq!(browser.complaints().await, Vec::<String>::new(), "{text}");
    }
    browser.picture("hostile").await;
}

/// Even a tag that got through could neither run nor load anything.
#[tokio::test]
async fn the_policy_refuses_every_other_script() {
    let browser = Browser::start("policy", json!({})).await;
    browser.open(&report(&read("succeeded"))).await;
    browser
        .run(
            "const script = document.createElement('script');
             script.textContent = 'document.title = \"forged\"';
             document.body.append(script);
             const image = document.createElement('img');
             image.src = 'http://127.0.0.1:9/forged.png';
             document.body.append(image);",
        )
        .await;
    let title = browser.run("return document.title").await;
    assert!(
        title
            .as_str()
            .unwrap()
            .starts_with("taskdiag: The task succeeded"),
        "{title}"
    );
    let complaints = browser.complaints().await.join("\n");
    assert!(complaints.contains("Content Security Policy"), "{complaints}");
}
