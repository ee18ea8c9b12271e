//! What stands in a Lease, and what may be written into it. Times come in as arguments.

use std::time::{Duration, Instant};

use chrono::{DateTime, Utc};
use k8s_openapi::api::coordination::v1::{Lease, LeaseSpec};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::OwnerReference;
use kube::api::ObjectMeta;

use crate::cluster::owner_reference::set;
use crate::cluster::times::micro_time;

/// Tells processes apart that have one name: a replica that was started again does not hold what its predecessor held.
const PROCESS: &str = "freshgate.dev/process";

/// One replica, as it stands for a Lease.
#[derive(Debug)]
pub(super) struct Candidate {
    identity: String,
    process: String,
}

/// How long a Lease has been as it is, by the clock of whoever looks.
#[derive(Debug, Default)]
pub(super) struct Observed(Option<(String, Instant)>);

impl Observed {
    /// Looks at it; says for how long it has not changed.
    pub(super) fn look(&mut self, lease: &Lease, now: Instant) -> Duration {
        let version = lease.metadata.resource_version.clone().unwrap_or_default();
        match &self.0 {
            Some((known, since)) if *known == version => now.saturating_duration_since(*since),
            _ => {
                self.0 = Some((version, now));
                Duration::ZERO
            }
        }
    }
}

/// A Lease that does not exist yet.
pub(super) fn absent(name: &str, namespace: &str) -> Lease {
    let (name, namespace) = (Some(name.to_owned()), Some(namespace.to_owned()));
    Lease { metadata: ObjectMeta { name, namespace, ..ObjectMeta::default() }, spec: None }
}

impl Candidate {
    pub(super) fn new(identity: String) -> Self {
        Self { identity, process: uuid::Uuid::new_v4().to_string() }
    }

    fn holds(&self, lease: &Lease) -> bool {
        let process = lease.metadata.annotations.as_ref().and_then(|all| all.get(PROCESS));
        holder(lease) == Some(self.identity.as_str()) && process == Some(&self.process)
    }

    /// Whether it is this one's, nobody's, or of somebody who has not renewed it for longer than it said.
    pub(super) fn may_take(&self, lease: &Lease, unchanged_for: Duration, ours: Duration) -> bool {
        let theirs = lease.spec.as_ref().and_then(|spec| spec.lease_duration_seconds);
        let theirs = theirs.and_then(|seconds| u64::try_from(seconds).ok()).map_or(ours, Duration::from_secs);
        holder(lease).is_none() || self.holds(lease) || unchanged_for >= theirs
    }

    /// The same Lease, held by this one since now, or as before where it held it already.
    pub(super) fn take(
        &self,
        mut lease: Lease,
        owner: Option<OwnerReference>,
        now: DateTime<Utc>,
        lease_for: Duration,
    ) -> Lease {
        let held = self.holds(&lease);
        lease.metadata.annotations.get_or_insert_default().insert(PROCESS.to_owned(), self.process.clone());
        set(&mut lease.metadata, owner);
        let spec = lease.spec.get_or_insert_with(LeaseSpec::default);
        if !held {
            // Of one that nobody held before, it is the first.
            spec.lease_transitions = Some(spec.lease_transitions.map_or(0, |count| count.saturating_add(1)));
            spec.acquire_time = micro_time(now);
        }
        spec.holder_identity = Some(self.identity.clone());
        spec.lease_duration_seconds = i32::try_from(lease_for.as_secs()).ok();
        spec.renew_time = micro_time(now);
        lease
    }

    /// The same Lease, held by nobody.
    pub(super) fn release(mut lease: Lease) -> Lease {
        if let Some(annotations) = &mut lease.metadata.annotations {
            annotations.remove(PROCESS);
        }
        let spec = lease.spec.get_or_insert_with(LeaseSpec::default);
        spec.holder_identity = None;
        spec.lease_duration_seconds = Some(1);
        lease
    }
}

fn holder(lease: &Lease) -> Option<&str> {
    lease.spec.as_ref()?.holder_identity.as_deref().filter(|holder| !holder.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    const FOR: Duration = Duration::from_secs(15);

    fn stored(mut lease: Lease, version: &str) -> Lease {
        lease.metadata.resource_version = Some(version.to_owned());
        lease
    }

    #[test]
    fn a_lease_is_taken_when_it_is_free_and_when_its_holder_was_silent_for_long_enough() {
        let now = crate::clock::now();
        let (one, other) = (Candidate::new("a".into()), Candidate::new("b".into()));
        let free = absent("l", "n");
        assert!(one.may_take(&free, Duration::ZERO, FOR));
        let held = stored(one.take(free, None, now, FOR), "1");
        assert_eq!(held.spec.as_ref().unwrap().lease_transitions, Some(0));
        assert!(one.may_take(&held, Duration::ZERO, FOR));
        assert!(!other.may_take(&held, Duration::ZERO, FOR));

        let (mut observed, start) = (Observed::default(), Instant::now());
        let mut for_seconds = |lease: &Lease, at: u64| observed.look(lease, start + Duration::from_secs(at));
        assert!(!other.may_take(&held, for_seconds(&held, 0), FOR));
        assert!(!other.may_take(&held, for_seconds(&held, 14), FOR));
        // Renewed: the count begins anew, whatever the times in it say.
        let renewed = stored(one.take(held, None, now, FOR), "2");
        assert!(!other.may_take(&renewed, for_seconds(&renewed, 16), FOR));
        assert!(!other.may_take(&renewed, for_seconds(&renewed, 30), FOR));
        assert!(other.may_take(&renewed, for_seconds(&renewed, 31), FOR));
        let taken = other.take(renewed, None, now, FOR);
        assert_eq!(taken.spec.as_ref().unwrap().lease_transitions, Some(1));
        assert!(!one.may_take(&taken, Duration::ZERO, FOR));
        let released = Candidate::release(taken);
        assert!(one.may_take(&released, Duration::ZERO, FOR));
    }

    #[test]
    fn one_of_the_same_name_is_another() {
        let now = crate::clock::now();
        let (before, after) = (Candidate::new("pod-0".into()), Candidate::new("pod-0".into()));
        let held = before.take(absent("l", "n"), None, now, FOR);
        assert!(!after.may_take(&held, Duration::ZERO, FOR));
    }
}
