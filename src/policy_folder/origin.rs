//! Whose a file is. Names come from `/etc/passwd` alone: a directory service may hang, and then nothing would start.

use std::os::unix::fs::MetadataExt as _;
use std::path::Path;

use chrono::{DateTime, Utc};

use crate::exception::file::Origin;

/// The owner of a file, and when it was last changed.
pub(super) fn of(path: &Path) -> std::io::Result<Origin> {
    let metadata = std::fs::metadata(path)?;
    let passwd = std::fs::read_to_string("/etc/passwd").unwrap_or_default();
    let uid = metadata.uid().to_string();
    let owner = name_of(&uid, &passwd).map_or(uid.clone(), str::to_owned);
    Ok(Origin { owner, modified_at: DateTime::<Utc>::from(metadata.modified()?) })
}

/// The name of a user in the form of `passwd(5)`.
fn name_of<'a>(uid: &str, passwd: &'a str) -> Option<&'a str> {
    passwd.lines().find_map(|line| {
        let mut fields = line.split(':');
        let (name, of) = (fields.next()?, fields.nth(1)?);
        (of == uid && !name.is_empty()).then_some(name)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_user_is_found_by_number() {
        let passwd = "root:x:0:0:root:/root:/bin/sh\nann:x:1000:1000::/home/ann:\n:x:7::\nbroken\n";
        assert_eq!(name_of("1000", passwd), Some("ann"));
        for unknown in ["1", "7", "x", ""] {
            assert_eq!(name_of(unknown, passwd), None, "{unknown}");
        }
    }

    #[test]
    fn a_files_owner_and_time_are_the_systems() {
        let file = tempfile::NamedTempFile::new().unwrap();
        let origin = of(file.path()).unwrap();
        assert!(!origin.owner.is_empty());
        let stat = std::process::Command::new("stat").args(["-c", "%Y"]).arg(file.path()).output().unwrap();
        assert_eq!(String::from_utf8(stat.stdout).unwrap().trim(), origin.modified_at.timestamp().to_string());
    }
}
