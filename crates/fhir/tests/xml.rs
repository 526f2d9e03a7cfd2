//! Every golden Bundle of the shipped maps as XML and back. With `FHIRWAY_XML_OUT=FOLDER` both forms are left there, for a
//! reader that is not ours (`tests/validator/README.md`).
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing
)]

use std::path::{Path, PathBuf};

use fhir::tree::{self, Limits, WriteOptions};
use fhir::xml;
use serde_json::Value;

/// The same with what only JSON can say differently: siblings of an array are as long as the array.
fn padded(value: &mut Value) {
    match value {
        Value::Object(map) => {
            let names: Vec<String> = map
                .keys()
                .filter(|name| name.starts_with('_'))
                .cloned()
                .collect();
            for sibling in names {
                let length = |value: Option<&Value>| value.and_then(Value::as_array).map(Vec::len);
                let element = sibling.trim_start_matches('_').to_owned();
                let (values, siblings) = (length(map.get(&element)), length(map.get(&sibling)));
                if let (Some(values), Some(siblings)) = (values, siblings) {
                    let most = values.max(siblings);
                    for name in [&element, &sibling] {
                        let array = map.get_mut(name).unwrap().as_array_mut().unwrap();
                        array.resize(most, Value::Null);
                    }
                }
            }
            map.values_mut().for_each(padded);
        }
        Value::Array(items) => items.iter_mut().for_each(padded),
        _ => {}
    }
}

fn bundles() -> Vec<PathBuf> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../mappings/tests");
    let files = std::fs::read_dir(folder).unwrap();
    let mut found: Vec<PathBuf> = files
        .map(|file| file.unwrap().path())
        .filter(|path| path.to_string_lossy().ends_with(".bundle.json"))
        .collect();
    found.sort();
    found
}

#[test]
fn golden_bundles_go_there_and_back() {
    let out = std::env::var_os("FHIRWAY_XML_OUT").map(PathBuf::from);
    let bundles = bundles();
    assert!(bundles.len() > 100);
    for path in bundles {
        let json = std::fs::read(&path).unwrap();
        let (tree, root) = tree::read(&json, &Limits::default()).unwrap();
        let mut text = String::new();
        xml::write(&tree, root, &mut text)
            .unwrap_or_else(|why| panic!("{}: {why}", path.display()));
        let (again, root) = xml::read(text.as_bytes(), &Limits::default())
            .unwrap_or_else(|why| panic!("{}: {why}", path.display()));
        let mut back = Vec::new();
        again.write(root, &mut back, &WriteOptions::default());
        let value = |json: &[u8]| {
            let mut value: Value = serde_json::from_slice(json).unwrap();
            padded(&mut value);
            value
        };
        assert_eq!(value(&back), value(&json), "{}", path.display());
        if let Some(out) = &out {
            let name = path.file_stem().unwrap().to_string_lossy().into_owned();
            std::fs::write(out.join(format!("{name}.xml")), &text).unwrap();
            std::fs::write(out.join(format!("{name}.json")), &json).unwrap();
        }
    }
}
