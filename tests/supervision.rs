//! Supervision: restarts, their order and their limits, heartbeats, and the stop.
#![allow(clippy::unwrap_used, clippy::panic, reason = "the lints do not see that helpers of tests are tests")]

use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use actix::prelude::*;
use influx_spool::{
    ChildSpec, ChildState, Exit, PriorityContext, Restart, RestartIntensity, StopReason, Strategy,
    Supervisor, SupervisorEvent, SupervisorHandle, WhenExceeded,
};
use tokio::sync::watch;
use tokio::time::Instant;

const SECOND: Duration = Duration::from_secs(1);

/// Where a child panics, and how often.
#[derive(Clone, Default)]
struct Faults(Arc<Mutex<Vec<&'static str>>>);

impl Faults {
    fn plan(&self, place: &'static str, times: usize) {
        self.0.lock().unwrap().extend(std::iter::repeat_n(place, times));
    }

    fn strike(&self, place: &str) {
        let mut planned = self.0.lock().unwrap();
        if let Some(at) = planned.iter().position(|known| *known == place) {
            planned.remove(at);
            drop(planned);
            panic!("{place}");
        }
    }
}

/// What happened in the whole tree, in order.
#[derive(Clone, Default)]
struct Diary(Arc<Mutex<Vec<String>>>);

impl Diary {
    fn note(&self, entry: impl Into<String>) {
        self.0.lock().unwrap().push(entry.into());
    }

    fn take(&self) -> Vec<String> {
        std::mem::take(&mut self.0.lock().unwrap())
    }
}

struct Child {
    name: &'static str,
    diary: Diary,
    faults: Faults,
    sum: u32,
}

impl Actor for Child {
    type Context = PriorityContext<Self>;
    fn started(&mut self, _: &mut Self::Context) {
        self.diary.note(format!("{} up", self.name));
        self.faults.strike("started");
    }
    fn stopping(&mut self, _: &mut Self::Context) -> Running {
        self.faults.strike("stopping");
        Running::Stop
    }
    fn stopped(&mut self, _: &mut Self::Context) {
        self.diary.note(format!("{} down", self.name));
        self.faults.strike("stopped");
    }
}
impl Drop for Child {
    fn drop(&mut self) {
        self.faults.strike("drop");
    }
}

struct Add(u32);
impl Message for Add {
    type Result = ();
}
impl Handler<Add> for Child {
    type Result = ();
    fn handle(&mut self, add: Add, _: &mut Self::Context) {
        self.sum += add.0;
    }
}

struct Sum;
impl Message for Sum {
    type Result = u32;
}
impl Handler<Sum> for Child {
    type Result = u32;
    fn handle(&mut self, _: Sum, _: &mut Self::Context) -> u32 {
        self.sum
    }
}

/// Runs a closure inside the actor.
struct Run(Job);
type Job = Box<dyn FnOnce(&mut Child, &mut PriorityContext<Child>) + Send>;
impl Message for Run {
    type Result = ();
}
impl Handler<Run> for Child {
    type Result = ();
    fn handle(&mut self, run: Run, ctx: &mut Self::Context) {
        (run.0)(self, ctx);
    }
}

fn run(f: impl FnOnce(&mut Child, &mut PriorityContext<Child>) + Send + 'static) -> Run {
    Run(Box::new(f))
}

fn panic_now() -> Run {
    run(|_, _| panic!("on purpose"))
}

/// A supervisor in the making, and everything its test looks at.
struct Plant {
    supervisor: Option<Supervisor>,
    diary: Diary,
    faults: Faults,
    built: Arc<AtomicU32>,
    events: watch::Receiver<Vec<SupervisorEvent>>,
}

impl Plant {
    fn new(configure: impl FnOnce(Supervisor) -> Supervisor) -> Self {
        let (heard, events) = watch::channel(Vec::new());
        let supervisor = configure(Supervisor::builder("plant"))
            .on_event(move |event| heard.send_modify(|events| events.push(event.clone())));
        Self {
            supervisor: Some(supervisor),
            diary: Diary::default(),
            faults: Faults::default(),
            built: Arc::default(),
            events,
        }
    }

    fn spec(&self, name: &'static str) -> ChildSpec<Child> {
        let (diary, faults, built) = (self.diary.clone(), self.faults.clone(), self.built.clone());
        ChildSpec::new(name, move |_| {
            built.fetch_add(1, Ordering::SeqCst);
            faults.strike("factory");
            Child { name, diary: diary.clone(), faults: faults.clone(), sum: 0 }
        })
    }

    fn child(&mut self, spec: ChildSpec<Child>) -> Addr<Child> {
        self.supervisor.as_mut().unwrap().child(spec)
    }

    fn start(&mut self) -> SupervisorHandle {
        self.supervisor.take().unwrap().start()
    }

    fn built(&self) -> u32 {
        self.built.load(Ordering::SeqCst)
    }

    /// Waits for an event of this kind, from the beginning on.
    async fn saw(&mut self, wanted: impl Fn(&SupervisorEvent) -> bool) {
        self.events.wait_for(|events| events.iter().any(&wanted)).await.unwrap();
    }

    async fn saw_restart(&mut self, name: &str, wanted: u64) {
        self.saw(|event| {
            matches!(event, SupervisorEvent::ChildStarted { child, generation } if **child == *name && *generation == wanted)
        })
        .await;
    }

    fn exits(&self) -> Vec<Exit> {
        let events = self.events.borrow();
        let exits = events.iter().filter_map(|event| match event {
            SupervisorEvent::ChildExited { exit, .. } => Some(exit.clone()),
            _ => None,
        });
        exits.collect()
    }
}

/// Runs a test on a fresh actix system whose clock stands still, and jumps when all are idle.
fn on_paused_clock<T>(test: impl Future<Output = T>) -> T {
    System::new().block_on(async {
        tokio::time::pause();
        test.await
    })
}

/// Waits for something another task does on this thread, without a clock.
async fn until(mut done: impl FnMut() -> bool) {
    while !done() {
        tokio::task::yield_now().await;
    }
}

fn at_once(supervisor: Supervisor) -> Supervisor {
    supervisor.backoff(Duration::ZERO, Duration::ZERO)
}

fn panicked(text: &str) -> Exit {
    Exit::Panicked(text.into())
}

/// A child that fails at `place` is rebuilt, keeps its address, and handles what was queued behind the fault.
fn check_survives(place: &'static str, times: usize, trigger: impl FnOnce(&Addr<Child>) + 'static) {
    on_paused_clock(async move {
        let mut plant = Plant::new(|supervisor| supervisor);
        let child = plant.child(plant.spec("child"));
        let running = plant.start();
        assert_eq!(child.send(Sum).await, Ok(0));
        plant.faults.plan(place, times);
        let handled = Arc::new(AtomicU32::new(0));
        trigger(&child);
        for _ in 0..3 {
            let handled = handled.clone();
            child.do_send(run(move |_, _| _ = handled.fetch_add(1, Ordering::SeqCst)));
        }
        plant.saw(|event| matches!(event, SupervisorEvent::ChildStarted { generation: 2.., .. })).await;
        child.send(Sum).await.unwrap();
        assert_eq!(handled.load(Ordering::SeqCst), 3, "{place}");
        let status = running.children().remove(0);
        assert_eq!((status.state, status.restarts_total), (ChildState::Up, u64::from(plant.built()) - 1));
        assert_eq!(plant.exits().len(), plant.built() as usize - 1);
        assert_eq!(running.stop(SECOND).await.reason, StopReason::Stopped);
        assert!(!child.connected());
    });
}

#[test]
fn a_panic_in_a_cast_loses_that_cast_only() {
    check_survives("", 0, |child| child.do_send(panic_now()));
}

#[test]
fn a_panic_in_a_spawned_future_loses_no_message() {
    check_survives("", 0, |child| {
        child.do_send(run(|child, ctx| {
            let future = async {}.into_actor(child);
            ctx.spawn(future.map(|(), _, _| panic!("in a future")));
        }));
    });
}

#[test]
fn a_panic_in_a_wait_loses_no_message() {
    check_survives("", 0, |child| {
        child.do_send(run(|child, ctx| {
            let future = tokio::time::sleep(SECOND).into_actor(child);
            ctx.wait(future.map(|(), _, _| panic!("in a wait")));
        }));
    });
}

#[test]
fn a_panic_in_a_timer_loses_no_message() {
    check_survives("", 0, |child| {
        child.do_send(run(|child, ctx| {
            ctx.run_later(Duration::ZERO, |_, _| panic!("in a timer"));
            ctx.wait(tokio::time::sleep(SECOND).into_actor(child));
        }));
    });
}

#[test]
fn panics_in_the_hooks_and_the_factory_lose_no_message() {
    for (place, times) in [("started", 3), ("factory", 3), ("stopping", 1), ("stopped", 1)] {
        check_survives(place, times, |child| child.do_send(run(|_, ctx| ctx.stop())));
    }
}

#[test]
fn a_panic_in_the_actors_destructor_loses_no_message() {
    check_survives("drop", 1, |child| child.do_send(panic_now()));
    check_survives("drop", 1, |child| child.do_send(run(|_, ctx| ctx.stop())));
}

#[test]
fn a_panic_in_a_call_closes_that_call_and_no_other() {
    on_paused_clock(async {
        let mut plant = Plant::new(at_once);
        let child = plant.child(plant.spec("child"));
        let running = plant.start();
        let (first, doomed, second) = (child.send(Sum), child.send(panic_now()), child.send(Sum));
        child.do_send(Add(1));
        assert_eq!((first.await, doomed.await, second.await), (Ok(1), Err(MailboxError::Closed), Ok(0)));
        assert_eq!(plant.exits(), [panicked("on purpose")]);
        running.stop(SECOND).await;
    });
}

#[test]
fn the_listener_may_panic() {
    on_paused_clock(async {
        let mut supervisor = Supervisor::builder("plant").on_event(|_| panic!("in the listener"));
        let child = supervisor.child(Plant::new(|it| it).spec("child"));
        let running = supervisor.start();
        assert_eq!(child.send(Sum).await, Ok(0));
        assert_eq!(running.stop(SECOND).await.reason, StopReason::Stopped);
    });
}

#[test]
fn handles_of_an_earlier_generation_cancel_nothing() {
    on_paused_clock(async {
        let mut plant = Plant::new(at_once);
        let child = plant.child(plant.spec("child"));
        let running = plant.start();
        let handles = Arc::new(Mutex::new(Vec::new()));
        for _ in 0..2 {
            let handles = handles.clone();
            child.do_send(run(move |_, ctx| {
                let mut handles = handles.lock().unwrap();
                handles.iter().for_each(|old| assert!(!ctx.cancel_future(*old)));
                handles.push(ctx.run_later(SECOND, |child, _| child.sum += 100));
            }));
            child.do_send(panic_now());
        }
        child.do_send(run(move |_, ctx| {
            let new = ctx.run_later(SECOND, |child, _| child.sum += 1);
            assert!(!handles.lock().unwrap().contains(&new));
        }));
        tokio::time::sleep(2 * SECOND).await;
        assert_eq!(child.send(Sum).await, Ok(1));
        running.stop(SECOND).await;
    });
}

#[test]
fn the_policy_decides_which_exits_are_followed_by_a_restart() {
    let normal = || run(|_, ctx| ctx.stop());
    let cases = [
        (Restart::Permanent, normal as fn() -> Run, ChildState::Up),
        (Restart::Permanent, panic_now, ChildState::Up),
        (Restart::Transient, normal, ChildState::Down),
        (Restart::Transient, panic_now, ChildState::Up),
        (Restart::Temporary, normal, ChildState::Down),
        (Restart::Temporary, panic_now, ChildState::Down),
    ];
    for (restart, end, state) in cases {
        on_paused_clock(async {
            let mut plant = Plant::new(at_once);
            let child = plant.child(plant.spec("child").restart(restart));
            let running = plant.start();
            child.do_send(end());
            plant.saw(|event| matches!(event, SupervisorEvent::ChildExited { .. })).await;
            tokio::time::sleep(SECOND).await;
            assert_eq!(running.children()[0].state, state, "{restart:?}");
            running.stop(SECOND).await;
        });
    }
}

#[test]
fn rest_for_one_takes_the_later_ones_down_in_reverse_and_up_in_order() {
    on_paused_clock(async {
        let mut plant = Plant::new(|supervisor| supervisor);
        let children: Vec<_> = ["one", "two", "three", "four"]
            .map(|name| {
                let spec = plant.spec(name);
                plant.child(if name == "two" { spec.strategy(Strategy::RestForOne) } else { spec })
            })
            .into();
        let running = plant.start();
        plant.saw_restart("four", 1).await;
        assert_eq!(plant.diary.take(), ["one up", "two up", "three up", "four up"]);

        children[1].do_send(panic_now());
        (0..3).for_each(|_| children[3].do_send(Add(1)));
        plant.saw_restart("four", 2).await;
        assert_eq!(plant.diary.take(), ["four down", "three down", "two up", "three up", "four up"]);

        children[3].do_send(panic_now());
        plant.saw_restart("four", 3).await;
        assert_eq!(plant.diary.take(), ["four up"]);
        running.stop(SECOND).await;
        assert_eq!(plant.diary.take(), ["four down", "three down", "two down", "one down"]);
    });
}

#[test]
fn rest_for_one_ends_temporary_children_for_good() {
    on_paused_clock(async {
        let mut plant = Plant::new(|supervisor| at_once(supervisor).strategy(Strategy::RestForOne));
        let first = plant.child(plant.spec("first"));
        plant.child(plant.spec("temporary").restart(Restart::Temporary));
        plant.child(plant.spec("last").strategy(Strategy::OneForOne));
        let running = plant.start();
        plant.saw_restart("last", 1).await;
        first.do_send(panic_now());
        plant.saw_restart("last", 2).await;
        let states: Vec<_> = running.children().iter().map(|child| child.state).collect();
        assert_eq!(states, [ChildState::Up, ChildState::Down, ChildState::Up]);
        running.stop(SECOND).await;
    });
}

#[test]
fn a_child_that_fails_at_every_start_gets_growing_delays_and_escalates() {
    on_paused_clock(async {
        let mut plant = Plant::new(|supervisor| supervisor.intensity(RestartIntensity::new(5, 30 * SECOND)));
        let sound = plant.child(plant.spec("sound"));
        assert!(sound.connected());
        let faulty = plant
            .supervisor
            .as_mut()
            .unwrap()
            .child(ChildSpec::<Child>::new("faulty", |_| panic!("never up")));
        let begun = Instant::now();
        let running = plant.start();
        let queued = faulty.send(Sum);
        let stopped = running.wait().await;
        let expected = StopReason::Escalated { child: "faulty".into(), exit: panicked("never up") };
        assert_eq!(stopped.reason, expected);
        // 0.1 + 0.2 + 0.4 + 0.8 + 1.6 s at most, when the dice are at their highest.
        assert!(begun.elapsed() < Duration::from_millis(3200), "{:?}", begun.elapsed());
        let events = plant.events.borrow().clone();
        let delays = events.iter().filter_map(|event| match event {
            SupervisorEvent::ChildExited { child, delay, .. } if **child == *"faulty" => *delay,
            _ => None,
        });
        let ceilings = [100, 200, 400, 800, 1600].map(Duration::from_millis);
        assert!(delays.clone().zip(ceilings).all(|(delay, ceiling)| delay <= ceiling));
        assert_eq!(delays.count(), 5);
        assert_eq!(plant.diary.take(), ["sound up", "sound down"]);
        assert!(events.iter().any(|event| matches!(event, SupervisorEvent::Escalated { .. })));
        assert_eq!(queued.await, Err(MailboxError::Closed));
        assert!(!sound.connected() && !faulty.connected());
        assert_eq!(running.stop(SECOND).await, stopped);
    });
}

#[test]
fn a_degraded_supervisor_tries_again_and_recovers() {
    on_paused_clock(async {
        let mut plant = Plant::new(|supervisor| {
            at_once(supervisor)
                .intensity(RestartIntensity::new(2, 30 * SECOND))
                .when_exceeded(WhenExceeded::RetryEvery(60 * SECOND))
        });
        plant.child(plant.spec("first"));
        let child = plant.child(plant.spec("second"));
        plant.faults.plan("factory", 7);
        let begun = Instant::now();
        let running = plant.start();
        plant.saw(|event| matches!(event, SupervisorEvent::Degraded { .. })).await;
        // Both children fail at first; what is queued meanwhile is handled when they are back.
        child.do_send(Add(1));
        assert_eq!(child.send(Sum).await, Ok(1));
        assert_eq!(begun.elapsed().as_secs(), 120);
        plant.saw(|event| *event == SupervisorEvent::Recovered).await;
        assert_eq!(begun.elapsed().as_secs(), 150);
        let degradations = plant
            .events
            .borrow()
            .iter()
            .filter(|event| matches!(event, SupervisorEvent::Degraded { .. }))
            .count();
        assert_eq!(degradations, 1);
        assert_eq!(running.stop(SECOND).await.reason, StopReason::Stopped);
    });
}

#[test]
fn deaths_further_apart_than_the_intensity_go_on_for_ever() {
    on_paused_clock(async {
        let mut plant =
            Plant::new(|supervisor| at_once(supervisor).intensity(RestartIntensity::new(1, SECOND)));
        let child = plant.child(plant.spec("child"));
        let running = plant.start();
        for _ in 0..50 {
            child.do_send(panic_now());
            assert_eq!(child.send(Sum).await, Ok(0));
            tokio::time::sleep(SECOND + Duration::from_millis(2)).await;
        }
        assert_eq!(running.children()[0].restarts_total, 50);
        running.stop(SECOND).await;
    });
}

#[test]
fn a_hundred_thousand_casts_wait_out_a_backoff() {
    on_paused_clock(async {
        let mut plant = Plant::new(|supervisor| supervisor.backoff(10 * SECOND, 10 * SECOND));
        let child = plant.child(plant.spec("child"));
        let running = plant.start();
        child.do_send(panic_now());
        plant.saw(|event| matches!(event, SupervisorEvent::ChildExited { .. })).await;
        assert_eq!(running.children()[0].state, ChildState::Waiting);
        (0..100_000).for_each(|_| child.do_send(Add(1)));
        assert_eq!(child.send(Sum).await, Ok(100_000));
        running.stop(SECOND).await;
    });
}

#[test]
fn dropping_addresses_and_handles_ends_nothing() {
    on_paused_clock(async {
        let mut plant = Plant::new(|supervisor| supervisor);
        let child = plant.child(plant.spec("child")).downgrade();
        drop(plant.start());
        tokio::time::sleep(100 * SECOND).await;
        let child = child.upgrade().unwrap();
        assert_eq!(child.send(Sum).await, Ok(0));
        assert_eq!(plant.built(), 1);
    });
}

#[test]
fn a_child_that_sits_in_a_wait_is_killed_and_rebuilt() {
    on_paused_clock(async {
        let mut plant = Plant::new(at_once);
        let child = plant.child(plant.spec("child").heartbeat(Some(4 * SECOND)));
        let running = plant.start();
        child.do_send(run(|child, ctx| ctx.wait(std::future::pending().into_actor(child))));
        child.do_send(Add(1));
        let begun = Instant::now();
        assert_eq!(child.send(Sum).await, Ok(1));
        assert!(begun.elapsed() <= 10 * SECOND + SECOND, "{:?}", begun.elapsed());
        assert_eq!(plant.exits(), [Exit::Stuck]);
        plant.saw(|event| matches!(event, SupervisorEvent::ChildStuck { .. })).await;
        assert_eq!(running.children()[0].last_exit, Some(Exit::Stuck));
        running.stop(SECOND).await;
    });
}

#[test]
fn a_declared_wait_and_a_busy_child_are_not_stuck() {
    on_paused_clock(async {
        let mut plant = Plant::new(at_once);
        let waiting = plant.child(plant.spec("waiting").heartbeat(Some(SECOND)));
        let busy = plant.child(plant.spec("busy").heartbeat(Some(SECOND)));
        let running = plant.start();
        waiting.do_send(run(|child, ctx| {
            ctx.declare_waiting(Instant::now() + 60 * SECOND);
            ctx.wait(tokio::time::sleep(55 * SECOND).into_actor(child));
        }));
        for _ in 0..100 {
            busy.do_send(run(|child, ctx| ctx.wait(tokio::time::sleep(SECOND / 2).into_actor(child))));
        }
        assert_eq!((waiting.send(Sum).await, busy.send(Sum).await), (Ok(0), Ok(0)));
        assert_eq!(plant.exits(), []);
        running.stop(SECOND).await;
    });
}

#[test]
fn a_child_that_blocks_its_thread_is_reported_and_left_alone_when_it_comes_back() {
    System::new().block_on(async {
        let mut plant = Plant::new(at_once);
        let arbiter = Arbiter::new();
        let spec = plant.spec("child").heartbeat(Some(Duration::from_millis(5))).arbiter(arbiter.handle());
        let child = plant.child(spec);
        let running = plant.start();
        let (open, gate) = std::sync::mpsc::channel::<()>();
        child.do_send(Add(1));
        child.do_send(run(move |_, _| gate.recv().unwrap()));
        plant.saw(|event| matches!(event, SupervisorEvent::ChildStuck { .. })).await;
        assert_eq!(running.children()[0].state, ChildState::Stuck);
        open.send(()).unwrap();
        plant.saw(|event| matches!(event, SupervisorEvent::ChildCameBack { .. })).await;
        assert_eq!(child.send(Sum).await, Ok(1));
        running.stop(SECOND).await;
        arbiter.stop();
        arbiter.join().unwrap();
    });
}

#[test]
fn a_child_that_blocks_its_thread_does_not_hold_up_the_stop() {
    System::new().block_on(async {
        let mut plant = Plant::new(at_once);
        let arbiter = Arbiter::new();
        plant.child(plant.spec("sound"));
        let child = plant.child(plant.spec("blocked").arbiter(arbiter.handle()));
        let running = plant.start();
        let (open, gate) = std::sync::mpsc::channel::<()>();
        child.do_send(run(move |_, _| gate.recv().unwrap()));
        plant.saw_restart("blocked", 1).await;
        let stopped = running.stop(Duration::from_millis(20)).await;
        open.send(()).unwrap();
        assert_eq!(stopped.abandoned, ["blocked".into()]);
        assert_eq!(stopped.killed, ["blocked".into(), "sound".into()]);
        arbiter.stop();
        arbiter.join().unwrap();
    });
}

#[test]
fn children_stop_within_their_own_time_or_are_killed() {
    on_paused_clock(async {
        let mut plant = Plant::new(at_once);
        plant.child(plant.spec("quick"));
        let slow = plant.child(plant.spec("slow").shutdown(3 * SECOND));
        let brutal = plant.spec("brutal").shutdown(Duration::ZERO);
        plant.child(brutal);
        let running = plant.start();
        plant.saw_restart("brutal", 1).await;
        plant.diary.take();
        // It refuses to stop.
        struct Stubborn(Arc<AtomicU64>);
        impl Actor for Stubborn {
            type Context = PriorityContext<Self>;
            fn stopping(&mut self, _: &mut Self::Context) -> Running {
                self.0.fetch_add(1, Ordering::SeqCst);
                Running::Continue
            }
        }
        slow.send(Sum).await.unwrap();
        let asked = Arc::new(AtomicU64::new(0));
        let counted = asked.clone();
        let mut other = Supervisor::builder("stubborn");
        other.child(ChildSpec::new("stubborn", move |_| Stubborn(counted.clone())).shutdown(3 * SECOND));
        let other = other.start();
        until(|| other.children()[0].state == ChildState::Up).await;
        let begun = Instant::now();
        let stopped = other.stop(60 * SECOND).await;
        assert_eq!((stopped.killed, begun.elapsed().as_secs()), (vec!["stubborn".into()], 3));
        assert_eq!(asked.load(Ordering::SeqCst), 1);

        let stopped = running.stop(60 * SECOND).await;
        assert_eq!(stopped.killed, ["brutal".into()]);
        assert_eq!(plant.diary.take(), ["slow down", "quick down"]);
    });
}

#[test]
fn a_child_that_waits_stops_at_once_when_told_to() {
    on_paused_clock(async {
        let mut plant = Plant::new(at_once);
        let child = plant.child(plant.spec("child"));
        let running = plant.start();
        child.do_send(run(|child, ctx| ctx.wait(std::future::pending().into_actor(child))));
        plant.saw_restart("child", 1).await;
        let begun = Instant::now();
        let stopped = running.stop(60 * SECOND).await;
        assert_eq!((stopped.killed.len(), begun.elapsed()), (0, Duration::ZERO));
    });
}

#[test]
fn a_stop_during_a_backoff_does_not_wait_for_it() {
    on_paused_clock(async {
        let mut plant = Plant::new(|supervisor| supervisor.backoff(1000 * SECOND, 1000 * SECOND));
        let child = plant.child(plant.spec("child"));
        let running = plant.start();
        child.do_send(panic_now());
        plant.saw(|event| matches!(event, SupervisorEvent::ChildExited { .. })).await;
        let begun = Instant::now();
        running.stop(SECOND).await;
        assert_eq!((begun.elapsed(), plant.built()), (Duration::ZERO, 1));
    });
}

#[test]
fn a_killed_child_is_restarted() {
    on_paused_clock(async {
        let mut plant = Plant::new(at_once);
        let child = plant.child(plant.spec("child"));
        let running = plant.start();
        child.send(Sum).await.unwrap();
        running.kill_child("nobody");
        running.kill_child("child");
        plant.saw_restart("child", 2).await;
        assert_eq!((plant.exits(), child.send(Sum).await), (vec![Exit::Killed], Ok(0)));
        running.stop(SECOND).await;
    });
}

#[test]
fn a_supervisor_whose_arbiter_ends_is_lost() {
    System::new().block_on(async {
        let mut plant = Plant::new(at_once);
        let child = plant.child(plant.spec("child"));
        let arbiter = Arbiter::new();
        let running = plant.supervisor.take().unwrap().start_in(&arbiter.handle());
        assert_eq!(child.send(Sum).await, Ok(0));
        arbiter.stop();
        assert_eq!(running.wait().await.reason, StopReason::Lost);
        arbiter.join().unwrap();
        assert!(!child.connected());
        let mut late = Supervisor::builder("late");
        late.child(plant.spec("child"));
        assert_eq!(late.start_in(&arbiter_that_has_ended()).stop(SECOND).await.reason, StopReason::Lost);
    });
}

fn arbiter_that_has_ended() -> ArbiterHandle {
    let arbiter = Arbiter::new();
    let handle = arbiter.handle();
    arbiter.stop();
    arbiter.join().unwrap();
    handle
}

#[test]
fn a_child_whose_arbiter_ends_escalates() {
    System::new().block_on(async {
        let mut plant = Plant::new(at_once);
        let arbiter = Arbiter::new();
        let sound = plant.child(plant.spec("sound"));
        let child = plant.child(plant.spec("child").arbiter(arbiter.handle()));
        let running = plant.start();
        assert_eq!(child.send(Sum).await, Ok(0));
        arbiter.stop();
        let reason = running.wait().await.reason;
        assert_eq!(reason, StopReason::Escalated { child: "child".into(), exit: Exit::Killed });
        arbiter.join().unwrap();
        assert!(!sound.connected());
    });
}

#[test]
fn a_child_whose_arbiter_has_ended_before_escalates() {
    System::new().block_on(async {
        let mut plant = Plant::new(at_once);
        let spec = plant.spec("child").arbiter(arbiter_that_has_ended());
        plant.child(spec);
        let reason = plant.start().wait().await.reason;
        assert_eq!(reason, StopReason::Escalated { child: "child".into(), exit: Exit::Killed });
    });
}

#[test]
fn random_deaths_lose_nothing_but_the_message_in_work() {
    on_paused_clock(async {
        let mut plant =
            Plant::new(|supervisor| supervisor.intensity(RestartIntensity::new(u32::MAX, SECOND)));
        let done = Arc::new(AtomicU64::new(0));
        let child = plant.child(plant.spec("child").strategy(Strategy::RestForOne));
        let next = plant.child(plant.spec("next"));
        let running = plant.start();
        for number in 0..2000_u64 {
            let done = done.clone();
            let target = if number % 2 == 0 { &child } else { &next };
            if fastrand::u8(..) < 8 {
                target.do_send(panic_now());
            } else if fastrand::u8(..) < 8 {
                running.kill_child(if number % 2 == 0 { "child" } else { "next" });
                tokio::task::yield_now().await;
            }
            target.do_send(run(move |_, _| _ = done.fetch_add(1, Ordering::SeqCst)));
        }
        child.send(Sum).await.unwrap();
        next.send(Sum).await.unwrap();
        assert_eq!(done.load(Ordering::SeqCst), 2000);
        assert!(plant.built() > 4);
        running.stop(SECOND).await;
    });
}
