//! Grouping, message by message. A tree is written as `ORU_R01(MSH PATIENT(PID) !ZXX)`;
//! `!` marks a segment without a place.

use super::*;
use crate::issue::IssueCode;

/// Groups a message of the given segments, and writes the tree.
fn grouped(kind: &str, version: &str, segments: &str) -> (String, Vec<String>) {
    let mut text = format!("MSH|^~\\&|LAB|HOSP|FHIRWAY|HOSP|20260102030405||{kind}|1|P|{version}");
    for segment in segments.split_whitespace() {
        text.push('\r');
        text.push_str(segment);
        text.push_str("|1");
    }
    text.push('\r');
    let (message, _) = crate::parse(text.as_bytes()).unwrap();
    let (tree, issues) = group(&message);
    check(&tree, &message);
    let issues = issues
        .iter()
        .filter(|issue| issue.code != IssueCode::StructureDerived)
        .map(|issue| format!("{} {}", issue.code, issue.place.unwrap()))
        .collect();
    (written(&tree, &message, tree.root()), issues)
}

fn written(tree: &GroupTree, message: &Message<'_>, group: GroupId) -> String {
    let items = tree.items(group).iter().map(|item| match item {
        Item::Segment { index, placed } => {
            format!(
                "{}{}",
                if *placed { "" } else { "!" },
                message.segment(*index).unwrap().name()
            )
        }
        Item::Group(inner) => written(tree, message, *inner),
    });
    format!(
        "{}({})",
        tree.name(group),
        items.collect::<Vec<_>>().join(" ")
    )
}

/// What holds for every tree: each segment in exactly one group, items in message order.
fn check(tree: &GroupTree, message: &Message<'_>) {
    let mut seen = vec![0; message.segment_count()];
    for group in tree.groups() {
        let segments: Vec<_> = tree.segments(group).collect();
        assert!(segments.is_sorted());
        for index in segments {
            seen[index] += 1;
            assert_eq!(tree.group_of(index), group);
        }
        for inner in tree.subgroups(group) {
            assert_eq!(tree.parent(inner), Some(group));
        }
    }
    assert!(seen.iter().all(|count| *count == 1));
}

/// A result message with its tree below `ORU_R01(MSH ...)`.
fn results(segments: &str) -> String {
    let (tree, _) = grouped("ORU^R01^ORU_R01", "2.5.1", segments);
    tree.strip_prefix("ORU_R01(MSH ")
        .unwrap()
        .strip_suffix(')')
        .unwrap()
        .to_owned()
}

#[test]
fn results_nest() {
    let (tree, issues) = grouped(
        "ORU^R01^ORU_R01",
        "2.5.1",
        "SFT PID PD1 NTE NK1 PV1 PV2 ORC OBR NTE TQ1 OBX NTE OBX SPM OBX OBR OBX DSC",
    );
    assert_eq!(
        tree,
        "ORU_R01(MSH SFT PATIENT_RESULT(PATIENT(PID PD1 NTE NK1 VISIT(PV1 PV2)) \
         ORDER_OBSERVATION(COMMON_ORDER(ORC) OBR NTE TIMING_QTY(TQ1) OBSERVATION(OBX NTE) OBSERVATION(OBX) \
         SPECIMEN(SPM SPECIMEN_OBSERVATION(OBX))) ORDER_OBSERVATION(OBR OBSERVATION(OBX))) DSC)"
    );
    assert_eq!(issues, Vec::<String>::new());
}

#[test]
fn a_note_belongs_to_what_it_follows() {
    assert_eq!(
        results("PID NTE OBR NTE NTE OBX NTE NTE OBX"),
        "PATIENT_RESULT(PATIENT(PID NTE) ORDER_OBSERVATION(OBR NTE NTE OBSERVATION(OBX NTE NTE) OBSERVATION(OBX)))"
    );
    // after the visit it is still the patient's, after the timing the order's
    assert_eq!(
        results("PID PV1 NTE OBR TQ1 NTE OBX"),
        "PATIENT_RESULT(PATIENT(PID VISIT(PV1) NTE) ORDER_OBSERVATION(OBR TIMING_QTY(TQ1) NTE OBSERVATION(OBX)))"
    );
    // between order header and detail it is the order's
    assert_eq!(
        results("PID ORC NTE OBR OBX"),
        "PATIENT_RESULT(PATIENT(PID) ORDER_OBSERVATION(COMMON_ORDER(ORC) NTE OBR OBSERVATION(OBX)))"
    );
    // a specimen has no notes here, and the order's it is not
    assert_eq!(
        results("PID OBR OBX SPM NTE"),
        "PATIENT_RESULT(PATIENT(PID) ORDER_OBSERVATION(OBR OBSERVATION(OBX) SPECIMEN(SPM !NTE)))"
    );
}

