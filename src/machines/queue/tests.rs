use super::*;

fn destination(policy: &str) -> Arc<Destination> {
    Arc::new(Destination { retention_policy: Some(policy.into()), ..Destination::new("plant") })
}

struct Rig {
    queue: SlidingQueue,
    limits: SegmentLimits,
    next: u64,
}

impl Rig {
    fn new(points_max: usize, bytes_max: usize) -> Self {
        Self { queue: SlidingQueue::default(), limits: SegmentLimits { points_max, bytes_max }, next: 1 }
    }

    fn push(&mut self, line: &str, to: &Arc<Destination>) -> Milestone {
        let line = EncodedLine { bytes: line.as_bytes(), timestamp: self.next as i64 };
        let milestone = self.queue.append(self.next, line, to, self.limits, Instant::now);
        self.next += 1;
        milestone
    }
}

#[test]
fn segments_fill_by_points_and_by_bytes() {
    let to = destination("a");
    let mut rig = Rig::new(3, 100);
    let seen: Vec<_> = (0..4).map(|_| rig.push("m v=1\n", &to)).collect();
    assert_eq!(seen, [Milestone::Opened, Milestone::None, Milestone::Filled, Milestone::Opened]);

    let mut rig = Rig::new(100, 12);
    let seen: Vec<_> = (0..3).map(|_| rig.push("m v=1\n", &to)).collect();
    assert_eq!(seen, [Milestone::Opened, Milestone::Filled, Milestone::Opened]);
}

#[test]
fn a_line_longer_than_a_segment_gets_one_of_its_own() {
    let to = destination("a");
    let mut rig = Rig::new(100, 4);
    assert_eq!(rig.push("m v=1\n", &to), Milestone::Filled);
    assert_eq!(rig.push("m v=2\n", &to), Milestone::Filled);
    assert_eq!(rig.queue.take_segment().unwrap().lines(), b"m v=1\n");
    assert_eq!(rig.queue.take_segment().unwrap().lines(), b"m v=2\n");
}

#[test]
fn a_change_of_destination_cuts_the_segment_and_keeps_the_order() {
    let (a, b) = (destination("a"), destination("b"));
    let mut rig = Rig::new(100, 1000);
    for to in [&a, &a, &b, &a] {
        rig.push("m v=1\n", to);
    }
    let seqs: Vec<_> = std::iter::from_fn(|| rig.queue.take_segment()).map(|s| s.seqs()).collect();
    assert_eq!(
        seqs,
        [SeqRange { first: 1, last: 2 }, SeqRange { first: 3, last: 3 }, SeqRange { first: 4, last: 4 }]
    );
}

/// Writes lines in place where that can be, and appends the others, as a push does.
#[test]
fn lines_written_in_place_lie_as_if_they_had_been_appended() {
    let to = destination("a");
    for (points_max, bytes_max) in [(1, 100), (3, 100), (100, 100), (100, 1_000)] {
        let (mut rig, mut other) = (Rig::new(points_max, bytes_max), Rig::new(points_max, bytes_max));
        let mut in_place = 0;
        for n in 0..300_u64 {
            let line = format!("m v={n}\n");
            let expected = rig.push(&line, &to);
            if other.queue.has_place(other.next, 16, &to, other.limits) {
                other.queue.tail().extend_from_slice(line.as_bytes());
                let kept = other.queue.keep_tail(other.next as i64, other.limits);
                assert_eq!(kept, (line.len() as u64, expected));
                other.next += 1;
                in_place += 1;
            } else {
                assert_eq!(other.push(&line, &to), expected);
            }
            assert_eq!(rig.queue.held(), other.queue.held());
        }
        // With its only point a segment is full.
        assert_eq!(in_place > 50, points_max > 1, "{in_place}");
        let all = |mut queue: SlidingQueue| -> Vec<_> {
            std::iter::from_fn(|| queue.take_segment())
                .map(|segment| (segment.seqs(), segment.span(), segment.lines().to_vec()))
                .collect()
        };
        assert_eq!(all(rig.queue), all(other.queue));
    }
}

