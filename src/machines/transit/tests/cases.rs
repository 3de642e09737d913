//! Named cases, one for each find.
