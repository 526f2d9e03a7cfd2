//! An explanation as one HTML page that needs nothing else: it can be sent to a colleague and opened from a folder.
//!
//! The page holds the same document as `--format json`, and a script that shows it. The script only ever sets texts, never
//! HTML, and the page forbids itself to load anything.

use super::Explanation;

const PAGE: &str = include_str!("page/page.html");
const STYLE: &str = include_str!("page/page.css");
const SCRIPT: &str = include_str!("page/page.js");

/// The page. `title` says what is explained, such as the name of a file.
pub fn page(explanation: &Explanation, title: &str) -> String {
    // The texts of a message are all valid UTF-8 by now, so there is nothing that could fail.
    let document = serde_json::to_string(explanation).unwrap_or_default();
    let mut out = String::with_capacity(document.len() * 2);
    let mut rest = PAGE;
    while let Some((before, found)) = rest.split_once("{{") {
        let (name, after) = found.split_once("}}").unwrap_or((found, ""));
        out.push_str(before);
        match name {
            "title" => escape_html(title, &mut out),
            "style" => out.push_str(STYLE),
            "script" => out.push_str(SCRIPT),
            "document" => escape_script(&document, &mut out),
            _ => {}
        }
        rest = after;
    }
    out.push_str(rest);
    out
}

fn escape_html(text: &str, out: &mut String) {
    for c in text.chars() {
        match c {
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '&' => out.push_str("&amp;"),
            '"' => out.push_str("&quot;"),
            '\'' => out.push_str("&#39;"),
            c => out.push(c),
        }
    }
}

/// JSON that can't end the script element it stands in, nor begin a comment there.
fn escape_script(json: &str, out: &mut String) {
    for c in json.chars() {
        match c {
            '<' | '>' | '&' | '\u{2028}' | '\u{2029}' => {
                out.push_str(&format!("\\u{:04x}", c as u32));
            }
            c => out.push(c),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_of_a_message_can_end_the_script() {
        let mut out = String::new();
        escape_script(r#"{"value":"</script><!--<script>&"}"#, &mut out);
        assert!(!out.contains(['<', '>', '&']), "{out}");
        let read: serde_json::Value = serde_json::from_str(&out).unwrap();
        assert_eq!(read["value"], "</script><!--<script>&");
    }

    #[test]
    fn the_template_has_its_four_holes() {
        for hole in ["title", "style", "script", "document"] {
            assert!(PAGE.contains(&format!("{{{{{hole}}}}}")), "{hole}");
        }
        assert!(!STYLE.contains("http") && !SCRIPT.contains("innerHTML"));
    }
}
