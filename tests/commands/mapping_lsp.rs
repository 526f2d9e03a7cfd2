//! `fhirway mapping lsp`, as an editor uses it: JSON-RPC over standard input and output.

use std::io::{BufRead, BufReader, Read, Write};
use std::path::Path;
use std::process::{Child, ChildStdin, ChildStdout, Stdio};
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use tempfile::TempDir;

use crate::support::Command;
use crate::write;

/// An editor with a server.
struct Client {
    child: Child,
    input: ChildStdin,
    output: BufReader<ChildStdout>,
    next: u64,
}

impl Client {
    /// A server that has said what it can do.
    fn start() -> Client {
        let mut client = Client::raw();
        let able = client.ask(
            "initialize",
            json!({ "capabilities": {}, "processId": null, "rootUri": null }),
        );
        for ability in [
            "completionProvider",
            "hoverProvider",
            "definitionProvider",
            "textDocumentSync",
        ] {
            assert!(!able["capabilities"][ability].is_null(), "{able}");
        }
        client.tell("initialized", json!({}));
        client
    }

    fn raw() -> Client {
        let base = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../mappings");
        let mut child = Command::new(["mapping", "lsp"])
            .arg(base)
            .into_process()
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let input = child.stdin.take().unwrap();
        let output = BufReader::new(child.stdout.take().unwrap());
        Client {
            child,
            input,
            output,
            next: 0,
        }
    }

    fn send(&mut self, message: &Value) {
        let text = message.to_string();
        write!(self.input, "Content-Length: {}\r\n\r\n{text}", text.len()).unwrap();
        self.input.flush().unwrap();
    }

    fn tell(&mut self, method: &str, params: Value) {
        self.send(&json!({ "jsonrpc": "2.0", "method": method, "params": params }));
    }

    fn read(&mut self) -> Value {
        let mut length = 0;
        loop {
            let mut line = String::new();
            assert!(
                self.output.read_line(&mut line).unwrap() > 0,
                "the server is gone"
            );
            if line == "\r\n" {
                break;
            }
            if let Some(number) = line.strip_prefix("Content-Length: ") {
                length = number.trim().parse().unwrap();
            }
        }
        let mut body = vec![0; length];
        self.output.read_exact(&mut body).unwrap();
        serde_json::from_slice(&body).unwrap()
    }

    /// The answer to a request, whole.
    fn answer(&mut self, method: &str, params: Value) -> Value {
        self.next += 1;
        let id = self.next;
        self.send(&json!({ "jsonrpc": "2.0", "id": id, "method": method, "params": params }));
        loop {
            let message = self.read();
            if message["id"] == id {
                return message;
            }
        }
    }

    fn ask(&mut self, method: &str, params: Value) -> Value {
        let answer = self.answer(method, params);
        assert!(answer["error"].is_null(), "{answer}");
        answer["result"].clone()
    }

    /// The findings of a file, once they come.
    fn findings(&mut self, uri: &str) -> Vec<Value> {
        loop {
            let message = self.read();
            if message["method"] == "textDocument/publishDiagnostics"
                && message["params"]["uri"] == uri
            {
                return message["params"]["diagnostics"].as_array().unwrap().clone();
            }
        }
    }

    fn open(&mut self, uri: &str, text: &str) {
        let document = json!({ "uri": uri, "languageId": "yaml", "version": 1, "text": text });
        self.tell("textDocument/didOpen", json!({ "textDocument": document }));
    }

    fn change(&mut self, uri: &str, text: &str) {
        let document = json!({ "uri": uri, "version": 2 });
        self.tell(
            "textDocument/didChange",
            json!({ "textDocument": document, "contentChanges": [{ "text": text }] }),
        );
    }

    /// Labels of the completions at `^` in a text, which is put into the buffer without it.
    fn complete(&mut self, uri: &str, text: &str) -> Vec<String> {
        let at = self.put(uri, text);
        let found = self.ask(
            "textDocument/completion",
            json!({ "textDocument": { "uri": uri }, "position": at }),
        );
        let items = found["items"].as_array().unwrap();
        items
            .iter()
            .map(|item| item["label"].as_str().unwrap().to_owned())
            .collect()
    }

    fn hover(&mut self, uri: &str, text: &str) -> String {
        let at = self.put(uri, text);
        let found = self.ask(
            "textDocument/hover",
            json!({ "textDocument": { "uri": uri }, "position": at }),
        );
        found["contents"]["value"]
            .as_str()
            .unwrap_or_default()
            .to_owned()
    }

    fn put(&mut self, uri: &str, text: &str) -> Value {
        let before = text.split('^').next().unwrap();
        let line = before.matches('\n').count();
        let character = before.rsplit('\n').next().unwrap().encode_utf16().count();
        self.change(uri, &text.replacen('^', "", 1));
        json!({ "line": line, "character": character })
    }

