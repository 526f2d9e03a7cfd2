//! What can be known of rules before any message comes: conditions that are decided, rules that never have a turn, values
//! that can't be what is made of them.

use crate::diagnostics::{PATIENT, expect, lines, rule};

/// A boolean under a condition; the condition starts at column 29.
fn when(condition: &str) -> Vec<String> {
    rule(&format!(
        "active: {{ is: \"true\", when: \"{condition}\" }}"
    ))
}

#[test]
fn conditions_that_can_never_hold() {
    for (condition, why) in [
        ("PID-8 = F and PID-8 = M", "can't be both `F` and `M`"),
        ("PID-8 in (F, M) and PID-8 in (O, U)", "can't be both"),
        ("PID-8 = F and PID-8 != F", "and to be something else"),
        (
            "PID-8 = F and not PID-8 in (F, M)",
            "and to be something else",
        ),
        ("PID-5 valued and PID-5 not valued", "valued and not valued"),
        (
            "PID-5 not valued and PID-5.1 valued",
            "where the whole is not",
        ),
        ("PID-8 not valued and PID-8 = F", "is not valued"),
        ("PID-8 is null and PID-8 = F", "is null"),
        ("PID-8 is null and PID-8 valued", "null and something else"),
        ("PID-3.1 = ABC and PID-3.1 is number", "something else"),
        ("PID-3.1 = ABC and PID-3.1 starts with X", "something else"),
        ("PID-3.1 = ABC and PID-3.1 not contains B", "something else"),
        ("PID-3.1 not valued and PID-3.1 contains B", "no such value"),
        (
            "count(PID-3) > 3 and count(PID-3) < 2",
            "no number of repetitions",
        ),
        ("count(PID-3) < 0", "no number of repetitions"),
        (
            "policy colour = red and policy colour = green",
            "red, green",
        ),
        (
            "not policy colour = red and not policy colour = green",
            "red, green",
        ),
        (
            "PID-5 same as PID-9 and PID-9 not same as PID-5",
            "the same and not the same",
        ),
        ("bound patient and not bound patient", "bound and not bound"),
        ("(PID-8 = F or PID-8 = M) and PID-8 = U", "can't be both"),
        (
            "not (PID-8 = F or PID-8 valued) and PID-8 = F",
            "is not valued",
        ),
    ] {
        let found = when(condition);
        let plain: Vec<String> = found
            .iter()
            .filter(|line| line.contains("M042"))
            .cloned()
            .collect();
        expect(&plain, "4:29 M042 this condition never holds", why);
    }
}

#[test]
fn conditions_that_may_hold_are_left_alone() {
    for condition in [
        "PID-8 = F or PID-8 = M",
        "PID-8 not valued and PID-8 != F",
        "PID-8 = \\\"\\\" and PID-8 not valued",
        "PID-5 valued and PID-5.1 not valued",
        "PID-5 valued and PID-5 = \\\"\\\"",
        "PID-3(1) not valued and PID-3(2) valued",
        "PID-3.1 = 12 and PID-3.1 is number",
        "PID-3.1 in (ABC, DEF) and PID-3.1 starts with D",
        "count(PID-3) > 1 and count(PID-3) < 3",
        "policy colour = red or policy extra",
        "PID-5 same as PID-9 or PID-9 not valued",
        "PID-4 = F and PID-2 = M",
        "not (PID-8 = F and PID-8 = M) and PID-8 = F",
    ] {
        let found: Vec<String> = when(condition);
        // The last one has a part that is always so, which is no fault of the whole.
        assert_eq!(found, Vec::<String>::new(), "{condition}");
    }
    // What is too large to take apart is left alone, and quickly.
    let many: Vec<String> = (1..=30)
        .map(|field| format!("(PID-{field} valued or PID-{field} is null)"))
        .collect();
    assert_eq!(when(&many.join(" and ")), Vec::<String>::new());
}

