//! The report on dependencies: real registries, real layouts, and registries that misbehave.

mod page;
mod paging;
mod report;
