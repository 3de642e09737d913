//! The tree, with children that obey or do not, and a clock that moves when told to.

use super::*;

const SECOND: Duration = Duration::from_secs(1);

/// A tree whose children obey, or do not, as the test says; time passes only when told to.
struct Grove {
    tree: Tree,
    now: Instant,
    /// Orders not yet carried out.
    orders: Vec<Action>,
    notices: Vec<Notice>,
    end: Option<End>,
}

impl Grove {
    fn new(when_exceeded: WhenExceeded, children: &[ChildRules]) -> Self {
        let now = Instant::now();
        let rules = Rules {
            intensity: RestartIntensity::new(3, 30 * SECOND),
            when_exceeded,
            backoff: Backoff::new(SECOND, 8 * SECOND, 2),
        };
        let tree = Tree::new(rules, children, now);
        Self { tree, now, orders: Vec::new(), notices: Vec::new(), end: None }
    }

    /// Takes what the tree has to say at this moment.
    fn listen(&mut self) {
        while let Some(action) = self.tree.next(self.now) {
            match action {
                Action::Tell(notice) => self.notices.push(notice),
                Action::End(end) => self.end = Some(end),
                order => self.orders.push(order),
            }
        }
    }

    /// Carries out the oldest order, as an obedient child does.
    fn obey(&mut self) -> Option<Action> {
        self.listen();
        let order = (!self.orders.is_empty()).then(|| self.orders.remove(0))?;
        match order {
            Action::Start(child) => self.tree.started(child, self.now),
            Action::Stop(child) => self.tree.exited(child, Exit::Normal, 1.0, self.now),
            Action::Kill(child) => self.tree.exited(child, Exit::Killed, 1.0, self.now),
            Action::Tell(_) | Action::End(_) => {}
        }
        Some(order)
    }

    /// Lets everybody obey and time pass, until nothing is due any more.
    fn settle(&mut self) -> Vec<Action> {
        let mut done = Vec::new();
        loop {
            while let Some(order) = self.obey() {
                done.push(order);
            }
            match self.tree.next_wake() {
                Some(wake) if self.end.is_none() => self.now = self.now.max(wake),
                _ => return done,
            }
        }
    }

    fn die(&mut self, child: usize) {
        self.tree.exited(child, Exit::Stuck, 1.0, self.now);
    }
}

fn child(strategy: Strategy) -> ChildRules {
    ChildRules { restart: Restart::Permanent, strategy, shutdown: 5 * SECOND }
}

fn three(strategy: Strategy) -> [ChildRules; 3] {
    [child(strategy); 3]
}

use Action::{Kill, Start, Stop};

#[test]
fn children_start_in_order_and_each_when_the_one_before_is_up() {
    let mut grove = Grove::new(WhenExceeded::Escalate, &three(Strategy::OneForOne));
    grove.listen();
    assert_eq!(grove.orders, [Start(0)]);
    assert_eq!(grove.settle(), [Start(0), Start(1), Start(2)]);
}

#[test]
fn one_for_one_restarts_one_and_waits_for_nobody() {
    let mut grove = Grove::new(WhenExceeded::Escalate, &three(Strategy::OneForOne));
    grove.settle();
    grove.die(0);
    grove.die(1);
    grove.listen();
    assert_eq!((grove.orders.len(), grove.tree.next_wake()), (0, Some(grove.now + SECOND)));
    assert_eq!(grove.settle(), [Start(0), Start(1)]);
}

#[test]
fn rest_for_one_stops_backwards_and_starts_forwards() {
    let mut grove = Grove::new(WhenExceeded::Escalate, &three(Strategy::RestForOne));
    grove.settle();
    grove.die(0);
    assert_eq!(grove.settle(), [Stop(2), Stop(1), Start(0), Start(1), Start(2)]);
}

