//! What of the flags of `serve` goes together. Told by what they say and not by whether they are there:
//! `FRESHGATE_KUBERNETES=false` is there, and says no.

use thiserror::Error;

use super::{AuditDurability, AuditMode, ServeArgs, StoreArg};

/// Flags that do not go together, or one that is missing, with what to write instead.
#[derive(Clone, Copy, Debug, Error, PartialEq, Eq)]
pub enum FlagsError {
    /// No policies.
    #[error(
        "it is not said where policies come from: give a folder with --policies DIR (FRESHGATE_POLICIES), or follow the cluster's GatePolicy objects with --kubernetes (FRESHGATE_KUBERNETES=true)"
    )]
    NoPolicies,
    /// Policies from two places.
    #[error(
        "policies come from a folder or from the cluster, not from both: leave out --policies (FRESHGATE_POLICIES) or --kubernetes (FRESHGATE_KUBERNETES)"
    )]
    PoliciesTwice,
    /// No certificate.
    #[error(
        "there is no certificate to serve with: give --tls-cert and --tls-key (FRESHGATE_TLS_CERT and FRESHGATE_TLS_KEY), in a cluster --tls-secret (FRESHGATE_TLS_SECRET), or, for development, --tls-self-signed (FRESHGATE_TLS_SELF_SIGNED=true)"
    )]
    NoCertificate,
    /// A certificate from files, and one to be made.
    #[error(
        "the certificate comes from files or is made, not both: leave out --tls-cert and --tls-key (FRESHGATE_TLS_CERT and FRESHGATE_TLS_KEY), or --tls-self-signed (FRESHGATE_TLS_SELF_SIGNED)"
    )]
    CertificateTwice,
    /// Certificates in a Secret, and others.
    #[error(
        "the certificates of --tls-secret (FRESHGATE_TLS_SECRET) are made by the gate: leave out --tls-cert and --tls-key (FRESHGATE_TLS_CERT and FRESHGATE_TLS_KEY), --tls-self-signed (FRESHGATE_TLS_SELF_SIGNED) and --webhook-ca (FRESHGATE_WEBHOOK_CA), or --tls-secret"
    )]
    SecretTwice,
    /// Authorities of a certificate that vouches for itself.
    #[error(
        "--webhook-ca (FRESHGATE_WEBHOOK_CA) names the authority of --tls-cert (FRESHGATE_TLS_CERT), and what --tls-self-signed (FRESHGATE_TLS_SELF_SIGNED) makes is its own: leave out one of them"
    )]
    AuthorityTwice,
    /// What only a cluster has.
    #[error("{0} is of a cluster: add --kubernetes (FRESHGATE_KUBERNETES=true), or leave it out")]
    WithoutCluster(&'static str),
    /// Indexes that nobody would ask.
    #[error(
        "--indexes (FRESHGATE_INDEXES) is for the scan, and --scan-interval 0 (FRESHGATE_SCAN_INTERVAL) scans nothing: leave out one of them"
    )]
    IndexesWithoutScan,
    /// An authority of callers, and nobody who may call.
    #[error(
        "--client-ca (FRESHGATE_CLIENT_CA) alone would let in whoever else has a certificate of that authority: say which common names the API servers' certificates have with --client-name (FRESHGATE_CLIENT_NAMES)"
    )]
    NoClientNames,
    /// Names, and no authority.
    #[error(
        "--client-name (FRESHGATE_CLIENT_NAMES) is of certificates, and nobody says whose: name the authority with --client-ca (FRESHGATE_CLIENT_CA), or leave it out"
    )]
    NoClientAuthority,
    /// A certificate without its key.
    #[error(
        "the certificate of --tls-cert (FRESHGATE_TLS_CERT) has no key: give it with --tls-key (FRESHGATE_TLS_KEY)"
    )]
    NoKey,
    /// A key without its certificate.
    #[error(
        "the key of --tls-key (FRESHGATE_TLS_KEY) has no certificate: give it with --tls-cert (FRESHGATE_TLS_CERT)"
    )]
    KeyAlone,
    /// A file for a certificate that is not made.
    #[error(
        "--tls-write-cert (FRESHGATE_TLS_WRITE_CERT) writes the certificate that is made, and none is: add --tls-self-signed (FRESHGATE_TLS_SELF_SIGNED=true), or leave it out"
    )]
    NothingToWrite,
    /// Decisions over HTTP, and nobody who could say who asks.
    #[error(
        "--decisions-api (FRESHGATE_DECISIONS_API) asks the cluster who may see which decisions: add --kubernetes (FRESHGATE_KUBERNETES=true), or leave it out"
    )]
    DecisionsWithoutCluster,
    /// Decisions over HTTP, and none is kept.
    #[error(
        "--decisions-api (FRESHGATE_DECISIONS_API) shows what a store keeps, and --store stdout keeps nothing: name a store, as sqlite:FILE, or leave it out"
    )]
    DecisionsWithoutStore,
    /// A server has no key beside it.
    #[error(
        "beside a store on a server there is no signing key, and what one replica signs the others verify: name the key that all of them have with --signing-secret (FRESHGATE_SIGNING_SECRET) or --signing-key (FRESHGATE_SIGNING_KEY)"
    )]
    NoSharedKey,
    /// Nor a journal.
    #[error(
        "beside a store on a server there is no journal: name a folder of this replica's own with --audit-journal (FRESHGATE_AUDIT_JOURNAL), or let answers wait for the store with --audit-durability store (FRESHGATE_AUDIT_DURABILITY)"
    )]
    NoJournal,
    /// Answers wait for what is no server.
    #[error(
        "--audit-durability store (FRESHGATE_AUDIT_DURABILITY) waits for PostgreSQL, and the store is another: name one with --store postgres://USER@HOST:PORT/DATABASE, or leave it out"
    )]
    NothingToWaitFor,
    /// A journal that nothing is written to.
    #[error(
        "--audit-journal (FRESHGATE_AUDIT_JOURNAL) would have no effect with --store stdout or --audit-durability store: leave it out; what an earlier run left there is brought into the store by --audit-durability journal"
    )]
    JournalWithoutUse,
    /// Nothing may leave unrecorded, and nothing waits for its record.
    #[error(
        "--audit-mode strict (FRESHGATE_AUDIT_MODE) refuses what could not be recorded, and with --audit-durability async (FRESHGATE_AUDIT_DURABILITY) no answer waits to learn that: leave out one of them"
    )]
    StrictWithoutWaiting,
}

