//! An XML document as its elements: names, the attributes that FHIR has, children; narrative as the text that it is.

use quick_xml::Reader;
use quick_xml::XmlVersion;
use quick_xml::events::{BytesStart, Event};

use super::{DEPTH_MAX, XHTML, XmlProblem};

/// One element.
pub(super) struct Node<'a> {
    pub(super) name: String,
    pub(super) id: Option<String>,
    pub(super) url: Option<String>,
    pub(super) value: Option<String>,
    pub(super) children: Vec<Node<'a>>,
    /// The whole element, if it is narrative.
    pub(super) narrative: Option<&'a str>,
}

/// Reads a document of at most `elements` elements. No document type and no entities but XML's own.
pub(super) fn parse(text: &str, elements: usize) -> Result<Node<'_>, XmlProblem> {
    let mut reader = Reader::from_str(text);
    let mut open: Vec<Node<'_>> = Vec::new();
    let mut root = None;
    let mut left = elements;
    loop {
        let before = position(&reader);
        let event = reader.read_event().map_err(|_| XmlProblem::Syntax)?;
        let closed = match event {
            Event::Start(start) => {
                left = left.checked_sub(1).ok_or(XmlProblem::TooLarge)?;
                if root.is_some() {
                    return Err(XmlProblem::Syntax);
                }
                if open.len() >= DEPTH_MAX {
                    return Err(XmlProblem::TooDeep);
                }
                let mut node = node(&start)?;
                if node.name == "div" {
                    let end = start.to_end().into_owned();
                    drop(start);
                    skip(&mut reader, end.name().into_inner())?;
                    node.narrative = text.get(before..position(&reader));
                    Some(node)
                } else {
                    open.push(node);
                    None
                }
            }
            Event::Empty(start) => {
                left = left.checked_sub(1).ok_or(XmlProblem::TooLarge)?;
                if root.is_some() {
                    return Err(XmlProblem::Syntax);
                }
                let mut node = node(&start)?;
                if node.name == "div" {
                    node.narrative = text.get(before..position(&reader));
                }
                Some(node)
            }
            Event::End(_) => open.pop(),
            Event::Text(found) if !is_blank(&found) => return Err(XmlProblem::Syntax),
            Event::CData(_) => return Err(XmlProblem::Syntax),
            Event::DocType(_) | Event::GeneralRef(_) => return Err(XmlProblem::Entity),
            Event::Text(_) | Event::Comment(_) | Event::Decl(_) | Event::PI(_) => None,
            Event::Eof => break,
        };
        if let Some(closed) = closed {
            match open.last_mut() {
                Some(parent) => parent.children.push(closed),
                None => root = Some(closed),
            }
        }
    }
    match root {
        Some(root) if open.is_empty() => Ok(root),
        _ => Err(XmlProblem::Syntax),
    }
}

/// Whether a text is one well-formed `div` in the namespace of XHTML, without a document type and without entities.
pub(super) fn is_narrative(text: &str) -> bool {
    let mut reader = Reader::from_str(text);
    let mut depth = 0_usize;
    let mut is_first = true;
    loop {
        let Ok(event) = reader.read_event() else {
            return false;
        };
        let (opens, closes) = match &event {
            Event::Start(start) | Event::Empty(start) => {
                if depth == 0 && (!is_first || !is_xhtml_div(start)) {
                    return false;
                }
                is_first = false;
                let is_start = matches!(event, Event::Start(_));
                (is_start, false)
            }
            Event::End(_) => (false, true),
            Event::Text(found) if depth == 0 && !is_blank(found) => return false,
            Event::GeneralRef(found) if !is_known_entity(found) => return false,
            Event::DocType(_) | Event::Decl(_) | Event::PI(_) => return false,
            Event::Eof => return depth == 0 && !is_first,
            _ => (false, false),
        };
        if opens {
            depth += 1;
            if depth > DEPTH_MAX {
                return false;
            }
        }
        if closes {
            depth = depth.saturating_sub(1);
        }
    }
}

fn is_xhtml_div(start: &BytesStart<'_>) -> bool {
    start.name().into_inner() == "div"
        && start
            .attributes()
            .filter_map(Result::ok)
            .any(|one| one.key.into_inner() == "xmlns" && one.value == XHTML)
}

/// Character references, and the entities that XML brings. Those of HTML need a document type.
fn is_known_entity(name: &str) -> bool {
    name.starts_with('#') || matches!(name, "amp" | "lt" | "gt" | "quot" | "apos")
}

fn is_blank(text: &str) -> bool {
    text.chars().all(char::is_whitespace)
}

fn position(reader: &Reader<&[u8]>) -> usize {
    usize::try_from(reader.buffer_position()).unwrap_or(usize::MAX)
}

/// To the end of the element that was just opened.
fn skip(reader: &mut Reader<&[u8]>, _name: &str) -> Result<(), XmlProblem> {
    let mut depth = 1_usize;
    while depth > 0 {
        match reader.read_event().map_err(|_| XmlProblem::Syntax)? {
            Event::Start(_) => depth += 1,
            Event::End(_) => depth -= 1,
            Event::Eof => return Err(XmlProblem::Syntax),
            Event::DocType(_) => return Err(XmlProblem::Entity),
            _ => {}
        }
        if depth > DEPTH_MAX {
            return Err(XmlProblem::TooDeep);
        }
    }
    Ok(())
}

fn node<'a>(start: &BytesStart<'_>) -> Result<Node<'a>, XmlProblem> {
    let mut node = Node {
        name: start.local_name().into_inner().to_owned(),
        id: None,
        url: None,
        value: None,
        children: Vec::new(),
        narrative: None,
    };
    for attribute in start.attributes() {
        let attribute = attribute.map_err(|_| XmlProblem::Syntax)?;
        let place = match attribute.key.into_inner() {
            "id" => &mut node.id,
            "url" => &mut node.url,
            "value" => &mut node.value,
            // Namespaces and schema locations.
            _ => continue,
        };
        let text = attribute
            .normalized_value(XmlVersion::Implicit1_0)
            .map_err(|_| XmlProblem::Entity)?;
        *place = Some(text.into_owned());
    }
    Ok(node)
}
