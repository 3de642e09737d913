//! The running supervisor: carries out what the tree decides.
//!
//! No code of a user runs in here but the listener and subscribers to the log, whose panics are caught.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender};
use tokio::sync::watch;
use tokio::time::timeout_at;

use super::child::{ChildState, ChildStatus};
use super::control::{Control, Verb};
use super::limits::GRID;
use super::runner::Reporter;
use super::supervisor::{StopReason, Stopped, SupervisorEvent};
use crate::failpoint::failpoint;
use crate::log;
use crate::machines::heartbeat::{Heartbeat, Pulse};
use crate::machines::later;
use crate::machines::policy::{Exit, Strategy};
use crate::machines::tree::{Action, ChildRules, End, Notice, Phase, Rules, Tree};
use crate::panics::caught;

/// What a supervisor hears, from its children and from its handles.
pub(super) enum Signal {
    Report { child: usize, generation: u64, report: Report },
    Stop { deadline: Duration },
    Kill { child: Arc<str> },
}

/// What a runner reports of one generation, and at last of itself.
pub(super) enum Report {
    Started,
    Exited(Exit),
    Gone,
}

/// One child as its supervisor sees it.
pub(super) struct Child {
    pub(super) name: Arc<str>,
    pub(super) rules: ChildRules,
    pub(super) heartbeat: Option<Duration>,
    pub(super) control: Arc<Control>,
    pub(super) spawn: Option<Spawn>,
    watch: Option<Heartbeat>,
    generation: u64,
    last_exit: Option<Exit>,
    is_gone: bool,
}

/// Puts the child's runner on its arbiter.
pub(super) type Spawn = Box<dyn FnOnce(Reporter) + Send>;

pub(super) type Listener = Box<dyn FnMut(&SupervisorEvent) + Send>;

impl Child {
    pub(super) fn new(
        name: Arc<str>,
        rules: ChildRules,
        heartbeat: Option<Duration>,
        control: Arc<Control>,
        spawn: Spawn,
    ) -> Self {
        let spawn = Some(spawn);
        Self {
            name,
            rules,
            heartbeat,
            control,
            spawn,
            watch: None,
            generation: 0,
            last_exit: None,
            is_gone: false,
        }
    }

    pub(super) fn with_strategy(mut self, strategy: Strategy) -> Self {
        self.rules.strategy = strategy;
        self
    }

    fn order(&self, verb: Verb) {
        self.control.order(verb, self.generation);
    }
}

impl Drop for Child {
    /// Whatever ends the supervisor ends its children.
    fn drop(&mut self) {
        self.order(Verb::Finish);
    }
}

/// The future of a running supervisor.
pub(super) struct Supervision {
    name: Arc<str>,
    tree: Tree,
    children: Vec<Child>,
    signals: UnboundedReceiver<Signal>,
    statuses: Arc<Mutex<Vec<ChildStatus>>>,
    ended: watch::Sender<Option<Stopped>>,
    listener: Option<Listener>,
    killed: Vec<Arc<str>>,
}

/// A finished runner drops what is in its mailbox; one that needs longer is not waited for.
const FINISH_GRACE: Duration = Duration::from_secs(1);

impl Supervision {
    #[expect(clippy::too_many_arguments, reason = "called once, by the builder that holds all of these")]
    pub(super) fn new(
        name: Arc<str>,
        rules: Rules,
        mut children: Vec<Child>,
        reports: UnboundedSender<Signal>,
        signals: UnboundedReceiver<Signal>,
        statuses: Arc<Mutex<Vec<ChildStatus>>>,
        ended: watch::Sender<Option<Stopped>>,
        listener: Option<Listener>,
    ) -> Self {
        for (child, spawn) in children.iter_mut().map(|child| child.spawn.take()).enumerate() {
            if let Some(spawn) = spawn {
                spawn(Reporter { child, signals: reports.clone() });
            }
        }
        let child_rules: Vec<ChildRules> = children.iter().map(|child| child.rules).collect();
        let tree = Tree::new(rules, &child_rules, now());
        Self { name, tree, children, signals, statuses, ended, listener, killed: Vec::new() }
    }

    pub(super) async fn run(mut self) {
        let end = loop {
            failpoint!(of self.name, "supervision::turn");
            let now = now();
            if let Some(end) = self.carry_out_all(now) {
                break end;
            }
            self.take_pulses(now);
            self.publish();
            if let Some(signal) = self.next_signal().await {
                self.hear(signal);
            }
        };
        self.finish(end).await;
    }

