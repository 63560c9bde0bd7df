//! `Module.symvers`: which object exports which symbol.

use std::collections::HashMap;

use thiserror::Error;

use crate::{InvalidName, ObjectName};

/// Most lines that are read. A distribution's kernel has 30,000.
const LINE_LIMIT: usize = 1 << 20;

/// Why a `Module.symvers` could not be read.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum SymversError {
    #[error(
        "Module.symvers line {line}: expected `CRC<tab>symbol<tab>module<tab>export<tab>namespace`"
    )]
    Malformed { line: usize },
    #[error("Module.symvers line {line} exports `{symbol}` a second time")]
    Duplicate { line: usize, symbol: String },
    #[error("Module.symvers line {line} names an impossible module")]
    Module { line: usize, source: InvalidName },
    #[error("Module.symvers has more than 1048576 lines")]
    TooLong,
}

/// One exported symbol.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Export {
    /// The checksum of its declaration (CONFIG_MODVERSIONS), 0 without.
    pub crc: u32,
    /// The exporting object, by the name it has in memory.
    pub module: ObjectName,
    /// Only modules under the GPL may use it (`EXPORT_SYMBOL_GPL`).
    pub gpl_only: bool,
    /// What a user must import (`MODULE_IMPORT_NS`), if anything.
    pub namespace: Option<String>,
}

/// All exports of one kernel build and its modules.
#[derive(Debug, Clone, Default)]
pub struct Symvers {
    exports: HashMap<String, Export>,
}

impl Symvers {
    /// Reads the file of a linux-headers package.
    pub fn parse(text: &str) -> Result<Self, SymversError> {
        let mut exports = HashMap::new();
        for (index, content) in text.lines().enumerate() {
            if index >= LINE_LIMIT {
                return Err(SymversError::TooLong);
            }
            let line = index + 1;
            let (symbol, export) = export(content, line)?;
            if exports.insert(symbol.to_owned(), export).is_some() {
                return Err(SymversError::Duplicate {
                    line,
                    symbol: symbol.to_owned(),
                });
            }
        }
        Ok(Self { exports })
    }

    /// Who exports a symbol, and to whom.
    pub fn exporter(&self, symbol: &str) -> Option<&Export> {
        self.exports.get(symbol)
    }

    pub fn len(&self) -> usize {
        self.exports.len()
    }

    pub fn is_empty(&self) -> bool {
        self.exports.is_empty()
    }
}

fn export(content: &str, line: usize) -> Result<(&str, Export), SymversError> {
    let malformed = || SymversError::Malformed { line };
    let mut fields = content.split('\t');
    let mut field = || fields.next().ok_or_else(malformed);
    let (crc, symbol, module, kind) = (field()?, field()?, field()?, field()?);
    let crc = crc.strip_prefix("0x").ok_or_else(malformed)?;
    let crc = u32::from_str_radix(crc, 16).map_err(|_| malformed())?;
    let module = object_name(module).map_err(|source| SymversError::Module { line, source })?;
    let gpl_only = match kind {
        "EXPORT_SYMBOL" => false,
        "EXPORT_SYMBOL_GPL" => true,
        _ => return Err(malformed()),
    };
    let namespace = fields
        .next()
        .filter(|name| !name.is_empty())
        .map(str::to_owned);
    Ok((
        symbol,
        Export {
            crc,
            module,
            gpl_only,
            namespace,
        },
    ))
}

/// The name in memory of `vmlinux` or of a path like `fs/ext4/ext4`.
fn object_name(path: &str) -> Result<ObjectName, InvalidName> {
    path.rsplit('/').next().unwrap_or(path).parse()
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = "0x7b4da6ff\t__scsi_init_queue\tdrivers/scsi/scsi_mod\tEXPORT_SYMBOL_GPL\t\n\
        0x28779e52\tdrm_printf\tvmlinux\tEXPORT_SYMBOL\t\n\
        0x00000000\tksmbd_x\tfs/snd-seq\tEXPORT_SYMBOL\tCIFS\n";

    #[test]
    fn exports_name_their_object() {
        let symvers = Symvers::parse(TEXT).unwrap();
        assert_eq!(symvers.len(), 3);
        let scsi = symvers.exporter("__scsi_init_queue").unwrap();
        assert_eq!(
            (scsi.module.as_str(), scsi.gpl_only, scsi.crc),
            ("scsi_mod", true, 0x7b4d_a6ff)
        );
        assert!(symvers.exporter("drm_printf").unwrap().module.is_vmlinux());
        let namespaced = symvers.exporter("ksmbd_x").unwrap();
        assert_eq!(namespaced.module.as_str(), "snd_seq");
        assert_eq!(namespaced.namespace.as_deref(), Some("CIFS"));
        assert!(symvers.exporter("absent").is_none());
    }

    #[test]
    fn other_lines_are_named_by_number() {
        let malformed = Symvers::parse("0x1\ta\tvmlinux\tEXPORT_SYMBOL\t\nnonsense").unwrap_err();
        assert_eq!(malformed, SymversError::Malformed { line: 2 });
        let twice = Symvers::parse(&TEXT.repeat(2)).unwrap_err();
        let symbol = "__scsi_init_queue".to_owned();
        assert_eq!(twice, SymversError::Duplicate { line: 4, symbol });
    }
}
