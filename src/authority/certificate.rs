//! Making certificates with rcgen, and reading of them what the next step depends on.

use std::collections::BTreeSet;

use chrono::{DateTime, TimeDelta, Utc};
use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair, KeyUsagePurpose,
    PublicKeyData as _,
};
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject as _;
use thiserror::Error;
use time::OffsetDateTime;
use x509_parser::extensions::GeneralName;
use x509_parser::prelude::X509Certificate;

/// Certificates begin this much earlier: clocks of API servers may be behind.
const BEGINS_EARLIER: TimeDelta = TimeDelta::minutes(5);

/// No certificate could be made.
#[derive(Debug, Error)]
pub enum MakeError {
    /// rcgen says why.
    #[error(transparent)]
    Rcgen(#[from] rcgen::Error),
    /// A time that no certificate can have.
    #[error("the lifetime is too long")]
    Time,
}

/// An authority that can sign.
pub(super) struct Made {
    issuer: Issuer<'static, KeyPair>,
    not_after: DateTime<Utc>,
    /// Its certificate.
    pub(super) pem: String,
}

impl Made {
    /// A new one.
    pub(super) fn authority(lifetime: TimeDelta, now: DateTime<Utc>) -> Result<Self, MakeError> {
        let not_after = now.checked_add_signed(lifetime).ok_or(MakeError::Time)?;
        let mut params = CertificateParams::new(Vec::new())?;
        // Each has a name of its own: two of one name in a bundle would be tried one after the other.
        let name = format!("freshgate authority {}", uuid::Uuid::new_v4().simple());
        params.distinguished_name.push(DnType::CommonName, name);
        params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        (params.not_before, params.not_after) = (instant(now - BEGINS_EARLIER)?, instant(not_after)?);
        let key = KeyPair::generate()?;
        let pem = params.self_signed(&key)?.pem();
        Ok(Self { issuer: Issuer::new(params, key), not_after, pem })
    }

    /// One that was made before, with its key.
    pub(super) fn standing(parsed: &Parsed, key_pem: &str) -> Result<Self, MakeError> {
        let issuer = Issuer::from_ca_cert_pem(&parsed.pem, KeyPair::from_pem(key_pem)?)?;
        Ok(Self { issuer, not_after: parsed.not_after, pem: parsed.pem.clone() })
    }

    pub(super) fn key_pem(&self) -> String {
        self.issuer.key().serialize_pem()
    }

    /// A serving certificate and its key; it ends with its authority.
    pub(super) fn issue(&self, names: &[String], now: DateTime<Utc>) -> Result<(String, String), MakeError> {
        let mut params = CertificateParams::new(names.to_vec())?;
        let first = names.first().map_or("freshgate", String::as_str);
        // A common name has at most 64 characters, and says nothing that the others do not.
        if first.len() <= 64 {
            params.distinguished_name.push(DnType::CommonName, first);
        }
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.use_authority_key_identifier_extension = true;
        (params.not_before, params.not_after) = (instant(now - BEGINS_EARLIER)?, instant(self.not_after)?);
        let key = KeyPair::generate()?;
        let certificate = params.signed_by(&key, &self.issuer)?;
        Ok((certificate.pem(), key.serialize_pem()))
    }
}

fn instant(time: DateTime<Utc>) -> Result<OffsetDateTime, MakeError> {
    OffsetDateTime::from_unix_timestamp(time.timestamp()).map_err(|_| MakeError::Time)
}

/// What counts of a certificate that stands somewhere.
pub(super) struct Parsed {
    /// It, in PEM.
    pub(super) pem: String,
    /// When it ends.
    pub(super) not_after: DateTime<Utc>,
    public_key: Vec<u8>,
    subject: Vec<u8>,
    issuer: Vec<u8>,
    names: Vec<String>,
}

impl Parsed {
    /// Every certificate of a text that can be read.
    pub(super) fn all(text: &str) -> Vec<Self> {
        CertificateDer::pem_slice_iter(text.as_bytes())
            .filter_map(Result::ok)
            .filter_map(|der| {
                let (_, read) = x509_parser::parse_x509_certificate(&der).ok()?;
                Self::of(&der, &read)
            })
            .collect()
    }

    fn of(der: &CertificateDer<'_>, read: &X509Certificate<'_>) -> Option<Self> {
        let alternative = read.subject_alternative_name().ok().flatten();
        let names = alternative.map(|names| &names.value.general_names).into_iter().flatten().filter_map(name);
        Some(Self {
            pem: pem(der),
            not_after: DateTime::from_timestamp(read.validity().not_after.timestamp(), 0)?,
            public_key: read.public_key().raw.to_vec(),
            subject: read.subject().as_raw().to_vec(),
            issuer: read.issuer().as_raw().to_vec(),
            names: names.collect(),
        })
    }

    /// Whether this is its key.
    pub(super) fn is_of(&self, key_pem: &str) -> bool {
        KeyPair::from_pem(key_pem).is_ok_and(|key| key.subject_public_key_info() == self.public_key)
    }

    /// Whether it says that it is signed by that one, whose name nobody else has.
    pub(super) fn is_signed_by(&self, authority: &Self) -> bool {
        self.issuer == authority.subject
    }

    /// Whether it is for these names and no others.
    pub(super) fn is_for(&self, names: &[String]) -> bool {
        let wanted: BTreeSet<String> = names.iter().map(|name| normal(name)).collect();
        let there: BTreeSet<String> = self.names.iter().map(|name| normal(name)).collect();
        wanted == there
    }
}

/// One spelling for one name: an address has several, and names know no case. Else a certificate would never be right.
fn normal(name: &str) -> String {
    name.parse::<core::net::IpAddr>().map_or_else(|_| name.to_ascii_lowercase(), |address| address.to_string())
}

fn name(name: &GeneralName<'_>) -> Option<String> {
    match name {
        GeneralName::DNSName(name) => Some((*name).to_owned()),
        GeneralName::IPAddress(bytes) => match **bytes {
            [a, b, c, d] => Some(core::net::Ipv4Addr::new(a, b, c, d).to_string()),
            ref long => <[u8; 16]>::try_from(long).ok().map(|long| core::net::Ipv6Addr::from(long).to_string()),
        },
        _ => None,
    }
}

fn pem(der: &CertificateDer<'_>) -> String {
    use base64::Engine as _;
    let text = base64::engine::general_purpose::STANDARD.encode(der);
    let mut pem = String::from("-----BEGIN CERTIFICATE-----\n");
    for line in text.as_bytes().chunks(64) {
        pem.extend(line.iter().map(|&byte| char::from(byte)));
        pem.push('\n');
    }
    pem + "-----END CERTIFICATE-----\n"
}
