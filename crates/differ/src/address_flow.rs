//! Where a function takes the address of a constant: whether it only reads there.
//!
//! The code is followed from the places that name the constant. A register that holds the address,
//! or what was computed from it, is *marked*. A marked register may be read through, compared with
//! another marked one, and handed to a [`Reader`]. Whatever else could make the address outlive the
//! call, or have it compared with another, counts against the function. Where one of the constants
//! holds the address of another, what is read from any of them is marked as well.

use std::collections::{BTreeMap, BTreeSet};

use iced_x86::{
    Decoder, DecoderOptions, FlowControl, Instruction, InstructionInfo, InstructionInfoFactory,
    Mnemonic, OpAccess, OpKind, Register,
};

use crate::object::Relocation;
use crate::readers::{ARGUMENTS, Reader};
use crate::special::{Entry, Table, original_length, replacement_length};
use crate::unit::{Range, Target, Unit};

/// Registers that keep their value over a call (System V ABI for x86-64, 3.2.1).
const KEPT: [Register; 7] = [
    Register::RBX,
    Register::RBP,
    Register::RSP,
    Register::R12,
    Register::R13,
    Register::R14,
    Register::R15,
];

/// Where functions return to their callers, in kernels that don't trust `ret`.
const RETURN_THUNK: &str = "__x86_return_thunk";

/// Helpers in assembler that store what RAX holds.
const PUT_USER: &str = "__put_user";

/// What is known of the general registers before an instruction, a bit for each.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
struct Marks {
    /// Marked on some way to it.
    some: u16,
    /// Marked on every way to it.
    all: u16,
}

/// An instruction, and how it names one of the constants.
struct Step {
    instruction: Instruction,
    /// As part of the address of its memory operand.
    in_memory: bool,
    /// As an immediate value.
    immediate: bool,
    /// Its immediate value is the address of something else.
    foreign: bool,
    /// Where a call or jump leads that leaves the function, by name.
    leaves: Option<String>,
}

/// What the constants refer to.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Content {
    /// Functions, perhaps.
    pub names_functions: bool,
    /// Others of the constants, or themselves.
    pub names_constants: bool,
}

/// A function's code, and the constants that matter.
struct AddressFlow<'a> {
    unit: &'a Unit,
    steps: Vec<Step>,
    /// Index of the step at an offset.
    at: BTreeMap<u64, usize>,
    /// Ways through the code that only tables tell.
    hidden: Vec<(u64, u64)>,
    content: Content,
}

/// Whether all that a function does with the constants is to read them.
pub(crate) fn only_reads(
    unit: &Unit,
    entries: &[Entry],
    function: usize,
    constants: &BTreeSet<usize>,
    content: Content,
) -> bool {
    let flow = AddressFlow::new(unit, entries, function, constants, content);
    flow.is_some_and(|flow| flow.holds())
}

impl<'a> AddressFlow<'a> {
    /// `None` for code that can't be followed.
    fn new(
        unit: &'a Unit,
        entries: &[Entry],
        function: usize,
        constants: &BTreeSet<usize>,
        content: Content,
    ) -> Option<Self> {
        let range = unit.range(function);
        let steps = steps(unit, range, constants)?;
        let at = steps.iter().enumerate();
        let at = at.map(|(index, step)| (step.instruction.ip(), index));
        let hidden = hidden_ways(unit, entries, range)?;
        Some(Self {
            unit,
            at: at.collect(),
            steps,
            hidden,
            content,
        })
    }

    fn holds(&self) -> bool {
        let mut infos = InstructionInfoFactory::new();
        let marks = self.follow(&mut infos);
        let mut steps = self.steps.iter().zip(marks);
        steps.all(|(step, marks)| self.allows(step, marks, infos.info(&step.instruction)))
    }

    /// The marks before each instruction.
    fn follow(&self, infos: &mut InstructionInfoFactory) -> Vec<Marks> {
        let mut known: Vec<Option<Marks>> = vec![None; self.steps.len()];
        // What no way leads to that is seen here begins without marks.
        for first in 0..self.steps.len() {
            if known[first].is_some() {
                continue;
            }
            let mut open = vec![(first, Marks::default())];
            while let Some((index, marks)) = open.pop() {
                let joined = match known[index] {
                    None => marks,
                    Some(known) => Marks {
                        some: known.some | marks.some,
                        all: known.all & marks.all,
                    },
                };
                if known[index] == Some(joined) {
                    continue;
                }
                known[index] = Some(joined);
                let step = &self.steps[index];
                let after = self.after(step, joined, infos.info(&step.instruction));
                open.extend(self.next(step).into_iter().map(|next| (next, after)));
                let hidden = self.hidden_next(step).into_iter();
                open.extend(hidden.flat_map(|next| [(next, joined), (next, after)]));
            }
        }
        known.into_iter().map(Option::unwrap_or_default).collect()
    }

