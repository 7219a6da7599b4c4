//! What happened, line by line: a hash of it, and the lines themselves where somebody wants to read them.

/// The trace of one run.
pub struct Trace {
    hash: u64,
    print: bool,
}

impl Trace {
    /// An empty trace; `print` writes each line as it comes.
    pub fn new(print: bool) -> Trace {
        Trace { hash: 0xcbf2_9ce4_8422_2325, print }
    }

    /// Adds a line.
    pub fn add(&mut self, at_ms: i64, line: impl FnOnce() -> String) {
        let line = line();
        // FNV-1a.
        for byte in at_ms.to_le_bytes().iter().chain(line.as_bytes()) {
            self.hash = (self.hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3);
        }
        if self.print {
            println!("{:>9.3} {line}", at_ms as f64 / 1000.0);
        }
    }

    /// The hash of all lines.
    pub fn hash(&self) -> u64 {
        self.hash
    }
}