#[test]
fn conditions_that_always_hold_and_alternatives_that_never_do() {
    expect(
        &when("PID-8 valued or PID-8 not valued"),
        "4:29 M042 this condition always holds",
        "leave it out",
    );
    expect(
        &when("PID-8 != F or PID-8 != M"),
        "4:29 M042 this condition always holds",
        "leave it out",
    );
    expect(
        &when("PID-7 valued or PID-8 = F and PID-8 = M"),
        "4:29 M042 one of the alternatives",
        "both `F` and `M`",
    );
}

#[test]
fn conditions_are_read_together_with_those_around_them() {
    expect(
        &rule("name: [ { when: PID-8 = F, family: x, suffix: [ { when: PID-8 = M, is: y } ] } ]"),
        "4:57 M042 this condition never holds inside the conditions around it",
        "both `F` and `M`",
    );
    // Another repetition is another value.
    assert_eq!(
        rule(
            "name: [ { each: PID-5, when: XPN.7 = L, map: XPN/HumanName }, { each: PID-5, when: XPN.7 = M, map: XPN/HumanName } ]"
        ),
        Vec::<String>::new()
    );
    expect(
        &lines(
            "datatypes/CX/Identifier.yaml",
            "datatype: CX\nmakes: Identifier\nvalue: { when: CX.1 not valued, is: \"{{CX.2}}\" }\nwhen: CX.1 valued\n",
        ),
        "3:16 M042 this condition never holds inside the conditions around it",
        "`CX.1` can't be valued and not valued",
    );
}

#[test]
fn m041_alternatives_that_never_have_a_turn() {
    let found = rule("gender:\n  - male\n  - { from: PID-8, table: Sex }");
    expect(
        &found,
        "6:5 M041 this rule never has a turn",
        "put the constant last",
    );
    let found = rule(
        "gender:\n  - { when: PID-8 valued, is: male }\n  - { when: PID-8 not valued, is: female }\n  - { from: PID-8, table: Sex }",
    );
    expect(
        &found,
        "7:5 M041 this rule never has a turn",
        "more special rule first",
    );
    let found =
        rule("gender:\n  - { when: PID-8 valued, is: male }\n  - { when: PID-8 = F, is: female }");
    expect(
        &found,
        "6:5 M041 this rule never has a turn",
        "more special rule first",
    );
    for fine in [
        "gender:\n  - { from: PID-8, table: Sex }\n  - male",
        "gender:\n  - { when: PID-8 = F, is: female }\n  - { when: PID-8 valued, is: male }\n  - unknown",
        "gender:\n  - { when: PID-8 valued, from: PID-8, table: Sex }\n  - { when: PID-8 = F, is: female }",
    ] {
        assert_eq!(rule(fine), Vec::<String>::new(), "{fine}");
    }
}

#[test]
fn m013_several_results_for_one_value() {
    expect(
        &rule("gender: { each: PID-8, table: Sex }"),
        "4:17 M013 the element takes one value, and `each`",
        "write `from:`",
    );
    expect(
        &rule("birthDate: { is: [ \"{{PID-7}}\", \"{{PID-29}}\" ] }"),
        "4:33 M013 the element takes one value, and this is a list of texts",
        "the first that gives something",
    );
}

#[test]
fn m024_values_that_a_field_never_has() {
    for (condition, column, says) in [
        ("PID-30 = X", 39, "`X` is not in HL7 table 0136"),
        ("PID-30 in (Y, Nein)", 44, "`Nein` is not in HL7 table 0136"),
        ("PID-25 = first", 39, "`first` is no number"),
        ("PID-7 = today", 38, "`today` is no time"),
        ("OBX-2 != NMM", 39, "`NMM` is not in HL7 table 0125"),
        ("MSH-9.1 = ADTT", 40, "`ADTT` is not in HL7 table 0076"),
        ("MSH-9.2 = A99", 40, "`A99` is not in HL7 table 0003"),
        (
            "MSH-9.3 = ADT_A99",
            40,
            "`ADT_A99` is not in HL7 table 0354",
        ),
    ] {
        let found = when(condition);
        expect(&found, &format!("4:{column} M024 {says}"), "");
    }
    for fine in [
        "PID-30 = Y",
        "MSH-9.1 = ZZZ",
        "MSH-9.2 in (A01, Z07)",
        "OBX-2 = NM",
        "PID-25 = 1",
        "PID-8 = what_a_site_likes",
    ] {
        assert_eq!(when(fine), Vec::<String>::new(), "{fine}");
    }
}