    fn carry_out_all(&mut self, now: Instant) -> Option<End> {
        while let Some(action) = self.tree.next(now) {
            match action {
                Action::Start(child) => self.start(child, now),
                Action::Stop(child) => self.children[child].order(Verb::Stop),
                Action::Kill(child) => {
                    self.children[child].order(Verb::Kill);
                    self.killed.push(self.children[child].name.clone());
                }
                Action::Tell(notice) => self.tell(notice),
                Action::End(end) => return Some(end),
            }
        }
        None
    }

    fn start(&mut self, child: usize, now: Instant) {
        let child = &mut self.children[child];
        child.generation += 1;
        child.watch = child.heartbeat.map(|timeout| Heartbeat::new(timeout, *GRID, now));
        child.order(Verb::Start);
    }

    /// The next signal, or `None` when it is time to look without one.
    async fn next_signal(&mut self) -> Option<Signal> {
        let watches = self.children.iter().enumerate().filter(|(child, _)| self.is_watched(*child));
        let looks = watches.filter_map(|(_, child)| child.watch.as_ref().map(Heartbeat::next_look));
        match looks.chain(self.tree.next_wake()).min() {
            Some(wake) => timeout_at(wake.into(), self.signals.recv()).await.ok().flatten(),
            None => self.signals.recv().await,
        }
    }

    fn hear(&mut self, signal: Signal) {
        match signal {
            Signal::Report { child, generation, report } => self.hear_report(child, generation, report),
            Signal::Stop { deadline } => self.tree.stop(later(now(), deadline)),
            Signal::Kill { child } => {
                self.children
                    .iter()
                    .filter(|known| known.name == child)
                    .for_each(|child| child.order(Verb::Kill));
            }
        }
    }

    fn hear_report(&mut self, index: usize, generation: u64, report: Report) {
        let child = &mut self.children[index];
        match report {
            Report::Gone => {
                child.is_gone = true;
                self.tree.lost(index);
            }
            // The child died while an order was on its way, and answered twice.
            _ if generation != child.generation || self.tree.phase(index) == Phase::Down => {}
            Report::Started => self.tree.started(index, now()),
            Report::Exited(exit) => {
                child.last_exit = Some(exit.clone());
                self.tree.exited(index, exit, fastrand::f64(), now());
            }
        }
    }

    fn take_pulses(&mut self, now: Instant) {
        for index in 0..self.children.len() {
            if !self.is_watched(index) {
                continue;
            }
            let child = &mut self.children[index];
            let (progress, excuse) = (child.control.progress(), child.control.excused_until());
            let Some(watch) = &mut child.watch else { continue };
            match watch.look(progress, excuse, now) {
                Pulse::Early => {}
                Pulse::Ask => child.control.wake(),
                Pulse::CameBack => {
                    let child = child.name.clone();
                    self.emit(SupervisorEvent::ChildCameBack { child });
                }
                Pulse::Stuck => {
                    // One that is still starting has perhaps not read its order to start, which must not be replaced.
                    if self.tree.phase(index) != Phase::Starting {
                        child.order(Verb::KillIfWaiting);
                    }
                    let child = child.name.clone();
                    self.emit(SupervisorEvent::ChildStuck { child });
                }
            }
        }
    }

    fn is_watched(&self, child: usize) -> bool {
        matches!(self.tree.phase(child), Phase::Starting | Phase::Up { .. })
    }

    fn tell(&mut self, notice: Notice) {
        let name = |child: usize| self.children[child].name.clone();
        let event = match notice {
            Notice::Started { child } => SupervisorEvent::ChildStarted {
                child: name(child),
                generation: self.children[child].generation,
            },
            Notice::Exited { child, exit, delay } => {
                SupervisorEvent::ChildExited { child: name(child), exit, delay }
            }
            Notice::Unresponsive { child } => SupervisorEvent::ChildUnresponsive { child: name(child) },
            Notice::Escalated { child, exit } => SupervisorEvent::Escalated { child: name(child), exit },
            Notice::Degraded { child, exit, retry_in } => {
                SupervisorEvent::Degraded { child: name(child), exit, retry_in }
            }
            Notice::Recovered => SupervisorEvent::Recovered,
        };
        self.emit(event);
    }

