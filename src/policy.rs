//! Policies: what platform teams write, compiled to what decides. Pure: no IO, no clock.

pub mod api;
pub mod compile;
pub mod crd;
pub mod duration;
pub mod error_budget;
pub mod evaluate;
pub mod exceptions;
pub mod file;
pub mod image_age;
pub mod percent;
