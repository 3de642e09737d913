//! What a supervisor decides: which child to start, to stop, to kill, and when to give up.
//!
//! Children are numbered in start order. The tree keeps for each of them whether it is wanted, and in which phase
//! it is; [`Tree::next`] compares the two and gives out one action at a time until nothing is left to do. Deaths,
//! stops and retries only change what is wanted, so whatever happens in the middle of something else needs no
//! special case:
//!
//! - down go the unwanted and those in a cycle, last one first, each only when those behind it are down;
//! - up come the wanted whose time has come, first one first; in a cycle each only when those before it are up.
//!
//! | exit of a running child | permanent | transient | temporary |
//! |---|---|---|---|
//! | normal | restart | leave | leave |
//! | panicked, stuck, killed | restart | restart | leave |
//!
//! "Restart" spends one of the restart intensity, whatever the strategy then takes along. A child that was told to
//! stop spends nothing, however it ends.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use super::backoff::Backoff;
use super::later;
use super::policy::{Exit, Restart, Strategy, WhenExceeded};
use super::restart::{RestartBudget, RestartIntensity};

/// The rules of one tree.
#[derive(Clone, Debug)]
pub(crate) struct Rules {
    pub(crate) intensity: RestartIntensity,
    pub(crate) when_exceeded: WhenExceeded,
    pub(crate) backoff: Backoff,
}

/// The rules of one child.
#[derive(Clone, Copy, Debug)]
pub(crate) struct ChildRules {
    pub(crate) restart: Restart,
    pub(crate) strategy: Strategy,
    pub(crate) shutdown: Duration,
}

/// One thing to do, or to tell.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Action {
    Start(usize),
    Stop(usize),
    Kill(usize),
    Tell(Notice),
    End(End),
}

/// What listeners hear.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Notice {
    Started { child: usize },
    Exited { child: usize, exit: Exit, delay: Option<Duration> },
    Unresponsive { child: usize },
    Escalated { child: usize, exit: Exit },
    Degraded { child: usize, exit: Exit, retry_in: Duration },
    Recovered,
}

/// How the tree ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum End {
    Stopped,
    Escalated { child: usize, exit: Exit },
}

/// Where a child stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Phase {
    Down,
    Starting,
    Up {
        since: Instant,
    },
    Stopping {
        kill_at: Instant,
    },
    /// `None` once it is known that it does not answer: its thread is blocked.
    Killing {
        abandon_at: Option<Instant>,
    },
    /// It was left behind by a tree that ends, or its thread is gone: it can never be started again.
    Abandoned,
}

impl Phase {
    fn is_alive(self) -> bool {
        matches!(self, Self::Starting | Self::Up { .. })
    }

    fn is_ending(self) -> bool {
        matches!(self, Self::Stopping { .. } | Self::Killing { .. })
    }

    fn is_down(self) -> bool {
        matches!(self, Self::Down | Self::Abandoned)
    }
}

/// How long a killed child may take to be dropped. Dropping takes microseconds:
/// a child that needs longer sits on a blocked thread, and nobody knows when that comes back.
const KILL_GRACE: Duration = Duration::from_secs(1);

struct Node {
    rules: ChildRules,
    phase: Phase,
    wanted: bool,
    /// It goes down and comes up together with others, in their order.
    in_cycle: bool,
    /// It is alive, and has to go down once before it may come up.
    must_go: bool,
    start_at: Instant,
    backoff: Backoff,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Mode {
    Healthy,
    Degraded { held_since: Option<Instant> },
    Ending { end: End, kill_by: Option<Instant> },
    Ended,
}

/// The decisions of one supervisor.
pub(crate) struct Tree {
    rules: Rules,
    budget: RestartBudget,
    nodes: Vec<Node>,
    mode: Mode,
    notices: VecDeque<Notice>,
}

impl Tree {
    /// All children are wanted from `now` on.
    pub(crate) fn new(rules: Rules, children: &[ChildRules], now: Instant) -> Self {
        let nodes = children.iter().map(|child| Node::new(*child, rules.backoff.clone(), now)).collect();
        let budget = RestartBudget::new(rules.intensity);
        Self { rules, budget, nodes, mode: Mode::Healthy, notices: VecDeque::new() }
    }

    pub(crate) fn phase(&self, child: usize) -> Phase {
        self.nodes[child].phase
    }

    /// Is it down for a while only?
    pub(crate) fn is_wanted(&self, child: usize) -> bool {
        self.nodes[child].wanted
    }

    pub(crate) fn is_degraded(&self) -> bool {
        matches!(self.mode, Mode::Degraded { .. })
    }

    /// The child's `started()` has returned.
    pub(crate) fn started(&mut self, child: usize, now: Instant) {
        let node = &mut self.nodes[child];
        if node.phase == Phase::Starting {
            node.phase = Phase::Up { since: now };
            node.in_cycle = node.must_go;
            self.notices.push_back(Notice::Started { child });
        }
    }

