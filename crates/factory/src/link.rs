//! From extracted objects to the module file: the link, the livepatch symbols, the checks.

use std::fs;
use std::path::Path;

use suture_differ::object::{Object, SymbolSection};
use suture_kernel::LivepatchAbi;
use suture_kernel::modinfo::Modinfo;
use suture_kernel::symvers::Symvers;

use crate::command::{Log, run};
use crate::error::FactoryError;
use crate::files;
use crate::glue::{Glue, HELPERS};
use crate::module_link::ModuleLink;
use crate::tree::Tree;

/// `SHN_LIVEPATCH` (kernel: include/uapi/linux/elf.h).
const SHN_LIVEPATCH: u16 = 0xff20;

/// Links the module in `folder`, which must be empty, and gives its unsigned bytes.
///
/// The kernel's own commands link and add what every module carries. The livepatch sections are
/// made last, because the linker would destroy them.
pub(crate) fn link(
    tree: &Tree,
    commands: &ModuleLink,
    folder: &Path,
    glue: &Glue<'_>,
    extracted: &[&[u8]],
    log: &Log,
) -> Result<Vec<u8>, FactoryError> {
    let mut names = Vec::new();
    for (index, object) in extracted.iter().enumerate() {
        let name = format!("unit{index}.o");
        files::write_scratch(&folder.join(&name), object)?;
        names.push(name);
    }
    let module = glue.version.module_name();
    let linked = commands.link(tree, folder, (&module, &glue.source()), &names, log)?;
    let stripped = folder.join("stripped.ko");
    let mut objcopy = tree.command("objcopy", folder);
    objcopy.arg("--strip-debug");
    for (compiled, real) in HELPERS {
        objcopy.arg(format!(
            "--redefine-sym={compiled}=.klp.sym.vmlinux.{real},0"
        ));
    }
    run(objcopy.arg(&linked).arg(&stripped), "binutils", log)?;
    let bytes = files::read(&stripped)?;
    let finished = match glue.abi {
        LivepatchAbi::Replacing => suture_differ::post_link(&bytes),
        LivepatchAbi::Registering => suture_differ::plain_calls(&bytes),
    };
    finished.map_err(|error| FactoryError::Differ {
        what: "the linked module".to_owned(),
        why: error.to_string(),
    })
}

/// Static checks of a linked module: what the loader would refuse is found here.
pub(crate) fn check(module: &[u8], symvers: &Symvers, vermagic: &str) -> Result<(), FactoryError> {
    let unsound = |why: String| FactoryError::UnsoundModule(why);
    let object = Object::parse(module).map_err(|error| unsound(error.to_string()))?;
    for symbol in object.symbols.iter().skip(1) {
        let livepatch = symbol.name.starts_with(".klp.sym.");
        match symbol.home {
            SymbolSection::Reserved(SHN_LIVEPATCH) if livepatch => {}
            SymbolSection::Undefined if livepatch => {
                return Err(unsound(format!(
                    "`{}` was not made a livepatch symbol",
                    symbol.name
                )));
            }
            SymbolSection::Undefined if symvers.exporter(&symbol.name).is_none() => {
                return Err(unsound(format!("`{}` is exported by nobody", symbol.name)));
            }
            SymbolSection::Reserved(index) => {
                return Err(unsound(format!(
                    "`{}` lies in section {index:#x}",
                    symbol.name
                )));
            }
            _ => {}
        }
    }
    let modinfo = Modinfo::of_module(module).map_err(|error| unsound(error.to_string()))?;
    if !modinfo.is_livepatch() {
        return Err(unsound(
            "its modinfo does not say that it is a live patch".to_owned(),
        ));
    }
    match modinfo.vermagic() {
        Some(found) if found == vermagic => Ok(()),
        found => Err(unsound(format!(
            "its vermagic is `{}`, the kernel's own modules have `{vermagic}`",
            found.unwrap_or_default()
        ))),
    }
}

/// The `vermagic` of any of the kernel's own modules.
pub(crate) fn shipped_vermagic(folder: &Path) -> Result<Option<String>, FactoryError> {
    let fail = || FactoryError::file("list", folder);
    for entry in fs::read_dir(folder).map_err(fail())? {
        let path = entry.map_err(fail())?.path();
        if path.is_dir() {
            if let Some(found) = shipped_vermagic(&path)? {
                return Ok(Some(found));
            }
        } else if path.to_string_lossy().contains(".ko") {
            let bytes = files::read(&path)?;
            let plain = suture_kernel::image::decompress_module(&bytes).ok();
            let modinfo = plain.and_then(|module| Modinfo::of_module(&module).ok());
            if let Some(vermagic) = modinfo.and_then(|info| info.vermagic().map(str::to_owned)) {
                return Ok(Some(vermagic));
            }
        }
    }
    Ok(None)
}