    /// The exit code, within ten seconds.
    fn end(mut self) -> i32 {
        drop(self.input);
        let started = Instant::now();
        loop {
            if let Some(status) = self.child.try_wait().unwrap() {
                return status.code().unwrap();
            }
            if started.elapsed() > Duration::from_secs(10) {
                self.child.kill().unwrap();
                panic!("the server did not end");
            }
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    fn shut_down(mut self) -> i32 {
        self.ask("shutdown", Value::Null);
        self.tell("exit", Value::Null);
        self.end()
    }
}

/// An overlay on disk, and the address of a file in it.
fn overlay(path: &str, text: &str) -> (TempDir, String) {
    let folder = TempDir::new().unwrap();
    write(folder.path(), path, text);
    let uri = format!("file://{}", folder.path().join(path).display());
    (folder, uri)
}

const MAP: &str = "segments/PID/Patient.yaml";

#[test]
fn findings_come_as_people_type_and_go_when_it_is_right() {
    let right = "segment: PID\nmakes: Patient\nkey: PID-3\nidentifier: [ { each: PID-3, map: CX/Identifier } ]\n";
    let (_folder, uri) = overlay(MAP, right);
    let mut client = Client::start();
    client.open(&uri, right);
    assert_eq!(client.findings(&uri), Vec::<Value>::new());
    // Not saved: only the buffer has it. An emoji is two units of UTF-16.
    client.change(
        &uri,
        &format!("{right}active: \"\u{1f600} {{{{PID-99}}}}\"\n"),
    );
    let found = client.findings(&uri);
    assert_eq!(found.len(), 1, "{found:?}");
    assert_eq!(
        (
            &found[0]["code"],
            &found[0]["severity"],
            &found[0]["source"]
        ),
        (&json!("M020"), &json!(1), &json!("fhirway"))
    );
    assert_eq!(
        found[0]["range"],
        json!({ "start": { "line": 4, "character": 14 }, "end": { "line": 4, "character": 20 } })
    );
    client.change(&uri, right);
    assert_eq!(client.findings(&uri), Vec::<Value>::new());
    assert_eq!(client.shut_down(), 0);
}

#[test]
fn what_may_stand_at_a_place_is_offered() {
    let (_folder, uri) = overlay(MAP, "segment: PID\nmakes: Patient\n");
    let mut client = Client::start();
    client.open(&uri, "segment: PID\nmakes: Patient\n");
    let head = "segment: PID\nmakes: Patient\nkey: PID-3\n";
    for (text, wanted, not) in [
        ("bir^", "birthDate", "family"),
        ("ign^", "ignore", "from"),
        ("name:\n  - each: PID-5\n    fam^", "family", "birthDate"),
        ("name: [ { each: PID-5, ma^ } ]", "map", "ignore"),
        ("contact:\n  - name:\n      giv^", "given", "gender"),
        (
            "generalPractitioner:\n  - make: Practitioner\n    qual^",
            "qualification",
            "contact",
        ),
        ("name: [ { each: PID-^ } ]", "PID-5", "PV1-2"),
        (
            "name: [ { each: PID-5, family: \"{{PID-5.^}}\" } ]",
            "PID-5.1",
            "PID-6",
        ),
        (
            "name: [ { each: PID-5, family: \"{{XPN.1.^}}\" } ]",
            "XPN.1.1",
            "XPN.2",
        ),
        (
            "name: [ { each: PID-5, family: \"{{^}}\" } ]",
            "XPN.1",
            "valued",
        ),
        ("birthDate: \"{{da^}}\"", "date", "policy"),
        (
            "gender: { from: PID-8, table: Admin^ }",
            "AdministrativeSex",
            "CX/Identifier",
        ),
        (
            "identifier: [ { each: PID-3, map: CX^ } ]",
            "CX/Identifier",
            "AdministrativeSex",
        ),
        ("gender: fem^", "female", "PID-8"),
        ("active: { when: policy ^ }", "ssn", "PID-"),
        ("active: { when: policy ssn = ^ }", "sb", "ssn"),
        ("active: { when: PID-8 ^ }", "not valued", "policy"),
        ("active: { when: bound ^ }", "patient", "ssn"),
        ("link: [ { other: { ref: ^ } } ]", "patient", "ssn"),
        ("write: ^", "create", "keep"),
    ] {
        let found = client.complete(&uri, &format!("{head}{text}"));
        assert!(
            found.iter().any(|label| label == wanted),
            "{wanted} at {text}: {found:?}"
        );
        assert!(
            !found.iter().any(|label| label == not),
            "{not} at {text}: {found:?}"
        );
    }
    let (_other, message) = overlay("messages/ADT_A01.yaml", "message: ADT_A01\n");
    client.open(&message, "message: ADT_A01\n");
    for (text, wanted) in [
        ("map:\n  - ^", "PID"),
        ("map:\n  - ^", "use"),
        ("map:\n  - PID: ^", "PID/Patient"),
        ("map:\n  - PD1: PD1/Patient into ^", "patient"),
        ("map:\n  - PID: PID/Patient as p\n    whe^", "when"),
        (
            "map:\n  - PV1: PV1/Encounter as e\n    set: { subj^",
            "subject",
        ),
        ("map:\n  - PROCEDURE:\n      - ^", "PR1"),
    ] {
        let found = client.complete(&message, &format!("message: ADT_A01\n{text}"));
        assert!(
            found.iter().any(|label| label == wanted),
            "{wanted} at {text}: {found:?}"
        );
    }
    assert_eq!(client.shut_down(), 0);
}

#[test]
fn both_sides_are_documented_and_names_lead_to_their_files() {
    let (_folder, uri) = overlay(MAP, "segment: PID\nmakes: Patient\n");
    let mut client = Client::start();
    client.open(&uri, "segment: PID\nmakes: Patient\n");
    let head = "segment: PID\nmakes: Patient\nkey: PID-3\n";
    for (text, parts) in [
        (
            "birth^Date: \"{{PID-7}}\"",
            &["Patient.birthDate", "date [0..1]"][..],
        ),
        (
            "gen^der: male",
            &["code [0..1]", "administrative-gender", "female"],
        ),
        (
            "name: [ { each: PI^D-5, map: XPN/HumanName } ]",
            &["Patient Name", "XPN", "repeats"],
        ),
        (
            "birthDate: \"{{PI^D-8}}\"",
            &["Administrative Sex", "table 0001", "IS"],
        ),
        (
            "identifier: [ { each: PID-3, value: \"{{CX.4^.2}}\" } ]",
            &["Assigning Authority", "HD.2"],
        ),
        (
            "gender: { fr^om: PID-8, table: AdministrativeSex }",
            &["current"],
        ),
        ("birthDate: \"{{da^te PID-7}}\"", &["date PATH"]),
        (
            "identifier: [ { each: PID-3, map: CX/Ident^ifier } ]",
            &["makes Identifier"],
        ),
        (
            "active: { when: policy ss^n = ss, is: x }",
            &["policy", "default ss"],
        ),
    ] {
        let found = client.hover(&uri, &format!("{head}{text}"));
        for part in parts {
            assert!(found.contains(part), "{part} at {text}: {found}");
        }
    }
    for (text, ends) in [
        (
            "identifier: [ { each: PID-3, map: CX/Ident^ifier } ]",
            "/mappings/datatypes/CX/Identifier.yaml",
        ),
        (
            "gender: { from: PID-8, table: Administr^ativeSex }",
            "/mappings/tables/AdministrativeSex.yaml",
        ),
        ("link: [ { other: { ref: enc^ounter } } ]", ".yaml"),
        (
            "active: { when: policy ss^n = ss }",
            "/mappings/package.yaml",
        ),
    ] {
        let at = client.put(&uri, &format!("{head}{text}"));
        let found = client.ask(
            "textDocument/definition",
            json!({ "textDocument": { "uri": uri }, "position": at }),
        );
        let places = found.as_array().unwrap();
        let fits = |place: &Value| place["uri"].as_str().unwrap().ends_with(ends);
        assert!(places.iter().any(fits), "{text}: {found}");
    }
    assert_eq!(client.shut_down(), 0);
}

#[test]
fn nonsense_is_survived_or_ends_it_with_an_error() {
    let mut client = Client::start();
    let answer = client.answer("textDocument/rename", json!({}));
    assert_eq!(answer["error"]["code"], -32601, "{answer}");
    for params in [
        json!(null),
        json!([]),
        json!({ "textDocument": 7 }),
        json!({ "textDocument": { "uri": "http://example.org/x" }, "position": { "line": 0, "character": 0 } }),
        json!({ "textDocument": { "uri": "file:///x.yaml" }, "position": { "line": -1, "character": "x" } }),
    ] {
        let answer = client.answer("textDocument/hover", params);
        assert_eq!(answer["error"]["code"], -32602, "{answer}");
    }
    // Of a file that is not open, and far outside of one that is.
    let far = json!({ "line": 4_000_000_000_u64, "character": 4_000_000_000_u64 });
    let none = client.ask("textDocument/completion", json!({ "textDocument": { "uri": "file:///no/such/segments/PID/x.yaml" }, "position": far }));
    assert_eq!(none, Value::Null);
    let (_folder, uri) = overlay(MAP, "}}{{: -\n\t\u{1f600}\"");
    client.open(&uri, "}}{{: -\n\t\u{1f600}\"");
    client.ask(
        "textDocument/completion",
        json!({ "textDocument": { "uri": uri }, "position": far }),
    );
    client.tell(
        "textDocument/didChange",
        json!({ "textDocument": { "uri": uri }, "contentChanges": "x" }),
    );
    client.tell("no/such/thing", json!(1));
    assert_eq!(client.findings(&uri)[0]["code"], "M001");
    assert_eq!(client.shut_down(), 0);

    let mut broken = Client::start();
    broken.input.write_all(b"GET / HTTP/1.1\r\n\r\n").unwrap();
    assert_eq!(broken.end(), 1);
    let mut impolite = Client::start();
    impolite.tell("exit", Value::Null);
    assert_eq!(impolite.end(), 1);
    // An editor that is gone is no reason to stay.
    assert_eq!(Client::start().end(), 0);
    assert_eq!(Client::raw().end(), 0);
}
