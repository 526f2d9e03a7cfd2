//! The commands, as a person or a script uses them: output, exit codes, and what they say when something is wrong.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing
)]

mod support;

use std::{
    fs,
    io::{BufRead, BufReader, Read},
    path::Path,
    process::Stdio,
};

use serde_json::{Value, json};
use support::{
    Answer, Command, Feed, FhirServer, FhirwayTest, Gateway, eventually, frame, results, update,
};
use tempfile::TempDir;

const NO_MESSAGE: &str = "PID|1||P1\r";

fn write(folder: &Path, path: &str, text: impl AsRef<[u8]>) {
    let path = folder.join(path);
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    fs::write(path, text).unwrap();
}

/// The control id of each line, `-` for an OperationOutcome.
fn control_ids(lines: &[Value]) -> Vec<String> {
    lines
        .iter()
        .map(|line| match line["resourceType"].as_str() {
            Some("OperationOutcome") => "-".to_owned(),
            Some("Bundle") => line["entry"]
                .as_array()
                .unwrap()
                .iter()
                .find_map(|entry| {
                    entry["resource"]["entity"][0]["what"]["identifier"]["value"].as_str()
                })
                .unwrap()
                .to_owned(),
            other => panic!("{other:?}"),
        })
        .collect()
}

mod convert {
    use super::*;

    fn ndjson(folder: &Path, arguments: &[&str]) -> Command {
        Command::new(["convert", "--ndjson"].iter().chain(arguments)).folder(folder)
    }

    #[test]
    fn one_message_is_a_bundle_to_read() {
        let folder = TempDir::new().unwrap();
        write(folder.path(), "one.hl7", results("C1", "P1"));
        let ran = Command::new(["convert", "one.hl7"])
            .folder(folder.path())
            .run()
            .expect(0);
        assert!(
            ran.stdout
                .starts_with("{\n  \"resourceType\": \"Bundle\",\n")
        );
        assert!(ran.stdout.ends_with("}\n"));
        assert_eq!(ran.stderr, "");
        assert_eq!(control_ids(&[ran.json()]), ["C1"]);
        let value = ran.json()["entry"]
            .as_array()
            .unwrap()
            .iter()
            .find(|entry| entry["resource"]["resourceType"] == "Observation")
            .map(|entry| entry["resource"].to_string())
            .unwrap();
        assert!(value.contains("\"value\":13.5"), "{value}");
        assert!(
            ran.stdout.contains("\"value\": 13.50,"),
            "a decimal keeps its digits"
        );
    }

    #[test]
    fn many_messages_are_lines_in_the_order_of_the_input() {
        let folder = TempDir::new().unwrap();
        let text = |name: &str| update(name, "P1", "Cosima");
        write(folder.path(), "feed/b/2.hl7", text("B2"));
        write(
            folder.path(),
            "feed/b/10.HL7",
            [text("B10a"), results("B10b", "P1")].concat(),
        );
        write(folder.path(), "feed/a.hl7", text("A").replace('\r', "\n"));
        write(
            folder.path(),
            "feed/c/deep/er/z.hl7",
            [frame(text("Z1")), frame(text("Z2"))].concat(),
        );
        write(folder.path(), "feed/readme.txt", "no message");
        write(folder.path(), "other.txt", text("O"));
        let ran = ndjson(folder.path(), &["other.txt", "feed", "-"])
            .input(format!(
                "FHS|^~\\&|A\rBHS|^~\\&|A\r{}BTS|1\rFTS|1\r",
                text("S1")
            ))
            .run()
            .expect(0);
        assert_eq!(
            control_ids(&ran.lines()),
            ["O", "A", "B10a", "B10b", "B2", "Z1", "Z2", "S1"]
        );
    }