    /// The child has ended. `random`, from 0 to 1, places its delay.
    pub(crate) fn exited(&mut self, child: usize, exit: Exit, random: f64, now: Instant) {
        let is_ending = self.is_ending();
        let node = &mut self.nodes[child];
        let phase = std::mem::replace(&mut node.phase, Phase::Down);
        node.must_go = false;
        if !phase.is_alive() || !node.wanted || is_ending {
            self.tell_exit(child, exit, None);
            return;
        }
        if !node.rules.restart.follows(&exit) {
            node.leave();
            self.tell_exit(child, exit, None);
            return;
        }
        if !self.budget.spend(now) {
            self.tell_exit(child, exit.clone(), None);
            self.exceeded(child, exit, now);
            return;
        }
        let node = &mut self.nodes[child];
        if matches!(phase, Phase::Up { since } if now.saturating_duration_since(since) > self.rules.intensity.within())
        {
            node.backoff.reset();
        }
        let delay = node.backoff.next_delay(random);
        node.start_at = later(now, delay);
        if node.rules.strategy == Strategy::RestForOne {
            self.cycle_from(child);
        }
        self.tell_exit(child, exit, Some(delay));
    }

    /// The child can never be started again: its thread has ended. Nothing but escalation is left.
    pub(crate) fn lost(&mut self, child: usize) {
        let node = &mut self.nodes[child];
        let was_down = node.phase.is_down();
        node.phase = Phase::Abandoned;
        (node.must_go, node.in_cycle) = (false, false);
        if !was_down {
            self.tell_exit(child, Exit::Killed, None);
        }
        if !self.is_ending() {
            self.escalate(child, Exit::Killed);
        }
    }

    /// Stops all; what is not down at `kill_by` is killed. A second stop can only shorten the time.
    pub(crate) fn stop(&mut self, kill_by: Instant) {
        match &mut self.mode {
            Mode::Ended => {}
            Mode::Ending { kill_by: at, .. } => *at = Some(at.map_or(kill_by, |at| at.min(kill_by))),
            mode => *mode = Mode::Ending { end: End::Stopped, kill_by: Some(kill_by) },
        }
        self.unwant_all();
    }

    /// The next thing to do at `now`, and at once; `None` when there is nothing before [`Self::next_wake`].
    pub(crate) fn next(&mut self, now: Instant) -> Option<Action> {
        self.watch_recovery(now);
        if let Some(notice) = self.notices.pop_front() {
            return Some(Action::Tell(notice));
        }
        self.bring_down(now).or_else(|| self.bring_up(now)).or_else(|| self.finish())
    }

    /// When to ask again though nothing has happened.
    pub(crate) fn next_wake(&self) -> Option<Instant> {
        let recovery = match self.mode {
            Mode::Degraded { held_since: Some(since) } => Some(later(since, self.rules.intensity.within())),
            _ => None,
        };
        let nodes = self.nodes.iter().enumerate().filter_map(|(child, node)| match node.phase {
            Phase::Down if node.wanted && !self.is_held_back(child) => Some(node.start_at),
            Phase::Stopping { kill_at } => Some(self.kill_by().map_or(kill_at, |by| by.min(kill_at))),
            Phase::Killing { abandon_at } => abandon_at,
            _ => None,
        });
        nodes.chain(recovery).min()
    }

    fn bring_down(&mut self, now: Instant) -> Option<Action> {
        let (kill_by, is_ending) = (self.kill_by(), self.is_ending());
        for child in (0..self.nodes.len()).rev() {
            let node = &mut self.nodes[child];
            match node.phase {
                Phase::Starting | Phase::Up { .. } if !node.wanted || node.must_go => {
                    let kill_at = later(now, node.rules.shutdown);
                    let kill_at = kill_by.map_or(kill_at, |by| by.min(kill_at));
                    if kill_at <= now {
                        return Some(self.kill(child, now));
                    }
                    node.phase = Phase::Stopping { kill_at };
                    return Some(Action::Stop(child));
                }
                Phase::Stopping { kill_at } if kill_at.min(kill_by.unwrap_or(kill_at)) <= now => {
                    return Some(self.kill(child, now));
                }
                Phase::Killing { abandon_at: Some(at) } if at <= now => {
                    return Some(self.give_up(child));
                }
                Phase::Killing { abandon_at: None } if is_ending => node.phase = Phase::Abandoned,
                // Those before it stay up until it is down: they may be what it needs for a proper end.
                phase if phase.is_ending() => return None,
                _ => {}
            }
        }
        None
    }

