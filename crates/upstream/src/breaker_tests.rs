//! The rules of the module's page, with tokio's clock paused.

use std::sync::atomic::{AtomicUsize, Ordering};

use tower::service_fn;

use super::*;
use crate::answer::Summary;

const SECOND: Duration = Duration::from_secs(1);

/// Keeps the names of the states gone through.
#[derive(Default)]
struct Seen(Mutex<Vec<&'static str>>);

impl Observer for Seen {
    fn circuit(&self, _: State, to: State) {
        self.0.lock().unwrap().push(to.as_str());
    }
}

fn gate() -> (Gate, Arc<Seen>) {
    let seen = Arc::new(Seen::default());
    let settings = config::Breaker {
        failures: 3,
        first_pause: SECOND,
        longest_pause: 4 * SECOND,
    };
    (Gate::new(settings, 3600 * SECOND, seen.clone()), seen)
}

fn delivered() -> Delivered {
    Delivered {
        status: 200,
        entries: Vec::new(),
        summary: Summary::default(),
        body: bytes::Bytes::new(),
        truncated: false,
    }
}

fn result(class: Option<Class>) -> Result<Delivered, Failure> {
    class.map_or_else(|| Ok(delivered()), |class| Err(Failure::new(class, "")))
}

/// One request through the gate, with this outcome.
fn pass(gate: &Gate, class: Option<Class>) {
    gate.admit().unwrap().settle(&Verdict::of(&result(class)));
}

fn open(gate: &Gate) {
    for _ in 0..3 {
        pass(gate, Some(Class::Transient));
    }
    assert!(matches!(*gate.watch().borrow(), State::Open { .. }));
}

#[tokio::test(start_paused = true)]
async fn opens_after_failures_in_a_row_only() {
    let (gate, _) = gate();
    for _ in 0..10 {
        pass(&gate, Some(Class::Transient));
        pass(&gate, Some(Class::Ambiguous));
        // The server is well: it can tell that a message is bad.
        pass(&gate, Some(Class::Permanent));
    }
    assert_eq!(*gate.watch().borrow(), State::Closed);
    open(&gate);
    assert!(gate.admit().is_err());
}

#[tokio::test(start_paused = true)]
async fn the_probe_closes_it_or_doubles_the_pause() {
    let (gate, seen) = gate();
    open(&gate);
    for expected in [1, 2, 4, 4] {
        let before = Instant::now();
        gate.ready().await;
        let waited = before.elapsed();
        assert!(
            waited >= expected * SECOND && waited < expected * SECOND + SECOND / 100,
            "{waited:?} for {expected}"
        );
        pass(&gate, Some(Class::Transient));
    }
    gate.ready().await;
    pass(&gate, None);
    assert_eq!(*gate.watch().borrow(), State::Closed);
    assert_eq!(seen.0.lock().unwrap().last(), Some(&"closed"));
    // Closed again, the next pause starts from the beginning.
    open(&gate);
    assert!(gate.pause_left() <= SECOND);
}

#[tokio::test(start_paused = true)]
async fn one_probe_at_a_time_and_a_cancelled_one_gives_its_place_back() {
    let (gate, _) = gate();
    open(&gate);
    gate.ready().await;
    let probe = gate.admit().unwrap();
    assert!(gate.admit().is_err(), "the second is refused");
    let waiting = tokio::spawn({
        let gate = gate.clone();
        async move { gate.ready().await }
    });
    tokio::task::yield_now().await;
    assert!(!waiting.is_finished());
    drop(probe);
    waiting.await.unwrap();
    pass(&gate, None);
    assert_eq!(*gate.watch().borrow(), State::Closed);
}

#[tokio::test(start_paused = true)]
async fn many_at_once_get_one_probe() {
    let (gate, _) = gate();
    open(&gate);
    gate.ready().await;
    // Half-open with the probe's place free; other threads do not see the paused clock.
    drop(gate.admit().unwrap());
    let admitted: Vec<_> = std::thread::scope(|scope| {
        let threads: Vec<_> = (0..8)
            .map(|_| {
                scope.spawn(|| {
                    let permit = gate.admit();
                    permit.ok()
                })
            })
            .collect();
        threads
            .into_iter()
            .map(|thread| thread.join().unwrap())
            .collect()
    });
    assert_eq!(admitted.iter().filter(|permit| permit.is_some()).count(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_late_verdict_of_before_does_not_count() {
    let (gate, _) = gate();
    let old = gate.admit().unwrap();
    let older = gate.admit().unwrap();
    open(&gate);
    old.settle(&Verdict::of(&result(None)));
    assert!(matches!(*gate.watch().borrow(), State::Open { .. }));
    gate.ready().await;
    let probe = gate.admit().unwrap();
    older.settle(&Verdict::of(&result(Some(Class::Transient))));
    probe.settle(&Verdict::of(&result(None)));
    assert_eq!(*gate.watch().borrow(), State::Closed);
}

#[tokio::test(start_paused = true)]
async fn what_opens_it_at_once() {
    for (class, reason, pause) in [
        (
            Class::Throttled {
                retry_after: Some(30 * SECOND),
            },
            Reason::Throttled,
            30 * SECOND,
        ),
        (
            Class::Throttled { retry_after: None },
            Reason::Throttled,
            SECOND,
        ),
        (
            Class::Throttled {
                retry_after: Some(Duration::MAX),
            },
            Reason::Throttled,
            3600 * SECOND,
        ),
        (Class::Auth, Reason::Auth, SECOND),
        (Class::Config, Reason::Config, SECOND),
    ] {
        let (gate, _) = gate();
        pass(&gate, Some(class));
        assert_eq!(gate.watch().borrow().reason(), Some(reason));
        assert_eq!(gate.pause_left(), pause);
    }
}

/// The state is asked before inner readiness: a call on an open circuit does not wait for a slot, and a call that
/// waited for a slot while the circuit opened is not sent.
#[tokio::test(start_paused = true)]
async fn no_waiting_for_a_slot_of_a_dead_server() {
    let (gate, _) = gate();
    let sent = Arc::new(AtomicUsize::new(0));
    let inner = service_fn({
        let sent = Arc::clone(&sent);
        move |_: Request| {
            sent.fetch_add(1, Ordering::SeqCst);
            async {
                tokio::time::sleep(10 * SECOND).await;
                Err::<Delivered, _>(Failure::new(Class::Config, ""))
            }
        }
    });
    let limited = tower::limit::ConcurrencyLimit::new(inner, 1);
    let breaker = CircuitBreaker::new(limited, gate);
    let call = || tokio::spawn(breaker.clone().oneshot(Request::transaction("")));
    let (first, second) = (call(), call());
    assert_eq!(first.await.unwrap().unwrap_err().class, Class::Config);
    let before = Instant::now();
    let refused = second.await.unwrap().unwrap_err();
    assert!(matches!(
        refused.class,
        Class::Paused {
            reason: Reason::Config
        }
    ));
    let third = call().await.unwrap().unwrap_err();
    assert!(matches!(third.class, Class::Paused { .. }));
    assert!(before.elapsed() < SECOND);
    assert_eq!(sent.load(Ordering::SeqCst), 1);
}
