use super::*;
use crate::tree::{self, Limits, WriteOptions};

fn to_xml(json: &str) -> Result<String, XmlError> {
    let (tree, root) = tree::read(json.as_bytes(), &Limits::default()).unwrap();
    let mut out = String::new();
    write(&tree, root, &mut out).map(|()| out)
}

fn to_json(xml: &str) -> Result<String, XmlError> {
    let (tree, root) = read(xml.as_bytes(), &Limits::default())?;
    let mut out = Vec::new();
    tree.write(root, &mut out, &WriteOptions::default());
    Ok(String::from_utf8(out).unwrap())
}

const PATIENT: &str = concat!(
    r#"{"resourceType":"Patient","id":"p1","meta":{"tag":[{"code":"a & \"b\" <c>"}]},"#,
    r#""text":{"status":"generated","div":"<div xmlns=\"http://www.w3.org/1999/xhtml\">Ida &amp; <b>Co</b></div>"},"#,
    r#""contained":[{"resourceType":"Organization","id":"o"}],"#,
    r#""extension":[{"id":"x","url":"urn:e","valueDecimal":1.50}],"#,
    r#""active":true,"name":[{"family":"I","_family":{"id":"f","extension":[{"url":"urn:own","valueString":"line\n2"}]},"#,
    r#""given":["A",null,"C"],"_given":[null,{"extension":[{"url":"urn:absent","valueCode":"unknown"}]}]}],"#,
    r#""_birthDate":{"extension":[{"url":"urn:t","valueDateTime":"1980-02-29T01:02:03Z"}]},"multipleBirthInteger":2}"#
);

