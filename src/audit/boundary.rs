//! Boundaries: up to where a writer's records were removed because they were old or too many, with the hash of the last
//! one, so that the chain that is left still has a beginning. Signed: else whoever removes records writes one as well.

use chrono::{DateTime, SecondsFormat, Utc};

use super::chain::ChainHash;
use crate::signing::{CryptoFailed, Keys, Message, NotSigned, Signature, Verifier};

/// What the signature is made for.
const PURPOSE: &str = "freshgate.dev/audit-boundary/v1";

/// Why records were removed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reason {
    /// They were older than is kept.
    Age,
    /// There were more than is kept.
    Size,
    /// They were not in the export that this archive was made from.
    Import,
}

impl Reason {
    /// As the store has it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Age => "age",
            Self::Size => "size",
            Self::Import => "import",
        }
    }
}

/// Up to where one writer's records were removed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Boundary {
    /// The writer.
    pub writer_id: String,
    /// The last record that was removed.
    pub seq: u64,
    /// Its hash.
    pub hash: ChainHash,
    /// When that was, to the microsecond.
    pub removed_at: DateTime<Utc>,
    /// Why, as [`Reason::as_str`] has it.
    pub reason: String,
    /// What shows that the gate did it; an archive's has none.
    pub signature: Option<Signature>,
}

impl Boundary {
    /// The same, signed.
    pub fn sign(mut self, keys: &Keys) -> Result<Self, CryptoFailed> {
        self.signature = Some(keys.sign(&self.message())?);
        Ok(self)
    }

    /// Whether one of these keys signed it; `None` where nobody did.
    pub fn verify(&self, verifier: &Verifier) -> Option<Result<(), NotSigned>> {
        self.signature.as_ref().map(|signature| verifier.verify(&self.message(), signature))
    }

    fn message(&self) -> Message {
        Message::new(PURPOSE)
            .part(self.writer_id.as_bytes())
            .part(&self.seq.to_be_bytes())
            .part(&self.hash.to_hex())
            .part(self.removed_at.to_rfc3339_opts(SecondsFormat::Micros, true).as_bytes())
            .part(self.reason.as_bytes())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_word_of_a_boundary_is_signed() {
        let pem = Keys::generate_pem().unwrap();
        let (keys, verifier) = (Keys::from_pem(&pem).unwrap(), Verifier::from_pem(&pem).unwrap());
        let bare = Boundary {
            writer_id: "w".to_owned(),
            seq: 3,
            hash: ChainHash::ZERO,
            removed_at: DateTime::UNIX_EPOCH,
            reason: Reason::Age.as_str().to_owned(),
            signature: None,
        };
        assert_eq!(bare.verify(&verifier), None);
        let signed = bare.sign(&keys).unwrap();
        assert_eq!(signed.verify(&verifier), Some(Ok(())));
        for changed in [
            Boundary { writer_id: "v".to_owned(), ..signed.clone() },
            Boundary { seq: 4, ..signed.clone() },
            Boundary { hash: crate::audit::chain::link(ChainHash::ZERO, 1, b"x"), ..signed.clone() },
            Boundary { removed_at: DateTime::UNIX_EPOCH + chrono::TimeDelta::seconds(1), ..signed.clone() },
            Boundary { reason: Reason::Size.as_str().to_owned(), ..signed.clone() },
        ] {
            assert_eq!(changed.verify(&verifier), Some(Err(NotSigned::Mismatch)), "{changed:?}");
        }
    }
}
