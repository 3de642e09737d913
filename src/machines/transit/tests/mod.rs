//! The transit from outside its lock: named cases, and random ones against a simple model.

mod bounds;
mod cases;
mod healing;
mod model;
mod outside;
mod pushing;
mod reopening;
mod rig;
mod saving;
mod sending;
mod shedding;
mod wires;
mod world;
