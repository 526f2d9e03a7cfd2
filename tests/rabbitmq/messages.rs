//! Messages about people who do not exist.

/// The admission of a patient.
pub fn admission(control_id: &str, patient: &str) -> String {
    [
        &format!("MSH|^~\\&|LAB|NORTH|FHIRWAY|CENTRAL|20260301101500+0000||ADT^A01^ADT_A01|{control_id}|P|2.5.1"),
        "EVN||20260301101500+0000",
        &format!("PID|1||{patient}^^^NORTH^MR||Quillfeather^Isolde||19700101|F"),
        "PV1|1|I|3WEST^12^A",
        "",
    ]
    .join("\r")
}

/// A report with one result, which no other report has.
pub fn result(control_id: &str, patient: &str) -> String {
    [
        &format!("MSH|^~\\&|LAB|NORTH|FHIRWAY|CENTRAL|20260301111500+0000||ORU^R01^ORU_R01|{control_id}|P|2.5.1"),
        &format!("PID|1||{patient}^^^NORTH^MR||Quillfeather^Isolde||19700101|F"),
        &format!("OBR|1|P{control_id}^LAB|F{control_id}^LAB|2345-7^Glucose^LN|||20260301104500+0000|||||||||||||||20260301111000+0000|||F"),
        "OBX|1|NM|2345-7^Glucose^LN||5.10|mmol/L^^UCUM|3.9-5.5|N|||F|||20260301104500+0000",
        "",
    ]
    .join("\r")
}