    fn emit(&mut self, event: SupervisorEvent) {
        say(&self.name, &event);
        self.publish();
        if let Some(listener) = &mut self.listener
            && let Err(panic) = caught(|| listener(&event))
        {
            log::warn!(supervisor = %self.name, %panic, "the listener to a supervisor's events panicked");
        }
    }

    fn publish(&self) {
        let statuses = self.children.iter().enumerate().map(|(index, child)| ChildStatus {
            name: child.name.clone(),
            state: self.state_of(index),
            restarts_total: child.generation.saturating_sub(1),
            last_exit: child.last_exit.clone(),
        });
        *self.statuses.lock().unwrap_or_else(PoisonError::into_inner) = statuses.collect();
    }

    fn state_of(&self, child: usize) -> ChildState {
        let is_stuck = self.children[child].watch.as_ref().is_some_and(Heartbeat::is_stuck);
        match self.tree.phase(child) {
            Phase::Starting | Phase::Up { .. } if is_stuck => ChildState::Stuck,
            Phase::Starting => ChildState::Starting,
            Phase::Up { .. } => ChildState::Up,
            Phase::Stopping { .. } | Phase::Killing { .. } => ChildState::Stopping,
            Phase::Down if self.tree.is_wanted(child) => ChildState::Waiting,
            Phase::Down => ChildState::Down,
            Phase::Abandoned => ChildState::Abandoned,
        }
    }

    fn abandoned(&self) -> impl Iterator<Item = &Child> {
        let children = self.children.iter().enumerate();
        let left =
            children.filter(|(index, child)| !child.is_gone && self.tree.phase(*index) == Phase::Abandoned);
        left.map(|(_, child)| child)
    }

    /// Closes the mailboxes, waits until the runners are gone, and says how it ended.
    async fn finish(mut self, end: End) {
        let reason = match end {
            End::Stopped => StopReason::Stopped,
            End::Escalated { child, exit } => {
                StopReason::Escalated { child: self.children[child].name.clone(), exit }
            }
        };
        self.children.iter().for_each(|child| child.order(Verb::Finish));
        let deadline = tokio::time::Instant::now() + FINISH_GRACE;
        let abandoned: Vec<Arc<str>> = self.abandoned().map(|child| child.name.clone()).collect();
        while self.children.iter().any(|child| !child.is_gone && !abandoned.contains(&child.name)) {
            match timeout_at(deadline, self.signals.recv()).await {
                Ok(Some(Signal::Report { child, report: Report::Gone, .. })) => {
                    self.children[child].is_gone = true
                }
                Ok(Some(_)) => {}
                Ok(None) | Err(_) => break,
            }
        }
        self.publish();
        self.emit(SupervisorEvent::Stopped);
        let killed = std::mem::take(&mut self.killed);
        self.ended.send_replace(Some(Stopped { reason, killed, abandoned }));
    }
}

/// Tokio's clock, which a test may move.
fn now() -> Instant {
    tokio::time::Instant::now().into_std()
}

fn say(supervisor: &str, event: &SupervisorEvent) {
    match event {
        SupervisorEvent::ChildStarted { child, generation } if *generation > 1 => {
            log::info!(supervisor, %child, generation, "child restarted");
        }
        SupervisorEvent::ChildExited { child, exit, delay: Some(delay) } => {
            log::warn!(supervisor, %child, %exit, delay_ms = delay.as_millis() as u64, "child ended, will be restarted");
        }
        SupervisorEvent::ChildStuck { child } => log::warn!(supervisor, %child, "child is stuck"),
        SupervisorEvent::ChildCameBack { child } => log::info!(supervisor, %child, "stuck child moves again"),
        SupervisorEvent::ChildExited { child, exit, delay: None } if *exit != Exit::Normal => {
            log::warn!(supervisor, %child, %exit, "child ended");
        }
        SupervisorEvent::ChildUnresponsive { child } => {
            log::error!(supervisor, %child, "child does not answer its kill, its thread is blocked");
        }
        SupervisorEvent::Escalated { child, exit } => {
            log::error!(supervisor, %child, %exit, "restart intensity used up, supervisor ends");
        }
        SupervisorEvent::Degraded { child, exit, retry_in } => {
            log::error!(supervisor, %child, %exit, retry_s = retry_in.as_secs(), "restart intensity used up, degraded");
        }
        SupervisorEvent::Recovered => log::info!(supervisor, "recovered"),
        SupervisorEvent::ChildStarted { .. }
        | SupervisorEvent::ChildExited { .. }
        | SupervisorEvent::Stopped => {}
    }
}
