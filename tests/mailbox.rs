//! The mailbox and its runner, through actix's public face.
#![allow(clippy::unwrap_used, clippy::panic, reason = "the lints do not see that helpers of tests are tests")]

use std::cell::RefCell;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use actix::prelude::*;
use influx_spool::{MailboxOptions, PriorityContext};
use tokio::sync::{mpsc, oneshot};

/// What an actor did, in order.
type Diary = Rc<RefCell<Vec<String>>>;

fn note(diary: &Diary, entry: impl Into<String>) {
    diary.borrow_mut().push(entry.into());
}

struct Cast(u32);
impl Message for Cast {
    type Result = ();
}

struct Call(u32);
impl Message for Call {
    type Result = u32;
}

/// Runs a closure inside the actor.
struct Run(Job);
type Job = Box<dyn FnOnce(&mut Worker, &mut PriorityContext<Worker>) + Send>;
impl Message for Run {
    type Result = ();
}

fn run(f: impl FnOnce(&mut Worker, &mut PriorityContext<Worker>) + Send + 'static) -> Run {
    Run(Box::new(f))
}

#[derive(Default)]
struct Worker {
    diary: Diary,
    stops_refused: u32,
}

impl Actor for Worker {
    type Context = PriorityContext<Self>;
    fn stopping(&mut self, _: &mut Self::Context) -> Running {
        note(&self.diary, "stopping");
        if self.stops_refused == 0 {
            return Running::Stop;
        }
        self.stops_refused -= 1;
        Running::Continue
    }
    fn stopped(&mut self, _: &mut Self::Context) {
        note(&self.diary, "stopped");
    }
}
impl Handler<Cast> for Worker {
    type Result = ();
    fn handle(&mut self, cast: Cast, _: &mut Self::Context) {
        note(&self.diary, format!("cast {}", cast.0));
    }
}
impl Handler<Call> for Worker {
    type Result = u32;
    fn handle(&mut self, call: Call, _: &mut Self::Context) -> u32 {
        note(&self.diary, format!("call {}", call.0));
        call.0
    }
}
impl Handler<Run> for Worker {
    type Result = ();
    fn handle(&mut self, run: Run, ctx: &mut Self::Context) {
        (run.0)(self, ctx);
    }
}

fn start(options: MailboxOptions) -> (Addr<Worker>, Diary) {
    let diary = Diary::default();
    let worker = Worker { diary: diary.clone(), ..Worker::default() };
    (PriorityContext::start_with(options, |_| worker), diary)
}

/// Runs a test on a fresh actix system whose clock stands still, and jumps when all are idle.
fn on_paused_clock<T>(test: impl Future<Output = T>) -> T {
    System::new().block_on(async {
        tokio::time::pause();
        test.await
    })
}

fn strict() -> MailboxOptions {
    MailboxOptions::default().casts_per_call(None).max_call_age(None)
}

fn entries(kind: &str, numbers: impl IntoIterator<Item = u32>) -> Vec<String> {
    numbers.into_iter().map(|number| format!("{kind} {number}")).collect()
}

/// Waits for something another task does on this thread, without a clock.
async fn until(mut done: impl FnMut() -> bool) {
    while !done() {
        tokio::task::yield_now().await;
    }
}

#[test]
fn without_a_bound_all_casts_go_before_the_calls_and_each_kind_in_order() {
    on_paused_clock(async {
        let (worker, diary) = start(strict().capacity(0));
        let mut calls = Vec::new();
        for cast in 0..1000 {
            worker.do_send(Cast(cast));
            if cast % 10 == 9 {
                calls.push(worker.send(Call(cast / 10)));
            }
        }
        for (number, call) in calls.into_iter().enumerate() {
            assert_eq!(call.await, Ok(number as u32));
        }
        let expected = [entries("cast", 0..1000), entries("call", 0..100)].concat();
        assert_eq!(*diary.borrow(), expected);
    });
}

