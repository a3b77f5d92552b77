//! Who is measured.

/// A server that was started for it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Candidate {
    /// What it is called, with its version.
    pub name: String,
    /// Where it listens.
    pub port: u16,
    /// The process that all of it comes from.
    pub process: u32,
    /// What each request to it carries besides the key: lines that end in CR LF.
    pub headers: String,
}

impl Candidate {
    /// From fields between tabs: name, port, process, and any number of headers.
    pub fn parse(line: &str) -> Option<Self> {
        let mut fields = line.split('\t');
        Some(Self {
            name: fields.next()?.to_owned(),
            port: fields.next()?.parse().ok()?,
            process: fields.next()?.parse().ok()?,
            headers: fields.map(|header| format!("{header}\r\n")).collect(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_is_a_candidate() {
        let candidate = Candidate::parse("nginx 1.22\t8080\t17\tx-a: 1\tx-b: 2").unwrap();
        assert_eq!((candidate.port, candidate.process), (8080, 17));
        assert_eq!(candidate.headers, "x-a: 1\r\nx-b: 2\r\n");
        assert_eq!(Candidate::parse("nginx\tport\t17"), None);
    }
}
