//! The one timer an actor needs to look again at the right moment.

use std::time::Instant;

use actix::{Actor, AsyncContext, SpawnHandle};

use super::context::PriorityContext;

/// Goes off at the earliest of the moments it was set for.
#[derive(Debug, Default)]
pub(super) struct Alarm(Option<(Instant, SpawnHandle)>);

impl Alarm {
    /// Has `look` called at `due`, unless it will be called earlier: then it is for the look to set the alarm anew.
    pub(super) fn set<A: Actor<Context = PriorityContext<A>>>(
        &mut self,
        due: Instant,
        ctx: &mut PriorityContext<A>,
        look: fn(&mut A, &mut PriorityContext<A>),
    ) {
        let now = Instant::now();
        if self.0.is_some_and(|(at, _)| now < at && at <= due) {
            return;
        }
        if let Some((_, later)) = self.0.take() {
            ctx.cancel_future(later);
        }
        self.0 = Some((due, ctx.run_later(due.saturating_duration_since(now), look)));
    }
}
