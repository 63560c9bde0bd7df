//! Relocation types of x86-64 that kernel code uses (source: System V ABI, AMD64 supplement,
//! table 4.9).

const R_X86_64_NONE: u32 = 0;
const R_X86_64_64: u32 = 1;
const R_X86_64_PC32: u32 = 2;
const R_X86_64_PLT32: u32 = 4;
const R_X86_64_32: u32 = 10;
const R_X86_64_32S: u32 = 11;
const R_X86_64_PC64: u32 = 24;

/// The shape of a relocated field.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Field {
    None,
    Absolute64,
    Relative64,
    Relative32,
    Unsigned32,
    Signed32,
}

/// The field of a relocation type, or a sentence for one that is not known.
pub(crate) fn field(r_type: u32) -> Result<Field, String> {
    match r_type {
        R_X86_64_NONE => Ok(Field::None),
        R_X86_64_64 => Ok(Field::Absolute64),
        R_X86_64_PC64 => Ok(Field::Relative64),
        R_X86_64_PC32 | R_X86_64_PLT32 => Ok(Field::Relative32),
        R_X86_64_32 => Ok(Field::Unsigned32),
        R_X86_64_32S => Ok(Field::Signed32),
        other => Err(format!("it has a relocation of the unknown type {other}")),
    }
}

/// PLT32 and PC32 mean the same in the kernel, which has no PLT.
pub(crate) fn same_type(left: u32, right: u32) -> bool {
    left == right || (field(left) == Ok(Field::Relative32) && field(right) == Ok(Field::Relative32))
}

impl Field {
    /// Bytes.
    pub fn width(self) -> usize {
        match self {
            Self::None => 0,
            Self::Absolute64 | Self::Relative64 => 8,
            Self::Relative32 | Self::Unsigned32 | Self::Signed32 => 4,
        }
    }

    /// Counts from the field's own place.
    pub fn is_relative(self) -> bool {
        matches!(self, Self::Relative32 | Self::Relative64)
    }

    /// The field's value, extended to 64 bits.
    pub fn read(self, bytes: &[u8]) -> Option<u64> {
        match self {
            Self::None => Some(0),
            Self::Absolute64 | Self::Relative64 => {
                Some(u64::from_le_bytes(*bytes.first_chunk::<8>()?))
            }
            Self::Unsigned32 => Some(u64::from(u32::from_le_bytes(*bytes.first_chunk::<4>()?))),
            Self::Relative32 | Self::Signed32 => {
                let value = i32::from_le_bytes(*bytes.first_chunk::<4>()?);
                Some(i64::from(value).cast_unsigned())
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_are_extended_as_the_linker_means_them() {
        let bytes = [0xff, 0xff, 0xff, 0xff, 0, 0, 0, 0x80];
        assert_eq!(Field::Signed32.read(&bytes), Some(u64::MAX));
        assert_eq!(Field::Unsigned32.read(&bytes), Some(0xffff_ffff));
        assert_eq!(Field::Absolute64.read(&bytes), Some(0x8000_0000_ffff_ffff));
        assert_eq!(Field::Relative32.read(&bytes[..3]), None);
    }

    #[test]
    fn an_unknown_type_is_refused() {
        assert!(field(9).is_err());
        assert!(same_type(2, 4) && !same_type(2, 11));
    }
}
