//! Which versions a `go.mod` takes back: `retract v1.0.0`, `retract [v1.0.0, v1.2.0]`, or a block of either.

use super::super::Withdrawn;

/// Most stretches of versions that are read.
const MOST_STRETCHES: usize = 1_000;

/// The stretches that a `go.mod` takes back. A line that cannot be read takes nothing back.
pub fn retracted(go_mod: &str) -> Vec<Withdrawn> {
    let (mut stretches, mut in_block) = (Vec::new(), false);
    for line in go_mod.lines() {
        let line = line.split("//").next().unwrap_or_default().trim();
        let rest = match line.strip_prefix("retract") {
            _ if in_block && line == ")" => {
                in_block = false;
                continue;
            }
            _ if in_block => line,
            Some(rest) if rest.trim() == "(" => {
                in_block = true;
                continue;
            }
            Some(rest) if rest.starts_with([' ', '\t', '[']) => rest.trim(),
            _ => continue,
        };
        stretches.extend(stretch(rest));
        if stretches.len() >= MOST_STRETCHES {
            break;
        }
    }
    stretches
}

fn stretch(text: &str) -> Option<Withdrawn> {
    let (from, to) = match text.strip_prefix('[') {
        Some(rest) => rest.strip_suffix(']')?.split_once(',')?,
        None => (text, text),
    };
    let version = |text: &str| text.trim().trim_matches(['"', '`']).to_owned();
    let (from, to) = (version(from), version(to));
    (from.starts_with('v') && to.starts_with('v')).then_some(Withdrawn { from, to })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_module_says_what_it_takes_back() {
        let text = "module example.com/x // retract v9.0.0\n\ngo 1.21\n\nretract v1.0.1 // it was a mistake\n\
            retract [v1.1.0, v1.2.0]\nretract (\n\tv1.3.0\n\t// all of these\n\t[v2.0.0+incompatible, v2.0.7+incompatible] // no\n)\n\
            require (\n\tv8.example/x v1.0.0\n)\nretracted v7.0.0\nretract [v6.0.0\n";
        let found: Vec<(String, String)> = retracted(text).into_iter().map(|one| (one.from, one.to)).collect();
        let expected = [
            ("v1.0.1", "v1.0.1"),
            ("v1.1.0", "v1.2.0"),
            ("v1.3.0", "v1.3.0"),
            ("v2.0.0+incompatible", "v2.0.7+incompatible"),
        ];
        assert_eq!(found, expected.map(|(from, to)| (from.to_owned(), to.to_owned())));
    }
}
