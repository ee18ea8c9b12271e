//! Policies: what platform teams write, compiled to what decides. Pure: no IO, no clock.

pub mod api;
pub mod compile;
pub mod crd;
pub mod duration;
pub mod evaluate;
pub mod file;
pub mod image_age;
