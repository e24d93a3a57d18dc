package wasmbin

// Op is an instruction: its byte, or 0xfc00 or 0xfd00 plus its number behind one of
// these prefixes (core specification, section 5.4).
type Op uint16

// The instructions that somebody who rewrites code has to know by name.
const (
	OpUnreachable  Op = 0x00
	OpNop          Op = 0x01
	OpBlock        Op = 0x02
	OpLoop         Op = 0x03
	OpIf           Op = 0x04
	OpElse         Op = 0x05
	OpEnd          Op = 0x0b
	OpBr           Op = 0x0c
	OpBrIf         Op = 0x0d
	OpBrTable      Op = 0x0e
	OpReturn       Op = 0x0f
	OpCall         Op = 0x10
	OpCallIndirect Op = 0x11
	OpDrop         Op = 0x1a
	OpSelectTyped  Op = 0x1c
	OpLocalGet     Op = 0x20
	OpLocalSet     Op = 0x21
	OpLocalTee     Op = 0x22
	OpGlobalGet    Op = 0x23
	OpGlobalSet    Op = 0x24
	OpMemoryGrow   Op = 0x40
	OpI32Const     Op = 0x41
	OpI64Const     Op = 0x42
	OpRefNull      Op = 0xd0
	OpRefFunc      Op = 0xd2
	OpMemoryInit   Op = 0xfc00 + 8
	OpMemoryCopy   Op = 0xfc00 + 10
	OpMemoryFill   Op = 0xfc00 + 11
	OpTableInit    Op = 0xfc00 + 12
	OpTableCopy    Op = 0xfc00 + 14
	OpTableGrow    Op = 0xfc00 + 15
	OpTableFill    Op = 0xfc00 + 17
)

// imm says what stands behind an instruction.
type imm byte

const (
	immUnknown imm = iota
	immNone
	immByte     // a lane, or a reserved byte
	immIndex    // u32
	immTwo      // u32 u32
	immBlock    // block type
	immTable    // vector of labels, and one more
	immTypes    // vector of value types
	immMem      // alignment and offset
	immMemLane  // alignment, offset and lane
	immS32      // i32.const
	immS64      // i64.const
	immBytes4   // f32.const
	immBytes8   // f64.const
	immBytes16  // v128.const, i8x16.shuffle
	immZero     // the index of a memory, which is 0
	immTwoZeros // two of them
	immIndexZero
	immPrefix
)

// plain, sat and simd are the immediates of the instructions without a prefix, and of
// those behind 0xfc and 0xfd.
var (
	plain = immediates(map[imm][][2]int{
		immNone: {
			{0x00, 0x01}, {0x05, 0x05}, {0x0b, 0x0b}, {0x0f, 0x0f}, {0x1a, 0x1b}, {0x45, 0xc4}, {0xd1, 0xd1},
		},
		immBlock: {{0x02, 0x04}}, immIndex: {{0x0c, 0x0d}, {0x10, 0x10}, {0x20, 0x26}, {0xd2, 0xd2}},
		immTable: {{0x0e, 0x0e}}, immTwo: {{0x11, 0x11}}, immTypes: {{0x1c, 0x1c}}, immMem: {{0x28, 0x3e}},
		immZero: {{0x3f, 0x40}}, immS32: {{0x41, 0x41}}, immS64: {{0x42, 0x42}}, immBytes4: {{0x43, 0x43}},
		immBytes8: {{0x44, 0x44}}, immByte: {{0xd0, 0xd0}}, immPrefix: {{0xfc, 0xfd}},
	})
	sat = immediates(map[imm][][2]int{
		immNone: {{0, 7}}, immIndexZero: {{8, 8}}, immIndex: {{9, 9}, {13, 13}, {15, 17}},
		immTwoZeros: {{10, 10}}, immZero: {{11, 11}}, immTwo: {{12, 12}, {14, 14}},
	})
	simd = immediates(map[imm][][2]int{
		immMem: {{0, 11}, {92, 93}}, immBytes16: {{12, 13}}, immByte: {{21, 34}}, immMemLane: {{84, 91}},
		immNone: {
			{14, 20},
			{35, 83},
			{94, 0x99},
			{0x9b, 0xa1},
			{0xa3, 0xa4},
			{0xa7, 0xae},
			{0xb1, 0xb1},
			{0xb5, 0xba},
			{0xbc, 0xc1},
			{0xc3, 0xc4},
			{0xc7, 0xce},
			{0xd1, 0xd1},
			{0xd5, 0xe1},
			{0xe3, 0xed},
			{0xef, 0xff},
		},
	})
)

