//! How exceptions stand, through everything that can happen to them.

use serde_json::{Value, json};

use super::*;
use crate::exception::api::Grantor;

fn at(second: i64) -> DateTime<Utc> {
    DateTime::from_timestamp(1_800_000_000 + second, 0).unwrap()
}

fn keys() -> Keys {
    Keys::from_pem(&Keys::generate_pem().unwrap()).unwrap()
}

fn spec(reason: &str, text: &str) -> GateExceptionSpec {
    serde_json::from_value(json!({
        "targets": [{"namespace": "shop", "kind": "Deployment", "name": "checkout"}],
        "rules": ["imageAge"], "reason": reason, "text": text, "expiresAt": at(3_600)
    }))
    .unwrap()
}

fn granted_to(uid: &str, spec: &GateExceptionSpec) -> Granted {
    Granted::new(uid, spec, Grantor { username: "alice".to_owned(), uid: String::new() }, at(0))
}

fn admitted(uid: &str, spec: &GateExceptionSpec) -> Admitted {
    Admitted { name: "fix".to_owned(), spec: spec.clone(), granted: granted_to(uid, spec) }
}

fn seen(uid: &str, spec: &GateExceptionSpec, status: GateExceptionStatus) -> Seen {
    Seen { name: "fix".to_owned(), uid: uid.to_owned(), spec: Ok(spec.clone()), status }
}

/// What the API server stores of a status that is wanted.
fn stored(wanted: &Wanted, keys: &Keys) -> GateExceptionStatus {
    let mut status = match &wanted.proof {
        Proof::Sign(granted) => granted.sign(keys).unwrap(),
        Proof::Keep(status) => status.as_ref().clone(),
        Proof::None => GateExceptionStatus::default(),
    };
    status.conditions = vec![wanted.condition.clone()];
    let text: Value = serde_json::to_value(status).unwrap();
    serde_json::from_value(text).unwrap()
}

/// Names of the exceptions for the target, and until when.
fn in_force(book: &Book) -> Vec<(String, DateTime<Utc>)> {
    let grants = book.exceptions().of("shop", "Deployment", "checkout");
    grants.into_iter().map(|grant| (grant.name, grant.expires_at)).collect()
}

fn condition(book: &Book, second: i64) -> Option<(String, String, String)> {
    let wanted = book.wanted(at(second)).pop()?;
    let Condition { status, reason, message, .. } = wanted.condition;
    Some((status, reason, message))
}

/// Asks the audit, which knows nothing.
fn look_up_in_vain(book: &mut Book) {
    for asked in book.to_look_up() {
        book.looked_up(&asked, None);
    }
}

#[test]
fn what_was_admitted_is_signed_when_it_appears_and_good_from_then_on() {
    let (keys, spec) = (keys(), spec("security", "a"));
    let mut book = Book::new(keys.clone());
    book.admit(admitted("u1", &spec), at(0));
    assert_eq!(in_force(&book), [], "it is not there yet");
    book.set(seen("u1", &spec, GateExceptionStatus::default()), at(1));
    assert_eq!(in_force(&book), [("fix".to_owned(), at(3_600))], "it need not wait for its status");
    assert_eq!(book.to_look_up(), []);
    let wanted = book.wanted(at(1)).pop().unwrap();
    assert!(matches!(wanted.proof, Proof::Sign(_)));
    assert_eq!(wanted.condition.message, "Granted by \"alice\"; it ends at 2027-01-15T09:00:00Z.");

    let status = stored(&wanted, &keys);
    book.set(seen("u1", &spec, status.clone()), at(2));
    assert_eq!(book.wanted(at(2)), []);
    assert!(book.admitted.is_empty());
    // A gate that starts later knows it by its status alone.
    let mut later = Book::new(keys);
    later.replace(vec![seen("u1", &spec, status)], at(100));
    assert_eq!((in_force(&later).len(), later.to_look_up().len(), later.wanted(at(100)).len()), (1, 0, 0));
    let expired = condition(&later, 3_600).unwrap();
    assert_eq!((expired.0.as_str(), expired.1.as_str()), ("False", "Expired"));
    assert!(matches!(later.wanted(at(3_600))[0].proof, Proof::Keep(_)), "it keeps its proof");
    later.remove("fix");
    assert_eq!(in_force(&later), []);
}

