//! The gate's own certificate authority: what is made when, so that at every moment whoever calls trusts whoever answers.
//!
//! Pure: what stands in the Secret and the time come in, what is to be written comes out. One step at a time: a new
//! authority is first only added to the bundle; when the API servers have the bundle, a certificate by it is served; the old
//! authority leaves the bundle when it has ended, and by then nobody serves a certificate of it.

mod certificate;

use chrono::{DateTime, TimeDelta, Utc};
use thiserror::Error;

pub use self::certificate::MakeError;
use self::certificate::{Made, Parsed};

/// What the Secret holds, each in PEM.
#[derive(Clone, PartialEq, Eq)]
pub struct Materials {
    /// The bundle: every authority that callers should trust, the one that signs first.
    pub authorities: String,
    /// Key of the first.
    pub authority_key: String,
    /// The certificate to serve.
    pub certificate: String,
    /// Its key.
    pub key: String,
}

impl std::fmt::Debug for Materials {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Materials").field("authorities", &self.authorities).finish_non_exhaustive()
    }
}

/// What is made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Wanted {
    /// Names in the serving certificate.
    pub names: Vec<String>,
    /// How long authorities and certificates live; both are replaced after two thirds of it.
    pub lifetime: TimeDelta,
}

/// Why something is to be written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Why {
    /// There was nothing.
    First,
    /// Two thirds of the authority's life are over, or it was made for another life.
    AuthorityDue,
    /// The authority could not be read, or its key is another's.
    AuthorityBroken,
    /// The serving certificate could not be read, or its key is another's.
    CertificateBroken,
    /// Callers know the new authority by now.
    AuthorityKnown,
    /// The serving certificate is for other names.
    OtherNames,
    /// An authority in the bundle has ended.
    AuthorityEnded,
}

impl Why {
    /// In words, for the log.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::First => "there was none",
            Self::AuthorityDue => "a new authority is due; it is in the bundle, and the old certificate still serves",
            Self::AuthorityBroken => "the authority in it could not be used; a new one is in the bundle",
            Self::CertificateBroken => "the certificate in it could not be used",
            Self::AuthorityKnown => "callers know the new authority; a certificate by it serves now",
            Self::OtherNames => "the certificate was for other names",
            Self::AuthorityEnded => "an old authority has ended and leaves the bundle",
        }
    }
}

/// What is made for `wanted` could not be made.
#[derive(Debug, Error)]
#[error("certificates for {names} could not be made: {why}; check --tls-name (FRESHGATE_TLS_NAMES)")]
pub struct AuthorityError {
    names: String,
    why: MakeError,
}

/// What is to be written now in place of what stands there; `None` where it may stay. `is_known` says that callers have had
/// the present bundle for long enough.
pub fn next(
    standing: Option<&Materials>,
    wanted: &Wanted,
    is_known: bool,
    now: DateTime<Utc>,
) -> Result<Option<(Why, Materials)>, AuthorityError> {
    step(standing, wanted, is_known, now).map_err(|why| AuthorityError { names: wanted.names.join(", "), why })
}

fn step(
    standing: Option<&Materials>,
    wanted: &Wanted,
    is_known: bool,
    now: DateTime<Utc>,
) -> Result<Option<(Why, Materials)>, MakeError> {
    let Some(standing) = standing else {
        let authority = Made::authority(wanted.lifetime, now)?;
        return Ok(Some((Why::First, with_certificate(String::new(), &authority, wanted, now)?)));
    };
    let all = Parsed::all(&standing.authorities);
    let serving = Parsed::all(&standing.certificate).into_iter().next().filter(|one| one.is_of(&standing.key));
    let lasting = |one: &&Parsed| one.not_after > now;
    let Some(signer) = all.first().filter(|first| first.is_of(&standing.authority_key)) else {
        return renewed(standing, &all, serving.as_ref(), Why::AuthorityBroken, wanted, now).map(Some);
    };
    let left = signer.not_after.signed_duration_since(now);
    // A twelfth more may be another leader's clock; beyond it somebody has asked for shorter lives.
    let longest = wanted.lifetime + wanted.lifetime / 12 + TimeDelta::minutes(1);
    if left <= wanted.lifetime / 3 || left > longest {
        return renewed(standing, &all, serving.as_ref(), Why::AuthorityDue, wanted, now).map(Some);
    }
    let issue = |why| {
        let authority = Made::standing(signer, &standing.authority_key)?;
        let others = all.iter().skip(1).filter(lasting).map(|one| one.pem.as_str()).collect();
        with_certificate(others, &authority, wanted, now).map(|materials| Some((why, materials)))
    };
    let Some(serving) = serving else {
        return issue(Why::CertificateBroken);
    };
    if !serving.is_signed_by(signer) {
        // Shortly before its end it would be believed by nobody any more, whatever callers know.
        let ends = serving.not_after.signed_duration_since(now) <= wanted.lifetime / 12;
        return if is_known || ends { issue(Why::AuthorityKnown) } else { Ok(None) };
    }
    if !serving.is_for(&wanted.names) {
        return issue(Why::OtherNames);
    }
    if all.iter().all(|one| one.not_after > now) {
        return Ok(None);
    }
    let authorities = all.iter().filter(lasting).map(|one| one.pem.as_str()).collect();
    Ok(Some((Why::AuthorityEnded, Materials { authorities, ..standing.clone() })))
}

/// A new authority before those that last; the certificate stays where it can be used.
fn renewed(
    standing: &Materials,
    all: &[Parsed],
    serving: Option<&Parsed>,
    why: Why,
    wanted: &Wanted,
    now: DateTime<Utc>,
) -> Result<(Why, Materials), MakeError> {
    let authority = Made::authority(wanted.lifetime, now)?;
    let lasting = all.iter().filter(|one| one.not_after > now);
    let believed = serving.is_some_and(|one| one.not_after > now && lasting.clone().any(|by| one.is_signed_by(by)));
    let others: String = lasting.map(|one| one.pem.as_str()).collect();
    let materials = if believed {
        Materials {
            authorities: authority.pem.clone() + &others,
            authority_key: authority.key_pem(),
            ..standing.clone()
        }
    } else {
        with_certificate(others, &authority, wanted, now)?
    };
    Ok((why, materials))
}

fn with_certificate(
    others: String,
    authority: &Made,
    wanted: &Wanted,
    now: DateTime<Utc>,
) -> Result<Materials, MakeError> {
    let (certificate, key) = authority.issue(&wanted.names, now)?;
    Ok(Materials { authorities: authority.pem.clone() + &others, authority_key: authority.key_pem(), certificate, key })
}

#[cfg(test)]
mod tests;
