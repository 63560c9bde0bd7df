//! Symbols recovered from images in each layout.

use suture_kernel::kallsyms::{Kallsyms, KallsymsError};
use suture_kernel::vmlinux::Vmlinux;

use crate::elf_file::{self, TEXT};
use crate::kallsyms_image::{LAYOUTS, Layout, Symbol, vmlinux};

/// 600 symbols by address, with a duplicate name, two symbols at one address and a long name.
pub fn symbols(layout: Layout) -> Vec<Symbol> {
    let per_cpu = [
        (0, b'A', "fixed_percpu_data".to_owned()),
        (0x1000, b'A', "cpu_debug".into()),
    ];
    let has_per_cpu = matches!(layout, Layout::OffsetsBefore | Layout::OffsetsAfter);
    let mut symbols: Vec<Symbol> = per_cpu.into_iter().filter(|_| has_per_cpu).collect();
    symbols.push((TEXT, b'T', "_text".to_owned()));
    symbols.push((TEXT, b'T', "startup_64".to_owned()));
    for number in 1..600 {
        let name = match number {
            100 | 300 | 500 => "enabled_show".to_owned(),
            200 => format!("_RNv{}", "a".repeat(300)),
            _ => format!("sys_call_x_{number}"),
        };
        symbols.push((TEXT + 64 * number, b"tTdB?"[number as usize % 5], name));
    }
    symbols
}

fn recover(layout: Layout) -> Kallsyms {
    let file = vmlinux(layout, &symbols(layout));
    Kallsyms::recover(&Vmlinux::parse(&file).unwrap()).unwrap()
}

#[test]
fn every_layout_gives_all_symbols_in_order() {
    for layout in LAYOUTS {
        let found: Vec<Symbol> = recover(layout)
            .symbols()
            .iter()
            .map(|symbol| (symbol.address, symbol.kind, symbol.name.clone()))
            .collect();
        assert_eq!(found, symbols(layout), "{layout:?}");
    }
}

#[test]
fn sympos_counts_from_1_among_equal_names_and_is_0_for_a_single_one() {
    let kallsyms = recover(Layout::OffsetsBefore);
    assert_eq!(kallsyms.named("enabled_show").len(), 3);
    assert_eq!(kallsyms.sympos("enabled_show", TEXT + 64 * 300), Some(2));
    assert_eq!(kallsyms.sympos("enabled_show", TEXT + 64 * 500), Some(3));
    assert_eq!(kallsyms.sympos("enabled_show", TEXT), None);
    assert_eq!(kallsyms.sympos("_text", TEXT), Some(0));
    assert_eq!(kallsyms.position("_text", TEXT), Some(1));
    assert_eq!(kallsyms.sympos("absent", TEXT), None);
}

#[test]
fn addresses_lead_to_symbols_and_to_the_next_one() {
    let kallsyms = recover(Layout::OffsetsAfter);
    let names: Vec<_> = kallsyms
        .at(TEXT)
        .iter()
        .map(|symbol| symbol.name.as_str())
        .collect();
    assert_eq!(names, ["_text", "startup_64"]);
    assert!(kallsyms.at(TEXT + 1).is_empty());
    assert_eq!(kallsyms.next_address_after(TEXT), Some(TEXT + 64));
    assert_eq!(kallsyms.next_address_after(TEXT + 65), Some(TEXT + 128));
    assert_eq!(kallsyms.next_address_after(TEXT + 64 * 599), None);
}

#[test]
fn an_image_without_tables_is_refused() {
    let file = elf_file::vmlinux(b"0\x001\x002\x003\x004\x005\x006\x007\x008\x009\0 and no more");
    let error = Kallsyms::recover(&Vmlinux::parse(&file).unwrap()).unwrap_err();
    assert_eq!(error, KallsymsError::NoTokens);
}

#[test]
fn tables_that_disagree_are_refused() {
    let symbols = symbols(Layout::OffsetsAfter);
    let mut moved = symbols.clone();
    moved
        .iter_mut()
        .for_each(|symbol| symbol.0 += u64::from(symbol.0 >= TEXT) * 16);
    let file = vmlinux(Layout::OffsetsAfter, &moved);
    let error = Kallsyms::recover(&Vmlinux::parse(&file).unwrap()).unwrap_err();
    assert_eq!(
        error,
        KallsymsError::NoAddresses {
            symbols: symbols.len()
        }
    );
}
