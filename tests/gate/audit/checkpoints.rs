//! What checkpoints show beyond the chain: a cut at the end, a chain that is gone or made anew, and by which of them it is
//! known.

use super::place::quoted;
use super::*;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use freshgate::audit::chain::{ChainHash, link};
use freshgate::audit::checkpoint::Checkpoints;
use freshgate::audit::checkpointer::{CheckpointError, Checkpointer, LastHeads, Sinks};
use freshgate::audit::{Proven, Question, Unproven, prove};
use freshgate::metrics::Metrics;
use freshgate::signing::{Keys, Verifier};

/// A store with a checkpointer, and what is kept outside of it.
pub struct Marked {
    pub place: Place,
    pub store: Store,
    pub audit: Arc<Audit>,
    pub checkpointer: Checkpointer,
    pub pem: String,
    pub file: PathBuf,
}

impl Marked {
    pub async fn begin() -> Self {
        Self::in_place(Place::new(), Keys::generate_pem().unwrap()).await
    }

    pub async fn in_place(place: Place, pem: String) -> Self {
        let (store, audit) = place.open().await;
        let audit = Arc::new(audit);
        let file = place.folder.path().join("checkpoints.jsonl");
        let checkpointer = Checkpointer {
            audit: Arc::clone(&audit),
            store: store.clone(),
            keys: Keys::from_pem(&pem).unwrap(),
            made_by: "gate-0".to_owned(),
            sinks: Sinks { file: Some(file.clone()), cluster: None },
            metrics: Arc::new(Metrics::default()),
            last: LastHeads::default(),
        };
        Self { place, store, audit, checkpointer, pem, file }
    }

    /// Records with these numbers, and a checkpoint at the second of the last.
    pub async fn record(&self, numbers: std::ops::RangeInclusive<u64>) -> Option<String> {
        let last = *numbers.end();
        for number in numbers {
            self.audit.record(body(number), None).await.unwrap();
        }
        self.checkpointer.make(at(i64::try_from(last).unwrap())).await.unwrap()
    }

    pub async fn end(self) -> Ended {
        let writer_id = self.audit.writer_id().to_string();
        assert_eq!(self.audit.flush_and_close(PATIENCE).await.unstored_records, 0);
        self.store.flush_and_close().await.unwrap();
        Ended { place: self.place, writer_id, pem: self.pem, file: self.file }
    }
}

/// The same at rest.
pub struct Ended {
    pub place: Place,
    pub writer_id: String,
    pub pem: String,
    pub file: PathBuf,
}

impl Ended {
    pub async fn change(&self, statements: &str) {
        let mut connection = self.place.connect().await;
        connection.run(statements).await;
        connection.close().await;
    }

    pub fn checkpoints(&self) -> Checkpoints {
        read(&self.file, &self.pem)
    }

    pub async fn prove(&self) -> Proven {
        self.prove_with(Question::default()).await
    }

    pub async fn prove_with(&self, question: Question<'_>) -> Proven {
        let (checkpoints, verifier) = (self.checkpoints(), Verifier::from_pem(&self.pem).unwrap());
        let question = Question { checkpoints: Some(&checkpoints), verifier: Some(&verifier), ..question };
        prove(&self.place.location(), &question, &|_| ()).await.unwrap()
    }

    /// Where the first record that does not fit stands, and what is wrong with it.
    pub async fn bad(&self) -> (u64, String) {
        told(&self.prove().await)
    }
}

pub fn told(proven: &Proven) -> (u64, String) {
    let bad = proven.report.first_bad.as_ref().expect("tampering was not noticed");
    (bad.seq, bad.fault.to_string())
}

pub fn read(file: &Path, pem: &str) -> Checkpoints {
    Checkpoints::read(&std::fs::read_to_string(file).unwrap(), &Verifier::from_pem(pem).unwrap()).unwrap()
}

/// Six records, with checkpoints after the second, the fourth and the sixth.
async fn six() -> Ended {
    let marked = Marked::begin().await;
    for first in [1, 3, 5] {
        marked.record(first..=first + 1).await.unwrap();
    }
    marked.end().await
}

