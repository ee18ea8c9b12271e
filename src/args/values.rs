//! How values are read from what was typed, and what is said of those that cannot be.

use crate::store::StoreError;

use super::StoreArg;

/// A store, or `stdout`.
pub fn store(written: &str) -> Result<StoreArg, String> {
    if written == "stdout" {
        return Ok(StoreArg::Stdout);
    }
    written.parse().map(StoreArg::Store).map_err(|error: StoreError| format!("{error}, or write stdout"))
}

/// A flag's variable: whatever people write for yes and no.
pub fn yes_or_no(written: &str) -> Result<bool, String> {
    match written.to_ascii_lowercase().as_str() {
        "true" | "yes" | "on" | "1" | "y" | "t" => Ok(true),
        "false" | "no" | "off" | "0" | "n" | "f" => Ok(false),
        _ => Err("write true or false (or yes, no, on, off, 1, 0)".to_owned()),
    }
}

/// A registry's host. An address of a web page would never be equal to one, and so be of no effect.
pub fn host(written: &str) -> Result<String, String> {
    let rest = written.split_once("://").map_or(written, |(_, rest)| rest);
    let host = rest.split('/').next().unwrap_or_default();
    if host.is_empty() || host.contains(char::is_whitespace) {
        return Err("a registry is named by its host, as registry.example or registry.example:5000".to_owned());
    }
    if host != written {
        return Err(format!("a registry is named by its host alone, without a scheme or a path: write {host}"));
    }
    Ok(host.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_host_is_no_address_of_a_page() {
        for good in ["registry.example", "localhost:5000", "[::1]:5000", "*.example"] {
            assert_eq!(host(good), Ok(good.to_owned()));
        }
        for (written, host_alone) in [
            ("http://127.0.0.1:1", "127.0.0.1:1"),
            ("https://registry.example/", "registry.example"),
            ("registry.example/team", "registry.example"),
        ] {
            assert_eq!(
                host(written).unwrap_err(),
                format!("a registry is named by its host alone, without a scheme or a path: write {host_alone}")
            );
        }
        for nothing in ["", "https://", "a b"] {
            assert!(host(nothing).unwrap_err().contains("as registry.example or"), "{nothing:?}");
        }
    }
}