#[test]
fn the_same_holds_with_the_default_options() {
    on_paused_clock(async {
        let (worker, diary) = start(MailboxOptions::default());
        let calls: Vec<_> = (0..100)
            .map(|number| {
                (0..10).for_each(|cast| worker.do_send(Cast(number * 10 + cast)));
                worker.send(Call(number))
            })
            .collect();
        for call in calls {
            call.await.unwrap();
        }
        assert_eq!(diary.borrow()[999..1001], ["cast 999", "call 0"]);
    });
}

#[test]
fn one_call_is_handled_after_so_many_casts() {
    on_paused_clock(async {
        let (worker, diary) = start(strict().casts_per_call(Some(50)));
        let calls: Vec<_> = (0..3).map(|number| worker.send(Call(number))).collect();
        (0..120).for_each(|cast| worker.do_send(Cast(cast)));
        for call in calls {
            call.await.unwrap();
        }
        let expected = [
            entries("cast", 0..50),
            entries("call", [0]),
            entries("cast", 50..100),
            entries("call", [1]),
            entries("cast", 100..120),
            entries("call", [2]),
        ];
        assert_eq!(*diary.borrow(), expected.concat());
    });
}

#[test]
fn a_call_never_overtakes_a_cast_sent_before_it() {
    on_paused_clock(async {
        let (worker, diary) = start(strict().casts_per_call(Some(1)));
        (0..10).for_each(|cast| worker.do_send(Cast(cast)));
        let call = worker.send(Call(0));
        (10..20).for_each(|cast| worker.do_send(Cast(cast)));
        call.await.unwrap();
        assert_eq!(diary.borrow()[..10], entries("cast", 0..10));
    });
}

#[test]
fn the_oldest_call_is_handled_at_once_when_too_many_are_parked() {
    on_paused_clock(async {
        let (worker, diary) = start(strict().calls_max(2));
        let calls: Vec<_> = (0..4).map(|number| worker.send(Call(number))).collect();
        worker.do_send(Cast(0));
        for call in calls {
            call.await.unwrap();
        }
        assert_eq!(*diary.borrow(), ["call 0", "call 1", "cast 0", "call 2", "call 3"]);
    });
}

#[test]
fn a_call_is_handled_when_it_has_been_parked_too_long() {
    on_paused_clock(async {
        let (worker, diary) = start(strict().max_call_age(Some(Duration::from_millis(250))));
        let call = worker.send(Call(0));
        // Each cast takes 100 ms.
        for cast in 0..5 {
            worker.do_send(run(move |worker, ctx| {
                note(&worker.diary, format!("cast {cast}"));
                ctx.wait(tokio::time::sleep(Duration::from_millis(100)).into_actor(worker));
            }));
        }
        call.await.unwrap();
        assert_eq!(diary.borrow()[..4], ["cast 0", "cast 1", "cast 2", "call 0"]);
    });
}

#[test]
fn under_an_endless_storm_calls_are_answered_and_a_timer_ticks() {
    System::new().block_on(async {
        let (worker, _) = start(MailboxOptions::default());
        let ticks = Arc::new(AtomicU64::new(0));
        let counted = ticks.clone();
        worker.do_send(run(move |_, ctx| {
            ctx.run_interval(Duration::from_millis(1), move |_, _| {
                _ = counted.fetch_add(1, Ordering::SeqCst)
            });
        }));
        // Each stone throws the next: the mailbox is never empty.
        fn stone(stop: Arc<AtomicBool>) -> Run {
            run(move |_, ctx| {
                if !stop.load(Ordering::SeqCst) {
                    ctx.address().do_send(stone(stop));
                }
            })
        }
        let stop = Arc::new(AtomicBool::new(false));
        (0..100).for_each(|_| worker.do_send(stone(stop.clone())));
        for number in 0..20 {
            let asked = std::time::Instant::now();
            assert_eq!(worker.send(Call(number)).await, Ok(number));
            assert!(asked.elapsed() < Duration::from_secs(1), "{:?}", asked.elapsed());
        }
        until(|| ticks.load(Ordering::SeqCst) >= 20).await;
        stop.store(true, Ordering::SeqCst);
    });
}

