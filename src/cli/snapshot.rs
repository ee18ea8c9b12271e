//! `freshgate snapshot`: what indexes say of the packages of some images, in a file for where none may be asked.

use std::collections::{BTreeMap, BTreeSet};
use std::io::Read as _;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use chrono::{DateTime, Utc};
use futures::{StreamExt as _, stream};
use tokio::time::Instant;

use super::output::{print, print_lines, progress, say};
use super::{Failure, OK};
use crate::args::SnapshotArgs;
use crate::clock;
use crate::dependency::contents::{Asked, LookInto};
use crate::dependency::end_of_life::named::{Named, named};
use crate::dependency::finding::NotLookedUp;
use crate::dependency::index::indexes::{Indexes, LookUp};
use crate::dependency::index::snapshot::Snapshot;
use crate::dependency::package::{Package, PackageName, Purl};
use crate::dependency::sbom::{self, Sbom};
use crate::evidence::Fact;
use crate::image::resolver::facts::NoStore;
use crate::image::resolver::{Request, Resolver};

/// Packages that are looked up side by side; each index has its own pace beside that.
const LOOK_UPS_AT_ONCE: usize = 16;

/// What some images hold.
#[derive(Default)]
struct Inventory {
    packages: BTreeSet<Package>,
    products: BTreeSet<Named>,
    not_looked_up: Vec<NotLookedUp>,
}

pub async fn snapshot(args: SnapshotArgs) -> Result<u8, Failure> {
    let Some(indexes) = crate::run::indexes::indexes(&args.indexes).await.map_err(Failure::of)? else {
        return Err(Failure::new("--indexes is missing: no index is built in")
            .hint("write a YAML file that names the indexes, and give it with --indexes FILE"));
    };
    let resolver = crate::run::resolver(&args.registries, Arc::new(NoStore)).map_err(Failure::of)?;
    let within = Duration::from_secs(args.timeout_seconds);
    let now = clock::now();
    let mut inventory = inventory(&args, &resolver, &indexes, within, now).await?;
    if args.indexes.show_lookups {
        let products = inventory.products.iter().map(|named| named.product).collect();
        let (look_ups, not_asked) = indexes.look_ups(&inventory.packages, &products);
        for (name, why) in not_asked {
            inventory.not_looked_up.push(NotLookedUp { what: name.to_string(), why: why.to_string() });
        }
        say_what_is_missing(&inventory.not_looked_up);
        print_lines(&shown(&look_ups))?;
        return Ok(OK);
    }
    let snapshot = take(&indexes, &mut inventory, within, now).await;
    say_what_is_missing(&inventory.not_looked_up);
    let text = serde_json::to_string(&snapshot).map_err(|error| {
        Failure::new(format!("the snapshot cannot be written as JSON: {error}; report this as a bug"))
    })?;
    match &args.out {
        None => print(&(text + "\n"))?,
        Some(path) => std::fs::write(path, text + "\n")
            .map_err(|error| Failure::new(format!("the snapshot cannot be written to {}: {error}", path.display())))?,
    }
    Ok(OK)
}

/// What would be asked, a line each.
pub fn shown(look_ups: &[LookUp]) -> Vec<String> {
    let line = |look_up: &LookUp| {
        let or_else = if look_up.or_else { "  (where those before have no answer, or for a date)" } else { "" };
        format!("{}  {}{or_else}", look_up.about, look_up.address)
    };
    look_ups.iter().map(line).collect()
}

fn say_what_is_missing(missing: &[NotLookedUp]) {
    for one in missing {
        say("note", &format!("{} not looked up: {}", one.what, one.why));
    }
}

