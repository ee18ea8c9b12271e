//! Talks to registries: manifests and blobs, within limits of time, size and politeness.
//!
//! Manifests and media types are oci-client's. Its transport is not used: it follows realms and redirects as
//! they come, has no hook for addresses, no bound on bodies and no overall time-out, and the host is chosen by whoever
//! writes a workload.

pub mod address;
mod answer;
pub mod credentials;
mod digest;
pub mod error;
pub mod layout;
pub(crate) mod limits;
mod mirror;
pub mod settings;
pub mod tags;
mod token;

use std::collections::HashMap;
use std::net::IpAddr;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use chrono::{DateTime, Utc};
use oci_client::manifest::{
    IMAGE_MANIFEST_LIST_MEDIA_TYPE, IMAGE_MANIFEST_MEDIA_TYPE, OCI_IMAGE_INDEX_MEDIA_TYPE, OCI_IMAGE_MEDIA_TYPE,
};
use reqwest::header::{ACCEPT, AUTHORIZATION, LOCATION};
use reqwest::{Client, Method, Response, StatusCode, Url};
use thiserror::Error;
use tokio::time::Instant;

use self::answer::{not_reached, refused_in_words, success};
use self::credentials::Credential;
use self::digest::{check_digest, manifest_named};
use self::error::RegistryError;
use self::limits::Limits;
use self::settings::{MirrorLocation, RegistrySettings};
use self::token::TokenKey;
use super::claims;
use super::reference::ImageReference;

/// Most bytes of a manifest or an index.
pub const LARGEST_MANIFEST_BYTES: u64 = 4 << 20;
/// Most bytes of an image config, or of a layer that is an attestation.
pub const LARGEST_CONFIG_BYTES: u64 = 8 << 20;
const MOST_REDIRECTS: usize = 3;
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
const SCHEMA_1_MEDIA_TYPES: &str = "application/vnd.docker.distribution.manifest.v1+prettyjws, \
     application/vnd.docker.distribution.manifest.v1+json";

/// Why the registries' client could not be made.
#[derive(Debug, Error)]
pub enum SettingsError {
    /// A file with certificate authorities cannot be used.
    #[error("the certificate authorities in {path} cannot be used: {why}")]
    CaFile {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        why: String,
    },
    /// TLS could not be set up.
    #[error("the client for registries cannot be set up: {0}")]
    Client(#[source] reqwest::Error),
}

/// A manifest, and its digest as computed from its bytes.
#[derive(Clone, Debug)]
pub struct Manifest {
    /// Digest, computed here.
    pub digest: String,
    /// The bytes that the digest is over: of a signed one of schema 1, what was signed.
    pub body: Vec<u8>,
}

/// The registries, as the settings allow them to be asked.
#[derive(Debug)]
pub struct Registries {
    settings: RegistrySettings,
    /// Reaches public addresses only.
    public: Client,
    /// For hosts that an operator listed.
    exempt: Client,
    limits: Mutex<HashMap<String, Arc<Limits>>>,
    tokens: Mutex<HashMap<TokenKey, (String, Instant)>>,
}

/// Whom to ask, on whose behalf, and until when.
#[derive(Clone, Copy, Debug)]
pub struct Asking<'a> {
    /// The image.
    pub image: &'a ImageReference,
    /// The credential for it, where there is one.
    pub credential: Option<&'a Credential>,
    /// The present time, in UTC: registries name dates until which they are to be left alone.
    pub now: DateTime<Utc>,
    /// When an answer comes too late.
    pub deadline: Instant,
}