#[test]
fn a_second_death_in_the_middle_of_a_cycle_changes_the_cycle() {
    let mut grove = Grove::new(WhenExceeded::Escalate, &three(Strategy::RestForOne));
    grove.settle();
    grove.die(1);
    assert_eq!(grove.obey(), Some(Stop(2)));
    grove.die(0);
    assert_eq!(grove.settle(), [Start(0), Start(1), Start(2)]);
    // A child that was told to stop spends nothing, however it ends.
    grove.die(1);
    grove.listen();
    grove.die(2);
    assert_eq!(grove.settle(), [Stop(2), Start(1), Start(2)]);
    assert!(grove.end.is_none());
}

#[test]
fn delays_double_and_begin_again_after_a_long_life() {
    let mut grove = Grove::new(WhenExceeded::Escalate, &[child(Strategy::OneForOne)]);
    grove.settle();
    for seconds in [1, 2, 4] {
        grove.die(0);
        assert_eq!(grove.tree.next_wake(), Some(grove.now + seconds * SECOND));
        grove.settle();
    }
    grove.now += 31 * SECOND;
    grove.die(0);
    assert_eq!(grove.tree.next_wake(), Some(grove.now + SECOND));
}

#[test]
fn past_the_intensity_all_stop_backwards_and_the_tree_ends() {
    let mut grove = Grove::new(WhenExceeded::Escalate, &three(Strategy::OneForOne));
    grove.settle();
    for _ in 0..3 {
        grove.die(1);
        grove.settle();
    }
    grove.die(1);
    assert_eq!(grove.settle(), [Stop(2), Stop(0)]);
    assert_eq!(grove.end, Some(End::Escalated { child: 1, exit: Exit::Stuck }));
    assert!(grove.notices.contains(&Notice::Escalated { child: 1, exit: Exit::Stuck }));
}

#[test]
fn a_degraded_tree_retries_as_a_whole_and_tells_when_it_has_held() {
    let mut grove = Grove::new(WhenExceeded::RetryEvery(60 * SECOND), &three(Strategy::OneForOne));
    grove.settle();
    for _ in 0..4 {
        grove.die(1);
        grove.listen();
        grove.now += 8 * SECOND;
        while grove.obey().is_some() {}
    }
    assert!(grove.tree.is_degraded());
    let degraded = grove.now;
    assert_eq!(grove.settle(), [Start(0), Start(1), Start(2)]);
    assert_eq!(grove.notices.last(), Some(&Notice::Recovered));
    assert!(grove.now - degraded >= 82 * SECOND && !grove.tree.is_degraded());
}

#[test]
fn a_child_that_does_not_stop_is_killed_and_one_that_is_not_killed_is_left_behind() {
    let mut grove = Grove::new(WhenExceeded::Escalate, &three(Strategy::OneForOne));
    grove.settle();
    grove.tree.stop(grove.now + 60 * SECOND);
    grove.listen();
    assert_eq!(std::mem::take(&mut grove.orders), [Stop(2)]);
    grove.now += 5 * SECOND;
    grove.listen();
    assert_eq!(std::mem::take(&mut grove.orders), [Kill(2)]);
    grove.now += KILL_GRACE;
    assert_eq!(grove.settle(), [Stop(1), Stop(0)]);
    assert_eq!(grove.end, Some(End::Stopped));
    assert!(grove.notices.contains(&Notice::Unresponsive { child: 2 }));
}

#[test]
fn a_tree_that_does_not_end_waits_for_a_child_that_does_not_answer() {
    let mut grove = Grove::new(WhenExceeded::Escalate, &three(Strategy::RestForOne));
    grove.settle();
    grove.die(0);
    grove.listen();
    assert_eq!(std::mem::take(&mut grove.orders), [Stop(2)]);
    grove.now += 5 * SECOND;
    grove.listen();
    assert_eq!(std::mem::take(&mut grove.orders), [Kill(2)]);
    grove.now += 100 * SECOND;
    grove.listen();
    assert_eq!(grove.orders, []);
    assert_eq!(grove.notices.last(), Some(&Notice::Unresponsive { child: 2 }));
    grove.tree.exited(2, Exit::Killed, 1.0, grove.now);
    assert_eq!(grove.settle(), [Stop(1), Start(0), Start(1), Start(2)]);
}