#[test]
fn break_glass_counts_as_soon_as_its_object_is_there_and_no_sooner() {
    let spec = spec("incident", "a");
    let mut book = Book::new(keys());
    book.confirm("u1");
    book.admit(admitted("u1", &spec), at(0));
    assert_eq!(in_force(&book), [], "a review alone is hearsay");
    book.confirm("u1");
    assert_eq!(in_force(&book), [("fix".to_owned(), at(60))], "the watch need not have come so far");
    book.set(seen("u1", &spec, GateExceptionStatus::default()), at(1));
    assert_eq!(in_force(&book), [("fix".to_owned(), at(3_600))]);
    book.remove("fix");
    assert_eq!(in_force(&book), [], "what is deleted ends at once");
}

#[test]
fn a_grant_that_was_not_written_before_a_restart_is_found_in_the_audit() {
    let (keys, spec) = (keys(), spec("security", "a"));
    let mut book = Book::new(keys);
    book.replace(vec![seen("u1", &spec, GateExceptionStatus::default())], at(0));
    assert_eq!((in_force(&book), book.wanted(at(60))), (vec![], vec![]), "nothing is said before the audit was asked");
    let asked = book.to_look_up().pop().unwrap();
    assert_eq!(asked, LookUp { name: "fix".to_owned(), uid: "u1".to_owned(), spec_hash: spec.hash() });
    book.looked_up(&asked, Some(granted_to("u1", &spec)));
    assert_eq!(in_force(&book).len(), 1);
    assert!(matches!(book.wanted(at(0))[0].proof, Proof::Sign(_)));
    assert_eq!(book.to_look_up(), []);
}

#[test]
fn what_the_audit_has_of_another_object_or_spec_proves_nothing() {
    let (one, other) = (spec("security", "a"), spec("security", "b"));
    for found in [granted_to("u2", &one), granted_to("u1", &other)] {
        let mut book = Book::new(keys());
        book.set(seen("u1", &one, GateExceptionStatus::default()), at(0));
        let asked = book.to_look_up().pop().unwrap();
        book.looked_up(&asked, Some(found));
        assert_eq!(in_force(&book), []);
        assert_eq!(condition(&book, 60).unwrap().1, "NotGranted");
    }
}

#[test]
fn one_that_nobody_granted_is_inert_and_says_what_to_do() {
    let spec = spec("incident", "a");
    let mut book = Book::new(keys());
    book.set(seen("u1", &spec, GateExceptionStatus::default()), at(0));
    look_up_in_vain(&mut book);
    assert_eq!(condition(&book, 9), None, "another replica may be about to write it");
    assert_eq!(
        condition(&book, 10).unwrap(),
        (
            "False".to_owned(),
            "NotGranted".to_owned(),
            "It has no effect: the gate did not see it being created, so nobody is known to have granted it. Delete it and create it again while the gate runs.".to_owned()
        )
    );
    let wanted = book.wanted(at(10)).pop().unwrap();
    let status = stored(&wanted, &keys());
    book.set(seen("u1", &spec, status), at(11));
    assert_eq!((book.wanted(at(20)), book.to_look_up()), (vec![], vec![]), "it is asked for and written once");
    assert_eq!((in_force(&book), book.inert(at(11))), (vec![], 1));
}