impl Registries {
    /// Sets up the clients.
    pub fn new(settings: RegistrySettings) -> Result<Self, SettingsError> {
        let mut authorities = Vec::new();
        for path in &settings.ca_files {
            let wrong = |why: String| SettingsError::CaFile { path: path.clone(), why };
            let pem = std::fs::read(path).map_err(|error| wrong(error.to_string()))?;
            let found = reqwest::Certificate::from_pem_bundle(&pem).map_err(|error| wrong(error.to_string()))?;
            if found.is_empty() {
                return Err(wrong("there is no certificate in it".to_owned()));
            }
            authorities.extend(found);
        }
        let builder = || {
            let builder = Client::builder()
                .user_agent(concat!("freshgate/", env!("CARGO_PKG_VERSION")))
                .redirect(reqwest::redirect::Policy::none())
                .connect_timeout(CONNECT_TIMEOUT)
                .no_proxy() // a proxy would connect for us, and past the check of addresses
                .retry(reqwest::retry::never());
            if authorities.is_empty() { builder } else { builder.tls_certs_merge(authorities.clone()) }
        };
        Ok(Self {
            public: builder().dns_resolver(address::public_only()).build().map_err(SettingsError::Client)?,
            exempt: builder().build().map_err(SettingsError::Client)?,
            settings,
            limits: Mutex::default(),
            tokens: Mutex::default(),
        })
    }

    /// Whether a local folder stands in for the image's registry: what it has is there without asking anybody.
    pub fn layout_for(&self, image: &ImageReference) -> Option<(PathBuf, bool)> {
        let mirror = self.settings.mirror_for(&image.name())?;
        match &mirror.location {
            MirrorLocation::Layout(folder) => Some((folder.clone(), mirror.prefix == image.name())),
            MirrorLocation::Registry(_) => None,
        }
    }

    /// Whether the image's registry may be asked at all.
    pub fn check_allowed(&self, image: &ImageReference) -> Result<(), RegistryError> {
        if self.layout_for(image).is_some() {
            return Ok(());
        }
        let host = image.registry();
        if !self.settings.is_allowed(host) {
            return Err(RegistryError::NotAllowed(format!(
                "the registry {host} is not on the list of allowed registries; if it is meant, add it with --allow-registry"
            )));
        }
        self.check_address(host, host)
    }

    /// A host written as an address is checked here; names are when they are resolved.
    fn check_address(&self, host: &str, registry: &str) -> Result<(), RegistryError> {
        let name = match host.strip_prefix('[') {
            Some(address) => address.split(']').next().unwrap_or_default(),
            None => host.rsplit_once(':').map_or(host, |(name, _)| name),
        };
        let forbidden = name.parse::<IpAddr>().is_ok_and(|address| !address::is_public(address))
            || name.eq_ignore_ascii_case("localhost")
            // What systems take for an address though it is not written as one: 127.1, 2130706433, 0x7f.1
            || (name.parse::<IpAddr>().is_err() && name.split('.').next_back().is_some_and(is_number));
        if forbidden && !self.settings.is_exempt(host) {
            let by = if host == registry { String::new() } else { format!(", to which {registry} sends on") };
            return Err(RegistryError::NotAllowed(format!(
                "{host}{by} is not a public address; {}",
                address::IF_MEANT
            )));
        }
        Ok(())
    }

    /// The manifest of a tag or digest. Its digest is computed, and compared where one was asked for.
    pub async fn manifest(&self, asking: Asking<'_>, reference: &str) -> Result<Manifest, RegistryError> {
        let wanted = reference.contains(':').then_some(reference);
        if let Some((folder, whole)) = self.layout_for(asking.image) {
            let digest = match wanted {
                Some(digest) => digest.to_owned(),
                None => layout::find(&folder, asking.image, whole).await?,
            };
            let body = layout::blob(&folder, &digest, LARGEST_MANIFEST_BYTES).await?;
            return manifest_named(Some(&digest), body, "the image layout");
        }
        let path = format!("{}/manifests/{reference}", asking.image.repository());
        let (host, response) = self.ask(asking, Method::GET, &path).await?;
        let body = self.bounded(&host, response, LARGEST_MANIFEST_BYTES, asking.deadline, "manifest").await?;
        manifest_named(wanted, body, &host)
    }

    /// What a tag means now, by the registry's word; whoever uses it fetches by that digest and so checks it.
    pub async fn head(&self, asking: Asking<'_>, tag: &str) -> Result<Option<String>, RegistryError> {
        if let Some((folder, whole)) = self.layout_for(asking.image) {
            return layout::find(&folder, asking.image, whole).await.map(Some);
        }
        let path = format!("{}/manifests/{tag}", asking.image.repository());
        let (_, response) = self.ask(asking, Method::HEAD, &path).await?;
        let digest = response.headers().get("docker-content-digest").and_then(|value| value.to_str().ok());
        Ok(digest.filter(|digest| digest.starts_with("sha256:") || digest.starts_with("sha512:")).map(str::to_owned))
    }

