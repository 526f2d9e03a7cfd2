//! What one package made of one message, in a form that outlives the converter.

use std::collections::BTreeSet;
use std::sync::Arc;

use fhir::tree::{Kind, NodeId, Tree};
use hl7v2::Place;
use uuid::Uuid;

use crate::engine::Conversion;
use crate::package::Package;
use crate::plan::WriteMode;

/// What one package made of one message. Patient data: it has no `Debug`.
pub struct Outline {
    pub(super) resources: Vec<Resource>,
    /// Fields that nothing took, without list positions.
    pub(super) unmapped: BTreeSet<String>,
}

pub(super) struct Resource {
    pub type_name: &'static str,
    pub uuid: Uuid,
    pub write: &'static str,
    pub condition: Option<(String, String)>,
    pub content: Value,
}

/// A part of a resource.
pub(super) enum Value {
    Object(Vec<(String, Value)>),
    Array(Vec<Value>),
    Leaf(Leaf),
}

pub(super) struct Leaf {
    pub text: Text,
    /// `file:line`
    pub rule: Arc<str>,
}

#[derive(Clone, PartialEq)]
pub(super) enum Text {
    Text(String),
    /// To a resource of the outline.
    Reference(usize),
}

impl Outline {
    /// The outline of what a converter has just made.
    pub fn of(conversion: &Conversion<'_>, package: &Package) -> Outline {
        let tree = conversion.tree();
        let resource = |made: &crate::engine::Made| Resource {
            type_name: made.type_name,
            uuid: made.uuid,
            write: match made.write {
                WriteMode::Update => "update",
                WriteMode::Create => "create",
            },
            condition: made
                .condition
                .as_ref()
                .map(|(system, value)| (system.to_string(), value.clone())),
            content: value(tree, package, made.node),
        };
        Outline {
            resources: conversion.made().iter().map(resource).collect(),
            unmapped: conversion.report().unmapped.iter().map(field).collect(),
        }
    }
}

fn value(tree: &Tree, package: &Package, node: NodeId) -> Value {
    let text = match tree.kind(node) {
        Kind::Object => {
            let members = tree
                .children(node)
                .filter(|(_, child)| !tree.is_empty(*child))
                .map(|(name, child)| {
                    let name = tree.name_text(name).to_owned();
                    (name, value(tree, package, child))
                });
            return Value::Object(members.collect());
        }
        Kind::Array => {
            let members = tree
                .children(node)
                .filter(|(_, child)| !tree.is_empty(*child))
                .map(|(_, child)| value(tree, package, child));
            return Value::Array(members.collect());
        }
        Kind::Reference(target) | Kind::Address(target) => Text::Reference(target as usize),
        Kind::Boolean(value) => Text::Text(value.to_string()),
        Kind::String | Kind::Number => Text::Text(tree.text(node).to_owned()),
        Kind::Null => Text::Text(String::new()),
    };
    let rule = package.rule(tree.origin(node));
    Value::Leaf(Leaf { text, rule })
}

/// Segment, field and component: which occurrence and repetition it is says nothing about the maps.
fn field(place: &Place) -> String {
    Place {
        occurrence: 1,
        repetition: None,
        ..*place
    }
    .to_string()
}
