//! Error budgets: how much of one a service has left, and what that means for its deploys.
//!
//! What decides is pure ([`figures`], [`measure`], [`state`], [`freeze`], [`lift`], [`window`], [`service`]). Measuring
//! goes on in the background and ends in a dated snapshot; admission reads that and asks nobody.

pub mod figures;
pub mod freeze;
pub mod freezes;
pub mod keeper;
pub mod lift;
pub mod measure;
pub mod service;
pub mod snapshot;
pub mod state;
pub mod window;
