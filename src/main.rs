//! The `freshgate` program: everything is in the library.

fn main() {}
