//! Freshgate, a deployment policy gate for Kubernetes: it limits the build age of images and audits every decision.
//!
//! The way of one review is readable on one screen in [`admission`]. What decides ([`subject`], [`policy`],
//! [`verdict`], [`image::build_date`]) is pure: no IO, no clock, no runtime; `make lint` enforces it.
#![cfg_attr(test, allow(clippy::unwrap_used, clippy::expect_used, clippy::panic))]

pub mod admin;
pub mod admission;
pub mod args;
pub mod audit;
pub mod authority;
pub mod background;
pub mod budget;
pub mod cli;
pub mod clock;
pub mod cluster;
pub mod dependency;
pub mod evidence;
pub mod exception;
pub mod image;
pub mod instant;
pub mod json;
pub mod metrics;
pub mod policy;
pub mod policy_cases;
pub mod policy_folder;
pub mod run;
pub mod scanner;
pub mod server;
pub mod signing;
pub mod store;
pub mod subject;
pub mod telemetry;
pub mod verdict;
pub mod webhook;
