//! Who is told each record's line when it is durable, as it was hashed.

use std::fmt;
use std::sync::OnceLock;

type Told = Box<dyn Fn(&[u8]) + Send + Sync>;

/// One listener at most; it must not wait.
#[derive(Default)]
pub(super) struct Listener(OnceLock<Told>);

impl Listener {
    /// Has it told each line that is durable from now on. A second one has no effect.
    pub(super) fn set(&self, told: impl Fn(&[u8]) + Send + Sync + 'static) {
        let _ = self.0.set(Box::new(told));
    }

    /// Tells it these lines, where there is one.
    pub(super) fn tell<'a>(&self, lines: impl Iterator<Item = &'a [u8]>) {
        if let Some(told) = self.0.get() {
            lines.for_each(told);
        }
    }
}

impl fmt::Debug for Listener {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(if self.0.get().is_some() { "Listener(set)" } else { "Listener(none)" })
    }
}