func immediates(ranges map[imm][][2]int) (t [256]imm) {
	for k, rs := range ranges {
		for _, r := range rs {
			for op := r[0]; op <= r[1]; op++ {
				t[op] = k
			}
		}
	}
	return t
}

// Instr is one instruction.
type Instr struct {
	Op         Op
	Start, End int // offsets in the binary
	// Index and Index2 are what it names: a label, local, global, function, type,
	// table, data or element segment, in the order of the binary.
	Index, Index2 uint32
	// Block is the block type of block, loop and if: the index of a type, or negative.
	Block int64
}

// Instr reads one instruction of the features that hostabi/abi.md admits. Any other is
// an error at its offset.
func (r *Reader) Instr() (i Instr) {
	i.Start = r.at
	b := r.Byte()
	i.Op = Op(b)
	k := plain[b]
	if k == immPrefix {
		n := r.U32()
		k = immUnknown
		if n < 256 {
			i.Op = Op(b)<<8 | Op(n)
			if k = simd[n]; b == 0xfc {
				k = sat[n]
			}
		}
	}
	if k != immNone {
		r.immediate(&i, k)
	}
	i.End = r.at
	return i
}

func (r *Reader) immediate(i *Instr, k imm) {
	switch k {
	case immIndex:
		i.Index = r.U32()
	case immMem, immMemLane:
		at := r.at
		if align := r.U32(); align > 4 {
			r.fail(at, "alignment 2^%d, at most 2^4 is known", align)
		}
		r.U32()
		if k == immMemLane {
			r.Byte()
		}
	case immS32:
		r.Int(32)
	case immS64:
		r.Int(64)
	case immByte:
		r.Byte()
	case immTwo:
		i.Index, i.Index2 = r.U32(), r.U32()
	case immBlock:
		i.Block = r.Int(33)
	case immZero, immTwoZeros, immIndexZero:
		r.memoryIndex(i, k)
	default:
		r.longImmediate(i, k)
	}
}

func (r *Reader) memoryIndex(i *Instr, k imm) {
	if k == immIndexZero {
		i.Index = r.U32()
	}
	n := 1
	if k == immTwoZeros {
		n = 2
	}
	for ; n > 0; n-- {
		at := r.at
		if m := r.Byte(); m != 0 {
			r.fail(at, "memory %d, only memory 0 is known", m)
		}
	}
}

func (r *Reader) longImmediate(i *Instr, k imm) {
	switch k {
	case immTable:
		for n := r.Count(); n >= 0 && r.err == nil; n-- {
			r.U32()
		}
	case immTypes:
		r.Bytes(r.Count())
	case immBytes4:
		r.Bytes(4)
	case immBytes8:
		r.Bytes(8)
	case immBytes16:
		r.Bytes(16)
	default:
		if r.err == nil {
			r.fail(i.Start, "unknown instruction % x", r.b[i.Start:r.at])
		}
	}
}

// Int reads a signed LEB128 number of at most 64 bits.
func (r *Reader) Int(bits int) int64 {
	start := r.at
	var v int64
	for shift := 0; shift < bits; shift += 7 {
		c := r.Byte()
		v |= int64(c&0x7f) << shift
		if c >= 0x80 {
			continue
		}
		if left := bits - shift; left < 7 {
			// The bits beyond the number repeat its sign.
			if top := int8(c<<1) >> left; top != 0 && top != -1 {
				break
			}
		}
		if shift+7 < 64 && c&0x40 != 0 {
			v |= -1 << (shift + 7)
		}
		return v
	}
	r.fail(start, "a number is longer than %d bits", bits)
	return 0
}
