//! Fire drills: an actor of a running database panics because somebody asked for it.

use actix::Actor;

use super::context::PriorityContext;
use super::database::{sender_name, udp_sender_name};
use super::shared::Shared;
use crate::failpoint::failpoint;

/// Has an actor panic. A cast.
#[derive(Clone, Copy, Debug, actix::Message)]
#[rtype(result = "()")]
pub(crate) struct Drill;

impl Shared {
    /// Has this actor panic at the next message it handles; `false` if there is no such actor.
    pub(crate) fn drill(&self, actor: &str) -> bool {
        match actor {
            "database" => self.database.drill(),
            "store" => self.store.drill(),
            "batcher" => self.batcher.drill(),
            _ => {
                let http = self.senders.iter().enumerate().map(|(n, bell)| (sender_name(n), bell));
                let udp = self.udp_senders.iter().enumerate().map(|(n, bell)| (udp_sender_name(n), bell));
                let found = http.chain(udp).find(|(name, _)| name == actor);
                found.is_some_and(|(_, bell)| bell.drill())
            }
        }
    }
}

/// What an actor does at a drill: it panics, unless a test wants another end for it.
#[cfg_attr(not(feature = "failpoints"), expect(unused_variables, reason = "for the ends that a test wants"))]
pub(super) fn play<A>(actor: &str, shared: &Shared, ctx: &mut PriorityContext<A>)
where
    A: Actor<Context = PriorityContext<A>>,
{
    failpoint!(of shared.name, "drill::played");
    failpoint!(&format!("{}/{actor}::drill", shared.name), |how| end(how, actor, shared, ctx));
    // Without the panic hook: its page on standard error is for panics that nobody asked for.
    std::panic::resume_unwind(Box::new("a drill"));
}

#[cfg(feature = "failpoints")]
fn end<A>(how: Option<String>, actor: &str, shared: &Shared, ctx: &mut PriorityContext<A>)
where
    A: Actor<Context = PriorityContext<A>>,
{
    use actix::{ActorContext, AsyncContext};

    match how.as_deref() {
        Some("stop") => ctx.stop(),
        Some("stick") => ctx.wait(actix::fut::wrap_future(std::future::pending())),
        Some("kill") => {
            let tree = shared.tree().clone();
            [tree.root, tree.children].iter().flatten().for_each(|supervisor| supervisor.kill_child(actor));
        }
        // Its thread is blocked, and comes back.
        Some("hang") => std::thread::sleep(std::time::Duration::from_millis(300)),
        _ => {}
    }
}
