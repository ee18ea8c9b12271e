//! What is asked: a workload, its images, and how they differ from what was there. Pure: no IO, no clock.

pub mod kinds;
pub mod template;
