//! The exceptions that are known, and how each of them stands: what was admitted here, what the cluster shows, and what
//! its status proves. Pure: the time is handed in, what is to be looked up or written is handed out.
//!
//! A webhook can write nothing into the object under review, so a grant is remembered at admission, and signed into the
//! status when the object appears. Between the two the gate may be started anew: then the audit has the grant.

use std::collections::{BTreeMap, BTreeSet};

use chrono::{DateTime, TimeDelta, Utc};

use super::api::{GateExceptionSpec, GateExceptionStatus, SpecHash};
use super::check::instant;
use super::signature::{Granted, NotGranted, granted};
use super::{Exceptions, Grant};
use crate::policy::api::Condition;
use crate::signing::Keys;

/// For how long break-glass counts whose object was found by asking and has not been shown by the watch.
const UNSEEN_SECONDS: i64 = 60;
/// For how long a grant is remembered whose object never came; after that the audit has it still.
const REMEMBERED_SECONDS: i64 = 3_600;
/// An exception without a good status is called inert after this: another replica may be about to write it.
const GRACE_SECONDS: i64 = 10;

/// An exception as it was admitted here.
#[derive(Clone, Debug)]
pub struct Admitted {
    /// Its name.
    pub name: String,
    /// Its spec.
    pub spec: GateExceptionSpec,
    /// The grant of that spec.
    pub granted: Granted,
}

/// An exception as the cluster shows it.
#[derive(Clone, Debug)]
pub struct Seen {
    /// Its name.
    pub name: String,
    /// Its UID.
    pub uid: String,
    /// Its spec, or why it cannot be read.
    pub spec: Result<GateExceptionSpec, String>,
    /// Its status, as far as it can be read.
    pub status: GateExceptionStatus,
}

/// How an exception stands.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Standing {
    /// Its status proves the grant.
    Proven(Granted),
    /// It was granted, and its status does not say so yet.
    Unwritten(Granted),
    /// Its status proves nothing, and the audit has not been asked.
    Unproven(NotGranted),
    /// Nothing shows that it was granted: it has no effect.
    Inert(NotGranted),
    /// Its spec cannot be read.
    Unreadable(String),
}

#[derive(Debug)]
struct Entry {
    seen: Seen,
    standing: Standing,
    first_seen: DateTime<Utc>,
}

/// A grant that is to be looked up in the audit.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LookUp {
    /// Name of the exception.
    pub name: String,
    /// Its UID.
    pub uid: String,
    /// The spec that must have been granted.
    pub spec_hash: SpecHash,
}

/// A status that is to be written, because another stands there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Wanted {
    /// Name of the exception.
    pub name: String,
    /// Its UID.
    pub uid: String,
    /// What goes before the conditions.
    pub proof: Proof,
    /// The condition `Active`.
    pub condition: Condition,
}

/// What a status says beside its conditions.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Proof {
    /// This grant, which is to be signed.
    Sign(Granted),
    /// What stands there already, which is good.
    Keep(Box<GateExceptionStatus>),
    /// Nothing.
    None,
}

/// All that is known.
#[derive(Debug)]
pub struct Book {
    keys: Keys,
    /// By name.
    entries: BTreeMap<String, Entry>,
    /// Admitted here and not yet proven by a status, by UID.
    admitted: BTreeMap<String, Admitted>,
    /// UIDs of those among them that were found in the cluster by asking. Without that a review is hearsay: whoever
    /// reaches the webhook can send one, and other webhooks may have refused the object.
    confirmed: BTreeSet<String>,
}

impl Book {
    /// An empty book; statuses are proven with these keys.
    pub fn new(keys: Keys) -> Self {
        Self { keys, entries: BTreeMap::new(), admitted: BTreeMap::new(), confirmed: BTreeSet::new() }
    }

    /// Remembers what was admitted.
    pub fn admit(&mut self, admitted: Admitted, now: DateTime<Utc>) {
        let remembered_since = now - TimeDelta::seconds(REMEMBERED_SECONDS);
        self.admitted.retain(|_, known| known.granted.at >= remembered_since);
        self.admitted.insert(admitted.granted.uid.clone(), admitted);
        self.confirmed.retain(|uid| self.admitted.contains_key(uid));
    }