#[test]
fn several_patients_are_told_apart() {
    assert_eq!(
        results("PID OBR OBX PID PV1 OBR OBX"),
        "PATIENT_RESULT(PATIENT(PID) ORDER_OBSERVATION(OBR OBSERVATION(OBX))) \
         PATIENT_RESULT(PATIENT(PID VISIT(PV1)) ORDER_OBSERVATION(OBR OBSERVATION(OBX)))"
    );
}

#[test]
fn results_without_their_headers() {
    assert_eq!(
        results("OBR OBX"),
        "PATIENT_RESULT(ORDER_OBSERVATION(OBR OBSERVATION(OBX)))"
    );
    // an observation of a patient, before any request
    assert_eq!(
        results("PID OBX OBR OBX"),
        "PATIENT_RESULT(PATIENT(PID PATIENT_OBSERVATION(OBX)) ORDER_OBSERVATION(OBR OBSERVATION(OBX)))"
    );
    let (tree, issues) = grouped(
        "ORU^R01^ORU_R01",
        "2.5.1",
        "PID ORC OBX NTE OBX ORC OBR OBX",
    );
    assert_eq!(
        tree,
        "ORU_R01(MSH PATIENT_RESULT(PATIENT(PID) \
         ORDER_OBSERVATION(COMMON_ORDER(ORC) OBSERVATION(OBX NTE) OBSERVATION(OBX)) \
         ORDER_OBSERVATION(COMMON_ORDER(ORC) OBR OBSERVATION(OBX))))"
    );
    assert!(
        issues.contains(&"segment-missing OBR".to_owned()),
        "{issues:?}"
    );
    assert_eq!(
        results("PID ORC OBX OBR OBX"),
        "PATIENT_RESULT(PATIENT(PID) \
         ORDER_OBSERVATION(COMMON_ORDER(ORC) OBSERVATION(OBX) OBR OBSERVATION(OBX)))"
    );
}

#[test]
fn order_header_timing_and_request_stay_together() {
    assert_eq!(
        results("PID ORC TQ1 OBR OBX ORC TQ1 OBR OBX"),
        "PATIENT_RESULT(PATIENT(PID) \
         ORDER_OBSERVATION(COMMON_ORDER(ORC) TIMING_QTY(TQ1) OBR OBSERVATION(OBX)) \
         ORDER_OBSERVATION(COMMON_ORDER(ORC) TIMING_QTY(TQ1) OBR OBSERVATION(OBX)))"
    );
}

#[test]
fn a_late_visit_goes_to_the_patient() {
    assert_eq!(
        results("PID ORC PV1 PV2 OBR OBX"),
        "PATIENT_RESULT(PATIENT(PID VISIT(PV1 PV2)) ORDER_OBSERVATION(COMMON_ORDER(ORC) OBR OBSERVATION(OBX)))"
    );
    assert_eq!(
        results("PV1 PID OBR OBX"),
        "PATIENT_RESULT(PATIENT(VISIT(PV1) PID) ORDER_OBSERVATION(OBR OBSERVATION(OBX)))"
    );
    let (tree, issues) = grouped("ORM^O01", "2.3", "PID ORC PV1 PV2 OBR NTE OBX");
    assert_eq!(
        tree,
        "ORM_O01(MSH PATIENT(PID VISIT(PV1 PV2)) ORDER(ORC ORDER_DETAIL(OBR NTE OBSERVATION(OBX))))"
    );
    assert_eq!(issues, ["segment-misplaced PV1"]);
}

#[test]
fn a_document_in_an_order_is_no_result() {
    assert_eq!(
        results("PID ORC OBX TXA OBR OBX"),
        "PATIENT_RESULT(PATIENT(PID) \
         ORDER_OBSERVATION(COMMON_ORDER(ORC ORDER_DOCUMENT(OBX TXA)) OBR OBSERVATION(OBX)))"
    );
}

#[test]
fn a_document_header_without_a_document_is_kept() {
    let (tree, issues) = grouped("ORU^R01^ORU_R01", "2.5.1", "PID TXA ORC TXA OBR OBX");
    assert_eq!(
        tree,
        "ORU_R01(MSH PATIENT_RESULT(PATIENT(PID !TXA) \
         ORDER_OBSERVATION(COMMON_ORDER(ORC !TXA) OBR OBSERVATION(OBX))))"
    );
    assert_eq!(
        issues,
        ["segment-misplaced TXA", "segment-misplaced TXA(2)"]
    );
}

