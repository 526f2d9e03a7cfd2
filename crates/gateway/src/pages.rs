//! Pages about everything that has a code: what `fhirway mapping check`, reports, listeners, deliveries, the queue, the
//! configuration and the validation say.
//!
//! A file `codes/N-GROUP/CODE.md` is the page of a code, and `README.md` beside it says what the group is: a page in the
//! right folder is live.

use mapping::{Code, ReportCode};

/// Path below `codes/` and text of every page.
static FILES: &[(&str, &str)] = include!(concat!(env!("OUT_DIR"), "/code_pages.rs"));

/// The page of a code.
#[derive(Clone, Copy, Debug)]
pub struct Page {
    /// The group it belongs to, such as `delivery`: one code may mean different things in two groups.
    pub group: &'static str,
    /// The code as it is printed.
    pub code: &'static str,
    /// Markdown: a heading `# CODE: TITLE`, what it means, an example, what to do.
    pub text: &'static str,
}

/// What prints the codes of a group.
#[derive(Clone, Copy, Debug)]
pub struct Group {
    /// Its name.
    pub name: &'static str,
    /// A heading, such as `Codes of the parser`.
    pub title: &'static str,
    /// Where a person meets them.
    pub about: &'static str,
}

/// The groups whose pages are the mapping's own.
const MAPPING: [Group; 2] = [
    Group {
        name: "check",
        title: "Codes of fhirway mapping check",
        about: "What is wrong in a mapping package.",
    },
    Group {
        name: "report",
        title: "Codes of the report of a message",
        about: "What happened to the rules of a message: `issues` in the report of `fhirway convert --report`.",
    },
];

/// All groups, in the order in which they are listed.
pub fn groups() -> Vec<Group> {
    let own = FILES.iter().filter_map(|(path, text)| {
        let (name, title) = (group_of(path)?, heading(text));
        let about = text.split_once('\n').map_or("", |(_, rest)| rest.trim());
        path.ends_with("/README.md")
            .then_some(Group { name, title, about })
    });
    MAPPING.into_iter().chain(own).collect()
}

/// All pages, by group.
pub fn all() -> Vec<Page> {
    let check = Code::ALL.iter().map(|code| Page {
        group: "check",
        code: code.as_str(),
        text: code.page(),
    });
    let report = ReportCode::ALL.iter().map(|code| Page {
        group: "report",
        code: code.as_str(),
        text: code.page(),
    });
    let own = FILES.iter().filter_map(|(path, text)| {
        let (_, file) = path.rsplit_once('/')?;
        let code = file.strip_suffix(".md").filter(|code| *code != "README")?;
        let group = group_of(path)?;
        Some(Page { group, code, text })
    });
    check.chain(report).chain(own).collect()
}

/// The pages that a person may mean: by code, or by group and code with a slash between.
pub fn find(wanted: &str) -> Vec<Page> {
    let mut found = all();
    found.retain(|page| match wanted.split_once('/') {
        Some((group, code)) => {
            page.group.eq_ignore_ascii_case(group) && page.code.eq_ignore_ascii_case(code)
        }
        None => page.code.eq_ignore_ascii_case(wanted),
    });
    found
}

/// Codes like one that does not exist, the most alike first.
pub fn near(wanted: &str) -> Vec<&'static str> {
    let wanted = wanted.to_ascii_lowercase().replace('_', "-");
    let mut found: Vec<(usize, &str)> = all()
        .iter()
        .map(|page| {
            let code = page.code.to_ascii_lowercase().replace('_', "-");
            let distance = strsim::damerau_levenshtein(&wanted, &code);
            let part = wanted.len() > 3 && (code.contains(&wanted) || wanted.contains(&code));
            (if part { distance.min(2) } else { distance }, page.code)
        })
        .filter(|(distance, code)| *distance <= (code.len() / 4).max(1) + 1)
        .collect();
    found.sort_unstable();
    found.dedup();
    found.into_iter().map(|(_, code)| code).take(5).collect()
}

impl Page {
    /// The heading without its mark and code.
    pub fn title(&self) -> &'static str {
        let heading = heading(self.text);
        heading.split_once(": ").map_or(heading, |(_, title)| title)
    }
}

/// `parser` of `1-parser/CODE.md`.
fn group_of(path: &'static str) -> Option<&'static str> {
    let (folder, _) = path.split_once('/')?;
    Some(folder.split_once('-').map_or(folder, |(_, name)| name))
}

fn heading(text: &'static str) -> &'static str {
    let first = text.lines().next().unwrap_or_default();
    first.trim_start_matches("# ")
}

#[cfg(test)]
mod tests;
