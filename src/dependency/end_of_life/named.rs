//! Which runtimes and systems an SBOM names, as endoflife.date calls them.
//!
//! Scanners that look into binaries name a runtime `pkg:generic/node`; a system is named by an entry of its own, or by
//! every package of it. What is not in these tables is not looked up: a guess could warn of another product.

use std::collections::BTreeSet;

use crate::dependency::sbom::Sbom;

/// Something whose support can end.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Named {
    /// The product, as endoflife.date calls it.
    pub product: &'static str,
    /// The version in use.
    pub version: String,
    /// Whether it is a system, that is: comes with the base image.
    pub is_system: bool,
}

/// Runtimes and servers by their names in `pkg:generic`, and the products that they are.
const RUNTIMES: [(&str, &str); 26] = [
    ("node", "nodejs"),
    ("python", "python"),
    ("pypy", "pypy"),
    ("go", "go"),
    ("rust", "rust"),
    ("ruby", "ruby"),
    ("php-cli", "php"),
    ("php-fpm", "php"),
    ("php", "php"),
    ("libphp", "php"),
    ("perl", "perl"),
    ("erlang", "erlang"),
    ("elixir", "elixir"),
    ("julia", "julia"),
    ("dart", "dart"),
    ("nginx", "nginx"),
    ("haproxy", "haproxy"),
    ("traefik", "traefik"),
    ("redis", "redis"),
    ("valkey", "valkey"),
    ("postgresql", "postgresql"),
    ("mariadb", "mariadb"),
    ("mysql-server", "mysql"),
    ("memcached", "memcached"),
    ("consul", "consul"),
    ("vault", "hashicorp-vault"),
];

/// Systems by the names that they give themselves in `os-release`.
const SYSTEMS: [(&str, &str); 16] = [
    ("alpine", "alpine-linux"),
    ("amzn", "amazon-linux"),
    ("almalinux", "almalinux"),
    ("centos", "centos"),
    ("debian", "debian"),
    ("fedora", "fedora"),
    ("ol", "oracle-linux"),
    ("opensuse-leap", "opensuse"),
    ("redhat", "rhel"),
    ("rhel", "rhel"),
    ("rocky", "rocky-linux"),
    ("sles", "sles"),
    ("ubuntu", "ubuntu"),
    ("amazonlinux", "amazon-linux"),
    ("oraclelinux", "oracle-linux"),
    ("rockylinux", "rocky-linux"),
];

fn find(table: &[(&'static str, &'static str)], name: &str) -> Option<&'static str> {
    table.iter().find(|(known, _)| *known == name).map(|(_, product)| *product)
}

/// What an SBOM names, each once.
pub fn named(sbom: &Sbom) -> BTreeSet<Named> {
    let mut all = BTreeSet::new();
    if let Some((name, version)) = &sbom.system
        && let Some(product) = find(&SYSTEMS, name)
        && !version.is_empty()
    {
        all.insert(Named { product, version: version.clone(), is_system: true });
    }
    for purl in &sbom.purls {
        let Some(version) = purl.version.as_deref().filter(|version| !version.is_empty()) else { continue };
        let product = match (purl.kind.as_str(), purl.namespace.as_deref()) {
            ("generic", None) => find(&RUNTIMES, &purl.name),
            ("golang", None) if purl.name == "stdlib" => Some("go"),
            _ => None,
        };
        if let Some(product) = product {
            let version = version.trim_start_matches("go").trim_start_matches('v').to_owned();
            all.insert(Named { product, version, is_system: false });
        }
    }
    all
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dependency::sbom;

    const SPDX: &[u8] = include_bytes!("../../../tests/fixtures/sboms/shop-of-six-ecosystems.spdx.json");
    const CYCLONEDX: &[u8] = include_bytes!("../../../tests/fixtures/sboms/shop-of-six-ecosystems.cyclonedx.json");

    #[test]
    fn runtimes_and_the_system_of_a_real_image_are_found() {
        for bytes in [SPDX, CYCLONEDX] {
            let all: Vec<String> = named(&sbom::read(bytes).unwrap())
                .into_iter()
                .map(|named| {
                    format!("{} {}{}", named.product, named.version, if named.is_system { " (system)" } else { "" })
                })
                .collect();
            assert_eq!(all, ["debian 11 (system)", "go 1.26.8", "nodejs 20.20.2"]);
        }
    }

    #[test]
    fn packages_of_real_sboms_are_found() {
        for bytes in [SPDX, CYCLONEDX] {
            let sbom = sbom::read(bytes).unwrap();
            let mut packages: Vec<String> =
                sbom.purls.iter().filter_map(|purl| purl.package().map(|package| package.to_string())).collect();
            packages.sort();
            assert_eq!(
                packages,
                [
                    "cargo:itoa 0.4.0",
                    "cargo:serde 1.0.100",
                    "go:github.com/google/uuid v1.3.0",
                    "go:golang.org/x/mod v0.12.0",
                    "go:shop.example/checkout",
                    "maven:com.google.guava:guava 31.1-jre",
                    "npm:@babel/runtime 7.20.0",
                    "npm:left-pad 1.1.0",
                    "npm:lodash 4.17.15",
                    "npm:regenerator-runtime 0.13.11",
                    "npm:shop 1.0.0",
                    "pypi:idna 2.10",
                    "pypi:requests 2.25.0",
                ]
            );
            assert_eq!(sbom.wrong_purls, 0);
        }
    }
}
