//! The page of `mapping explain`, in a real browser: what a person sees when pointing, clicking and pressing keys.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing
)]

#[path = "browser/chromium.rs"]
mod chromium;
mod support;

use std::path::PathBuf;

use serde_json::{Value, json};
use tempfile::TempDir;

use chromium::Browser;
use support::Command;

const MESSAGE: &str = "MSH|^~\\&|LAB|NORTH|||20240301101530+0100||ORU^R01^ORU_R01|M1|P|2.5.1\r\
    PID|1||4711^^^NORTH^MR||Vale^Ada||19800102|F|||||5550100^QQ^PH\r\
    OBR|1||7^LAB|CBC^Blood count^L\r\
    OBX|1|NM|HB^<script>document.title = 'broken'</script>^L||13.50|g/dL^gram^UCUM|||||F\r\
    OBX|2|ST|TX^Text^L||\"><img src=x onerror=alert(1)> </script> \u{2028}||||||F\rZZZ|local\r";

/// A browser with the page of the message.
fn page(message: &str) -> (Browser, TempDir) {
    let folder = TempDir::new().unwrap();
    std::fs::write(folder.path().join("one.hl7"), message).unwrap();
    Command::new(["mapping", "explain", "one.hl7", "--html", "one.html"])
        .folder(folder.path())
        .run()
        .expect(0);
    let mut browser = Browser::start();
    let path: PathBuf = folder.path().join("one.html");
    browser.open(&path);
    (browser, folder)
}

/// What is lit on each side: places of fields, paths of elements.
fn lit(browser: &mut Browser) -> (Vec<String>, Vec<String>) {
    let found = browser.ask(
        "[...document.querySelectorAll('.lit')].map((one) => [one.dataset.place || '', one.dataset.path || ''])",
    );
    let pairs: Vec<(String, String)> = serde_json::from_value(found).unwrap();
    let (fields, elements): (Vec<_>, Vec<_>) =
        pairs.into_iter().partition(|(place, _)| !place.is_empty());
    (
        fields.into_iter().map(|(place, _)| place).collect(),
        elements.into_iter().map(|(_, path)| path).collect(),
    )
}

fn details(browser: &mut Browser) -> String {
    let found = browser.ask("document.getElementById('details').innerText");
    found.as_str().unwrap().to_owned()
}

const FAMILY: &str = "[data-place='PID-5.1']";
const FAMILY_ELEMENT: &str = "[data-path='Patient.name[0].family']";

#[test]
fn pointing_at_one_side_lights_up_the_other() {
    let (mut browser, _folder) = page(MESSAGE);
    browser.hover(FAMILY);
    let (fields, elements) = lit(&mut browser);
    assert_eq!(
        (fields, elements),
        (vec![], vec!["Patient.name[0].family".to_owned()])
    );
    let shown = details(&mut browser);
    assert!(
        shown.contains("PID-5.1") && shown.contains("Became Patient.name[0].family"),
        "{shown}"
    );
    browser.hover("[data-path='Observation.valueQuantity.value']");
    let (fields, elements) = lit(&mut browser);
    assert_eq!((fields, elements), (vec!["OBX-5".to_owned()], vec![]));
    let shown = details(&mut browser);
    assert!(
        shown.contains("13.50") && shown.contains("segments/OBX/Observation.yaml:"),
        "{shown}"
    );
    let visible = browser.ask(
        "(() => { const box = document.querySelector('.lit').getBoundingClientRect(); \
         return box.top >= 0 && box.bottom <= innerHeight; })()",
    );
    assert_eq!(visible, true, "the other side is scrolled into view");
}

#[test]
fn a_click_keeps_and_escape_lets_go() {
    let (mut browser, _folder) = page(MESSAGE);
    browser.click(FAMILY_ELEMENT);
    browser.hover("[data-place='PID-7']");
    let (fields, _) = lit(&mut browser);
    assert_eq!(fields, ["PID-5.1"], "kept while pointing elsewhere");
    assert!(details(&mut browser).contains("kept; Escape lets go"));
    browser.press("Escape");
    assert_eq!(lit(&mut browser), (vec![], vec![]));
    browser.hover("[data-place='PID-8']");
    assert_eq!(lit(&mut browser).1, ["Patient.gender"]);
}