#[test]
fn participations_and_roles_belong_to_what_they_follow() {
    assert_eq!(
        results("PID PRT PV1 PRT ORC PRT OBR PRT OBX PRT SPM OBX PRT"),
        "PATIENT_RESULT(PATIENT(PID PRT VISIT(PV1 PRT)) \
         ORDER_OBSERVATION(COMMON_ORDER(ORC PRT) OBR PRT OBSERVATION(OBX PRT) \
         SPECIMEN(SPM SPECIMEN_OBSERVATION(OBX PRT))))"
    );
    let text = "MSH|^~\\&|||||||ADT^A01^ADT_A01|1|P|2.5\rEVN|A01\rPID|1\rROL|1\rPV1|1\rROL|1\rPR1|1\rROL|1\rIN1|1\rROL|1\r";
    let (message, _) = crate::parse(text.as_bytes()).unwrap();
    let (tree, issues) = group(&message);
    assert_eq!(issues, []);
    assert_eq!(tree.follows(3), Some("PID"));
    assert_eq!(tree.follows(5), Some("PV1"));
    assert_eq!(
        (tree.follows(7), tree.path(tree.group_of(7))),
        (None, "PROCEDURE".to_owned())
    );
    assert_eq!(tree.path(tree.group_of(9)), "INSURANCE");
}

#[test]
fn site_segments_stay_where_they_stand() {
    let (tree, issues) = grouped(
        "ORU^R01^ORU_R01",
        "2.5.1",
        "PID ZPI PV1 OBR OBX ZBX NTE OBX ZZZ",
    );
    assert_eq!(
        tree,
        "ORU_R01(MSH PATIENT_RESULT(PATIENT(PID !ZPI VISIT(PV1)) \
         ORDER_OBSERVATION(OBR OBSERVATION(OBX !ZBX NTE) OBSERVATION(OBX !ZZZ))))"
    );
    assert_eq!(issues, Vec::<String>::new());
}

#[test]
fn a_segment_of_another_structure_is_kept() {
    let (tree, issues) = grouped("ORU^R01^ORU_R01", "2.5.1", "PID OBR OBX AIS NTE");
    assert_eq!(
        tree,
        "ORU_R01(MSH PATIENT_RESULT(PATIENT(PID) ORDER_OBSERVATION(OBR OBSERVATION(OBX !AIS NTE))))"
    );
    assert_eq!(issues, ["segment-misplaced AIS"]);
}

#[test]
fn an_admission_out_of_order() {
    let (tree, issues) = grouped(
        "ADT^A01",
        "2.3",
        "EVN PID PV1 NK1 NK1 IN1 IN2 GT1 IN3 IN1 IN2 AL1 DG1 OBX",
    );
    assert_eq!(
        tree,
        "ADT_A01(MSH EVN PID PV1 NEXT_OF_KIN(NK1) NEXT_OF_KIN(NK1) INSURANCE(IN1 IN2 IN3) GT1 \
         INSURANCE(IN1 IN2) AL1 DG1 OBSERVATION(OBX))"
    );
    assert_eq!(issues.len(), 6, "{issues:?}");
    let (tree, issues) = grouped("ADT^A08", "2.4", "PID PV1 EVN");
    assert_eq!(tree, "ADT_A01(MSH PID PV1 EVN)");
    assert_eq!(issues, ["segment-misplaced PID", "segment-misplaced PV1"]);
}

#[test]
fn what_is_missing_is_said_once() {
    let (tree, issues) = grouped("ADT^A01^ADT_A01", "2.5", "PID DG1");
    assert_eq!(tree, "ADT_A01(MSH PID DG1)");
    assert_eq!(issues, ["segment-missing EVN", "segment-missing PV1"]);
    // 2.3 requires no TQ1, though the newest RDE_O11 does
    let (tree, issues) = grouped("RDE^O01", "2.3", "PID ORC RXE RXR RXC OBX");
    assert_eq!(
        tree,
        "RDE_O11(MSH PATIENT(PID) ORDER(ORC RXE RXR RXC OBSERVATION(OBX)))"
    );
    assert!(
        !issues.iter().any(|issue| issue.contains("TQ1")),
        "{issues:?}"
    );
}

