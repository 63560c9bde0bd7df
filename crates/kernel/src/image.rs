//! Kernel images and module files as they lie on disk: unwrapped to plain ELF.

use std::borrow::Cow;

use thiserror::Error;

use crate::compression::{self, Compression, DecompressError};

/// Largest vmlinux that is unpacked, in bytes. A distribution's is 60 to 90 MB.
pub const VMLINUX_LIMIT: u64 = 512 << 20;

/// Largest module that is unpacked, in bytes. The largest of a distribution has about 20 MB.
pub const MODULE_LIMIT: u64 = 256 << 20;

const ELF_MAGIC: &[u8] = b"\x7fELF";

/// Why an image or a module file could not be unwrapped.
#[derive(Debug, Error)]
pub enum ImageError {
    #[error("neither a bzImage nor an ELF vmlinux: expected what lies in /boot as vmlinuz-RELEASE")]
    NotAKernel,
    #[error("the bzImage ends before its {what}")]
    Truncated { what: &'static str },
    #[error("the bzImage speaks boot protocol {major}.{minor}, 2.8 or newer is needed")]
    BootProtocol { major: u8, minor: u8 },
    #[error("unknown compression, the payload starts with {0}")]
    UnknownCompression(String),
    #[error("cannot unpack the {what}")]
    Decompress {
        what: &'static str,
        source: DecompressError,
    },
    #[error("the bzImage announces a vmlinux of {announced} bytes and holds {found}")]
    SizeMismatch { announced: u64, found: u64 },
    #[error(
        "the bzImage announces a vmlinux of {announced} bytes, at most {VMLINUX_LIMIT} are read"
    )]
    TooLarge { announced: u64 },
    #[error("the {0} unpacks to something that is not an ELF file")]
    NotElf(&'static str),
}

/// The ELF vmlinux of a kernel image: of a compressed bzImage (`/boot/vmlinuz-RELEASE`), or the
/// image itself if it is a bare vmlinux already.
///
/// The result has sections but no symbol table; see [`Kallsyms`](crate::kallsyms::Kallsyms).
pub fn vmlinux(vmlinuz: &[u8]) -> Result<Vec<u8>, ImageError> {
    if vmlinuz.starts_with(ELF_MAGIC) {
        return Ok(vmlinuz.to_vec());
    }
    let what = "kernel image";
    let payload = Payload::of_bzimage(vmlinuz)?;
    let announced = u64::from(payload.size);
    if announced > VMLINUX_LIMIT {
        return Err(ImageError::TooLarge { announced });
    }
    let found = compression::decompress(payload.compression, payload.stream, announced)
        .map_err(|source| ImageError::Decompress { what, source })?;
    if found.len() as u64 != announced {
        return Err(ImageError::SizeMismatch {
            announced,
            found: found.len() as u64,
        });
    }
    if !found.starts_with(ELF_MAGIC) {
        return Err(ImageError::NotElf(what));
    }
    Ok(found)
}

/// The ELF of a module file: `.ko` as it is, `.ko.xz`, `.ko.zst` and `.ko.gz` unpacked. The first
/// bytes decide, not the file's name.
pub fn decompress_module(bytes: &[u8]) -> Result<Cow<'_, [u8]>, ImageError> {
    if bytes.starts_with(ELF_MAGIC) {
        return Ok(Cow::Borrowed(bytes));
    }
    let what = "module";
    let compression = detect(bytes)?;
    let module = compression::decompress(compression, bytes, MODULE_LIMIT)
        .map_err(|source| ImageError::Decompress { what, source })?;
    if !module.starts_with(ELF_MAGIC) {
        return Err(ImageError::NotElf(what));
    }
    Ok(Cow::Owned(module))
}

fn detect(bytes: &[u8]) -> Result<Compression, ImageError> {
    Compression::detect(bytes)
        .ok_or_else(|| ImageError::UnknownCompression(hex::encode(&bytes[..bytes.len().min(8)])))
}

/// The compressed vmlinux inside a bzImage.
///
/// ```text
///  0x1f1  setup_sects     u8   sectors of real mode code, 0 means 4
///  0x202  "HdrS"
///  0x206  version         u16  0x0208: the payload fields are there
///  0x248  payload_offset  u32  from the start of the protected mode code
///  0x24c  payload_length  u32
///
///  (setup_sects + 1) * 512 + payload_offset:  stream | size of the vmlinux, u32
/// ```
///
/// The size is the stream's own last field with gzip, and appended by the kernel's build with
/// everything else (kernel: Documentation/arch/x86/boot.rst, scripts/Makefile.lib `size_append`).
struct Payload<'data> {
    compression: Compression,
    stream: &'data [u8],
    size: u32,
}

impl<'data> Payload<'data> {
    fn of_bzimage(image: &'data [u8]) -> Result<Self, ImageError> {
        if image.get(0x202..0x206) != Some(b"HdrS".as_slice()) {
            return Err(ImageError::NotAKernel);
        }
        let [minor, major] = array(image, 0x206, "boot protocol version")?;
        if (major, minor) < (2, 8) {
            return Err(ImageError::BootProtocol { major, minor });
        }
        let [setup_sects] = array(image, 0x1f1, "setup header")?;
        let sectors = if setup_sects == 0 {
            4
        } else {
            u64::from(setup_sects)
        };
        let offset = u64::from(u32::from_le_bytes(array(image, 0x248, "payload offset")?));
        let length = u64::from(u32::from_le_bytes(array(image, 0x24c, "payload length")?));
        let start = (sectors + 1) * 512 + offset;
        let range = (start as usize)..((start + length) as usize);
        let payload = image
            .get(range)
            .ok_or(ImageError::Truncated { what: "payload" })?;
        let (stream, size) = payload
            .split_last_chunk::<4>()
            .ok_or(ImageError::Truncated {
                what: "payload's size",
            })?;
        let compression = detect(payload)?;
        let stream = if compression == Compression::Gzip {
            payload
        } else {
            stream
        };
        Ok(Self {
            compression,
            stream,
            size: u32::from_le_bytes(*size),
        })
    }
}

fn array<const N: usize>(
    image: &[u8],
    offset: usize,
    what: &'static str,
) -> Result<[u8; N], ImageError> {
    image
        .get(offset..offset + N)
        .and_then(|bytes| bytes.try_into().ok())
        .ok_or(ImageError::Truncated { what })
}
