//! Whether v2 values can be what is made of them: a map for another data type, a name put where a date belongs, a condition
//! that asks for a value the field never has.

use fhir::primitive::Primitive;
use hl7v2::Version;
use hl7v2::definitions::{for_version, structure_of_code, structure_of_event};

use super::scope::Scope;
use super::{Compiler, v2};
use crate::diagnostic::{Code, closest};
use crate::plan::{Access, MapId, Piece, Root, Template};
use crate::yaml::Node;

/// Composites whose text is a name, a number in someone's register or an address: never a date and never a quantity.
pub(super) const NAMES: &[&str] = &[
    "XPN", "PN", "PPN", "XCN", "CN", "CNN", "NDL", "FN", "CX", "XAD", "AD", "SAD", "XTN", "XON",
    "HD", "EI", "PL", "DLN",
];

impl Compiler {
    /// A datatype map must be for what the value is.
    pub(super) fn reads(&mut self, map: MapId, name: &Node, scope: &Scope) {
        let wanted = self.maps.get(map).and_then(|map| map.data_type.clone());
        let (Some(wanted), Some(current)) = (wanted, &scope.current) else {
            return;
        };
        let Some(actual) = current.types.first() else {
            return;
        };
        if current.types.iter().any(|one| v2::alike(one, &wanted)) {
            return;
        }
        let made = self.maps.get(map).map_or("", |map| map.type_name);
        let fitting = self
            .maps
            .iter()
            .find(|map| map.data_type.as_deref() == Some(actual) && map.type_name == made);
        let help = match fitting {
            Some(map) => format!("use `{}`", map.name),
            None => format!(
                "use a map under datatypes/{actual}/, or take a part of the value with `from:`"
            ),
        };
        let message =
            format!("this map reads a value of type {wanted}, and the value is of type {actual}");
        self.warn(Code::WrongDataType, name.span, message, help);
    }

    /// A text that is one field must be able to be a value of the element's type.
    pub(super) fn check_value(
        &mut self,
        template: &Template,
        primitive: Primitive,
        node: &Node,
        scope: &Scope,
    ) {
        let [Piece::Value(access)] = template.pieces.as_slice() else {
            return;
        };
        let types = types_of(*access, scope);
        let dates: &[&str] = &["DT", "DTM", "TS", "TM"];
        let codes: &[&str] = &["ID", "IS", "SI", "CWE", "CNE", "CE", "CF"];
        let wrong: &[&str] = match primitive {
            Primitive::Date | Primitive::DateTime | Primitive::Instant | Primitive::Time => codes,
            Primitive::Decimal
            | Primitive::Integer
            | Primitive::PositiveInt
            | Primitive::UnsignedInt
            | Primitive::Boolean => dates,
            _ => return,
        };
        let never = |name: &&'static str| {
            NAMES.contains(name) || wrong.contains(name) || wrong.contains(&v2::leaf(name))
        };
        let Some(first) = types.first().filter(|_| types.iter().all(never)) else {
            return;
        };
        let message = format!(
            "the value is of type {first}, which is never a {}",
            primitive.name()
        );
        self.warn(
            Code::WrongDataType,
            node.span,
            message,
            "take another field or component; a value that does not fit is left out and reported",
        );
    }

    /// Why a place never has a value, as a message and a help.
    pub(super) fn never_has(
        &self,
        access: Access,
        value: &str,
        scope: &Scope,
    ) -> Option<(String, String)> {
        if value.is_empty() {
            return None;
        }
        let types = types_of(access, scope);
        let leaves: Vec<&str> = types.iter().map(|name| v2::leaf(name)).collect();
        let all =
            |wanted: &[&str]| !leaves.is_empty() && leaves.iter().all(|leaf| wanted.contains(leaf));
        let starts_like_number = value
            .starts_with(|c: char| c.is_ascii_digit() || matches!(c, '+' | '-' | '.' | '<' | '>'));
        if all(&["NM", "SI"]) && !starts_like_number {
            return Some((
                format!("`{value}` is no number, and the field is one"),
                "compare it with a number".to_owned(),
            ));
        }
        if all(&["DT", "DTM", "TS", "TM"]) && !starts_like_number {
            return Some((
                format!("`{value}` is no time, and the field is one"),
                "compare it with a time such as 20240131, or ask for `valued`".to_owned(),
            ));
        }
        let Root::Segment(segment) = access.root else {
            return None;
        };
        let segment = String::from_utf8_lossy(&segment).into_owned();
        let table = v2::table(&segment, access.field, access.component)?;
        self.not_in_table(table, value)
    }

    /// The tables that the standard itself fixes and that the definitions know.
    fn not_in_table(&self, table: &str, value: &str) -> Option<(String, String)> {
        let newest = for_version(Version::NEWEST);
        let structures = || newest.structure_names();
        let codes = || structures().filter_map(|name| name.split('_').next());
        let local = value.starts_with('Z');
        let (known, near) = match table {
            "0136" => (
                matches!(value, "Y" | "N"),
                Some("its values are Y and N".to_owned()),
            ),
            "0125" | "0440" => {
                let known = v2::is_data_type(value);
                let near = closest(value, newest.data_type_names());
                (known, near.map(|near| format!("did you mean `{near}`?")))
            }
            "0076" => {
                let near = closest(value, codes());
                (
                    structure_of_code(value).is_some(),
                    near.map(|near| format!("did you mean `{near}`?")),
                )
            }
            "0003" => (
                codes().any(|code| structure_of_event(code, value).is_some()),
                None,
            ),
            "0354" => {
                let known = Version::ALL
                    .into_iter()
                    .any(|version| for_version(version).structure(value).is_some());
                let near = closest(value, structures());
                (known, near.map(|near| format!("did you mean `{near}`?")))
            }
            _ => return None,
        };
        (!known && !local).then(|| {
            let help = near.unwrap_or_else(|| "a local code starts with Z".to_owned());
            (
                format!(
                    "`{value}` is not in HL7 table {table}, which the field takes its values from"
                ),
                help,
            )
        })
    }
}

/// The data types that a place may be of; empty when that is not known.
pub(super) fn types_of(access: Access, scope: &Scope) -> Vec<&'static str> {
    match (access.root, &scope.current) {
        (Root::Segment(segment), _) => {
            let segment = String::from_utf8_lossy(&segment);
            v2::types(
                &segment,
                access.field,
                access.component,
                access.subcomponent,
            )
        }
        (Root::Current, Some(current)) => {
            v2::parts(current.types.clone(), access.component, access.subcomponent)
        }
        (Root::Current, None) => Vec::new(),
    }
}