    /// A blob, compared with its digest.
    pub async fn blob(&self, asking: Asking<'_>, digest: &str, most_bytes: u64) -> Result<Vec<u8>, RegistryError> {
        if let Some((folder, _)) = self.layout_for(asking.image) {
            let body = layout::blob(&folder, digest, most_bytes).await?;
            check_digest(digest, &body, "the image layout")?;
            return Ok(body);
        }
        let path = format!("{}/blobs/{digest}", asking.image.repository());
        let (host, response) = self.ask(asking, Method::GET, &path).await?;
        let body = self.bounded(&host, response, most_bytes, asking.deadline, "config").await?;
        check_digest(digest, &body, &host)?;
        Ok(body)
    }

    /// The manifests that refer to a digest, where the registry has such a list; none where it has not.
    pub async fn referrers(
        &self,
        asking: Asking<'_>,
        digest: &str,
        artifact_type: &str,
    ) -> Result<Vec<String>, RegistryError> {
        let all = self.referring(asking, digest).await?;
        Ok(all.into_iter().filter(|(_, kind)| kind == artifact_type).map(|(digest, _)| digest).take(8).collect())
    }

    /// The same for every type: digests, and what each is.
    pub async fn referring(&self, asking: Asking<'_>, digest: &str) -> Result<Vec<(String, String)>, RegistryError> {
        if self.layout_for(asking.image).is_some() {
            return Ok(Vec::new());
        }
        let path = format!("{}/referrers/{digest}", asking.image.repository());
        let (host, response) = match self.ask(asking, Method::GET, &path).await {
            Err(RegistryError::NotFound(_) | RegistryError::Unsupported(_)) => return Ok(Vec::new()),
            other => other?,
        };
        let body = self.bounded(&host, response, LARGEST_MANIFEST_BYTES, asking.deadline, "list of referrers").await?;
        Ok(claims::referring(&body))
    }

    async fn ask_host(
        &self,
        asking: Asking<'_>,
        host: &str,
        method: Method,
        path: &str,
    ) -> Result<Response, RegistryError> {
        let limits = self.limits_of(host);
        let late = || RegistryError::Unreachable(format!("{host} did not answer in time"));
        // What was not asked says nothing of the registry, so only what follows is counted.
        let entered = tokio::time::timeout_at(asking.deadline, limits.enter()).await.map_err(|_| late())?;
        let _place = entered.map_err(|refused| refused_in_words(host, refused))?;
        let answer = self.ask_politely(asking, host, method, path, &limits);
        let answer = tokio::time::timeout_at(asking.deadline, answer).await.unwrap_or_else(|_| Err(late()));
        match &answer {
            Err(error) if error.is_outage() => limits.failed(),
            _ => limits.answered(),
        }
        answer
    }

    /// One request, and after a challenge one more with what it asks for.
    async fn ask_politely(
        &self,
        asking: Asking<'_>,
        host: &str,
        method: Method,
        path: &str,
        limits: &Limits,
    ) -> Result<Response, RegistryError> {
        let url = self.url(host, path)?;
        let key = TokenKey {
            host: host.to_owned(),
            repository: asking.image.repository().to_owned(),
            credential: asking.credential.map(Credential::id),
        };
        let authorization = self.remembered_token(&key);
        let response = self.send(host, method.clone(), url.clone(), authorization).await?;
        let response = if response.status() == StatusCode::UNAUTHORIZED {
            match self.authorization(asking, host, &key, response.headers()).await? {
                Some(authorization) => self.send(host, method, url, Some(authorization)).await?,
                None => response,
            }
        } else {
            response
        };
        success(host, response, limits, asking.now)
    }

    fn url(&self, host: &str, path: &str) -> Result<Url, RegistryError> {
        let scheme = if self.settings.is_plain_http(host) { "http" } else { "https" };
        let authority = if host == "docker.io" { "registry-1.docker.io" } else { host };
        Url::parse(&format!("{scheme}://{authority}/v2/{path}"))
            .map_err(|_| RegistryError::NotFound(format!("{host} is no registry's address")))
    }

