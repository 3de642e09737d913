//! The one place where panics are caught.

use std::any::Any;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

/// Runs `f`; a panic becomes its text.
///
/// What `f` leaves half done is the caller's to throw away, which is why it may be called not unwind safe.
pub(crate) fn caught<T>(f: impl FnOnce() -> T) -> Result<T, Arc<str>> {
    catch_unwind(AssertUnwindSafe(f)).map_err(|payload| {
        let text = text_of(&*payload);
        drop_payload(payload);
        text
    })
}

/// Drops each one on its own, so that one that panics takes no other along. The first panic's text is returned.
pub(crate) fn drop_each<T>(things: impl IntoIterator<Item = T>) -> Result<(), Arc<str>> {
    let mut outcome = Ok(());
    for thing in things {
        let dropped = caught(move || drop(thing));
        outcome = outcome.and(dropped);
    }
    outcome
}

fn text_of(payload: &(dyn Any + Send)) -> Arc<str> {
    let text = payload.downcast_ref::<&str>().copied();
    let text = text.or_else(|| payload.downcast_ref::<String>().map(String::as_str));
    text.unwrap_or("a value that is no text").into()
}

/// `panic_any` takes any value, so even this destructor may panic; what that throws is leaked, or it never ends.
fn drop_payload(payload: Box<dyn Any + Send>) {
    if let Err(next) = catch_unwind(AssertUnwindSafe(move || drop(payload))) {
        std::mem::forget(next);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Bomb;
    impl Drop for Bomb {
        fn drop(&mut self) {
            panic!("bomb");
        }
    }

    #[test]
    fn a_panic_becomes_its_text() {
        assert_eq!(caught(|| 7), Ok(7));
        assert_eq!(caught(|| panic!("plain")), Err::<(), _>("plain".into()));
        assert_eq!(caught(|| panic!("formatted {}", 1)), Err::<(), _>("formatted 1".into()));
        assert!(caught(|| std::panic::panic_any(7)).is_err());
    }

    #[test]
    fn a_payload_whose_destructor_panics_is_survived() {
        assert!(caught(|| std::panic::panic_any(Bomb)).is_err());
    }

    #[test]
    fn each_thing_is_dropped_whatever_the_others_do() {
        let shared = Arc::new(());
        let witness = |explodes: bool| (explodes.then(|| Bomb), shared.clone());
        assert_eq!(drop_each([witness(false), witness(true), witness(false)]), Err("bomb".into()));
        assert_eq!(Arc::strong_count(&shared), 1);
    }
}