#[test]
fn m025_values_of_another_data_type() {
    expect(
        &rule("identifier: [ { each: PID-5, map: CX/Identifier } ]"),
        "4:35 M025 this map reads a value of type CX, and the value is of type XPN",
        "a map under datatypes/XPN/",
    );
    expect(
        &rule("identifier: [ { each: PID-5, value: \"{{CX.1}}\" } ]"),
        "4:40 M025 the value is of type XPN, not CX",
        "write `XPN.1`",
    );
    expect(
        &rule("birthDate: \"{{PID-5}}\""),
        "4:12 M025 the value is of type XPN, which is never a date",
        "another field",
    );
    expect(
        &rule("birthDate: \"{{PID-8}}\""),
        "4:12 M025 the value is of type CWE, which is never a date",
        "another field",
    );
    for fine in [
        "birthDate: \"{{PID-7}}\"",
        "maritalStatus: { from: PID-16, map: CWE/CodeableConcept }",
        "identifier: [ { each: PID-4, map: CX/Identifier } ]",
        "multipleBirthInteger: \"{{PID-25}}\"",
        "active: \"{{ZPI-3}}\"",
    ] {
        assert_eq!(rule(fine), Vec::<String>::new(), "{fine}");
    }
}

#[test]
fn m043_rules_that_stand_twice() {
    expect(
        &rule(
            "name:\n  - { each: PID-5, map: XPN/HumanName }\n  - { map: XPN/HumanName, each: PID-5 }",
        ),
        "6:5 M043 this rule stands twice: it is that of line 5 again",
        "remove one",
    );
}

#[test]
fn columns_are_those_of_the_word_however_the_text_is_written() {
    for (text, place) in [
        ("birthDate: \"é \\\"x\\\" {{PID-99}}\"", "4:23 M020"),
        ("birthDate: 'it''s {{PID-99}}'", "4:21 M020"),
        ("birthDate: x {{PID-99}}", "4:16 M020"),
        ("birthDate: >-\n  a\n  b {{PID-7}} {{PID-99}}", "6:17 M020"),
        ("birthDate: |\n  {{upper\n    (trim PID-99)}}", "6:11 M020"),
        ("birthDate: \"{{upper (nope PID-7)}}\"", "4:22 M023"),
        (
            "birthDate: \"{{date PID-7 PID-8}}\"",
            "4:15 M023 the helper `date` takes 1 argument",
        ),
        (
            "birthDate: \"{{#if (eq PID-7)}}x{{/if}}\"",
            "4:20 M023 `eq` has the wrong number",
        ),
        ("birthDate: \"{{PID-7}} {{PID-77}} {{PID-7}}\"", "4:25 M020"),
        ("birthDate: \"{{PID-7.0}}\"", "4:15 M021"),
        (
            "birthDate: \"{{#each PID-7}}{{shout this}}{{/each}}\"",
            "4:30 M023 there is no helper `shout`",
        ),
        (
            "active: { is: \"true\", when: \"PID-7 = \\\"é\\\" and PID-99 valued\" }",
            "4:48 M020",
        ),
    ] {
        let found = lines(
            PATIENT,
            &format!("segment: PID\nmakes: Patient\nkey: PID-3\n{text}\n"),
        );
        let found: Vec<String> = found
            .into_iter()
            .filter(|line| !line.contains("M024"))
            .collect();
        expect(&found, place, "");
    }
}
