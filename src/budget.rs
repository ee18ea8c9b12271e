//! Error budgets: how much of one a service has left, and what that means for its deploys.
//!
//! What decides is pure ([`figures`], [`measure`], [`state`], [`freeze`], [`lift`], [`window`], [`service`]). So is what is
//! asked and how answers are read: each format has its file, and [`query`] makes sure that what is sent is what is meant.
//! Measuring ([`prometheus`], [`poller`]) goes on in the background and ends in a dated snapshot; admission reads that and
//! asks nobody.

pub mod answer;
pub mod api;
pub mod compile;
pub mod crd;
pub mod figures;
pub mod file;
pub mod found;
pub mod freeze;
pub mod freezes;
pub mod grafana;
pub mod keeper;
pub mod lift;
pub mod materials;
pub mod measure;
pub mod openslo;
pub mod poll;
pub mod poller;
pub mod prometheus;
pub mod promql;
pub mod pyrra;
pub mod queried;
pub mod query;
pub mod service;
pub mod sloth;
pub mod snapshot;
pub mod state;
pub mod window;
