//! Measures, for the eye: records per second by how many ask at once.

use super::*;
use std::sync::Arc;
use std::time::Instant;

use freshgate::audit::chain::Chain;
use freshgate::audit::{import, verify};

#[tokio::test(flavor = "multi_thread")]
#[ignore = "a measurement: run it alone, with --nocapture"]
async fn records_per_second() {
    for concurrent in [1_u64, 8, 32, 256] {
        let place = Place::new();
        let (store, audit) = place.open().await;
        let audit = Arc::new(audit);
        let body = body(1);
        let begun = Instant::now();
        let until = begun + Duration::from_secs(3);
        let workers: Vec<_> = (0..concurrent)
            .map(|_| {
                let (audit, body) = (Arc::clone(&audit), body.clone());
                tokio::spawn(async move {
                    while Instant::now() < until {
                        audit.record(body.clone(), None).await.unwrap();
                    }
                })
            })
            .collect();
        for worker in workers {
            worker.await.unwrap();
        }
        let (elapsed_ms, counts) = (begun.elapsed().as_millis(), audit.counts());
        stored(&audit).await;
        let drained_ms = begun.elapsed().as_millis();
        let per_second = |count: u64, ms: u128| u128::from(count) * 1000 / ms;
        println!(
            "{concurrent:>3} at once: {:>6} records/s of {} bytes, {} per fdatasync, {} fdatasync/s; the store lagged {} records and took {} records/s",
            per_second(counts.records, elapsed_ms),
            counts.bytes / counts.records,
            counts.records / counts.writes,
            per_second(counts.writes, elapsed_ms),
            counts.unstored_records,
            per_second(counts.records, drained_ms),
        );
        close(store, Arc::into_inner(audit).unwrap()).await;
    }
}

/// Set `FRESHGATE_RECORDS` for another number than 100,000.
#[tokio::test]
#[ignore = "a measurement: run it alone, with --nocapture, and with --release for the figure that counts"]
async fn records_proven_per_second() {
    let count = std::env::var("FRESHGATE_RECORDS").ok().and_then(|count| count.parse().ok()).unwrap_or(100_000);
    let place = Place::new();
    let mut chain = Chain::new(uuid::Uuid::from_u128(1));
    let mut exported = Vec::new();
    for number in 1..=count {
        let mut line = Vec::new();
        chain.append(&body(number), &mut line).unwrap();
        exported.extend_from_slice(format!("{{\"hash\":\"{}\",\"record\":", chain.head()).as_bytes());
        exported.extend_from_slice(&line);
        exported.extend_from_slice(b"}\n");
    }
    let bytes = exported.len() as u64 / count;
    import(&mut exported.as_slice(), &place.location(), at(0)).await.unwrap();
    let begun = Instant::now();
    let report = verify(&place.location()).await.unwrap();
    let elapsed = begun.elapsed();
    assert_eq!((report.records, report.first_bad), (count, None));
    println!(
        "{count} records of {bytes} bytes proven in {} ms: {} ms for a million",
        elapsed.as_millis(),
        elapsed.as_millis() * 1_000_000 / u128::from(count)
    );
}