#[test]
fn endless_times_are_no_trouble() {
    let endless = ChildRules { shutdown: Duration::MAX, ..child(Strategy::OneForOne) };
    let mut grove = Grove::new(WhenExceeded::RetryEvery(Duration::MAX), &[endless]);
    for _ in 0..4 {
        while grove.obey().is_some() {}
        grove.die(0);
        grove.now += 8 * SECOND;
    }
    grove.listen();
    assert!(grove.tree.is_degraded());
    grove.tree.stop(later(grove.now, Duration::MAX));
    assert_eq!((grove.settle(), grove.end), (vec![], Some(End::Stopped)));
}

#[test]
fn a_stop_kills_whom_its_deadline_meets() {
    let mut grove = Grove::new(WhenExceeded::Escalate, &three(Strategy::OneForOne));
    grove.settle();
    grove.tree.stop(grove.now + SECOND);
    grove.listen();
    grove.orders.clear();
    grove.now += SECOND;
    assert_eq!(grove.settle(), [Kill(2), Kill(1), Kill(0)]);
}

/// Whatever dies, and whoever is slow to obey: orders respect the order of the children, and in the end all
/// that should be up are up, or the tree has ended with all down.
#[test]
fn random_lives_keep_the_order_and_come_to_rest() {
    for seed in 0..2000 {
        let mut dice = fastrand::Rng::with_seed(seed);
        let strategies = [Strategy::OneForOne, Strategy::RestForOne];
        let restarts = [Restart::Permanent, Restart::Transient, Restart::Temporary];
        let children: Vec<ChildRules> = (0..dice.usize(1..6))
            .map(|_| ChildRules {
                restart: restarts[dice.usize(0..3)],
                strategy: strategies[dice.usize(0..2)],
                shutdown: SECOND * dice.u32(0..3),
            })
            .collect();
        let when = [WhenExceeded::Escalate, WhenExceeded::RetryEvery(9 * SECOND)][dice.usize(0..2)];
        let mut grove = Grove::new(when, &children);
        for _ in 0..dice.usize(0..200) {
            let child = dice.usize(0..children.len());
            match dice.u8(0..10) {
                0 if grove.tree.phase(child) != Phase::Down && !grove.orders.contains(&Start(child)) => {
                    let exit = [Exit::Normal, Exit::Stuck][dice.usize(0..2)].clone();
                    grove.orders.retain(|order| *order != Stop(child) && *order != Kill(child));
                    grove.tree.exited(child, exit, dice.f64(), grove.now);
                }
                1 => grove.now += SECOND / 4 * dice.u32(0..3),
                2 if dice.u8(0..40) == 0 => grove.tree.stop(grove.now + SECOND),
                _ => {
                    grove.orders.retain(|order| match order {
                        // A newer order replaces one that was not yet read.
                        Start(child) => grove.tree.phase(*child) == Phase::Starting,
                        Stop(child) => matches!(grove.tree.phase(*child), Phase::Stopping { .. }),
                        Kill(child) => matches!(grove.tree.phase(*child), Phase::Killing { .. }),
                        Action::Tell(_) | Action::End(_) => false,
                    });
                    if let Some(Stop(child) | Kill(child)) = grove.obey() {
                        let later_and_wanted_down = (child + 1..children.len()).filter(|later| {
                            grove.tree.nodes[*later].must_go && !grove.tree.phase(*later).is_down()
                        });
                        assert_eq!(later_and_wanted_down.count(), 0, "seed {seed}");
                    }
                }
            }
        }
        grove.orders.clear();
        for child in 0..children.len() {
            if grove.tree.phase(child).is_ending() || grove.tree.phase(child) == Phase::Starting {
                grove.tree.exited(child, Exit::Killed, 1.0, grove.now);
            }
        }
        grove.settle();
        let settled = |node: &Node| match grove.end {
            Some(_) => node.phase.is_down(),
            None => node.wanted == matches!(node.phase, Phase::Up { .. }),
        };
        assert!(grove.tree.nodes.iter().all(settled), "seed {seed}");
    }
}
