//! `fhirway explain`: every code that other commands print has its page.

use crate::support::Command;

#[test]
fn all_codes_are_listed_and_each_has_a_page() {
    let list = Command::new(["explain"]).run().expect(0).stdout;
    let codes = Command::new(["explain", "--format", "json"])
        .run()
        .expect(0)
        .json();
    let codes = codes.as_array().unwrap();
    assert!(codes.len() > 30, "{codes:?}");
    for entry in codes {
        let code = entry["code"].as_str().unwrap();
        assert!(list.contains(&format!("  {code} ")), "{code} is not listed");
    }
    for code in ["M010", "bad-value"] {
        let page = Command::new(["explain", code]).run().expect(0).stdout;
        for part in [
            &format!("# {code}: "),
            "\nWrong, in `segments/",
            "\nRight, in `segments/",
            "```yaml",
        ] {
            assert!(page.contains(part), "{part} in {page}");
        }
    }
}

#[test]
fn case_does_not_matter_and_a_slip_gets_a_suggestion() {
    let page = Command::new(["explain", "m010"]).run().expect(0).stdout;
    assert!(page.starts_with("# M010: "), "{page}");
    let ran = Command::new(["explain", "bad-valeu"]).run().expect(2);
    assert!(ran.stderr.contains("did you mean `bad-value`?"), "{ran:?}");
    let ran = Command::new(["explain", "nonsense"]).run().expect(2);
    assert!(
        ran.stderr.contains("`fhirway explain` lists them all"),
        "{ran:?}"
    );
}