#[test]
fn it_can_be_used_without_a_mouse() {
    let (mut browser, _folder) = page(MESSAGE);
    let reached = browser.ask("document.querySelectorAll('#segments [tabindex=\"0\"]').length");
    assert_eq!(reached, 1, "one stop of the Tab key on each side");
    browser.ask("document.querySelector(\"[data-place='PID-3.1']\").focus()");
    browser.press("ArrowRight");
    let place = "document.activeElement.dataset.place";
    assert_eq!(browser.ask(place), "PID-3.4");
    browser.press("ArrowLeft");
    assert_eq!(browser.ask(place), "PID-3.1");
    assert!(
        lit(&mut browser)
            .1
            .contains(&"Patient.identifier[0].value".to_owned())
    );
    browser.press("Enter");
    assert!(details(&mut browser).contains("kept"));
    browser.press("Escape");
    browser.press("n");
    assert_eq!(browser.ask(place), "PID-13.2", "the next dropped field");
    browser.press("n");
    assert_eq!(browser.ask(place), "ZZZ-1");
}

#[test]
fn dropped_fields_say_why_and_the_legend_counts() {
    let (mut browser, _folder) = page(MESSAGE);
    let text = browser.ask("document.body.innerText");
    let text = text.as_str().unwrap();
    for says in [
        "PID-13.2 table TelecommunicationUseCode does not list it",
        "no line of the message map takes it",
        "Patient data.",
    ] {
        assert!(text.contains(says), "{says}\n{text}");
    }
    let counts = browser.ask(
        "(() => { const data = JSON.parse(document.getElementById('document').textContent); \
         return [data.counts.dropped, document.querySelectorAll('.field.dropped').length, \
         data.elements.length, document.querySelectorAll('.element[data-number]').length, \
         Number(document.querySelectorAll('#legend b')[4].textContent)]; })()",
    );
    assert_eq!(counts[0], counts[1]);
    assert_eq!(counts[0], counts[4]);
    // Of the Bundle's own elements (its type) none is shown.
    let own = counts[2].as_u64().unwrap() - counts[3].as_u64().unwrap();
    assert_eq!(own, 2);
}

#[test]
fn nothing_is_loaded_nothing_fails_and_no_message_runs_scripts() {
    for scheme in ["light", "dark"] {
        let (mut browser, _folder) = page(MESSAGE);
        let media = json!({ "features": [{ "name": "prefers-color-scheme", "value": scheme }] });
        browser.call("Emulation.setEmulatedMedia", media);
        browser.hover(FAMILY);
        browser.hover(FAMILY_ELEMENT);
        let title = browser.ask("document.title");
        assert_eq!(title, "one.hl7: what became of it");
        let injected = "document.querySelectorAll('main script, main img').length";
        assert_eq!(browser.ask(injected), 0);
        let shown = browser.ask("document.querySelector(\"[data-place='OBX(2)-5']\").textContent");
        assert!(
            shown
                .as_str()
                .unwrap()
                .contains("<img src=x onerror=alert(1)>")
        );
        assert_eq!(browser.complaints(), Vec::<&Value>::new());
        let loaded = browser.loaded();
        assert!(
            loaded.len() == 1 && loaded[0].starts_with("file://"),
            "{loaded:?}"
        );
        let paper = browser.ask("getComputedStyle(document.body).backgroundColor");
        let expected = if scheme == "dark" {
            "rgb(20, 23, 28)"
        } else {
            "rgb(251, 250, 247)"
        };
        assert_eq!(paper, expected);
    }
}

#[test]
fn a_large_message_is_shown_at_once_and_its_page_is_of_sane_size() {
    let mut message = String::from(MESSAGE);
    for number in 3..110 {
        message.push_str(&format!(
            "OBX|{number}|NM|{number}-5^Analyte {number}^LN||{number}.5|mmol/L^millimole per litre^UCUM|1-9|N|||F|||20240301101530+0100\r"
        ));
    }
    assert!(message.len() > 10_000);
    let (mut browser, folder) = page(&message);
    let size = std::fs::metadata(folder.path().join("one.html"))
        .unwrap()
        .len();
    assert!(size < 2_000_000, "{size} bytes for {} bytes", message.len());
    browser.hover("[data-place='OBX(90)-5']");
    assert!(!lit(&mut browser).1.is_empty());
    assert_eq!(browser.complaints(), Vec::<&Value>::new());
}