    #[test]
    fn order_and_bytes_do_not_depend_on_the_number_of_threads() {
        let folder = TempDir::new().unwrap();
        let mut expected = Vec::new();
        for file in 0..30 {
            let mut text = String::new();
            for n in 0..file % 9 + 1 {
                let name = format!("T{file}-{n}");
                // Large and small ones by turns, so that later ones are done earlier.
                text.push_str(&results(&name, "P1"));
                for set in 0..(file * 7 + n) % 40 {
                    text.push_str(&format!(
                        "OBX|{}|NM|789-8^Erythrocytes^LN||4.{set}|10*6/uL|||||F\r",
                        set + 2
                    ));
                }
                expected.push(name);
            }
            write(folder.path(), &format!("{file:02}.hl7"), text);
        }
        let one = ndjson(folder.path(), &["--jobs", "1", "."]).run().expect(0);
        let many = ndjson(folder.path(), &["--jobs", "8", "."]).run().expect(0);
        assert_eq!(control_ids(&one.lines()), expected);
        assert!(one.stdout == many.stdout, "other bytes with other threads");
    }

    #[test]
    fn a_message_that_fails_has_its_line_and_the_exit_code_is_1() {
        let folder = TempDir::new().unwrap();
        write(folder.path(), "1.hl7", update("C1", "P1", "Cosima"));
        write(folder.path(), "2.hl7", NO_MESSAGE);
        write(folder.path(), "3.hl7", update("C3", "P1", "Cosima"));
        let ran = ndjson(
            folder.path(),
            &["-o", "out.ndjson", "--report", "report.ndjson", "."],
        )
        .run()
        .expect(1);
        assert_eq!(ran.stdout, "");
        assert_eq!(ran.stderr, "1 of 3 messages could not be converted\n");
        let lines = |name: &str| -> Vec<Value> {
            let text = fs::read_to_string(folder.path().join(name)).unwrap();
            text.lines()
                .map(|line| serde_json::from_str(line).unwrap())
                .collect()
        };
        assert_eq!(control_ids(&lines("out.ndjson")), ["C1", "-", "C3"]);
        let report = lines("report.ndjson");
        assert_eq!(report.len(), 3);
        for (number, line) in report.iter().enumerate() {
            let name = format!("{}.hl7", number + 1);
            assert!(line["input"].as_str().unwrap().ends_with(&name), "{line}");
            assert_eq!(line["message"], 1);
            assert_eq!(line["ok"], number != 1);
        }
        assert!(report[0]["timings_us"]["map"].as_f64().unwrap() > 0.0);
        assert_eq!(report[0]["mapping"]["message_map"], "ADT_A01");
        assert_eq!(report[1]["reason"], "parse");
    }

    #[test]
    fn what_no_rule_took_is_in_the_report() {
        let folder = TempDir::new().unwrap();
        let text = results("C1", "P1") + "ZLB|1|kept by nobody\r";
        let ran = ndjson(folder.path(), &["--report", "report.ndjson", "-"])
            .input(text)
            .run()
            .expect(0);
        assert_eq!(ran.lines().len(), 1);
        let report = fs::read_to_string(folder.path().join("report.ndjson")).unwrap();
        let report: Value = serde_json::from_str(&report).unwrap();
        assert_eq!(report["mapping"]["unmapped_segments"]["ZLB"], 1, "{report}");
        assert_eq!(report["mapping"]["unmapped"], json!(["ZLB"]), "{report}");
    }

    #[test]
    fn wrong_usage_is_exit_code_2() {
        let folder = TempDir::new().unwrap();
        write(folder.path(), "one.hl7", update("C1", "P1", "Cosima"));
        write(folder.path(), "empty/readme.txt", "");
        write(
            folder.path(),
            "broken/segments/PID/Patient.yaml",
            "segment: PID\nmakes: Patent\n",
        );
        let cases: [(&[&str], &str); 8] = [
            (&[], "required"),
            (&["nowhere.hl7"], "there is no file or folder nowhere.hl7"),
            (&["empty"], "there is no *.hl7 file"),
            (
                &["--zone", "Europe/Nowhere", "one.hl7"],
                "no such time zone",
            ),
            (&["--policy", "ssn", "one.hl7"], "NAME=VALUE"),
            (&["--package", "nowhere", "one.hl7"], "nowhere"),
            (
                &["--package", "broken", "one.hl7"],
                "broken/segments/PID/Patient.yaml:2:8",
            ),
            (
                &["-o", "no/such/folder", "one.hl7"],
                "cannot write no/such/folder",
            ),
        ];
        for (arguments, expected) in cases {
            let ran = ndjson(folder.path(), arguments).run().expect(2);
            assert!(
                ran.stderr.contains(expected),
                "{arguments:?}: {}",
                ran.stderr
            );
            assert_eq!(ran.stdout, "");
        }
    }