#[test]
fn of_a_line_that_is_not_kept_nothing_stays() {
    let (to, elsewhere) = (destination("a"), destination("b"));
    let mut rig = Rig::new(100, 1_000);
    rig.queue.drop_tail();
    assert!(!rig.queue.has_place(1, 16, &to, rig.limits), "no segment is open");
    rig.push("m v=1\n", &to);
    rig.queue.tail().extend_from_slice(b"m v=");
    rig.queue.drop_tail();
    let has_place = |rig: &Rig, seq, bytes_max, to| rig.queue.has_place(seq, bytes_max, to, rig.limits);
    assert!(!has_place(&rig, 3, 16, &to), "behind a gap");
    assert!(!has_place(&rig, 2, 16, &elsewhere));
    assert!(!has_place(&rig, 2, 1_000, &to), "more than there is room for");
    assert_eq!(rig.queue.held(), Tally::new(1, 6));
    assert_eq!(rig.push("m v=2\n", &to), Milestone::None);
    assert_eq!(rig.queue.take_segment().unwrap().lines(), b"m v=1\nm v=2\n");
}

#[test]
fn dropping_the_oldest_is_exact_across_segments() {
    for segment_points in 1..6 {
        for pushes in 0..12_u64 {
            for drops in 0..=pushes {
                let to = destination("a");
                let mut rig = Rig::new(segment_points, 1000);
                for i in 0..pushes {
                    rig.push(&format!("m v={i}\n"), &to);
                }
                for i in 0..drops {
                    assert_eq!(rig.queue.drop_oldest(Tally::default()).unwrap().0, i + 1);
                }
                assert_eq!(rig.queue.held().points, pushes - drops);
                let mut left = Vec::new();
                while let Some(segment) = rig.queue.take_segment() {
                    left.extend_from_slice(segment.lines());
                }
                let expected: String = (drops..pushes).map(|i| format!("m v={i}\n")).collect();
                assert_eq!(left, expected.as_bytes());
                assert_eq!(rig.queue.held(), Tally::default());
            }
        }
    }
}

#[test]
fn as_many_are_dropped_at_once_as_are_lacking_in_points_and_in_bytes() {
    let dropped = |points, bytes| {
        let to = destination("a");
        let mut rig = Rig::new(4, 1000);
        (0..8).for_each(|i| _ = rig.push(&"x".repeat(10 + i), &to));
        let (first, dropped) = rig.queue.drop_oldest(Tally::new(points, bytes)).unwrap();
        assert_eq!((first, rig.queue.first()), (1, Some(1 + dropped.points)));
        assert_eq!(rig.queue.held(), Tally::new(8, 108).less(dropped));
        (dropped.points, dropped.bytes)
    };
    assert_eq!([dropped(0, 0), dropped(1, 0), dropped(0, 10)], [(1, 10); 3]);
    assert_eq!([dropped(2, 10), dropped(1, 11), dropped(0, 21)], [(2, 21); 3]);
    assert_eq!([dropped(4, 0), dropped(5, 0), dropped(1, 46), dropped(u64::MAX, u64::MAX)], [(4, 46); 4]);
}

#[test]
fn the_span_holds_every_timestamp() {
    let to = destination("a");
    let mut queue = SlidingQueue::default();
    let limits = SegmentLimits { points_max: 10, bytes_max: 1000 };
    for (seq, timestamp) in [5_i64, -7, 3].into_iter().enumerate() {
        let line = EncodedLine { bytes: b"m v=1\n", timestamp };
        queue.append(seq as u64 + 1, line, &to, limits, Instant::now);
    }
    assert_eq!(queue.take_segment().unwrap().span(), TimeSpan { earliest: -7, latest: 5 });
}

#[test]
fn equal_destinations_share_a_segment() {
    let mut rig = Rig::new(100, 1000);
    rig.push("m v=1\n", &destination("a"));
    assert_eq!(rig.push("m v=2\n", &destination("a")), Milestone::None);
    assert_eq!(rig.queue.take_segment().unwrap().points(), 2);
}