    /// Sends a request and follows redirects: only to https or to listed hosts, and without credentials elsewhere.
    async fn send(
        &self,
        host: &str,
        method: Method,
        url: Url,
        authorization: Option<String>,
    ) -> Result<Response, RegistryError> {
        let origin = url.origin();
        let mut url = url;
        for _ in 0..=MOST_REDIRECTS {
            let target = authority(&url);
            let client = if self.settings.is_exempt(&target) { &self.exempt } else { &self.public };
            let mut request = client.request(method.clone(), url.clone()).header(ACCEPT, accepted(&url));
            if let Some(authorization) = authorization.as_ref().filter(|_| url.origin() == origin) {
                request = request.header(AUTHORIZATION, authorization);
            }
            let response = request.send().await.map_err(|error| not_reached(host, &error))?;
            if !response.status().is_redirection() {
                return Ok(response);
            }
            let location = response.headers().get(LOCATION).and_then(|value| value.to_str().ok());
            let Some(next) = location.and_then(|location| url.join(location).ok()) else {
                return Err(RegistryError::Unreachable(format!("{host} sent us on to nowhere")));
            };
            let target = authority(&next);
            if next.scheme() != "https" && !(next.scheme() == "http" && self.settings.is_plain_http(&target)) {
                return Err(RegistryError::NotAllowed(format!("{host} sends us on to {target} without TLS")));
            }
            self.check_address(&target, host)?;
            url = next;
        }
        Err(RegistryError::Unreachable(format!("{host} sent us on more than {MOST_REDIRECTS} times")))
    }

    /// Reads a body up to a bound.
    async fn bounded(
        &self,
        host: &str,
        mut response: Response,
        most_bytes: u64,
        deadline: Instant,
        what: &str,
    ) -> Result<Vec<u8>, RegistryError> {
        let too_large = || {
            RegistryError::Unreachable(format!("{host} serves a {what} larger than {} MiB", (most_bytes >> 20).max(1)))
        };
        if response.content_length().is_some_and(|length| length > most_bytes) {
            return Err(too_large());
        }
        let read = tokio::time::timeout_at(deadline, async {
            let mut body = Vec::new();
            while let Some(chunk) = response
                .chunk()
                .await
                .map_err(|_| RegistryError::Unreachable(format!("{host} broke off in the middle of a {what}")))?
            {
                if (body.len() + chunk.len()) as u64 > most_bytes {
                    return Err(too_large());
                }
                body.extend_from_slice(&chunk);
            }
            Ok(body)
        });
        let read = read
            .await
            .unwrap_or_else(|_| Err(RegistryError::Unreachable(format!("{host} did not send its {what} in time"))));
        if read.as_ref().is_err_and(RegistryError::is_outage) {
            self.limits_of(host).failed();
        }
        read
    }

    fn limits_of(&self, host: &str) -> Arc<Limits> {
        let mut limits = self.limits.lock().unwrap_or_else(PoisonError::into_inner);
        // Hosts come from workloads: the map must not grow for ever.
        if limits.len() > 1_024 && !limits.contains_key(host) {
            limits.clear();
        }
        Arc::clone(limits.entry(host.to_owned()).or_default())
    }
}

fn is_number(part: &str) -> bool {
    let digits = part.strip_prefix("0x").or_else(|| part.strip_prefix("0X")).unwrap_or(part);
    !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_hexdigit()) && part.as_bytes()[0].is_ascii_digit()
}

/// `host[:port]` as settings have it.
fn authority(url: &Url) -> String {
    let host = url.host_str().unwrap_or_default();
    url.port().map_or_else(|| host.to_owned(), |port| format!("{host}:{port}"))
}

fn accepted(url: &Url) -> String {
    if url.path().ends_with("/tags/list") {
        return "application/json".to_owned();
    }
    format!(
        "{OCI_IMAGE_INDEX_MEDIA_TYPE}, {OCI_IMAGE_MEDIA_TYPE}, {IMAGE_MANIFEST_LIST_MEDIA_TYPE}, \
         {IMAGE_MANIFEST_MEDIA_TYPE}, {SCHEMA_1_MEDIA_TYPES}"
    )
}