    /// The instructions that may come next.
    fn next(&self, step: &Step) -> Vec<usize> {
        let instruction = &step.instruction;
        let mut next = Vec::new();
        let flow = instruction.flow_control();
        let goes_on = !matches!(
            flow,
            FlowControl::UnconditionalBranch
                | FlowControl::IndirectBranch
                | FlowControl::Return
                | FlowControl::Exception
        );
        // A warning (`ud2`) goes on behind it; its table knows, here it always does.
        let warns = instruction.mnemonic() == Mnemonic::Ud2;
        if goes_on || warns {
            next.extend(self.at.get(&instruction.next_ip()));
        }
        let branches = matches!(
            flow,
            FlowControl::UnconditionalBranch | FlowControl::ConditionalBranch
        );
        if branches && step.leaves.is_none() {
            next.extend(self.at.get(&instruction.near_branch_target()));
        }
        next
    }

    /// Those that only tables tell.
    fn hidden_next(&self, step: &Step) -> Vec<usize> {
        let here = step.instruction.ip();
        let ways = self.hidden.iter().filter(|(from, _)| *from == here);
        ways.filter_map(|(_, to)| self.at.get(to).copied())
            .collect()
    }

    /// The marks behind an instruction.
    fn after(&self, step: &Step, before: Marks, info: &InstructionInfo) -> Marks {
        let instruction = &step.instruction;
        if is_call(instruction) {
            return self.after_call(step, before);
        }
        if instruction.is_string_instruction() {
            // Where there are addresses to copy, `allows` refuses it. What it reads comes into RAX at most; the addresses move on.
            return Marks {
                all: before.all & !bit(Register::RAX),
                ..before
            };
        }
        let cleared = clears(instruction);
        let loads = self.content.names_constants && reads_through(step, before.some);
        let some = !cleared && (loads || computes_from(step, info, before.some));
        let all = !cleared && computes_from(step, info, before.all);
        let mut after = before;
        for used in info.used_registers() {
            let bits = bit(used.register());
            let whole = used.register().size() >= 4;
            let (written, certain) = match used.access() {
                OpAccess::Write | OpAccess::ReadWrite => (true, whole),
                OpAccess::CondWrite | OpAccess::ReadCondWrite => (true, false),
                _ => (false, false),
            };
            if written {
                after.some = with(after.some, bits, some, certain);
                after.all = with(after.all, bits, all && certain, true);
            }
        }
        after
    }

    /// A known function keeps to the calling convention. Others may be helpers in assembler, around
    /// which the compiler keeps more registers; none of them is marked but by what they return.
    fn after_call(&self, step: &Step, before: Marks) -> Marks {
        let kept = KEPT.iter().fold(0, |bits, &register| bits | bit(register));
        let some = match self.reader(step) {
            Some(reader) if reader.points_into && before.some & arguments() != 0 => {
                before.some & kept | bit(Register::RAX)
            }
            Some(_) => before.some & kept,
            None => before.some,
        };
        Marks {
            some,
            all: before.all & kept,
        }
    }

    /// Whether an instruction only reads the constants, given what is marked before it.
    fn allows(&self, step: &Step, marks: Marks, info: &InstructionInfo) -> bool {
        let instruction = &step.instruction;
        let some = marks.some;
        let writes = info.used_memory().iter().any(|memory| {
            !matches!(
                memory.access(),
                OpAccess::Read | OpAccess::CondRead | OpAccess::NoMemAccess | OpAccess::None
            )
        });
        let stored = operands_read(instruction, info) & some != 0 || step.immediate;
        let copied = self.content.names_constants && reads_through(step, some);
        if writes && (stored || step.in_memory || copied) {
            return false;
        }
        let result = bit(Register::RAX) | bit(Register::RDX);
        if step.leaves.as_deref() == Some(RETURN_THUNK) {
            return some & result == 0;
        }
        match instruction.flow_control() {
            FlowControl::Call | FlowControl::IndirectCall => self.allows_call(step, some),
            FlowControl::Return => some & result == 0,
            FlowControl::IndirectBranch => some == 0,
            FlowControl::UnconditionalBranch | FlowControl::ConditionalBranch
                if step.leaves.is_some() =>
            {
                some & !arguments() == 0 && self.allows_call(step, some)
            }
            _ if is_comparison(instruction) => compares_alike(step, marks),
            _ => true,
        }
    }

