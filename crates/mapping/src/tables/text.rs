//! Code tables as YAML.

use std::fmt::Write as _;

use super::{CodeEntry, CodeGroup, CodeTable, CodeTarget};
use crate::show::{is_plain, quote};

impl CodeTable {
    /// The table as a file of a package.
    pub fn to_yaml(&self) -> String {
        let mut out = format!("table: {}\n", scalar(&self.name, false));
        let mut key = |name: &str, value: Option<&String>| {
            if let Some(value) = value {
                let _ = writeln!(out, "{name}: {}", scalar(value, false));
            }
        };
        key("about", self.about.as_ref());
        key("miss", self.miss.as_ref());
        key("else", self.rest.as_ref());
        if let [group] = self.groups.as_slice() {
            group.write(&mut out, "");
            return out;
        }
        out.push_str("groups:\n");
        for group in &self.groups {
            let mut text = String::new();
            group.write(&mut text, "    ");
            let _ = writeln!(out, "  - {}", text.trim_start().trim_end());
        }
        out
    }
}

impl CodeGroup {
    fn write(&self, out: &mut String, indent: &str) {
        if !self.source.is_empty() {
            let names: Vec<String> = self.source.iter().map(|name| scalar(name, true)).collect();
            let _ = writeln!(out, "{indent}source: [{}]", names.join(", "));
        }
        if !self.target.is_empty() {
            let _ = writeln!(out, "{indent}target: {}", scalar(&self.target, false));
        }
        if self.codes.is_empty() {
            let _ = writeln!(out, "{indent}codes: {{}}");
        } else {
            let _ = writeln!(out, "{indent}codes:");
        }
        for entry in &self.codes {
            let _ = writeln!(
                out,
                "{indent}  {}: {}",
                scalar(&entry.code, false),
                entry.value()
            );
        }
        if self.same_rest {
            let _ = writeln!(out, "{indent}same: all");
        }
        if let Some(default) = &self.default {
            let _ = writeln!(out, "{indent}default: {}", default.value(None));
        }
    }
}

impl CodeEntry {
    fn value(&self) -> String {
        let name = self.name.as_deref();
        match self.targets.as_slice() {
            [] if name.is_none() => "~".to_owned(),
            [] => CodeTarget {
                equivalence: Some("unmatched".to_owned()),
                ..CodeTarget::default()
            }
            .value(name),
            [target] => target.value(name),
            targets => {
                let members = (0..)
                    .zip(targets)
                    .map(|(number, target)| target.value(name.filter(|_| number == 0)));
                format!("[ {} ]", members.collect::<Vec<_>>().join(", "))
            }
        }
    }
}

impl CodeTarget {
    fn value(&self, name: Option<&str>) -> String {
        let parts = [
            (
                "code",
                Some(self.code.as_str()).filter(|code| !code.is_empty()),
            ),
            ("display", self.display.as_deref()),
            ("system", self.system.as_deref()),
            ("equivalence", self.equivalence.as_deref()),
            ("name", name),
            ("comment", self.comment.as_deref()),
        ];
        if let [
            ("code", Some(code)),
            (_, None),
            (_, None),
            (_, None),
            (_, None),
            (_, None),
        ] = parts
        {
            return scalar(code, true);
        }
        let parts = parts
            .into_iter()
            .filter_map(|(key, value)| Some(format!("{key}: {}", scalar(value?, true))));
        format!("{{ {} }}", parts.collect::<Vec<_>>().join(", "))
    }
}

fn scalar(text: &str, flow: bool) -> String {
    if is_plain(text, flow) && text != "~" && text != "null" {
        text.to_owned()
    } else {
        quote(text)
    }
}
