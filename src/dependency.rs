//! Dependencies: for each image that is used, the one small next step, long before the gate refuses anything.
//!
//! A source of findings is a function from an image to [`finding::Findings`]: what it found, and what it could not look
//! up. [`version`], [`ladder`], [`base`], [`forecast`], [`rank`], [`workload`] and the types in [`finding`] are pure; [`look_up`] asks
//! registries. None of it is ever in the way of admission.

pub mod base;
pub mod finding;
pub mod forecast;
pub mod ladder;
pub mod look_up;
pub mod rank;
pub mod version;
pub mod workload;
