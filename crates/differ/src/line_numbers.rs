//! Functions that differ only in the `__LINE__` that they hand to a reporter.
//!
//! A fix moves the code below it, and with it every line number that is an operand. The factory
//! avoids that with `#line`; this is for objects that were built without. It counts as nothing
//! only where it is certain that a number is a line: loaded into the register of that parameter
//! of a known function, right before its call.

use crate::code::{Insn, Kind};
use crate::unit::{Range, Target, Unit};

/// Functions with a line parameter, and the opcode of `mov $imm32` to its register. Their
/// parameters have been the same in every kernel with livepatch.
const REPORTERS: &[(&str, u8)] = &[
    ("__might_sleep", MOV_ESI),
    ("___might_sleep", MOV_ESI),
    ("__might_fault", MOV_ESI),
    ("lockdep_rcu_suspicious", MOV_ESI),
    ("warn_slowpath_null", MOV_ESI),
    ("warn_slowpath_fmt", MOV_ESI),
    ("__btrfs_abort_transaction", MOV_EDX),
];
/// Printing functions, for texts that end in a file and a line: `ASSERT_RTNL`.
const PRINTERS: &[&str] = &["__warn_printk", "printk", "_printk"];
const PRINTED: &[u8] = b"assertion failed at %s (%d)";

const MOV_EDX: u8 = 0xba;
const MOV_ESI: u8 = 0xbe;
const MOV_SIZE: u64 = 5;
/// Instructions between the load of the line and the call: the other arguments, a flag.
const DISTANCE: usize = 5;

/// Whether the bytes of two ranges differ in nothing but certain line numbers.
pub(crate) fn only_lines_differ(old: (&Unit, Range), new: (&Unit, Range)) -> bool {
    let bytes = |(unit, range): (&Unit, Range)| {
        let section = &unit.object.sections[range.section];
        section
            .data
            .get(range.start as usize..range.end as usize)
            .map(<[u8]>::to_vec)
    };
    let (Some(before), Some(after)) = (bytes(old), bytes(new)) else {
        return false;
    };
    if before.len() != after.len() || !old.0.section(old.1.section).is_code() {
        return false;
    }
    let mut insns = new.0.insns(new.1).iter();
    let mut insn = insns.next();
    for offset in (0..after.len()).filter(|&offset| before[offset] != after[offset]) {
        let place = new.1.start + offset as u64;
        while insn.is_some_and(|insn| insn.end <= place) {
            insn = insns.next();
        }
        let Some(load) = insn else { return false };
        let start = (load.start - new.1.start) as usize;
        let same_opcode = before[start] == after[start] && place > load.start;
        if !same_opcode || !is_line(new.0, new.1, load) {
            return false;
        }
    }
    true
}

/// Whether an instruction loads the line for a reporter that is called next.
fn is_line(unit: &Unit, range: Range, load: &Insn) -> bool {
    let section = unit.section(range.section);
    let opcode = section.data.get(load.start as usize).copied();
    if load.end - load.start != MOV_SIZE || !section.relocations_in(load.start, load.end).is_empty()
    {
        return false;
    }
    let rest = Range {
        start: load.end,
        ..range
    };
    let following = unit.insns(rest);
    let Some(distance) = following.iter().position(|insn| insn.kind != Kind::Other) else {
        return false;
    };
    let call = &following[distance];
    if distance > DISTANCE || call.kind != Kind::Call {
        return false;
    }
    if !following[..distance]
        .iter()
        .all(|insn| is_plain_argument(unit, range, insn, opcode.unwrap_or(0) & 7))
    {
        return false;
    }
    let Some(name) = callee(unit, range, call) else {
        return false;
    };
    if PRINTERS.contains(&name) {
        return opcode == Some(MOV_EDX) && prints_line(unit, range, &following[..distance]);
    }
    REPORTERS
        .iter()
        .any(|&(reporter, load)| reporter == name && opcode == Some(load))
}

fn callee<'a>(unit: &'a Unit, range: Range, call: &Insn) -> Option<&'a str> {
    match unit
        .section(range.section)
        .relocations_in(call.start, call.end)
    {
        [relocation] => Some(unit.name(relocation.symbol)),
        _ => None,
    }
}

/// `mov` of a constant to a register or a flag, `mov` of another register to a register or the
/// stack, `xor` of a register with itself: nothing that reads register `line`.
fn is_plain_argument(unit: &Unit, range: Range, insn: &Insn, line: u8) -> bool {
    let data = &unit.section(range.section).data;
    let bytes = data
        .get(insn.start as usize..insn.end as usize)
        .unwrap_or_default();
    let (prefix, bytes) = match bytes {
        [prefix @ 0x40..=0x4f, rest @ ..] => (*prefix, rest),
        all => (0, all),
    };
    // REX.R: the source is one of r8 to r15.
    let source = |modrm: u8| (modrm >> 3) & 7 | (prefix & 4) << 1;
    match bytes {
        [0xb8..=0xbf, ..] => true,
        // `movb $1, flag(%rip)` and `mov $imm32, %reg`.
        [0xc6, 0x05, ..] => true,
        [0xc7, modrm, ..] => modrm >> 6 == 3,
        [0x89, modrm] => modrm >> 6 == 3 && source(*modrm) != line,
        // `mov %reg, disp(%rsp)`.
        [0x89, modrm, 0x24, ..] => modrm >> 6 < 2 && modrm & 7 == 4 && source(*modrm) != line,
        [0x31, modrm] => modrm >> 6 == 3 && (modrm >> 3) & 7 == modrm & 7,
        _ => false,
    }
}

fn prints_line(unit: &Unit, range: Range, arguments: &[Insn]) -> bool {
    let section = unit.section(range.section);
    arguments.iter().any(|insn| {
        section
            .relocations_in(insn.start, insn.end)
            .iter()
            .any(|relocation| match unit.target(range.section, relocation) {
                Target::Literal { section, offset } => {
                    let text = unit.literal(section, offset);
                    text.windows(PRINTED.len()).any(|window| window == PRINTED)
                }
                _ => false,
            })
    })
}
