//! Where the instructions of a code section begin and end, and which of them branch.

use iced_x86::{Decoder, DecoderOptions, Instruction, Mnemonic, OpKind};

/// A target that lies in no section.
const OUTSIDE: u32 = u32::MAX;

/// What matters about an instruction here.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    /// `call rel32`.
    Call,
    /// `jmp rel8/rel32`, always taken.
    Jump,
    /// `jcc`, `loop` and the like.
    ConditionalJump,
    /// `lea`: computes an address without using it.
    Lea,
    /// Control never passes it (`ret`, `ud2`, `int3`, an indirect jump).
    Stop,
    Other,
}

/// One instruction of a section. There are many, so they are small, and a section of code may not
/// have 4 GiB.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Insn {
    start: u32,
    target: u32,
    length: u8,
    pub kind: Kind,
}

/// The instructions of a range, in order.
#[derive(Debug, Clone, Default)]
pub(crate) struct Code {
    insns: Vec<Insn>,
}

impl Code {
    /// Decodes `bytes` that lie at `base` within their section, one after the other.
    pub fn decode(bytes: &[u8], base: u64) -> Self {
        if base + bytes.len() as u64 >= u64::from(OUTSIDE) {
            return Self::default();
        }
        let mut decoder = Decoder::with_ip(64, bytes, base, DecoderOptions::NONE);
        let mut instruction = Instruction::default();
        let mut insns = Vec::new();
        while decoder.can_decode() {
            decoder.decode_out(&mut instruction);
            let near = instruction.op0_kind() == OpKind::NearBranch64;
            insns.push(Insn {
                start: instruction.ip() as u32,
                target: match near {
                    true => u32::try_from(instruction.near_branch64()).unwrap_or(OUTSIDE),
                    false => 0,
                },
                length: instruction.len() as u8,
                kind: kind(&instruction),
            });
        }
        insns.shrink_to_fit();
        Self { insns }
    }

    /// Adds the instructions of a later range.
    pub fn append(&mut self, later: Self) {
        if self.insns.is_empty() {
            *self = later;
        } else {
            self.insns.extend(later.insns);
        }
    }

    /// The instruction that covers `offset`.
    pub fn at(&self, offset: u64) -> Option<&Insn> {
        let index = self.insns.partition_point(|insn| insn.end() <= offset);
        self.insns.get(index).filter(|insn| insn.start() <= offset)
    }

    /// The instructions that begin in a range.
    pub fn range(&self, start: u64, end: u64) -> &[Insn] {
        let from = self.insns.partition_point(|insn| insn.start() < start);
        let to = self.insns.partition_point(|insn| insn.start() < end);
        &self.insns[from..to.max(from)]
    }
}

impl Insn {
    /// Where it begins in its section.
    pub fn start(&self) -> u64 {
        u64::from(self.start)
    }

    /// Where the next one begins.
    pub fn end(&self) -> u64 {
        self.start() + u64::from(self.length)
    }

    /// Target of a near branch whose field was not relocated.
    pub fn target(&self) -> u64 {
        u64::from(self.target)
    }

    /// Leads to its target and nowhere else than there or to the next instruction.
    pub fn is_branch(&self) -> bool {
        matches!(self.kind, Kind::Call | Kind::Jump | Kind::ConditionalJump)
    }

    /// The next instruction is not reached from here.
    pub fn ends_flow(&self) -> bool {
        matches!(self.kind, Kind::Jump | Kind::Stop)
    }
}

fn kind(instruction: &Instruction) -> Kind {
    let near = instruction.op0_kind() == OpKind::NearBranch64;
    match instruction.mnemonic() {
        Mnemonic::Call if near => Kind::Call,
        Mnemonic::Jmp if near => Kind::Jump,
        Mnemonic::Jmp
        | Mnemonic::Ret
        | Mnemonic::Retf
        | Mnemonic::Iretq
        | Mnemonic::Ud2
        | Mnemonic::Int3 => Kind::Stop,
        Mnemonic::Lea => Kind::Lea,
        _ if near => Kind::ConditionalJump,
        _ => Kind::Other,
    }
}
