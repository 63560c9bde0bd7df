//! Kernel images and modules in each compression.

use std::borrow::Cow;
use std::io::Write;

use suture_kernel::DecompressError;
use suture_kernel::image::{ImageError, decompress_module, vmlinux};

use crate::elf_file;

/// A bzImage of protocol 2.15 with this payload.
pub fn bzimage(payload: &[u8]) -> Vec<u8> {
    let mut image = vec![0; 0x800];
    image[0x1f1] = 1;
    image[0x202..0x206].copy_from_slice(b"HdrS");
    image[0x206..0x208].copy_from_slice(&[15, 2]);
    image[0x248..0x24c].copy_from_slice(&0x400_u32.to_le_bytes());
    image[0x24c..0x250].copy_from_slice(&(payload.len() as u32).to_le_bytes());
    image.extend(payload);
    image.extend(b"code that unpacks");
    image
}

/// A stream with the size behind it, as the kernel's build appends it.
fn with_size(mut stream: Vec<u8>, elf: &[u8]) -> Vec<u8> {
    stream.extend((elf.len() as u32).to_le_bytes());
    stream
}

fn gzip(data: &[u8]) -> Vec<u8> {
    let mut writer = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::best());
    writer.write_all(data).unwrap();
    writer.finish().unwrap()
}

fn bzip2(data: &[u8]) -> Vec<u8> {
    let mut writer = bzip2::write::BzEncoder::new(Vec::new(), bzip2::Compression::best());
    writer.write_all(data).unwrap();
    writer.finish().unwrap()
}

fn lzma(data: &[u8]) -> Vec<u8> {
    let options = lzma_rust2::LzmaOptions::with_preset(1);
    let mut writer = lzma_rust2::LzmaWriter::new_use_header(Vec::new(), &options, None).unwrap();
    writer.write_all(data).unwrap();
    writer.finish().unwrap()
}

/// As the kernel's `xz_wrap.sh`: filter for x86 code, CRC32.
fn xz(data: &[u8]) -> Vec<u8> {
    let mut options = lzma_rust2::XzOptions::with_preset(1);
    options.set_check_sum_type(lzma_rust2::CheckType::Crc32);
    options.prepend_pre_filter(lzma_rust2::FilterType::BcjX86, 0);
    let mut writer = lzma_rust2::XzWriter::new(Vec::new(), options).unwrap();
    writer.write_all(data).unwrap();
    writer.finish().unwrap()
}

/// As `lz4 -l`.
fn lz4(data: &[u8]) -> Vec<u8> {
    let block = lz4_flex::block::compress(data);
    let mut frame = 0x184c_2102_u32.to_le_bytes().to_vec();
    frame.extend((block.len() as u32).to_le_bytes());
    frame.extend(block);
    frame
}

fn zstd(data: &[u8]) -> Vec<u8> {
    ruzstd::encoding::compress_to_vec(data, ruzstd::encoding::CompressionLevel::Fastest)
}

/// Every payload that a bzImage may hold, with its compression's name.
pub fn payloads(elf: &[u8]) -> Vec<(&'static str, Vec<u8>)> {
    vec![
        ("gzip", gzip(elf)),
        ("bzip2", with_size(bzip2(elf), elf)),
        ("lzma", with_size(lzma(elf), elf)),
        ("xz", with_size(xz(elf), elf)),
        ("lz4", with_size(lz4(elf), elf)),
        ("zstd", with_size(zstd(elf), elf)),
    ]
}

#[test]
fn every_compression_gives_the_same_vmlinux() {
    let elf = elf_file::vmlinux(b"read only data");
    for (name, payload) in payloads(&elf) {
        assert_eq!(vmlinux(&bzimage(&payload)).expect(name), elf, "{name}");
    }
}

#[test]
fn a_bare_vmlinux_passes_as_it_is() {
    let elf = elf_file::vmlinux(b"");
    assert_eq!(vmlinux(&elf).unwrap(), elf);
}

#[test]
fn lzo_is_refused_by_name() {
    let payload = with_size(b"\x89LZO\0\r\n\x1a\n".to_vec(), b"");
    let error = vmlinux(&bzimage(&payload)).unwrap_err();
    let ImageError::Decompress { source, .. } = error else {
        panic!("{error}")
    };
    assert!(
        source
            .to_string()
            .starts_with("lzo compression is not supported"),
        "{source}"
    );
}

#[test]
fn a_payload_that_unpacks_to_another_size_is_refused() {
    let elf = elf_file::vmlinux(b"");
    let mut payload = xz(&elf);
    payload.extend((elf.len() as u32 + 1).to_le_bytes());
    let error = vmlinux(&bzimage(&payload)).unwrap_err();
    assert!(matches!(error, ImageError::SizeMismatch { .. }), "{error}");
}

#[test]
fn a_bomb_stops_at_the_announced_size() {
    let mut payload = gzip(&vec![0; 8 << 20]);
    let size = payload.len() - 4;
    payload[size..].copy_from_slice(&1000_u32.to_le_bytes());
    let error = vmlinux(&bzimage(&payload)).unwrap_err();
    let ImageError::Decompress { source, .. } = error else {
        panic!("{error}")
    };
    assert!(
        matches!(source, DecompressError::TooLarge { limit: 1000, .. }),
        "{source}"
    );
}

#[test]
fn what_is_no_kernel_is_told_apart() {
    let elf = elf_file::vmlinux(b"");
    let image = bzimage(&payloads(&elf)[3].1);
    assert!(matches!(
        vmlinux(b"PE or text"),
        Err(ImageError::NotAKernel)
    ));
    let cut = &image[..image.len() - 100];
    assert!(matches!(
        vmlinux(cut),
        Err(ImageError::Truncated { what: "payload" })
    ));
    let mut old = image.clone();
    old[0x206] = 7;
    assert!(matches!(
        vmlinux(&old),
        Err(ImageError::BootProtocol { major: 2, minor: 7 })
    ));
    let huge = bzimage(b"\xfd7zXZ\0 more \xff\xff\xff\xff");
    assert!(matches!(
        vmlinux(&huge),
        Err(ImageError::TooLarge {
            announced: 0xffff_ffff
        })
    ));
    let text = bzimage(&gzip(b"a text"));
    assert!(matches!(vmlinux(&text), Err(ImageError::NotElf(_))));
}

#[test]
fn modules_are_unpacked_by_their_first_bytes() {
    let elf = elf_file::vmlinux(b"");
    assert!(matches!(decompress_module(&elf).unwrap(), Cow::Borrowed(_)));
    for packed in [xz(&elf), zstd(&elf), gzip(&elf)] {
        assert_eq!(decompress_module(&packed).unwrap(), elf);
    }
    let error = decompress_module(b"not a module").unwrap_err();
    assert_eq!(
        error.to_string(),
        "unknown compression, the payload starts with 6e6f742061206d6f"
    );
}
