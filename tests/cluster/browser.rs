//! A real browser, by its `DevTools` protocol over a pipe: what a page looks like there, and what it asks for.
//!
//! The pipe is Chromium's own third and fourth file, so no port is opened and no WebSocket is spoken.

use std::io::{BufRead as _, BufReader, Write as _};
use std::path::Path;
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::time::Instant;

use serde_json::{Value, json};
use tempfile::TempDir;

use super::process::READY_WITHIN;

/// Names under which Chromium is installed.
const NAMES: [&str; 4] = ["chromium", "chromium-browser", "google-chrome", "google-chrome-stable"];
/// It runs what a test wrote, as root too, and speaks with nobody.
const FLAGS: &str = "--headless --no-sandbox --disable-gpu --disable-quic --disable-dev-shm-usage --no-first-run \
    --disable-background-networking --disable-component-update --disable-sync --disable-extensions --hide-scrollbars \
    --remote-debugging-pipe";

/// A window.
#[derive(Clone, Copy, Debug)]
pub struct Screen {
    /// In CSS pixels.
    pub width: u32,
    /// Whether it is a phone's, which fits a page that is too wide by making all of it small.
    pub is_phone: bool,
    pub is_dark: bool,
}

/// What a page did while it was loaded.
#[derive(Clone, Debug, Default)]
pub struct Loaded {
    /// Every address that was asked for, the page's own first.
    pub requests: Vec<String>,
    /// What the browser said of it: what was blocked, and errors.
    pub complaints: Vec<String>,
}

/// A running browser; it ends with the value.
pub struct Browser {
    child: Child,
    commands: ChildStdin,
    messages: Receiver<Value>,
    last_id: u64,
    session: String,
    loaded: Loaded,
    _profile: TempDir,
}

impl Browser {
    /// Starts the browser. `None` where none is installed, which only outside of CI is no failure.
    pub fn start() -> Option<Self> {
        let is_there =
            |name: &&str| Command::new(name).arg("--version").output().is_ok_and(|said| said.status.success());
        let Some(name) = NAMES.into_iter().find(is_there) else {
            assert!(std::env::var_os("CI").is_none(), "there is no Chromium, and in CI it is not left out");
            eprintln!("left out: there is no Chromium; `make setup` installs it on Debian");
            return None;
        };
        let profile = tempfile::tempdir().unwrap();
        let flags = format!("{FLAGS} --user-data-dir={}", profile.path().display());
        let mut child = Command::new("sh")
            .args(["-c", &format!("exec {name} {flags} about:blank 3<&0 4>&1 </dev/null >/dev/null")])
            // What it leaves behind when it is ended goes with the profile.
            .env("TMPDIR", profile.path())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let (commands, answers) = (child.stdin.take().unwrap(), child.stdout.take().unwrap());
        let (sender, messages) = channel();
        std::thread::spawn(move || {
            for message in BufReader::new(answers).split(0) {
                let Ok(message) = message else { return };
                if sender.send(serde_json::from_slice(&message).unwrap()).is_err() {
                    return;
                }
            }
        });
        let mut browser = Self {
            child,
            commands,
            messages,
            last_id: 0,
            session: String::new(),
            loaded: Loaded::default(),
            _profile: profile,
        };
        let target = browser.call("Target.createTarget", &json!({"url": "about:blank"}))["targetId"].clone();
        let attached = browser.call("Target.attachToTarget", &json!({"targetId": target, "flatten": true}));
        browser.session = attached["sessionId"].as_str().unwrap().to_owned();
        for domain in ["Page", "Network", "Log", "Runtime"] {
            browser.call(&format!("{domain}.enable"), &json!({}));
        }
        Some(browser)
    }

    /// Opens a file in a window of this kind, and waits until all of it is loaded.
    pub fn open(&mut self, file: &Path, screen: Screen) -> Loaded {
        let Screen { width, is_phone, is_dark } = screen;
        let (scale, height) = if is_phone { (2, 812) } else { (1, 800) };
        let window = json!({"width": width, "height": height, "deviceScaleFactor": scale, "mobile": is_phone});
        self.call("Emulation.setDeviceMetricsOverride", &window);
        let scheme = json!({"name": "prefers-color-scheme", "value": if is_dark { "dark" } else { "light" }});
        self.call("Emulation.setEmulatedMedia", &json!({"features": [scheme]}));
        self.loaded = Loaded::default();
        let address = url::Url::from_file_path(file).unwrap();
        let begun = self.call("Page.navigate", &json!({"url": address.as_str()}));
        assert!(begun["errorText"].is_null(), "{address}: {begun}");
        let give_up = Instant::now() + READY_WITHIN;
        while self.next(give_up)["method"] != "Page.loadEventFired" {}
        self.loaded.clone()
    }

    /// What an expression is in the page, as JSON.
    pub fn evaluate(&mut self, expression: &str) -> Value {
        let asked = json!({"expression": expression, "returnByValue": true, "awaitPromise": true});
        let answer = self.call("Runtime.evaluate", &asked);
        assert!(answer["exceptionDetails"].is_null(), "{answer}");
        answer["result"]["value"].clone()
    }

    /// What is to be seen at the top of the page, as a PNG in base64.
    pub fn picture(&mut self) -> String {
        self.call("Page.captureScreenshot", &json!({"format": "png"}))["data"].as_str().unwrap().to_owned()
    }

    fn call(&mut self, method: &str, params: &Value) -> Value {
        self.last_id += 1;
        let mut message = json!({"id": self.last_id, "method": method, "params": params});
        if !self.session.is_empty() {
            message["sessionId"] = json!(self.session);
        }
        self.commands.write_all(format!("{message}\0").as_bytes()).unwrap();
        let give_up = Instant::now() + READY_WITHIN;
        loop {
            let answer = self.next(give_up);
            if answer["id"] == self.last_id {
                assert!(answer["error"].is_null(), "{method}: {answer}");
                return answer["result"].clone();
            }
        }
    }

    /// The next message; events are noted on the way.
    fn next(&mut self, give_up: Instant) -> Value {
        let message = match self.messages.recv_timeout(give_up.saturating_duration_since(Instant::now())) {
            Ok(message) => message,
            Err(RecvTimeoutError::Timeout) => panic!("the browser does not answer"),
            Err(RecvTimeoutError::Disconnected) => panic!("the browser has ended: {:?}", self.child.try_wait()),
        };
        let params = &message["params"];
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        match message["method"].as_str() {
            Some("Network.requestWillBeSent") => self.loaded.requests.push(text(&params["request"]["url"])),
            Some("Log.entryAdded") => self.loaded.complaints.push(text(&params["entry"]["text"])),
            Some("Runtime.exceptionThrown" | "Runtime.consoleAPICalled") => {
                self.loaded.complaints.push(params.to_string());
            }
            _ => {}
        }
        message
    }
}

impl Drop for Browser {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