impl ServeArgs {
    /// Whether what was said goes together.
    pub fn check(&self) -> Result<(), FlagsError> {
        match (&self.policies, self.kubernetes) {
            (None, false) => return Err(FlagsError::NoPolicies),
            (Some(_), true) => return Err(FlagsError::PoliciesTwice),
            _ => {}
        }
        if self.decisions.decisions_api {
            if !self.kubernetes {
                return Err(FlagsError::DecisionsWithoutCluster);
            }
            if self.store == StoreArg::Stdout {
                return Err(FlagsError::DecisionsWithoutStore);
            }
        }
        self.check_store()?;
        if self.audit_mode == AuditMode::Strict && self.audit_durability == AuditDurability::Async {
            return Err(FlagsError::StrictWithoutWaiting);
        }
        self.check_cluster()?;
        match (&self.tls_cert, &self.tls_key, self.tls_self_signed) {
            (None, None, false) if self.lifecycle.tls_secret.is_some() => Ok(()),
            (None, None, false) => Err(FlagsError::NoCertificate),
            (None, None, true) => Ok(()),
            (_, _, true) => Err(FlagsError::CertificateTwice),
            (Some(_), None, false) => Err(FlagsError::NoKey),
            (None, Some(_), false) => Err(FlagsError::KeyAlone),
            (Some(_), Some(_), false) if self.tls_write_cert.is_some() => Err(FlagsError::NothingToWrite),
            (Some(_), Some(_), false) => Ok(()),
        }
    }

    fn check_cluster(&self) -> Result<(), FlagsError> {
        let lifecycle = &self.lifecycle;
        for (flag, is_set) in [
            ("--tls-secret (FRESHGATE_TLS_SECRET)", lifecycle.tls_secret.is_some()),
            ("--leader-lease (FRESHGATE_LEADER_LEASE)", lifecycle.leader_lease.is_some()),
            ("--webhook-configuration (FRESHGATE_WEBHOOK_CONFIGURATION)", lifecycle.webhook_configuration.is_some()),
            ("--indexes (FRESHGATE_INDEXES)", self.scan.indexes.is_some()),
        ] {
            if is_set && !self.kubernetes {
                return Err(FlagsError::WithoutCluster(flag));
            }
        }
        if self.scan.indexes.is_some() && self.scan.scan_interval.0.is_none() {
            return Err(FlagsError::IndexesWithoutScan);
        }
        let other_certificate = self.tls_cert.is_some() || self.tls_key.is_some() || self.tls_self_signed;
        if lifecycle.tls_secret.is_some() && (other_certificate || lifecycle.webhook_ca.is_some()) {
            return Err(FlagsError::SecretTwice);
        }
        if lifecycle.webhook_ca.is_some() && self.tls_self_signed {
            return Err(FlagsError::AuthorityTwice);
        }
        if lifecycle.tls_secret.is_some() && self.tls_write_cert.is_some() {
            return Err(FlagsError::NothingToWrite);
        }
        match (&lifecycle.client_ca, lifecycle.client_name.is_empty()) {
            (Some(_), true) => Err(FlagsError::NoClientNames),
            (None, false) => Err(FlagsError::NoClientAuthority),
            _ => Ok(()),
        }
    }

