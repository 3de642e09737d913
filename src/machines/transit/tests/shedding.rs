//! What leaves when there is no room.