    fn allows_call(&self, step: &Step, some: u16) -> bool {
        let stores = step
            .leaves
            .as_deref()
            .is_some_and(|name| name.starts_with(PUT_USER));
        if stores && some & bit(Register::RAX) != 0 {
            return false;
        }
        let given = ARGUMENTS.into_iter();
        let mut given = given.filter(|&register| some & bit(register) != 0);
        match self.reader(step) {
            Some(reader) if reader.calls && self.content.names_functions => given.next().is_none(),
            Some(reader) if reader.copies && self.content.names_constants => given.next().is_none(),
            Some(reader) => given.all(|register| reader.may_have(register)),
            None => given.next().is_none(),
        }
    }

    fn reader(&self, step: &Step) -> Option<&'static Reader> {
        let name = step.leaves.as_deref()?;
        // A function of that name in this unit is another.
        let own = self.unit.functions().any(|f| self.unit.name(f) == name);
        Reader::named(name).filter(|_| !own)
    }
}

/// Decodes a function. `None` if a constant is named in a way that is not understood.
fn steps(unit: &Unit, range: Range, constants: &BTreeSet<usize>) -> Option<Vec<Step>> {
    let section = unit.section(range.section);
    let code = section.data.get(range.start as usize..range.end as usize)?;
    let mut decoder = Decoder::with_ip(64, code, range.start, DecoderOptions::NONE);
    let mut steps = Vec::new();
    while decoder.can_decode() {
        let instruction = decoder.decode();
        if instruction.is_invalid() {
            return None;
        }
        let places = decoder.get_constant_offsets(&instruction);
        let mut step = Step {
            instruction,
            in_memory: false,
            immediate: false,
            foreign: false,
            leaves: None,
        };
        for relocation in section.relocations_in(instruction.ip(), instruction.next_ip()) {
            let field = (relocation.offset - instruction.ip()) as usize;
            if unit.is_branch(range.section, relocation) {
                step.leaves = Some(unit.name(relocation.symbol as usize).to_owned());
            } else if names_one(unit, range.section, relocation, constants) {
                if places.has_displacement() && places.displacement_offset() == field {
                    step.in_memory = true;
                } else if places.has_immediate() && places.immediate_offset() == field {
                    step.immediate = true;
                } else {
                    return None;
                }
            } else {
                step.foreign |= places.has_immediate() && places.immediate_offset() == field;
            }
        }
        let outside = is_near(&instruction)
            && !(range.start..range.end).contains(&instruction.near_branch_target());
        if outside && step.leaves.is_none() {
            return None;
        }
        steps.push(step);
    }
    Some(steps)
}

fn names_one(
    unit: &Unit,
    section: usize,
    relocation: &Relocation,
    constants: &BTreeSet<usize>,
) -> bool {
    match unit.target(section, relocation) {
        Target::Atom { symbol, .. } => constants.contains(&symbol),
        _ => false,
    }
}

/// From places of the function to others of it: static branches, and what an exception leads to.
/// `None` if code that the kernel may put in place branches.
fn hidden_ways(unit: &Unit, entries: &[Entry], range: Range) -> Option<Vec<(u64, u64)>> {
    let inside = |(section, place): (usize, u64)| {
        section == range.section && (range.start..range.end).contains(&place)
    };
    let mut ways = Vec::new();
    for entry in entries.iter().filter(|entry| inside(entry.site)) {
        let table = unit.section(entry.range.section);
        let relocations = table.relocations_in(entry.range.start, entry.range.end);
        match entry.table {
            Table::Jump | Table::Exception => {
                let target = unit.location(entry.range.section, relocations.get(1)?);
                let (section, place) = target?;
                let target = (section, u64::try_from(place).ok()?);
                // Of an exception outside of the function, code that returns to it somewhere.
                if !inside(target) {
                    return None;
                }
                ways.push((entry.site.1, target.1));
            }
            Table::Altinstructions if branches_away(unit, entry) => return None,
            _ => {}
        }
    }
    Some(ways)
}

