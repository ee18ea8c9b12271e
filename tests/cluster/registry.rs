//! Real registries: Debian's docker-registry and crane's, which have no list of referrers, and one that has.

use std::path::{Path, PathBuf};
use std::process::Command;

use tempfile::TempDir;

use super::image::Image;
use super::process::{Process, free_ports, listens};
use super::programs;

/// A running registry.
#[derive(Debug)]
pub struct Registry {
    pub process: Process,
    host: String,
    scheme: &'static str,
    _folder: TempDir,
}

impl Registry {
    /// Debian's docker-registry.
    pub fn distribution() -> Self {
        Self::distribution_with("")
    }

    /// Debian's docker-registry that wants a name and a password (`me`, `secret`).
    pub fn distribution_with_password() -> Self {
        // htpasswd -nbB me secret
        const HASH: &str = "me:$2b$05$4ialSU8QR2NxmT5ML0hTKe.7Mil0dnksnXwVa1JoI70HENcUQcM52";
        Self::distribution_with(HASH)
    }

    /// The same, and `gate` may in with the canary.
    pub fn distribution_with_canary() -> Self {
        // htpasswd -nbB me secret, and -nbB gate with the canary
        const HASHES: &str = "me:$2b$05$4ialSU8QR2NxmT5ML0hTKe.7Mil0dnksnXwVa1JoI70HENcUQcM52\ngate:$2b$05$4ialSU8QR2NxmT5ML0hTKeRW01p00S6LpgUcX.uoqNRs.EXwfunRe\n";
        Self::distribution_with(HASHES)
    }

    /// Debian's docker-registry behind TLS, and the file with the authority of its certificate.
    pub fn distribution_with_tls() -> (Self, PathBuf) {
        let folder = tempfile::tempdir().unwrap();
        let signed = rcgen::generate_simple_self_signed(["127.0.0.1".to_owned()]).unwrap();
        let (certificate, key) = (folder.path().join("registry.pem"), folder.path().join("registry.key"));
        std::fs::write(&certificate, signed.cert.pem()).unwrap();
        std::fs::write(&key, signed.signing_key.serialize_pem()).unwrap();
        let tls = format!(", tls: {{certificate: {}, key: {}}}", certificate.display(), key.display());
        (Self::distribution_in(folder, "", &tls), certificate)
    }

    fn distribution_with(password: &str) -> Self {
        Self::distribution_in(tempfile::tempdir().unwrap(), password, "")
    }

    fn distribution_in(folder: TempDir, password: &str, tls: &str) -> Self {
        let [port] = free_ports();
        let root = folder.path().display();
        let auth = if password.is_empty() {
            String::new()
        } else {
            std::fs::write(folder.path().join("htpasswd"), password).unwrap();
            format!("auth: {{htpasswd: {{realm: test, path: {root}/htpasswd}}}}\n")
        };
        let config = format!(
            "version: 0.1\nlog: {{level: warn}}\nstorage: {{filesystem: {{rootdirectory: {root}/data}}}}\nhttp: {{addr: '127.0.0.1:{port}'{tls}}}\n{auth}"
        );
        let file = folder.path().join("config.yml");
        std::fs::write(&file, config).unwrap();
        let scheme = if tls.is_empty() { "http" } else { "https" };
        Self::start(folder, port, scheme, "docker-registry", |program, _| {
            program.arg("serve").arg(&file);
        })
    }

    /// crane's registry, in memory.
    pub fn crane() -> Self {
        let [port] = free_ports();
        Self::start(tempfile::tempdir().unwrap(), port, "http", "crane", |program, port| {
            program.args(["registry", "serve", "--address", &format!("127.0.0.1:{port}")]);
        })
    }

    /// The same registry as crane's, with the list of referrers.
    pub fn with_referrers() -> Self {
        let [port] = free_ports();
        Self::start(tempfile::tempdir().unwrap(), port, "http", "registry-with-referrers", |program, port| {
            program.arg(format!("127.0.0.1:{port}"));
        })
    }