    #[test]
    fn options_change_the_bundle() {
        let convert = |arguments: &[&str]| {
            let message =
                update("C1", "P1", "Cosima").replace("20260102030405+0000", "20260702030405");
            let ran = Command::new(["convert", "-"].iter().chain(arguments))
                .input(message)
                .run();
            ran.expect(0).stdout
        };
        assert!(convert(&[]).contains("\"type\": \"transaction\""));
        assert!(convert(&[]).contains("\"url\": \"Patient?identifier="));
        assert!(convert(&["--ids", "client"]).contains("\"url\": \"Patient/"));
        assert!(convert(&["--bundle", "batch"]).contains("\"type\": \"batch\""));
        assert!(!convert(&["--bundle", "collection"]).contains("\"request\""));
        // A time without an offset: cut to the date, unless the zone is known.
        assert!(convert(&[]).contains("\"occurredDateTime\": \"2026-07-02\""));
        assert!(convert(&["--zone", "Europe/Vienna"]).contains("\"2026-07-02T03:04:05+02:00\""));
    }

    /// `fhirway convert ... | head -1`
    #[test]
    fn a_closed_output_is_no_error() {
        let text = results("C1", "P1").repeat(3000);
        let folder = TempDir::new().unwrap();
        write(folder.path(), "many.hl7", text);
        let mut child = ndjson(folder.path(), &["many.hl7"])
            .into_process()
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let mut first = String::new();
        let mut stdout = BufReader::new(child.stdout.take().unwrap());
        stdout.read_line(&mut first).unwrap();
        drop(stdout);
        let mut stderr = String::new();
        child
            .stderr
            .take()
            .unwrap()
            .read_to_string(&mut stderr)
            .unwrap();
        assert!(child.wait().unwrap().success());
        assert_eq!(stderr, "");
        assert!(first.ends_with("}\n"));
    }
}

mod mapping_check {
    use super::*;

    const PATIENT: &str = "\
segment: PID
makes: Patient
key: PID-3
identifier: [ { each: PID-3, map: CX/Identifier } ]
gendr: { from: PID-8, table: AdministrativeSex }
birthDate: \"{{PID-77}}\"
maritalStatus: { from: PID-16, table: NoSuchTable }
";

    fn broken() -> TempDir {
        let folder = TempDir::new().unwrap();
        write(folder.path(), "segments/PID/Patient.yaml", PATIENT);
        folder
    }

    /// The shipped maps with a folder on top of them.
    fn check(overlay: &Path, arguments: &[&str]) -> Command {
        let base = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../mappings");
        Command::new(["mapping", "check"].iter().chain(arguments))
            .arg(base)
            .arg(overlay)
    }

    #[test]
    fn the_shipped_maps_are_right() {
        let ran = Command::new(["mapping", "check"]).run().expect(0);
        assert!(ran.stdout.contains(" 0 errors, 0 warnings"), "{ran:?}");
        assert_eq!(ran.stderr, "");
    }