async fn inventory(
    args: &SnapshotArgs,
    resolver: &Resolver,
    indexes: &Indexes,
    within: Duration,
    now: DateTime<Utc>,
) -> Result<Inventory, Failure> {
    let mut inventory = Inventory::default();
    for path in &args.sbom {
        let sbom = read_sbom(path)?;
        inventory.products.extend(named(&sbom));
        let packages = sbom.purls.iter().filter(|purl| purl.origin.is_none()).filter_map(Purl::package);
        inventory.packages.extend(packages);
    }
    let mut images = args.image.clone();
    if let Some(path) = &args.images {
        images.extend(read_images(path)?);
    }
    let look_into = LookInto::new(resolver, indexes, within);
    let bar = progress(Some(images.len() as u64), "reading bills of materials");
    for image in &images {
        let request = Request { credentials: None, platforms: &[], now, deadline: Instant::now() + within };
        match resolver.resolve(image, request).await {
            Fact::Unknown(unknown) => {
                let what = format!("packages of {image}");
                inventory.not_looked_up.push(NotLookedUp { what, why: unknown.detail });
            }
            Fact::Known(found) => {
                let asked = Asked { written: image, digest: &found.digest, credentials: None, platforms: &[] };
                let (packages, products, findings) = look_into.inventory(asked, now).await;
                inventory.packages.extend(packages);
                inventory.products.extend(products);
                inventory.not_looked_up.extend(findings.not_looked_up);
            }
        }
        bar.inc(1);
    }
    bar.finish_and_clear();
    Ok(inventory)
}

async fn take(indexes: &Indexes, inventory: &mut Inventory, within: Duration, now: DateTime<Utc>) -> Snapshot {
    let mut used: BTreeMap<&PackageName, Vec<&Package>> = BTreeMap::new();
    for package in &inventory.packages {
        used.entry(&package.name).or_default().push(package);
    }
    let bar = progress(Some(used.len() as u64), "asking indexes");
    let look_ups = used.iter().map(|(name, packages)| {
        let bar = &bar;
        async move {
            // Without any version it would be compared with nothing.
            let found = if packages.iter().any(|package| !package.version.is_empty()) {
                Some(indexes.releases(name, packages, now, Instant::now() + within).await)
            } else {
                None
            };
            bar.inc(1);
            ((*name).clone(), found)
        }
    });
    let mut found: Vec<_> = stream::iter(look_ups).buffer_unordered(LOOK_UPS_AT_ONCE).collect().await;
    bar.finish_and_clear();
    found.sort_by(|(one, _), (other, _)| one.cmp(other));
    let mut snapshot = Snapshot::new(now);
    for (name, releases) in found {
        match releases {
            Some(Ok(releases)) => snapshot.add(&name, releases),
            Some(Err(why)) => {
                inventory.not_looked_up.push(NotLookedUp { what: name.to_string(), why: why.to_string() });
            }
            None => {}
        }
    }
    if indexes.knows_ends() {
        let products: BTreeSet<&str> = inventory.products.iter().map(|named| named.product).collect();
        for product in products {
            match indexes.product(product, now, Instant::now() + within).await {
                Ok(found) => {
                    snapshot.end_of_life.insert(product.to_owned(), found.found);
                }
                Err(why) => {
                    let what = format!("end of life of {product}");
                    inventory.not_looked_up.push(NotLookedUp { what, why: why.to_string() });
                }
            }
        }
    }
    snapshot
}

fn read_sbom(path: &Path) -> Result<Sbom, Failure> {
    let bytes = std::fs::read(path)
        .map_err(|error| Failure::new(format!("the bill of materials {} cannot be read: {error}", path.display())))?;
    sbom::read(&bytes).map_err(|error| {
        Failure::new(format!("{} is no bill of materials: {error}", path.display()))
            .hint("give a document of SPDX 2 or CycloneDX in JSON")
    })
}

fn read_images(path: &Path) -> Result<Vec<String>, Failure> {
    let failed = |error: std::io::Error| Failure::new(format!("the list {} cannot be read: {error}", path.display()));
    let text = if path == Path::new("-") {
        let mut text = String::new();
        std::io::stdin().read_to_string(&mut text).map_err(failed)?;
        text
    } else {
        std::fs::read_to_string(path).map_err(failed)?
    };
    let line = |line: &str| line.split('#').next().unwrap_or_default().trim().to_owned();
    Ok(text.lines().map(line).filter(|line| !line.is_empty()).collect())
}
