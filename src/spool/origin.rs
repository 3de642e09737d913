//! Where a stored batch came from, as it stands in its columns `origin` and `parent`.

use crate::machines::plan::RowId;

/// The word of a batch that was taken back from quarantine; behind it stands how often, as in `replay.2`. There, since
/// the columns of a batch have no other place for it, and a batch that is refused once more must know.
const REPLAY: &str = "replay";

/// Where a batch came from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Origin {
    /// From the queue.
    Live,
    /// It is a part of a stored batch whose points met different fates.
    Split { parent: RowId },
    /// It was in quarantine, under this identity there, and was taken back.
    Replay { times: u64, parent: RowId },
}

impl Origin {
    /// What stands in column `origin`.
    pub(super) fn text(self) -> String {
        match self {
            Self::Live => "live".to_owned(),
            Self::Split { .. } => "split".to_owned(),
            Self::Replay { times, .. } => format!("{REPLAY}.{times}"),
        }
    }

    /// What stands in column `parent`.
    pub(super) const fn parent(self) -> Option<i64> {
        match self {
            Self::Live => None,
            Self::Split { parent } | Self::Replay { parent, .. } => Some(parent.0),
        }
    }
}

/// How often a batch of this origin was taken back from quarantine.
pub(super) fn replays(origin: &str) -> u64 {
    match origin.strip_prefix(REPLAY) {
        Some(times) => times.strip_prefix('.').and_then(|times| times.parse().ok()).unwrap_or(1),
        None => 0,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn how_often_a_batch_was_replayed_is_read_back() {
        let parent = RowId(7);
        for times in [1, 2, u64::MAX] {
            let origin = Origin::Replay { times, parent };
            assert_eq!((replays(&origin.text()), origin.parent()), (times, Some(7)));
        }
        assert_eq!(replays(&Origin::Live.text()), 0);
        assert_eq!(replays(&Origin::Split { parent }.text()), 0);
        assert_eq!((replays("replay"), replays("replay.x")), (1, 1));
    }
}