#[test]
fn a_patient_as_xml() {
    let expected = concat!(
        r#"<Patient xmlns="http://hl7.org/fhir"><id value="p1"/><meta><tag><code value="a &amp; &quot;b&quot; &lt;c&gt;"/></tag></meta>"#,
        r#"<text><status value="generated"/><div xmlns="http://www.w3.org/1999/xhtml">Ida &amp; <b>Co</b></div></text>"#,
        r#"<contained><Organization><id value="o"/></Organization></contained>"#,
        r#"<extension id="x" url="urn:e"><valueDecimal value="1.50"/></extension><active value="true"/>"#,
        r#"<name><family id="f" value="I"><extension url="urn:own"><valueString value="line&#10;2"/></extension></family>"#,
        r#"<given value="A"/><given><extension url="urn:absent"><valueCode value="unknown"/></extension></given><given value="C"/></name>"#,
        r#"<birthDate><extension url="urn:t"><valueDateTime value="1980-02-29T01:02:03Z"/></extension></birthDate>"#,
        r#"<multipleBirthInteger value="2"/></Patient>"#
    );
    assert_eq!(to_xml(PATIENT).unwrap(), expected);
    let back = to_json(expected).unwrap();
    let value = |text: &str| serde_json::from_str::<serde_json::Value>(text).unwrap();
    // The array of siblings is as long as that of values.
    let padded = PATIENT.replace(r#""unknown"}]}]}]"#, r#""unknown"}]},null]}]"#);
    assert_eq!(value(&back), value(&padded));
    assert!(back.contains("1.50"), "digits stay");
}

#[test]
fn the_order_is_that_of_the_definitions() {
    let xml = to_xml(
        r#"{"gender":"female","resourceType":"Patient","name":[{"given":["A"],"family":"B"}]}"#,
    )
    .unwrap();
    assert_eq!(
        xml,
        r#"<Patient xmlns="http://hl7.org/fhir"><name><family value="B"/><given value="A"/></name><gender value="female"/></Patient>"#
    );
}

#[test]
fn a_bundle_and_an_outcome() {
    let json = r#"{"resourceType":"Bundle","type":"batch-response","entry":[{"response":{"status":"422","outcome":{"resourceType":"OperationOutcome","issue":[{"severity":"error","code":"value"}]}}}]}"#;
    let xml = to_xml(json).unwrap();
    assert!(xml.contains("<outcome><OperationOutcome><issue>"));
    assert_eq!(to_json(&xml).unwrap(), json);
    // As others write it: a declaration, a prefix, white space, comments.
    let other = "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<!-- c --><f:OperationOutcome xmlns:f=\"http://hl7.org/fhir\">\n \
                 <f:issue>\n<f:severity value=\"error\"/><f:code value='value'/></f:issue></f:OperationOutcome>\n";
    assert_eq!(
        to_json(other).unwrap(),
        r#"{"resourceType":"OperationOutcome","issue":[{"severity":"error","code":"value"}]}"#
    );
}

#[test]
fn what_cannot_be_written() {
    let problem = |json: &str| {
        let error = to_xml(json).unwrap_err();
        (error.problem, error.path)
    };
    use XmlProblem as P;
    for (json, expected, path) in [
        (
            r#"{"resourceType":"Person2"}"#,
            P::NotAResource,
            "the document",
        ),
        (
            r#"{"resourceType":"Patient","nickname":"x"}"#,
            P::UnknownElement,
            "Patient.nickname",
        ),
        (
            r#"{"resourceType":"Patient","name":{"family":"x"}}"#,
            P::WrongForm,
            "Patient.name",
        ),
        (
            r#"{"resourceType":"Patient","gender":{}}"#,
            P::WrongForm,
            "Patient.gender",
        ),
        (
            r#"{"resourceType":"Patient","name":[{"family":"\u0001"}]}"#,
            P::Character,
            "Patient.name.family",
        ),
        (
            r#"{"resourceType":"Patient","text":{"div":"<div xmlns=\"http://www.w3.org/1999/xhtml\"></b></div>"}}"#,
            P::Narrative,
            "Patient.text.div",
        ),
        (
            r#"{"resourceType":"Patient","text":{"div":"<div xmlns=\"http://www.w3.org/1999/xhtml\"/></text><x>"}}"#,
            P::Narrative,
            "Patient.text.div",
        ),
        (
            r#"{"resourceType":"Patient","text":{"div":"<div xmlns=\"http://www.w3.org/1999/xhtml\">&nbsp;</div>"}}"#,
            P::Narrative,
            "Patient.text.div",
        ),
    ] {
        assert_eq!(problem(json), (expected, path.to_owned()), "{json}");
    }
}

#[test]
fn what_cannot_be_read() {
    use XmlProblem as P;
    let deep = format!(
        "<Patient>{}{}</Patient>",
        "<extension>".repeat(300),
        "</extension>".repeat(300)
    );
    for (xml, expected) in [
        ("", P::Syntax),
        ("<Patient>", P::Syntax),
        ("<Patient></Person>", P::Syntax),
        ("<html/>", P::NotAResource),
        (
            "<Patient><nickname value='x'/></Patient>",
            P::UnknownElement,
        ),
        ("<Patient>text</Patient>", P::Syntax),
        (
            "<Patient><gender value='a'/><gender value='b'/></Patient>",
            P::WrongForm,
        ),
        (
            "<Patient><name/><gender value='a'/><name/></Patient>",
            P::WrongForm,
        ),
        (
            "<Patient><multipleBirthInteger value='two'/></Patient>",
            P::WrongForm,
        ),
        (
            "<!DOCTYPE x [<!ENTITY a 'b'>]><Patient><gender value='&a;'/></Patient>",
            P::Entity,
        ),
        ("<Patient><gender value='&a;'/></Patient>", P::Entity),
        (&deep, P::TooDeep),
    ] {
        let error = to_json(xml).unwrap_err();
        assert_eq!(error.problem, expected, "{}", xml.get(..60).unwrap_or(xml));
    }
    let limits = Limits {
        nodes: 3,
        ..Limits::default()
    };
    let many = b"<Patient><name/><name/><name/></Patient>";
    assert_eq!(
        read(many, &limits).map(drop).unwrap_err().problem,
        P::TooLarge
    );
}
