//! Invented messages about invented people.

/// Segments, each ended by CR.
fn segments(segments: &[String]) -> String {
    segments.iter().map(|each| format!("{each}\r")).collect()
}

fn header(message_type: &str, control_id: &str) -> String {
    format!(
        "MSH|^~\\&|ANALYZER|NORTHLAB|FHIRWAY|SITE|20260102030405+0000||{message_type}|{control_id}|P|2.5.1||||||UNICODE UTF-8"
    )
}

fn patient(number: &str, given: &str) -> String {
    format!(
        "PID|1||{number}^^^NORTHLAB&2.999.1&ISO^MR||Ashgrove^{given}||19500101|F|||3 Dovecote Yard^^Larkhaven^^99999"
    )
}

/// An ADT^A08: it changes the given name of the patient.
pub fn update(control_id: &str, number: &str, given: &str) -> String {
    segments(&[
        header("ADT^A08^ADT_A01", control_id),
        "EVN|A08|20260102030405+0000".to_owned(),
        patient(number, given),
    ])
}

/// An ADT^A01: the patient is admitted.
pub fn admit(control_id: &str, number: &str) -> String {
    segments(&[
        header("ADT^A01^ADT_A01", control_id),
        "EVN|A01|20260102030405+0000".to_owned(),
        patient(number, "Cosima"),
        format!(
            "PV1|1|I|3WEST^01^1||||9900001^Harkness^Imogen^^^Dr|||MED||||||||I|V{control_id}^^^NORTHLAB&2.999.1&ISO^VN"
        ),
    ])
}

/// An ORU^R01 with one report of one result; the order number is the control id.
pub fn results(control_id: &str, number: &str) -> String {
    segments(&[
        header("ORU^R01^ORU_R01", control_id),
        patient(number, "Cosima"),
        format!("ORC|RE|{control_id}-P|{control_id}-F"),
        format!(
            "OBR|1|{control_id}-P|{control_id}-F|58410-2^CBC panel^LN|||20260102030000+0000|||||||||||||||20260102030405+0000||LAB|F"
        ),
        "OBX|1|NM|718-7^Hemoglobin^LN||13.50|g/dL^g/dL^UCUM|12.0-17.5|N|||F|||20260102030000+0000"
            .to_owned(),
    ])
}

/// The message number `n` of a mixed feed about a few patients.
pub fn message_of(n: usize, patients: usize) -> (String, String, String) {
    let (control_id, number) = (format!("M{n:05}"), format!("P{:03}", n % patients));
    let text = if n.is_multiple_of(3) {
        update(&control_id, &number, &format!("Given{n}"))
    } else {
        results(&control_id, &number)
    };
    (control_id, number, text)
}
