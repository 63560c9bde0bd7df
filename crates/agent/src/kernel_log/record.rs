//! A message as `/dev/kmsg` gives it (source: the kernel's Documentation/ABI/testing/dev-kmsg).
//!
//! ```text
//! 4,1205,98761234,-;WARNING: CPU: 1 PID: 812 at net/core/dev.c:1
//!  SUBSYSTEM=net
//! │ │    │        │
//! │ │    │        └ flags, and fields that later kernels may add
//! │ │    └ microseconds since the boot
//! │ └ sequence number
//! └ facility times eight plus level
//! ```

/// One message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Record {
    /// Whether the kernel wrote it, and no program.
    pub by_kernel: bool,
    /// Rises by one with each message of this boot.
    pub sequence: u64,
    /// Microseconds since the boot.
    pub micros: u64,
    /// One line, or more of them.
    pub text: String,
}

/// The messages in what one read brought: one, on a real kernel. What is none is left out.
pub fn records(bytes: &[u8]) -> impl Iterator<Item = Record> {
    // Lines that begin with a space tell of the message's device.
    let lines = bytes.split(|byte| *byte == b'\n');
    lines.filter_map(record)
}

fn record(line: &[u8]) -> Option<Record> {
    let at = line.iter().position(|byte| *byte == b';')?;
    let (prefix, text) = line.split_at(at);
    let mut fields = std::str::from_utf8(prefix).ok()?.split(',');
    let priority: u64 = fields.next()?.parse().ok()?;
    Some(Record {
        by_kernel: priority < 8,
        sequence: fields.next()?.parse().ok()?,
        micros: fields.next()?.parse().ok()?,
        text: unescaped(text.get(1..).unwrap_or_default()),
    })
}

/// Bytes that are no printable ASCII come as `\x0a`.
fn unescaped(text: &[u8]) -> String {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text;
    while let Some((first, after)) = rest.split_first() {
        match escape(rest) {
            Some(byte) => {
                bytes.push(byte);
                rest = &rest[4..];
            }
            None => {
                bytes.push(*first);
                rest = after;
            }
        }
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

fn escape(text: &[u8]) -> Option<u8> {
    let digits = text.get(..4)?.strip_prefix(b"\\x")?;
    let digits = std::str::from_utf8(digits).ok()?;
    if digits.bytes().all(|byte| byte.is_ascii_hexdigit()) {
        u8::from_str_radix(digits, 16).ok()
    } else {
        None
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn one(bytes: &[u8]) -> Record {
        let mut found = records(bytes);
        let record = found.next().unwrap();
        assert_eq!(found.next(), None);
        record
    }

    #[test]
    fn a_message_with_its_device_and_with_later_fields() {
        let bytes = b"6,339,5140900,-,caller=T812;NET: Registered protocol family 10\n \
                      SUBSYSTEM=net\n DEVICE=+net:lo\n";
        assert_eq!(
            one(bytes),
            Record {
                by_kernel: true,
                sequence: 339,
                micros: 5_140_900,
                text: "NET: Registered protocol family 10".to_owned(),
            }
        );
    }

    #[test]
    fn what_a_program_wrote_is_told_apart() {
        assert!(!one(b"12,1,2,-;WARNING: CPU: 0\n").by_kernel);
        assert!(one(b"4,1,2,-;WARNING: CPU: 0\n").by_kernel);
    }

    #[test]
    fn escapes_become_what_they_stand_for() {
        assert_eq!(
            one(b"4,1,2,-;a\\x0ab \\x5c \\xc3\\xa9 \\xzz\n").text,
            "a\nb \\ é \\xzz"
        );
    }

    proptest! {
        #[test]
        fn any_bytes_are_read_without_harm(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
            for record in records(&bytes) {
                prop_assert!(record.text.len() <= 3 * bytes.len());
            }
        }
    }
}
