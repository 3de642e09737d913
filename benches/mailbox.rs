//! What a message costs, in a `PriorityContext` and in actix's own context.

use std::future::Future;

use actix::prelude::*;
use divan::Bencher;
use divan::counter::ItemsCount;
use influx_spool::{MailboxOptions, PriorityContext};

fn main() {
    divan::main();
}

const MESSAGES: u64 = 10_000;

struct Cast(u64);
impl Message for Cast {
    type Result = ();
}

struct Call;
impl Message for Call {
    type Result = u64;
}

macro_rules! adder {
    ($name:ident, $context:ident) => {
        #[derive(Default)]
        struct $name(u64);
        impl Actor for $name {
            type Context = $context<Self>;
            fn started(&mut self, _: &mut Self::Context) {}
        }
        impl Handler<Cast> for $name {
            type Result = ();
            fn handle(&mut self, cast: Cast, _: &mut Self::Context) {
                self.0 = self.0.wrapping_add(cast.0);
            }
        }
        impl Handler<Call> for $name {
            type Result = u64;
            fn handle(&mut self, _: Call, _: &mut Self::Context) -> u64 {
                self.0
            }
        }
    };
}
adder!(Plain, Context);
adder!(Prior, PriorityContext);

fn plain() -> Addr<Plain> {
    Plain::default().start()
}

fn prior() -> Addr<Prior> {
    PriorityContext::start_with(MailboxOptions::default(), |_| Prior::default())
}

/// Measures `work` on an actor of a fresh actix system.
fn measure<A: Actor, F: Future<Output = u64>>(
    bencher: Bencher<'_, '_>,
    start: fn() -> Addr<A>,
    work: fn(Addr<A>) -> F,
) {
    let system = System::new();
    let actor = system.block_on(async { start() });
    bencher.counter(ItemsCount::new(MESSAGES)).bench_local(|| system.block_on(work(actor.clone())));
}

macro_rules! benches {
    ($name:ident, $actor:ident) => {
        mod $name {
            use super::*;

            #[divan::bench]
            fn casts(bencher: Bencher<'_, '_>) {
                measure(bencher, $name, |actor: Addr<$actor>| async move {
                    (0..MESSAGES).for_each(|number| actor.do_send(Cast(number)));
                    actor.send(Call).await.expect("the actor runs")
                });
            }

            #[divan::bench]
            fn calls_one_by_one(bencher: Bencher<'_, '_>) {
                measure(bencher, $name, |actor: Addr<$actor>| async move {
                    for _ in 1..MESSAGES {
                        actor.send(Call).await.expect("the actor runs");
                    }
                    actor.send(Call).await.expect("the actor runs")
                });
            }
        }
    };
}
benches!(plain, Plain);
benches!(prior, Prior);