#[test]
fn orders_share_no_header() {
    let (tree, issues) = grouped("ORM^O01", "2.3.1", "PID PV1 ORC OBR OBX OBR ORC OBR");
    assert_eq!(
        tree,
        "ORM_O01(MSH PATIENT(PID VISIT(PV1)) ORDER(ORC ORDER_DETAIL(OBR OBSERVATION(OBX))) \
         ORDER(ORDER_DETAIL(OBR)) ORDER(ORC ORDER_DETAIL(OBR)))"
    );
    assert_eq!(issues, ["segment-missing ORC"]);
    let (tree, _) = grouped(
        "OML^O21^OML_O21",
        "2.5.1",
        "PID PV1 ORC TQ1 OBR DG1 OBX SPM OBX SAC OBX ORC OBR OBR",
    );
    assert_eq!(
        tree,
        "OML_O21(MSH PATIENT(PID PATIENT_VISIT(PV1)) \
         ORDER(ORC TIMING(TQ1) OBSERVATION_REQUEST(OBR DG1 OBSERVATION(OBX) \
         SPECIMEN(SPM SPECIMEN_OBSERVATION(OBX) CONTAINER(SAC CONTAINER_OBSERVATION(OBX))))) \
         ORDER(ORC OBSERVATION_REQUEST(OBR)) ORDER(OBSERVATION_REQUEST(OBR)))"
    );
}

#[test]
fn a_prior_result_needs_its_patient() {
    let (tree, _) = grouped(
        "OML^O21^OML_O21",
        "2.5.1",
        "PID ORC OBR OBX PV1 PID ORC OBR OBX ORC OBR",
    );
    assert_eq!(
        tree,
        "OML_O21(MSH PATIENT(PID PATIENT_VISIT(PV1)) ORDER(ORC OBSERVATION_REQUEST(OBR OBSERVATION(OBX) \
         PRIOR_RESULT(PATIENT_PRIOR(PID) ORDER_PRIOR(ORC OBR OBSERVATION_PRIOR(OBX)) ORDER_PRIOR(ORC OBR)))))"
    );
}

#[test]
fn a_second_patient_of_an_order_is_a_patient_of_its_own() {
    let (tree, issues) = grouped("ORM^O01", "2.3.1", "PID PV1 ORC OBR PID PD1 PV1 ORC OBR");
    assert_eq!(
        tree,
        "ORM_O01(MSH PATIENT(PID VISIT(PV1)) ORDER(ORC ORDER_DETAIL(OBR)) PATIENT(PID PD1 VISIT(PV1)) \
         ORDER(ORC ORDER_DETAIL(OBR)))"
    );
    assert_eq!(issues, ["segment-misplaced PID(2)"]);
}

#[test]
fn vaccinations_of_all_ages() {
    let (tree, issues) = grouped(
        "VXU^V04^VXU_V04",
        "2.5.1",
        "PID PD1 NK1 PV1 ORC RXA RXR OBX OBX NTE ORC RXA",
    );
    assert_eq!(
        tree,
        "VXU_V04(MSH PID PD1 NK1 PATIENT_VISIT(PV1) ORDER(ORC RXA RXR OBSERVATION(OBX) OBSERVATION(OBX NTE)) ORDER(ORC RXA))"
    );
    assert_eq!(issues, Vec::<String>::new());
    let (tree, issues) = grouped("VXU^V04", "2.3.1", "PID NK1 RXA RXR OBX RXA");
    assert_eq!(
        tree,
        "VXU_V04(MSH PID NK1 ORDER(RXA RXR OBSERVATION(OBX)) ORDER(RXA))"
    );
    assert_eq!(issues, Vec::<String>::new());
}