    #[test]
    fn every_mistake_is_told_with_its_place_and_the_likely_fix() {
        let folder = broken();
        let ran = check(folder.path(), &[]).run().expect(1);
        let place = |line_and_column: &str| {
            format!(
                "{}:{line_and_column}",
                folder.path().join("segments/PID/Patient.yaml").display()
            )
        };
        for (line_and_column, says) in [
            ("5:1", "did you mean `gender`"),
            ("6:", "PID-77"),
            ("7:", "NoSuchTable"),
        ] {
            assert!(
                ran.stderr.contains(&place(line_and_column)),
                "{line_and_column}\n{}",
                ran.stderr
            );
            assert!(ran.stderr.contains(says), "{says}\n{}", ran.stderr);
        }
        assert!(ran.stdout.contains(" 3 errors"), "{}", ran.stdout);
    }

    #[test]
    fn machines_get_json() {
        let folder = broken();
        let found = check(folder.path(), &["--format", "json"])
            .run()
            .expect(1)
            .json();
        assert_eq!(found["errors"], 3, "{found}");
        assert_eq!(found["hash"], Value::Null);
        let lines: Vec<u64> = found["diagnostics"]
            .as_array()
            .unwrap()
            .iter()
            .map(|each| {
                assert!(
                    each["file"]
                        .as_str()
                        .unwrap()
                        .ends_with("segments/PID/Patient.yaml")
                );
                assert!(each["code"].as_str().unwrap().starts_with('M'));
                assert!(each["column"].as_u64().unwrap() > 0);
                each["line"].as_u64().unwrap()
            })
            .collect();
        assert_eq!(lines, [5, 6, 7]);
    }

    #[test]
    fn files_that_are_no_yaml_are_told_too() {
        let folder = TempDir::new().unwrap();
        write(
            folder.path(),
            "segments/PID/Patient.yaml",
            "segment: PID\n  makes: [\n",
        );
        let ran = check(folder.path(), &[]).run().expect(1);
        assert!(
            ran.stderr.contains("segments/PID/Patient.yaml:2:"),
            "{}",
            ran.stderr
        );
        let ran = Command::new(["mapping", "check", "/no/such/folder"])
            .run()
            .expect(2);
        assert!(ran.stderr.contains("/no/such/folder"), "{ran:?}");
    }
}

mod config_check {
    use super::*;