/// Whether a replacement of the code has a branch, or is not to be seen here.
fn branches_away(unit: &Unit, entry: &Entry) -> bool {
    let length = replacement_length(unit, entry.range);
    if length == 0 {
        // The code becomes nothing, also if that is a branch.
        let (section, start) = entry.site;
        let end = start + original_length(unit, entry.range);
        let range = Range {
            section,
            start,
            end,
        };
        return unit.insns(range).iter().any(|insn| insn.is_branch());
    }
    let table = unit.section(entry.range.section);
    let relocations = table.relocations_in(entry.range.start, entry.range.end);
    let place = relocations
        .get(1)
        .and_then(|relocation| unit.location(entry.range.section, relocation));
    let Some((home, Ok(start))) = place.map(|(home, place)| (home, u64::try_from(place))) else {
        return true;
    };
    let code = unit.section(home).bytes(start, start + length);
    let Some(code) = code else { return true };
    let mut decoder = Decoder::with_ip(64, &code, start, DecoderOptions::NONE);
    decoder
        .iter()
        .any(|instruction| instruction.flow_control() != FlowControl::Next)
}

fn is_near(instruction: &Instruction) -> bool {
    instruction.op0_kind() == OpKind::NearBranch64
}

fn is_call(instruction: &Instruction) -> bool {
    matches!(
        instruction.flow_control(),
        FlowControl::Call | FlowControl::IndirectCall
    )
}

fn is_comparison(instruction: &Instruction) -> bool {
    matches!(instruction.mnemonic(), Mnemonic::Cmp | Mnemonic::Test)
}

/// `xor eax, eax`.
fn clears(instruction: &Instruction) -> bool {
    matches!(instruction.mnemonic(), Mnemonic::Xor | Mnemonic::Sub)
        && instruction.op0_kind() == OpKind::Register
        && instruction.op1_kind() == OpKind::Register
        && instruction.op0_register() == instruction.op1_register()
}

/// Whether what the instruction computes has to do with the constants' addresses.
fn computes_from(step: &Step, info: &InstructionInfo, marks: u16) -> bool {
    let instruction = &step.instruction;
    let lea = instruction.mnemonic() == Mnemonic::Lea;
    let through = bit(instruction.memory_base()) | bit(instruction.memory_index());
    step.immediate
        || lea && (step.in_memory || marks & through != 0)
        || operands_read(instruction, info) & marks != 0
}

/// Whether the instruction may read what a marked register leads to, or the constants themselves.
fn reads_through(step: &Step, marks: u16) -> bool {
    let instruction = &step.instruction;
    let through = match instruction.is_string_instruction() {
        true => bit(Register::RSI) | bit(Register::RDI),
        false => bit(instruction.memory_base()) | bit(instruction.memory_index()),
    };
    instruction.mnemonic() != Mnemonic::Lea && (step.in_memory || marks & through != 0)
}

/// Registers with some marked or not; what is not certain takes no mark away.
fn with(marks: u16, bits: u16, marked: bool, certain: bool) -> u16 {
    match (marked, certain) {
        (true, _) => marks | bits,
        (false, true) => marks & !bits,
        (false, false) => marks,
    }
}

/// Comparing two places of the constants, or one with zero, tells nothing of other objects.
fn compares_alike(step: &Step, marks: Marks) -> bool {
    let instruction = &step.instruction;
    let named = operands(instruction);
    if !step.immediate && named & marks.some == 0 {
        return true;
    }
    let alike = match instruction.op1_kind() {
        OpKind::Register => true,
        OpKind::Memory => false,
        _ => step.immediate || !step.foreign && instruction.immediate(1) == 0,
    };
    alike && instruction.op0_kind() == OpKind::Register && named & !marks.all == 0
}

/// The general registers that are operands by themselves.
fn operands(instruction: &Instruction) -> u16 {
    (0..instruction.op_count()).fold(0, |bits, number| bits | operand(instruction, number))
}

/// Those of them whose value matters.
fn operands_read(instruction: &Instruction, info: &InstructionInfo) -> u16 {
    let read = (0..instruction.op_count()).filter(|&number| {
        !matches!(
            info.op_access(number),
            OpAccess::None | OpAccess::Write | OpAccess::CondWrite | OpAccess::NoMemAccess
        )
    });
    read.fold(0, |bits, number| bits | operand(instruction, number))
}

fn operand(instruction: &Instruction, number: u32) -> u16 {
    match instruction.op_kind(number) {
        OpKind::Register => bit(instruction.op_register(number)),
        _ => 0,
    }
}

fn bit(register: Register) -> u16 {
    if !register.is_gpr() {
        return 0;
    }
    1 << (register.full_register().number())
}

fn arguments() -> u16 {
    ARGUMENTS
        .iter()
        .fold(0, |bits, &argument| bits | bit(argument))
}
