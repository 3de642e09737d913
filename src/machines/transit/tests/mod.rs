//! The transit from outside its lock: named cases, and random ones against a simple model.

mod cases;
mod healing;
mod model;
mod rig;
mod shedding;
mod wires;
mod world;
