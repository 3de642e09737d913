//! Named places where a test makes an actor panic or wait; nothing at all without the feature `failpoints`.

macro_rules! failpoint {
    // Known by its own name, and as `OWNER/NAME`: a test may mean one database of several.
    (of $owner:expr, $name:expr) => {
        #[cfg(feature = "failpoints")]
        {
            ::fail::fail_point!($name);
            ::fail::fail_point!(&format!("{}/{}", $owner, $name));
        }
    };
    ($name:expr) => {
        #[cfg(feature = "failpoints")]
        ::fail::fail_point!($name);
    };
    // The test says what the function returns.
    ($name:expr, $returned:expr) => {
        #[cfg(feature = "failpoints")]
        ::fail::fail_point!($name, $returned);
    };
}
pub(crate) use failpoint;
