//! What the disk does.

use std::sync::{Arc, Mutex};

use faulty_vfs::{Asked, Call, Disk, SECTOR_BYTES, Verdict};

/// What goes wrong, and when.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Fault {
    pub(super) kind: FaultKind,
    /// So many calls pass before.
    pub(super) after: u32,
    /// So many calls fail.
    pub(super) times: u32,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum FaultKind {
    /// A read, a write, a sync, whatever comes.
    Io,
    /// A sync.
    Sync,
    /// A write finds no space.
    Full,
    /// A write is done halfway, in whole sectors.
    Torn,
    /// The process ends there: nothing is done from then on.
    Dead,
}

/// The disk's mood.
#[derive(Clone, Debug, Default)]
pub(super) struct Faults(Arc<Mutex<State>>);

#[derive(Debug, Default)]
struct State {
    fault: Option<Fault>,
    struck: bool,
}

impl Faults {
    pub(super) fn on(disk: &Disk) -> Self {
        let faults = Self::default();
        let judge = faults.clone();
        disk.judge(move |asked| judge.judge(asked));
        faults
    }

    pub(super) fn arm(&self, fault: Fault) {
        *self.0.lock().unwrap() = State { fault: Some(fault), struck: false };
    }

    pub(super) fn clear(&self) {
        *self.0.lock().unwrap() = State::default();
    }

    pub(super) fn is_armed(&self) -> bool {
        self.0.lock().unwrap().fault.is_some()
    }

    /// Whether the process would have ended by now.
    pub(super) fn is_dead(&self) -> bool {
        let state = self.0.lock().unwrap();
        state.struck && state.fault.is_some_and(|fault| fault.kind == FaultKind::Dead)
    }

    fn judge(&self, asked: &Asked<'_>) -> Verdict {
        let mut state = self.0.lock().unwrap();
        let Some(fault) = &mut state.fault else { return Verdict::Pass };
        let concerns = match fault.kind {
            FaultKind::Io | FaultKind::Dead => true,
            FaultKind::Sync => asked.call == Call::Sync,
            FaultKind::Full | FaultKind::Torn => matches!(asked.call, Call::Write { .. }),
        };
        if !concerns {
            return Verdict::Pass;
        }
        if fault.after > 0 {
            fault.after -= 1;
            return Verdict::Pass;
        }
        let kind = fault.kind;
        fault.times = fault.times.saturating_sub(1);
        if fault.times == 0 && kind != FaultKind::Dead {
            state.fault = None;
        }
        state.struck = true;
        match (kind, asked.call) {
            (FaultKind::Full, _) => Verdict::Full,
            (FaultKind::Torn, Call::Write { bytes, .. }) => {
                Verdict::Torn(bytes.len() / 2 / SECTOR_BYTES * SECTOR_BYTES)
            }
            _ => Verdict::IoError,
        }
    }
}
