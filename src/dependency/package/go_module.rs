//! Paths of Go's modules: from the second major on it stands in the path, so the next major is a module of its own.

/// The same module at another major, by the path of one; `None` for a path that holds no major where it should.
///
/// Below the second the path has none, but for `gopkg.in/yaml.v3`, which always has one.
pub fn at_major(path: &str, major: u64) -> Option<String> {
    if path.starts_with("gopkg.in/") {
        let (name, number) = path.rsplit_once(".v")?;
        number.parse::<u64>().ok()?;
        return Some(format!("{name}.v{major}"));
    }
    let name = split(path).0;
    Some(if major < 2 { name.to_owned() } else { format!("{name}/v{major}") })
}

/// The major that a path is of; 1 for one that holds none.
pub fn major(path: &str) -> u64 {
    if path.starts_with("gopkg.in/") {
        return path.rsplit_once(".v").and_then(|(_, number)| number.parse().ok()).unwrap_or(1);
    }
    split(path).1.unwrap_or(1)
}

/// The path without its major, and the major.
fn split(path: &str) -> (&str, Option<u64>) {
    match path.rsplit_once("/v") {
        Some((name, number)) => match number.parse::<u64>() {
            Ok(major) if major >= 2 && !number.starts_with('0') => (name, Some(major)),
            _ => (path, None),
        },
        None => (path, None),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_next_major_has_a_path_of_its_own() {
        for (path, of, next) in [
            ("github.com/cespare/xxhash", 1, "github.com/cespare/xxhash/v2"),
            ("github.com/cespare/xxhash/v2", 2, "github.com/cespare/xxhash/v3"),
            ("example.com/x/v9", 9, "example.com/x/v10"),
            ("example.com/v1/x", 1, "example.com/v1/x/v2"),
            ("example.com/x/v1", 1, "example.com/x/v1/v2"),
            ("example.com/x/vendor", 1, "example.com/x/vendor/v2"),
            ("gopkg.in/yaml.v3", 3, "gopkg.in/yaml.v4"),
            ("gopkg.in/yaml.v1", 1, "gopkg.in/yaml.v2"),
        ] {
            assert_eq!(major(path), of, "{path}");
            assert_eq!(at_major(path, of + 1).as_deref(), Some(next), "{path}");
            assert_eq!(at_major(next, of).as_deref(), Some(path), "{next}");
        }
        assert_eq!(at_major("gopkg.in/yaml", 2), None);
    }
}
