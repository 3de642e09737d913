//! What a push allocates on the thread that pushes, once buffers have grown to their size: nothing, though it opens and fills
//! batches and wakes who makes bodies of them. Only where batches lie behind one another, so that more buffers are in
//! use than are kept, a new batch's have to be made; and where a thread meets another, its stripe's grow.

#![allow(clippy::unwrap_used)]

mod support;

use std::num::NonZeroUsize;
use std::time::Duration;

use influx_spool::{Database, DatabaseBuilder, FieldRef, PointRef, SeriesBuilder, SeriesPusher, WhenFull};
use support::receiver::Receiver;

/// Before they are counted: many times what fills every buffer.
const WARM_UP: i64 = 200_000;
const COUNTED: i64 = 1_000_000;

/// What a million pushes may allocate: buffers of new batches, where these are made faster than they are compressed (some 50 of 2 MiB are
/// opened meanwhile), and those of the thread's stripe, which grow to their size once it has met another at the lock (some 35
/// pushes; when that is, is chance).
const NEXT_TO_NOTHING: usize = 100;

/// Longer than the test takes: nothing is sealed because of its age.
const LONG: Duration = Duration::from_secs(3_600);

type Machine = SeriesPusher<(f64, i64, bool, &'static str)>;

/// Nobody listens there.
fn unsent(name: &str) -> DatabaseBuilder {
    Database::builder(name).http("http://127.0.0.1:9").linger(LONG).when_full(WhenFull::DropOldest)
}

fn queue_of(points: usize) -> impl FnOnce(&mut influx_spool::Config) {
    move |config| {
        config.queue.points_max = NonZeroUsize::new(points).unwrap();
        config.batch.points_max = NonZeroUsize::MAX;
    }
}

fn machine(db: &influx_spool::DatabaseHandle) -> Machine {
    let series = SeriesBuilder::new("machine_state")
        .tag("host", "host-0001.example.com")
        .tag("region", "eu-central-1")
        .fields(["temperature", "cycles", "running", "state"]);
    db.series(&series).unwrap()
}

fn values(n: i64) -> (f64, i64, bool, &'static str) {
    (n as f64 * 0.001, n, n % 2 == 0, "running")
}

/// How many pushes of `COUNTED` allocate on this thread.
fn allocating(mut push: impl FnMut(i64)) -> usize {
    (0..WARM_UP).for_each(&mut push);
    (0..COUNTED).filter(|n| allocation_counter::measure(|| push(*n)).count_total > 0).count()
}

#[test]
fn a_push_into_a_queue_that_slides_allocates_next_to_nothing() {
    let db = unsent("sliding").configure(queue_of(10_000)).start().unwrap();
    let machine = machine(&db);
    check(allocating(|n| assert!(machine.push(values(n)).is_ok())), NEXT_TO_NOTHING);
}

#[test]
fn a_borrowed_point_allocates_no_more() {
    let db = unsent("borrowed").configure(queue_of(10_000)).start().unwrap();
    let tags = [("host", "host-0001.example.com"), ("region", "eu-central-1")];
    let push = |n: i64| {
        let fields = [("temperature", FieldRef::Float(n as f64 * 0.001)), ("cycles", FieldRef::Integer(n))];
        let point = PointRef { measurement: "machine_state", tags: &tags, fields: &fields, timestamp: None };
        db.push_ref(&point).unwrap();
    };
    check(allocating(push), NEXT_TO_NOTHING);
}

#[test]
fn a_push_that_is_refused_allocates_nothing() {
    let db = unsent("refusing").when_full(WhenFull::Refuse).configure(queue_of(10_000)).start().unwrap();
    let machine = machine(&db);
    check(allocating(|n| drop(machine.push(values(n)))), 0);
}

/// Batches of 5,000 points are sealed and sent meanwhile, so that new ones have to be opened.
#[test]
fn a_push_into_a_queue_that_is_drained_allocates_only_for_a_new_batch() {
    let receiver = Receiver::start();
    let db = Database::builder("drained").http(receiver.url()).start().unwrap();
    let machine = machine(&db);
    check(allocating(|n| assert!(machine.push(values(n)).is_ok())), 4_000);
}

fn check(allocating: usize, at_most: usize) {
    assert!(allocating <= at_most, "{allocating} of {COUNTED} pushes allocated, {at_most} may");
}