#[test]
fn a_storm_does_not_starve_the_neighbours_on_the_arbiter() {
    System::new().block_on(async {
        let (worker, _) = start(strict());
        fn stone() -> Run {
            run(|_, ctx| ctx.address().do_send(stone()))
        }
        worker.do_send(stone());
        let (neighbour, diary) = start(strict());
        for number in 0..100 {
            neighbour.send(Call(number)).await.unwrap();
        }
        assert_eq!(diary.borrow().len(), 100);
        worker.do_send(run(|_, ctx| ctx.terminate()));
    });
}

#[test]
fn messages_that_each_wait_do_not_starve_a_timer() {
    on_paused_clock(async {
        let (worker, diary) = start(MailboxOptions::default());
        worker.do_send(run(|_, ctx| {
            ctx.run_interval(Duration::from_millis(1), |worker, _| note(&worker.diary, "tick"));
        }));
        for _ in 0..10 {
            worker.do_send(run(|worker, ctx| {
                note(&worker.diary, "message");
                ctx.wait(tokio::time::sleep(Duration::from_millis(2)).into_actor(worker));
            }));
        }
        worker.send(Call(0)).await.unwrap();
        let diary = diary.borrow();
        let second = diary.iter().enumerate().filter(|(_, entry)| *entry == "message").nth(1).unwrap().0;
        assert!(diary[..second].contains(&"tick".to_owned()), "{diary:?}");
    });
}

#[test]
fn a_wait_holds_back_messages_and_futures_until_it_is_done() {
    on_paused_clock(async {
        let (worker, diary) = start(MailboxOptions::default());
        let (open, gate) = oneshot::channel::<()>();
        worker.do_send(run(|worker, ctx| {
            ctx.run_later(Duration::from_millis(5), |worker, _| note(&worker.diary, "timer"));
            ctx.wait(gate.into_actor(worker).map(|_, worker, _| note(&worker.diary, "waited")));
        }));
        worker.do_send(Cast(1));
        tokio::time::sleep(Duration::from_millis(50)).await;
        assert!(diary.borrow().is_empty());
        open.send(()).unwrap();
        worker.send(Call(2)).await.unwrap();
        assert_eq!(*diary.borrow(), ["waited", "timer", "cast 1", "call 2"]);
    });
}

#[test]
fn of_two_waits_the_newer_is_first_as_in_actix() {
    on_paused_clock(async {
        let (worker, diary) = start(MailboxOptions::default());
        worker.do_send(run(|worker, ctx| {
            for name in ["older", "newer"] {
                let sleep = tokio::time::sleep(Duration::from_millis(5)).into_actor(worker);
                ctx.wait(sleep.map(move |_, worker: &mut Worker, _| note(&worker.diary, name)));
            }
        }));
        worker.send(Call(0)).await.unwrap();
        assert_eq!(*diary.borrow(), ["newer", "older", "call 0"]);
    });
}

#[test]
fn notifications_come_in_their_order_and_a_cancelled_one_not_at_all() {
    on_paused_clock(async {
        let (worker, diary) = start(MailboxOptions::default());
        worker.do_send(run(|_, ctx| {
            (0..5).for_each(|number| ctx.notify(Cast(number)));
            let later = ctx.notify_later(Cast(9), Duration::from_millis(2));
            ctx.notify_later(Cast(8), Duration::from_millis(1));
            assert!(ctx.cancel_future(later));
            assert!(!ctx.cancel_future(later));
        }));
        until(|| diary.borrow().len() == 5).await;
        tokio::time::sleep(Duration::from_millis(10)).await;
        assert_eq!(*diary.borrow(), entries("cast", [0, 1, 2, 3, 4, 8]));
    });
}

#[test]
fn a_future_that_cancels_itself_and_others_takes_effect_at_once() {
    on_paused_clock(async {
        let (worker, diary) = start(MailboxOptions::default());
        worker.do_send(run(|_, ctx| {
            let handles = Rc::new(RefCell::new(Vec::<SpawnHandle>::new()));
            let known = handles.clone();
            let first = ctx.run_interval(Duration::from_millis(1), move |worker, ctx| {
                note(&worker.diary, "first");
                known.borrow_mut().drain(..).for_each(|handle| assert!(ctx.cancel_future(handle)));
            });
            let second =
                ctx.run_interval(Duration::from_millis(1), |worker, _| note(&worker.diary, "second"));
            handles.borrow_mut().extend([first, second]);
        }));
        tokio::time::sleep(Duration::from_millis(20)).await;
        assert_eq!(*diary.borrow(), ["first"]);
    });
}

