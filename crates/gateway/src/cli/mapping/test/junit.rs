//! The results as JUnit XML, as CI servers read it: a suite per folder, a case per test.

use std::{collections::BTreeMap, fmt::Write as _, time::Duration};

use super::{
    case::Ran,
    show::{plain, title},
};

/// The document.
pub(super) fn report(results: &[Ran], took: Duration) -> String {
    let mut suites: BTreeMap<&str, Vec<(&str, &Ran)>> = BTreeMap::new();
    for ran in results {
        let (folder, name) = ran.name.rsplit_once('/').unwrap_or(("", &ran.name));
        suites.entry(folder).or_default().push((name, ran));
    }
    let failed = |ran: &&(&str, &Ran)| !ran.1.problems.is_empty();
    let mut out = String::from("<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n");
    let failures = results
        .iter()
        .filter(|ran| !ran.problems.is_empty())
        .count();
    let _ = writeln!(
        out,
        "<testsuites tests=\"{}\" failures=\"{failures}\" time=\"{:.3}\">",
        results.len(),
        took.as_secs_f64()
    );
    for (folder, cases) in suites {
        let time: Duration = cases.iter().map(|(_, ran)| ran.took).sum();
        let _ = writeln!(
            out,
            "  <testsuite name=\"{}\" tests=\"{}\" failures=\"{}\" time=\"{:.3}\">",
            escaped(folder),
            cases.len(),
            cases.iter().filter(failed).count(),
            time.as_secs_f64()
        );
        for (name, ran) in cases {
            out.push_str(&case(folder, name, ran));
        }
        out.push_str("  </testsuite>\n");
    }
    out.push_str("</testsuites>\n");
    out
}

fn case(folder: &str, name: &str, ran: &Ran) -> String {
    let head = format!(
        "    <testcase classname=\"{}\" name=\"{}\" time=\"{:.3}\"",
        escaped(folder),
        escaped(name),
        ran.took.as_secs_f64()
    );
    let Some(first) = ran.problems.first() else {
        return head + "/>\n";
    };
    let text: String = ran.problems.iter().map(plain).collect();
    format!(
        "{head}>\n      <failure message=\"{}\">{}</failure>\n    </testcase>\n",
        escaped(&title(first)),
        escaped(&text)
    )
}

/// Text that may stand in XML 1.0: marked characters escaped, those it has no place for replaced.
fn escaped(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            '\n' | '\t' => out.push(c),
            '\u{0}'..='\u{1f}' | '\u{fffe}' | '\u{ffff}' => out.push('\u{fffd}'),
            c => out.push(c),
        }
    }
    out
}