    fn bring_up(&mut self, now: Instant) -> Option<Action> {
        let due = |child: &usize| {
            let node = &self.nodes[*child];
            node.phase == Phase::Down && node.wanted && node.start_at <= now && !self.is_held_back(*child)
        };
        let child = (0..self.nodes.len()).find(due)?;
        self.nodes[child].phase = Phase::Starting;
        Some(Action::Start(child))
    }

    fn finish(&mut self) -> Option<Action> {
        if !self.nodes.iter().all(|node| node.phase.is_down()) {
            return None;
        }
        match &self.mode {
            Mode::Ending { end, .. } => {
                let end = end.clone();
                self.mode = Mode::Ended;
                Some(Action::End(end))
            }
            _ => None,
        }
    }

    /// In a cycle nobody comes up before all have gone down, nor before those in front of it.
    fn is_held_back(&self, child: usize) -> bool {
        self.nodes[child].in_cycle
            && (self.nodes.iter().any(|node| node.must_go)
                || self.nodes[..child].iter().any(|node| node.in_cycle))
    }

    fn kill(&mut self, child: usize, now: Instant) -> Action {
        self.nodes[child].phase = Phase::Killing { abandon_at: Some(now + KILL_GRACE) };
        Action::Kill(child)
    }

    /// A tree that ends goes on without it. Any other waits until the thread comes back: to start a second one beside
    /// it could mean two owners of the same thing.
    fn give_up(&mut self, child: usize) -> Action {
        let is_ending = self.is_ending();
        let node = &mut self.nodes[child];
        node.phase = if is_ending { Phase::Abandoned } else { Phase::Killing { abandon_at: None } };
        Action::Tell(Notice::Unresponsive { child })
    }

    fn cycle_from(&mut self, first: usize) {
        for node in &mut self.nodes[first..] {
            node.in_cycle = node.wanted;
            node.must_go = !node.phase.is_down();
        }
        for node in self.nodes[first + 1..].iter_mut().filter(|node| node.rules.restart == Restart::Temporary)
        {
            node.leave();
        }
    }

    fn exceeded(&mut self, child: usize, exit: Exit, now: Instant) {
        match self.rules.when_exceeded {
            WhenExceeded::Escalate => self.escalate(child, exit),
            WhenExceeded::RetryEvery(retry_in) => self.degrade(child, exit, retry_in, now),
        }
    }

    fn escalate(&mut self, child: usize, exit: Exit) {
        self.mode = Mode::Ending { end: End::Escalated { child, exit: exit.clone() }, kill_by: None };
        self.unwant_all();
        self.notices.push_back(Notice::Escalated { child, exit });
    }

    /// All go down, and begin a new life a while later, those included that had ended for good.
    fn degrade(&mut self, child: usize, exit: Exit, retry_in: Duration, now: Instant) {
        if !self.is_degraded() {
            self.notices.push_back(Notice::Degraded { child, exit, retry_in });
        }
        self.mode = Mode::Degraded { held_since: None };
        self.budget.refill();
        for node in self.nodes.iter_mut().filter(|node| node.phase != Phase::Abandoned) {
            node.wanted = true;
            node.in_cycle = true;
            node.must_go = node.phase != Phase::Down;
            node.start_at = later(now, retry_in);
            node.backoff.reset();
        }
    }

    fn watch_recovery(&mut self, now: Instant) {
        let within = self.rules.intensity.within();
        let all_up = self.nodes.iter().all(|node| !node.wanted || matches!(node.phase, Phase::Up { .. }));
        let Mode::Degraded { held_since } = &mut self.mode else { return };
        match *held_since {
            Some(since) if all_up && now.saturating_duration_since(since) >= within => {
                self.mode = Mode::Healthy;
                self.notices.push_back(Notice::Recovered);
            }
            Some(_) if all_up => {}
            _ => *held_since = all_up.then_some(now),
        }
    }

    fn unwant_all(&mut self) {
        self.nodes.iter_mut().for_each(Node::leave);
    }

    fn tell_exit(&mut self, child: usize, exit: Exit, delay: Option<Duration>) {
        self.notices.push_back(Notice::Exited { child, exit, delay });
    }

    fn is_ending(&self) -> bool {
        matches!(self.mode, Mode::Ending { .. } | Mode::Ended)
    }

    fn kill_by(&self) -> Option<Instant> {
        match self.mode {
            Mode::Ending { kill_by, .. } => kill_by,
            _ => None,
        }
    }
}

impl Node {
    fn new(rules: ChildRules, backoff: Backoff, now: Instant) -> Self {
        Self {
            rules,
            phase: Phase::Down,
            wanted: true,
            in_cycle: true,
            must_go: false,
            start_at: now,
            backoff,
        }
    }

    fn leave(&mut self) {
        (self.wanted, self.in_cycle) = (false, false);
    }
}

#[cfg(test)]
mod tests;