#[test]
fn swaps_merges_documents_and_schedules() {
    for (kind, segments, expected) in [
        (
            "ADT^A17^ADT_A17",
            "EVN PID PV1 PID PV1 OBX",
            "ADT_A17(MSH EVN PID PV1 PID PV1 OBSERVATION(OBX))",
        ),
        (
            "ADT^A40^ADT_A39",
            "EVN PID PD1 MRG PV1 PID MRG",
            "ADT_A39(MSH EVN PATIENT(PID PD1 MRG PV1) PATIENT(PID MRG))",
        ),
        (
            "MDM^T02^MDM_T02",
            "EVN PID PV1 TXA OBX NTE OBX",
            "MDM_T02(MSH EVN PID PV1 TXA OBSERVATION(OBX NTE) OBSERVATION(OBX))",
        ),
        (
            "SIU^S12^SIU_S12",
            "SCH NTE PID PV1 DG1 RGS AIS NTE AIL AIP NTE RGS AIG",
            "SIU_S12(MSH SCH NTE PATIENT(PID PV1 DG1) RESOURCES(RGS SERVICE(AIS NTE) LOCATION_RESOURCE(AIL) \
             PERSONNEL_RESOURCE(AIP NTE)) RESOURCES(RGS GENERAL_RESOURCE(AIG)))",
        ),
        (
            "SIU^S14^SIU_S12",
            "SCH PID AIP AIS",
            "SIU_S12(MSH SCH PATIENT(PID) RESOURCES(PERSONNEL_RESOURCE(AIP) SERVICE(AIS)))",
        ),
        ("ACK^A01^ACK", "MSA ERR", "ACK(MSH MSA ERR)"),
        (
            "OUL^R22^OUL_R22",
            "PID SPM SAC OBR ORC OBX NTE ORC OBR OBX",
            "OUL_R22(MSH PATIENT(PID) SPECIMEN(SPM CONTAINER(SAC) ORDER(OBR COMMON_ORDER(ORC) RESULT(OBX NTE)) \
             ORDER(COMMON_ORDER(ORC) OBR RESULT(OBX))))",
        ),
        (
            "RSP^K11^RSP_K11",
            "MSA QAK QPD PID ZZZ DSC",
            "RSP_K11(MSH MSA QAK QPD SEGMENT_PATTERN(PID ZZZ) DSC)",
        ),
    ] {
        assert_eq!(grouped(kind, "2.5.1", segments).0, expected, "{kind}");
    }
}

#[test]
fn an_unknown_structure_is_grouped_all_the_same() {
    let (tree, issues) = grouped(
        "ZPM^Z01^ZPM_Z01",
        "2.5.1",
        "PID PV1 ORC OBR NTE OBX NTE ZZZ",
    );
    assert_eq!(
        tree,
        "ZPM_Z01(MSH PATIENT_RESULT(PATIENT(PID VISIT(PV1)) \
         ORDER_OBSERVATION(COMMON_ORDER(ORC) OBR NTE OBSERVATION(OBX NTE !ZZZ))))"
    );
    assert_eq!(issues, ["structure-unknown MSH-9"]);
    let (tree, _) = grouped("ADT^Z47", "2.5.1", "EVN PID IN1 IN2");
    assert_eq!(tree, "ADT_A01(MSH EVN PID INSURANCE(IN1 IN2))");
    let (tree, _) = grouped("", "2.5.1", "PID");
    assert_eq!(tree, "(MSH PATIENT_RESULT(PATIENT(PID)))");
}

#[test]
fn a_long_message_takes_linear_time() {
    // the best of several, as other work on the machine only ever makes it slower
    let timed = |count: usize| {
        let segments = "PID ".to_owned() + &"OBX PV1 NTE ORC TQ1 NK1 ".repeat(count);
        let once = || {
            let start = std::time::Instant::now();
            grouped("ORU^R01^ORU_R01", "2.5.1", &segments);
            start.elapsed()
        };
        (0..5).map(|_| once()).min().unwrap()
    };
    let (short, long) = (timed(200), timed(2_000));
    assert!(
        long < short * 40,
        "{short:?} for 1,200 segments, {long:?} for 12,000"
    );
}

mod any_message {
    use proptest::prelude::*;

    use super::*;

    const KINDS: [&str; 9] = [
        "ORU^R01^ORU_R01",
        "ADT^A01^ADT_A01",
        "ADT^A17^ADT_A17",
        "ADT^A40^ADT_A39",
        "ORM^O01",
        "OML^O21^OML_O21",
        "VXU^V04^VXU_V04",
        "RSP^K11^RSP_K11",
        "ZPM^Z01",
    ];
    const SEGMENTS: [&str; 28] = [
        "PID", "PD1", "NK1", "PV1", "PV2", "ROL", "PRT", "NTE", "ORC", "OBR", "TQ1", "OBX", "SPM",
        "SAC", "RXA", "RXR", "AL1", "DG1", "PR1", "IN1", "IN2", "EVN", "MRG", "TXA", "DSC", "MSH",
        "ZZZ", "AIS",
    ];

    proptest! {
        #[test]
        fn every_segment_is_in_one_group(
            kind in prop::sample::select(&KINDS[..]),
            segments in prop::collection::vec(prop::sample::select(&SEGMENTS[..]), 0..40),
        ) {
            // grouped() checks that no segment is lost or moved before another of its group
            let (tree, _) = grouped(kind, "2.5.1", &segments.join(" "));
            prop_assert_eq!(tree.split([' ', '(', ')']).filter(|word| word.trim_start_matches('!').len() == 3).count(),
                segments.len() + 1 + usize::from(tree.starts_with("ACK(")));
        }
    }
}
