use super::*;

const NAME: &str = "freshgate.freshgate.svc";

fn wanted() -> Wanted {
    Wanted { names: vec![NAME.to_owned(), "127.0.0.1".to_owned()], lifetime: TimeDelta::days(90) }
}

fn day(day: i64) -> DateTime<Utc> {
    DateTime::from_timestamp(1_800_000_000, 0).unwrap() + TimeDelta::days(day)
}

fn took(standing: Option<&Materials>, is_known: bool, now: DateTime<Utc>) -> Option<(Why, Materials)> {
    next(standing, &wanted(), is_known, now).unwrap()
}

fn count(materials: &Materials) -> usize {
    Parsed::all(&materials.authorities).len()
}

/// As a caller verifies who has only the bundle.
fn is_believed(certificate: &str, bundle: &str, now: DateTime<Utc>) -> bool {
    use rustls::client::danger::ServerCertVerifier as _;
    use rustls::pki_types::pem::PemObject as _;
    use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
    let all = |text: &str| -> Vec<CertificateDer<'static>> {
        CertificateDer::pem_slice_iter(text.as_bytes()).map(Result::unwrap).collect()
    };
    let mut roots = rustls::RootCertStore::empty();
    for one in all(bundle) {
        roots.add(one).unwrap();
    }
    let provider = std::sync::Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let verifier = rustls::client::WebPkiServerVerifier::builder_with_provider(roots.into(), provider).build().unwrap();
    let seconds = u64::try_from(now.timestamp()).unwrap();
    let now = UnixTime::since_unix_epoch(std::time::Duration::from_secs(seconds));
    let name = ServerName::try_from(NAME).unwrap();
    verifier.verify_server_cert(&all(certificate)[0], &[], &name, &[], now).is_ok()
}

#[test]
fn a_rotation_goes_step_by_step_and_everybody_is_believed_at_each() {
    let (why, first) = took(None, false, day(0)).unwrap();
    assert_eq!((why, count(&first)), (Why::First, 1));
    assert!(is_believed(&first.certificate, &first.authorities, day(0)));
    assert_eq!(took(Some(&first), true, day(59)), None);

    let (why, published) = took(Some(&first), true, day(60)).unwrap();
    assert_eq!((why, count(&published)), (Why::AuthorityDue, 2));
    assert_eq!((&published.certificate, &published.key), (&first.certificate, &first.key), "the old one still serves");
    assert!(is_believed(&first.certificate, &published.authorities, day(60)));
    assert_eq!(took(Some(&published), false, day(61)), None, "callers do not know the new one yet");

    let (why, served) = took(Some(&published), true, day(61)).unwrap();
    assert_eq!((why, count(&served)), (Why::AuthorityKnown, 2));
    assert_ne!(served.certificate, first.certificate);
    for certificate in [&first.certificate, &served.certificate] {
        assert!(
            is_believed(certificate, &served.authorities, day(61)),
            "a replica that has not seen it yet is believed"
        );
    }
    assert!(!is_believed(&served.certificate, &first.authorities, day(61)), "it is the new authority's");
    assert_eq!(took(Some(&served), true, day(89)), None);

    let (why, alone) = took(Some(&served), true, day(91)).unwrap();
    assert_eq!((why, count(&alone)), (Why::AuthorityEnded, 1));
    assert!(is_believed(&served.certificate, &alone.authorities, day(91)));
    assert_eq!(took(Some(&alone), true, day(119)), None);
    assert_eq!(took(Some(&alone), true, day(120)).unwrap().0, Why::AuthorityDue);
}

#[test]
fn a_certificate_is_replaced_before_its_end_although_nobody_says_that_callers_know() {
    let first = took(None, false, day(0)).unwrap().1;
    let published = took(Some(&first), false, day(70)).unwrap().1;
    assert_eq!(took(Some(&published), false, day(82)), None);
    assert_eq!(took(Some(&published), false, day(83)).unwrap().0, Why::AuthorityKnown);
}

#[test]
fn what_is_broken_is_made_anew_and_what_is_not_stays() {
    let first = took(None, false, day(0)).unwrap().1;
    let foreign = took(None, false, day(0)).unwrap().1;
    for (key, certificate) in
        [(&foreign.key, &first.certificate), (&first.key, &"nonsense".to_owned()), (&String::new(), &first.certificate)]
    {
        let broken = Materials { key: key.clone(), certificate: certificate.clone(), ..first.clone() };
        let (why, mended) = took(Some(&broken), false, day(1)).unwrap();
        assert_eq!((why, &mended.authorities), (Why::CertificateBroken, &first.authorities), "callers need not learn");
        assert!(is_believed(&mended.certificate, &first.authorities, day(1)));
    }
    let other_key = Materials { authority_key: foreign.authority_key.clone(), ..first.clone() };
    let (why, mended) = took(Some(&other_key), false, day(1)).unwrap();
    assert_eq!((why, count(&mended), &mended.certificate), (Why::AuthorityBroken, 2, &first.certificate));
    let no_bundle = Materials { authorities: "nonsense".into(), ..first.clone() };
    let (why, mended) = took(Some(&no_bundle), false, day(1)).unwrap();
    assert_eq!((why, count(&mended)), (Why::AuthorityBroken, 1));
    assert!(is_believed(&mended.certificate, &mended.authorities, day(1)));
    // All of it ended long ago: nothing is left to wait for.
    let (why, late) = took(Some(&first), false, day(400)).unwrap();
    assert_eq!((why, count(&late)), (Why::AuthorityDue, 1));
    assert!(is_believed(&late.certificate, &late.authorities, day(400)));
}

#[test]
fn other_names_and_a_shorter_life_are_followed() {
    let first = took(None, false, day(0)).unwrap().1;
    // An address has several spellings, and a name either case.
    let names = [NAME, "Other", "0:0:0:0:0:0:0:1", "other"].map(str::to_owned).to_vec();
    let renamed = Wanted { names, ..wanted() };
    let (why, other) = next(Some(&first), &renamed, false, day(1)).unwrap().unwrap();
    assert_eq!((why, &other.authorities), (Why::OtherNames, &first.authorities));
    assert_eq!(next(Some(&other), &renamed, false, day(1)).unwrap(), None);
    // A leader whose clock is behind makes nothing new.
    assert_eq!(took(Some(&first), false, day(-5)), None);
    let shorter = Wanted { lifetime: TimeDelta::days(30), ..wanted() };
    assert_eq!(next(Some(&first), &shorter, false, day(1)).unwrap().unwrap().0, Why::AuthorityDue);
    let said = next(None, &Wanted { names: vec!["ü".to_owned()], ..wanted() }, false, day(0)).unwrap_err().to_string();
    assert!(said.starts_with("certificates for ü could not be made: ") && said.contains("--tls-name"), "{said}");
}