    /// Takes in that what was admitted is in the cluster, before the watch has shown it.
    pub fn confirm(&mut self, uid: &str) {
        if self.admitted.contains_key(uid) {
            self.confirmed.insert(uid.to_owned());
        }
    }

    /// Takes in all that the cluster has; what is not among it is gone.
    pub fn replace(&mut self, all: Vec<Seen>, now: DateTime<Utc>) {
        self.entries.retain(|name, _| all.iter().any(|seen| seen.name == *name));
        for seen in all {
            self.set(seen, now);
        }
    }

    /// Takes in one that is new or changed.
    pub fn set(&mut self, seen: Seen, now: DateTime<Utc>) {
        let before = self.entries.remove(&seen.name).filter(|before| before.seen.uid == seen.uid);
        let mut standing = self.standing(&seen);
        if let Standing::Unproven(why) = &standing
            && let Some(Entry { standing: Standing::Inert(_), seen: before, .. }) = &before
            && before.spec == seen.spec
        {
            standing = Standing::Inert(why.clone()); // the audit was asked for this one
        }
        if let Standing::Proven(granted) = &standing {
            self.admitted.remove(&granted.uid);
        }
        let first_seen = before.map_or(now, |before| before.first_seen);
        self.entries.insert(seen.name.clone(), Entry { seen, standing, first_seen });
    }

    /// Forgets one that is gone.
    pub fn remove(&mut self, name: &str) {
        if let Some(gone) = self.entries.remove(name) {
            self.admitted.remove(&gone.seen.uid);
        }
    }

    fn standing(&self, seen: &Seen) -> Standing {
        let spec = match &seen.spec {
            Ok(spec) => spec,
            Err(problem) => return Standing::Unreadable(problem.clone()),
        };
        let spec_hash = spec.hash();
        let why = match granted(&seen.uid, spec_hash, &seen.status, &self.keys) {
            Ok(granted) => return Standing::Proven(granted),
            Err(why) => why,
        };
        match self.admitted.get(&seen.uid) {
            Some(known) if known.granted.spec_hash == spec_hash => Standing::Unwritten(known.granted.clone()),
            Some(_) => Standing::Inert(NotGranted::OtherSpec),
            None => Standing::Unproven(why),
        }
    }

    /// The grants that only the audit can know of.
    pub fn to_look_up(&self) -> Vec<LookUp> {
        let unproven = self.entries.values().filter(|entry| matches!(entry.standing, Standing::Unproven(_)));
        unproven
            .filter_map(|entry| {
                let spec_hash = entry.seen.spec.as_ref().ok()?.hash();
                Some(LookUp { name: entry.seen.name.clone(), uid: entry.seen.uid.clone(), spec_hash })
            })
            .collect()
    }

    /// Takes in what the audit knows: `None` where it knows of no such grant.
    pub fn looked_up(&mut self, asked: &LookUp, found: Option<Granted>) {
        let Some(entry) = self.entries.get_mut(&asked.name) else {
            return;
        };
        let is_the_same =
            entry.seen.uid == asked.uid && entry.seen.spec.as_ref().is_ok_and(|spec| spec.hash() == asked.spec_hash);
        let Standing::Unproven(why) = &entry.standing else {
            return;
        };
        if !is_the_same {
            return; // it will be asked for anew
        }
        entry.standing = match found {
            Some(granted) if granted.uid == asked.uid && granted.spec_hash == asked.spec_hash => {
                Standing::Unwritten(granted)
            }
            _ => Standing::Inert(why.clone()),
        };
    }

    /// The exceptions that are good, expired ones among them.
    pub fn exceptions(&self) -> Exceptions {
        let shown = self.entries.values().filter_map(|entry| match (&entry.seen.spec, &entry.standing) {
            (Ok(spec), Standing::Proven(granted) | Standing::Unwritten(granted)) => {
                Some((spec.targets.clone(), grant(&entry.seen.name, spec, granted)))
            }
            _ => None,
        });
        let is_shown = |uid: &str| self.entries.values().any(|entry| entry.seen.uid == uid);
        let confirmed = self.confirmed.iter().filter_map(|uid| self.admitted.get(uid));
        let unseen =
            confirmed.filter(|admitted| !is_shown(&admitted.granted.uid)).map(|Admitted { name, spec, granted }| {
                let mut grant = grant(name, spec, granted);
                grant.expires_at = grant.expires_at.min(granted.at + TimeDelta::seconds(UNSEEN_SECONDS));
                (spec.targets.clone(), grant)
            });
        Exceptions::new(shown.chain(unseen))
    }

