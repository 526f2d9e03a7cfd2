//! A real Chromium without a window, spoken to in its own protocol over a pipe: no driver, no port, no network.
//!
//! The protocol is <https://chromedevtools.github.io/devtools-protocol/>; with `--remote-debugging-pipe` the browser reads
//! commands from descriptor 3 and writes answers and events to 4, each ended by a zero byte.

use std::{
    io::{BufRead, BufReader, Write},
    path::Path,
    process::{Child, ChildStdin, ChildStdout, Command, Stdio},
};

use serde_json::{Value, json};
use tempfile::TempDir;

/// Names that distributions give it.
const NAMES: [&str; 3] = ["chromium", "chromium-browser", "google-chrome"];

pub struct Browser {
    child: Child,
    input: ChildStdin,
    output: BufReader<ChildStdout>,
    session: String,
    last: u64,
    /// Everything it said on its own: requests, exceptions, console messages.
    pub events: Vec<Value>,
    _profile: TempDir,
}

impl Browser {
    /// Starts a browser with one empty page.
    pub fn start() -> Browser {
        let name = NAMES.into_iter().find(|name| {
            let found = Command::new(name).arg("--version").output();
            found.is_ok_and(|output| output.status.success())
        });
        let name = name.expect(
            "these tests need a browser: run `make tools` as root, or install chromium and put it into the PATH",
        );
        let profile = TempDir::new().unwrap();
        let arguments = format!(
            "exec {name} --headless --no-sandbox --disable-gpu --no-first-run --disable-extensions \
             --user-data-dir={} --remote-debugging-pipe --window-size=1400,900 about:blank 3<&0 4>&1 1>&2",
            profile.path().display()
        );
        let mut child = Command::new("sh")
            .args(["-c", &arguments])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let mut browser = Browser {
            input: child.stdin.take().unwrap(),
            output: BufReader::new(child.stdout.take().unwrap()),
            child,
            session: String::new(),
            last: 0,
            events: Vec::new(),
            _profile: profile,
        };
        let target = browser.call("Target.createTarget", json!({ "url": "about:blank" }));
        let attach = json!({ "targetId": target["targetId"], "flatten": true });
        let attached = browser.call("Target.attachToTarget", attach);
        browser.session = attached["sessionId"].as_str().unwrap().to_owned();
        for domain in ["Page", "Runtime", "Log", "Network"] {
            browser.call(&format!("{domain}.enable"), json!({}));
        }
        browser
    }

    /// One command; what it answers.
    pub fn call(&mut self, method: &str, parameters: Value) -> Value {
        self.last += 1;
        let mut command = json!({ "id": self.last, "method": method, "params": parameters });
        if !self.session.is_empty() {
            command["sessionId"] = self.session.clone().into();
        }
        let mut bytes = command.to_string().into_bytes();
        bytes.push(0);
        self.input.write_all(&bytes).unwrap();
        loop {
            let found = self.next();
            if found["id"] == self.last {
                assert!(found["error"].is_null(), "{method}: {}", found["error"]);
                return found["result"].clone();
            }
            self.events.push(found);
        }
    }

    fn next(&mut self) -> Value {
        let mut bytes = Vec::new();
        self.output.read_until(0, &mut bytes).unwrap();
        assert_eq!(bytes.pop(), Some(0), "the browser has ended");
        serde_json::from_slice(&bytes).unwrap()
    }

    /// Opens a file and waits until it has run its scripts.
    pub fn open(&mut self, path: &Path) {
        let url = format!("file://{}", path.display());
        self.call("Page.navigate", json!({ "url": url }));
        loop {
            let loaded = |event: &Value| event["method"] == "Page.loadEventFired";
            if self.events.iter().any(loaded) {
                return;
            }
            let event = self.next();
            self.events.push(event);
        }
    }

    /// What an expression is in the page.
    pub fn ask(&mut self, expression: &str) -> Value {
        let parameters = json!({ "expression": expression, "returnByValue": true });
        let found = self.call("Runtime.evaluate", parameters);
        assert!(
            found["exceptionDetails"].is_null(),
            "{expression}: {}",
            found["exceptionDetails"]
        );
        found["result"]["value"].clone()
    }

    /// The middle of the first thing that a selector finds, brought into view.
    fn middle(&mut self, selector: &str) -> (f64, f64) {
        let script = format!(
            "(() => {{ const box = (document.querySelector({selector:?}).scrollIntoView({{ block: 'center' }}), \
             document.querySelector({selector:?}).getClientRects()[0]); \
             return [box.x + box.width / 2, box.y + box.height / 2]; }})()"
        );
        let found = self.ask(&script);
        (found[0].as_f64().unwrap(), found[1].as_f64().unwrap())
    }

    /// Moves the mouse there.
    pub fn hover(&mut self, selector: &str) {
        let (x, y) = self.middle(selector);
        let moved = json!({ "type": "mouseMoved", "x": x, "y": y });
        self.call("Input.dispatchMouseEvent", moved);
    }

    /// Clicks there.
    pub fn click(&mut self, selector: &str) {
        let (x, y) = self.middle(selector);
        for kind in ["mousePressed", "mouseReleased"] {
            let event = json!({ "type": kind, "x": x, "y": y, "button": "left", "clickCount": 1 });
            self.call("Input.dispatchMouseEvent", event);
        }
    }

    /// Presses a key by its name, such as `Escape` or `n`.
    pub fn press(&mut self, key: &str) {
        for kind in ["keyDown", "keyUp"] {
            let mut event = json!({ "type": kind, "key": key });
            if kind == "keyDown" && key == "Enter" {
                event["text"] = "\r".into();
            }
            self.call("Input.dispatchKeyEvent", event);
        }
    }

    /// What went wrong in the page: exceptions, errors of the console, refused loads.
    pub fn complaints(&self) -> Vec<&Value> {
        let bad = |event: &&Value| {
            event["method"] == "Runtime.exceptionThrown"
                || event["params"]["entry"]["level"] == "error"
                || (event["method"] == "Runtime.consoleAPICalled"
                    && event["params"]["type"] == "error")
        };
        self.events.iter().filter(bad).collect()
    }

    /// The addresses of everything that was loaded.
    pub fn loaded(&self) -> Vec<&str> {
        let requests = self
            .events
            .iter()
            .filter(|event| event["method"] == "Network.requestWillBeSent");
        requests
            .filter_map(|event| event["params"]["request"]["url"].as_str())
            .collect()
    }
}

impl Drop for Browser {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
