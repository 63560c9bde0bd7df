//! Functions that differ only in the `__LINE__` that they hand to a reporter.
//!
//! A fix moves the code below it, and with it every line number that is an operand. The factory
//! avoids that with `#line`; this is for objects that were built without. It counts as nothing
//! only where it is certain that a number is a line: loaded into the register of that parameter
//! of a known function, and not touched until its call.

use iced_x86::{Decoder, DecoderOptions, InstructionInfoFactory, Register};

use crate::code::{Insn, Kind};
use crate::unit::{Range, Target, Unit};

/// Functions with a line parameter, and its register. The parameters have been the same in every
/// kernel with livepatch (before Linux 4.8 `__btrfs_abort_transaction` had the line elsewhere, and
/// the name of a function, which is relocated, in this register).
const REPORTERS: &[(&str, Register)] = &[
    ("__might_sleep", Register::RSI),
    ("___might_sleep", Register::RSI),
    ("__might_resched", Register::RSI),
    ("__might_fault", Register::RSI),
    ("__cant_sleep", Register::RSI),
    ("__cant_migrate", Register::RSI),
    ("lockdep_rcu_suspicious", Register::RSI),
    ("warn_slowpath_null", Register::RSI),
    ("warn_slowpath_fmt", Register::RSI),
    ("warn_slowpath_fmt_taint", Register::RSI),
    ("__btrfs_abort_transaction", Register::RDX),
    ("__btrfs_handle_fs_error", Register::RDX),
    ("__btrfs_std_error", Register::RDX),
    ("__btrfs_panic", Register::RDX),
];
/// Printing functions, for texts that end in a file and a line: `ASSERT_RTNL`.
const PRINTERS: &[&str] = &["__warn_printk", "printk", "_printk"];
const PRINTED: &[u8] = b"assertion failed at %s (%d)";

/// Opcodes of `mov $imm32` to a register.
const MOV_EDX: u8 = 0xba;
const MOV_ESI: u8 = 0xbe;
const MOV_SIZE: u64 = 5;

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
        while insn.is_some_and(|insn| insn.end() <= place) {
            insn = insns.next();
        }
        let Some(load) = insn else { return false };
        let start = (load.start() - new.1.start) as usize;
        let same_opcode = before[start] == after[start] && place > load.start();
        if !same_opcode || !is_line(new.0, new.1, load) {
            return false;
        }
    }
    true
}

/// Whether an instruction loads the line for a reporter that is called next.
fn is_line(unit: &Unit, range: Range, load: &Insn) -> bool {
    let section = unit.section(range.section);
    let opcode = section.data.get(load.start() as usize).copied();
    if load.end() - load.start() != MOV_SIZE
        || !section.relocations_in(load.start(), load.end()).is_empty()
    {
        return false;
    }
    let line = match opcode {
        Some(MOV_ESI) => Register::RSI,
        Some(MOV_EDX) => Register::RDX,
        _ => return false,
    };
    let rest = Range {
        start: load.end(),
        ..range
    };
    let following = unit.insns(rest);
    let Some(distance) = following.iter().position(|insn| insn.kind != Kind::Other) else {
        return false;
    };
    let call = &following[distance];
    let leads_on = matches!(call.kind, Kind::Call | Kind::Jump);
    if !leads_on || uses(unit, range.section, (load.end(), call.start()), line) {
        return false;
    }
    let Some(name) = callee(unit, range, call) else {
        return false;
    };
    if PRINTERS.contains(&name) {
        return line == Register::RDX && prints_line(unit, range, &following[..distance]);
    }
    REPORTERS
        .iter()
        .any(|&(reporter, register)| reporter == name && register == line)
}

fn callee<'a>(unit: &'a Unit, range: Range, call: &Insn) -> Option<&'a str> {
    match unit
        .section(range.section)
        .relocations_in(call.start(), call.end())
    {
        [relocation] => Some(unit.name(relocation.symbol as usize)),
        _ => None,
    }
}

/// Whether any instruction of a straight piece of code touches a register, or is none at all.
/// What it does not touch arrives at the call as it was loaded; what the callee makes of it is
/// known, and behind the call the register holds nothing that anyone may use.
fn uses(unit: &Unit, section: usize, (start, end): (u64, u64), register: Register) -> bool {
    let bytes = unit.section(section).bytes(start, end).unwrap_or_default();
    let mut factory = InstructionInfoFactory::new();
    let mut instructions = Decoder::with_ip(64, &bytes, start, DecoderOptions::NONE).into_iter();
    instructions.any(|instruction| {
        let info = factory.info(&instruction);
        let register_used = info
            .used_registers()
            .iter()
            .any(|used| used.register().full_register() == register);
        let memory_used = info.used_memory().iter().any(|used| {
            used.base().full_register() == register || used.index().full_register() == register
        });
        instruction.is_invalid() || register_used || memory_used
    })
}

fn prints_line(unit: &Unit, range: Range, arguments: &[Insn]) -> bool {
    let section = unit.section(range.section);
    arguments.iter().any(|insn| {
        section
            .relocations_in(insn.start(), insn.end())
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