#[test]
fn a_chain_of_notifications_lets_others_have_their_turn() {
    struct Endless;
    impl Message for Endless {
        type Result = ();
    }
    impl Handler<Endless> for Worker {
        type Result = ();
        fn handle(&mut self, _: Endless, ctx: &mut Self::Context) {
            ctx.notify(Endless);
        }
    }
    System::new().block_on(async {
        let (worker, _) = start(MailboxOptions::default());
        worker.do_send(run(|_, ctx| ctx.notify(Endless)));
        assert_eq!(worker.send(Call(1)).await, Ok(1));
        worker.do_send(run(|_, ctx| ctx.terminate()));
    });
}

#[test]
fn streams_are_handled_to_their_end() {
    struct Item(u32);
    impl StreamHandler<Item> for Worker {
        fn handle(&mut self, item: Item, _: &mut Self::Context) {
            note(&self.diary, format!("item {}", item.0));
        }
        fn finished(&mut self, _: &mut Self::Context) {
            note(&self.diary, "finished");
        }
    }
    on_paused_clock(async {
        let (worker, diary) = start(MailboxOptions::default());
        worker.do_send(run(|_, ctx| {
            ctx.add_stream(futures_util::stream::iter((0..40).map(Item)));
        }));
        until(|| diary.borrow().len() == 41).await;
        assert_eq!(diary.borrow()[40], "finished");
    });
}

#[test]
fn every_kind_of_response_is_answered() {
    struct Later(u32);
    impl Message for Later {
        type Result = u32;
    }
    impl Handler<Later> for Worker {
        type Result = ResponseActFuture<Self, u32>;
        fn handle(&mut self, later: Later, _: &mut Self::Context) -> Self::Result {
            Box::pin(
                tokio::time::sleep(Duration::from_millis(3)).into_actor(self).map(move |_, _, _| later.0),
            )
        }
    }
    struct Alone(u32);
    impl Message for Alone {
        type Result = u32;
    }
    impl Handler<Alone> for Worker {
        type Result = AtomicResponse<Self, u32>;
        fn handle(&mut self, alone: Alone, _: &mut Self::Context) -> Self::Result {
            note(&self.diary, format!("alone {} begins", alone.0));
            let sleep = tokio::time::sleep(Duration::from_millis(3)).into_actor(self);
            AtomicResponse::new(Box::pin(sleep.map(move |_, worker, _| {
                note(&worker.diary, format!("alone {} ends", alone.0));
                alone.0
            })))
        }
    }
    struct Apart(u32);
    impl Message for Apart {
        type Result = u32;
    }
    impl Handler<Apart> for Worker {
        type Result = ResponseFuture<u32>;
        fn handle(&mut self, apart: Apart, _: &mut Self::Context) -> Self::Result {
            Box::pin(async move { apart.0 })
        }
    }
    on_paused_clock(async {
        let (worker, diary) = start(MailboxOptions::default());
        let recipient: Recipient<Later> = worker.clone().recipient();
        let weak = worker.downgrade();
        let (first, second) = (worker.send(Alone(1)), worker.send(Alone(2)));
        assert_eq!(recipient.send(Later(3)).await, Ok(3));
        assert_eq!((first.await, second.await), (Ok(1), Ok(2)));
        assert_eq!(weak.upgrade().unwrap().send(Apart(4)).await, Ok(4));
        assert_eq!(*diary.borrow(), ["alone 1 begins", "alone 1 ends", "alone 2 begins", "alone 2 ends"]);
    });
}

#[test]
fn a_call_whose_caller_has_gone_is_not_handled() {
    on_paused_clock(async {
        let (worker, diary) = start(MailboxOptions::default());
        drop(worker.send(Call(1)));
        worker.send(Call(2)).await.unwrap();
        assert_eq!(*diary.borrow(), ["call 2"]);
    });
}

