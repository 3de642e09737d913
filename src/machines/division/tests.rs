//! A server that knows which lines are bad, and what it takes to find out.

use std::collections::BTreeSet;
use std::sync::Arc;

use bytes::Bytes;

use super::*;
use crate::machines::verdict::{LineName, NamedLine};
use crate::values::batch::{Batch, Codec, Destination, TimeSpan};
use crate::values::seq::SeqRange;
use crate::values::trouble::TroubleKind;

pub(crate) fn lines_of(texts: &[&str]) -> Lines {
    Lines::of(&batch(texts.len() as u64, texts.concat())).unwrap()
}

fn batch(points: u64, body: String) -> Batch {
    Batch {
        seqs: SeqRange::starting_at(1, points),
        destination: Arc::new(Destination::new("plant")),
        codec: Codec::Identity,
        raw_len: body.len() as u64,
        span: TimeSpan::at(1),
        created_ms: 0,
        body: Bytes::from(body),
    }
}

/// How a server speaks of bad lines.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Manner {
    /// 1.x with a parse error: it keeps the good ones and names the bad ones.
    Names,
    /// 1.x with a conflict: it keeps the good ones and says how many it dropped.
    Counts,
    /// 2.x: it keeps nothing and says no more than that.
    Opaque,
    /// 3.x with `accept_partial=false`: it keeps nothing and names the first.
    NamesFirst,
}

const MANNERS: [Manner; 4] = [Manner::Names, Manner::Counts, Manner::Opaque, Manner::NamesFirst];

struct Server {
    manner: Manner,
    bad: BTreeSet<u32>,
    cause: Cause,
    /// Lines it has by now.
    has: BTreeSet<u32>,
    requests: u32,
}

impl Server {
    fn new(manner: Manner, bad: impl IntoIterator<Item = u32>) -> Self {
        let bad = bad.into_iter().collect();
        Self { manner, bad, cause: Cause::Malformed, has: BTreeSet::new(), requests: 0 }
    }

    /// `None` if it takes all of it.
    fn write(&mut self, lines: &Lines, part: &[u32]) -> Option<Complaint> {
        self.requests += 1;
        let good = part.iter().filter(|index| !self.bad.contains(index));
        let bad: Vec<u32> = part.iter().copied().filter(|index| self.bad.contains(index)).collect();
        if bad.is_empty() || matches!(self.manner, Manner::Names | Manner::Counts) {
            self.has.extend(good);
        }
        if bad.is_empty() {
            return None;
        }
        let name = |index: &u32| {
            let text = String::from_utf8(lines.get(*index).trim_ascii_end().to_vec()).unwrap();
            NamedLine { name: LineName::Text(text), cause: self.cause, words: format!("line {index}") }
        };
        let blame = match self.manner {
            Manner::Names => Blame::Named(bad.iter().map(name).collect()),
            Manner::NamesFirst => Blame::Named(bad.iter().take(1).map(name).collect()),
            Manner::Counts if bad.len() == part.len() => Blame::All,
            Manner::Counts | Manner::Opaque => Blame::Some,
        };
        let refusal = Refusal { status: 400, words: "refused".into(), cause: self.cause, blame };
        Some(Complaint::new(lines, part, refusal))
    }

    /// Heals a batch of so many lines, and returns what is quarantined or expired.
    fn heal(&mut self, count: u32) -> BTreeSet<u32> {
        let body: String = (0..count).map(|number| format!("m n={number}i {number}\n")).collect();
        let batch = batch(u64::from(count), body);
        let lines = Arc::new(Lines::of(&batch).unwrap());
        let Some(complaint) = self.write(&lines, &lines.all()) else { return BTreeSet::new() };
        let mut division = Division::of_refused(Arc::clone(&lines), complaint);
        while let Some(part) = division.next().cloned() {
            match self.write(&lines, &part.indexes) {
                None => division.delivered(),
                Some(complaint) => division.refused(complaint),
            }
            assert!(self.requests < 10_000, "{division:?}");
        }
        ended(&division, &batch)
            .into_iter()
            .filter(|(_, fate)| *fate != Fate::Delivered)
            .map(|(i, _)| i)
            .collect()
    }
}

/// The fate of every line; each has one.
fn ended(division: &Division, batch: &Batch) -> Vec<(u32, Fate)> {
    let parts = division.endings().unwrap().parts(division.lines(), batch, |fate| fate);
    let mut fates = Vec::new();
    for part in &parts {
        assert_eq!(part.seqs.first, fates.len() as u64 + 1, "they follow each other");
        let kept = part.quarantine.as_ref().map(|kept| (kept.batch.seqs, kept.batch.body.len() as u64));
        let wants = matches!(part.fate, Fate::Quarantined(_)).then_some((part.seqs, part.bytes));
        assert_eq!(kept, wants, "what is kept is those lines");
        (0..part.seqs.points()).for_each(|_| fates.push((fates.len() as u32, part.fate)));
    }
    assert_eq!(parts.iter().map(|part| part.bytes).sum::<u64>(), batch.raw_len);
    assert_eq!(fates.len() as u64, batch.points());
    fates
}

