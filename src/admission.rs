//! The way of one review.
pub mod decode;
pub mod respond;
