//! The concurrency limit, which halves when the server throttles and grows back by one per round of successes.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll};

use futures_util::future::BoxFuture;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio_util::sync::PollSemaphore;
use tower::Service;

use crate::failure::{Class, Failure};
use crate::observe::Observer;
use crate::request::{Delivered, Request};

/// The layer's service. A slot is taken in `poll_ready` and held until the call is done.
pub(crate) struct AdaptiveLimit<S> {
    inner: S,
    slots: Arc<Slots>,
    semaphore: PollSemaphore,
    permit: Option<OwnedSemaphorePermit>,
}

struct Slots {
    semaphore: Arc<Semaphore>,
    most: usize,
    level: Mutex<Level>,
    observer: Arc<dyn Observer>,
}

struct Level {
    /// Slots that there should be.
    limit: usize,
    /// Slots that are in use and disappear when they are given back.
    debt: usize,
    /// Successes since the last change.
    successes: usize,
}

/// A slot in use.
struct Slot {
    slots: Arc<Slots>,
    permit: Option<OwnedSemaphorePermit>,
}

// === impl AdaptiveLimit ===

impl<S> AdaptiveLimit<S> {
    pub(crate) fn new(inner: S, most: usize, observer: Arc<dyn Observer>) -> Self {
        // A semaphore of tokio has an upper end; nobody means more than that.
        let most = most.clamp(1, Semaphore::MAX_PERMITS);
        let semaphore = Arc::new(Semaphore::new(most));
        let level = Level {
            limit: most,
            debt: 0,
            successes: 0,
        };
        Self {
            inner,
            slots: Arc::new(Slots {
                semaphore: Arc::clone(&semaphore),
                most,
                level: Mutex::new(level),
                observer,
            }),
            semaphore: PollSemaphore::new(semaphore),
            permit: None,
        }
    }
}

impl<S: Clone> Clone for AdaptiveLimit<S> {
    fn clone(&self) -> Self {
        Self {
            inner: self.inner.clone(),
            slots: Arc::clone(&self.slots),
            semaphore: self.semaphore.clone(),
            // A slot belongs to the clone that asked for it.
            permit: None,
        }
    }
}

impl<S> Service<Request> for AdaptiveLimit<S>
where
    S: Service<Request, Response = Delivered, Error = Failure> + Send + 'static,
    S::Future: Send,
{
    type Response = Delivered;
    type Error = Failure;
    type Future = BoxFuture<'static, Result<Delivered, Failure>>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), Failure>> {
        if self.permit.is_none() {
            // `None` would mean a closed semaphore, which nobody closes.
            self.permit = std::task::ready!(self.semaphore.poll_acquire(context));
        }
        self.inner.poll_ready(context)
    }

    fn call(&mut self, request: Request) -> Self::Future {
        let slot = Slot {
            slots: Arc::clone(&self.slots),
            permit: self.permit.take(),
        };
        let answer = self.inner.call(request);
        Box::pin(async move {
            let result = answer.await;
            match &result {
                Ok(_) => slot.slots.raise(),
                Err(failure) if matches!(failure.class, Class::Throttled { .. }) => {
                    slot.slots.lower();
                }
                Err(_) => {}
            }
            drop(slot);
            result
        })
    }
}

// === impl Slots ===

impl Slots {
    fn lock(&self) -> MutexGuard<'_, Level> {
        self.level.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn raise(&self) {
        let mut level = self.lock();
        if level.limit >= self.most {
            return;
        }
        level.successes += 1;
        if level.successes >= level.limit {
            level.successes = 0;
            level.limit += 1;
            if level.debt > 0 {
                level.debt -= 1;
            } else {
                self.semaphore.add_permits(1);
            }
            self.observer.concurrency(level.limit);
        }
    }

    fn lower(&self) {
        let mut level = self.lock();
        level.successes = 0;
        let limit = (level.limit / 2).max(1);
        let less = level.limit - limit;
        if less > 0 {
            level.limit = limit;
            level.debt += less - self.semaphore.forget_permits(less);
            self.observer.concurrency(limit);
        }
    }
}

// === impl Slot ===

impl Drop for Slot {
    fn drop(&mut self) {
        let Some(permit) = self.permit.take() else {
            return;
        };
        let mut level = self.slots.lock();
        if level.debt > 0 {
            level.debt -= 1;
            permit.forget();
        }
    }
}

#[cfg(test)]
mod tests {
    use std::convert::Infallible;
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::time::Duration;

    use tower::{ServiceExt, service_fn};

    use super::*;

    /// Answers after 10 ms: throttled while `throttle` is not zero (counted down), else delivered; keeps the peak.
    fn stack(
        most: usize,
        throttle: usize,
    ) -> (
        impl Service<Request, Error = Failure> + Clone,
        Arc<AtomicUsize>,
    ) {
        let throttle = Arc::new(AtomicUsize::new(throttle));
        let (running, peak) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
        let seen = Arc::clone(&peak);
        let inner = service_fn(move |_: Request| {
            let (throttle, running, peak) = (throttle.clone(), running.clone(), peak.clone());
            async move {
                let now = running.fetch_add(1, Ordering::SeqCst) + 1;
                peak.fetch_max(now, Ordering::SeqCst);
                tokio::time::sleep(Duration::from_millis(10)).await;
                running.fetch_sub(1, Ordering::SeqCst);
                let left =
                    throttle.fetch_update(Ordering::SeqCst, Ordering::SeqCst, |n| n.checked_sub(1));
                if left.is_ok() {
                    return Err(Failure::new(Class::Throttled { retry_after: None }, ""));
                }
                Ok::<_, Failure>(Delivered {
                    status: 200,
                    entries: Vec::new(),
                    summary: crate::Summary::default(),
                    body: bytes::Bytes::new(),
                    truncated: false,
                })
            }
        });
        (AdaptiveLimit::new(inner, most, Arc::new(())), seen)
    }

    async fn run<S>(stack: &S, count: usize)
    where
        S: Service<Request, Error = Failure> + Clone,
    {
        let calls = (0..count).map(|_| {
            let stack = stack.clone();
            async move {
                drop(stack.oneshot(Request::transaction("")).await);
                Ok::<_, Infallible>(())
            }
        });
        futures_util::future::join_all(calls).await;
    }

    #[tokio::test(start_paused = true)]
    async fn never_more_than_the_limit() {
        let (stack, peak) = stack(4, 0);
        run(&stack, 40).await;
        assert_eq!(peak.load(Ordering::SeqCst), 4);
    }

    #[tokio::test(start_paused = true)]
    async fn throttling_lowers_it_and_success_brings_it_back() {
        let (stack, peak) = stack(8, 8);
        run(&stack, 8).await; // 8 -> 4 -> 2 -> 1
        peak.store(0, Ordering::SeqCst);
        run(&stack, 1).await; // one success at limit 1 -> 2
        run(&stack, 3).await;
        let low = peak.swap(0, Ordering::SeqCst);
        assert!(low <= 3, "{low} at once right after throttling");
        run(&stack, 100).await;
        assert_eq!(peak.load(Ordering::SeqCst), 8, "grown back, and not beyond");
    }
}
