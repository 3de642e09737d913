//! One look at whether everything is accounted for.

use std::collections::HashSet;

use influx_spool::{Fate, Stats};

use super::receiver::Receiver;

/// The ledger must add up, and agree with the test's own count of accepted points and with what the receiver got.
///
/// Points are told apart by their field `n`, which must be unique. With a request cut off in the middle the receiver
/// may have points that are counted otherwise, or not yet: it never has fewer than were delivered.
pub fn check_ledger(stats: &Stats, accepted: u64, receiver: &Receiver) {
    let ledger = &stats.ledger;
    let fates: u64 = Fate::ALL.iter().map(|fate| ledger.of(*fate).points).sum();
    assert_eq!(ledger.accepted().points, accepted, "accepted");
    assert_eq!(accepted, fates + stats.pending.points, "accepted = fates + pending: {ledger:?}");
    let pending = stats.pending;
    let by_place = pending.queued.points + pending.sealed.points + pending.spooled.points;
    assert_eq!(pending.points, by_place, "{pending:?}");
    let arrived = numbers(receiver).into_iter().collect::<HashSet<_>>().len() as u64;
    let delivered = ledger.of(Fate::Delivered).points;
    assert!(arrived >= delivered, "{delivered} delivered, {arrived} arrived");
    let undecided = accepted - delivered;
    assert!(arrived - delivered <= undecided, "{arrived} arrived of {accepted}");
    if pending.points == 0 && fates == delivered {
        assert_eq!(arrived, accepted, "all are delivered");
    }
}

/// The field `n` of every line that was accepted, in order, resends included.
pub fn numbers(receiver: &Receiver) -> Vec<u64> {
    let bodies = receiver.accepted();
    bodies.iter().flat_map(|body| body.text.lines().map(number)).collect()
}

/// Every number must have arrived, once or more often, and for the first time in order.
pub fn check_arrived(receiver: &Receiver, expected: impl IntoIterator<Item = u64>) {
    let mut seen = HashSet::new();
    let first_times: Vec<u64> = numbers(receiver).into_iter().filter(|number| seen.insert(*number)).collect();
    let expected: Vec<u64> = expected.into_iter().collect();
    if first_times != expected {
        let wrong = first_times.iter().zip(&expected).find(|(arrived, expected)| arrived != expected);
        panic!("{} of {} arrived; first difference: {wrong:?}", first_times.len(), expected.len());
    }
}

fn number(line: &str) -> u64 {
    let (_, after) = line.split_once("n=").expect("every line has a number");
    let digits = after.split('i').next().expect("split gives one at least");
    digits.parse().expect("the number is one")
}
