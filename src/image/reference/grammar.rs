//! What a reference may look like: distribution's grammar, read in one pass. oci-client's reader is a regular expression
//! that takes 28 MiB when it is built and then some microseconds for each reference; the tests hold this one to it.

/// The parts of a reference as they are written, each of the right shape.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Written<'a> {
    /// `[host[:port]/]path`.
    pub(super) name: &'a str,
    /// What follows the colon.
    pub(super) tag: Option<&'a str>,
    /// `algorithm:hex`; which algorithms there are and how long their digests, is not looked at here.
    pub(super) digest: Option<&'a str>,
}

impl<'a> Written<'a> {
    /// Takes a reference apart; none where it has not the shape of one.
    pub(super) fn read(written: &'a str) -> Option<Self> {
        let (rest, digest) = match written.split_once('@') {
            Some((rest, digest)) => (rest, Some(digest)),
            None => (written, None),
        };
        // A colon before a slash is a port.
        let (name, tag) = match rest.rsplit_once(':') {
            Some((name, tag)) if !tag.contains('/') => (name, Some(tag)),
            _ => (rest, None),
        };
        let with_host = |name: &str| name.split_once('/').is_some_and(|(host, path)| is_host(host) && is_path(path));
        let fits = (is_path(name) || with_host(name)) && tag.is_none_or(is_tag) && digest.is_none_or(is_digest);
        fits.then_some(Self { name, tag, digest })
    }
}

/// Names joined by dots, each of letters, digits and inner hyphens; perhaps a port.
fn is_host(host: &str) -> bool {
    let (names, port) = host.split_once(':').map_or((host, None), |(names, port)| (names, Some(port)));
    let is_name = |name: &str| {
        let edge = |byte: Option<&u8>| byte.is_some_and(u8::is_ascii_alphanumeric);
        let name = name.as_bytes();
        edge(name.first()) && edge(name.last()) && name.iter().all(|&byte| byte.is_ascii_alphanumeric() || byte == b'-')
    };
    names.split('.').all(is_name)
        && port.is_none_or(|port| !port.is_empty() && port.bytes().all(|byte| byte.is_ascii_digit()))
}

/// Components joined by slashes; each of lower-case letters and digits, held together by `.`, `_`, `__` or hyphens.
fn is_path(path: &str) -> bool {
    path.split('/').all(|component| {
        let plain = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit();
        let inner = component.trim_matches(|c: char| c.is_ascii_lowercase() || c.is_ascii_digit());
        let edge = |byte: Option<u8>| byte.is_some_and(plain);
        edge(component.bytes().next())
            && edge(component.bytes().last())
            && inner
                .split(|c: char| c.is_ascii_lowercase() || c.is_ascii_digit())
                .all(|between| matches!(between, "." | "_" | "__") || between.bytes().all(|byte| byte == b'-'))
    })
}

fn is_tag(tag: &str) -> bool {
    let word = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_';
    tag.len() <= 128
        && tag.bytes().next().is_some_and(word)
        && tag.bytes().all(|byte| word(byte) || byte == b'.' || byte == b'-')
}

/// An algorithm of parts that begin with a letter, and at least 32 hexadecimal digits.
fn is_digest(digest: &str) -> bool {
    digest.split_once(':').is_some_and(|(algorithm, hex)| {
        algorithm.split(['-', '_', '+', '.']).all(|part| {
            part.bytes().next().is_some_and(|byte| byte.is_ascii_alphabetic())
                && part.bytes().all(|byte| byte.is_ascii_alphanumeric())
        }) && hex.len() >= 32
            && hex.bytes().all(|byte| byte.is_ascii_hexdigit())
    })
}
