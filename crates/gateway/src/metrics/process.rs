//! What the system says about this process, under the names that Prometheus clients share.

use std::{fmt::Write as _, fs};

/// Bytes of a page and ticks of a second, as on every Linux that Rust's standard library supports out of the box.
const PAGE_BYTES: u64 = 4096;
const TICKS: f64 = 100.0;

/// Memory, file descriptors and processor time; nothing where `/proc` is not there.
pub(super) fn render() -> String {
    let mut text = String::new();
    let mut metric = |name: &str, kind: &str, help: &str, value: String| {
        let _ = write!(
            text,
            "# HELP {name} {help}\n# TYPE {name} {kind}\n{name} {value}\n"
        );
    };
    if let Some(pages) = resident_pages() {
        let bytes = (pages * PAGE_BYTES).to_string();
        metric(
            "process_resident_memory_bytes",
            "gauge",
            "Resident memory size in bytes.",
            bytes,
        );
    }
    if let Ok(open) = fs::read_dir("/proc/self/fd") {
        metric(
            "process_open_fds",
            "gauge",
            "Number of open file descriptors.",
            open.count().to_string(),
        );
    }
    if let Some(ticks) = cpu_ticks() {
        let seconds = format!("{:.2}", ticks / TICKS);
        metric(
            "process_cpu_seconds_total",
            "counter",
            "Total user and system CPU time spent in seconds.",
            seconds,
        );
    }
    text
}

fn resident_pages() -> Option<u64> {
    fs::read_to_string("/proc/self/statm")
        .ok()?
        .split(' ')
        .nth(1)?
        .parse()
        .ok()
}

/// Fields 14 and 15 of `/proc/self/stat`, counted after the name, which may hold anything.
fn cpu_ticks() -> Option<f64> {
    let stat = fs::read_to_string("/proc/self/stat").ok()?;
    let (_, rest) = stat.rsplit_once(')')?;
    let mut fields = rest.split_ascii_whitespace().skip(11);
    let user: f64 = fields.next()?.parse().ok()?;
    let system: f64 = fields.next()?.parse().ok()?;
    Some(user + system)
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    #[test]
    fn this_process_is_seen() {
        let text = super::render();
        for name in [
            "process_resident_memory_bytes ",
            "process_open_fds ",
            "process_cpu_seconds_total ",
        ] {
            let line = text
                .lines()
                .find(|line| line.starts_with(name))
                .unwrap_or_else(|| panic!("{name} in {text}"));
            assert!(line[name.len()..].parse::<f64>().is_ok(), "{line}");
        }
    }
}