    fn start(
        folder: TempDir,
        port: u16,
        scheme: &'static str,
        name: &str,
        configure: impl FnOnce(&mut Command, u16),
    ) -> Self {
        let mut command = Command::new(programs().join(name));
        configure(&mut command, port);
        let mut process = Process::start(name, folder.path(), &mut command);
        process.wait_until(|| listens(port));
        Self { process, host: format!("127.0.0.1:{port}"), scheme, _folder: folder }
    }

    /// The same registry on every address of this network, by the name that others have for it.
    pub fn known_as(address: &str) -> Self {
        let [port] = free_ports();
        let mut registry =
            Self::start(tempfile::tempdir().unwrap(), port, "http", "registry-with-referrers", |program, port| {
                program.arg(format!(":{port}"));
            });
        registry.host = format!("{address}:{port}");
        registry
    }

    /// `127.0.0.1:PORT`, or what others call it.
    pub fn host(&self) -> String {
        self.host.clone()
    }

    /// Pushes an image; gives its reference by tag.
    pub fn push(&self, repository: &str, tag: &str, image: &Image) -> String {
        for manifest in image.manifests() {
            for (digest, blob) in &manifest.blobs {
                self.push_blob(repository, digest, blob);
            }
            let reference = if manifest.digest == image.digest { tag } else { &manifest.digest };
            self.put_manifest(repository, reference, manifest);
        }
        format!("{}/{repository}:{tag}", self.host())
    }

    fn push_blob(&self, repository: &str, digest: &str, blob: &[u8]) {
        let start = curl(
            &["-s", "-i", "-u", "me:secret", "-X", "POST", &self.url(&format!("{repository}/blobs/uploads/"))],
            &[],
        );
        let location = start
            .lines()
            .find_map(|line| line.split_once(": ").filter(|(name, _)| name.eq_ignore_ascii_case("location")));
        let location = location.unwrap_or_else(|| panic!("no upload was begun: {start}")).1.trim();
        let location = if location.starts_with('/') {
            format!("{}://{}{location}", self.scheme, self.host())
        } else {
            location.to_owned()
        };
        let separator = if location.contains('?') { '&' } else { '?' };
        let url = format!("{location}{separator}digest={digest}");
        let status = curl(
            &[
                "-s",
                "-u",
                "me:secret",
                "-o",
                "/dev/null",
                "-w",
                "%{http_code}",
                "-X",
                "PUT",
                "-H",
                "Content-Type: application/octet-stream",
                "--data-binary",
                "@-",
                &url,
            ],
            blob,
        );
        assert_eq!(status, "201", "a blob was not taken");
    }

    fn put_manifest(&self, repository: &str, reference: &str, image: &Image) {
        let content_type = format!("Content-Type: {}", image.media_type);
        let url = self.url(&format!("{repository}/manifests/{reference}"));
        let status = curl(
            &[
                "-s",
                "-u",
                "me:secret",
                "-o",
                "/dev/null",
                "-w",
                "%{http_code}",
                "-X",
                "PUT",
                "-H",
                &content_type,
                "--data-binary",
                "@-",
                &url,
            ],
            &image.body,
        );
        assert_eq!(status, "201", "the manifest {reference} was not taken");
    }

    fn url(&self, path: &str) -> String {
        format!("{}://{}/v2/{path}", self.scheme, self.host())
    }
}

/// A pusher that shares no code with what is tested.
fn curl(args: &[&str], input: &[u8]) -> String {
    let folder = tempfile::tempdir().unwrap();
    let body = folder.path().join("body");
    std::fs::write(&body, input).unwrap();
    let from_file = format!("@{}", body.display());
    let args: Vec<&str> = args.iter().map(|arg| if *arg == "@-" { from_file.as_str() } else { arg }).collect();
    // Whether a certificate is trusted is what is tested, not how images get there.
    let output = Command::new("curl").arg("--insecure").args(args).output().unwrap();
    assert!(output.status.success(), "curl failed: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8_lossy(&output.stdout).into_owned()
}

/// Whether a folder is inside the system's temporary one: nothing else is ever removed.
pub fn is_temporary(path: &Path) -> bool {
    path.starts_with(std::env::temp_dir())
}