#[test]
fn a_forged_or_copied_status_does_nothing() {
    let (keys, spec) = (keys(), spec("security", "a"));
    let good = granted_to("u1", &spec).sign(&keys).unwrap();
    let wrong_key = granted_to("u2", &spec).sign(&self::keys()).unwrap();
    let other_spec = granted_to("u2", &self::spec("security", "b")).sign(&keys).unwrap();
    let invented = GateExceptionStatus {
        conditions: vec![Condition {
            type_: "Active".to_owned(),
            status: "True".to_owned(),
            reason: "Granted".to_owned(),
            message: "Granted by \"alice\".".to_owned(),
            last_transition_time: "2026-01-01T00:00:00Z".to_owned(),
            observed_generation: None,
        }],
        ..GateExceptionStatus::default()
    };
    for (status, reason) in
        [(good, "BadSignature"), (wrong_key, "BadSignature"), (other_spec, "SpecChanged"), (invented, "NotGranted")]
    {
        let mut book = Book::new(keys.clone());
        book.set(seen("u2", &spec, status), at(0));
        look_up_in_vain(&mut book);
        assert_eq!(in_force(&book), []);
        let said = condition(&book, 10).unwrap();
        assert_eq!((said.0.as_str(), said.1.as_str()), ("False", reason));
        assert!(said.2.ends_with(AGAIN), "{}", said.2);
        assert_eq!(book.wanted(at(10))[0].proof, Proof::None);
    }
}

#[test]
fn a_good_one_whose_spec_is_edited_is_inert_whatever_let_the_edit_through() {
    let (keys, first, edited) = (keys(), spec("security", "a"), spec("security", "b"));
    let status = granted_to("u1", &first).sign(&keys).unwrap();
    let mut book = Book::new(keys);
    book.admit(admitted("u1", &first), at(0));
    book.set(seen("u1", &edited, GateExceptionStatus::default()), at(1));
    assert_eq!(in_force(&book), [], "before it was signed");
    book.set(seen("u1", &first, status.clone()), at(2));
    assert_eq!(in_force(&book).len(), 1);
    book.set(seen("u1", &edited, status), at(3));
    look_up_in_vain(&mut book);
    assert_eq!(in_force(&book), [], "after it");
    assert_eq!(condition(&book, 60).unwrap().1, "SpecChanged");
}

#[test]
fn another_object_under_the_same_name_inherits_nothing() {
    let (keys, spec) = (keys(), spec("security", "a"));
    let status = granted_to("u1", &spec).sign(&keys).unwrap();
    let mut book = Book::new(keys);
    book.set(seen("u1", &spec, status), at(0));
    assert_eq!(in_force(&book).len(), 1);
    book.set(seen("u2", &spec, GateExceptionStatus::default()), at(1));
    assert_eq!(in_force(&book), []);
    assert_eq!(book.to_look_up().len(), 1);
}

#[test]
fn a_status_that_somebody_spoilt_is_made_good_from_what_is_known() {
    let (keys, spec) = (keys(), spec("security", "a"));
    let mut book = Book::new(keys.clone());
    book.admit(admitted("u1", &spec), at(0));
    let forged = granted_to("u1", &spec).sign(&self::keys()).unwrap();
    book.set(seen("u1", &spec, forged), at(1));
    assert_eq!(in_force(&book).len(), 1);
    assert!(matches!(book.wanted(at(1))[0].proof, Proof::Sign(_)));
}

#[test]
fn one_that_cannot_be_read_is_inert() {
    let mut book = Book::new(keys());
    let spec = Err("unknown field `onlyOn`".to_owned());
    book.set(Seen { name: "fix".into(), uid: "u1".into(), spec, status: GateExceptionStatus::default() }, at(0));
    assert_eq!(
        condition(&book, 10).unwrap().2,
        "It has no effect: this gate cannot read it (unknown field `onlyOn`). Delete it and create it again while the gate runs."
    );
    assert_eq!((book.to_look_up(), book.inert(at(10))), (vec![], 1));
}

#[test]
fn a_list_without_it_ends_it_and_grants_without_objects_are_forgotten() {
    let (keys, spec) = (keys(), spec("security", "a"));
    let status = granted_to("u1", &spec).sign(&keys).unwrap();
    let mut book = Book::new(keys);
    book.set(seen("u1", &spec, status), at(0));
    book.replace(Vec::new(), at(1));
    assert_eq!(in_force(&book), []);
    book.admit(admitted("u2", &spec), at(0));
    let mut late = admitted("u3", &spec);
    late.granted.at = at(3_601);
    book.admit(late, at(3_601));
    assert_eq!(book.admitted.keys().collect::<Vec<_>>(), ["u3"]);
}