    fn check_store(&self) -> Result<(), FlagsError> {
        let waits = self.audit_durability == AuditDurability::Store;
        let is_shared = matches!(&self.store, StoreArg::Store(location) if location.is_shared());
        if waits && !is_shared {
            return Err(FlagsError::NothingToWaitFor);
        }
        if self.audit_journal.is_some() && (waits || self.store == StoreArg::Stdout) {
            return Err(FlagsError::JournalWithoutUse);
        }
        if is_shared && !waits && self.audit_journal.is_none() {
            return Err(FlagsError::NoJournal);
        }
        if is_shared && self.signing_key.is_none() && self.signing_secret.is_none() {
            return Err(FlagsError::NoSharedKey);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser as _;

    use super::*;
    use crate::args::{Cli, Command};

    #[test]
    fn what_does_not_go_together_is_told() {
        let (files, made, policies) = ("--tls-cert c --tls-key k", "--tls-self-signed", "--policies p");
        for (typed, told) in [
            (format!("{policies} {files}"), Ok(())),
            (format!("--kubernetes {made} --tls-write-cert w"), Ok(())),
            (made.to_owned(), Err(FlagsError::NoPolicies)),
            (format!("{policies} {made} --decisions-api"), Err(FlagsError::DecisionsWithoutCluster)),
            (
                format!("{policies} {made} --indexes i.yaml"),
                Err(FlagsError::WithoutCluster("--indexes (FRESHGATE_INDEXES)")),
            ),
            (format!("--kubernetes {made} --indexes i.yaml"), Ok(())),
            (format!("--kubernetes {made} --indexes i.yaml --scan-interval 0"), Err(FlagsError::IndexesWithoutScan)),
            (format!("--kubernetes {made} --decisions-api"), Err(FlagsError::DecisionsWithoutStore)),
            (format!("{policies} {made} --audit-mode strict"), Ok(())),
            (
                format!("{policies} {made} --audit-mode strict --audit-durability async"),
                Err(FlagsError::StrictWithoutWaiting),
            ),
            (format!("{policies} --kubernetes {made}"), Err(FlagsError::PoliciesTwice)),
            (policies.to_owned(), Err(FlagsError::NoCertificate)),
            (format!("{policies} {files} {made}"), Err(FlagsError::CertificateTwice)),
            (format!("{policies} --tls-key k {made}"), Err(FlagsError::CertificateTwice)),
            (format!("{policies} --tls-cert c"), Err(FlagsError::NoKey)),
            (format!("{policies} --tls-key k"), Err(FlagsError::KeyAlone)),
            (format!("{policies} {files} --tls-write-cert w"), Err(FlagsError::NothingToWrite)),
            ("--kubernetes --tls-secret s --leader-lease l --webhook-configuration w".to_owned(), Ok(())),
            (
                format!("{policies} --tls-secret s"),
                Err(FlagsError::WithoutCluster("--tls-secret (FRESHGATE_TLS_SECRET)")),
            ),
            (
                format!("{policies} {made} --leader-lease l"),
                Err(FlagsError::WithoutCluster("--leader-lease (FRESHGATE_LEADER_LEASE)")),
            ),
            (format!("--kubernetes --tls-secret s {made}"), Err(FlagsError::SecretTwice)),
            (format!("--kubernetes --tls-secret s {files}"), Err(FlagsError::SecretTwice)),
            ("--kubernetes --tls-secret s --webhook-ca c".to_owned(), Err(FlagsError::SecretTwice)),
            ("--kubernetes --tls-secret s --tls-write-cert w".to_owned(), Err(FlagsError::NothingToWrite)),
            (format!("--kubernetes {made} --webhook-ca c"), Err(FlagsError::AuthorityTwice)),
            (format!("{policies} {files} --client-ca c --client-name n"), Ok(())),
            (format!("{policies} {files} --client-ca c"), Err(FlagsError::NoClientNames)),
            (format!("{policies} {files} --client-name n"), Err(FlagsError::NoClientAuthority)),
        ] {
            let typed = format!("freshgate serve --store stdout {typed}");
            let Command::Serve(args) = Cli::try_parse_from(typed.split(' ')).unwrap().command else {
                panic!("another command")
            };
            assert_eq!(args.check(), told, "{typed}");
        }
    }

    #[test]
    fn each_store_has_what_belongs_beside_it() {
        let server = "postgres://gate@db/audit";
        for (store, flags, told) in [
            (server, "--audit-journal j --signing-key k", Ok(())),
            (server, "--audit-durability store --signing-key k", Ok(())),
            (server, "--audit-journal j", Err(FlagsError::NoSharedKey)),
            (server, "--signing-key k", Err(FlagsError::NoJournal)),
            (server, "--audit-durability async --signing-key k", Err(FlagsError::NoJournal)),
            (server, "--audit-durability store --audit-journal j", Err(FlagsError::JournalWithoutUse)),
            ("sqlite:f", "--audit-journal j", Ok(())),
            ("sqlite:f", "--audit-durability store", Err(FlagsError::NothingToWaitFor)),
            ("stdout", "--audit-durability store", Err(FlagsError::NothingToWaitFor)),
            ("stdout", "--audit-journal j", Err(FlagsError::JournalWithoutUse)),
        ] {
            let typed = format!("freshgate serve --policies p --tls-self-signed --store {store} {flags}");
            let Command::Serve(args) = Cli::try_parse_from(typed.split(' ')).unwrap().command else {
                panic!("another command")
            };
            assert_eq!(args.check(), told, "{typed}");
        }
    }
}
