//! `--watch`: the command again after each change of what it reads.

use std::path::PathBuf;

use super::{Failure, Outcome, chain, output};
use crate::watch::{Watch, Watched};

/// Runs `once` now, and whenever one of `paths` has changed. What goes wrong is shown and waited out; only the person
/// ends it, or an output that nobody reads any more.
pub(crate) fn repeat(
    paths: Vec<PathBuf>,
    endings: &'static [&'static str],
    mut once: impl FnMut() -> Outcome,
) -> Outcome {
    let mut watch = Watch::start(Watched { paths, endings })
        .map_err(|error| Failure::Usage(format!("cannot watch: {}", chain(&error))))?;
    loop {
        output::clear()?;
        match once() {
            Ok(_) => {}
            Err(Failure::OutputClosed) => return Err(Failure::OutputClosed),
            Err(Failure::Run(why) | Failure::Usage(why)) => output::complain(&why),
        }
        output::error_text("waiting for changes, Ctrl-C ends\n");
        watch.wait();
    }
}
