//! Finding the grant of an exception again, after a gate ended between admitting it and signing it.

use super::query::{QueryFilter, ReadError, query};
use super::record::granted_by;
use crate::exception::book::LookUp;
use crate::exception::signature::Granted;
use crate::store::StoreLocation;

/// Records of one name that are looked through, the newest first; a name is rarely used twice.
const MOST_RECORDS: usize = 200;

/// The grant of this object and spec, where a record shows one.
pub async fn find_grant(location: &StoreLocation, asked: &LookUp) -> Result<Option<Granted>, ReadError> {
    let filter = QueryFilter {
        namespace: Some(String::new()),
        name: Some(asked.name.clone()),
        decision: Some("allow".to_owned()),
        limit: Some(MOST_RECORDS),
        ..QueryFilter::default()
    };
    let records = query(location, &filter).await?;
    Ok(records.iter().find_map(|record| granted_by(&record.line, asked)))
}
