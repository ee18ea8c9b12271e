//! Whether the gate should be sent reviews: TLS is loaded, policies are there, it has answered itself where it is to, and it
//! is not about to end. What it depends on for single facts does not count: a dead registry must not take the gate away
//! from all others.

use std::sync::atomic::{AtomicBool, Ordering};

/// The conditions, each false at first.
#[derive(Debug, Default)]
pub struct Readiness {
    tls: AtomicBool,
    policies: AtomicBool,
    awaits_self_check: AtomicBool,
    draining: AtomicBool,
}

impl Readiness {
    /// The certificate is loaded and the socket open.
    pub fn tls_is_loaded(&self) {
        self.tls.store(true, Ordering::Release);
    }

    /// The policies are those of their source.
    pub fn policies_are_synced(&self) {
        self.policies.store(true, Ordering::Release);
    }

    /// A self-check is to pass first.
    pub fn await_self_check(&self) {
        self.awaits_self_check.store(true, Ordering::Release);
    }

    /// The gate has answered itself as it would an API server.
    pub fn self_check_passed(&self) {
        self.awaits_self_check.store(false, Ordering::Release);
    }

    /// Whether nothing but the self-check is missing, or nothing at all.
    pub fn can_be_checked(&self) -> bool {
        self.tls.load(Ordering::Acquire) && self.policies.load(Ordering::Acquire)
    }

    /// The gate is about to end.
    pub fn drain(&self) {
        self.draining.store(true, Ordering::Release);
    }

    /// Whether the gate is about to end.
    pub fn is_draining(&self) -> bool {
        self.draining.load(Ordering::Acquire)
    }

    /// What is missing, in words; nothing when ready.
    pub fn missing(&self) -> Vec<&'static str> {
        let mut missing = Vec::new();
        if self.is_draining() {
            missing.push("the gate is shutting down");
        }
        if !self.tls.load(Ordering::Acquire) {
            missing.push("TLS is not loaded");
        }
        if !self.policies.load(Ordering::Acquire) {
            missing.push("policies are not synced");
        }
        if self.awaits_self_check.load(Ordering::Acquire) {
            missing.push("the self-check has not passed");
        }
        missing
    }
}
