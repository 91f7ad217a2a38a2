//! The data types of the SSH protocols (RFC 4251, section 5), as far as keys and agents use them.

/// Reads one field after the other; nothing is copied.
#[derive(Clone, Copy)]
pub(super) struct Fields<'a>(&'a [u8]);

impl<'a> Fields<'a> {
    pub(super) const fn new(bytes: &'a [u8]) -> Self {
        Self(bytes)
    }

    pub(super) const fn rest(&self) -> &'a [u8] {
        self.0
    }

    pub(super) const fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub(super) fn byte(&mut self) -> Option<u8> {
        let (byte, rest) = self.0.split_first()?;
        self.0 = rest;
        Some(*byte)
    }

    pub(super) fn uint32(&mut self) -> Option<u32> {
        let (bytes, rest) = self.0.split_first_chunk()?;
        self.0 = rest;
        Some(u32::from_be_bytes(*bytes))
    }

    /// A length and that many bytes.
    pub(super) fn string(&mut self) -> Option<&'a [u8]> {
        let length = usize::try_from(self.uint32()?).ok()?;
        let (string, rest) = self.0.split_at_checked(length)?;
        self.0 = rest;
        Some(string)
    }

    /// A number that is not negative, without the zero that may lead it.
    pub(super) fn unsigned(&mut self) -> Option<&'a [u8]> {
        let digits = self.string()?;
        match digits.first() {
            Some(0x80..) => None,
            Some(0) => digits.get(1..),
            _ => Some(digits),
        }
    }
}

/// Appends a length and the bytes.
pub(super) fn put_string(buffer: &mut Vec<u8>, bytes: &[u8]) {
    // nothing here comes near 4 GiB: frames, keys and comments are all bounded
    buffer.extend_from_slice(&u32::try_from(bytes.len()).unwrap_or(u32::MAX).to_be_bytes());
    buffer.extend_from_slice(bytes);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_what_was_written_and_nothing_more() {
        let mut bytes = Vec::new();
        put_string(&mut bytes, b"ssh");
        put_string(&mut bytes, b"");
        put_string(&mut bytes, &[0, 0x80]);
        put_string(&mut bytes, &[0x80]);
        let mut fields = Fields::new(&bytes);
        assert_eq!(fields.string(), Some(&b"ssh"[..]));
        assert_eq!(fields.string(), Some(&b""[..]));
        assert_eq!(fields.unsigned(), Some(&[0x80][..]));
        assert_eq!(fields.unsigned(), None, "a negative number");
        assert!(fields.is_empty());
        assert_eq!(fields.byte(), None);
    }

    #[test]
    fn a_length_beyond_the_end_reads_nothing() {
        for bytes in [&[][..], &[0, 0, 0], &[0, 0, 0, 2, b'x'], &[0xff, 0xff, 0xff, 0xff, b'x']] {
            assert_eq!(Fields::new(bytes).string(), None, "{bytes:?}");
        }
    }
}