#[test]
fn the_oldest_segment_takes_no_more_once_it_is_full_or_another_is_open() {
    let (a, b) = (destination("a"), destination("b"));
    let mut rig = Rig::new(3, 1000);
    let mut seen = vec![rig.queue.has_full_segment(rig.limits)];
    for to in [&a, &b, &b, &b] {
        rig.push("m v=1\n", to);
        seen.push(rig.queue.has_full_segment(rig.limits));
    }
    assert_eq!(seen, [false, false, true, true, true]);
    rig.queue.take_segment();
    assert!(rig.queue.has_full_segment(rig.limits), "alone, and full");
    assert_eq!(rig.queue.take_segment().unwrap().points(), 3);
    assert!(!rig.queue.has_full_segment(rig.limits));
}

/// Buffers that wait for their next use; none of them does afterwards.
fn spares(queue: &SlidingQueue) -> usize {
    std::iter::from_fn(|| queue.spares.take()).count()
}

#[test]
fn the_buffer_of_a_segment_is_used_again_unless_the_queue_rests() {
    let to = destination("a");
    let mut rig = Rig::new(1, 1000);
    rig.push("m v=1\n", &to);
    let first = rig.queue.take_segment().unwrap();
    let buffer = first.bytes.as_ptr();
    drop(first);
    rig.push("m v=2\n", &to);
    rig.queue.rest();
    let again = rig.queue.take_segment().unwrap();
    assert_eq!((again.lines(), again.points(), again.bytes.as_ptr()), (&b"m v=2\n"[..], 1, buffer));
    drop(again);
    rig.queue.rest();
    assert_eq!(spares(&rig.queue), 0);

    let (first, second) = (rig.push("m v=3\n", &to), rig.push("m v=4\n", &to));
    assert_eq!([first, second], [Milestone::Filled; 2]);
    drop(rig.queue.take_segment());
    rig.queue.rest();
    assert_eq!(spares(&rig.queue), 1, "there are points");
}

#[test]
fn a_body_without_a_copy_keeps_its_buffer_from_the_next_use_and_gives_it_back() {
    let to = destination("a");
    let mut rig = Rig::new(3, 1000);
    (0..3).for_each(|_| _ = rig.push("m v=1\n", &to));
    let mut segment = rig.queue.take_segment().unwrap();
    segment.bytes.shrink_to_fit();
    let segment = Arc::new(segment);
    let lines = segment.lines().as_ptr();
    let body = segment.body_from(2);
    assert_eq!((&body[..], body.as_ptr()), (&b"m v=1\nm v=1\n"[..], lines.wrapping_add(6)));
    drop(segment);
    assert_eq!(spares(&rig.queue), 0);
    drop(body.clone());
    assert_eq!(spares(&rig.queue), 0);
    drop(body);
    assert_eq!(spares(&rig.queue), 1);
}

#[test]
fn buffers_for_bodies_of_nearly_one_size_are_never_half_empty() {
    let to = destination("a");
    let mut rig = Rig::new(100, 1 << 20);
    let mut random = fastrand::Rng::with_seed(1);
    let mut in_use = VecDeque::new();
    for round in 0..1_000 {
        (0..100).for_each(|_| _ = rig.push(&"x".repeat(random.usize(160..180)), &to));
        let segment = Arc::new(rig.queue.take_segment().unwrap());
        if round > 0 {
            let (first, lines) = (segment.seqs().first, segment.lines().as_ptr());
            assert_eq!(segment.body_from(first).as_ptr(), lines, "round {round}");
        }
        in_use.push_back(segment);
        in_use.drain(..in_use.len().saturating_sub(random.usize(0..6)));
    }
}

#[test]
fn a_body_of_few_lines_is_a_copy() {
    let to = destination("a");
    let mut rig = Rig::new(3, 1000);
    rig.push("m v=1\n", &to);
    let mut segment = rig.queue.take_segment().unwrap();
    segment.bytes.reserve(1000);
    let segment = Arc::new(segment);
    let body = segment.body_from(1);
    drop(segment);
    assert_eq!(spares(&rig.queue), 1);
    assert_eq!(body, &b"m v=1\n"[..]);
}
