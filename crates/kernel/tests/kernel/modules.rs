//! What a module file says.

use object::elf::{SHF_ALLOC, SHF_EXECINSTR};
use suture_kernel::modinfo::{Modinfo, ModinfoError};
use suture_kernel::module::{ModuleSymbols, Relocation, SymbolBinding, SymbolKind, SymbolPlace};

use crate::elf_file::ElfFile;

const FUNCTION: u8 = 2;
const MODINFO: &[u8] = b"license=GPL\0alias=fs-a\0alias=fs-b\0depends=mbcache,snd-seq\0\
    name=ext4\0vermagic=6.1.0-53-amd64 SMP preempt mod_unload modversions \0";

/// A module with functions of equal names, some of them in an init section.
pub fn module() -> Vec<u8> {
    let mut file = ElfFile::default();
    let code = (SHF_ALLOC | SHF_EXECINSTR).0;
    let text = file.section(".text", code, 0, &[0x90; 64]);
    let init = file.section(".init.text", code, 0, &[0xcc; 32]);
    file.section(".modinfo", SHF_ALLOC.0, 0, MODINFO);
    file.symbol("show", FUNCTION, text, 0, 16);
    file.symbol("show", FUNCTION, init, 0, 16);
    file.symbol("show", FUNCTION, text, 16, 8);
    file.symbol("probe", FUNCTION, text, 32, 8);
    file.symbol("probe", FUNCTION, text, 40, 8);
    file.symbol("setup", FUNCTION, text, 40, 8);
    file.symbol("setup", FUNCTION, init, 16, 8);
    file.symbol("single", FUNCTION, text, 48, 16);
    let printk = file.symbol("_printk", 0x10, 0, 0, 0);
    file.relocation(text, 5, printk, -4);
    file.finish(1)
}

#[test]
fn modinfo_has_keys_with_one_or_many_values() {
    let info = Modinfo::of_module(&module()).unwrap();
    assert_eq!(info.get("license"), Some("GPL"));
    assert_eq!(info.all("alias").collect::<Vec<_>>(), ["fs-a", "fs-b"]);
    assert_eq!(
        info.vermagic(),
        Some("6.1.0-53-amd64 SMP preempt mod_unload modversions ")
    );
    assert_eq!(info.name().unwrap().as_str(), "ext4");
    let depends: Vec<_> = info
        .depends()
        .unwrap()
        .into_iter()
        .map(String::from)
        .collect();
    assert_eq!(depends, ["mbcache", "snd_seq"]);
    assert!(!info.is_livepatch());
}

#[test]
fn modinfo_that_is_no_list_of_pairs_is_refused() {
    let error = Modinfo::parse(b"license=GPL\0nonsense\0").unwrap_err();
    assert_eq!(
        error.to_string(),
        "`.modinfo` holds `nonsense`, expected `key=value`"
    );
    assert!(matches!(
        Modinfo::parse(b"a=\xff\0"),
        Err(ModinfoError::NotUtf8)
    ));
    let unnamed = Modinfo::parse(b"license=GPL\0").unwrap();
    assert!(matches!(unnamed.name(), Err(ModinfoError::Missing("name"))));
    assert!(unnamed.depends().unwrap().is_empty());
}

#[test]
fn symbols_lead_to_their_bytes_and_relocations() {
    let file = module();
    let module = ModuleSymbols::parse(&file).unwrap();
    let single = module.named("single").next().unwrap();
    let text = module.section(".text").unwrap().index;
    assert_eq!(single.place, SymbolPlace::Section(text));
    assert_eq!(
        (single.kind, single.binding),
        (SymbolKind::Function, SymbolBinding::Local)
    );
    assert_eq!(module.bytes_of(single), Some([0x90; 16].as_slice()));
    let printk = module
        .symbols()
        .iter()
        .find(|symbol| symbol.name == "_printk")
        .unwrap();
    assert_eq!(printk.place, SymbolPlace::Undefined);
    assert_eq!(module.named("_printk").count(), 0);
    assert_eq!(
        module.relocations(text).unwrap(),
        [Relocation {
            offset: 5,
            kind: 4,
            symbol: printk.index,
            addend: -4
        }]
    );
    assert!(module.relocations(text + 1).unwrap().is_empty());
}

#[test]
fn sympos_is_refused_where_init_symbols_would_shift_it() {
    let file = module();
    let module = ModuleSymbols::parse(&file).unwrap();
    let sympos = |name: &str| -> Vec<Option<u64>> {
        module
            .named(name)
            .map(|symbol| module.sympos(symbol.index))
            .collect()
    };
    assert_eq!(sympos("single"), [Some(0)]);
    assert_eq!(sympos("probe"), [Some(1), Some(2)]);
    // Position 1 finds the first `setup` with and without the second.
    assert_eq!(sympos("setup"), [Some(1), None]);
    // The second `show` is gone once the module is live, which makes the third the second.
    assert_eq!(sympos("show"), [Some(1), None, None]);
}
