//! Random lives of a transit.

use std::time::Duration;

use proptest::prelude::*;

use super::rig::{Disk, Full, complaint, fault, refusal, terms, trouble};
use super::world::{End, World};
use crate::machines::transit::Terms;
use crate::machines::verdict::{Cause, Verdict};
use crate::machines::waiters::Until;
use crate::values::config::{Compression, WhenFull};

#[derive(Clone, Debug)]
enum Action {
    Push(u64),
    PushStaged(u64),
    TakeJobs(usize),
    FinishJob(usize, bool),
    Plan { force: bool },
    FinishTrip(End),
    Read,
    Damage(usize),
    Lease(usize),
    Answer(usize, Reply),
    Die(usize, bool),
    Look,
    PassToNextDue,
    Pass(u64),
    Ask(u64, Until),
    Flush,
    CommitAll,
    Replay,
    Reconfigure(Terms),
    Crash,
}

/// What the server does.
#[derive(Clone, Debug)]
enum Reply {
    /// It says this, whatever it was sent.
    Says(Verdict),
    /// It refuses what is bad.
    Judges,
    /// It fails with what is bad.
    Chokes,
    /// It fails, whatever it was sent, and it may be the data.
    Fails,
    /// It takes two points at a time.
    Measures,
}

fn action() -> impl Strategy<Value = Action> {
    let end = prop_oneof![4 => Just(End::Answered), 1 => Just(End::AnswerLost), 1 => Just(End::Never)];
    let verdict = prop_oneof![4 => Just(Verdict::Delivered), 3 => Just(trouble()), 1 => Just(refusal())];
    let reply = prop_oneof![
        4 => verdict.prop_map(Reply::Says),
        3 => Just(Reply::Judges),
        1 => Just(Reply::Chokes),
        1 => Just(Reply::Fails),
        1 => Just(Reply::Measures),
    ];
    let until = prop_oneof![Just(Until::Persisted), Just(Until::Settled)];
    prop_oneof![
        12 => (1..14_u64).prop_map(Action::Push),
        4 => (1..40_u64).prop_map(Action::PushStaged),
        4 => (1..4_usize).prop_map(Action::TakeJobs),
        8 => (any::<usize>(), prop::bool::weighted(0.9)).prop_map(|(nth, well)| Action::FinishJob(nth, well)),
        6 => prop::bool::weighted(0.2).prop_map(|force| Action::Plan { force }),
        8 => end.prop_map(Action::FinishTrip),
        4 => Just(Action::Read),
        1 => any::<usize>().prop_map(Action::Damage),
        8 => (0..4_usize).prop_map(Action::Lease),
        8 => (0..4_usize, reply).prop_map(|(holder, reply)| Action::Answer(holder, reply)),
        2 => (0..4_usize, any::<bool>()).prop_map(|(holder, panicked)| Action::Die(holder, panicked)),
        4 => Just(Action::Look),
        4 => Just(Action::PassToNextDue),
        4 => (0..3000_u64).prop_map(Action::Pass),
        4 => (0..30_u64, until).prop_map(|(back, until)| Action::Ask(back, until)),
        1 => Just(Action::Flush),
        1 => Just(Action::CommitAll),
        1 => Just(Action::Replay),
        1 => any_terms().prop_map(Action::Reconfigure),
        1 => Just(Action::Crash),
    ]
}

/// Bounds so small that everything is reached, and loss windows of each kind. There is a spool, always.
fn any_terms() -> impl Strategy<Value = Terms> {
    let policy = prop_oneof![3 => Just(WhenFull::DropOldest), 1 => Just(WhenFull::DropNewest), 1 => Just(WhenFull::Refuse)];
    let compression = prop_oneof![Just(Compression::None), Just(Compression::Gzip)];
    let window = prop_oneof![Just(0), Just(1000), Just(60_000)].prop_map(Duration::from_millis);
    // What the transit believes of the file's bound: right, or so wrong that leases and evictions race.
    let spool_bytes_max = prop_oneof![Just(0), Just(1 << 30)];
    (8..60_u64, policy, compression, window, spool_bytes_max).prop_map(
        |(points_max, when_full, compression, window, spool_bytes_max)| Terms {
            points_max,
            when_full,
            compression,
            loss_window: Some(window),
            spool_bytes_max,
            ..terms()
        },
    )
}

fn any_disk() -> impl Strategy<Value = Disk> {
    let full = prop_oneof![Just(Full::DropOldest), Just(Full::Refuse)];
    (prop_oneof![3 => 1..30_usize, 1 => Just(1000)], full)
        .prop_map(|(rows_max, full)| Disk::new(rows_max, full))
}

fn act(world: &mut World, action: Action, has_spool: bool) {
    match action {
        Action::Push(points) => world.push(points),
        Action::PushStaged(points) => world.push_staged(points),
        Action::TakeJobs(jobs_max) => _ = world.take_jobs(jobs_max),
        Action::FinishJob(nth, well) => world.finish_job(nth, well),
        Action::Plan { force } => _ = world.plan(force),
        Action::FinishTrip(end) => world.finish_trip(end),
        Action::Read => _ = world.read(),
        Action::Damage(nth) => _ = world.disk.damage(nth),
        Action::Lease(holder) => _ = world.lease(holder),
        Action::Answer(holder, reply) => _ = reply_with(world, holder, reply),
        Action::Die(holder, panicked) => world.die(holder, panicked),
        Action::Look => _ = world.look(),
        Action::PassToNextDue => _ = world.pass_to_next_due(),
        Action::Pass(millis) => world.now += Duration::from_millis(millis),
        Action::Ask(back, until) => world.ask(back, until),
        Action::Flush => world.flush(),
        Action::CommitAll => {
            if has_spool {
                world.commit_all();
            }
        }
        Action::Replay => {
            if has_spool {
                world.replay();
            }
        }
        Action::Reconfigure(mut terms) => {
            terms.loss_window = terms.loss_window.filter(|_| has_spool);
            world.terms = terms;
            world.transit.set_terms(terms, world.now);
        }
        Action::Crash => world.crash(),
    }
}

fn reply_with(world: &mut World, holder: usize, reply: Reply) -> bool {
    let fault = fault();
    match reply {
        Reply::Says(verdict) => world.answer(holder, verdict),
        Reply::Judges => world.judge(holder, &complaint(Cause::Malformed)),
        Reply::Chokes => world.choke(holder, &fault),
        Reply::Fails => world.fail_in_doubt(holder, &fault),
        Reply::Measures => world.measure(holder, 2),
    }
}

fn live(terms: Terms, disk: Disk, actions: Vec<Action>) {
    let has_spool = terms.loss_window.is_some();
    let mut world = World::new(terms, disk);
    world.bad = |number| number % 7 == 3;
    for action in actions {
        act(&mut world, action, has_spool);
        world.check();
    }
    world.drain();
}

fn cases() -> u32 {
    if std::env::var_os("RUN_SLOW_TESTS").is_some() { 100_000 } else { 1_000 }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: cases(), failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn every_point_is_in_one_place_until_it_meets_one_fate(
        terms in any_terms(),
        disk in any_disk(),
        actions in prop::collection::vec(action(), 1..120),
    ) {
        live(terms, disk, actions);
    }

    #[test]
    fn without_a_spool_too(terms in any_terms(), actions in prop::collection::vec(action(), 1..120)) {
        live(Terms { loss_window: None, ..terms }, Disk::new(0, Full::Refuse), actions);
    }
}
