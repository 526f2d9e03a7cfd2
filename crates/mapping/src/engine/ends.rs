//! Periods that end before they start, and ranges whose low is above their high: FHIR has no such things.

use std::cmp::Ordering;
use std::sync::OnceLock;

use fhir::NameId;
use fhir::tree::NodeId;

use super::Run;
use super::access::Here;
use super::slot::Slot;
use crate::plan::OriginId;
use crate::report::ReportCode;

/// Names of the ends, and of what is in them.
struct Names {
    start: NameId,
    end: NameId,
    low: NameId,
    high: NameId,
    value: NameId,
    unit: NameId,
}

fn names() -> &'static Names {
    static NAMES: OnceLock<Names> = OnceLock::new();
    NAMES.get_or_init(|| {
        let name = |name: &str| NameId::of(name).unwrap_or(NameId::RESOURCE_TYPE);
        Names {
            start: name("start"),
            end: name("end"),
            low: name("low"),
            high: name("high"),
            value: name("value"),
            unit: name("unit"),
        }
    })
}

impl<'r> Run<'r> {
    /// Takes away what can't be and says so: of a period the end, since something began; of a range both ends, since either alone would say
    /// what nobody said. Whether it did.
    pub(crate) fn reversed(
        &mut self,
        object: NodeId,
        here: &Here<'r>,
        origin: OriginId,
        slot: Slot,
    ) -> bool {
        let names = names();
        let tree = &self.state.tree;
        let (mut first, mut second) = (None, None);
        for (name, child) in tree.children(object) {
            if name == names.start || name == names.low {
                first = Some((name, child));
            } else if name == names.end || name == names.high {
                second = Some((name, child));
            }
        }
        let (Some((one, start)), Some((other, end))) = (first, second) else {
            return false;
        };
        let reversed = if one == names.start && other == names.end {
            moments(tree.text(start), tree.text(end))
        } else {
            one == names.low && other == names.high && self.quantities(start, end)
        };
        if !reversed {
            return false;
        }
        self.note(ReportCode::Reversed, here.current, origin, slot);
        if let (None, Some(issue)) = (here.current, self.state.report.issues.last_mut()) {
            issue.place = Some(here.segment.place());
        }
        self.state.tree.remove(object, end);
        if one == names.low {
            self.state.tree.remove(object, start);
        }
        true
    }

    /// Whether the first of two quantities in the same unit is the greater one.
    fn quantities(&self, low: NodeId, high: NodeId) -> bool {
        let (tree, names) = (&self.state.tree, names());
        let text = |of: NodeId, name| tree.get(of, name).map(|node| tree.text(node));
        let number = |of| text(of, names.value).and_then(|text| text.parse::<f64>().ok());
        let compared = number(low).zip(number(high));
        text(low, names.unit) == text(high, names.unit)
            && compared.is_some_and(|(low, high)| low > high)
    }
}

/// Whether the first of two FHIR times is surely the later one.
fn moments(start: &str, end: &str) -> bool {
    let instant = |text: &str| text.parse::<jiff::Timestamp>().ok();
    if let (Some(start), Some(end)) = (instant(start), instant(end)) {
        return start > end;
    }
    // Dates, or one of them: as far as both go.
    let day = |text: &str| text.get(..10).unwrap_or(text).to_owned();
    let (start, end) = (day(start), day(end));
    let common = start.len().min(end.len());
    match (start.get(..common), end.get(..common)) {
        (Some(start), Some(end)) => start.cmp(end) == Ordering::Greater,
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::moments;

    #[test]
    fn only_what_is_surely_later_is_reversed() {
        for (start, end) in [
            ("2024-05-02", "2024-05-01"),
            ("2024-05-01T10:00:00+02:00", "2024-05-01T07:59:00Z"),
            ("2024", "2023-12-31"),
            ("2024-05-02T00:10:00+02:00", "2024-05-01"),
        ] {
            assert!(moments(start, end), "{start} {end}");
        }
        for (start, end) in [
            ("2024-05-01", "2024-05-01"),
            ("2024-05-01T10:00:00+02:00", "2024-05-01T08:00:00Z"),
            ("2024-05-01", "2024"),
            ("2024-05-01T10:00:00Z", "2024-05-01"),
            ("", ""),
        ] {
            assert!(!moments(start, end), "{start} {end}");
        }
    }
}
