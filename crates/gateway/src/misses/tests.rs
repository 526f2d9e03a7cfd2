use std::sync::Arc;

use mapping::{Context, Layer, Package, SourceFile};

use super::*;

/// What a small package misses in one message with this PID-16.
fn missed(marital: &str) -> Vec<CodeMiss> {
    let file = |path: &str, text: &str| SourceFile {
        path: path.to_owned(),
        text: text.to_owned(),
    };
    let layer = Layer {
        name: String::new(),
        files: vec![
            file(
                "messages/any.yaml",
                "message: any\nmap:\n  - PID: PID/Patient as patient\n",
            ),
            file(
                "segments/PID/Patient.yaml",
                "segment: PID\nmakes: Patient\nkey: PID-3\nmaritalStatus: { from: PID-16, table: Marital }\n",
            ),
            file(
                "tables/Marital.yaml",
                "table: Marital\ncodes: { M: married }\n",
            ),
        ],
    };
    let package = Arc::new(Package::compile(&[layer]).0.unwrap());
    let text =
        format!("MSH|^~\\&|A|B|C|D|20240101||ADT^A01|1|P|2.5\rPID|||1|||||||||||||{marital}\r");
    let (message, _) = hl7v2::parse(text.as_bytes()).unwrap();
    let mut converter = package.converter();
    converter.convert(&message, &Context::default()).unwrap();
    converter.code_misses().to_vec()
}

#[test]
fn kinds_of_misses_are_counted_and_a_record_once() {
    let misses = Misses::new();
    let (q, sentence) = (missed("Q^Odd^99L"), missed("lives with her sister"));
    for record in [1, 2, 1] {
        misses.count_record(RecordId(record), "NORTH", &q);
    }
    misses.count_record(RecordId(3), "SOUTH", &q);
    misses.count_record(RecordId(4), "NORTH", &sentence);
    let list = misses.list();
    let told: Vec<_> = list
        .misses
        .iter()
        .map(|entry| {
            (
                entry.missed.sender.as_str(),
                entry.missed.code.as_deref(),
                entry.missed.system.as_deref(),
                entry.missed.field.as_str(),
                entry.count.count,
            )
        })
        .collect();
    assert_eq!(
        told,
        [
            ("NORTH", None, None, "PID-16", 1),
            ("NORTH", Some("Q"), Some("99L"), "PID-16", 2),
            ("SOUTH", Some("Q"), Some("99L"), "PID-16", 1),
        ]
    );
    assert_eq!(
        list.yaml(),
        "# tables/Marital.yaml of an overlay: add a target to each code, or ~ where there is none\n\
         extends: below\n\
         codes:\n  # 1 x in PID-16, from NORTH: texts that do not look like a code\n  # coding system 99L; if the table does not have it: `add: { source: 99L }`\n  Q: \"\"   # 3 x in PID-16, from NORTH, SOUTH\n"
    );
    assert_eq!(
        list.csv(),
        "table,source,code,target,field,sender,count\nMarital,,,,PID-16,NORTH,1\nMarital,99L,Q,,PID-16,NORTH,2\nMarital,99L,Q,,PID-16,SOUTH,1\n"
    );
    assert!(!format!("{list:?}").contains("sister"));
}

#[test]
fn what_was_counted_survives_a_restart_and_only_the_owner_reads_it() {
    let folder = tempfile::tempdir().unwrap();
    let misses = Misses::open(folder.path());
    misses.save().unwrap();
    assert!(!path(folder.path()).exists(), "nothing to save");
    misses.count_record(RecordId(1), "NORTH", &missed("Q"));
    misses.save().unwrap();
    let again = Misses::open(folder.path());
    assert_eq!(again.list(), misses.list());
    again.count_record(RecordId(1), "NORTH", &missed("Q"));
    assert_eq!(again.list().misses[0].count.count, 2);
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt;
        let mode = fs::metadata(path(folder.path()))
            .unwrap()
            .permissions()
            .mode();
        assert_eq!(mode & 0o777, 0o600);
    }
    again.clear();
    again.save().unwrap();
    assert_eq!(load(&path(folder.path())).unwrap(), MissList::default());
    // A file that somebody broke is no reason not to start.
    fs::write(path(folder.path()), "{").unwrap();
    assert_eq!(Misses::open(folder.path()).list(), MissList::default());
}

#[test]
fn kinds_are_bounded() {
    let misses = Misses::new();
    let one = missed("Q");
    for number in 0..MOST + 5 {
        misses.count(&format!("S{number}"), &one);
    }
    let list = misses.list();
    assert_eq!((list.misses.len(), list.more), (MOST, 5));
    assert!(list.yaml().contains("# and 5 misses of further kinds"));
}