fn check_found(manner: Manner, bad: impl IntoIterator<Item = u32>) -> u32 {
    let mut server = Server::new(manner, bad);
    let wants = server.bad.clone();
    assert_eq!(server.heal(5_000), wants, "{manner:?}");
    assert_eq!(server.has.len(), 5_000 - wants.len(), "every good line arrived: {manner:?}");
    server.requests
}

#[test]
fn one_bad_line_is_found_with_28_requests_at_most_wherever_it_is() {
    for manner in MANNERS {
        let places = (0..5_000).step_by(37).chain([0, 1, 2_499, 2_500, 4_998, 4_999]);
        let most = places.map(|place| check_found(manner, [place])).max().unwrap();
        println!("{manner:?}: {most} requests");
        let bound = if matches!(manner, Manner::Names | Manner::NamesFirst) { 2 } else { 28 };
        assert!(most <= bound, "{manner:?}: {most}");
    }
}

#[test]
fn fifty_bad_lines_are_found_adjacent_or_spread() {
    for manner in MANNERS {
        for requests in [check_found(manner, 100..150), check_found(manner, (0..50).map(|n| n * 100 + 7))] {
            println!("{manner:?}: {requests} requests");
            assert!(requests <= 50 * 28, "{manner:?}: {requests}");
        }
    }
}

#[test]
fn past_the_bound_what_is_refused_is_kept_whole() {
    let bad: BTreeSet<u32> = (0..101).map(|n| n * 49).collect();
    for manner in [Manner::Opaque, Manner::Counts] {
        let mut server = Server::new(manner, bad.clone());
        let kept = server.heal(5_000);
        assert!(kept.is_superset(&bad), "no bad line is taken for good");
        let good: BTreeSet<u32> = (0..5_000).filter(|index| !kept.contains(index)).collect();
        assert!(good.is_subset(&server.has), "what is said to be delivered is");
        assert!(kept.len() <= 101 + 49, "only what the last one was sent with: {}", kept.len());
        println!("{manner:?}: {} requests, {} kept", server.requests, kept.len());
    }
    for manner in [Manner::Names, Manner::NamesFirst] {
        check_found(manner, bad.iter().copied());
    }
}

#[test]
fn all_bad_is_kept_with_few_requests() {
    let manners =
        [(Manner::Names, 1), (Manner::Counts, 2), (Manner::Opaque, 260), (Manner::NamesFirst, 1_001)];
    for (manner, most) in manners {
        let requests = check_found(manner, 0..5_000);
        println!("{manner:?}: {requests} requests");
        assert!(requests <= most, "{manner:?}: {requests}");
    }
}

#[test]
fn points_that_are_too_old_expire_and_are_parted_by_age() {
    let mut server = Server { cause: Cause::TooOld, ..Server::new(Manner::Counts, 0..1_234) };
    assert_eq!(server.heal(5_000).len(), 1_234);
    assert!(server.requests <= 28, "{}", server.requests);
}

#[test]
fn what_the_server_takes_the_second_time_is_delivered() {
    let lines = Arc::new(lines_of(&["m v=1 1\n", "m v=1i 1\n"]));
    let refusal =
        Refusal { status: 400, words: "conflict".into(), cause: Cause::TypeConflict, blame: Blame::Some };
    let complaint = Complaint { refusal, named: Vec::new() };
    let mut division = Division::of_refused(lines, complaint);
    assert_eq!(division.next().unwrap().indexes[..], [0, 1]);
    division.delivered();
    assert!(division.endings().is_some());
}

#[test]
fn a_batch_that_is_too_large_is_halved_by_bytes_and_a_line_that_is_alone_is_kept() {
    let long = format!("m v=\"{}\" 1\n", "x".repeat(1_000));
    let texts = ["m v=1 1\n", &long, "m v=2 2\n", "m v=3 3\n"];
    let batch = batch(4, texts.concat());
    let lines = Arc::new(Lines::of(&batch).unwrap());
    let size = || Complaint {
        refusal: Refusal {
            status: 413,
            words: "too large".into(),
            cause: Cause::TooLarge,
            blame: Blame::Size,
        },
        named: Vec::new(),
    };
    let mut division = Division::of_refused(Arc::clone(&lines), size());
    let mut sent = Vec::new();
    while let Some(part) = division.next().cloned() {
        sent.push(part.indexes.to_vec());
        if lines.bytes_of(&part.indexes) > 100 { division.refused(size()) } else { division.delivered() }
    }
    let large = Fate::Quarantined(QuarantineReason::TooLarge);
    let fates: Vec<Fate> = ended(&division, &batch).into_iter().map(|(_, fate)| fate).collect();
    assert_eq!(fates, [Fate::Delivered, large, Fate::Delivered, Fate::Delivered]);
    assert_eq!(sent, [vec![0], vec![1, 2, 3], vec![1], vec![2, 3]]);

    let division = Division::by_size(lines, 20);
    let parts: Vec<usize> = division.parts.iter().map(|part| part.indexes.len()).collect();
    assert_eq!(parts, [1, 1, 2]);
}