    const WRONG: &str = "\
listener: {}
listeners:
  lab:
    type: mllp
    bindd: 127.0.0.1:2575
    frame_bytes: lots
routes:
  lab: { destinations: [nowhere], when: \"PID-8 = \" }
destinations:
  fhir: { url: \"htp://fhir.example\", auth: { bearer: { file: /no/such/file } } }
";

    #[test]
    fn all_mistakes_are_told_in_one_run_with_the_likely_fix() {
        let folder = TempDir::new().unwrap();
        write(folder.path(), "wrong.yaml", WRONG);
        let ran = Command::new(["config", "check", "wrong.yaml"])
            .folder(folder.path())
            .run()
            .expect(1);
        for says in [
            "wrong.yaml:1:1: error: unknown key `listener`",
            "did you mean `listeners`?",
            "wrong.yaml:5:5: error: unknown key `bindd`",
            "did you mean `bind`?",
            "wrong.yaml:6:18: error: listeners.lab.frame_bytes: `lots`",
            "wrong.yaml:8:25: error: routes.lab: there is no destination `nowhere`",
            "wrong.yaml:8:41: error: routes.lab.when",
            "wrong.yaml:10:16: error: destinations.fhir.url",
            "/no/such/file",
            "7 errors, 0 warnings",
        ] {
            assert!(ran.stderr.contains(says), "{says}\n{}", ran.stderr);
        }
        assert_eq!(ran.stdout, "", "nothing is in force");
        let found = Command::new(["config", "check", "--format", "json", "wrong.yaml"])
            .folder(folder.path())
            .run()
            .expect(1)
            .json();
        assert_eq!(found["usable"], false);
        assert_eq!(found["problems"].as_array().unwrap().len(), 7);
        assert_eq!(found["problems"][1]["place"], "wrong.yaml:5:5");
    }

    #[test]
    fn the_default_is_the_file_in_the_repository_and_can_be_used() {
        let ran = Command::new(["config", "default"]).run().expect(0);
        let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../config/fhirway.yaml");
        assert_eq!(ran.stdout, fs::read_to_string(file).unwrap());
        let folder = TempDir::new().unwrap();
        write(folder.path(), "fhirway.yaml", &ran.stdout);
        let named = Command::new(["config", "check", "fhirway.yaml"])
            .folder(folder.path())
            .run()
            .expect(0);
        let embedded = Command::new(["config", "check"])
            .folder(folder.path())
            .run()
            .expect(0);
        assert!(embedded.stdout.contains("127.0.0.1:2575"), "{embedded:?}");
        assert_eq!(named.stdout, embedded.stdout);
    }

    #[test]
    fn the_environment_overrides_and_its_mistakes_are_told() {
        let check = |name: &str, value: &str| {
            Command::new(["config", "check", "--format", "json"])
                .env(name, value)
                .run()
        };
        let found = check("FHIRWAY__LISTENERS__LAB__BIND", "0.0.0.0:7777")
            .expect(0)
            .json();
        assert!(found["config"].to_string().contains("0.0.0.0:7777"));
        let found = check("FHIRWAY__LISTENERS__LAB__BINDD", "0.0.0.0:7777")
            .expect(1)
            .json();
        assert_eq!(
            found["problems"][0]["place"], "$FHIRWAY__LISTENERS__LAB__BINDD",
            "{found}"
        );
        let ran = Command::new(["config", "check", "/no/such/file"])
            .run()
            .expect(2);
        assert!(ran.stderr.contains("cannot read /no/such/file"), "{ran:?}");
    }

    #[test]
    fn secrets_are_masked() {
        let test = FhirwayTest::new()
            .set("routes.lab.destinations", json!(["fhir"]))
            .set("destinations.fhir", json!({
                "url": "https://fhir.example/r4",
                "auth": { "basic": { "user": "fhirway", "password": { "env": "FHIR_TEST_PASSWORD" } } },
            }));
        for format in ["text", "json"] {
            let ran = Command::new(["config", "check", "--format", format])
                .arg(test.write_config())
                .env("FHIR_TEST_PASSWORD", "opensesame")
                .run()
                .expect(0);
            assert!(ran.stdout.contains("https://fhir.example/r4"), "{ran:?}");
            assert!(!(ran.stdout + &ran.stderr).contains("opensesame"));
        }
    }
}

mod send {
    use super::*;

    async fn gateway(server: &FhirServer) -> Gateway {
        FhirwayTest::new()
            .destination("fhir", server)
            .set("routes.lab.when", json!("MSH-9.1 = ADT"))
            .set("listeners.lab.unrouted", json!("reject"))
            .start()
            .await
    }

    fn send(gateway: &Gateway, arguments: &[&str]) -> Command {
        let to = gateway.address("lab").to_string();
        Command::new(["send", "--to"])
            .arg(to)
            .args(arguments)
            .folder(gateway.folder())
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn it_counts_what_comes_back() {
        let server = FhirServer::start().await;
        let gateway = gateway(&server).await;
        for n in 0..40 {
            let text = update(&format!("S{n}"), &format!("P{n}"), "Cosima");
            write(gateway.folder(), &format!("feed/{n:02}.hl7"), text);
        }
        let ran = send(&gateway, &["feed"]).run().expect(0);
        assert!(ran.stdout.starts_with("40 messages in "), "{}", ran.stdout);
        assert!(
            ran.stdout.contains(": AA 40\n") && ran.stdout.contains("(p99)"),
            "{}",
            ran.stdout
        );
        server.has_stored(40).await;
        let expected: Vec<String> = (0..40).map(|n| format!("S{n}")).collect();
        assert_eq!(server.stored(), expected.iter().cloned().collect());

        let load = [
            "--connections",
            "4",
            "--repeat",
            "3",
            "--format",
            "json",
            "feed",
        ];
        let found = send(&gateway, &load).run().expect(0).json();
        assert_eq!(
            (&found["messages"], &found["positive"]),
            (&json!(120), &json!(120))
        );
        assert_eq!(found["answers"], json!({ "AA": 120 }));
        assert!(found["ack_ms"]["p50"].as_f64().unwrap() > 0.0);
        assert_eq!(
            gateway.counts("total")["accepted"],
            40,
            "all were sent before"
        );

        // Messages that are refused: counted by code, exit code 1.
        write(
            gateway.folder(),
            "feed/99.hl7",
            [results("R1", "P1"), update("S99", "P1", "Cosima")].concat(),
        );
        let found = send(&gateway, &["--format", "json", "feed"])
            .run()
            .expect(1)
            .json();
        assert_eq!(found["answers"], json!({ "AA": 41, "AR": 1 }));
        assert_eq!(found["negative_or_missing"], 1);
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn it_says_what_is_wrong() {
        let server = FhirServer::start().await;
        let mut gateway = gateway(&server).await;
        write(gateway.folder(), "one.hl7", update("S1", "P1", "Cosima"));
        let wrong = send(&gateway, &["--rate", "0", "one.hl7"]).run().expect(2);
        assert!(wrong.stderr.contains("must be greater than 0"), "{wrong:?}");
        let wrong = send(&gateway, &["nowhere"]).run().expect(2);
        assert!(
            wrong.stderr.contains("there is no file or folder nowhere"),
            "{wrong:?}"
        );
        let paced = send(&gateway, &["--rate", "500", "-"])
            .input(update("S2", "P1", "Cosima"))
            .run()
            .expect(0);
        assert!(paced.stdout.contains("AA 1"), "{paced:?}");
        gateway.stop().await;
        let ran = send(&gateway, &["one.hl7"]).run().expect(1);
        assert!(
            ran.stderr.contains("cannot connect to 127.0.0.1:"),
            "{ran:?}"
        );
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn mutual_tls_from_end_to_end() {
        let server = FhirServer::start().await;
        let test = FhirwayTest::new().destination("fhir", &server);
        let folder = test.folder().to_owned();
        certificates(&folder);
        let gateway = test
            .set(
                "listeners.lab.tls",
                json!({
                    "certificate": folder.join("server.pem"),
                    "key": folder.join("server.key"),
                    "client_ca": folder.join("ca.pem"),
                }),
            )
            .start()
            .await;
        write(&folder, "one.hl7", update("T1", "P1", "Cosima"));
        let tls = ["--tls", "--ca", "ca.pem", "--server-name", "localhost"];
        let me = ["--cert", "client.pem", "--key", "client.key"];
        let whole = [&tls[..], &me[..], &["one.hl7"]].concat();
        let ran = send(&gateway, &whole).run().expect(0);
        assert!(ran.stdout.contains("AA 1"), "{ran:?}");
        send(&gateway, &[&tls[..], &["one.hl7"]].concat())
            .run()
            .expect(1);
        send(&gateway, &["one.hl7"]).run().expect(1);
        gateway.drained().await;
        assert_eq!(server.effects(), ["T1"]);
    }

    fn certificates(folder: &Path) {
        use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair};
        let ca_key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let ca = params.self_signed(&ca_key).unwrap();
        write(folder, "ca.pem", ca.pem());
        let issuer = Issuer::new(params, ca_key);
        for name in ["server", "client"] {
            let key = KeyPair::generate().unwrap();
            let params = CertificateParams::new(vec!["localhost".to_owned()]).unwrap();
            let certificate = params.signed_by(&key, &issuer).unwrap();
            write(folder, &format!("{name}.pem"), certificate.pem());
            write(folder, &format!("{name}.key"), key.serialize_pem());
        }
    }
}

mod queue {
    use super::*;

    /// Ten messages delivered, two about one patient given up.
    async fn used() -> (FhirServer, Gateway) {
        let server = FhirServer::start().await;
        server.answer(|request| match request.control_id.as_str() {
            "M00003" | "M00009" => Answer::status(422),
            _ => Answer::Store,
        });
        let gateway = FhirwayTest::new()
            .destination("fhir", &server)
            .start()
            .await;
        Feed::default().send(&gateway, 12).await;
        gateway.drained().await;
        (server, gateway)
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn it_shows_the_same_with_and_without_a_gateway() {
        let (_server, mut gateway) = used().await;
        let questions: [&[&str]; 6] = [
            &["list"],
            &["list", "--state", "dead"],
            &[
                "list",
                "--message-type",
                "ADT_A08",
                "--listener",
                "lab",
                "--since",
                "1h",
            ],
            &["dead-letters"],
            &["show", "4"],
            &["show", "4", "--payload"],
        ];
        let ask = |gateway: &Gateway| -> Vec<String> {
            let answers = questions
                .iter()
                .map(|question| gateway.queue(question).expect(0).stdout);
            answers.collect()
        };
        let running = ask(&gateway);
        let status = gateway.queue(&["status"]).expect(0).stdout;
        assert!(gateway.stop().await.success());
        assert_eq!(ask(&gateway), running);
        assert_eq!(gateway.queue(&["status"]).expect(0).stdout, status);

        assert!(status.contains("the sums are right"), "{status}");
        let lines = |text: &str| text.lines().count() - 1;
        assert_eq!(
            running
                .iter()
                .take(4)
                .map(|text| lines(text))
                .collect::<Vec<_>>(),
            [12, 2, 4, 2]
        );
        assert!(running[3].contains("permanent"), "{}", running[3]);
        assert!(running[4].contains("status 422"), "{}", running[4]);
        assert!(
            !running[4].contains("Ashgrove"),
            "no content unless it is asked for"
        );
        assert!(running[5].contains("Ashgrove"), "{}", running[5]);
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn lists_have_pages_and_json() {
        let (_server, gateway) = used().await;
        let mut seen = Vec::new();
        let mut after = "0".to_owned();
        loop {
            let page = gateway.queue_json(&["list", "--limit", "5", "--after", &after]);
            let page = page.as_array().unwrap();
            assert!(page.len() <= 5);
            let Some(last) = page.last() else { break };
            after = last["record"].to_string();
            seen.extend(page.iter().map(|each| each["record"].as_u64().unwrap()));
        }
        assert_eq!(seen, (1..=12).collect::<Vec<u64>>());
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn dead_letters_are_replayed_in_order() {
        let (server, gateway) = used().await;
        server.answer(|_| Answer::Store);
        let dry = gateway
            .queue(&["replay", "--state", "dead", "--dry-run"])
            .expect(0);
        assert!(
            dry.stdout.starts_with("2 would be delivered again"),
            "{}",
            dry.stdout
        );
        let ran = gateway.queue(&["replay", "--state", "dead"]).expect(0);
        assert!(
            ran.stdout.starts_with("2 are delivered again"),
            "{}",
            ran.stdout
        );
        server.has_stored(12).await;
        let effects = server.effects();
        assert_eq!(effects[10..], ["M00003", "M00009"]);
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn a_paused_destination_stays_paused_over_a_restart() {
        let (server, mut gateway) = used().await;
        gateway
            .queue(&["pause", "fhir", "--reason", "upgrade until 18:00"])
            .expect(0);
        gateway
            .connect()
            .await
            .send(update("N1", "P1", "Cosima"))
            .await;
        gateway.kill();
        gateway.start().await;
        let status = gateway.queue(&["status"]).expect(0).stdout;
        assert!(
            status.contains("fhir is paused: upgrade until 18:00"),
            "{status}"
        );
        gateway
            .connect()
            .await
            .send(update("N2", "P1", "Cosima"))
            .await;
        assert!(!server.stored().contains("N1"));
        gateway.queue(&["resume", "fhir"]).expect(0);
        eventually("both are stored", async || {
            let stored = server.stored();
            (stored.contains("N1") && stored.contains("N2")).then_some(())
        })
        .await;
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn it_says_what_is_wrong() {
        let (_server, gateway) = used().await;
        let cases: [(&[&str], i32, &str); 6] = [
            (&["show", "4711"], 1, "no such record"),
            (&["show", "four"], 2, "four"),
            (&["replay"], 2, "name records, or say which"),
            (&["release"], 2, "name records, or say which"),
            (&["list", "--state", "lost"], 2, "lost"),
            (&["list", "--since", "yesterday"], 2, "write a time such as"),
        ];
        for (arguments, code, says) in cases {
            let ran = gateway.queue(arguments).expect(code);
            assert!(ran.stderr.contains(says), "{arguments:?}: {}", ran.stderr);
        }
        let nowhere = Command::new(["queue", "status", "--data", "/no/such/folder"])
            .run()
            .expect(2);
        assert!(
            nowhere
                .stderr
                .contains("there is no queue in /no/such/folder"),
            "{nowhere:?}"
        );
        let check = gateway.queue(&["check", "--payloads"]).expect(0).stdout;
        assert!(check.contains("corrupt: 0"), "{check}");
    }
}

mod demo {
    use super::*;

    #[test]
    fn it_runs_to_its_end_and_says_where_to_look() {
        let folder = TempDir::new().unwrap();
        let ran = Command::new([
            "demo",
            "--any-port",
            "--rate",
            "1000",
            "--count",
            "60",
            "--data",
        ])
        .arg(folder.path())
        .run()
        .expect(0);
        for says in [
            "MLLP",
            "/fhir/Patient",
            "/metrics",
            "60 messages accepted, 60 delivered, 0 waiting, 0 dead letters",
        ] {
            assert!(ran.stdout.contains(says), "{says}\n{}", ran.stdout);
        }
        assert!(!ran.stderr.contains("ERROR"), "{}", ran.stderr);
    }
}

mod help {
    use super::*;

    /// Every command below `path`, itself included.
    fn walk(path: &[String], found: &mut Vec<(Vec<String>, String)>) {
        let help = Command::new(path).arg("--help").run().expect(0).stdout;
        let commands: Vec<String> = help
            .split("Commands:\n")
            .nth(1)
            .unwrap_or_default()
            .lines()
            .take_while(|line| !line.is_empty())
            .filter(|line| line.starts_with("  ") && !line.starts_with("   "))
            .filter_map(|line| line.split_whitespace().next())
            .filter(|name| *name != "help")
            .map(str::to_owned)
            .collect();
        for command in commands {
            let mut path = path.to_vec();
            path.push(command);
            walk(&path, found);
        }
        found.push((path.to_vec(), help));
    }

    #[test]
    fn every_command_has_an_example_that_begins_with_itself() {
        let mut found = Vec::new();
        walk(&[], &mut found);
        let names: Vec<String> = found.iter().map(|(path, _)| path.join(" ")).collect();
        for name in [
            "serve",
            "send",
            "convert",
            "demo",
            "mapping check",
            "config check",
            "queue replay",
        ] {
            assert!(
                names.iter().any(|found| found == name),
                "{name} in {names:?}"
            );
        }
        for (path, help) in &found {
            let command = format!("  fhirway {}", path.join(" "));
            let examples = help.split("Example").nth(1).unwrap_or_default();
            assert!(examples.contains(command.trim_end()), "{path:?}\n{help}");
            assert!(
                help.lines().all(|line| line.chars().count() <= 110),
                "{path:?} is too wide"
            );
        }
    }

    #[test]
    fn the_version_is_told_and_nonsense_is_refused() {
        let ran = Command::new(["--version"]).run().expect(0);
        assert_eq!(
            ran.stdout,
            format!("fhirway {}\n", env!("CARGO_PKG_VERSION"))
        );
        let ran = Command::new(["convrt"]).run().expect(2);
        assert!(ran.stderr.contains("convert"), "{ran:?}");
        Command::new(["serve", "--config", "/no/such/file"])
            .run()
            .expect(2);
    }
}
