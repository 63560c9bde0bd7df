//! How long the entries of the kernel's tables are.

use thiserror::Error;

/// Sizes of table entries, where the kernel at hand differs from the usual ones.
///
/// Entries of `.altinstructions` (12 to 14 bytes), `__jump_table` (16 or 24) and `__bug_table`
/// (12, or 16 where they hold a format) are measured by their relocations when left out, and when
/// the relocations show another size than was told; so are those of `__ex_table` (12, or 8 before
/// 4.6) when left out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct EntrySizes {
    /// `struct alt_instr` (default: measured).
    pub altinstructions: Option<u64>,
    /// `struct jump_entry` (default: measured).
    pub jump_table: Option<u64>,
    /// `struct bug_entry` (default: measured).
    pub bug_table: Option<u64>,
    /// `struct exception_table_entry` (default: measured).
    pub ex_table: Option<u64>,
    /// `struct paravirt_patch_site` (default: 16).
    pub parainstructions: u64,
}

/// A line of a list of sizes that can't be used.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum EntrySizesError {
    #[error("line {line} is not NAME=BYTES")]
    NotAnAssignment { line: usize },
    #[error("line {line} names no size: `{name}` is unknown; leave it out")]
    UnknownName { line: usize, name: String },
    #[error("line {line} gives {size} bytes to `{name}`; known kernels have {known}")]
    UnknownSize {
        line: usize,
        name: String,
        size: u64,
        known: &'static str,
    },
}

impl Default for EntrySizes {
    fn default() -> Self {
        Self {
            altinstructions: None,
            jump_table: None,
            bug_table: None,
            ex_table: None,
            parainstructions: 16,
        }
    }
}

impl EntrySizes {
    /// Reads lines of the form `JUMP_STRUCT_SIZE=16`, as other builders keep them beside objects
    /// that were stripped of their debug information. Empty lines and `#` comments are skipped.
    ///
    /// The sizes of `.orc_unwind` and `.printk_index` entries are not needed: the first is
    /// measured, the second table is never carried.
    pub fn from_list(text: &str) -> Result<Self, EntrySizesError> {
        let mut sizes = Self::default();
        for (index, line) in text.lines().enumerate() {
            let line = line.trim();
            if !line.is_empty() && !line.starts_with('#') {
                sizes.assign(index + 1, line)?;
            }
        }
        Ok(sizes)
    }

    fn assign(&mut self, line: usize, assignment: &str) -> Result<(), EntrySizesError> {
        let (name, size) = assignment
            .split_once('=')
            .and_then(|(name, size)| Some((name.trim(), size.trim().parse::<u64>().ok()?)))
            .ok_or(EntrySizesError::NotAnAssignment { line })?;
        let known = match name {
            "ALT_STRUCT_SIZE" => "12 to 14",
            "JUMP_STRUCT_SIZE" => "16 or 24",
            "BUG_STRUCT_SIZE" => "8 to 24",
            "EX_STRUCT_SIZE" => "8 to 16",
            "PARA_STRUCT_SIZE" => "12 or 16",
            "STATIC_CALL_STRUCT_SIZE" => "8",
            "ORC_STRUCT_SIZE" => "4 to 8",
            "PRINTK_INDEX_STRUCT_SIZE" => "any",
            _ => {
                let name = name.to_owned();
                return Err(EntrySizesError::UnknownName { line, name });
            }
        };
        let sound = match name {
            "ALT_STRUCT_SIZE" => (12..=14).contains(&size),
            "JUMP_STRUCT_SIZE" => size == 16 || size == 24,
            "BUG_STRUCT_SIZE" => (8..=24).contains(&size),
            "EX_STRUCT_SIZE" => (8..=16).contains(&size),
            "PARA_STRUCT_SIZE" => size == 12 || size == 16,
            "STATIC_CALL_STRUCT_SIZE" => size == 8,
            "ORC_STRUCT_SIZE" => (4..=8).contains(&size),
            _ => true,
        };
        if !sound {
            let name = name.to_owned();
            return Err(EntrySizesError::UnknownSize {
                line,
                name,
                size,
                known,
            });
        }
        match name {
            "ALT_STRUCT_SIZE" => self.altinstructions = Some(size),
            "JUMP_STRUCT_SIZE" => self.jump_table = Some(size),
            "BUG_STRUCT_SIZE" => self.bug_table = Some(size),
            "EX_STRUCT_SIZE" => self.ex_table = Some(size),
            "PARA_STRUCT_SIZE" => self.parainstructions = size,
            _ => {}
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_list_of_sizes_is_read() {
        let sizes = EntrySizes::from_list("# 5.10\nJUMP_STRUCT_SIZE=16\n\nALT_STRUCT_SIZE=13\n");
        let expected = EntrySizes {
            altinstructions: Some(13),
            jump_table: Some(16),
            ..EntrySizes::default()
        };
        assert_eq!(sizes, Ok(expected));
    }

    #[test]
    fn what_no_kernel_uses_is_an_error() {
        let error = |text| EntrySizes::from_list(text).unwrap_err().to_string();
        assert_eq!(
            error("\nJUMP_STRUCT_SIZE=17"),
            "line 2 gives 17 bytes to `JUMP_STRUCT_SIZE`; known kernels have 16 or 24"
        );
        assert_eq!(error("JUMP"), "line 1 is not NAME=BYTES");
        assert_eq!(
            error("JUMPS=1"),
            "line 1 names no size: `JUMPS` is unknown; leave it out"
        );
    }
}