#[test]
fn what_udp_cannot_carry_goes_by_http_or_is_kept() {
    let batch = batch(3, "m v=1 1\nm v=22 2\nm v=3 3\n".into());
    let lines = Arc::new(Lines::of(&batch).unwrap());
    let fates = |division: &Division| -> Vec<Fate> {
        ended(division, &batch).into_iter().map(|(_, fate)| fate).collect()
    };
    let mut division = Division::of_carried(Arc::clone(&lines), &[1], true);
    assert_eq!(division.next().unwrap().indexes[..], [1]);
    division.delivered();
    assert_eq!(fates(&division), [Fate::Unconfirmed, Fate::Delivered, Fate::Unconfirmed]);
    let division = Division::of_carried(lines, &[1], false);
    let kept = Fate::Quarantined(QuarantineReason::Unsendable);
    assert_eq!(fates(&division), [Fate::Unconfirmed, kept, Fate::Unconfirmed]);
}

mod suspects {
    use super::*;

    fn fault() -> Trouble {
        let words = "connection closed before message completed".into();
        Trouble { kind: TroubleKind::Unreachable, status: None, words, retry_after: None, may_be_data: true }
    }

    /// Sends what is next to a server that breaks the connection over `poison`; whether the way was clear.
    fn step(division: &mut Division, poison: &[u32], well: bool) -> Failed {
        let part = division.next().unwrap().clone();
        if well && !part.indexes.iter().any(|index| poison.contains(index)) {
            division.delivered();
            return Failed::GoesOn;
        }
        division.failed(&fault())
    }

    fn suspect(count: u64) -> (Division, Batch) {
        let batch = batch(count, (0..count).map(|number| format!("m n={number}i 1\n")).collect());
        let lines = Arc::new(Lines::of(&batch).unwrap());
        (Division::of_suspect(lines, fault()), batch)
    }

    #[test]
    fn what_breaks_the_connection_each_time_is_found_and_the_rest_arrives() {
        for poison in [vec![0], vec![999], vec![500], vec![3, 4, 700]] {
            let (mut division, batch) = suspect(1_000);
            let mut requests = 0;
            while division.next().is_some() {
                assert_eq!(step(&mut division, &poison, true), Failed::GoesOn);
                requests += 1;
            }
            let wants = |index: &u32| if poison.contains(index) { SUSPECT } else { Fate::Delivered };
            for (index, fate) in ended(&division, &batch) {
                assert_eq!(fate, wants(&index), "{index} of {poison:?}");
            }
            assert!(requests <= 30 * poison.len(), "{requests}");
        }
    }

    #[test]
    fn a_server_that_fails_with_everything_condemns_nothing() {
        let (mut division, _) = suspect(1_000);
        let mut requests = 0;
        while step(&mut division, &[], false) == Failed::GoesOn {
            requests += 1;
        }
        assert!(requests <= 12, "the first line and the last: {requests}");
        assert!(division.wants_witness() && division.endings().is_none());
        assert_eq!(step(&mut division, &[], false), Failed::Hold, "as often as it is asked");
    }

    #[test]
    fn a_server_that_begins_to_fail_condemns_nothing() {
        let (mut division, batch) = suspect(100);
        assert_eq!(step(&mut division, &[], true), Failed::GoesOn, "some of it is delivered");
        let mut asked = 0;
        while step(&mut division, &[], false) == Failed::GoesOn {
            asked += 1;
        }
        assert!(asked < 10, "down to a single line, and no further: {asked}");
        for _ in 0..5 {
            while step(&mut division, &[], false) == Failed::GoesOn {}
        }
        while division.next().is_some() {
            step(&mut division, &[], true);
        }
        assert!(ended(&division, &batch).iter().all(|(_, fate)| *fate == Fate::Delivered));
    }

    #[test]
    fn a_batch_that_is_poison_altogether_needs_another_for_a_witness() {
        let (mut division, batch) = suspect(1);
        assert_eq!(step(&mut division, &[0], true), Failed::Hold);
        assert!(division.wants_witness());
        division.witnessed();
        assert!(!division.wants_witness());
        assert_eq!(step(&mut division, &[0], true), Failed::GoesOn);
        assert_eq!(step(&mut division, &[0], true), Failed::GoesOn);
        assert_eq!(ended(&division, &batch), [(0, SUSPECT)]);
    }
}
