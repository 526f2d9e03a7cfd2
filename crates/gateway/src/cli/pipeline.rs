//! Many threads, one order: a reader splits inputs into messages, workers convert them, the caller's thread
//! writes the results as they stood in the input. At most [`WINDOW`] messages are between reader and writer,
//! however slow one of them is.

use std::{
    collections::BTreeMap,
    ops::Range,
    sync::{
        Arc, Mutex, PoisonError,
        mpsc::{self, Receiver, SyncSender},
    },
    thread,
};

use super::{
    Failure,
    files::{self, Input},
};

/// Messages that may be under way at once.
const WINDOW: usize = 1024;
/// Messages that a worker takes at once.
const CHUNK: usize = 8;

/// One message to convert.
pub(crate) struct Job {
    /// Name of the input.
    pub(crate) name: Arc<str>,
    /// Number of the input, from 0.
    pub(crate) input: usize,
    /// Number of the message in its input, from 1.
    pub(crate) message: usize,
    /// The bytes of the input and where the message stands, or why they cannot be read.
    pub(crate) content: Result<(Arc<Vec<u8>>, Range<usize>), String>,
}

type Chunk<T> = (u64, Vec<T>);

/// Does `convert` for all messages of the inputs with `jobs` threads and hands the results to `write` in input order. An error of
/// `write` ends everything.
///
/// # Errors
/// The error of `write`.
pub(crate) fn run<D: Send>(
    inputs: &[Input],
    jobs: usize,
    convert: impl Fn(Job) -> D + Sync,
    mut write: impl FnMut(D) -> Result<(), Failure>,
) -> Result<(), Failure> {
    let (permit, permits) = mpsc::sync_channel::<()>(WINDOW / CHUNK);
    let (hand_out, work) = mpsc::sync_channel::<Chunk<Job>>(jobs * 2);
    let (hand_back, results) = mpsc::sync_channel::<Chunk<D>>(WINDOW / CHUNK);
    let work = Mutex::new(work);
    thread::scope(|scope| {
        scope.spawn(move || read(inputs, &permit, &hand_out));
        for _ in 0..jobs {
            let (hand_back, work, convert) = (hand_back.clone(), &work, &convert);
            scope.spawn(move || {
                while let Some((number, chunk)) = next(work) {
                    let done = chunk.into_iter().map(convert).collect();
                    if hand_back.send((number, done)).is_err() {
                        return;
                    }
                }
            });
        }
        drop(hand_back);
        let written = in_order(&results, &permits, &mut write);
        // After an error: the others notice at their next step, because nobody listens any more.
        drop(results);
        drop(permits);
        if written.is_err() {
            while next(&work).is_some() {}
        }
        written
    })
}

fn next(work: &Mutex<Receiver<Chunk<Job>>>) -> Option<Chunk<Job>> {
    work.lock()
        .unwrap_or_else(PoisonError::into_inner)
        .recv()
        .ok()
}

/// Splits the inputs into chunks of messages; ends early when nobody wants them.
fn read(inputs: &[Input], permit: &SyncSender<()>, hand_out: &SyncSender<Chunk<Job>>) {
    let mut number = 0;
    let mut chunk = Vec::with_capacity(CHUNK);
    let mut flush = |chunk: &mut Vec<Job>| {
        if chunk.is_empty() {
            return true;
        }
        let full = std::mem::replace(chunk, Vec::with_capacity(CHUNK));
        let sent = permit.send(()).is_ok() && hand_out.send((number, full)).is_ok();
        number += 1;
        sent
    };
    for (index, input) in inputs.iter().enumerate() {
        let name: Arc<str> = input.name().into();
        let contents: Vec<_> = match input.read() {
            Ok(bytes) => {
                let ranges = files::messages(&bytes);
                let bytes = Arc::new(bytes);
                ranges
                    .into_iter()
                    .map(|range| Ok((Arc::clone(&bytes), range)))
                    .collect()
            }
            Err(error) => vec![Err(format!("cannot be read: {error}"))],
        };
        for (message, content) in (1..).zip(contents) {
            chunk.push(Job {
                name: Arc::clone(&name),
                input: index,
                message,
                content,
            });
            if chunk.len() == CHUNK && !flush(&mut chunk) {
                return;
            }
        }
    }
    flush(&mut chunk);
}

/// Writes the chunks by number, keeping those that came early.
fn in_order<D>(
    results: &Receiver<Chunk<D>>,
    permits: &Receiver<()>,
    write: &mut impl FnMut(D) -> Result<(), Failure>,
) -> Result<(), Failure> {
    let mut early = BTreeMap::new();
    let mut expected = 0;
    while let Ok((number, chunk)) = results.recv() {
        early.insert(number, chunk);
        while let Some(chunk) = early.remove(&expected) {
            expected += 1;
            chunk.into_iter().try_for_each(&mut *write)?;
            let _ = permits.recv();
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::{fs, time::Duration};

    use super::*;

    #[test]
    fn order_is_kept_when_early_messages_are_slow() {
        let folder = tempfile::tempdir().unwrap();
        let mut inputs = Vec::new();
        for file in 0..40 {
            let path = folder.path().join(format!("{file:03}.hl7"));
            let text: String = (0..file % 7 + 1)
                .map(|n| format!("MSH|^~\\&|A|B|||20260101||ADT^A01|{file}-{n}|P|2.5\r"))
                .collect();
            fs::write(&path, text).unwrap();
            inputs.push(Input::File(path));
        }
        let convert = |job: Job| {
            if job.input.is_multiple_of(5) {
                thread::sleep(Duration::from_millis(5));
            }
            format!("{}:{}", job.input, job.message)
        };
        let mut seen = Vec::new();
        run(&inputs, 4, convert, |done| {
            seen.push(done);
            Ok(())
        })
        .unwrap();
        let expected: Vec<String> = (0..40)
            .flat_map(|file| (1..=file % 7 + 1).map(move |n| format!("{file}:{n}")))
            .collect();
        assert_eq!(seen, expected);
    }

    #[test]
    fn an_error_of_the_writer_ends_everything() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("many.hl7");
        fs::write(
            &path,
            "MSH|^~\\&|A|B|||20260101||ADT^A01|1|P|2.5\r".repeat(20_000),
        )
        .unwrap();
        let convert = |job: Job| job.input;
        let mut written = 0;
        let result = run(&[Input::File(path)], 3, convert, |_| {
            written += 1;
            if written == 100 {
                Err(Failure::OutputClosed)
            } else {
                Ok(())
            }
        });
        assert!(matches!(result, Err(Failure::OutputClosed)));
        assert_eq!(written, 100);
    }

    #[test]
    fn what_cannot_be_read_is_a_message_that_fails() {
        let inputs = [Input::File("/no/such/file.hl7".into())];
        let convert = |job: Job| job.content.is_err();
        let mut failed = 0;
        run(&inputs, 2, convert, |bad| {
            failed += usize::from(bad);
            Ok(())
        })
        .unwrap();
        assert_eq!(failed, 1);
    }
}