/// `second` seconds after the tests' beginning of time, as faults name it.
fn shown(second: i64) -> String {
    at(second).to_rfc3339_opts(chrono::SecondsFormat::Secs, true)
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_changed_and_nothing_after_the_last_checkpoint_is_wholly_proven() {
    let ended = six().await;
    let proven = ended.prove().await;
    assert_eq!((proven.report.first_bad, proven.report.records), (None, 6));
    assert_eq!((proven.unproven, ended.checkpoints().count()), (vec![], 3));
}

#[tokio::test(flavor = "multi_thread")]
async fn from_where_on_a_cut_could_not_be_noticed() {
    let marked = Marked::begin().await;
    marked.record(1..=4).await.unwrap();
    for number in 5..=7 {
        marked.audit.record(body(number), None).await.unwrap();
    }
    let ended = marked.end().await;
    let proven = ended.prove().await;
    let writer_id = ended.writer_id.clone();
    assert_eq!(proven.unproven, [Unproven { writer_id, from: 5, to: 7 }]);
    ended.change("DELETE FROM decisions WHERE seq > 4").await;
    assert_eq!(ended.prove().await.report.first_bad, None, "as was said");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cut_at_the_end_is_known_by_the_first_checkpoint_that_counted_it() {
    let ended = six().await;
    ended.change("DELETE FROM decisions WHERE seq > 3").await;
    let fault =
        format!("cut off at the end: it and all up to 6 are missing, and the checkpoint of {} counted them", shown(4));
    assert_eq!(ended.bad().await, (4, fault));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_chain_that_is_gone_as_a_whole() {
    let ended = six().await;
    ended.change("DELETE FROM decisions").await;
    let proven = ended.prove().await;
    let fault =
        format!("cut off at the end: it and all up to 6 are missing, and the checkpoint of {} counted them", shown(2));
    assert_eq!(told(&proven), (1, fault));
    assert_eq!(proven.report.first_bad.unwrap().writer_id, ended.writer_id);
}

/// The forger knows the chain: every record from the third on gets a line and a hash that fit.
async fn made_anew(ended: &Ended) {
    let mut all = ended.place.all().await;
    all.reverse();
    let mut head: ChainHash = ChainHash::ZERO;
    let mut connection = ended.place.connect().await;
    for record in all {
        let mut line = record.line.clone();
        if record.seq == 3 {
            line = line.replace("112 days", "12 days");
        }
        let own: serde_json::Value = serde_json::from_str(&line).unwrap();
        line = line.replace(own["prev_hash"].as_str().unwrap(), &head.to_string());
        let before = head.to_string();
        head = link(head, record.seq, line.as_bytes());
        let (line, seq) = (quoted(&line), record.seq);
        connection
            .run(format!(
                "UPDATE decisions SET line = {line}, hash = '{head}', prev_hash = '{before}' WHERE seq = {seq}"
            ))
            .await;
    }
    connection.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_chain_made_anew_is_known_by_the_first_checkpoint_after_the_change() {
    let ended = six().await;
    made_anew(&ended).await;
    assert_eq!(freshgate::audit::verify(&ended.place.location()).await.unwrap().first_bad, None, "the chain fits");
    let fault = format!(
        "made anew: the checkpoint of {} gives another hash for it; the first record that was changed is 3 or a later one",
        shown(4)
    );
    assert_eq!(ended.bad().await, (4, fault.clone()));
    // A time that begins after the change takes what is before as it is, and the checkpoints still do not.
    let since = Question { since: Some(at(5)), ..Question::default() };
    let (seq, said) = told(&ended.prove_with(since).await);
    assert!(seq == 4 && said.starts_with("made anew: "), "{seq}: {said}");
    let bad = told(&ended.prove_with(Question { since_checkpoint: true, ..Question::default() }).await);
    assert_eq!(bad.0, 6, "the newest checkpoint is that of record 6");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_time_looks_at_its_own_records_and_at_no_others() {
    let ended = six().await;
    ended.change("UPDATE decisions SET line = replace(line, '112 days', '12 days') WHERE seq = 3").await;
    let within = async |since: Option<i64>, until: Option<i64>| {
        let question = Question { since: since.map(at), until: until.map(at), ..Question::default() };
        let report = prove(&ended.place.location(), &question, &|_| ()).await.unwrap().report;
        (report.records, report.first_bad.map(|bad| bad.seq))
    };
    assert_eq!(within(None, None).await, (2, Some(3)));
    assert_eq!(within(Some(3), Some(4)).await, (0, Some(3)));
    assert_eq!(within(Some(4), None).await, (3, None));
    assert_eq!(within(None, Some(3)).await, (2, None));
    assert_eq!(within(Some(100), None).await, (0, None));
    ended.change("DELETE FROM decisions WHERE seq IN (4, 5, 6)").await;
    let since = Question { since: Some(at(5)), ..Question::default() };
    let (seq, said) = told(&ended.prove_with(since).await);
    assert!(seq == 4 && said.starts_with("cut off at the end: "), "{seq}: {said}");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_interval_in_which_nothing_was_recorded_makes_no_checkpoint() {
    let marked = Marked::begin().await;
    assert_eq!(marked.checkpointer.make(at(0)).await.unwrap(), None, "there is nothing yet");
    let first = marked.record(1..=2).await.unwrap();
    assert_eq!(marked.checkpointer.make(at(9)).await.unwrap(), None);
    let second = marked.record(3..=3).await.unwrap();
    let kept = std::fs::read_to_string(&marked.file).unwrap();
    assert_eq!(kept, format!("{first}\n{second}\n"));
    assert_eq!(marked.checkpointer.metrics.audit_checkpoints.get(), 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_checkpoint_that_was_not_kept_is_made_again() {
    let mut marked = Marked::begin().await;
    let folder = marked.place.folder.path().join("away");
    marked.file = folder.join("checkpoints.jsonl");
    marked.checkpointer.sinks.file = Some(marked.file.clone());
    marked.audit.record(body(1), None).await.unwrap();
    let error = marked.checkpointer.make(at(1)).await.unwrap_err();
    assert!(matches!(error, CheckpointError::File { .. }), "{error}");
    assert!(error.to_string().ends_with("check the disk, or name another file with --checkpoint-file"), "{error}");
    std::fs::create_dir(&folder).unwrap();
    assert!(marked.checkpointer.make(at(2)).await.unwrap().is_some(), "nothing was recorded since");
    assert_eq!(read(&marked.file, &marked.pem).count(), 1);
    assert_eq!(marked.checkpointer.metrics.audit_checkpoint_failures.get(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_checkpoint_counts_the_chains_of_earlier_writers_and_does_not_follow_a_cut() {
    let first = Marked::begin().await;
    first.record(1..=3).await.unwrap();
    let Ended { place, writer_id, pem, .. } = first.end().await;
    let marked = Marked::in_place(place, pem).await;
    marked.record(4..=4).await.unwrap();
    let mut connection = marked.place.connect().await;
    connection.run(format!("DELETE FROM decisions WHERE writer_id = '{writer_id}' AND seq = 3")).await;
    connection.close().await;
    marked.record(5..=5).await.unwrap();
    let newest = read(&marked.file, &marked.pem).newest().unwrap().clone();
    let of_first = newest.heads.iter().find(|head| head.writer_id == writer_id).unwrap();
    assert_eq!((newest.heads.len(), of_first.seq), (2, 3), "what was cut off is still counted");
    let ended = marked.end().await;
    assert_eq!(ended.bad().await.0, 3);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_only_the_journal_holds_is_counted_too() {
    let marked = Marked::begin().await;
    let mut lock = marked.place.connect().await;
    lock.hold().await;
    for number in 1..=2 {
        marked.audit.record(body(number), None).await.unwrap();
    }
    assert_eq!(marked.audit.flush_and_close(BRIEFLY).await.unstored_records, 2);
    drop(lock);
    marked.checkpointer.make(at(2)).await.unwrap().unwrap();
    let (file, pem) = (marked.file.clone(), marked.pem.clone());
    let place = marked.place;
    drop((marked.store, marked.audit, marked.checkpointer));
    let (checkpoints, location) = (read(&file, &pem), place.location());
    let question = Question { checkpoints: Some(&checkpoints), ..Question::default() };
    let proven = prove(&location, &question, &|_| ()).await.unwrap();
    assert_eq!((proven.report.first_bad, proven.report.records, proven.unproven), (None, 2, vec![]));
    std::fs::write(place.segments().remove(0), "").unwrap();
    assert_eq!(told(&prove(&location, &question, &|_| ()).await.unwrap()).0, 1);
}
