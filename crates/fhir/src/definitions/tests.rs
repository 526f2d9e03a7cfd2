use super::*;

fn element(type_name: &str, name: &str) -> &'static Element {
    let r4 = r4();
    r4.element(r4.type_(type_name).unwrap(), name).unwrap()
}

fn type_name(element: &Element) -> &'static str {
    r4().type_name(element.types[0].type_)
}

#[test]
fn the_pack_is_whole() {
    let r4 = r4();
    let count = |kind| {
        r4.types()
            .filter(|id| r4.kind(*id) == kind && !r4.is_abstract(*id))
            .count()
    };
    assert_eq!(count(TypeKind::Resource), 146);
    assert_eq!(count(TypeKind::Primitive), 20);
    let elements: Vec<_> = r4.types().flat_map(|id| r4.elements(id)).collect();
    assert!(elements.len() > 8000, "{}", elements.len());
    assert!(
        elements
            .iter()
            .all(|element| element.types.len() == 1 && !element.text().is_empty())
    );
    assert!(
        elements
            .iter()
            .all(|element| !element.choice || element.max == Some(1))
    );
}

#[test]
fn elements_say_type_cardinality_and_order() {
    let patient = r4().resource("Patient").unwrap();
    let names: Vec<_> = r4()
        .elements(patient)
        .iter()
        .take(3)
        .map(Element::text)
        .collect();
    assert_eq!(names, ["id", "meta", "implicitRules"]);
    let identifier = element("Patient", "identifier");
    assert_eq!(
        (type_name(identifier), identifier.min, identifier.max),
        ("Identifier", 0, None)
    );
    assert!(identifier.is_array() && identifier.order > element("Patient", "text").order);
    let status = element("Observation", "status");
    assert_eq!(
        (type_name(status), status.min, status.max),
        ("code", 1, Some(1))
    );
    assert!(status.modifier && status.summary);
    assert_eq!(type_name(element("Patient", "id")), "id");
    assert_eq!(type_name(element("HumanName", "id")), "string");
    assert!(element("Observation.referenceRange", "low").simple_quantity);
}

#[test]
fn choices_have_a_name_for_each_type() {
    let quantity = element("Observation", "valueQuantity");
    assert_eq!(
        (type_name(quantity), quantity.base, quantity.choice),
        ("Quantity", "value", true)
    );
    assert_eq!(type_name(element("Patient", "deceasedBoolean")), "boolean");
    assert_eq!(
        type_name(element("Extension", "valueBase64Binary")),
        "base64Binary"
    );
    let observation = r4().type_("Observation").unwrap();
    assert!(r4().element(observation, "value").is_none());
    assert!(r4().element(observation, "valueAddress").is_none());
    let names: Vec<_> = r4()
        .choices(observation, "effective")
        .iter()
        .map(Element::text)
        .collect();
    assert_eq!(
        names,
        [
            "effectiveDateTime",
            "effectivePeriod",
            "effectiveTiming",
            "effectiveInstant"
        ]
    );
    assert!(r4().choices(observation, "status").is_empty());
    assert_eq!(
        r4().choices(r4().type_("Extension").unwrap(), "value")
            .len(),
        50
    );
}

#[test]
fn backbones_and_content_references_lead_on() {
    let contact = element("Patient", "contact");
    assert_eq!(type_name(contact), "Patient.contact");
    assert_eq!(r4().kind(contact.types[0].type_), TypeKind::Backbone);
    assert_eq!(type_name(element("Patient.contact", "name")), "HumanName");
    assert_eq!(type_name(element("Bundle.entry", "link")), "Bundle.link");
    assert_eq!(
        type_name(element("Observation.component", "referenceRange")),
        "Observation.referenceRange"
    );
    assert_eq!(type_name(element("Bundle.entry", "resource")), "Resource");
}

#[test]
fn references_have_targets() {
    let targets: Vec<_> = element("Observation", "subject").types[0]
        .targets
        .iter()
        .map(|id| r4().type_name(*id))
        .collect();
    assert_eq!(targets, ["Patient", "Group", "Device", "Location"]);
    assert!(element("Observation", "focus").types[0].targets.is_empty());
}

#[test]
fn bindings_have_codes() {
    let binding = element("Patient", "gender").binding.unwrap();
    assert_eq!(binding.strength, Strength::Required);
    let set = r4().value_set(binding.value_set).unwrap();
    assert_eq!(
        set.url,
        "http://hl7.org/fhir/ValueSet/administrative-gender"
    );
    let codes: Vec<_> = set.codes().map(|(_, code)| code).collect();
    assert_eq!(codes, ["female", "male", "other", "unknown"]);
    assert!(set.closed && set.has_code("male") && !set.has_code("M"));
    assert_eq!(
        set.system_of("male"),
        Some("http://hl7.org/fhir/administrative-gender")
    );

    let binding = element("Observation", "interpretation").binding.unwrap();
    assert_eq!(binding.strength, Strength::Extensible);
    let set = r4().value_set(binding.value_set).unwrap();
    assert!(set.has(
        "http://terminology.hl7.org/CodeSystem/v3-ObservationInterpretation",
        "H"
    ));
    assert!(!set.has("http://example.org", "H"));
    assert!(element("Observation", "code").binding.is_none());
    let open = element("Attachment", "contentType").binding.unwrap();
    assert!(!r4().value_set(open.value_set).unwrap().closed);
}

#[test]
fn codes_are_sorted_for_the_search() {
    for set in &r4().value_sets {
        assert!(
            set.systems.iter().all(|system| system.codes.is_sorted()),
            "{}",
            set.url
        );
        assert_eq!(set.closed, !set.systems.is_empty(), "{}", set.url);
    }
}

#[test]
fn a_broken_pack_is_refused() {
    assert!(pack::decode(b"").is_none());
    assert!(
        pack::decode(&miniz_oxide::deflate::compress_to_vec(
            b"fhirway-definitions 9 4.0.1\n",
            6
        ))
        .is_none()
    );
    let whole = include_bytes!("../../data/r4.pack");
    assert!(pack::decode(&whole[..whole.len() / 2]).is_none());
}
