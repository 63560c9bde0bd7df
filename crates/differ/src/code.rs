//! Where the instructions of a code section begin and end, and which of them branch.

use iced_x86::{Decoder, DecoderOptions, Instruction, Mnemonic, OpKind};

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

/// One instruction of a section.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Insn {
    pub start: u64,
    pub end: u64,
    pub kind: Kind,
    /// Target of a near branch whose field was not relocated.
    pub target: u64,
}

/// The instructions of a range, in order.
#[derive(Debug, Clone, Default)]
pub(crate) struct Code {
    insns: Vec<Insn>,
}

impl Code {
    /// Decodes `bytes` that lie at `base` within their section, one after the other.
    pub fn decode(bytes: &[u8], base: u64) -> Self {
        let mut decoder = Decoder::with_ip(64, bytes, base, DecoderOptions::NONE);
        let mut instruction = Instruction::default();
        let mut insns = Vec::new();
        while decoder.can_decode() {
            decoder.decode_out(&mut instruction);
            insns.push(Insn {
                start: instruction.ip(),
                end: instruction.next_ip(),
                kind: kind(&instruction),
                target: if instruction.op0_kind() == OpKind::NearBranch64 {
                    instruction.near_branch64()
                } else {
                    0
                },
            });
        }
        insns.shrink_to_fit();
        Self { insns }
    }

    /// Adds the instructions of a later range.
    pub fn append(&mut self, later: Self) {
        self.insns.extend(later.insns);
    }

    /// The instruction that covers `offset`.
    pub fn at(&self, offset: u64) -> Option<&Insn> {
        let index = self.insns.partition_point(|insn| insn.end <= offset);
        self.insns.get(index).filter(|insn| insn.start <= offset)
    }

    /// The instructions that begin in a range.
    pub fn range(&self, start: u64, end: u64) -> &[Insn] {
        let from = self.insns.partition_point(|insn| insn.start < start);
        let to = self.insns.partition_point(|insn| insn.start < end);
        &self.insns[from..to.max(from)]
    }
}

impl Insn {
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