#[test]
fn a_full_mailbox_refuses_try_send_and_lets_send_wait() {
    on_paused_clock(async {
        let (worker, diary) = start(MailboxOptions::default().capacity(4));
        let accepted = (0..10).take_while(|number| worker.try_send(Cast(*number)).is_ok()).count();
        assert_eq!(accepted, 4);
        assert_eq!(worker.send(Call(7)).await, Ok(7));
        assert_eq!(diary.borrow().len(), 5);
    });
}

#[test]
fn an_actor_that_refuses_to_stop_goes_on() {
    on_paused_clock(async {
        let (worker, diary) = start(MailboxOptions::default());
        worker.do_send(run(|worker, ctx| {
            worker.stops_refused = 1;
            ctx.stop();
        }));
        worker.do_send(Cast(1));
        worker.send(Call(2)).await.unwrap();
        assert_eq!(*diary.borrow(), ["stopping", "cast 1", "call 2"]);
        worker.do_send(run(|_, ctx| ctx.stop()));
        assert_eq!(worker.send(Call(3)).await, Err(MailboxError::Closed));
        assert_eq!(diary.borrow()[3..], ["stopping", "stopped"]);
        assert!(!worker.connected());
    });
}

#[test]
fn an_unsupervised_actor_ends_with_its_last_address_and_its_last_future() {
    on_paused_clock(async {
        let (worker, diary) = start(MailboxOptions::default());
        worker.do_send(run(|_, ctx| {
            ctx.run_later(Duration::from_secs(1), |worker, _| note(&worker.diary, "timer"));
        }));
        worker.do_send(Cast(1));
        drop(worker);
        until(|| !diary.borrow().is_empty()).await;
        tokio::time::sleep(Duration::from_secs(2)).await;
        assert_eq!(*diary.borrow(), ["cast 1", "timer", "stopping", "stopped"]);
    });
}

#[test]
fn a_panic_ends_an_unsupervised_actor_and_nobody_else() {
    on_paused_clock(async {
        let (worker, _) = start(MailboxOptions::default());
        let (neighbour, _) = start(MailboxOptions::default());
        let doomed = worker.send(run(|_, _| panic!("on purpose")));
        let behind = worker.send(Call(1));
        assert_eq!(doomed.await, Err(MailboxError::Closed));
        assert_eq!(behind.await, Err(MailboxError::Closed));
        assert!(!worker.connected());
        assert_eq!(neighbour.send(Call(2)).await, Ok(2));
    });
}

#[test]
fn a_message_whose_destructor_panics_takes_no_caller_along() {
    struct Bomb;
    impl Drop for Bomb {
        fn drop(&mut self) {
            panic!("bomb");
        }
    }
    struct Armed(Bomb);
    impl Message for Armed {
        type Result = ();
    }
    impl Handler<Armed> for Worker {
        type Result = ();
        fn handle(&mut self, _: Armed, _: &mut Self::Context) {}
    }
    on_paused_clock(async {
        let (worker, _) = start(MailboxOptions::default());
        worker.do_send(run(|_, ctx| ctx.terminate()));
        worker.do_send(Armed(Bomb));
        let behind = worker.send(Call(1));
        assert_eq!(behind.await, Err(MailboxError::Closed));
    });
}

#[test]
fn an_actor_on_another_arbiter_hears_of_its_end_with_that_arbiter() {
    struct Witness(mpsc::UnboundedSender<&'static str>);
    impl Actor for Witness {
        type Context = PriorityContext<Self>;
        fn stopped(&mut self, _: &mut Self::Context) {
            self.0.send("stopped").unwrap();
        }
    }
    impl Drop for Witness {
        fn drop(&mut self) {
            self.0.send("dropped").unwrap();
        }
    }
    System::new().block_on(async {
        let (told, mut hears) = mpsc::unbounded_channel();
        let arbiter = Arbiter::new();
        let witness = PriorityContext::start_in(&arbiter.handle(), MailboxOptions::default(), move |_| {
            told.send("built").unwrap();
            Witness(told)
        });
        assert_eq!(hears.recv().await, Some("built"));
        arbiter.stop();
        assert_eq!((hears.recv().await, hears.recv().await), (Some("stopped"), Some("dropped")));
        arbiter.join().unwrap();
        assert!(!witness.connected());
    });
}
