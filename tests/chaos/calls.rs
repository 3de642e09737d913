//! Calls made in the middle of everything, and what they were answered.

use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use actix_rt::task::JoinHandle;
use influx_spool::{CallError, DatabaseHandle, Flush, GetStats, Seq, Standing};

use super::{Counts, LONG};

/// What a call may take beyond its deadline: a busy machine.
const OVER_MAX: Duration = Duration::from_secs(10);

/// One receipt.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Receipt {
    pub(crate) number: u64,
    pub(crate) standing: Standing,
    pub(crate) at: Instant,
}

/// Calls under way, and the receipts so far.
#[derive(Default)]
pub(crate) struct Calls {
    under_way: Vec<JoinHandle<()>>,
    receipts: Arc<Mutex<Vec<Receipt>>>,
    over: Arc<Mutex<Duration>>,
}

impl Calls {
    /// Makes any call. Its deadline may be over as soon as it begins.
    pub(crate) fn make_any(
        &mut self,
        db: &DatabaseHandle,
        point: Option<(u64, Seq)>,
        counts: &Counts,
        random: &mut fastrand::Rng,
    ) {
        let (db, counts, over) = (db.clone(), counts.clone(), Arc::clone(&self.over));
        let deadline = Duration::from_millis(random.u64(0..300));
        let receipts = Arc::clone(&self.receipts);
        let kind = random.u8(..8);
        let call = async move {
            let begin = Instant::now();
            let what = match (kind, point) {
                (0, _) => {
                    check(db.flush(deadline).await, &[CallError::Stopped]);
                    "flush"
                }
                (1, _) => {
                    check(
                        db.commit(deadline).await,
                        &[CallError::Stopped, CallError::Timeout, CallError::Degraded],
                    );
                    "commit"
                }
                (2, _) => {
                    check(
                        db.replay(None, deadline).await,
                        &[CallError::Stopped, CallError::Timeout, CallError::Degraded],
                    );
                    "replay"
                }
                (3, _) => {
                    // Its caller hears when it was in work as its actor died.
                    let _ = tokio::time::timeout(deadline, db.address().send(GetStats)).await;
                    "message GetStats"
                }
                (4, _) => {
                    let _ = tokio::time::timeout(deadline, db.address().send(Flush { deadline })).await;
                    "message Flush"
                }
                (5 | 6, Some((number, seq))) => {
                    let (what, answer) = if kind == 5 {
                        ("receipt persisted", db.persisted(seq).await)
                    } else {
                        ("receipt delivered", db.delivered(seq).await)
                    };
                    // It waits as long as it takes: the calm looks after it.
                    counts.add(what);
                    let at = Instant::now();
                    match answer {
                        Ok(standing) => receipts.lock().unwrap().push(Receipt { number, standing, at }),
                        // The file was not open, or the worker that looked died; asked again in the next calm.
                        Err(CallError::Stopped | CallError::Busy | CallError::Panicked) => {}
                        Err(error) => panic!("{what}: {error:?}"),
                    }
                    return;
                }
                _ => {
                    assert!(db.stats().ledger.accepted().points >= db.stats().ledger.settled_points() / 2);
                    let _ = db.health();
                    "stats and health"
                }
            };
            counts.add(what);
            let late = begin.elapsed().saturating_sub(deadline);
            assert!(late < OVER_MAX, "{what} took {:?} with a deadline of {deadline:?}", begin.elapsed());
            let mut over = over.lock().unwrap();
            *over = late.max(*over);
        };
        self.under_way.push(actix_rt::spawn(call));
    }

    /// Waits until all calls are answered.
    pub(crate) async fn finish(&mut self) {
        for call in self.under_way.drain(..) {
            tokio::time::timeout(LONG, call).await.expect("a call hangs").unwrap();
        }
    }

    pub(crate) fn take_receipts(&self) -> Vec<Receipt> {
        std::mem::take(&mut self.receipts.lock().unwrap())
    }

    /// How long the slowest took beyond its deadline.
    pub(crate) fn over(&self) -> Duration {
        *self.over.lock().unwrap()
    }
}

fn check<T: std::fmt::Debug>(answer: Result<T, CallError>, allowed: &[CallError]) {
    if let Err(error) = answer {
        assert!(allowed.contains(&error), "{error:?}");
    }
}
