//! Where what the scanner knows outlives a round: the store, which every replica reads, or this process's memory.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use arc_swap::ArcSwap;
use tokio::time::sleep;

use super::known::{ImageKey, Known};
use super::nudges::Nudges;
use crate::policy::compile::PolicySet;
use crate::store::Store;
use crate::store::findings::{FindingsMark, FindingsRow};

/// How often a replica looks whether there is something new.
const LOOK_EVERY: Duration = Duration::from_secs(10);

/// What is known, by image.
pub type KnownImages = BTreeMap<ImageKey, Arc<Known>>;

/// Keeps what is known of images.
#[derive(Clone, Debug)]
pub struct Shelf {
    store: Option<Store>,
    /// Without a store: all of it, and how often it changed.
    memory: Arc<Mutex<(KnownImages, i64)>>,
}

impl Shelf {
    /// In a store; else in memory.
    pub fn new(store: Option<Store>) -> Self {
        Self { store, memory: Arc::default() }
    }

    /// All that is known. A store that does not answer costs look-ups, nothing else.
    pub async fn load(&self) -> Option<KnownImages> {
        let Some(store) = &self.store else {
            return Some(self.memory.lock().unwrap_or_else(PoisonError::into_inner).0.clone());
        };
        match store.image_findings().await {
            Ok(rows) => Some(rows.into_iter().filter_map(read).collect()),
            Err(error) => {
                tracing::warn!(%error, "what the scanner found before is not known now");
                None
            }
        }
    }

    /// Keeps what was found, and drops what runs no more.
    pub async fn save(&self, found: &[(ImageKey, Arc<Known>)], gone: &[ImageKey]) {
        if found.is_empty() && gone.is_empty() {
            return;
        }
        let Some(store) = &self.store else {
            let mut memory = self.memory.lock().unwrap_or_else(PoisonError::into_inner);
            memory.0.retain(|key, _| !gone.contains(key));
            memory.0.extend(found.iter().cloned());
            memory.1 += 1;
            return;
        };
        let row = |(key, known): &(ImageKey, Arc<Known>)| FindingsRow {
            scope: key.scope.clone(),
            image: key.image.clone(),
            running: key.running.clone(),
            scanned_at: known.learnt_at(),
            findings: known.to_json(),
        };
        let gone = gone.iter().map(|key| (key.scope.clone(), key.image.clone(), key.running.clone())).collect();
        if let Err(error) = store.save_image_findings(found.iter().map(row).collect(), gone).await {
            tracing::warn!(%error, "what the scanner found is not kept; it is looked up again after a restart");
        }
    }

    /// Brings what is known to where deploys are answered, for ever; nothing, while no policy asks for it.
    pub async fn follow(self, nudges: Arc<ArcSwap<Nudges>>, policies: Arc<ArcSwap<PolicySet>>) {
        let mut shown: Option<FindingsMark> = None;
        loop {
            let is_asked_for = policies
                .load()
                .iter()
                .any(|policy| policy.spec.dependencies.as_ref().is_some_and(|dependencies| dependencies.nudges > 0));
            if !is_asked_for {
                if shown.take().is_some() {
                    nudges.store(Arc::default());
                }
            } else if let Some(mark) = self.mark().await
                && shown.as_ref() != Some(&mark)
                && let Some(known) = self.load().await
            {
                nudges.store(Arc::new(Nudges::of(&known)));
                shown = Some(mark);
            }
            sleep(LOOK_EVERY).await;
        }
    }

    async fn mark(&self) -> Option<FindingsMark> {
        let Some(store) = &self.store else {
            return Some((self.memory.lock().unwrap_or_else(PoisonError::into_inner).1, None));
        };
        match store.image_findings_mark().await {
            Ok(mark) => Some(mark),
            Err(error) => {
                tracing::debug!(%error, "what the scanner found cannot be read; what is known stays");
                None
            }
        }
    }
}

fn read(row: FindingsRow) -> Option<(ImageKey, Arc<Known>)> {
    let known = Known::from_json(&row.findings, row.scanned_at)?;
    Some((ImageKey { scope: row.scope, image: row.image, running: row.running }, Arc::new(known)))
}
