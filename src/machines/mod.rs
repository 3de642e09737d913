//! Pure machines: they take `now` and return a decision.
