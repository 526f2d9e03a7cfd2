//! Invariants, in place in a resource.

use super::*;

#[test]
fn element_invariants_in_place() {
    refuses(
        &patient(r#""extension":[{"url":"http://x"}]"#),
        &["invariant Patient.extension[0]: ext-1: needs one of"],
    );
    refuses(
        &patient(r#""contact":[{"gender":"male"}]"#),
        &["invariant Patient.contact[0]: pat-1"],
    );
    refuses(
        &patient(r#""telecom":[{"value":"1"}]"#),
        &["invariant Patient.telecom[0]: cpt-2: value needs system"],
    );
    refuses(
        &patient(r#""photo":[{"data":"QUJD"}]"#),
        &["invariant Patient.photo[0]: att-1"],
    );
    refuses(
        &observation(r#","valueQuantity":{"value":1,"code":"mg"}"#),
        &["invariant Observation.value.ofType(Quantity): qty-3"],
    );
    refuses(
        &observation(r#","referenceRange":[{"age":{"low":{"value":1}}}]"#),
        &["invariant Observation.referenceRange[0]: obs-3"],
    );
    accepts(&observation(r#","referenceRange":[{"low":{"value":1}}]"#));
    refuses(
        &observation(r#","referenceRange":[{"low":{"value":1,"comparator":"<"}}]"#),
        &["invariant Observation.referenceRange[0].low: sqty-1"],
    );
    accepts(&observation(
        r#","valueQuantity":{"value":1,"comparator":"<"}"#,
    ));
}

#[test]
fn periods_and_ranges_are_in_order() {
    let period = |start: &str, end: &str| {
        patient(&format!(
            r#""address":[{{"period":{{"start":"{start}","end":"{end}"}}}}]"#
        ))
    };
    accepts(&period("2024-01-01", "2024-01-01"));
    accepts(&period("2024-01-01", "2024"));
    refuses(
        &period("2024-01-02", "2024-01-01"),
        &["invariant Patient.address[0].period: per-1"],
    );
    let range = |low: &str, high: &str| {
        observation(&format!(r#","valueRange":{{"low":{low},"high":{high}}}"#))
    };
    accepts(&range(r#"{"value":9.9}"#, r#"{"value":10}"#));
    accepts(&range(
        r#"{"value":9,"unit":"g"}"#,
        r#"{"value":1,"unit":"kg"}"#,
    ));
    refuses(
        &range(r#"{"value":10}"#, r#"{"value":9.9}"#),
        &["invariant Observation.value.ofType(Range): rng-2"],
    );
}

#[test]
fn observations() {
    refuses(
        &observation(r#","valueString":"a","dataAbsentReason":{"text":"x"}"#),
        &["invariant Observation: obs-6: not both dataAbsentReason and value"],
    );
    let coding = r#"{"coding":[{"system":"http://loinc.org","code":"1-1"}]}"#;
    let with_code = |members: &str, code: &str| {
        format!(
            r#"{{"resourceType":"Observation","status":"final","code":{coding}{members},"component":[{{"code":{code},"valueString":"c"}}]}}"#
        )
    };
    refuses(
        &with_code(r#","valueString":"a""#, coding),
        &["invariant Observation: obs-7"],
    );
    accepts(&with_code("", coding));
    accepts(&with_code(
        r#","valueString":"a""#,
        r#"{"coding":[{"system":"http://loinc.org","code":"2-2"}]}"#,
    ));
}

#[test]
fn organizations() {
    refuses(
        r#"{"resourceType":"Organization"}"#,
        &["invariant Organization: org-1: needs one of identifier, name"],
    );
    refuses(
        r#"{"resourceType":"Organization","name":"Lab","address":[{"use":"home"}],"telecom":[{"use":"home","system":"phone","value":"1"}]}"#,
        &[
            "invariant Organization: org-2",
            "invariant Organization: org-3",
        ],
    );
    accepts(r#"{"resourceType":"Organization","name":"Lab","address":[{"use":"work"}]}"#);
}

/// `{"coding":[...]}` of a code system of HL7.
fn hl7(system: &str, code: &str) -> String {
    format!(
        r#"{{"coding":[{{"system":"http://terminology.hl7.org/CodeSystem/{system}","code":"{code}"}}]}}"#
    )
}

#[test]
fn allergies() {
    let allergy = |members: &str| {
        format!(r#"{{"resourceType":"AllergyIntolerance","patient":{{"display":"p"}}{members}}}"#)
    };
    let clinical = format!(
        r#","clinicalStatus":{}"#,
        hl7("allergyintolerance-clinical", "active")
    );
    let in_error = format!(
        r#","verificationStatus":{}"#,
        hl7("allergyintolerance-verification", "entered-in-error")
    );
    accepts(&allergy(&clinical));
    accepts(&allergy(&in_error));
    refuses(&allergy(""), &["invariant AllergyIntolerance: ait-1"]);
    refuses(
        &allergy(&format!("{clinical}{in_error}")),
        &["invariant AllergyIntolerance: ait-2"],
    );
}

#[test]
fn conditions() {
    let condition = |members: &str| {
        format!(r#"{{"resourceType":"Condition","subject":{{"display":"p"}}{members}}}"#)
    };
    let clinical = |code| format!(r#","clinicalStatus":{}"#, hl7("condition-clinical", code));
    let in_error = format!(
        r#","verificationStatus":{}"#,
        hl7("condition-ver-status", "entered-in-error")
    );
    let problem = format!(
        r#","category":[{}]"#,
        hl7("condition-category", "problem-list-item")
    );
    let abated = r#","abatementDateTime":"2024""#;
    accepts(&condition(""));
    accepts(&condition(&format!("{}{abated}", clinical("resolved"))));
    accepts(&condition(&format!("{}{problem}", clinical("active"))));
    accepts(&condition(&format!("{in_error}{problem}")));
    refuses(&condition(&problem), &["invariant Condition: con-3"]);
    refuses(&condition(abated), &["invariant Condition: con-4"]);
    refuses(
        &condition(&format!("{}{abated}", clinical("active"))),
        &["invariant Condition: con-4"],
    );
    refuses(
        &condition(&format!("{in_error}{}", clinical("active"))),
        &["invariant Condition: con-5"],
    );
    let (tree, root) = read(condition(&problem).as_bytes(), &Limits::default()).unwrap();
    assert_eq!(resource(&tree, root, r4())[0].severity, Severity::Warning);
}

#[test]
fn other_invariants_that_look_at_values() {
    let timing = |members: &str| {
        format!(
            r#"{{"resourceType":"ServiceRequest","status":"active","intent":"order","subject":{{"display":"p"}},"occurrenceTiming":{{"repeat":{{{members}}}}}}}"#
        )
    };
    accepts(&timing(
        r#""period":1,"periodUnit":"d","offset":5,"when":["PC"]"#,
    ));
    refuses(
        &timing(r#""period":-1,"periodUnit":"d""#),
        &["invariant ServiceRequest.occurrence.ofType(Timing).repeat: tim-5"],
    );
    refuses(
        &timing(r#""duration":-0.5,"durationUnit":"d""#),
        &["invariant ServiceRequest.occurrence.ofType(Timing).repeat: tim-4"],
    );
    refuses(
        &timing(r#""offset":5,"when":["CM"]"#),
        &["invariant ServiceRequest.occurrence.ofType(Timing).repeat: tim-9"],
    );

    let appointment = |status: &str, members: &str| {
        format!(
            r#"{{"resourceType":"Appointment","status":"{status}","participant":[{{"actor":{{"display":"a"}},"status":"accepted"}}]{members}}}"#
        )
    };
    let times = r#","start":"2024-01-01T00:00:00Z","end":"2024-01-01T01:00:00Z""#;
    accepts(&appointment("booked", times));
    accepts(&appointment("proposed", ""));
    let absent = r#"{"extension":[{"url":"http://hl7.org/fhir/StructureDefinition/data-absent-reason","valueCode":"unknown"}]}"#;
    accepts(&appointment(
        "booked",
        &format!(r#","_start":{absent},"_end":{absent}"#),
    ));
    accepts(&appointment(
        "cancelled",
        r#","cancelationReason":{"text":"r"}"#,
    ));
    refuses(
        &appointment("booked", ""),
        &["invariant Appointment: app-3"],
    );
    refuses(
        &appointment(
            "booked",
            &format!(r#"{times},"cancelationReason":{{"text":"r"}}"#),
        ),
        &["invariant Appointment: app-4"],
    );

    let list = |mode: &str, entry: &str| {
        format!(
            r#"{{"resourceType":"List","status":"current","mode":"{mode}","entry":[{{"item":{{"display":"i"}},{entry}}}]}}"#
        )
    };
    accepts(&list("changes", r#""deleted":true"#));
    accepts(&list("working", r#""date":"2024""#));
    refuses(
        &list("working", r#""deleted":true"#),
        &["invariant List: lst-2"],
    );
    refuses(
        &list("snapshot", r#""date":"2024""#),
        &["invariant List: lst-3"],
    );

    let parameter = |members: &str| {
        format!(r#"{{"resourceType":"Parameters","parameter":[{{"name":"n"{members}}}]}}"#)
    };
    accepts(&parameter(r#","valueString":"a""#));
    accepts(&parameter(r#","resource":{"resourceType":"Patient"}"#));
    accepts(&parameter(r#","part":[{"name":"p","valueCode":"x"}]"#));
    refuses(
        &parameter(""),
        &["invariant Parameters.parameter[0]: inv-1"],
    );
    refuses(
        &parameter(r#","valueString":"a","resource":{"resourceType":"Patient"}"#),
        &["invariant Parameters.parameter[0]: inv-1"],
    );

    let task = |members: &str| {
        format!(r#"{{"resourceType":"Task","status":"draft","intent":"order"{members}}}"#)
    };
    accepts(&task(
        r#","authoredOn":"2024-01-01","lastModified":"2024-01-02""#,
    ));
    refuses(
        &task(r#","authoredOn":"2024-01-02","lastModified":"2024-01-01""#),
        &["invariant Task: inv-1"],
    );
    let dispense = |members: &str| {
        format!(
            r#"{{"resourceType":"MedicationDispense","status":"completed","medicationCodeableConcept":{{"text":"m"}}{members}}}"#
        )
    };
    accepts(&dispense(
        r#","whenPrepared":"2024-01-01","whenHandedOver":"2024-01-01""#,
    ));
    refuses(
        &dispense(r#","whenPrepared":"2024-01-02","whenHandedOver":"2024-01-01""#),
        &["invariant MedicationDispense: mdd-1"],
    );
}
