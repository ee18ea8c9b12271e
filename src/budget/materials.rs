//! What a source needs beside its own words: passwords, certificates, documents. Read anew for each poll, so that what was
//! rotated is used; never logged, never recorded.

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use thiserror::Error;

use super::api::{BudgetSourceSpec, SecretKey};
use super::compile::{CompiledSource, Origin, inline_documents};
use crate::cluster::budget_materials::ClusterMaterials;

/// Most bytes of one file: a snapshot of ten thousand services is two million.
const LARGEST_FILE_BYTES: u64 = 8 << 20;

/// What leaves the cluster with each question.
const PASSWORD: &str = "the password";
const TOKEN: &str = "the token";

/// A text that shows nothing of itself.
#[derive(Clone, PartialEq, Eq)]
pub struct Hidden(Vec<u8>);

impl Hidden {
    /// Hides some bytes.
    pub fn new(bytes: Vec<u8>) -> Self {
        Self(bytes)
    }

    /// The bytes.
    pub fn bytes(&self) -> &[u8] {
        &self.0
    }

    /// As a text, without the newline that editors leave; `None` where it is none.
    pub fn line(&self) -> Option<&str> {
        std::str::from_utf8(&self.0).ok().map(|text| text.trim_end_matches(['\n', '\r']))
    }
}

impl fmt::Debug for Hidden {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("Hidden(…)")
    }
}

/// What a source needs.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Materials {
    /// The password of `basic`.
    pub password: Option<Hidden>,
    /// The token of `bearer`.
    pub token: Option<Hidden>,
    /// Certificate authorities, in PEM.
    pub ca: Option<Hidden>,
    /// The gate's certificate and its key, in PEM.
    pub certificate: Option<(Hidden, Hidden)>,
    /// Documents of `OpenSLO`, by name.
    pub documents: Vec<(String, String)>,
    /// The snapshot: its file and its text.
    pub snapshot: Option<(String, String)>,
}

/// Something that a source needs cannot be had.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
#[error("{what} cannot be read: {why}")]
pub struct MissingMaterial {
    /// What: `the password in Secret "slo"`.
    pub what: String,
    /// Why not.
    pub why: String,
}

/// Gathers what a source needs.
pub async fn gather(
    source: &CompiledSource,
    cluster: Option<&Arc<ClusterMaterials>>,
) -> Result<Materials, MissingMaterial> {
    let reader = Reader { origin: &source.origin, cluster };
    let BudgetSourceSpec { prometheus, openslo, file, .. } = &source.spec;
    let mut materials = Materials::default();
    if let Some(prometheus) = prometheus {
        if let Some(basic) = &prometheus.basic {
            materials.password =
                reader.one(PASSWORD, basic.password_secret.as_ref(), basic.password_file.as_ref()).await?;
        }
        if let Some(bearer) = &prometheus.bearer {
            materials.token = reader.one(TOKEN, bearer.secret.as_ref(), bearer.file.as_ref()).await?;
        }
        if let Some(tls) = &prometheus.tls {
            materials.ca =
                reader.one("the certificate authorities", tls.ca_secret.as_ref(), tls.ca_file.as_ref()).await?;
            let certificate =
                reader.one("the certificate", tls.certificate_secret.as_ref(), tls.certificate_file.as_ref()).await?;
            let key = reader.one("the key", tls.key_secret.as_ref(), tls.key_file.as_ref()).await?;
            materials.certificate = certificate.zip(key);
        }
    }
    if let Some(openslo) = openslo {
        materials.documents = inline_documents(openslo);
        for path in &openslo.files {
            let text = reader.text("the document", path).await?;
            materials.documents.push((path.clone(), text));
        }
        for named in &openslo.config_maps {
            materials.documents.extend(reader.config_map(&named.name).await?);
        }
    }
    if let Some(file) = file {
        let text = reader.text("the snapshot", &file.path).await?;
        materials.snapshot = Some((file.path.clone(), text));
    }
    Ok(materials)
}

struct Reader<'a> {
    origin: &'a Origin,
    cluster: Option<&'a Arc<ClusterMaterials>>,
}

impl Reader<'_> {
    async fn one(
        &self,
        what: &str,
        secret: Option<&SecretKey>,
        file: Option<&String>,
    ) -> Result<Option<Hidden>, MissingMaterial> {
        match (secret, file) {
            (Some(secret), _) => self.secret(what, secret).await.map(Some),
            (None, Some(path)) => self.bytes(what, path).await.map(|bytes| Some(Hidden::new(bytes))),
            (None, None) => Ok(None),
        }
    }

    async fn secret(&self, what: &str, secret: &SecretKey) -> Result<Hidden, MissingMaterial> {
        let missing = |why: String| MissingMaterial { what: format!("{what} in Secret {:?}", secret.name), why };
        let Some(cluster) = self.cluster else { return Err(missing("there is no cluster".to_owned())) };
        let is_sent = matches!(what, PASSWORD | TOKEN);
        cluster.secret(secret, is_sent).await.map(Hidden::new).map_err(missing)
    }

    async fn config_map(&self, name: &str) -> Result<Vec<(String, String)>, MissingMaterial> {
        let missing = |why: String| MissingMaterial { what: format!("the documents in ConfigMap {name:?}"), why };
        let Some(cluster) = self.cluster else { return Err(missing("there is no cluster".to_owned())) };
        cluster.config_map(name).await.map_err(missing)
    }

    async fn text(&self, what: &str, path: &str) -> Result<String, MissingMaterial> {
        let bytes = self.bytes(what, path).await?;
        String::from_utf8(bytes)
            .map_err(|_| MissingMaterial { what: format!("{what} {path}"), why: "it is no text".to_owned() })
    }

    async fn bytes(&self, what: &str, path: &str) -> Result<Vec<u8>, MissingMaterial> {
        let missing = |why: String| MissingMaterial { what: format!("{what} {path}"), why };
        // Checked when the source was compiled; here it costs nothing to be sure.
        let Origin::Folder(folder) = self.origin else {
            return Err(missing("in a cluster no source reads the gate's files".to_owned()));
        };
        let path = beside(folder, path);
        let size = tokio::fs::metadata(&path).await.map_err(|error| missing(error.to_string()))?.len();
        if size > LARGEST_FILE_BYTES {
            return Err(missing("it is larger than 8 MiB".to_owned()));
        }
        tokio::fs::read(&path).await.map_err(|error| missing(error.to_string()))
    }
}

fn beside(folder: &Path, path: &str) -> PathBuf {
    folder.join(path)
}
