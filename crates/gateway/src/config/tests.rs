use super::*;

const MINIMAL: &str = "
listeners: {lab: {type: mllp}}
routes: {lab: {destinations: [repository]}}
destinations: {repository: {url: embedded}}
";

fn check(text: &str) -> Loaded {
    check_with(text, &[])
}

fn check_with(text: &str, variables: &[(&str, &str)]) -> Loaded {
    let variables = variables
        .iter()
        .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
    load_text("test.yaml".into(), text.into(), variables)
}

fn messages(loaded: &Loaded) -> Vec<String> {
    loaded
        .problems
        .iter()
        .map(|problem| format!("{}: {}", problem.place("f"), problem.message))
        .collect()
}

#[test]
fn the_embedded_file_says_the_defaults_and_nothing_else() {
    let embedded = check(EMBEDDED);
    assert!(embedded.problems.is_empty(), "{}", embedded.render());
    let minimal = check(MINIMAL);
    assert_eq!(
        embedded.config.unwrap().show(),
        minimal.config.unwrap().show()
    );
}

#[test]
fn the_embedded_file_documents_every_key() {
    let shown = serde_json::to_value(check(MINIMAL).config.unwrap()).unwrap();
    let mut keys = Vec::new();
    collect(&shown, &mut keys);
    // Words of the printed form that are written otherwise in the file.
    let renamed = ["name", "address", "embedded", "shipped"];
    for key in keys.iter().filter(|key| !renamed.contains(&key.as_str())) {
        assert!(
            EMBEDDED.contains(&format!("{key}:")),
            "`{key}` is not documented in config/fhirway.yaml"
        );
    }
}

fn collect(value: &serde_json::Value, keys: &mut Vec<String>) {
    match value {
        serde_json::Value::Object(map) => map.iter().for_each(|(key, value)| {
            keys.push(key.clone());
            collect(value, keys);
        }),
        serde_json::Value::Array(items) => items.iter().for_each(|item| collect(item, keys)),
        _ => {}
    }
}

#[test]
fn all_mistakes_are_reported_in_one_run_with_places_and_suggestions() {
    let text = "
data_dri: ./data
listeners:
  lab: {type: mllp, bind: nowhere, conections: 3}
routes:
  lab: {destinations: [repositry], ordering: patients, when: MSH-9.1 in ORU}
destinations:
  repository: {url: embedded, timeout: 30}
";
    let loaded = check(text);
    assert!(loaded.config.is_none());
    let found = messages(&loaded).join("\n");
    for expected in [
        "f:2:1: unknown key `data_dri` in the configuration",
        "f:4:27: listeners.lab.bind: `nowhere` is not an address",
        "f:4:36: unknown key `conections` in listeners.lab",
        "f:6:24: routes.lab: there is no destination `repositry`",
        "f:6:46: routes.lab.ordering: `patients` is not one of patient, listener, none",
        "routes.lab.when:",
        "f:8:40: destinations.repository.timeout: `30` is not a length of time",
    ] {
        assert!(
            found.contains(expected),
            "missing {expected:?} in:\n{found}"
        );
    }
    let help: Vec<_> = loaded
        .problems
        .iter()
        .filter_map(|problem| problem.help.as_deref())
        .collect();
    for expected in [
        "did you mean `data_dir`?",
        "did you mean `connections`?",
        "did you mean `repository`?",
        "did you mean `patient`?",
    ] {
        assert!(help.contains(&expected), "missing {expected:?} in {help:?}");
    }
}

#[test]
fn the_environment_overrides_and_adds() {
    let loaded = check_with(
        MINIMAL,
        &[
            ("FHIRWAY__LISTENERS__LAB__BIND", "127.0.0.1:7777"),
            (
                "FHIRWAY__DESTINATIONS__SECOND__URL",
                "https://fhir.example.org/",
            ),
            ("FHIRWAY__ROUTES__LAB__DESTINATIONS", "[repository, second]"),
            ("FHIRWAY_CONFIG", "is not an override"),
            ("PATH", "/bin"),
        ],
    );
    let config = loaded.config.expect("a usable configuration");
    let listener::Carrier::Mllp(mllp) = &config.listeners[0].carrier else {
        panic!("mllp was expected")
    };
    assert_eq!(mllp.bind.port(), 7777);
    assert_eq!(config.routes[0].destinations, ["repository", "second"]);
    assert!(matches!(
        &config.destinations[1].address,
        destination::Address::Url(url) if url == "https://fhir.example.org"
    ));
}

#[test]
fn a_wrong_override_names_the_variable() {
    let loaded = check_with(MINIMAL, &[("FHIRWAY__LISTENERS__LAB__BNID", "127.0.0.1:1")]);
    assert_eq!(
        messages(&loaded),
        ["$FHIRWAY__LISTENERS__LAB__BNID: unknown key `bnid` in listeners.lab"]
    );
}

#[test]
fn secrets_are_masked_everywhere_and_plain_ones_warned_about() {
    let loaded = check(
        "
listeners: {bus: {type: rabbitmq, url: 'amqp://u:hunter2@localhost', queues: [q]}}
routes: {all: {destinations: [fhir]}}
destinations:
  fhir: {url: 'https://fhir.example.org', auth: {basic: {user: u, password: hunter2}}}
",
    );
    assert!(!loaded.render().contains("hunter2"));
    assert_eq!(
        loaded
            .problems
            .iter()
            .filter(|problem| problem.severity == Severity::Warning)
            .count(),
        2
    );
    let config = loaded.config.unwrap();
    assert!(!config.show().contains("hunter2"));
    assert!(!format!("{config:?}").contains("hunter2"));
}

#[test]
fn nothing_to_do_is_an_error() {
    let found = messages(&check("")).join("\n");
    for key in ["listeners", "routes", "destinations"] {
        assert!(
            found.contains(&format!("{key}: there must be at least one")),
            "{found}"
        );
    }
}

#[test]
fn two_servers_on_one_address_are_refused() {
    let loaded = check(&format!("{MINIMAL}admin: {{bind: '127.0.0.1:2575'}}\n"));
    assert!(
        messages(&loaded)
            .join("\n")
            .contains("both bind 127.0.0.1:2575")
    );
}

#[test]
fn the_examples_are_right() {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/../../config/examples");
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        let text = std::fs::read_to_string(&path).unwrap();
        let loaded = check(&text);
        // What they name on a real machine (folders, secret files, variables) does not exist here.
        let missing = [
            "is not a folder",
            "cannot read the secret file",
            "is not set",
        ];
        let wrong: Vec<_> = messages(&loaded)
            .into_iter()
            .filter(|message| !missing.iter().any(|word| message.contains(word)))
            .collect();
        assert!(wrong.is_empty(), "{}: {wrong:?}", path.display());
    }
}
