//! For `benches/run.sh`: makes the image layout of the load, or measures one fdatasync of the disk.
//!
//! Usage: `bench_images DIR`, or `bench_images --fdatasync DIR` (prints the median of 500 in microseconds)
#![allow(clippy::unwrap_used, missing_docs)]

#[path = "../tests/cluster/image.rs"]
#[allow(dead_code)]
mod image;

use std::io::Write as _;
use std::path::Path;
use std::time::Instant;

use chrono::{TimeDelta, Utc};

fn main() {
    let args: Vec<String> = std::env::args().skip(1).collect();
    if args[0] == "--fdatasync" {
        println!("{}", fdatasync_us(Path::new(&args[1])));
        return;
    }
    let image =
        |name: &str, age: i64| image::Config::created(name, &(Utc::now() - TimeDelta::days(age)).to_rfc3339()).image();
    let (old, new) = (image("old", 30), image("new", 3));
    image::write_layout(Path::new(&args[0]), &[("shop/checkout:3.0", &old), ("shop/checkout:3.1", &new)]);
}

/// Appends what a record is long, and waits for the disk.
fn fdatasync_us(folder: &Path) -> u128 {
    let mut file = std::fs::File::create(folder.join("fdatasync")).unwrap();
    let line = [b'x'; 3_000];
    let mut took: Vec<u128> = (0..500)
        .map(|_| {
            let began = Instant::now();
            file.write_all(&line).unwrap();
            file.sync_data().unwrap();
            began.elapsed().as_micros()
        })
        .collect();
    took.sort_unstable();
    took[took.len() / 2]
}
