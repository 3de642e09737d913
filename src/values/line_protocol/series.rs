//! Series prepared once and pushed with values only.
