//! The way in: what is refused, and who is woken.

use std::time::Instant;

use super::rig::{HERE, terms};
use crate::machines::queue::EncodedLine;
use crate::machines::transit::{Opened, PushRefusal, Pushed, Terms, Transit};
use crate::values::ledger::Tally;

const BYTES_MAX: usize = 100;

fn transit(points_max: u64) -> Transit {
    Transit::new(Terms { points_max, bytes_max: BYTES_MAX as u64, ..terms() }, &Opened::in_memory())
}

fn push(transit: &mut Transit, bytes: usize) -> Result<Pushed, PushRefusal> {
    let line = vec![b'x'; bytes];
    transit.push(EncodedLine { bytes: &line, timestamp: 1 }, &HERE, Instant::now)
}

fn push_if_room(transit: &mut Transit, bytes: usize) -> Result<u64, PushRefusal> {
    let line = vec![b'x'; bytes];
    let line = EncodedLine { bytes: &line, timestamp: 1 };
    transit.push_if_room(line, &HERE, Instant::now).map(|pushed| pushed.number)
}

#[test]
fn a_point_that_would_push_another_out_is_refused() {
    let mut few = transit(2);
    let pushed: Vec<_> = (0..3).map(|_| push_if_room(&mut few, 10)).collect();
    assert_eq!(pushed, [Ok(1), Ok(2), Err(PushRefusal::Full)]);
    let mut long = transit(10);
    assert_eq!(push_if_room(&mut long, BYTES_MAX + 1), Err(PushRefusal::TooLarge));
    assert_eq!(push_if_room(&mut long, BYTES_MAX), Ok(1));
    assert_eq!(push_if_room(&mut long, 1), Err(PushRefusal::Full));
    assert_eq!(long.snapshot(Instant::now()).ledger.accepted(), Tally::new(1, BYTES_MAX as u64));
    assert!(long.stop());
    assert_eq!(push_if_room(&mut long, 1), Err(PushRefusal::Stopped));
}

#[test]
fn what_was_refused_is_counted() {
    let mut transit = transit(2);
    transit.count_refused(3);
    transit.count_refused(4);
    assert_eq!(transit.snapshot(Instant::now()).counters.refused, 7);
}

#[test]
fn a_line_larger_than_the_queue_may_be_pushes_nothing_out() {
    let mut transit = transit(10);
    push(&mut transit, 10).unwrap();
    assert_eq!(push(&mut transit, BYTES_MAX + 1), Err(PushRefusal::TooLarge));
    assert_eq!(transit.pending_points(), 1);
    assert_eq!(push(&mut transit, BYTES_MAX).map(|pushed| pushed.number), Ok(2));
    assert_eq!(transit.pending_points(), 1, "all else has left for it");
}

#[test]
fn the_batcher_is_woken_when_a_segment_opens_and_when_it_is_full() {
    let mut transit = transit(100);
    let woken: Vec<_> = (0..7).map(|_| push(&mut transit, 1).unwrap().wake).collect();
    assert_eq!(woken, [true, false, false, false, true, true, false], "five fill one");
}