    /// How many have no effect, although they have not expired.
    pub fn inert(&self, now: DateTime<Utc>) -> usize {
        let is_inert = |entry: &&Entry| match &entry.standing {
            Standing::Inert(_) => entry.seen.spec.as_ref().is_ok_and(|spec| now < spec.expires_at),
            Standing::Unreadable(_) => true,
            _ => false,
        };
        self.entries.values().filter(is_inert).count()
    }

    /// The statuses that say something else than what is known.
    pub fn wanted(&self, now: DateTime<Utc>) -> Vec<Wanted> {
        self.entries.values().filter_map(|entry| entry.wanted(now)).collect()
    }
}

/// What a decision is given of an exception.
pub fn grant(name: &str, spec: &GateExceptionSpec, granted: &Granted) -> Grant {
    Grant {
        name: name.to_owned(),
        rules: spec.rules.clone(),
        reason: spec.reason,
        digest: spec.digest.clone(),
        dependency: spec.dependency.as_ref().map(|dependency| dependency.service.clone()),
        ticket: spec.ticket.clone(),
        granted_by: granted.by.username.clone(),
        granted_at: granted.at,
        expires_at: spec.expires_at,
    }
}

const AGAIN: &str = "Delete it and create it again while the gate runs.";

impl Entry {
    fn wanted(&self, now: DateTime<Utc>) -> Option<Wanted> {
        let seen = &self.seen;
        let is_inert = !matches!(self.standing, Standing::Proven(_) | Standing::Unwritten(_));
        if is_inert && now - self.first_seen < TimeDelta::seconds(GRACE_SECONDS) {
            return None;
        }
        let (status, reason, message) = self.words(now)?;
        let proof = match &self.standing {
            Standing::Unwritten(granted) => Proof::Sign(granted.clone()),
            Standing::Proven(_) => Proof::Keep(Box::new(seen.status.clone())),
            _ => Proof::None,
        };
        let standing = seen.status.conditions.iter().find(|condition| condition.type_ == "Active");
        let says_so = standing.is_some_and(|condition| {
            condition.status == status && condition.reason == reason && condition.message == message
        });
        if says_so && !matches!(proof, Proof::Sign(_)) {
            return None;
        }
        let since = standing.filter(|condition| condition.status == status);
        let condition = Condition {
            type_: "Active".to_owned(),
            status: status.to_owned(),
            reason: reason.to_owned(),
            message,
            last_transition_time: since
                .map_or_else(|| instant(now), |condition| condition.last_transition_time.clone()),
            observed_generation: None,
        };
        Some(Wanted { name: seen.name.clone(), uid: seen.uid.clone(), proof, condition })
    }

    /// Status, reason and message of the condition; `None` while it is not known yet.
    fn words(&self, now: DateTime<Utc>) -> Option<(&'static str, &'static str, String)> {
        Some(match (&self.standing, &self.seen.spec) {
            (Standing::Unproven(_), _) => return None,
            (Standing::Proven(granted) | Standing::Unwritten(granted), Ok(spec)) => {
                let (by, end) = (&granted.by.username, instant(spec.expires_at));
                if now < spec.expires_at {
                    ("True", "Granted", format!("Granted by {by:?}; it ends at {end}."))
                } else {
                    ("False", "Expired", format!("Granted by {by:?}; it ended at {end}."))
                }
            }
            (Standing::Unreadable(problem), _) => {
                ("False", "Unreadable", format!("It has no effect: this gate cannot read it ({problem}). {AGAIN}"))
            }
            (Standing::Inert(NotGranted::Unsigned), _) => (
                "False",
                "NotGranted",
                format!(
                    "It has no effect: the gate did not see it being created, so nobody is known to have granted it. {AGAIN}"
                ),
            ),
            (Standing::Inert(NotGranted::OtherSpec), _) => {
                ("False", "SpecChanged", format!("It has no effect: {}. {AGAIN}", NotGranted::OtherSpec))
            }
            (Standing::Inert(why), _) => ("False", "BadSignature", format!("It has no effect: {why}. {AGAIN}")),
            // What was granted can be read.
            (_, Err(_)) => return None,
        })
    }
}

#[cfg(test)]
mod tests;
