//! A secret that no sink may ever show, in any of the forms that it is sent in, and what stands in for those it is for.

use std::path::Path;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

/// The secret.
pub const CANARY: &str = "canary7f3a9c1e5b";

/// Its forms: as it is, in hexadecimal, and within base64 at each of the three places that a byte can have there.
fn forms() -> Vec<String> {
    let within_base64 = (0..3).map(|before| {
        let encoded = STANDARD.encode(format!("{}{CANARY}", "x".repeat(before)));
        // What shares a digit with its neighbours differs with them.
        let (begin, end) = ([0, 2, 3][before], encoded.trim_end_matches('=').len() - 1);
        encoded[begin..end].to_owned()
    });
    [CANARY.to_owned(), hex::encode(CANARY)].into_iter().chain(within_base64).collect()
}

/// The form of the canary that is among these bytes.
pub fn found_in(bytes: &[u8]) -> Option<String> {
    forms().into_iter().find(|form| memchr::memmem::find(bytes, form.as_bytes()).is_some())
}

/// Searches what a sink got; `known` is what must be there, so that nothing is found in a sink that got nothing.
pub fn assert_clean(sink: &str, bytes: &[u8], known: &str) {
    let text = || String::from_utf8_lossy(bytes).chars().take(4_000).collect::<String>();
    assert!(memchr::memmem::find(bytes, known.as_bytes()).is_some(), "{sink} has nothing of {known:?}: {}", text());
    if let Some(form) = found_in(bytes) {
        let at = memchr::memmem::find(bytes, form.as_bytes()).unwrap();
        let around = &bytes[at.saturating_sub(200)..(at + 200).min(bytes.len())];
        panic!("{sink} shows {form}: {}", String::from_utf8_lossy(around));
    }
}

/// All files of a folder and those below it, with what is in them.
pub fn files(folder: &Path) -> Vec<(String, Vec<u8>)> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            found.extend(files(&path));
        } else {
            // A segment may go while it is looked for: the store has it then.
            found.extend(std::fs::read(&path).ok().map(|bytes| (path.display().to_string(), bytes)));
        }
    }
    found
}

/// `Basic …` of that user with the canary as password.
pub fn basic(user: &str) -> String {
    format!("Basic {}", STANDARD.encode(format!("{user}:{CANARY}")))
}

/// A docker config that gives these registries the canary, for the user `gate`.
pub fn docker_config(hosts: &[&str]) -> String {
    let auth = STANDARD.encode(format!("gate:{CANARY}"));
    let auths: serde_json::Map<_, _> =
        hosts.iter().map(|host| ((*host).to_owned(), serde_json::json!({"auth": auth}))).collect();
    serde_json::json!({"auths": auths}).to_string()
}
